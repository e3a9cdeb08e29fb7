"""A run as the training loop sees it: sizes from coarse to fine, epochs, stopping, and going on."""

import contextlib
import functools
import math
import signal
import threading
import time
from pathlib import Path

from nst.backend import device, graphs_forgotten, tf
from nst.errors import RunError, SettingsError
from nst.images import enlarge_image
from nst.lesson import WATCH, describe_lesson
from nst.plots import LiveView
from nst.records import Records, describe_sources, describe_versions, facts_that_go_on, read_checkpoint, settings_of_run
from nst.settings import read_settings
from nst.sizes import plan_sizes
from nst.sources import check_sources, enlarged_styles, load_sources, start_image
from nst.tiles import Look
from nst.vgg19 import choose_precision, get_layer_outputs, load_vgg19

SECONDS_BETWEEN_CHECKPOINTS = 60.0  # at the most, however long SAVE_EVERY epochs take


class Run:
    """One run of the training loop: its network, its folder, its records and its live view.

    All that it needs is made from the settings as they are when it begins, so nothing can be stale. As a context
    manager around the loop it writes into a folder that nothing else uses: settings.json, a snapshot image_NNNNN.jpg
    of the picture after NNNNN epochs every SAVE_EVERY epochs (and at the ends of each size), a row of history.csv per
    epoch, and generated_image.png at the end. Every file appears whole or not at all. A run that is stopped (by stop(),
    Jupyter's stop button, Ctrl-C or SIGTERM) ends after the current step with all of this, and leaves a checkpoint from
    which RESUME continues it.

    Args:
        namespace: dict such as globals(), with the settings and the lesson's mean_gram_matrix. If RESUME names a run,
            that run's settings are put into it.

    Attributes:
        settings: dict of the settings, a copy.
        folder: pathlib.Path of the run's folder; None until something has been saved.
        state: "running", "finished", "stopped" or "failed", as settings.json says.
        stop_asked: whether it has been told to stop, which during the last step it finishes all the same.
        history: list of rows (epoch, seconds since the start, J, J_content, J_style). The costs of a row are those
            of the picture at the beginning of that epoch. Epochs are counted through all sizes.
        snapshots: list of pathlib.Path.
        content_image: float32 RGB image in [0, 1], shape (1, H, W, 3), of the size last painted.
        style_images: list of such images. These and the next two are there from the first size on.
        generated_image: the tf.Variable last painted.
        picture: float32 RGB image in [0, 1], shape (1, H, W, 3), made of it as KEEP_COLOURS and STYLE_MASKS want: what
            is shown and saved.
        plan: list of (size, epochs), from plan_sizes.
        title: text that names the settings on which the picture depends most.

    Raises:
        SettingsError: a setting that cannot work, or what RESUME continues was made from other files.
        ImageError, WeightsError: a file cannot be used.
        RunError: the memory is too small, a file cannot be written, or a cost is not finite.
    """

    def __init__(self, namespace):
        self.settings = read_settings(namespace, environ={})
        self._checkpoint = read_checkpoint(self.settings["RESUME"]) if self.settings["RESUME"] else None
        if self._checkpoint:
            self.settings |= settings_of_run(self._checkpoint["facts"], self.settings)
            namespace.update(self.settings)
        self._namespace = namespace
        self._shapes = check_sources(self.settings)
        self.plan = plan_sizes(self.settings, self._shapes)
        self._epochs = sum(epochs for _, epochs in self.plan)
        self._begin = self._end = 0  # the epochs of the current size
        self.state, self.history = "running", list(self._checkpoint["history"]) if self._checkpoint else []
        self.generated_image = self._records = self._sources = self._painted = None
        self._guides = ()
        self._stop, self._saved = threading.Event(), -math.inf
        sizes = " → ".join(str(size) for size, _ in self.plan)
        self.title = f"alpha {self.settings['ALPHA']:g}   beta {self.settings['BETA']:g}   {sizes} px"

    @property
    def folder(self):  # noqa: D102
        return self._records and self._records.folder

    @property
    def snapshots(self):  # noqa: D102
        return self._records.snapshots if self._records else []

    @property
    def content_image(self):  # noqa: D102
        return self._sources.content_image

    @property
    def style_images(self):  # noqa: D102
        return self._sources.style_images

    @property
    def picture(self):  # noqa: D102
        return self._painted.finish(self.generated_image)

    @functools.cached_property
    def _vgg(self):
        return load_vgg19(*(self.settings[name] for name in ("WEIGHTS", "NORMALISE_ACTIVATIONS", "POOLING")))

    @functools.cached_property
    def _look(self):
        names = [name for name, _ in self.settings["STYLE_LAYERS"]] + [self.settings["CONTENT_LAYER"]]
        network = get_layer_outputs(self._vgg, names, choose_precision(self.settings["PRECISION"]))
        largest = max(self._shapes, key=math.prod)
        gram, masks = lambda a: self._namespace["mean_gram_matrix"](a), len(self.settings["STYLE_MASKS"])
        return Look(network, gram, self.settings["TILE"], largest, masks)

    def look(self, image):
        """Return what VGG19 sees in an image: the activations of STYLE_LAYERS and, last, those of CONTENT_LAYER.

        Args:
            image: float32 RGB in [0, 1], shape (1, H, W, 3).

        Returns:
            list of tensors of shape (1, n_H, n_W, n_C). Of an image that is looked at in tiles, mean Gram matrices
            (n_C, n_C) stand in place of the activations of STYLE_LAYERS; with STYLE_MASKS those of each mask,
            (n_masks, n_C, n_C).
        """
        return self._look(image, self._guides)

    def look_at_style(self, style_images):
        """Return what VGG19 sees in the style images: what look returns, and what it is to be for the generated image.

        Args:
            style_images: list of float32 RGB images in [0, 1], shape (1, H, W, 3).

        Returns:
            list of tensors. For a single image what look returns; of several the mean Gram matrices, as Sources.mix
            returns them.
        """
        if len(style_images) == 1 and not self._guides:
            return self._look(style_images[0])
        gram = self._namespace["mean_gram_matrix"]
        return self._sources.mix([gram(a) for a in self._look(image)] for image in style_images)

    def sizes(self):
        """Yield what is still to be painted, from coarse to fine.

        Yields:
            start: image to begin with, as INIT says, or the picture of the size before, enlarged.
            content_image: at this size.
            style_images: list of images. All are float32 RGB in [0, 1], shape (1, H, W, 3).
            epochs: number of epochs at this size.
            refines: whether the picture is refined, not begun.
        """
        saved = self._checkpoint and self._checkpoint["image"]
        for size, epochs in self.plan:
            self._begin, self._end = self._end, self._end + epochs
            done = len(self.history) >= self._end and self._end < self._epochs  # the last size is looked at once more
            if done or (self._stop.is_set() and self.generated_image is not None):  # the first is always begun
                continue
            self._sources = load_sources(self.settings, size)
            self._guides = self._look.guides(self._sources.masks)
            start = saved if self.generated_image is None else self.generated_image.numpy()
            if start is None:
                start = start_image(self.settings, self.content_image)
            elif start.shape != self.content_image.shape:
                start = enlarge_image(start, self.content_image.shape[1:3])
            yield start, self.content_image, self.style_images, epochs, self._begin > 0

    def epochs(self, generated_image, optimizer):
        """Yield the numbers of the epochs to compute at this size, from 0 or where a stopped run continues.

        Args:
            generated_image: the tf.Variable to optimise, float32 RGB in [0, 1], shape (1, H, W, 3).
            optimizer: its Keras optimizer.
        """
        self.generated_image, self.optimizer = generated_image, optimizer
        self._painted = self._sources  # of this image's size, also when the next size has begun
        optimizer.build([generated_image])
        if self._checkpoint and self._checkpoint["image"].shape == tuple(generated_image.shape):
            if len(optimizer.variables) != len(self._checkpoint["optimizer"]):
                raise SettingsError(f'RESUME = "{self.folder}": the run began with another optimizer. Start anew.')
            for variable, value in zip(optimizer.variables, self._checkpoint["optimizer"], strict=True):
                variable.assign(value)
        self._checkpoint = None
        if not self.history:
            self._records.save_masks()
        self._save(snapshot=not self.history)
        while len(self.history) < self._end and not self._stop.is_set():
            yield len(self.history) - self._begin

    def record(self, J, J_content, J_style):
        """Note the costs of the epoch that has just been computed, save what is due, and refresh the live view.

        Args:
            J, J_content, J_style: its costs, scalars.
        """
        costs = [float(cost) for cost in (J, J_content, J_style)]  # waits for the step to end
        total = float(tf.reduce_sum(self.generated_image))  # a ReLU makes zero of NaN: costs alone do not show it
        if not all(map(math.isfinite, (*costs, total))):
            raise self._not_finite()
        now = time.perf_counter()
        self.history.append((len(self.history), round(now - self._started, 3), *costs))
        done = len(self.history)
        snapshot = done % self.settings["SAVE_EVERY"] == 0 or done == self._end
        if snapshot or now - self._saved > SECONDS_BETWEEN_CHECKPOINTS:
            self._save(snapshot)
        self._view.update(self.picture, self.history, last=done == self._epochs)

    def stop(self):
        """End the run after the current step. May be called from another thread."""
        self._stop.set()

    @property
    def stop_asked(self):  # noqa: D102
        return self._stop.is_set()

    def __enter__(self):
        facts = {
            "settings": self.settings,
            **describe_sources(self.settings),
            "generated_image": {"width": self._shapes[0][1], "height": self._shapes[0][0]},
            "sizes": [list(pair) for pair in self.plan],
            "weights": {"name": self._vgg.name, "sha256": self._vgg.sha256},
            "precision": choose_precision(self.settings["PRECISION"]),
            "device": device(),
            "lesson": describe_lesson(self._namespace),
            "versions": describe_versions(),
        }
        folder = None
        if self._checkpoint:
            folder, facts = Path(self.settings["RESUME"]), facts_that_go_on(facts, self._checkpoint)
        watch = self._namespace.get(WATCH) or (lambda run: LiveView(run.plan, run.title))
        self._records, self._view = Records(facts, folder), watch(self)
        for sentence in enlarged_styles(self.settings):
            self._view.say(sentence)
        self._view.say(f"Painting with {self._vgg.name} weights in {facts['precision']} on {device()}.")
        self._started = time.perf_counter() - (self.history[-1][1] if self.history else 0.0)
        self._on_exit = contextlib.ExitStack()
        self._on_exit.enter_context(graphs_forgotten())
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._on_exit.callback(signal.signal, number, signal.signal(number, self._on_signal))
        return self

    def __exit__(self, kind, error, traceback):
        self._on_exit.close()
        self.state = "failed"
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.state = "finished" if kind is None and len(self.history) == self._epochs else "stopped"
        try:
            if kind is not None and not self.history and not self.settings["RESUME"]:
                self._records.discard()
            elif self.generated_image is not None:
                self._finish(checkpoint=kind is None)
        except RunError:
            if kind is None:  # else the first error is the one to be told
                raise
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise RunError(
                f"The memory of {device()} does not hold a picture of {self._shapes[0][1]}×{self._shapes[0][0]} "
                f"pixels. Set TILE = 512, or IMAGE_SIZE = {self.settings['IMAGE_SIZE'] * 7 // 10} or less."
            ) from None

    def _finish(self, checkpoint):
        """Save the picture and how the run ended."""
        if self.state == "stopped" and checkpoint:
            self._save(snapshot=False)
        self._records.save_picture(self.picture)
        self._records.save_texts(self.state, self.history, last=True)
        if self.state == "finished":
            self._records.remove_checkpoint()
        elif self.state == "stopped":
            if self.history:
                self._view.update(self.picture, self.history, last=True)
            self._view.say(
                f"Stopped after epoch {len(self.history)} of {self._epochs}. The picture so far is saved.\n"
                f'To continue, set RESUME = "{self.folder.as_posix()}" and run all cells; after that, set it to "".'
            )

    def _save(self, snapshot):
        """Save the snapshot, the checkpoint, and what they say in words."""
        if snapshot:
            self._records.save_snapshot(self.picture, len(self.history))
        self._records.save_checkpoint(self.generated_image, self.optimizer, self.history)
        self._records.save_texts("running", self.history)
        self._saved = time.perf_counter()

    def _not_finite(self):
        """Go back to the checkpoint's picture, and return the error that says what is likely wrong."""
        weights = ("ALPHA", "BETA", "SMOOTHNESS", "COLOUR_SMOOTHNESS")
        epoch, name = len(self.history), max(weights, key=self.settings.get)
        checkpoint = read_checkpoint(self.folder)
        self.history = checkpoint["history"]
        self.generated_image.assign(checkpoint["image"])
        kept = f" The picture is that after epoch {len(self.history)} again." if self.history else ""
        return RunError(
            f"In epoch {epoch} a cost or the picture is not finite. The likely cause is {name} = "
            f"{self.settings[name]:g}, which outweighs the others: lower it, and run again.{kept}"
        )

    def _on_signal(self, number, frame):
        if self._stop.is_set():
            raise KeyboardInterrupt  # asked twice: do not wait for the step
        self.stop()
