"""Write the golden files: python tests/golden/make_golden.py. Run once for each released format and model.

Each case is an .obv file, the picture that it decodes to, and the SHA-256 of its parsed symbols.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

import obverse
from obverse.codecs.image.codec import level_of, quantise_pixels
from obverse.container import write_atomically
from tests.conftest import smooth_photo


def symbols_digest(photo: np.ndarray, quality: float) -> str:
    networks = obverse.open_codec("image").networks
    digest = hashlib.sha256()
    for symbols, index in quantise_pixels(networks, photo, level_of(quality)):
        digest.update(symbols.astype("<i4").tobytes() + index.tobytes())
    return digest.hexdigest()


def main() -> None:
    colour = smooth_photo(72, 100, seed=11)
    alpha = np.tile(np.arange(100, dtype=np.uint8), (72, 1))
    cases = {
        "image-colour-q40": (colour, 40.0),
        "image-gray-odd-q90": (smooth_photo(33, 65, seed=12, channels=1), 90.0),
        "image-alpha-q10": (np.dstack([colour, alpha]), 10.0),
        "image-one-pixel-q50": (np.full((1, 1, 3), 200, np.uint8), 50.0),
    }
    facts = {}
    for name, (photo, quality) in cases.items():
        data = obverse.compress(photo, quality=quality)
        write_atomically(HERE / f"{name}.obv", data, overwrite=True)
        Image.fromarray(obverse.decompress(data)).save(HERE / f"{name}.png")
        pixels = photo[:, :, :3] if photo.ndim == 3 else photo
        facts[name] = {"quality": quality, "symbols_sha256": symbols_digest(pixels, quality)}
    write_atomically(HERE / "golden.json", (json.dumps(facts, indent=2) + "\n").encode(), overwrite=True)


if __name__ == "__main__":
    main()
