"""Build pretrained-model/normalisation_images.npz, the small pictures over which activations are normalised.

They are copies of six of the pictures in images/, so that no result depends on what lies there later.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from nst.images import load_image, to_uint8
from nst.vgg19 import NORMALISATION_FILE, WEIGHTS_FOLDER

NAMES = ("astronaut", "chelsea_the_cat", "composition_viii", "great_wave", "summer_palace", "village_street_in_auvers")
SIZE = 256  # pixels of the long side

if __name__ == "__main__":
    path = WEIGHTS_FOLDER / NORMALISATION_FILE
    np.savez_compressed(path, **{name: to_uint8(load_image(ROOT / "images" / f"{name}.jpg", SIZE)) for name in NAMES})
    content = path.read_bytes()
    print(f"{path.name}: {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}")
