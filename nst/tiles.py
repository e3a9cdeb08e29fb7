"""Looking at a picture through the network, as a whole or, where the memory is small, tile by tile."""

import itertools
import math

import numpy as np

from nst.backend import device, free_memory, keras, tf
from nst.errors import RunError
from nst.images import MIN_SIDE, preprocess_image

COPIES = 6, 10  # of what is kept of each place, in float32, whole and in tiles: picture, painting, match, gradients
MIRRORED = 16  # pixels around the image: the zeros that VGG19 adds around its input would leave marks


class Look:
    """What a network sees in an image: its activations, or of a large image, tile by tile, what the costs need of them.

    A mean over positions, such as a Gram matrix divided by their number, can be added up from tiles, and it never takes
    more memory than one tile. The gradient goes through the tiles a second time, when the whole means and with them
    their gradients are known. Each tile is looked at with a margin as wide as the deepest layer sees beyond its own
    cell, and its borders are multiples of the deepest stride, so every activation is counted once and computed from
    all the pixels that it sees: costs and gradients are those of the image as a whole.

    Beyond its edges an image goes on mirrored, and gradients flow through the mirror; of the activations, only those of
    cells that lie in the image, or begin in it, count.

    With guides it looks region by region: the activations are multiplied with the guide of each region, and their means
    stand in their place (Gatys et al. 2017, section 4).

    Args:
        network: keras.Model from get_layer_outputs.
        reduce: function of a layer's activations (1, n_H, n_W, n_C), for all layers but the last. It returns a mean
            over their positions, of any shape with less than four dimensions; or (1, n_H / k, n_W / k, …), what is kept
            of each place, computed from k × k positions (rounded up at the right and lower edge). What it has returned
            it returns again as it is. Of a whole image it is called only where there are guides.
        tile: side of the tiles in pixels; 0 takes tiles where the whole does not fit into the memory that is free, of
            at most 1024 pixels. On a GPU memory is not checked, and 0 takes none.
        shape: (H, W) of the largest image that will be looked at; it says what memory is needed.
        regions: number of regions that guides will tell apart.

    Raises:
        RunError: reduce returns something else; or even with tiles the memory is too small, where the message says the
            largest IMAGE_SIZE that fits.
    """

    def __init__(self, network, reduce, tile, shape, regions=0):
        self.network, self.reduce, self.regions = network, reduce, regions
        shapes = network.compute_output_shape((1, 1024, 1024, 3))
        self.strides = [1024 // output[1] for output in shapes]
        self._places = []  # pixels per place of what is kept of each place, 0 for means
        for stride, output in zip(self.strides[:-1], shapes[:-1], strict=True):
            self._places.append(stride * _width_of_places(reduce, 512 // stride, output[-1]))
        self._places += self.strides[-1:]
        self.stride, reach = 1, 0  # pixels per cell of the deepest layer; pixels that it sees beyond its own cell
        for layer in reversed(network.layers):
            if isinstance(layer, keras.layers.Conv2D):
                reach += layer.kernel_size[0] // 2
            elif layer.name.startswith("before_"):  # a pooling between two blocks, not of an output's cells
                reach, self.stride = 2 * reach, 2 * self.stride
        self.margin = math.ceil(reach / self.stride) * self.stride
        self._step = math.lcm(self.stride, *filter(None, self._places))  # tiles begin at whole places, too
        self._graphs = {}
        self.tile = self._choose_tile(tile, *shape)

    def __call__(self, image, guides=()):
        """Return what is seen in an image, float32 RGB in [0, 1], shape (1, H, W, 3): a list with an entry per layer.

        These are activations, of shape (1, n_H, n_W, n_C). Of an image in tiles, what reduce makes of all layers but
        the last instead; with guides, from self.guides for this size, the means of each region, (n_regions, …).

        Raises:
            RunError: an image in tiles is looked at within a tf.function, which could not let go of a tile.
        """
        if self.splits(image):
            return self._look_at_tiles(image, guides)
        if not tf.executing_eagerly():
            return self._whole(image, *guides)
        # A graph rounds less often in low precision: targets must be rounded as the training step rounds.
        inputs = [tf.convert_to_tensor(image), *map(tf.convert_to_tensor, guides)]
        return self._graph((bool(guides), *image.shape), self._whole, *inputs)(*inputs)

    def guides(self, masks):
        """Return what guides a look at regions: masks as each style layer sees them.

        A guide T is a mask averaged over each cell and scaled so that the Gram matrix of T times the activations is
        that over the mask's own area, times the root of the mask's share of the picture. So in the style cost each
        region counts by its share, and a small one is painted as strongly as a large one.

        masks is an array of shape (n_regions, H, W), values in [0, 1]; what is returned a list of float32 arrays, one
        per style layer, of shape (n_regions, n_H, n_W); empty for no masks.
        """
        guides = []
        for stride in self.strides[:-1] if len(masks) else ():
            regions, height, width = masks.shape
            filled = np.pad(masks, ((0, 0), (0, -height % stride), (0, -width % stride)), "edge")
            cells = filled.reshape(regions, -(-height // stride), stride, -(-width // stride), stride).mean(axis=(2, 4))
            squares = np.mean(cells**2, axis=(1, 2), keepdims=True) + 1e-12  # a dot may be lost at a small size
            shares = np.mean(masks, axis=(1, 2), keepdims=True)
            guides.append((cells * np.sqrt(np.sqrt(shares) / squares)).astype(np.float32))
        return guides

    def _whole(self, image, *guides):
        part = [slice(MIRRORED, MIRRORED + length) for length in image.shape[1:3]]
        return self._guided(self._activations(_mirrored(image)), part, guides)

    def _guided(self, activations, part, guides):
        """Return the cells of a part of the image; with guides for them, the means of each region instead."""
        *style, last = [_cells(a, part, s) for a, s in zip(activations, self.strides, strict=True)]
        if guides:
            style = [
                a if place else tf.stack([self.reduce(a * tf.cast(T, a.dtype)[..., tf.newaxis]) for T in guide])
                for a, guide, place in zip(style, map(tf.unstack, guides), self._places, strict=False)
            ]
        return [*style, last]

    def _activations(self, pixels):
        return self.network(preprocess_image(pixels))

    def _graph(self, key, function, *inputs):
        """Return a function as a graph, of which one is kept for all inputs that have the same key."""
        if key not in self._graphs:
            self._graphs[key] = tf.function(function).get_concrete_function(*inputs)
        return self._graphs[key]

    def splits(self, image):
        """Return whether an image of shape (1, H, W, 3) is looked at in tiles."""
        return len(self._tiles(*image.shape[1:3])) > 1

    def memory(self, height, width):
        """Return about how many bytes training at this size takes, whole or in the tiles chosen.

        A step holds about 3.8 times the activations of all convolutions (measured at 400 to 1200 pixels in float32 and
        bfloat16), and the style layers' once more for each region; in tiles, those of one tile, and some 8 copies of
        the image and of the last layer's activations (together 16 of the image for block4_conv2 in bfloat16, measured
        at 1920 and 3840 pixels). What is kept of each place is counted on the finest grid, to which a cost may bring
        it (measured with the second lesson at 800 to 1600 pixels, with a painting as large).
        """
        most, per_pixel = math.prod(max(self._window_lengths(length)) for length in (height, width)), 0.0
        for layer in self.network.layers:
            if isinstance(layer, keras.layers.Conv2D):
                itemsize = 2 if layer.compute_dtype == "bfloat16" else 4
                per_pixel += layer.filters * itemsize / 4 ** (int(layer.name[len("block")]) - 1)
        style = zip(self.network.outputs[:-1], self.strides, strict=False)
        per_region = sum(output.shape[-1] * itemsize / stride**2 for output, stride in style)
        whole = 8 * 12 + 8 * self.network.outputs[-1].shape[-1] / self.strides[-1] ** 2 * itemsize
        kept = [place for place in self._places[:-1] if place]
        channels = sum(o.shape[-1] for o, place in zip(self.network.outputs, self._places, strict=True) if place)
        in_tiles = most < height * width
        whole = whole * in_tiles + (channels / min(kept) ** 2 * 4 * COPIES[in_tiles] if kept else 0)
        return (3.8 * per_pixel + self.regions * per_region) * most + whole * height * width

    def _choose_tile(self, tile, height, width):
        free = free_memory()
        for self.tile in [tile] if tile else (0, *range(1024, 127, -64)):
            if self.memory(height, width) < free or device() != "CPU":
                break
        else:
            needed, fits = self.memory(height, width), 1.0
            while fits * max(height, width) >= MIN_SIDE and self.memory(int(fits * height), int(fits * width)) >= free:
                fits *= 0.98
            size = int(fits * max(height, width)) // 10 * 10
            remedy = f"Set IMAGE_SIZE = {size} or less, or close" if size >= 2 * MIN_SIDE else "Close"
            remedy = "Set TILE = 0 for tiles that fit, or close" if tile else remedy
            raise RunError(
                f"{width}×{height} pixels need about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are "
                f"free. {remedy} other programs."
            )
        if self.tile and not tile:
            print(f"{width}×{height} pixels do not fit into the free memory as a whole: tiles of {self.tile} pixels.")
        return self.tile

    def _tiles(self, height, width):
        """Return the tiles of an image, each as two slices, which begin at whole cells and places of all layers."""
        return list(itertools.product(*map(self._cuts, (height, width))))

    def _cuts(self, length):
        """Return the slices into which a side of an image is cut."""
        steps = length // self._step
        count = max(1, math.ceil(steps * self._step / self.tile)) if self.tile else 1
        edges = [round(i * steps / count) * self._step for i in range(count)] + [length]
        return [slice(*pair) for pair in itertools.pairwise(edges)]

    def _window(self, tile, height, width):
        """Return a tile with its margin as an index of the mirrored image, and the tile as slices of that window."""
        window, inner = [slice(None)], []
        for part, length in zip(tile, (height, width), strict=True):
            start, stop = part.start + MIRRORED, math.ceil(part.stop / self.stride) * self.stride + MIRRORED
            window.append(slice(max(0, start - self.margin), min(length + 2 * MIRRORED, stop + self.margin)))
            inner.append(slice(start - window[-1].start, part.stop + MIRRORED - window[-1].start))
        return tuple(window), tuple(inner)

    def _window_lengths(self, length):
        """Return the lengths of the parts of a side of an image, with their margins."""
        beyond, margin = length + MIRRORED, self.margin
        return [min(beyond, c.stop + margin) - max(-MIRRORED, c.start - margin) for c in self._cuts(length)]

    def _share(self, tile, height, width, stride):
        """Return which share of a layer's positions lies in a tile."""
        cells = [math.ceil(part.stop / stride) - part.start // stride for part in tile]
        return math.prod(cells) / (math.ceil(height / stride) * math.ceil(width / stride))

    def _look_at_tiles(self, image, guides):
        """As __call__: eagerly, a graph per tile, so that nothing of a tile is kept and no graph calls back."""
        if not tf.executing_eagerly():
            raise RunError(
                "A picture in tiles is trained without tf.function. In the training cell write: "
                "step = train_step if run.tiled else tf.function(train_step)"
            )
        size = image.shape[1:3]
        tiles = [(tile, *self._window(tile, *size)) for tile in self._tiles(*size)]

        def in_tile(tile):
            return [tf.constant(_cells(g, tile, s)) for g, s in zip(guides, self.strides, strict=False)]

        def look(image):
            found = [0.0] * len(self.strides)
            for tile, window, inner in tiles:
                for i, a in enumerate(self._pass(tf.constant(image[window]), inner, in_tile(tile))):
                    if not (place := self._places[i]):
                        found[i] += self._share(tile, *size, self.strides[i]) * a.numpy()
                        continue
                    if isinstance(found[i], float):
                        shape = (1, *(math.ceil(length / place) for length in size), *a.shape[3:])
                        found[i] = np.zeros(shape, a.dtype.as_numpy_dtype)
                    _cells(found[i], tile, place)[:] = a.numpy()
            return [tf.constant(a) for a in found]

        def look_back(image, upstream):
            total = np.zeros(image.shape, np.float32)
            for tile, window, inner in tiles:
                d_tile = [
                    tf.constant(_cells(d, tile, place)) if place else self._share(tile, *size, stride) * d
                    for d, place, stride in zip(upstream, self._places, self.strides, strict=True)
                ]
                total[window] += self._pass(tf.constant(image[window]), inner, in_tile(tile), *d_tile).numpy()
            return tf.constant(total)

        @tf.custom_gradient
        def call(image):
            pixels = image.numpy()

            def gradient(*upstream, variables=()):
                total = look_back(pixels, [tf.convert_to_tensor(d) for d in upstream])
                return (total, [None] * len(variables)) if variables else total  # the network is not trained

            return look(pixels), gradient

        return call(_mirrored(image))

    def _pass(self, pixels, inner, guides, *upstream):
        """Return what the costs need of a window, or with upstream gradients of that, the gradient of its pixels."""

        def look(pixels, *guides):
            *style, last = self._guided(self._activations(pixels), inner, guides)
            return [*map(self.reduce, style), last]

        def backwards(pixels, *others):
            with tf.GradientTape() as tape:
                tape.watch(pixels)
                found = look(pixels, *others[: len(guides)])
            return tape.gradient(found, pixels, output_gradients=list(others[len(guides) :]))

        geometry = (bool(upstream), bool(guides), *pixels.shape, *((part.start, part.stop) for part in inner))
        inputs = (pixels, *guides, *upstream)
        return self._graph(geometry, backwards if upstream else look, *inputs)(*inputs)


def _width_of_places(reduce, width, channels):
    """Return the width of the places that reduce keeps of a layer, in positions, or 0 if it keeps a mean over all."""
    kept = [reduce(tf.zeros((1, 16, columns, channels))) for columns in (8, 16)]
    if not all(map(tf.is_tensor, kept)):
        raise RunError(f"{reduce.__name__} returns {type(kept[0]).__name__}, no tensor: let it end with return.")
    if kept[0].shape.rank == 4:
        return round(width / reduce(tf.zeros((1, 16, width, channels))).shape[2])
    if kept[0].shape != kept[1].shape:
        raise RunError(
            f"{reduce.__name__} returns {kept[0].shape} for 128 positions and {kept[1].shape} for 256. It must forget "
            "the positions: a Gram matrix A Aᵀ has a row and a column per channel, whatever the size of the picture."
        )
    return 0


def look(network, image):
    """Return what a network sees in an image, a list of activations, as Run.look does: with a mirrored margin."""
    return Look(network, lambda a: a, 0, image.shape[1:3])(image)


def _mirrored(image):
    """Return an image with a margin in which it is mirrored at its edge pixels."""
    return tf.pad(image, ((0, 0), (MIRRORED, MIRRORED), (MIRRORED, MIRRORED), (0, 0)), "REFLECT")


def _cells(activations, part, stride):
    """Return those of a layer's activations or guides (…, n_H, n_W, …) whose cells begin in a part of the image."""
    rows, columns = (slice(p.start // stride, math.ceil(p.stop / stride)) for p in part)
    return activations[:, rows, columns]
