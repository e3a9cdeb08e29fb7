"""What a batch decides before and after the painting: its jobs, what cannot work, and what is finished."""

import copy
import hashlib
import io
import json
import shutil
import sys
import zipfile

import pytest
from PIL import Image

import nst.lesson
from conftest import ROOT, SETTINGS

pytest.importorskip("distributed", reason="scripts/requirements-batch.txt is not installed")
sys.path.insert(0, str(ROOT / "scripts"))

import batch_client
import batch_worker
from batch_client import connect, first_to_paint, local_cluster, make_kit, pack
from batch_jobs import Job, check_jobs, input_files, next_link, plan_jobs, read_grid, with_paths
from batch_records import Paintings
from nst.errors import RunError

PHOTOS = ["images/summer_palace.jpg", "images/chelsea_the_cat.jpg"]
WEIGHTS, MIB = "a" * 64, 2**20


class Watch:
    """What a batch tells, in the order in which it tells it."""

    def __init__(self):
        self.told = []

    def __getattr__(self, word):
        return lambda job, text: self.told.append((word, job.name, str(text)))


# ---- the grid


def test_every_combination_is_a_job_named_after_what_differs(monkeypatch):
    monkeypatch.setenv("NST_ALPHA", "3")
    monkeypatch.setenv("NST_BETA", "7")
    grid, problems = read_grid(PHOTOS, ["images/great_wave.jpg"], ["BETA=50", "BETA=400.0", "EPOCHS=9", "BETA=50"])
    assert not problems
    jobs, problems = plan_jobs(grid)
    assert not problems
    assert [job.name for job in jobs] == [
        f"{photo}-great_wave-BETA={beta}" for photo in ("summer_palace", "chelsea_the_cat") for beta in (50, 400)
    ]
    settings = jobs[0].settings
    assert (settings["BETA"], settings["EPOCHS"]) == (50.0, 9), "the command line wins"
    assert settings["ALPHA"] == 3.0, "then an NST_ variable"
    assert settings["IMAGE_SIZE"] == 512, "then the notebook"


def test_lists_and_paths_have_numbers_in_the_names_of_folders():
    layers = [
        'STYLE_LAYERS=[("block1_conv1", 1)]',
        'STYLE_LAYERS=[("block2_conv1", 1)]',
        "SIZES=[64]",
        "SIZES=[64, 96]",
    ]
    jobs, problems = plan_jobs(read_grid(PHOTOS[:1], [], layers)[0])
    assert not problems
    assert [job.name.partition("auvers")[2] for job in jobs] == [
        f"-STYLE_LAYERS={i}-SIZES={j}" for i in (1, 2) for j in (1, 2)
    ]
    assert [job.settings["IMAGE_SIZE"] for job in jobs] == [64, 96, 64, 96]


def test_frames_are_sorted_by_their_numbers(tmp_path):
    for number in (10, 9, 1):
        (tmp_path / f"frame_{number}.png").touch()
    grid, _ = read_grid([str(tmp_path / "frame_*.png")], [], [])
    assert [path.rpartition("_")[2] for path in grid["CONTENT_IMAGE"]] == ["1.png", "9.png", "10.png"]


def test_all_that_cannot_work_is_named_at_once():
    assignments = ["BETA=-1", "EPOCHS=0", "FOO=1", "POOLING=max", "RESUME='x'", "WEIGHTS='auto'", "WEIGHTS='standin'"]
    grid, problems = read_grid(["nowhere/*.jpg"], ["missing.jpg"], assignments)
    assert len(problems) == 6
    for problem, part in zip(
        problems, ("nowhere/*.jpg", "missing.jpg", "FOO=1", "POOLING", "RESUME", "WEIGHTS"), strict=True
    ):
        assert part in problem
    assert problems[3].endswith("--set POOLING='\"max\"'.")
    jobs, problems = plan_jobs(grid | {"WEIGHTS": ["standin"]})
    assert not jobs
    assert {problem.split(" cannot work")[0] for problem in problems} == {"BETA = -1.0", "EPOCHS = 0"}


def test_values_that_cannot_work_together_are_named():
    grid, _ = read_grid(PHOTOS, [], ["ALPHA=0", "BETA=0", "BETA=1"])
    assert plan_jobs(grid)[1] == [
        "ALPHA = BETA = 0 leaves nothing to minimise: give at least one of them a value above 0."
    ]


def test_bad_variable_is_named(monkeypatch):
    monkeypatch.setenv("NST_EPOCHS", "many")
    assert plan_jobs({})[1] == ["NST_EPOCHS='many' does not convert. It must be a whole number."]


def test_a_chain_is_one_job_and_gives_init_its_values():
    (job,), _ = plan_jobs(read_grid(PHOTOS, [], [])[0], chain=True)
    assert [link.name.split("-")[0] for link in job.chain] == ["chelsea_the_cat"]
    assert "leave --set INIT away" in plan_jobs({"INIT": ["noise"]}, chain=True)[1][0]


def test_pictures_are_opened_before_anything_starts(tmp_path):
    (tmp_path / "web.jpg").write_text("<!doctype html>")
    jobs, _ = plan_jobs({"CONTENT_IMAGE": [*PHOTOS, str(tmp_path / "web.jpg")]})
    check_jobs(jobs)
    assert [bool(job.error) for job in jobs] == [False, False, True]
    assert "web page" in jobs[2].error


# ---- what travels


def test_every_picture_that_settings_name_travels_under_a_name_of_its_own(tmp_path):
    shutil.copy(PHOTOS[0], tmp_path / "summer_palace.jpg")
    other = str(tmp_path / "summer_palace.jpg")
    settings = SETTINGS | {"CONTENT_IMAGE": PHOTOS[0], "STYLE_IMAGE": [(other, 1.0), (PHOTOS[1], 2.0)]}
    settings |= {"STYLE_MASKS": [PHOTOS[0], other], "INIT": PHOTOS[1]}
    assert input_files(settings) == [PHOTOS[0], other, PHOTOS[1]]
    there, files, names = pack(settings)
    assert list(names.values()) == [PHOTOS[0], other, PHOTOS[1]]
    assert files == {path: (ROOT / here).read_bytes() for path, here in names.items()}
    assert with_paths(there, names.get) | {"OUTPUT_DIR": ""} == settings
    assert with_paths(settings | {"INIT": "noise"}, str.upper)["INIT"] == "noise"


def test_kit_that_arrives_damaged_is_refused(tmp_path):
    studio = batch_worker.Studio(b"kit", "name")
    studio.kit = b"bit"
    with pytest.raises(ValueError, match="arrived damaged: sha256 .*, expected "):
        studio.setup(None)


def test_weights_of_ones_own_travel(tmp_path, monkeypatch, tiny_vgg):
    (tmp_path / "mine.h5").write_bytes(b"weights")
    monkeypatch.setattr(batch_client, "load_vgg19", lambda weights, normalise: tiny_vgg._replace(name="mine.h5"))
    kit, weights, sha256 = make_kit(str(tmp_path / "mine.h5"))
    assert (weights, sha256) == ("pretrained-model/mine.h5", tiny_vgg.sha256)
    with zipfile.ZipFile(io.BytesIO(kit)) as archive:
        assert archive.read(weights) == b"weights"
        assert not any("standin" in name or "tests" in name for name in archive.namelist())
        assert archive.read("neural_style_transfer.ipynb") == nst.lesson.NOTEBOOK.read_bytes()


# ---- where it is painted


@pytest.mark.parametrize(
    ("free", "jobs", "asked", "workers"), [(64e9, 9, None, 4), (64e9, 3, None, 3), (64e9, 9, 2, 2)]
)
def test_local_workers_are_bounded_by_cores_and_jobs(monkeypatch, free, jobs, asked, workers):
    assert started(monkeypatch, free, [Job(SETTINGS, "x")] * jobs, asked) == (workers, str(8 // workers))


def test_local_workers_are_bounded_by_memory(monkeypatch):
    assert started(monkeypatch, 2 * batch_client.PROCESS_MEMORY + 500 * MIB, [Job(SETTINGS, "x")] * 9, None)[0] == 2
    assert started(monkeypatch, 500 * MIB, [Job(SETTINGS, "x")] * 9, None)[0] == 1, "it may still be enough"
    with pytest.raises(RunError, match="are free"):
        started(monkeypatch, 5 * MIB, [Job(SETTINGS | {"IMAGE_SIZE": 2000}, "x")], None)


def started(monkeypatch, free, jobs, asked):
    """Return how many workers a cluster would get on a machine with eight cores, and how many threads each."""

    class Started(Exception):
        pass

    def start(**options):
        raise Started(options["n_workers"], options["env"]["TF_NUM_INTRAOP_THREADS"])

    monkeypatch.setattr(batch_client.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.setattr("nst.tiles.free_memory", lambda: free)
    monkeypatch.setattr(batch_client, "free_memory", lambda: free)
    monkeypatch.setattr(batch_client, "LocalCluster", start)
    with pytest.raises(Started) as caught, local_cluster(jobs, asked):
        pass
    return caught.value.args


def test_scheduler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(batch_client, "SECONDS_TO_CONNECT", 0.2)
    with pytest.raises(RunError, match=r"no Dask scheduler at tcp://127.0.0.1:9 .*dask scheduler"):
        connect("tcp://127.0.0.1:9")


# ---- what is finished


@pytest.fixture
def job():
    return Job(copy.deepcopy(SETTINGS), "palace-wave")


@pytest.fixture
def archive(tmp_path):
    """A function that makes what comes back from a worker."""

    def make(job, weights=WEIGHTS, state="finished"):
        there, _, names = pack(job.settings)
        facts = {"state": state, "settings": there, "weights": {"sha256": weights}}
        facts["lesson"] = nst.lesson.describe_lesson(nst.lesson.run_lesson(train=False, environ={}))
        for key, setting in (("content_image", "CONTENT_IMAGE"), ("style_image", "STYLE_IMAGE")):
            facts[key] = {"file": there[setting], "sha256": sha256_of(names[there[setting]])}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as run:
            run.writestr("settings.json", json.dumps(facts))
            run.writestr("generated_image.png", b"picture")
        return buffer.getvalue(), names

    return make


def sha256_of(path):
    return hashlib.sha256((ROOT / path).read_bytes()).hexdigest()


def test_what_came_back_is_found_again_until_something_changes(tmp_path, job, archive, edit_notebook):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64)).save(photo)
    job.settings["CONTENT_IMAGE"] = str(photo)
    paintings = Paintings(tmp_path / "gallery", WEIGHTS)
    assert paintings.find(job) is None
    folder = paintings.add(job, *archive(job))
    assert folder == tmp_path / "gallery" / "palace-wave"
    assert json.loads((folder / "settings.json").read_text())["content_image"]["file"] == str(photo)
    again = Paintings(tmp_path / "gallery", WEIGHTS)
    assert again.find(job) == paintings.find(job) == folder
    assert again.find(Job(job.settings | {"BETA": 41.0}, job.name)) is None, "another setting"
    assert Paintings(tmp_path / "gallery", "b" * 64).find(job) is None, "other weights"
    Image.new("RGB", (64, 64), "white").save(photo)
    assert again.find(job) is None, "another picture"
    assert paintings.add(job, *archive(job)).name == "palace-wave-2", "nothing is overwritten"
    assert Paintings(tmp_path / "gallery", WEIGHTS).find(job).name == "palace-wave-2"
    edit_notebook()
    assert Paintings(tmp_path / "gallery", WEIGHTS).find(job) is None, "another lesson"


def test_folders_that_are_not_whole_do_not_count(tmp_path, job, archive):
    paintings = Paintings(tmp_path, WEIGHTS)
    folder = paintings.add(job, *archive(job))
    record = (folder / "settings.json").read_text()
    (folder / "settings.json").write_text(record[:50])
    assert Paintings(tmp_path, WEIGHTS).find(job) is None
    (folder / "settings.json").write_text(record.replace("finished", "stopped"))
    assert Paintings(tmp_path, WEIGHTS).find(job) is None
    (folder / "settings.json").write_text(record)
    (tmp_path / ".half.1.part").mkdir()
    assert Paintings(tmp_path, WEIGHTS).find(job) == folder
    assert not (tmp_path / ".half.1.part").exists(), "what a batch that was killed has left"
    (folder / "generated_image.png").unlink()
    assert Paintings(tmp_path, WEIGHTS).find(job) is None


@pytest.mark.parametrize("change", [{"weights": "b" * 64}, {"state": "stopped"}])
def test_what_comes_back_from_other_files_is_refused(tmp_path, job, archive, change):
    with pytest.raises(RunError, match="came back painted from other pictures, weights or cells"):
        Paintings(tmp_path, WEIGHTS).add(job, *archive(job, **change))
    assert not list(tmp_path.iterdir())


def test_output_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="--output"):
        Paintings(tmp_path / "file", WEIGHTS)


def test_links_that_are_painted_are_passed_over_and_a_broken_one_fails_the_rest(tmp_path, job, archive):
    paintings, watch = Paintings(tmp_path, WEIGHTS), Watch()
    second = Job(job.settings | {"BETA": 2.0}, "second")
    third = Job(job.settings | {"BETA": 3.0}, "third", error="it is broken")
    job.chain = (second, third, Job(job.settings, "fourth"))
    folder = paintings.add(job, *archive(job))
    link = first_to_paint(job, paintings, watch)
    picture = folder / "generated_image.png"
    assert (link.name, link.settings["INIT"], len(link.chain)) == ("second", picture.as_posix(), 2)
    assert watch.told == [("skipped", "palace-wave", str(folder))]
    assert first_to_paint(next_link(link, picture), paintings, watch) is None
    assert watch.told[1:] == [
        ("failed", "third", "it is broken"),
        ("failed", "fourth", f"it begins with {job.settings['CONTENT_IMAGE']}, which failed: it is broken"),
    ]
    assert first_to_paint(next_link(Job(job.settings, "last"), picture), paintings, watch) is None
