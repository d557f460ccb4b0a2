"""Examples of the lossless image codec: every kind of image, and every method that may code a stripe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from obverse.container import read
from obverse.data.images import Photo
from obverse.testing import Example
from tests.conftest import REPOSITORY, smooth_photo


def method_of(data: bytes) -> int:
    """What coded the first stripe of a file."""
    return read(data).sections["x"][0]


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


def parrot() -> np.ndarray:
    with Image.open(REPOSITORY / "examples" / "kodim23.png") as image:
        return np.asarray(image.convert("RGB"))[150:214, 300:380].copy()


def colour() -> np.ndarray:
    return smooth_photo(48, 60, seed=21)


def gray() -> np.ndarray:
    return smooth_photo(33, 65, seed=22, channels=1)


def alpha() -> np.ndarray:
    return np.tile(np.arange(60, dtype=np.uint8) * 4, (48, 1))


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def deep() -> np.ndarray:
    return gray().astype(np.uint16) * 256 + noise((33, 65))


def with_metadata() -> Photo:
    """All that a photo may have beside its pixels."""
    text = {"Title": "a slope", "Author": "Žofie"}
    return Photo(gray(), None, b"profile", b"Exif\0\0data", b"<x:xmpmeta/>", (300.0, 150.5), text)


def with_png_colour() -> Photo:
    """What a PNG file says of its colours where no profile does."""
    colour = {"gAMA": b"\0\0\xb1\x8f", "cHRM": bytes(range(32)), "cICP": b"\x09\x10\0\1", "sBIT": b"\5"}
    return Photo(gray(), colour=colour)


def deep_colour(shared: int = 900, own: int = 60) -> np.ndarray:
    """(48, 60, 3) of 16 bits: ramps, noise that the channels share, and noise of their own."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:48, :60]
    ramps = (300 * rows + 200 * columns)[:, :, None] + np.array([4000, 9000, 20000])
    noise = shared * rng.standard_normal((48, 60, 1)) + own * rng.standard_normal((48, 60, 3))
    return (ramps + noise).astype(np.uint16)


def twelve_bits() -> np.ndarray:
    """(48, 60, 3): every value a multiple of 16 or so, each channel with a factor of its own."""
    values = deep_colour() // 16
    return np.dstack([values[:, :, c] * factor for c, factor in enumerate((9, 16, 12))]).astype(np.uint16)


def example(name: str, data: Callable[[], np.ndarray | Photo], error: int = 0) -> Example:
    return Example("image-lossless", name, data, options={"max_error": error} if error else {}, error=error)


EXAMPLES = (
    example("image-photo", parrot),
    example("image-alpha", lambda: np.dstack([colour(), alpha()])),
    example("image-16-bits", deep),
    example("image-palette", lambda: drawing(16)),
    example("image-near", lambda: np.dstack([colour(), alpha()]), error=2),
    example("image-16-bits-colour", deep_colour),
    example("image-16-bits-alpha", lambda: np.dstack([twelve_bits(), alpha().astype(np.uint16) * 257])),
)
GOLDEN = (
    example("image-gray", gray),
    example("image-gray-alpha", lambda: np.dstack([gray(), gray()[::-1]])),
    example("image-grey-colours", lambda: np.dstack([gray()] * 3)),
    example("image-16-bits-few", lambda: (noise((20, 30)) % 40).astype(np.uint16) * 1000),
    example("image-16-bits-channels", lambda: deep_colour(0, 900)),
    example("image-16-bits-times-257", lambda: parrot().astype(np.uint16) * 257),
    example("image-16-bits-gray-alpha", lambda: np.dstack([deep(), deep()[::-1, ::-1]])),
    example("image-16-bits-drawing", lambda: (drawing(1000) * np.array([100, 201, 257])).astype(np.uint16)),
    example("image-16-bits-noise", lambda: noise((20, 30, 6)).view(np.uint16)),
    example("image-16-bits-flat", lambda: np.full((100, 200, 4), [1, 65535, 300, 4], np.uint16)),
    example("image-drawing", lambda: drawing(1000)),
    example("image-repeated", lambda: np.tile(noise((16, 20, 3)), (4, 3, 1))),
    example("image-noise", lambda: noise((20, 30, 3))),
    example("image-flat", lambda: np.full((100, 200, 3), [10, 20, 30], np.uint8)),
    example("image-one-pixel", lambda: np.full((1, 1), 200, np.uint8)),
    example("image-metadata", with_metadata),
    example("image-16-bits-near", deep_colour, error=100),
    example("image-png-colour", with_png_colour),
    # made with stripes of 1500 pixels
    example(
        "image-stripes", lambda: Photo(colour(), alpha(), b"profile" * 9, b"Exif\0\0" + bytes(range(64)))
    ),
)
