"""Files and folders: written whole or not at all, and given names that nothing else has."""

import contextlib
import itertools
import os
import re
import sys
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not noticed there
    fcntl = None

from nst.errors import RunError, SettingsError

NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]+')  # on one system or another


def write_file(path, content):
    """Write a file so that it appears under its name whole or not at all, whatever happens meanwhile.

    Args:
        path: the file.
        content: bytes, or a function that writes them into an open binary file.

    Raises:
        RunError: it could not be written (full disk, permission); nothing is left of it.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{fit_name(path.name)}.part")
    try:
        with open(temporary, "wb") as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"{path} could not be written: {error.strerror}. What was saved before is whole. Make room on the disk or "
            f"check the folder's permissions, and start again or go on (in a notebook with RESUME)."
        ) from error


def claim_name(path, make=lambda path: open(path, "xb").close()):
    """Take the next free one of the names path, path-2, path-3, … (before the suffix) and return it.

    make is what makes it, and raises FileExistsError if there is something: an empty file, or Path.mkdir for a folder.
    """
    path = Path(path)
    others = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return _first_free(itertools.chain([path], others), make)


def claim_folder(parent, stem):
    """Make the next free folder <parent>/<stem>-<NNN>, which no other run gets then.

    Returns:
        pathlib.Path of the folder, and the list of all folders that were made, outer ones first.

    Raises:
        RunError: it could not be made.
        SettingsError: the parent is a file.
    """
    made = make_folder(parent)
    try:
        numbers = [path.name[len(stem) + 1 :] for path in Path(parent).iterdir() if path.name.startswith(f"{stem}-")]
        first = max((int(number) for number in numbers if number.isdecimal()), default=0) + 1
        folder = _first_free((Path(parent, f"{stem}-{number:03d}") for number in itertools.count(first)), Path.mkdir)
    except OSError as error:
        raise _not_made(parent, error) from None
    return folder, [*made, folder]


def make_folder(folder):
    """Make a folder and those around it, and return a list of those that were made, outer ones first.

    Raises:
        RunError: it could not be made.
        SettingsError: it is a file.
    """
    folder = Path(folder)
    try:
        made = [p for p in (*reversed(folder.parents), folder) if not p.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SettingsError(f"{folder} is a file. Set OUTPUT_DIR to another folder.") from None
    except ValueError:
        raise SettingsError(f"{str(folder)!r} cannot be the name of a folder.") from None
    except OSError as error:
        raise _not_made(folder, error) from None
    return made


def lock(folder):
    """Take a folder for this run alone, for as long as the process lives, and return the function that gives it back.

    Raises:
        RunError: another run has it.
    """
    path = Path(folder) / ".lock"
    if fcntl is None:
        return lambda: None
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a system without locks
            file = stack.enter_context(open(path, "ab"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{folder} is being painted by another run at this moment. Wait for it.") from None
            stack.callback(path.unlink, missing_ok=True)
        return stack.pop_all().close


def fit_name(text, most=100):
    """Return a text as a part of a file's name: without what some system cannot write, and cut to so many bytes."""
    return NOT_IN_NAMES.sub("-", text).encode()[:most].decode(errors="ignore").strip(". ") or "-"


def open_streams():
    """Let standard output and error lead nowhere where they are closed, and show ? for what a console does not know."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115 (as long as the program runs)
        stream.reconfigure(errors="replace")
        setattr(sys, name, stream)


@contextlib.contextmanager
def silent_stderr():
    """Keep off the screen what native code writes past Python."""
    sys.stderr.flush()
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # it is closed
        yield
        return
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _first_free(paths, make):
    for path in paths:
        with contextlib.suppress(FileExistsError):  # another program was faster
            make(path)
            return path


def _not_made(folder, error):
    return RunError(f"{folder} could not be made: {error.strerror}. Set OUTPUT_DIR to another folder.")
