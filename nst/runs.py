"""A run as the training loop sees it: sizes from coarse to fine, epochs, stopping, and going on."""

import contextlib
import functools
import math
import threading
import time
from pathlib import Path

from nst.backend import device, graphs_forgotten, tf
from nst.blame import explain, explaining
from nst.checkpoints import facts_that_go_on, pack_checkpoint, read_checkpoint, restore, settings_of_run
from nst.context import current
from nst.costs import as_numbers, doubts, not_finite
from nst.errors import RunError
from nst.facts import check_unchanged, describe_run
from nst.handed import check_function, check_image, check_network, check_plan, check_styles, check_trained
from nst.lesson import names_used
from nst.plots import LiveView
from nst.records import Records
from nst.settings import check_own, check_settings
from nst.signals import in_a_line, on_stop_signals
from nst.sizes import Size, plan_sizes
from nst.sources import check_sources, enlarged_styles, load_sources, start_image
from nst.status import stopped, title
from nst.tiles import Look

SECONDS_BETWEEN_CHECKPOINTS = 60.0  # at the most, however long SAVE_EVERY epochs take


class Run:
    """One run of a training loop: its network, its folder, its records and its live view.

    As a context manager around the loop it writes into a folder that nothing else uses: settings.json, a snapshot
    image_NNNNN.jpg of the picture after NNNNN epochs every SAVE_EVERY epochs (and at the ends of each size), a row of
    history.csv per epoch, and generated_image.png at the end. Every file appears whole or not at all. A run that is
    stopped (by stop(), Jupyter's stop button, Ctrl-C or SIGTERM) ends after the current step with all of this, and
    leaves a checkpoint from which RESUME continues it.

    Args:
        settings: Settings, from read_settings. If RESUME names a run, that run's settings take their place.
        network: function of the settings that returns the network, a keras.Model as get_layer_outputs makes it.
        reduce: function of a layer's activations, what is kept of them where an image is looked at in tiles or by
            masks: as of tiles.Look, whose guides are for means of products, as Gram matrices are. When None all of the
            activations are kept.
        plan: function of the settings and of the (H, W) of photo and style images that returns the list of (size,
            epochs) to go through, as plan_sizes does.

    Attributes:
        settings: Settings that the run computes with and records.
        network: keras.Model, from the beginning on.
        folder: pathlib.Path of the run's folder; None until something has been saved.
        state: "running", "finished", "stopped" or "failed", as settings.json says.
        stop_asked: whether it has been told to stop, which during the last step it finishes all the same.
        history: list of rows, each a dict of epoch, seconds since the start, and the costs of the picture at the
            beginning of that epoch. Epochs are counted through all sizes.
        snapshots: list of pathlib.Path.
        content_image, style_images: float32 RGB images in [0, 1], shape (1, H, W, 3), of the size last begun.
        generated_image: the image last painted, likewise, made of the variables that are trained.
        picture: the same as KEEP_COLOURS and STYLE_MASKS want it: what is shown and saved. These four raise a RunError
            when nothing was painted.
        tiled: whether the size last begun is looked at in tiles, and its step so cannot be a tf.function.
        plan: list of (size, epochs).
        title: text that names the settings on which the picture depends most.

    Raises:
        SettingsError: a setting that cannot work, or what RESUME continues was made from other files.
        ImageError, WeightsError: a file cannot be used.
        RunError: the memory is too small, a file cannot be written, or a cost is no finite number.
    """

    def __init__(self, settings, network, reduce=None, plan=plan_sizes):
        settings, self._checkpoint, self._context = check_settings(settings), None, current()
        reduce = reduce or (lambda a: a)
        for function, arguments, name in ((network, 1, "network"), (reduce, 1, "reduce"), (plan, 2, "plan")):
            check_function(function, arguments, name)
        if settings.RESUME:
            self._checkpoint = read_checkpoint(settings.RESUME)
            settings = settings_of_run(self._checkpoint["facts"], settings)
        self.settings, idle = settings, check_own(settings, names_used(network))
        self._make_network, self._reduce = network, reduce
        self._shapes = check_sources(settings)
        with explaining(settings, self._shapes[0]):
            self.plan = check_plan(plan, settings, self._shapes)
        self._epochs = sum(epochs for _, epochs in self.plan)
        self.state, self.history = "running", list(self._checkpoint["history"]) if self._checkpoint else []
        self._records = self._sources = self._painted = self._variables = None
        self._guides, self._end = (), 0  # of the current size: the epoch with which it ends
        self._epoch = None  # the one that is computed
        self._stop, self._ending, self._saved = threading.Event(), False, -math.inf
        self.title = title(settings, idle, self.plan)

    def __repr__(self):
        """Return where the run is and how far: the last line of a cell shows it."""
        return f"<Run in {self.folder}: {self.state}>"

    @property
    def folder(self):  # noqa: D102
        return self._records and self._records.folder

    @property
    def snapshots(self):  # noqa: D102
        return self._records.snapshots if self._records else []

    @property
    def stop_asked(self):  # noqa: D102
        return self._stop.is_set()

    @property
    def content_image(self):  # noqa: D102
        return _begun(self._sources).content_image

    @property
    def style_images(self):  # noqa: D102
        return _begun(self._sources).style_images

    @property
    def generated_image(self):  # noqa: D102
        return _begun(self._painted) and self._image()

    @property
    def picture(self):  # noqa: D102
        return _begun(self._painted).finish(self._image())

    @property
    def tiled(self):  # noqa: D102
        return self._look.splits(self.content_image)

    @functools.cached_property
    def network(self):  # noqa: D102
        with explaining(self.settings, self._shapes[0]):
            return check_network(self._make_network, self.settings)

    @functools.cached_property
    def _look(self):
        largest, masks = max(self._shapes, key=math.prod), len(self.settings.STYLE_MASKS or self.settings.STYLE_PARTS)
        return Look(self.network, self._reduce, self.settings.TILE, largest, masks)

    def look(self, image):
        """Return what the network sees in an image: the activations of its layers.

        Args:
            image: float32 RGB in [0, 1], shape (1, H, W, 3).

        Returns:
            list of tensors of shape (1, n_H, n_W, n_C). Of an image that is looked at in tiles, what the run's function
            reduce makes of all layers but the last stands in their place; with STYLE_MASKS that of each mask,
            (n_masks, …), if it is a mean.
        """
        check_image(image)
        return self._look(image, self._guides)

    def look_at_style(self, style_images):
        """Return what the style of the generated image is to be: for each layer, what reduce makes of the style image.

        Args:
            style_images: list of float32 RGB images in [0, 1], shape (1, H, W, 3).

        Returns:
            list with an entry per layer, the last as it is. Of several images, or with STYLE_MASKS, mixed as by
            Sources.mix.
        """
        check_styles(style_images, self._sources.parts)
        return self._sources.see_styles(style_images, self._look)

    def sizes(self):
        """Yield what is still to be painted, from coarse to fine: a Size at a time."""
        before = self._checkpoint
        for number, (length, epochs) in enumerate(self.plan):
            begin, self._end = self._end, self._end + epochs
            last = self._end == self._epochs
            if self._variables is not None and len(self.history) < begin and not self._stop.is_set():
                raise RunError("The loop over epochs was left before its end. To end a run early, call run.stop().")
            done = before and (number < before["size"] or (len(self.history) >= self._end and not last))
            if done or (self._stop.is_set() and self._variables is not None):  # the first is always begun
                continue
            sources = load_sources(self.settings, length)
            if self._records:
                check_unchanged(self._records.facts, self.settings)
            self._sources, self._number = sources, number
            self._guides = self._look.guides(self._sources.masks)
            if before and before["size"] == number:
                self._start = before["start"]
            else:
                painted = before and before["image"] if self._variables is None else self.generated_image
                self._start = start_image(self.settings, self.content_image, painted)
            yield Size(number, tf.constant(self._start), *self._sources[:4], epochs, begin > 0)

    def epochs(self, variables, optimizer, picture=None):
        """Yield the numbers of the epochs to compute at this size, from 0 or where a stopped run continues.

        Args:
            variables: the tf.Variable that is painted, or a list of all variables that the loop changes.
            optimizer: what changes them, with a list of variables of its own, as Keras's optimizers have.
            picture: function that returns the image made of the variables, float32 RGB in [0, 1], shape (1, H, W, 3);
                when None the first variable is the image.
        """
        variables = list(variables) if isinstance(variables, (list, tuple)) else [variables]
        if self._records is None:
            raise RunError("A run is used as with nst_utils.Run(…) as run:, so that it ends with all that is saved.")
        picture = check_trained(variables, optimizer, picture, self._start.shape)
        self._variables, self._optimizer, self._image = variables, optimizer, picture
        self._painted = self._sources  # of this image's size, also when the next size has begun
        if not getattr(optimizer, "built", True):
            optimizer.build([variable for variable in variables if variable.trainable])
        if self._checkpoint and self._checkpoint["size"] == self._number:
            restore(self._checkpoint, variables, optimizer.variables, self.folder)
        self._checkpoint = None
        if not self.history:
            self._records.save_masks()
        self._save(snapshot=not self.history)
        begin = self._end - self.plan[self._number][1]
        while len(self.history) < self._end and not self._stop.is_set():
            self._epoch = done = len(self.history)
            yield done - begin
            if len(self.history) == done:
                raise RunError("The training loop has not called run.record, which counts the epochs.")

    def record(self, **costs):
        """Note the costs of the epoch that has just been computed, save what is due, and refresh the live view.

        Args:
            **costs: scalars by name, the same in each epoch; the first is what is minimised, such as J.
        """
        if self._epoch != len(self.history):
            raise RunError("run.record is called once in each epoch of a loop over run.epochs(…).")
        costs = as_numbers(costs, self.history)  # waits for the step to end
        total = float(tf.reduce_sum(self.generated_image))  # a ReLU makes zero of NaN: costs alone do not show it
        if not all(map(math.isfinite, (*costs.values(), total))):
            epoch, checkpoint = len(self.history), read_checkpoint(self.folder)
            self.history = checkpoint["history"]
            restore(checkpoint, self._variables, self._optimizer.variables, self.folder)
            raise not_finite(costs, self.settings, epoch, kept=len(self.history))
        now = time.perf_counter()
        self.history.append({"epoch": len(self.history), "seconds": round(now - self._started, 3), **costs})
        done = len(self.history)
        if sentence := doubts(self.history):
            self._view.say(sentence)
        snapshot = done % self.settings.SAVE_EVERY == 0 or done == self._end
        if snapshot or now - self._saved > SECONDS_BETWEEN_CHECKPOINTS:
            self._save(snapshot)
        self._view.update(self.picture, self.history, last=done == self._epochs)

    def stop(self):
        """End the run after the current step. May be called from another thread."""
        self._stop.set()

    @in_a_line("Stopped before the first epoch: nothing was painted.")
    def __enter__(self):
        network = self.network
        facts = describe_run(self.settings, self._shapes[0], self.plan, network, self._make_network, self._context)
        folder = None
        if self._checkpoint:
            folder, facts = Path(self.settings.RESUME), facts_that_go_on(facts, self._checkpoint["facts"])
        watch = self._context.watch or (lambda run: LiveView(run.plan, run.title))
        with contextlib.ExitStack() as on_exit:
            on_exit.enter_context(graphs_forgotten())
            self._records, self._view = Records(facts, folder), watch(self)
            on_exit.callback(self._records.close)
            on_exit.enter_context(on_stop_signals(self._on_signal))
            for sentence in enlarged_styles(self.settings):
                self._view.say(sentence)
            self._view.say(f"Painting with {network.weights_name} weights in {network.precision} on {device()}.")
            self._started = time.perf_counter() - (self.history[-1]["seconds"] if self.history else 0.0)
            self._on_exit = on_exit.pop_all()
        return self

    def __exit__(self, kind, error, traceback):
        self._ending = True  # a second signal waits until all is saved
        with self._on_exit:
            self.state = "failed"
            if kind is None or issubclass(kind, KeyboardInterrupt):
                self.state = "finished" if kind is None and len(self.history) == self._epochs else "stopped"
            try:
                if kind is not None and not self.history and not self.settings.RESUME:
                    self._records.discard()
                    self._sources = self._painted = None
                elif math.isfinite(self._saved):  # else a run that goes on stays as it was
                    self._finish(checkpoint=kind is None)
            except RunError:
                if kind is None:  # else the first error is the one to be told
                    raise
            if told := explain(error, self.settings, self._shapes[0]):
                raise told from error

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
            self._view.say(stopped(self.history, self.plan, self.folder, self._context.notebook))

    def _save(self, snapshot):
        """Save the snapshot, the checkpoint, and what they say in words."""
        image = self.generated_image
        if snapshot:
            self._records.save_snapshot(self.picture, len(self.history))
        variables = self._variables, self._optimizer.variables
        words = self.history, self._records.facts
        self._records.save_checkpoint(pack_checkpoint(self._number, self._start, image, *variables, *words))
        self._records.save_texts("running", self.history)
        self._saved = time.perf_counter()

    def _on_signal(self, number, frame):
        if self._stop.is_set() and not self._ending:
            raise KeyboardInterrupt  # asked twice: do not wait for the step
        self.stop()


def _begun(sources):
    """Return the Sources of a run that has painted, and of any other say that it has not."""
    if sources is None:
        raise RunError("Nothing was painted in this run. Mend what its training cell says, and run that cell again.")
    return sources
