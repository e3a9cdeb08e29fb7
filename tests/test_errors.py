"""What a reader sees of an error."""

import inspect

import nst_utils
from conftest import run_python
from nst import errors


def test_all_errors_are_of_one_family_and_at_hand():
    kinds = dict(inspect.getmembers(errors, inspect.isclass))
    assert len(kinds) == 6
    for name, kind in kinds.items():
        assert issubclass(kind, errors.NSTError), name
        assert issubclass(kind, ValueError), name
        assert getattr(nst_utils, name) is kind, name


def test_a_name_is_shown_and_not_obeyed():
    assert str(errors.ImageError("a\x07b\x1b[31m é\n雪 does not exist.")) == "a\\x07b\\x1b[31m é\n雪 does not exist."


def test_jupyter_shows_the_message_first_and_alone(tmp_path):
    program = """
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
        shell.run_cell('''
            from nst.errors import ImageError

            def helper():
                raise ImageError("cat.jpg does not exist. Copy it.") from OSError("insides")

            helper()
        ''')
    """
    shown = run_python(program, IPYTHONDIR=str(tmp_path))
    assert shown.stdout == "ImageError: cat.jpg does not exist. Copy it.\n"
    assert shown.stderr == ""
