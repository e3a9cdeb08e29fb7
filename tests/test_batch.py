"""Batches on a real Dask cluster: a scheduler and workers in processes of their own, without a repository."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from conftest import NOTEBOOK, ROOT
from nst.lesson import Lesson

pytest.importorskip("distributed", reason="batch/requirements.txt is not installed")

SMALL = ["IMAGE_SIZE=64", 'PRECISION="float32"', 'WEIGHTS="standin"', 'STYLE_LAYERS=[("block1_conv1", 1.0)]']
ENDLESS = "EPOCHS=1000000"
PATIENCE = 400  # seconds after which a batch is ended, and its test fails rather than hangs

pytestmark = pytest.mark.slow

BAD = os.fsdecode(b"a $1$ 100 % #1 \xe9")  # photos of these names are in the repository
LONG = "雪" * 79


def environment():
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONIOENCODING": "ascii"}


class Cluster:
    """A Dask scheduler and workers on the loopback address, which run in a folder of their own."""

    def __init__(self, folder):
        self.folder, self.workers = folder, {}
        command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self.scheduler, self.address = self._start(command, "Scheduler at:")
        for _ in range(2):
            self.add_worker()

    def add_worker(self):
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder)]
        process, address = self._start(["worker", self.address, "--host", "127.0.0.1", *options], "Start worker at:")
        self.workers[address] = process

    def kill_worker(self, address):
        """Kill a worker with SIGKILL; return the processes that it had started."""
        process = self.workers.pop(address)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        process.stderr.close()
        return children

    def _start(self, command, announced):
        """Start a part of the cluster; return its process and the address that it announces."""
        command = [sys.executable, "-m", "dask", *command]
        process = subprocess.Popen(command, cwd=self.folder, env=environment(), stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if announced in line:
                return process, line.split()[-1]
        raise AssertionError(f"{' '.join(command)} ended with status {process.wait()}")

    def close(self):
        for processes in (self.workers.values(), [self.scheduler]):  # workers say goodbye to the scheduler
            for process in processes:
                process.terminate()
            for process in processes:
                process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("elsewhere"))
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the repository with a lesson of its own, and pictures that lie nowhere else."""
    copy = tmp_path_factory.mktemp("repository")
    for name in ("nst", "nst_utils.py", "batch", "pretrained-model"):
        there = ROOT / name
        shutil.copytree(there, copy / name) if there.is_dir() else shutil.copy(there, copy)
    shutil.copy(NOTEBOOK, copy / "my lesson.ipynb")
    (copy / "my photos").mkdir()
    for name, source in ((BAD, "summer_palace"), ("b", "astronaut"), (LONG, "chelsea_the_cat")):
        shutil.copy(ROOT / "images" / f"{source}.jpg", copy / "my photos" / f"{name}.jpg")
    shutil.copy(ROOT / "images" / "great_wave.jpg", copy / "wave.jpg")
    return copy


@pytest.fixture
def batch(repository, tmp_path):
    """A function that starts a batch of the lesson, for all photos and one style unless told otherwise."""
    started = []

    def start(*settings, content=("my photos",), options=()):
        command = [sys.executable, "-u", "-m", "batch", "--content", *content, "--style", "wave.jpg", *options]
        command += ["--lesson", "my lesson.ipynb", "--output", str(tmp_path / "gallery")]
        if not any(setting.startswith("EPOCHS=") for setting in settings):
            settings = "EPOCHS=5", *settings
        for setting in (*SMALL, *settings):
            command += ["--set", setting]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(command, cwd=repository, env=environment(), start_new_session=True, **pipes)
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        started.append((process, watchdog))
        return process

    yield start
    for process, watchdog in started:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def read_until(process, wanted):
    """Return the lines that a batch prints until one begins with a word."""
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith(wanted):
            return lines
    raise AssertionError("the batch ended before:\n" + "\n".join(lines))


def finish(process, status=0):
    """Return the lines that a batch prints until it ends, and check how it ends."""
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, text
    assert "Traceback" not in text
    return text.splitlines()


def names_after(lines, word):
    """Return the names of the jobs or folders of which a batch tells with a word."""
    return [line.split(maxsplit=1)[1].split(" (")[0].split(" in ")[0] for line in lines if line.startswith(word)]


def painted(folder):
    """Return the records of a batch's folder, each of a picture that is there."""
    records = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/settings.json")}
    assert all((folder / name / "generated_image.png").is_file() for name in records)
    assert not list(folder.glob(".*")), "nothing half is left"
    return records


def test_killed_worker_costs_no_picture(cluster, batch, repository, tmp_path):
    process = batch("BETA=100", "BETA=400", options=["--scheduler", cluster.address])
    began = read_until(process, "began")[-1]
    victim = began.split(" on ")[1].split()[0]
    orphans = cluster.kill_worker(victim)
    _, alive = psutil.wait_procs(orphans, timeout=PATIENCE)
    assert not alive, "a process that paints ends with its worker"
    lines = finish(process)
    assert f"lost      {victim}: what it painted goes to another, as soon as there is one" in lines
    records = painted(tmp_path / "gallery").values()
    done = {(facts["settings"]["CONTENT_IMAGE"], facts["settings"]["BETA"]) for facts in records}
    assert len(records) == len(done) == 6, "each is painted once"
    cluster.add_worker()


def test_lesson_and_pictures_travel_and_a_process_that_is_killed_costs_no_picture(cluster, batch, repository, tmp_path):
    photo = f"my photos/{BAD}.jpg"
    process = batch("EPOCHS=5", "EPOCHS=200", content=[photo], options=["--scheduler", cluster.address])
    assert read_until(process, "finished")[0] == "2 pictures: 1 photo ? 1 painting ? 2 values of EPOCHS."
    painting = [child for worker in cluster.workers.values() for child in psutil.Process(worker.pid).children()]
    assert painting
    for child in painting:
        assert Path(child.cwd()).is_relative_to(cluster.folder)
        assert not any(Path(file.path).is_relative_to(repository) for file in child.open_files())
        child.kill()
    finish(process)  # Dask has it painted again: memory may have been short for a moment
    _, facts = painted(tmp_path / "gallery").values()
    assert facts["content_image"]["file"] == photo
    assert (facts["lesson"]["notebook"], facts["lesson"]["cells"]) == ("my lesson.ipynb", Lesson().sha256)
    assert (facts["state"], facts["settings"]["WEIGHTS"]) == ("finished", "standin")
    assert str(cluster.folder) not in json.dumps(facts)
    assert not list(cluster.folder.glob("**/nst-*")), "the workers keep nothing of it"


def test_broken_pictures_fail_alone_but_end_their_chain(cluster, batch, repository, tmp_path):
    cut, text, good, last = str(tmp_path / "cut.jpg"), tmp_path / "text.jpg", "my photos/b.jpg", f"my photos/{LONG}.jpg"
    Path(cut).write_bytes((repository / good).read_bytes()[:20_000])
    text.write_text("no picture")
    options = ["--scheduler", cluster.address]
    lines = finish(batch(content=[cut, str(text), good], options=options), status=1)
    first = next(line for line in lines if line.startswith(("began", "failed")))
    assert first.startswith(f"failed    text-wave: {text} is no picture")
    summary = "\n".join(lines[lines.index("1 painted, 0 there already, 2 failed.") :])
    page = (tmp_path / "gallery" / "index.html").read_text()
    for message in (f"cut-wave: {cut} cannot be decoded", f"text-wave: {text} is no picture"):
        assert message in summary
        assert message.partition(": ")[2] in page
    options += ["--chain"]
    lines = finish(batch(content=[good, cut, last], options=options), status=1)
    assert f"it begins with the picture of {cut}, which failed." in "\n".join(lines)
    lines = finish(batch(content=[good, last], options=options))
    assert names_after(lines, "there") == ["b-wave"]
    before = tmp_path / "gallery" / "b-wave" / "generated_image.png"
    (facts,) = [facts for name, facts in painted(tmp_path / "gallery").items() if name.startswith("雪")]
    assert facts["init_image"] == {"file": before.as_posix(), "sha256": hashlib.sha256(before.read_bytes()).hexdigest()}


def test_killed_client_is_started_again_repeats_nothing_and_leaves_nothing(cluster, batch, tmp_path):
    options = ["--scheduler", cluster.address]
    process = batch("EPOCHS=5", ENDLESS, options=options)
    read_until(process, "finished")
    process.kill()
    process.communicate()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "gallery").glob("*/settings.json")}
    lines = finish(batch("EPOCHS=5", options=options))  # the workers have given up what is endless
    assert len(names_after(lines, "there")) == len(before) >= 1
    assert len(names_after(lines, "finished")) == 3 - len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(painted(tmp_path / "gallery")) == 3
    assert not list(cluster.folder.glob("**/nst-*")), "the workers keep nothing of what it had sent"


def test_scheduler_that_goes_is_named(batch, tmp_path):
    (tmp_path / "own").mkdir()
    cluster = Cluster(tmp_path / "own")
    process = batch(ENDLESS, content=["my photos/b.jpg"], options=["--scheduler", cluster.address])
    read_until(process, "began")
    for part in (cluster.scheduler, *cluster.workers.values()):
        part.kill()
        part.communicate()
    lines = finish(process, status=1)
    assert "The scheduler has gone, and the jobs with it. Start the batch again: it goes on." in lines


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_cluster_on_this_machine_without_a_traceback(batch, tmp_path, monkeypatch, number, status):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    process = batch(ENDLESS, content=["my photos/b.jpg"])
    assert "http://127.0.0.1:" in "\n".join(read_until(process, "began")), "the dashboard's address"
    children = psutil.Process(process.pid).children(recursive=True)
    send = os.killpg if number == signal.SIGINT else os.kill  # Ctrl-C goes to all that the terminal has started
    send(process.pid, number)
    lines = finish(process, status=status)
    assert "Stopped. Give the same command again, and it goes on with what is missing." in lines
    assert not psutil.wait_procs(children, timeout=PATIENCE)[1]
    assert not painted(tmp_path / "gallery")
    assert list((tmp_path / "temporary").iterdir()) == []
