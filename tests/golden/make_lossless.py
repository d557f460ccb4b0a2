"""Write the golden files of `image-lossless`: python tests/golden/make_lossless.py

Each case is an .obv file and the pixels in it as .png. Run once for each released model.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

import numpy as np
from PIL import Image, ImageDraw

import obverse
from obverse.codecs.image_lossless import codec as image_lossless
from obverse.container import write_atomically
from obverse.data.images import Photo
from tests.conftest import REPOSITORY, smooth_photo

FOLDER = HERE / "lossless"
STRIPE_PIXELS = 1500  # so that the case of several stripes is small


def drawing(colours: int) -> np.ndarray:
    """(60, 90, 3): boxes and text, antialiased if there may be many colours."""
    image = Image.new("RGB", (90, 60), "white")
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L" if colours > 256 else "1"
    for i in range(5):
        draw.rectangle((5 + 15 * i, 30, 16 + 15 * i, 55 - 4 * i), fill=(50 * i, 90, 200 - 40 * i))
    draw.text((4, 4), "exactly", fill="black")
    array = np.asarray(image).copy()
    if colours > 256:
        ramp = np.arange(90) * 2
        array[20:28] = np.dstack([ramp, ramp[::-1], np.arange(90)])
        array[28:30, :, 1] = np.arange(180).reshape(2, 90)
    return array


def cases() -> dict[str, np.ndarray | Photo]:
    rng = np.random.default_rng(7)
    colour, gray = smooth_photo(48, 60, seed=21), smooth_photo(33, 65, seed=22, channels=1)
    with Image.open(REPOSITORY / "examples" / "kodim23.png") as image:
        parrot = np.asarray(image.convert("RGB"))[150:214, 300:380].copy()
    alpha = np.tile(np.arange(60, dtype=np.uint8) * 4, (48, 1))
    return {
        "image-photo": parrot,
        "image-gray": gray,
        "image-alpha": np.dstack([colour, alpha]),
        "image-gray-alpha": np.dstack([gray, gray[::-1]]),
        "image-grey-colours": np.dstack([gray] * 3),
        "image-16-bits": gray.astype(np.uint16) * 256 + rng.integers(0, 256, gray.shape).astype(np.uint16),
        "image-16-bits-few": rng.integers(0, 40, (20, 30)).astype(np.uint16) * 1000,
        "image-palette": drawing(16),
        "image-drawing": drawing(1000),
        "image-repeated": np.tile(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8), (4, 3, 1)),
        "image-noise": rng.integers(0, 256, (20, 30, 3), dtype=np.uint8),
        "image-flat": np.full((100, 200, 3), [10, 20, 30], np.uint8),
        "image-one-pixel": np.full((1, 1), 200, np.uint8),
        "image-stripes": Photo(colour, alpha, b"profile" * 9, b"Exif\0\0" + bytes(range(64))),
    }


def main() -> None:
    codec = obverse.open_codec("image-lossless")
    for name, data in cases().items():
        image_lossless.STRIPE_PIXELS = STRIPE_PIXELS if name == "image-stripes" else 2**19
        packed = obverse.compress(data, codec="image-lossless")
        write_atomically(FOLDER / f"{name}.obv", packed, overwrite=True)
        png = codec.save(codec.encode(data), "x.png")
        write_atomically(FOLDER / f"{name}.png", png, overwrite=True)


if __name__ == "__main__":
    main()
