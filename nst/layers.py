"""The names of VGG19's convolutions."""

import itertools

from nst.errors import SettingsError

VGG19_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))  # (convolutions, channels), Simonyan & Zisserman 2015
LAYER_NAMES = tuple(f"block{b}_conv{c}" for b, (n, _) in enumerate(VGG19_BLOCKS, 1) for c in range(1, n + 1))


def check_layer_name(name):
    """Raise SettingsError unless VGG19 has a layer of this name."""
    if name not in LAYER_NAMES:
        blocks = [list(names) for _, names in itertools.groupby(LAYER_NAMES, key=lambda name: name[:6])]
        known = ", ".join(f"{names[0]} to {names[-1]}" for names in blocks)
        raise SettingsError(f"no layer {name!r} in VGG19. Layers are: {known}.")
