"""What a batch decides before and after the painting: its jobs, what cannot work, and what is finished."""

import copy
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from PIL import Image

import batch.__main__ as command
from batch.jobs import DECIMAL, Job, by_number, describe_grid, input_files, next_link, plan_jobs, read_grid, with_paths
from batch.progress import Progress
from batch.records import Paintings, sha256_of, take_folder
from conftest import ROOT, SETTINGS, raiser, run_python
from nst.errors import ImageError, RunError
from nst.lesson import Lesson
from nst.settings import Settings

PHOTOS = ["images/summer_palace.jpg", "images/chelsea_the_cat.jpg"]
LESSON = SimpleNamespace(sha256="c" * 64, settings=lambda: SETTINGS)
WEIGHTS = "a" * 64


def jobs_of(*assignments, content=(), style=(), saved=SETTINGS):
    grid, problems = read_grid(saved, content, style, assignments)
    jobs, more = plan_jobs(saved, grid)
    assert not problems + more
    return jobs


# ---- the grid


def test_every_combination_is_a_job_named_after_what_differs(monkeypatch, capsys):
    monkeypatch.setenv("NST_ALPHA", "3")
    monkeypatch.setenv("NST_BETA", "7")
    jobs = jobs_of("BETA=50", "BETA=400.0", "EPOCHS=9", "BETA=50", content=PHOTOS)
    assert [job.name for job in jobs] == [
        f"{photo}-great_wave-BETA={beta}" for photo in ("summer_palace", "chelsea_the_cat") for beta in (50, 400)
    ]
    settings = jobs[0].settings
    assert (settings.BETA, settings.EPOCHS) == (50.0, 9), "the command line wins"
    assert settings.ALPHA == 3.0, "then an NST_ variable"
    assert capsys.readouterr().out == "ALPHA = 3.0 (from NST_ALPHA)\n", "it is said once"
    assert settings.IMAGE_SIZE == 64, "then the notebook"


def test_sizes_that_are_given_win_over_those_of_the_notebook():
    for assignments, made in (
        (["SIZES=[64]", "SIZES=[64, 96]"], {"-SIZES=1": 64, "-SIZES=2": 96}),
        (["IMAGE_SIZE=300", "IMAGE_SIZE=1200"], {"-IMAGE_SIZE=300": 300, "-IMAGE_SIZE=1200": 1200}),
        (["IMAGE_SIZE=300", "IMAGE_SIZE=400", "SIZES=[64]"], {"-IMAGE_SIZE=64": 64}),
    ):
        jobs = jobs_of(*assignments, saved=SETTINGS | {"SIZES": [100, 200]})
        assert {job.name.partition("wave")[2]: job.settings.IMAGE_SIZE for job in jobs} == made


def test_folders_and_patterns_find_pictures_in_the_order_of_their_numbers(tmp_path, capsys):
    for name in ("frame_10.JPG", "frame_9.jpg", "frame_1.Jpg", "a.png", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    for pattern, found in (
        (tmp_path / "*.jpg", ["frame_1.Jpg", "frame_9.jpg", "frame_10.JPG"]),
        (tmp_path, ["a.png", "frame_1.Jpg", "frame_9.jpg", "frame_10.JPG"]),
    ):
        grid, problems = read_grid(SETTINGS, [str(pattern)], PHOTOS, ["BETA=1", "BETA=2"])
        assert ([os.path.basename(path) for path in grid["CONTENT_IMAGE"]], problems) == (found, [])
    assert capsys.readouterr().out.splitlines() == [  # of the folder, not of the pattern
        f"{tmp_path}: passed over, since they are folders: name them, too, or all pictures in them, as **/*.jpg: "
        "folder.jpg.",
        f"{tmp_path}: passed over, since they have no picture's name: notes.txt.",
    ]
    jobs, _ = plan_jobs(SETTINGS, grid)
    assert describe_grid(grid, jobs) == "16 pictures: 4 photos × 2 paintings × 2 values of BETA."
    assert describe_grid({}, jobs[:1]) == "1 picture: 1 photo × 1 painting."


def test_links_that_lead_nowhere_results_and_brackets_in_names(tmp_path, capsys):
    for folder in ("Trip [2024]", "painted/a-wave"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.jpg").touch()
    (tmp_path / "lost.jpg").symlink_to("gone.jpg")

    def find(*patterns, **options):
        grid, problems = read_grid(SETTINGS, [str(tmp_path / pattern) for pattern in patterns], [], [], **options)
        return [os.path.relpath(path, tmp_path) for path in grid.get("CONTENT_IMAGE", ())], len(problems)

    brackets, painted = (os.path.join(folder, "a.jpg") for folder in ("Trip [2024]", "painted/a-wave"))
    assert find("Trip [2024]/*.jpg") == find("Trip [2024]") == ([brackets], 0)
    assert find("**/*.jpg") == ([brackets, painted], 0)
    for name in ("settings.json", "history.csv"):
        (tmp_path / "painted" / "a-wave" / name).touch()
    (tmp_path / "painted" / "thumbnails").mkdir()
    (tmp_path / "painted" / "thumbnails" / "b.jpg").touch()
    assert find("**/*.jpg")[0] == [brackets, "painted/thumbnails/b.jpg"], "no gallery's"
    (tmp_path / "painted" / "index.html").write_text("<title>Gallery: 1 picture</title>")
    for folder, found in (("painted", []), ("", [painted]), ("Trip [2024]", [painted])):
        assert find("**/*.jpg", without=tmp_path / folder) == ([brackets], 0), "results of no run"
        assert find("painted/*/*.jpg", without=tmp_path / folder)[0][:1] == found, "of this batch's folder alone"
    why = "they are results (to paint from one, name it by its path)"
    said = f"{tmp_path / '**/*.jpg'}: passed over, since {why}: a-wave/a.jpg"
    assert said in capsys.readouterr().out
    assert find("painted/a-wave/a.jpg", without=tmp_path / "painted") == ([painted], 0), "named by itself"
    assert find("*.jpg") == ([], 1)
    said = f"{tmp_path / '*.jpg'}: passed over, since they lead nowhere: lost.jpg.\n"
    assert capsys.readouterr().out.endswith(said)


def test_a_picture_has_one_name_and_a_number_one_value_however_they_are_given():
    name, values = "images/coffee.jpg", ["BETA=50", "BETA = 50.0", "BETA=5e1", "NORMALISE_ACTIVATIONS=True"]
    values += ["SEED=9007199254740992", "SEED=9007199254740993"]
    given = [name, "./images//coffee.jpg", str(ROOT / name), "images/../images/coffee.jpg"]
    grid, problems = read_grid(SETTINGS, given, [], values)
    assert (grid["CONTENT_IMAGE"], len(grid["BETA"]), problems) == ([name], 1, [])
    assert grid["NORMALISE_ACTIVATIONS"] == [True] and len(grid["SEED"]) == 2
    assert read_grid(SETTINGS, [], [], [f"SEED={'9' * 400}"])[1] == [], "that it is too large is said later"
    assert read_grid(SETTINGS, [], [], ["RESUME = 'x'", "=5"])[1] == [
        "--set RESUME = 'x': not in a batch; start the batch again instead: it goes on with what is missing.",
        "--set =5: write NAME=value.",
    ]
    long = [f"shot_202601011230450{k:02}.jpg" for k in range(1, 11)]
    assert sorted(reversed(long), key=by_number) == long, "numbers that no float holds"
    assert sorted(["1", "0.2", "0.04", "1e-05", "20"], key=lambda text: by_number(text, DECIMAL)) == [
        "1e-05",
        "0.04",
        "0.2",
        "1",
        "20",
    ]


def test_a_picture_elsewhere_has_one_name_too(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path / "here")
    grid, _ = read_grid(SETTINGS, ["../a.jpg", str(tmp_path / "a.jpg")], [], [])
    assert grid["CONTENT_IMAGE"] == [str(tmp_path / "a.jpg")]


def test_a_folder_above_a_linked_one_is_that_of_the_link(tmp_path):
    for folder in ("there/below", "here"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "here" / "link").symlink_to(tmp_path / "there" / "below")
    for folder in ("there", "here"):
        (tmp_path / folder / "a.jpg").write_text(folder)
    grid, _ = read_grid(SETTINGS, [str(tmp_path / "here" / "link" / ".." / "a.jpg")], [], [])
    assert Path(grid["CONTENT_IMAGE"][0]).read_text() == "there"


def test_a_path_that_leads_nowhere_names_the_nearest(tmp_path):
    (tmp_path / "photos").mkdir()
    given = [str(tmp_path / "photo"), "images/great_wav.jpg", "nowhere/x.jpg"]
    _, problems = read_grid(SETTINGS, given, [], [])
    hints = [problem.partition("that is taken.")[2] for problem in problems]
    assert hints == [
        f" Do you mean {tmp_path / 'photos'}?",
        f" Do you mean {os.path.join('images', 'great_wave.jpg')}?",
        "",
    ]


def test_a_log_that_cannot_be_written_ends_no_batch(tmp_path, capsys):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    gallery = SimpleNamespace(write=lambda failures, sparingly=False: None, path=tmp_path)
    progress = Progress(1, gallery, "/dev/full")
    progress.failed(Job(Settings(SETTINGS), "wave"), "why of images/summer_palace.jpg")
    progress.close()
    assert "wave: why of images" in capsys.readouterr().out


def test_any_name_makes_a_folder_that_can_be_written(tmp_path):
    long = str(tmp_path / ("雪" * 79 + ".jpg"))
    bad = os.fsdecode(b"caf\xe9 $x$.jpg")
    jobs = jobs_of("BETA=1", "BETA=2", "STROKE_SIZE=0.5", saved=SETTINGS | {"CONTENT_IMAGE": long})
    for job in jobs + jobs_of(saved=SETTINGS | {"CONTENT_IMAGE": bad}):
        (tmp_path / job.name.encode().decode()).mkdir()


def test_all_that_cannot_work_is_named_at_once():
    assignments = [
        "BETA=-1",
        "EPOCHS=0",
        "BETTA=1",
        "POOLING=max",
        "RESUME='x'",
        "WEIGHTS='auto'",
        "WEIGHTS='standin'",
        "ALPHA=x",
    ]
    grid, problems = read_grid(SETTINGS, ["no/*.jpg"], ["great_wave.jpg"], [*assignments, "x"], {"NST_OUTPUT_DIR": "x"})
    words = (
        "no/*.jpg",
        f"mean {os.path.join('images', 'great_wave.jpg')}?",
        "NST_OUTPUT_DIR:",
        "RESUME='x'",
        "BETTA=1",
        "POOLING",
        '--set "ALPHA=10.0".',
        "--set x:",
        "WEIGHTS",
    )
    for problem, word in zip(problems, words, strict=True):
        assert word in problem
    assert problems[4].endswith("Do you mean BETA?")
    assert problems[5].endswith("--set POOLING='\"max\"'.")
    jobs, problems = plan_jobs(SETTINGS, grid)
    assert not jobs
    assert {problem.split(" cannot work")[0] for problem in problems} == {"BETA = -1.0", "EPOCHS = 0"}
    assert plan_jobs(SETTINGS, {"ALPHA": [0], "BETA": [0, 1]})[1][0].startswith("ALPHA = BETA = 0 leaves nothing")


def test_a_chain_is_one_job_and_gives_init_its_values():
    (job,), _ = plan_jobs(SETTINGS, {"CONTENT_IMAGE": PHOTOS}, chain=True)
    assert [link.name.split("-")[0] for link in job.chain] == ["chelsea_the_cat"]
    assert "leave --set INIT away" in plan_jobs(SETTINGS, {"INIT": ["noise"]}, chain=True)[1][0]


def test_what_was_typed_is_checked_before_anything_slow_is_imported():
    result = run_python("""
        import sys
        from batch.__main__ import plan, read_options
        print(plan(read_options(["--set", "BETTA=1"]))[1])
        print(sorted({"tensorflow", "numpy", "dask", "distributed", "cloudpickle", "PIL"} & set(sys.modules)))
    """)
    assert "Do you mean BETA?" in result.stdout
    assert result.stdout.endswith("[]\n")


def test_missing_lessons_and_packages_are_named(monkeypatch):
    assert "nowhere.ipynb" in command.plan(command.read_options(["--lesson", "nowhere.ipynb"]))[1][0]
    monkeypatch.setattr(command, "NEEDED", ("no_such_package",))
    (message,) = command.plan(command.read_options(["--content", *PHOTOS]))[1]
    assert f"-m pip install -r {ROOT / 'batch' / 'requirements.txt'}" in message


# ---- what is told


def test_a_job_may_end_before_its_beginning_is_told(tmp_path, capsys):
    gallery = SimpleNamespace(write=lambda failures, sparingly=False: None, path=tmp_path)
    progress = Progress(3, gallery, tmp_path / "log")
    progress.finished(Job(SETTINGS, "wave"), tmp_path / "wave")
    progress.close()
    assert "finished  wave in 0 s (1 of 3 done, 0 failed, about 0:00:00 left)" in capsys.readouterr().out
    assert "1 painted, 0 there already, 0 failed." in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_job_that_begins_again_and_one_whose_message_names_no_picture(tmp_path, capsys):
    gallery = SimpleNamespace(write=lambda failures, sparingly=False: None, path=tmp_path)
    progress, job = Progress(1, gallery, tmp_path / "log"), Job(Settings(SETTINGS), "wave")
    for _ in range(2):
        progress.began(job, "here")
    progress.failed(job, "The process was killed.")
    out = capsys.readouterr().out
    assert out.index("began     wave on here") < out.index("again     wave on here")
    assert f"failed    wave: {SETTINGS['CONTENT_IMAGE']}: The process was killed." in out
    progress.close()


def test_a_gallery_that_cannot_be_written_is_said_and_is_no_success(tmp_path, capsys):
    gallery = SimpleNamespace(write=raiser(RunError("index.html could not be written.")), path=tmp_path)
    assert not Progress(1, gallery, tmp_path / "log").close()
    out = capsys.readouterr().out
    assert "index.html could not be written." in out and "Gallery:" not in out
    gallery.write = lambda failures: None
    assert Progress(1, gallery, tmp_path / "log").close()


def test_a_link_of_a_chain_is_known_however_the_folder_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / "out" / "a-wave" / "generated_image.png"
    picture.parent.mkdir(parents=True)
    picture.touch()
    job = Job(Settings(SETTINGS), "a", (Job(Settings(SETTINGS), "b"),))
    starts = {next_link(job, path).settings.INIT for path in (picture, picture.relative_to(tmp_path))}
    assert starts == {os.path.join("out", "a-wave", "generated_image.png")}


def test_pictures_may_be_given_in_turns():
    options = command.read_options(["--content", "a", "b", "--style", "s", "--content", "c"])
    assert (options.content, options.style) == (["a", "b", "c"], ["s"])


def test_a_result_that_has_got_lost_fails_alone(client):
    job = Job(Settings(SETTINGS) | {"INIT": "gone.png"}, "a")
    assert client._most_pixels(job) == 0 < client._most_pixels(Job(Settings(SETTINGS), "b"))


def test_in_a_chain_each_failure_names_the_picture_before(client):
    told, names = [], ("1.jpg", "2.jpg", "3.jpg")
    first, *rest = (Job(Settings(SETTINGS) | {"CONTENT_IMAGE": name}, name) for name in names)
    first.chain = tuple(rest)
    client.fail(first, "why", SimpleNamespace(failed=lambda job, message: told.append(message)))
    assert told == ["why", *(f"it begins with the picture of {name}, which failed." for name in names[:2])]


def test_a_picture_that_dask_gives_up_is_told_in_plain_words(client):
    lost = type("KilledWorker", (Exception,), {})("Attempted to run task 'paint-4c34'")
    future = SimpleNamespace(cancelled=lambda: False, exception=lambda: lost)
    assert client._outcome(future).startswith("It was given up, since each of the workers that had it has died")


def test_what_a_worker_has_no_room_for_is_said(client, monkeypatch):
    dask = MagicMock(register_plugin=raiser(OSError(28, "No space left on device")), run_on_scheduler=lambda _: [])
    with pytest.raises(RunError, match="A worker cannot keep what it needs, some 3 MB: No space left on device. Make"):
        client.paint_all(dask, [], None, (b"1" * 3_000_000, "a.ipynb", "standin"), None)


def test_a_closed_console_ends_nothing(tmp_path):
    command = f"{sys.executable} -m batch --content images/gone.jpg --output {tmp_path} >&-"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (result.returncode, "gone.jpg: there is no such picture" in result.stderr) == (2, True), result.stderr


def test_what_is_left_is_told_in_hours_minutes_and_seconds(tmp_path, capsys, monkeypatch):
    gallery, now = SimpleNamespace(write=lambda failures, sparingly=False: None, path=tmp_path), [1.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress, job = Progress(2, gallery, tmp_path / "log"), Job(SETTINGS, "wave")
    progress.began(job, "here")
    now[0] = 3780.7
    progress.finished(job, tmp_path / "wave")
    progress.close()
    assert "about 1:03:00 left" in capsys.readouterr().out


def test_a_console_that_cannot_show_a_name_ends_nothing():
    command = [sys.executable, "-m", "batch", "--content", "雪é.jpg", "--set", "EPOCHS=0"]
    environment = os.environ | {"PYTHONIOENCODING": "cp932"}
    result = subprocess.run(command, env=environment, capture_output=True, encoding="cp932")
    assert result.returncode == 2
    assert "?.jpg: there is no such picture" in result.stderr
    assert "EPOCHS = 0 cannot work" in result.stderr


# ---- what is finished


@pytest.fixture
def job():
    return Job(Settings(copy.deepcopy(SETTINGS)), "palace-wave")


def come_back(job, weights=WEIGHTS, cells=LESSON.sha256):
    """Return what comes back from a worker."""
    names = {f"pictures/{i}/picture.jpg": path for i, path in enumerate(input_files(job.settings))}
    there = with_paths(job.settings, {path: name for name, path in names.items()}.get)
    facts = {"state": "finished", "settings": there, "weights": {"sha256": weights}, "lesson": {"cells": cells}}
    for key, setting in (("content_image", "CONTENT_IMAGE"), ("style_image", "STYLE_IMAGE")):
        facts[key] = {"file": there[setting], "sha256": sha256_of(job.settings[setting])}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as run:
        run.writestr("settings.json", json.dumps(facts))
        run.writestr("generated_image.png", b"picture")
    return buffer.getvalue(), names


def test_what_came_back_is_found_again_until_something_changes(tmp_path, job):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64)).save(photo)
    job.settings["CONTENT_IMAGE"] = str(photo)
    (tmp_path / "gallery").mkdir()
    paintings = Paintings(tmp_path / "gallery", LESSON, WEIGHTS)
    assert paintings.find(job) is None
    folder = paintings.add(job, *come_back(job))
    assert folder == tmp_path / "gallery" / "palace-wave"
    assert json.loads((folder / "settings.json").read_text())["content_image"]["file"] == str(photo)
    again = Paintings(tmp_path / "gallery", LESSON, WEIGHTS)
    assert again.find(job) == paintings.find(job) == folder
    assert again.find(Job(job.settings | {"BETA": 41.0}, job.name)) is None, "another setting"
    assert Paintings(tmp_path / "gallery", LESSON, "b" * 64).find(job) is None, "other weights"
    other = SimpleNamespace(sha256="d" * 64, settings=LESSON.settings)
    assert Paintings(tmp_path / "gallery", other, WEIGHTS).find(job) is None, "another lesson"
    Image.new("RGB", (64, 64), "white").save(photo)
    assert again.find(job) is None, "another picture"
    assert paintings.add(job, *come_back(job)).name == "palace-wave-2", "nothing is overwritten"
    assert Paintings(tmp_path / "gallery", LESSON, WEIGHTS).find(job).name == "palace-wave-2"


def test_a_setting_that_a_record_does_not_know_counts_with_its_default(tmp_path, job):
    folder = Paintings(tmp_path, LESSON, WEIGHTS).add(job, *come_back(job))
    record = json.loads((folder / "settings.json").read_text())
    del record["settings"]["POOLING"]
    record["settings"]["GONE"] = 1
    (folder / "settings.json").write_text(json.dumps(record))
    assert Paintings(tmp_path, LESSON, WEIGHTS).find(job) == folder
    assert Paintings(tmp_path, LESSON, WEIGHTS).find(Job(job.settings | {"POOLING": "average"}, "x")) is None


def test_folders_that_are_not_whole_do_not_count(tmp_path, job):
    folder = Paintings(tmp_path, LESSON, WEIGHTS).add(job, *come_back(job))
    record = (folder / "settings.json").read_text()
    for text in (record[:50], "[]", '{"state": "finished"}', record.replace("finished", "stopped")):
        (folder / "settings.json").write_text(text)
        assert Paintings(tmp_path, LESSON, WEIGHTS).find(job) is None, text
    (folder / "settings.json").write_text(record)
    (tmp_path / ".nst-1.part").mkdir()
    assert Paintings(tmp_path, LESSON, WEIGHTS).find(job) == folder
    assert not (tmp_path / ".nst-1.part").exists(), "what a batch that was killed has left"
    (folder / "generated_image.png").unlink()
    assert Paintings(tmp_path, LESSON, WEIGHTS).find(job) is None


@pytest.mark.parametrize("change", [{"weights": "b" * 64}, {"cells": "d" * 64}])
def test_what_comes_back_from_other_files_is_refused(tmp_path, job, change):
    with pytest.raises(ImageError, match="came back painted from other pictures, weights or cells"):
        Paintings(tmp_path, LESSON, WEIGHTS).add(job, *come_back(job, **change))
    assert not list(tmp_path.iterdir())


# ---- what travels and where it is painted


@pytest.fixture
def client():
    pytest.importorskip("distributed", reason="batch/requirements.txt is not installed")
    return pytest.importorskip("batch.client")


def test_a_photo_that_changes_while_it_is_painted_fails_alone(client, monkeypatch):
    """Dask's part is played by what comes back at once."""
    jobs, told = [Job(Settings(SETTINGS), name) for name in ("gone", "there")], []

    def add(job, archive, names):
        if job.name == "gone":
            raise ImageError("it came back painted from other pictures")
        return ROOT / job.name

    class Completed(deque):
        add, __next__ = deque.append, deque.popleft

    def submit(*arguments, key, **options):
        done = {"cancelled": lambda: False, "exception": lambda: None, "result": lambda: b"", "release": lambda: None}
        return SimpleNamespace(key=key, **done)

    dask = MagicMock(submit=submit, nthreads=lambda: {"worker": 1}, run_on_scheduler=lambda function: [])
    monkeypatch.setattr(client, "as_completed", Completed)
    watch = SimpleNamespace(
        say=told.append,
        failed=lambda job, message: told.append((job.name, message)),
        finished=lambda job, folder: told.append((job.name, folder)),
    )
    client.paint_all(dask, jobs, SimpleNamespace(add=add), (b"", "a.ipynb", "standin"), watch)
    assert told == [("gone", "it came back painted from other pictures"), ("there", ROOT / "there")]


def test_pictures_are_looked_at_before_anything_starts(client, tmp_path):
    (tmp_path / "web.jpg").write_text("<!doctype html>")
    jobs, _ = plan_jobs(SETTINGS, {"CONTENT_IMAGE": [*PHOTOS, str(tmp_path / "web.jpg"), "a\0b.jpg"]})
    client.check_jobs(jobs)
    assert [bool(job.error) for job in jobs] == [False, False, True, True]
    assert "web page" in jobs[2].error


def test_what_is_wrong_with_all_pictures_is_said_once(client):
    jobs, _ = plan_jobs(SETTINGS, {"CONTENT_IMAGE": PHOTOS, "INIT": ["gone.jpg"]})
    assert client.check_jobs(jobs).startswith("gone.jpg does not exist")
    jobs[0].settings |= {"INIT": "noise"}
    jobs[0].error = ""
    assert client.check_jobs(jobs) == ""


def test_a_painting_that_is_damaged_is_found_before_anything_is_started(client, tmp_path):
    (tmp_path / "half.jpg").write_bytes((ROOT / PHOTOS[0]).read_bytes()[:9000])
    jobs, _ = plan_jobs(SETTINGS, {"CONTENT_IMAGE": PHOTOS, "STYLE_IMAGE": [str(tmp_path / "half.jpg")]})
    assert "half.jpg cannot be decoded" in client.check_jobs(jobs)
    jobs, _ = plan_jobs(SETTINGS, {"CONTENT_IMAGE": PHOTOS, "SIZES": [[40, 64]]})
    client.check_jobs(jobs)
    assert all("IMAGE_SIZE, or the first of SIZES, must be 4" in job.error for job in jobs)


def test_every_picture_that_settings_name_travels_under_a_name_of_its_own(client, tmp_path):
    other = str(tmp_path / os.fsdecode(b"\xe9.jpg"))
    shutil.copy(PHOTOS[0], other)
    settings = Settings(SETTINGS) | {"CONTENT_IMAGE": PHOTOS[0], "STYLE_IMAGE": [(other, 1.0), (PHOTOS[1], 2.0)]}
    settings |= {"STYLE_MASKS": [PHOTOS[0], other], "STYLE_PARTS": [PHOTOS[1], other], "INIT": PHOTOS[1]}
    there, files, names = client.pack(settings, "standin")
    assert list(names.values()) == [PHOTOS[0], other, PHOTOS[1]]
    assert files == {path: (ROOT / here).read_bytes() for path, here in names.items()}
    assert with_paths(Settings(there), names.get) == settings
    assert with_paths(settings | {"INIT": "noise"}, str.upper).INIT == "noise"


def test_kit_is_unpacked_and_removed_at_the_end(client, tmp_path, monkeypatch, tiny_vgg):
    mine = tmp_path / "mine.h5"
    mine.write_bytes(b"weights")
    monkeypatch.setattr(client, "load_vgg19", lambda weights, normalise: tiny_vgg._replace(name=mine.name, file=mine))
    kit, weights, sha256 = client.make_kit(Lesson(), str(mine))
    assert (weights, sha256) == ("pretrained-model/mine.h5", tiny_vgg.sha256)
    studio = client.batch.worker.Studio(kit, Lesson().name, "name")
    worker = SimpleNamespace(local_directory=str(tmp_path))
    studio.setup(worker)
    (unpacked,) = tmp_path.glob("nst-*")
    assert (unpacked / weights).read_bytes() == b"weights"
    assert (unpacked / Lesson().name).read_bytes() == Lesson().path.read_bytes()
    assert not any("standin" in path.name or path.name == "tests" for path in unpacked.rglob("*"))
    studio.teardown(worker)
    assert not unpacked.exists()


@pytest.mark.parametrize(("free", "jobs", "workers"), [(64e9, 9, 4), (64e9, 3, 3), (5e9, 9, 2), (1e9, 9, 1)])
def test_local_workers_are_bounded_by_cores_jobs_and_memory(client, monkeypatch, free, jobs, workers):
    def start(**options):
        raise InterruptedError(options["n_workers"], options["env"]["TF_NUM_INTRAOP_THREADS"])

    monkeypatch.setattr(client.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.setattr(client, "free_memory", lambda: free)
    monkeypatch.setattr(client, "LocalCluster", start)
    jobs = [Job(Settings(SETTINGS), "x")] * jobs
    with pytest.raises(InterruptedError) as caught, client.local_cluster(jobs):
        pass
    assert caught.value.args == (workers, str(8 // workers))


def test_two_batches_never_paint_into_one_folder(tmp_path):
    give_back = take_folder(tmp_path / "new" / "gallery")
    with pytest.raises(RunError, match="gallery is being painted by another run at this moment"):
        take_folder(tmp_path / "new" / "gallery")
    give_back()
    take_folder(tmp_path / "new" / "gallery")()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="could not be made: .*. Set --output to another folder"):
        take_folder(tmp_path / "file" / "gallery")
    (tmp_path / "new" / "index.html").write_text("<h1>my site</h1>")
    with pytest.raises(RunError, match=r"index.html is no gallery, and would be written over. Set --output to another"):
        take_folder(tmp_path / "new")


def test_scheduler_that_is_not_there_is_named(client, monkeypatch):
    monkeypatch.setattr(client, "SECONDS_TO_CONNECT", 0.2)
    with pytest.raises(RunError, match=r"no Dask scheduler at tls://localhost:1 .*dask scheduler"):
        client.connect("tls://localhost:1")
    with pytest.raises(RunError, match=r"no Dask scheduler at tcp://127.0.0.1:9 .*dask scheduler"):
        client.connect("tcp://127.0.0.1:9")
