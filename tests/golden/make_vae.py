"""Write the golden files of the bits-back codec: python tests/golden/make_vae.py

Each case is an .obv file and the images that it decodes to. Run once for each released model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

import obverse
from obverse.container import write_atomically
from obverse.data.arrays import npy_bytes
from tests.codecs.vae.models import strokes


def cases() -> dict[str, tuple[str, np.ndarray, dict[str, int]]]:
    """Name -> codec or model, images, options of encode."""
    gray = strokes(12, seed=11)
    noise = np.random.default_rng(0).integers(0, 256, (1, 28, 28), dtype=np.uint8)
    return {
        "vae-mnist": ("vae", gray, {"segment": 5, "seed": 3}),
        "vae-mnist-noise": ("vae-mnist", noise, {}),
        "vae-mnist-binary": ("vae-mnist-binary", (gray > 127).astype(np.uint8), {}),
        "vae-fashion": ("vae-fashion", gray[:4], {}),
    }


def main() -> None:
    folder = HERE / "lossless"
    folder.mkdir(exist_ok=True)
    for name, (codec, images, options) in cases().items():
        packed = obverse.compress(images, codec=codec, **options)
        write_atomically(folder / f"{name}.obv", packed, overwrite=True)
        write_atomically(folder / f"{name}.npy", npy_bytes(images), overwrite=True)


if __name__ == "__main__":
    main()
