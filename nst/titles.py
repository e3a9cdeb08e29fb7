"""Words in figures, as they are: names of files may hold anything."""

import contextlib
import functools
import re

from matplotlib.font_manager import fontManager, get_font

from nst.errors import CONTROLS


def write(place, words):
    """Write words into a matplotlib Text as they are: a $ begins no formula, a letter that no font has becomes ?."""
    fonts, lost = _fonts_for(frozenset(re.findall(r"[^\n -~]", words)))
    place.set(parse_math=False, fontfamily=[*place.get_fontfamily(), *fonts])
    place.set_text(words.translate(dict.fromkeys(map(ord, lost), "?")))


@functools.cache
def _fonts_for(letters):
    """Return the names of fonts that have some letters, and the letters that none has, which is said."""
    fonts = []
    for font in sorted(fontManager.ttflist, key=lambda font: font.name != "DejaVu Sans"):
        if letters and not font.name.startswith("Last Resort"):  # which has a box for each
            with contextlib.suppress(OSError, RuntimeError):  # a font that is gone, or damaged
                found = {letter for letter in letters if get_font(font.fname).get_char_index(ord(letter))}
                fonts, letters = fonts + [font.name] * bool(found), letters - found
    if lost := CONTROLS.sub("", "".join(sorted(letters))).encode(errors="replace").decode():
        print(f"Note: no font here has {lost}, so titles show ? instead. Install one that has, such as Noto Sans CJK.")
    return fonts, letters
