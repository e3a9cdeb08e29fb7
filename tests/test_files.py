"""Files and folders: whole or not at all, under names that nothing else has."""

import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from conftest import run_python
from nst.errors import RunError, SettingsError
from nst.files import claim_folder, claim_name, fit_name, lock, make_folder, write_file


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / f"{70 * '雪'}.txt"
    write_file(path, b"first")

    def half(file):
        file.write(b"sec")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RunError, match=f"could not be written: {os.strerror(errno.ENOSPC)}. What was saved before"):
        write_file(path, half)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"first"], "and nothing else is left"
    write_file(path, lambda file: file.write(b"second"))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"second"]


def test_names_are_given_once_however_many_ask(tmp_path):
    def claim():
        names.append(claim_name(tmp_path / "a.b.png").name)
        folders.append(claim_name(tmp_path / "c", Path.mkdir).name)
        numbered.append(claim_folder(tmp_path / "new" / "er", "run")[0].name)

    names, folders, numbered = [], [], []
    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    others = range(2, 9)
    assert sorted(names) == sorted(["a.b.png", *(f"a.b-{n}.png" for n in others)])
    assert sorted(folders) == sorted(["c", *(f"c-{n}" for n in others)])
    assert sorted(numbered) == [f"run-00{n}" for n in range(1, 9)]


def test_folders_are_numbered_after_the_last_and_what_was_made_is_told(tmp_path):
    for name in ("run-007", "run-mine", "run-003", "runner-099"):
        (tmp_path / name).mkdir()
    assert claim_folder(tmp_path, "run") == (tmp_path / "run-008", [tmp_path / "run-008"])
    new = tmp_path / "a" / "b"
    assert claim_folder(new, "run") == (new / "run-001", [tmp_path / "a", new, new / "run-001"])
    assert make_folder(new) == []
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="file is a file. Set OUTPUT_DIR to another folder"):
        claim_folder(tmp_path / "file", "run")


def test_what_no_folder_can_be_called_is_said():
    with pytest.raises(SettingsError, match=r"^'a.x00b' cannot be the name of a folder.$"):
        make_folder("a\0b")


def test_a_folder_is_locked_for_one_at_a_time(tmp_path):
    unlock = lock(tmp_path)
    program = f"""
        from nst.files import lock
        try:
            lock({str(tmp_path)!r})()
            print("free")
        except ValueError as error:
            print(error)
    """
    said = "free" if sys.platform == "win32" else f"{tmp_path} is being painted by another run at this moment. Wait "
    assert run_python(program).stdout.startswith(said)
    unlock()
    assert run_python(program).stdout == "free\n"
    assert list(tmp_path.iterdir()) == []


def test_names_fit_every_system():
    assert fit_name('a<b>:"/\\|?*\x00c') == "a-b-c"
    assert fit_name("trailing. .") == "trailing"
    assert fit_name("...") == fit_name("") == "-"
    assert fit_name("é\udcff雪") == "é-雪"
    assert fit_name(60 * "雪") == 33 * "雪", "cut by bytes, between letters"
    assert fit_name("abc", 2) == "ab"


def test_settings_lessons_and_files_need_no_tensorflow():
    """What a command line checks first is told at once."""
    rooms = "nst.errors, nst.files, nst.layers, nst.context, nst.table, nst.settings, nst.lesson"
    program = f"import sys, {rooms}; print({{'tensorflow', 'keras', 'matplotlib', 'numpy'}} & set(sys.modules))"
    assert run_python(program).stdout == "set()\n"
