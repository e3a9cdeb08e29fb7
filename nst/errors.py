"""The one family of exceptions: everything that a reader can mend, with a message that says what, where and how."""

import re

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # of names: a terminal would obey them


class NSTError(ValueError):
    """Something that a reader can mend."""

    __init__ = Exception.__init__  # so that it stays what it is when a tf.function raises it again

    def __str__(self):
        return CONTROLS.sub(lambda sign: repr(sign[0])[1:-1], super().__str__())

    def _render_traceback_(self):
        """Return what Jupyter shows: the message alone, without the helpers' insides. Elsewhere nothing changes."""
        return [f"{type(self).__name__}: {self}"]


def in_words(error):
    """Return what is shown of an error where there is room for its words alone."""
    return str(error) if isinstance(error, NSTError) else f"{type(error).__name__}: {error}"


class SettingsError(NSTError):
    """A setting has an unknown name or a value that cannot work."""


class ImageError(NSTError):
    """A picture cannot be used."""


class WeightsError(NSTError):
    """A weights file is missing, damaged or of another network."""


class CheckError(NSTError):
    """A function of the exercise is not right yet."""


class RunError(NSTError):
    """A run cannot go on, or its files cannot be written."""
