"""Build pretrained-model/normalisation_images.npz, the small pictures over which activations are normalised.

    python scripts/build_normalisation_images.py

They are copies of six of the pictures in images/, so that no result depends on what lies there later. This script is no
part of the lesson.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import nst_utils
from nst.vgg19 import NORMALISATION_FILE, WEIGHTS_FOLDER

NAMES = ("astronaut", "chelsea_the_cat", "composition_viii", "great_wave", "summer_palace", "village_street_in_auvers")
SIZE = 256  # pixels of the long side


def main():
    """Write the file and print the sha256 that nst/vgg19.py must know."""
    pictures = {name: nst_utils.load_image(ROOT / "images" / f"{name}.jpg", SIZE) for name in NAMES}
    path = WEIGHTS_FOLDER / NORMALISATION_FILE
    np.savez_compressed(path, **{name: np.round(image[0] * 255.0).astype(np.uint8) for name, image in pictures.items()})
    content = path.read_bytes()
    print(f"{path.name}: {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
