"""Fuzz the lossless image decoder behind valid checksums: python tests/fuzz/fuzz_image_lossless.py -atheris_runs=5000

As fuzz_image.py: whatever a hostile writer could put into a file reaches the codec. Whatever comes out must be a
picture of the announced size and type, or an error of our tree.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import obverse
from obverse.codecs.image_lossless import codec as image_lossless
from obverse.codecs.image_lossless.codec import KINDS
from obverse.container import Container, Limits, read, write
from obverse.errors import ObverseError
from tests.conftest import smooth_photo

NAME = "image-lossless"
LIMITS = Limits(pixels=4_000, memory=2**28)
CODEC = obverse.open_codec(NAME)
image_lossless.STRIPE_PIXELS = image_lossless.DRAWN_STRIPE_PIXELS = 400
RNG = np.random.default_rng(0)
ARRAYS = [
    smooth_photo(20, 15),
    smooth_photo(18, 12, channels=1),
    np.dstack([smooth_photo(16, 16), smooth_photo(16, 16, seed=1, channels=1)]),
    RNG.integers(0, 5, (20, 15)).astype(np.uint16) * 100,
    RNG.integers(0, 3, (17, 13, 3)).astype(np.uint8) * 90,
    np.tile(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8), (2, 2, 1)),
    np.full((15, 15, 2), 9, np.uint8),
    smooth_photo(60, 20),  # several stripes
]
GENUINE = [read(obverse.compress(array, codec=NAME)) for array in ARRAYS]


def damaged(payload: bytes, provider: atheris.FuzzedDataProvider) -> bytes:
    kind = provider.ConsumeIntInRange(0, 4)
    if kind == 0:
        return provider.ConsumeBytes(provider.ConsumeIntInRange(0, 300))
    if kind == 1 and payload:
        changed = bytearray(payload)
        changed[provider.ConsumeIntInRange(0, len(changed) - 1)] ^= provider.ConsumeIntInRange(1, 255)
        return bytes(changed)
    if kind == 2:
        return payload[: provider.ConsumeIntInRange(0, len(payload))]
    if kind == 3:  # another method
        return bytes([provider.ConsumeIntInRange(0, 7)]) + payload[1:]
    return bytes([provider.ConsumeIntInRange(4, 7)]) + payload  # one around it


def one_input(data: bytes) -> None:
    # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
    provider = atheris.FuzzedDataProvider(data + np.random.default_rng(list(data)).bytes(900))
    genuine = GENUINE[provider.ConsumeIntInRange(0, len(GENUINE) - 1)]
    config, shape = dict(genuine.config), genuine.shape
    sections, items = dict(genuine.sections), genuine.items
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 4)
        if kind == 0:
            config[provider.ConsumeIntInRange(0, 3)] = provider.ConsumeIntInRange(-2, 70)
        elif kind == 1:
            shape = tuple(provider.ConsumeIntInRange(0, 80) for _ in range(provider.ConsumeIntInRange(0, 3)))
        elif items is not None:
            number = provider.ConsumeIntInRange(0, len(items) - 1)
            items = (*items[:number], damaged(items[number], provider), *items[number + 1 :])
        elif kind == 2:
            name = ("icc", "exif", "other")[provider.ConsumeIntInRange(0, 2)]
            sections[name] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 60))
        else:
            sections["x"] = damaged(sections["x"], provider)
    try:
        blob = write(Container(NAME, config, shape, sections, CODEC.fingerprint, {}, items))
        array = obverse.decompress(blob, limits=LIMITS)
    except ObverseError:
        return
    channels, depth = KINDS[config[0]]
    if array.shape != ((*shape, channels) if channels > 1 else shape) or 8 * array.itemsize != depth:
        raise RuntimeError(f"a picture of {array.dtype} {array.shape} for a header of {config}, {shape}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
