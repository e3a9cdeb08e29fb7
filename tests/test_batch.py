"""scripts/batch.py on a real Dask cluster: a scheduler and workers in processes of their own, without a repository."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import psutil
import pytest

from conftest import ROOT

pytest.importorskip("distributed", reason="scripts/requirements-batch.txt is not installed")

SMALL = [
    "IMAGE_SIZE=64",
    'PRECISION="float32"',
    'WEIGHTS="standin"',
    'STYLE_LAYERS=[("block1_conv1", 1.0)]',
]
ENDLESS = "EPOCHS=1000000"
PATIENCE = 120  # seconds after which a batch is ended, and its test fails rather than hangs

pytestmark = pytest.mark.slow


def environment():
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


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
    """A copy of the repository with another lesson and pictures that lie nowhere else."""
    copy = tmp_path_factory.mktemp("repository")
    for name in ("nst", "nst_utils.py", "scripts", "pretrained-model"):
        there = ROOT / name
        shutil.copytree(there, copy / name) if there.is_dir() else shutil.copy(there, copy)
    text = (ROOT / "neural_style_transfer.ipynb").read_text(encoding="utf-8")
    assert "def train_step(" in text
    (copy / "neural_style_transfer.ipynb").write_text(text.replace("One step of Adam", "One more step of Adam"))
    (copy / "my photos").mkdir()
    for name, source in (("a 100 % #1", "summer_palace"), ("b", "astronaut"), ("ç", "chelsea_the_cat")):
        shutil.copy(ROOT / "images" / f"{source}.jpg", copy / "my photos" / f"{name}.jpg")
    shutil.copy(ROOT / "images" / "great_wave.jpg", copy / "wave.jpg")
    return copy


@pytest.fixture
def batch(repository, tmp_path):
    """A function that starts scripts/batch.py, for all photos and one style unless told otherwise."""
    started = []

    def start(*settings, content=("my photos/*.jpg",), output=tmp_path / "gallery", options=()):
        command = [sys.executable, "-u", "scripts/batch.py", "--content", *content, "--style", "wave.jpg", *options]
        command += ["--output", str(output)]
        if not any(setting.startswith("EPOCHS=") for setting in settings):
            settings = "EPOCHS=5", *settings
        for setting in (*SMALL, *settings):
            command += ["--set", setting]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(
            command, cwd=repository, env=environment(), text=True, start_new_session=True, **pipes
        )
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


def read_until(process, wanted, count=1):
    """Return the lines that a batch prints until one has begun with a word for the count-th time."""
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        count -= line.startswith(wanted)
        if count == 0:
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


def pictures(records):
    return Counter((facts["settings"]["CONTENT_IMAGE"], facts["settings"]["BETA"]) for facts in records.values())


def test_killed_worker_costs_no_picture(cluster, batch, repository, tmp_path):
    process = batch("BETA=100", "BETA=400", options=["--scheduler", cluster.address])
    began = read_until(process, "began")[-1]
    victim = began.split(" on ")[1].split()[0]
    orphans = cluster.kill_worker(victim)
    _, alive = psutil.wait_procs(orphans, timeout=PATIENCE)
    assert not alive, "a process that paints ends with its worker"
    finish(process)
    records = painted(tmp_path / "gallery")
    contents = [f"my photos/{path.name}" for path in (repository / "my photos").iterdir()]
    assert pictures(records) == Counter((content, beta) for content in contents for beta in (100.0, 400.0))
    cluster.add_worker()


def test_lesson_and_pictures_travel_and_a_process_that_is_killed_costs_no_picture(cluster, batch, repository, tmp_path):
    process = batch(
        "EPOCHS=5", "EPOCHS=200", content=["my photos/a 100 % #1.jpg"], options=["--scheduler", cluster.address]
    )
    read_until(process, "finished")
    painting = [child for worker in cluster.workers.values() for child in psutil.Process(worker.pid).children()]
    assert painting
    for child in painting:
        assert Path(child.cmdline()[1]).is_relative_to(cluster.folder), "it runs what was sent"
        assert not any(Path(file.path).is_relative_to(repository) for file in child.open_files())
        child.kill()
    finish(process)  # Dask has it painted again: memory may have been short for a moment
    records = painted(tmp_path / "gallery")
    name = "a 100 % #1-wave-EPOCHS=200"
    facts = records[name]
    assert len(records) == 2
    assert facts["state"] == "finished"
    assert facts["lesson"]["as_saved"]
    program = "from nst.lesson import describe_lesson; print(describe_lesson({})['sha256'])"
    here, there = (
        subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True).stdout
        for folder in (ROOT, repository)
    )
    assert facts["lesson"]["sha256"] == there.strip() != here.strip(), "it was painted with the copy's own lesson"
    text = (tmp_path / "gallery" / name / "settings.json").read_text()
    assert '"file": "my photos/a 100 % #1.jpg"' in text
    assert str(cluster.folder) not in text
    assert facts["settings"]["WEIGHTS"] == "standin"


def test_broken_pictures_fail_alone_and_those_that_cannot_be_opened_are_named_first(
    cluster, batch, repository, tmp_path
):
    good = repository / "my photos" / "b.jpg"
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.read_bytes()[:20_000])
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    content = [str(cut), str(text), "my photos/b.jpg"]
    lines = finish(batch(content=content, options=["--scheduler", cluster.address]), status=1)
    assert list(painted(tmp_path / "gallery")) == ["b-wave"]
    first = [line for line in lines if line.startswith(("began", "failed"))][0]
    assert first.startswith(f"failed    text-wave: {text} is no picture that Pillow can read.")
    summary = "\n".join(lines[lines.index("1 painted, 0 there already, 2 failed.") :])
    assert f"cut-wave: {cut} cannot be decoded" in summary
    assert f"text-wave: {text} is no picture" in summary
    page = (tmp_path / "gallery" / "index.html").read_text()
    assert "1 picture, 2 failed" in page
    assert "cannot be decoded" in page


def test_chain_begins_with_the_picture_before_and_ends_at_a_broken_one(cluster, batch, repository, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((repository / "wave.jpg").read_bytes()[:20_000])
    options = ["--chain", "--scheduler", cluster.address]
    lines = finish(batch(content=["my photos/b.jpg", str(cut), "my photos/ç.jpg"], options=options), status=1)
    assert names_after(lines, "finished") == ["b-wave"]
    assert f"ç-wave: it begins with {cut}, which failed: {cut} cannot be decoded" in "\n".join(lines)
    lines = finish(batch(content=["my photos/b.jpg", "my photos/ç.jpg"], options=options))
    assert names_after(lines, "there") == ["b-wave"]
    before = tmp_path / "gallery" / "b-wave" / "generated_image.png"
    facts = painted(tmp_path / "gallery")["ç-wave"]
    assert facts["settings"]["INIT"] == before.as_posix()
    assert facts["init_image"] == {"file": before.as_posix(), "sha256": hashlib.sha256(before.read_bytes()).hexdigest()}


def test_killed_client_is_started_again_and_repeats_nothing(cluster, batch, tmp_path):
    options = ["--scheduler", cluster.address]
    process = batch("BETA=100", "BETA=400", options=options)
    read_until(process, "finished", count=2)
    process.kill()
    process.communicate()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "gallery").glob("*/settings.json")}
    assert len(before) >= 2
    lines = finish(batch("BETA=100", "BETA=400", options=options))
    assert len(names_after(lines, "there")) == len(before)
    assert len(names_after(lines, "finished")) == 6 - len(before)
    assert set(pictures(painted(tmp_path / "gallery")).values()) == {1}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_workers_give_up_what_a_killed_client_wanted(cluster, batch):
    options = ["--scheduler", cluster.address]
    process = batch(ENDLESS, options=options)
    read_until(process, "began", count=2)
    process.kill()
    process.communicate()
    finish(batch(content=["my photos/b.jpg"], options=options))


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
def test_signals_end_a_cluster_on_this_machine_without_a_traceback(batch, tmp_path, number, status):
    process = batch(ENDLESS, content=["my photos/b.jpg"])
    assert "http://127.0.0.1:" in "\n".join(read_until(process, "began")), "the dashboard's address"
    children = psutil.Process(process.pid).children(recursive=True)
    send = os.killpg if number == signal.SIGINT else os.kill  # Ctrl-C goes to all that the terminal has started
    send(process.pid, number)
    lines = finish(process, status=status)
    assert "Stopped. Give the same command again, and it goes on with what is missing." in lines
    assert not psutil.wait_procs(children, timeout=PATIENCE)[1]
    assert not painted(tmp_path / "gallery")
