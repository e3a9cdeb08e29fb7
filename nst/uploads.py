"""The pictures in images/: found for a menu, and kept there when a reader adds one."""

from pathlib import Path

from nst.errors import ImageError, NSTError
from nst.files import claim_name, fit_name, make_folder, write_file
from nst.images import EXAMPLES, is_named_as_picture, load_image


def pictures_for_menu(*paths):
    """Return the pictures in images/, and these besides, as a list of (name, path) for a menu."""
    found = [path.as_posix() for path in EXAMPLES.glob("*") if is_named_as_picture(path)]
    return [(Path(path).name, path) for path in sorted({*found, *paths})]


def keep_picture(name, content):
    """Keep a picture in images/ under its name, or the next free one.

    Args:
        name: what it is called where it comes from.
        content: bytes of the file.

    Returns:
        path of the file, a text.

    Raises:
        ImageError: it is no picture that can be used; nothing is kept.
        RunError, OSError: as make_folder, claim_name and write_file.
    """
    name = Path(name.replace("\\", "/")).name
    make_folder(EXAMPLES)
    path = claim_name(EXAMPLES / (fit_name(Path(name).stem, 60) + Path(name).suffix))
    try:
        write_file(path, content)
        load_image(path, 512)
        if not is_named_as_picture(path):
            raise ImageError(f"{name} is a picture, but not by its name. It must end in .jpg, .png or the like.")
    except NSTError as error:
        path.unlink()
        raise type(error)(str(error).replace(path.as_posix(), name)) from None
    return path.as_posix()
