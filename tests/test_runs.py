"""The run as the training loop sees it: settings that take effect, sizes, stopping, and what goes wrong."""

import gc
import importlib
import math
import os
import shutil
import signal
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import nst.records
import nst_utils
from conftest import (
    POSIX,
    SETTINGS,
    costs_of,
    facts_of,
    paint,
    prepare,
    raiser,
    saved_picture,
    stop_at,
    train,
    write_lesson,
)
from nst.backend import tf
from nst.costs import doubts
from nst.images import load_image, to_uint8
from nst.lesson import Lesson, run_cell
from nst.settings import Settings


def edit_cell(names, old, new):
    """Run the lesson's cell that has a text once more, with another in its place."""
    (source,) = [source for source, _ in Lesson().cells if old in source]
    run_cell(source.replace(old, new), names)


# ---- settings as they are when the training cell is run


def test_what_is_recorded_is_what_computed(folder):
    """Though settings are edited while the run goes on, lists in place: the training cell run again takes them."""
    names = prepare(SAVE_EVERY=1)
    edits = {"BETA": 999.0, "STYLE_LAYERS": [("block2_conv2", 0.7)], "CONTENT_IMAGE": "images/astronaut.jpg"}

    def edit(run):
        names["STYLE_LAYERS"][0] = edits["STYLE_LAYERS"][0]
        names.update({"BETA": 999.0, "CONTENT_IMAGE": edits["CONTENT_IMAGE"]})

    whole, edited, after = train(names), train(names, edit), train(names)
    assert costs_of(edited) == costs_of(whole)
    assert facts_of(edited.folder)["settings"] == facts_of(whole.folder)["settings"]
    assert np.array_equal(saved_picture(edited.folder), saved_picture(whole.folder))
    assert costs_of(after) == costs_of(paint(SAVE_EVERY=1, **edits))
    assert after.settings == whole.settings | edits
    assert np.array_equal(after.content_image, load_image("images/astronaut.jpg", 64)), "what the result cell shows"
    J = [10.0 * J_content + 999.0 * J_style for _, J_content, J_style in costs_of(after)]
    assert [J for J, _, _ in costs_of(after)] == pytest.approx(J, rel=1e-5), "equation (5) of what is recorded"


@pytest.mark.parametrize("name", ["load_network", "compute_layer_style_cost"])
def test_an_edited_function_is_what_trains_and_that_is_recorded(folder, name):
    edits = {"load_network": ("settings.POOLING", '"average"'), "compute_layer_style_cost": ("(4 * n_C", "(2 * n_C")}
    names = prepare()
    before = train(names)
    edit_cell(names, *edits[name])
    after = train(names)
    if name == "load_network":
        assert costs_of(after) == costs_of(paint(POOLING="average"))
    else:
        assert costs_of(after)[0][2] == pytest.approx(2 * costs_of(before)[0][2])
    first, second = (facts_of(run.folder)["lesson"]["functions"] for run in (before, after))
    assert [function for function in first if first[function] != second[function]] == [name]


# ---- sizes


def test_a_larger_size_starts_from_the_picture_before(folder):
    pictures = []
    run = paint(lambda run: pictures.append(run.generated_image.numpy()), SIZES=[48, 96], EPOCHS=10)
    small, large = pictures[9], pictures[10]  # after 10 epochs at 48 pixels, and one at 96
    assert (small.shape, large.shape) == ((1, 32, 48, 3), (1, 64, 96, 3))
    shrunk = tf.image.resize(large, (32, 48), antialias=True)
    assert np.abs(shrunk - small).mean() < 0.02, "the picture before, and a gentle step"
    assert np.abs(shrunk - load_image(SETTINGS["CONTENT_IMAGE"], 48)).mean() > 0.04, "and not the photo"
    assert [path.name for path in run.snapshots] == [f"image_{epoch:05d}.jpg" for epoch in range(0, 21, 2)]
    assert [Image.open(path).width for path in run.snapshots] == [48] * 6 + [96] * 5


def test_plan_of_sizes():
    def plan(shape=(300, 400), **settings):
        return nst_utils.plan_sizes(Settings({"EPOCHS": 200} | settings), [shape, (400, 400)])

    assert plan(IMAGE_SIZE=512, EPOCHS=160) == [(181, 160), (256, 80), (362, 40), (512, 20)]
    assert plan(IMAGE_SIZE=200) == [(200, 200)]
    assert [epochs for _, epochs in plan(IMAGE_SIZE=3840)] == [200, 100, 50, 25, *6 * [20]], "at least 20 of a long run"
    assert plan(IMAGE_SIZE=400, EPOCHS=4) == [(200, 4), (283, 4), (400, 4)], "and not more than the first ones"
    assert plan(IMAGE_SIZE=1200, SIZES=[300, 1200]) == [(300, 200), (1200, 100)], "as given, and never before them"
    assert plan((120, 1200), IMAGE_SIZE=1200)[0] == (424, 200), "at 300 its short side has 30 pixels: too few"
    with pytest.raises(nst_utils.SettingsError, match="SIZES begins with 200.*Begin with 320 or more"):
        plan((120, 1200), IMAGE_SIZE=1200, SIZES=[200, 1200])
    with pytest.raises(nst_utils.SettingsError, match="SIZES begins with 312.*Begin with 320 or more"):
        plan((34, 340), IMAGE_SIZE=340, SIZES=[312, 340])


# ---- stopped


@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_stop_after_the_step_and_keep_everything(folder, capsys, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    run = paint(lambda run: len(run.history) == 7 and os.kill(os.getpid(), number), EPOCHS=50, OUTPUT_DIR=str(folder))
    assert signal.getsignal(number) == before
    facts = facts_of(folder)
    assert (run.state, facts["state"], facts["epochs_done"], len(run.history)) == ("stopped", "stopped", 7, 7)
    assert np.array_equal(saved_picture(folder), to_uint8(run.generated_image))
    out = capsys.readouterr().out
    assert "Stopped after epoch 7 of 50" in out
    assert f'RESUME = "{folder.as_posix()}"' in out


@POSIX
def test_signals_while_the_result_is_saved_lose_nothing(folder, monkeypatch):
    before, save = signal.getsignal(signal.SIGTERM), nst.records.Records.save_picture

    def interrupted(records, image):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        save(records, image)

    monkeypatch.setattr(nst.records.Records, "save_picture", interrupted)
    run = paint(OUTPUT_DIR=str(folder))
    assert run.state == facts_of(folder)["state"] == "finished"
    assert np.array_equal(saved_picture(folder), to_uint8(run.generated_image))
    assert signal.getsignal(signal.SIGTERM) == before


@POSIX
@pytest.mark.parametrize("found", [None, signal.SIG_IGN], ids=["not Python's", "ignored"])
def test_handlers_that_must_stay_are_left_alone(folder, monkeypatch, found):
    """One that Python has not set could not be given back; one that is ignored was asked to be, by nohup, say."""
    getsignal, handle, touched = signal.getsignal, signal.signal, set()
    monkeypatch.setattr(signal, "getsignal", lambda n: found if n == signal.SIGHUP else getsignal(n))
    monkeypatch.setattr(signal, "signal", lambda n, handler: touched.add(n) or handle(n, handler))
    assert paint(EPOCHS=1).state == "finished"
    assert touched == {signal.SIGINT, signal.SIGTERM}


@POSIX
def test_interrupting_twice_does_not_wait(folder):
    def twice(run):
        if len(run.history) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        paint(twice, EPOCHS=50, OUTPUT_DIR=str(folder))
    assert (facts_of(folder)["state"], facts_of(folder)["epochs_done"]) == ("stopped", 3)
    assert len(paint(stop_at(4), RESUME=str(folder)).history) == 4


def test_stopped_before_the_first_epoch_is_begun_and_can_go_on(folder, capsys):
    """Else the cells below would have nothing to show."""
    names = prepare(OUTPUT_DIR=str(folder))
    edit_cell(names, "as run:\n", "as run:\n    run.stop()\n")
    assert np.array_equal(names["run"].generated_image, names["run"].content_image)
    assert "Stopped after epoch 0 of 5" in capsys.readouterr().out
    assert facts_of(folder)["state"] == "stopped"
    assert len(paint(RESUME=str(folder)).history) == 5


# ---- gone wrong


def test_failed_run_keeps_what_there_is_and_can_go_on(folder):
    names = prepare(OUTPUT_DIR=str(folder), EPOCHS=9)
    with pytest.raises(ZeroDivisionError):
        train(names, lambda run: 1 / (len(run.history) - 5))
    run, facts = names["run"], facts_of(folder)
    assert (run.state, facts["state"], facts["epochs_done"]) == ("failed", "failed", 5)
    assert np.array_equal(saved_picture(folder), to_uint8(run.generated_image))
    assert costs_of(paint(RESUME=str(folder))) == costs_of(paint(EPOCHS=9)), "from the checkpoint after 4 epochs"


def test_weight_that_is_far_too_large_is_named_and_the_last_picture_is_kept(folder):
    """The costs stay finite here, since a ReLU makes zero of NaN: the picture tells."""
    names = prepare(OUTPUT_DIR=str(folder), SAVE_EVERY=1, SMOOTHNESS=1e25)
    with pytest.raises(nst_utils.RunError, match=r"not finite: .* The likely cause is SMOOTHNESS = 1e\+25.*lower it"):
        train(names)
    run = names["run"]
    assert run.state == facts_of(folder)["state"] == "failed"
    assert len(run.history) == facts_of(folder)["epochs_done"] >= 1
    assert np.isfinite(run.generated_image).all()
    assert np.array_equal(saved_picture(folder), to_uint8(run.generated_image))
    with np.load(folder / "checkpoint.npz") as checkpoint:
        assert np.array_equal(checkpoint["image"], run.generated_image), "the checkpoint's picture"


def test_a_function_that_returns_no_network_is_told():
    names = prepare()
    edit_cell(names, "return nst_utils.get_layer_outputs", "nst_utils.get_layer_outputs")
    with pytest.raises(
        nst_utils.RunError, match="^load_network returned NoneType: it must return what get_layer_outputs"
    ):
        train(names)


TWO_LAYERS = {"STYLE_LAYERS": [("block1_conv1", 0.5), ("block2_conv1", 0.5)]}
TILES = {"IMAGE_SIZE": 96, "TILE": 64}
SUM, NO_SUM = "return tf.reduce_sum((a_C - a_G) ** 2)", "return (a_C - a_G) ** 2"
NONE = ".*At hand: .* None.*\nNone comes from a function that returns nothing"
TRANSPOSED, TALL = "A = tf.transpose(tf.reshape(a, (n_H * n_W, n_C)))", "A = tf.reshape(a, (n_H * n_W, n_C))"
GROWS = r"^mean_gram_matrix returns \(128, 128\) for 128 positions and \(256, 256\) for 256. It must forget"
SHAPES = r"^In gram_matrix, line 11 of its cell:\n +return .*\(A, A\)\n.*: Matrix size-incompatible: .*\nAt hand: A \(2"


@pytest.mark.parametrize(
    ("old", "new", "settings", "message"),
    [
        ("return tf.reduce_sum((a_C", "tf.reduce_sum((a_C", {}, r"(?s)^In total_cost, line 3 .*" + NONE),
        ("return tf.reduce_sum((a_C", "tf.reduce_sum((a_C", TILES, r"(?s)^In total_cost, line 3 .*" + NONE),
        ("return tf.cast(alpha", "tf.cast(alpha", {}, "(?s)^In train_step, line 11 .*hand: J None.*\nNone comes"),
        ("return J, J_content", "J, J_content", {}, r"(?s)^In line 9 of the cell:.*J_style = step.*\nNone comes from"),
        ("return J, J_content, J_style", "return J, J_content, None", {}, "^J_style is None: the function that"),
        (SUM, NO_SUM, {}, r"^J_content must be one number, and is \(1, 22, 32, 3\): add it up in its function"),
        ("return tf.reduce_sum(diff", "return (diff", {}, r"^J_style must be one number, and is \(2, 2\)"),
        (
            "return tf.reduce_sum(diff",
            "return (diff",
            TWO_LAYERS,
            r"(?s)^In compute_style_cost.* are 2 and 3.*\nA cost must",
        ),
        ("return gram_matrix(A) /", "gram_matrix(A) /", {}, "^mean_gram_matrix returns NoneType, no tensor: let it"),
        (
            "return tf.matmul(A, A, tr",
            "tf.matmul(A, A, tr",
            {},
            "(?s)^In mean_gram_matrix.*return gram_matrix.*\nNone comes from",
        ),
        (
            "cost(a_C, a_G)",
            "cost(a_C[3], a_G)",
            {},
            r"(?s)^In train_step, line .*\nIndexError: list index out of range",
        ),
        (TRANSPOSED, TALL, {}, GROWS),
        ("matmul(A, A, transpose_b=True)", "matmul(A, A)", {}, SHAPES),
        ("return tf.cast(", "return tf.sqrt(J_content) + tf.cast(", {}, "^In epoch 0 not finite: the picture. Look at"),
        ("/ (4 * n_C", "/ (0 * n_C", {}, "^In epoch 0 not finite: J, J_style. Look at the function of J_style: a div"),
        ("return J, J_content, J_style", "return J", {}, "(?s)^In line 9 of the cell:.*\nOne number is there where"),
        (
            "return tf.cast(alpha",
            "return tf.gather(tf.zeros(2), tf.cast(J_content + 5.0, tf.int32)) * tf.cast(alpha",
            {},
            r"^In total_cost, line 3 of its cell:\n +return tf.gather.*\nInvalidArgumentError: indices = 5 is not in",
        ),
        (
            "def total_cost(J_content, J_style, alpha=10, beta=40)",
            "def total_cost(J_content, J_style)",
            {},
            r"(?s)\nTypeError: total_cost.. got an",
        ),
        ("[(gradient, gen", "[(None, gen", {}, r"(?s)^In train_step.*optimizer.apply_.*\nThe cost must depend"),
    ],
)
def test_an_edited_function_that_goes_wrong_is_told_in_a_sentence(folder, old, new, settings, message):
    """In the first step, with the line or the cost; and below it nothing is shown as if it were painted."""
    names = prepare(**settings)
    edit_cell(names, old, new)
    with pytest.raises(nst_utils.RunError, match=message):
        train(names)
    for name in ("picture", "generated_image", "content_image", "style_images"):
        with pytest.raises(nst_utils.RunError, match="^Nothing was painted in this run. Mend what its"):
            getattr(names["run"], name)
    with pytest.raises(nst_utils.RunError, match="^Nothing was painted in this run, so there are no snapshots"):
        nst_utils.show_snapshots(names["run"].snapshots)


def test_errors_of_the_helpers_stay_as_they_are(folder, monkeypatch):
    """In full: a line of the training cell would say nothing of them."""
    monkeypatch.setattr(nst_utils.Run, "look_at_style", lambda run, images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        paint()


@pytest.mark.parametrize("cost", ["tf.constant(3.0)", "tf.reduce_sum(a_C ** 2)"])
def test_a_cost_that_no_picture_changes_is_told(folder, capsys, cost):
    names = prepare()
    edit_cell(names, "return tf.reduce_sum((a_C - a_G) ** 2) / (4 * n_H * n_W * n_C)", f"return {cost}")
    train(names)
    said = "The first step has not changed J_content: nothing is left to improve, or what computes it does not look at"
    assert capsys.readouterr().out.count(said) == 1
    paint()
    assert "The first step" not in capsys.readouterr().out


def test_a_cost_below_zero_is_told(folder, capsys):
    names = prepare(EPOCHS=12)
    edit_cell(names, "return tf.cast(alpha", "return -tf.cast(alpha")
    run = train(names)
    assert (
        capsys.readouterr().out.count("Below 0, which a cost never is: J. Look for a sign, or for a missing squ") == 1
    )
    run.history = [{"epoch": n, "seconds": 0.0, "J": 1.0 - n, "J_style": 1.0} for n in range(3)]
    run.history += [row | {"J": J} for row, J in zip(run.history[1:], (0.5, -0.5), strict=True)]
    said = [bool(doubts(run.history[: n + 1])) for n in range(5)]
    assert said == [False, True, True, False, False], "J_style is as it was, J below 0, and no more of it"
    assert repr(run) == f"<Run in {run.folder}: finished>"


def test_cost_that_is_no_number_later_ends_the_run_with_a_sentence(folder, monkeypatch):
    names, record = prepare(OUTPUT_DIR=str(folder), EPOCHS=9), nst_utils.Run.record
    costs = {"J": 1.0, "J_content": 0.0, "J_style": math.nan}
    with pytest.raises(nst_utils.RunError, match="In epoch 5 not finite: J_style. .*after epoch 4 again"):
        monkeypatch.setattr(
            nst_utils.Run, "record", lambda run, **own: record(run, **(costs if len(run.history) == 5 else own))
        )
        train(names)
    assert len(names["run"].history) == facts_of(folder)["epochs_done"] == 4


def test_exhausted_memory_names_what_to_lower(folder):
    def exhaust(run):
        if len(run.history) == 3:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    message = r"does not hold a picture of 64×43 .* Set TILE = 512, or IMAGE_SIZE = 44 or less"
    with pytest.raises(nst_utils.RunError, match=message) as error:
        paint(exhaust, OUTPUT_DIR=str(folder))
    assert error.value.__suppress_context__, "TensorFlow's own pages of text are not shown"
    assert facts_of(folder)["state"] == "failed"
    assert len(paint(RESUME=str(folder)).history) == 5


def test_a_run_that_is_over_leaves_no_graph_in_memory(folder):
    """Else many runs in one kernel, as in going_further.ipynb, would fill it: the graph holds the weights."""
    names = prepare(EPOCHS=2)
    train(names)
    arguments = [names[name] for name in ("run", "generated_image", "a_C", "a_S", "optimizer")]
    graph = weakref.ref(names["step"].get_concrete_function(*arguments).graph)
    assert graph() is not None
    del names, arguments
    gc.collect()
    assert graph() is None


@pytest.mark.skipif(sys.platform == "win32", reason="names of files are not bytes there")
@pytest.mark.parametrize("name", ["山" * 79, "の" * 60 + " $x_1$ 'q'"])
def test_names_of_any_letters_and_lengths_make_a_folder(folder, tmp_path, name):
    photo, style = tmp_path / f"{name}.jpg", tmp_path / f"{name}2.jpg"
    shutil.copy(SETTINGS["CONTENT_IMAGE"], photo)
    shutil.copy(SETTINGS["STYLE_IMAGE"], style)
    run = paint(CONTENT_IMAGE=str(photo), STYLE_IMAGE=str(style), EPOCHS=1)
    assert run.state == "finished"
    for part in run.folder.name.removesuffix("-001").split("-"):
        assert name.startswith(part), "cut between letters"
        assert 60 < len(part.encode()) <= 80


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("run.record(", "dict(", "The training loop has not called run.record, which counts the epochs"),
        ("mean_gram_matrix)", "mean_gram_matrix, lambda *_: None)", "^<lambda> returns None: it must return a list of"),
        ("tf.Variable(size.start)", "size.start", r"What is painted must be a tf.Variable: generated_image = tf.Var"),
        (
            ".epochs(generated_image, optimizer",
            ".epochs(generated_image, optimizer, dict",
            r"^dict returns dict: it must",
        ),
        (
            "tf.Variable(size.start)",
            "tf.Variable(size.start[0])",
            r"^picture returns an image of shape .\d+, \d+, 3.: it",
        ),
        (
            "tf.Variable(size.start)",
            "tf.Variable(255 * size.start)",
            "^picture has values as large as 255, and those of",
        ),
        ("at_style(size.style_images)", "at_style(size.style_images[0])", "^look_at_style takes the list of all style"),
        ("run.record(", "run.record(J=J); run.record(", "^run.record is called once in each epoch of a loop over run"),
        ("run.epochs(generated_image, optimizer)", "range(size.epochs)", "^run.record is called once in each epoch of"),
        (
            "(generated_image, optimizer)",
            "(generated_image, optimizer, lambda x: x)",
            "^picture must be a function of no arguments .missing",
        ),
        ("mean_gram_matrix)", "mean_gram_matrix, lambda *_: [].sizes)", r"(?s)^In a lambda, line 1 .*has no attribute"),
        (
            "load_network, mean",
            "lambda _: tf.keras.Sequential(), mean",
            "^<lambda> returned Sequential: it must return",
        ),
        ("load_network, mean", "load_network(settings), mean", "^Run takes the function that makes the network, such"),
        (
            "run.look(size.content_image)",
            "run.look(size.style_images)",
            "An image has the shape .1, H, W, 3., and this",
        ),
        (
            "(generated_image, optimizer)",
            "(generated_image, optimizer, size.start)",
            "^picture must be a function: leave the brackets",
        ),
        ("tf.Variable(size.start)", "tf.Variable(size.start, trainable=False)", "^What is painted cannot be trained"),
        ("run.record(J=J,", "run.record(epoch=epoch, J=J,", "^run.record counts by itself: leave epoch out"),
        ("J_style=J_style)", "**{f'J{epoch}': J})", "^run.record gets J, J_content, J1, and got J, J_content, J0 in"),
        ("mean_gram_matrix)", "mean_gram_matrix, lambda *_: zip([64], [3]))", "^<lambda> returns <zip .*: it must ret"),
        (
            "mean_gram_matrix)",
            "mean_gram_matrix, lambda *_: [(64, 1.5)])",
            "^<lambda> returns .*, whole numbers above 0",
        ),
        ("mean_gram_matrix)", "mean_gram_matrix, lambda *_: [64, 96])", "^<lambda> returns .64, 96.: it must return a"),
        ("J, J_content, J_style = step", "J_content, J_style = step", r"(?s)^In line 9 of the cell:.*too many values"),
        (
            "run.look(size.content_image)",
            "run.look(255 * size.content_image)",
            "^What is looked at .run.look prepares it. has values as large as 255, and those",
        ),
        (
            "(generated_image, optimizer)",
            "([generated_image, tf.Variable(0.0)], optimizer)",
            "^Of several variables the",
        ),
        ("mean_gram_matrix)", "mean_gram_matrix, [(64, 1)])", "^plan must be a function: leave the brackets after its"),
        ("load_network, mean", "lambda: 1, mean", "^network must be a function of 1 argument .too many"),
        ("mean_gram_matrix)", "'gram')", "^reduce must be a function: leave the brackets"),
        ("Run(current_settings(),", "Run(current_settings,", "^Settings are what read_settings returns"),
        (
            "run.look(size.content_image)",
            "run.look(size.content_image[0])",
            "An image has the shape .1, H, W, 3., and",
        ),
    ],
)
def test_a_mistake_in_the_training_cell_is_said(folder, old, new, message):
    names, source = prepare(OUTPUT_DIR=str(folder)), Lesson().cells[-1][0]
    assert old in source
    with pytest.raises(nst_utils.NSTError, match=message):
        run_cell(source.replace(old, new), names)


def test_a_loop_that_is_left_before_its_end_is_said(folder):
    """At the next size, which would have to make up for it; at the last one the run is stopped."""
    names, source = prepare(OUTPUT_DIR=str(folder), SIZES=[48, 64]), Lesson().cells[-1][0]
    broken = source + "\n            if size.number == {} and epoch == 1:\n                break"
    with pytest.raises(nst_utils.RunError, match="^The loop over epochs was left before its end. To end a run early"):
        run_cell(broken.format(0), names)
    assert facts_of(folder)["epochs_done"] == 2
    names["OUTPUT_DIR"] = ""
    run_cell(broken.format(1), names)
    assert names["run"].state == "stopped"


@pytest.mark.parametrize(
    "answer", [None, tf.keras.optimizers.Adam, "adam", tf.keras.optimizers.schedules.CosineDecay(1.0, 2)]
)
def test_an_optimizer_that_is_none_is_said(folder, answer):
    names = prepare(OUTPUT_DIR=str(folder)) | {"make_optimizer": lambda *_: answer}
    with pytest.raises(nst_utils.RunError, match="^The optimizer is .*: its function must return one, as"):
        run_cell(Lesson().cells[-1][0], names)


def test_an_error_in_a_file_of_ones_own_or_in_a_lambda_is_told_with_its_line(folder, tmp_path, monkeypatch):
    (tmp_path / "my_costs.py").write_text("def compute_content_cost(a_C, a_G):\n    return a_C[3]\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = prepare()
    names["compute_content_cost"] = importlib.import_module("my_costs").compute_content_cost
    with pytest.raises(nst_utils.RunError, match=r"^In compute_content_cost, line 2 of my_costs.py:\n +return a_C"):
        train(names)
    run_cell("compute_content_cost = lambda a_C, a_G: a_C[3]", names)
    with pytest.raises(nst_utils.RunError, match=r"(?s)^In a lambda, line 1 of its cell:.*IndexError: list index out"):
        train(names)


def test_a_run_without_with_is_said(folder):
    source = (
        Lesson().cells[-1][0].replace("with nst_utils.Run(", "run = nst_utils.Run(").replace(" as run:", "\nif run:")
    )
    with pytest.raises(nst_utils.RunError, match="^A run is used as with nst_utils.Run.…. as run:, so that it ends"):
        run_cell(source, prepare())


def test_a_step_without_the_optimizer_and_pairs_without_a_list_are_said(folder, capsys):
    line = "optimizer.apply_gradients([(gradient, generated_image)])"
    names = prepare()
    edit_cell(names, line, "pass")
    train(names)
    said = "The first step has changed no cost: the picture stays as it is. Is the optimizer given the gradient?"
    assert capsys.readouterr().out.count(said) == 1
    edit_cell(names, line, line.replace("[", "").replace("]", ""))
    with pytest.raises(
        nst_utils.RunError, match="(?s)^In train_step, .*\napply_gradients takes a list of pairs. Each"
    ) as told:
        train(names)
    assert "TensorFlow alone" not in str(told.value)


def test_an_interrupt_before_the_first_epoch_is_a_line(folder, monkeypatch):
    monkeypatch.setattr(nst_utils.Run, "network", property(raiser(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt) as told:
        paint()
    assert told.value._render_traceback_() == [
        "KeyboardInterrupt: Stopped before the first epoch: nothing was painted."
    ]


def test_what_stops_elsewhere_than_in_its_notebook_names_it(folder, tmp_path):
    said, lesson = [], Lesson(write_lesson(tmp_path / "mine.ipynb"))
    view = lambda run: SimpleNamespace(say=said.append, update=lambda image, history, last: run.stop())  # noqa: E731
    assert lesson.run({"EPOCHS": 9}, watch=view)["run"].state == "stopped"
    assert "in mine.ipynb and run all cells; after that" in said[-1]
