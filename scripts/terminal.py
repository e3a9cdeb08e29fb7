"""What a program says while it works: lines, and a status line that is written over."""

import os
import re
import shlex
import shutil
import sys
import time

from nst.files import open_streams

SECONDS_BETWEEN_LINES = 10  # where nothing can be written over


class Terminal:
    """Standard output: lines, and a status line that is written over. Whatever becomes of it, the run goes on."""

    def __init__(self):
        self._is_open, self._shown = False, -SECONDS_BETWEEN_LINES
        open_streams()
        self._writes_over = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def write(self, text):
        """Write a text as it is, below the status line."""
        self._print("\n" * self._is_open + text)
        self._is_open = False

    def say(self, line):
        """Write a line of its own."""
        self.write(f"{line}\n")

    def show_status(self, text):
        """Write over the status line, or now and then a line where that cannot be done."""
        if self._writes_over:
            self._print(f"\r{short_status(text, shutil.get_terminal_size().columns - 1)}\x1b[K")
            self._is_open = True
        elif time.monotonic() - self._shown >= SECONDS_BETWEEN_LINES or re.search(r"epoch (\d+)/\1\b", text):
            self._shown = time.monotonic()
            self.say(short_status(text))

    def _print(self, text):
        try:
            print(text, end="", flush=True)
        except OSError:  # nobody reads any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except RuntimeError:  # a signal came in the middle of a line
            pass


def short_status(text, columns=1000):
    """Return a live view's text with what counts most first, and no more of it than fits into so many columns."""
    order = ("epoch .*", ".* left", "J .*", ".*")
    parts = re.split(r" {2,}| · ", text.strip())
    parts.sort(key=lambda part: next(i for i, kind in enumerate(order) if re.fullmatch(kind, part, re.DOTALL)))
    while len(parts) > 1 and _columns(", ".join(parts)) > columns:
        parts.pop()
    while _columns(parts[0]) > columns:
        parts[0] = parts[0][:-1]
    return ", ".join(parts)


def shell_word(text):
    """Return a text as a word for the shell, its bytes spelt out where the console cannot show them."""
    try:
        text.encode(sys.stdout.encoding)
        return shlex.quote(text)
    except UnicodeError:
        return "$'" + "".join(c if c.isalnum() and c.isascii() or c in "/._-" else _bytes_of(c) for c in text) + "'"


def _bytes_of(letter):
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))


def _columns(text):
    """Return how many columns of a terminal a text takes at the most: letters outside ASCII may take two."""
    return len(text) + sum(not letter.isascii() for letter in text)
