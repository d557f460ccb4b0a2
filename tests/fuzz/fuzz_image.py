"""Fuzz the image decoder behind valid checksums: python tests/fuzz/fuzz_image.py -atheris_runs=2000

The container is fuzzed by fuzz_container.py; here its checksums are always right, so that what a hostile
writer could put into an image file reaches the codec: any message, any header, damaged alpha and metadata.
Whatever comes out must be a picture of the announced size or an error of our tree.
"""

from __future__ import annotations

import sys

import atheris
import numpy as np

import obverse
from obverse.container import Container, Limits, read, write
from obverse.errors import ObverseError

LIMITS = Limits(pixels=40_000, memory=2**26)
CODEC = obverse.open_codec("image")
RNG = np.random.default_rng(0)
GENUINE = [
    read(obverse.compress(RNG.integers(0, 256, shape, dtype=np.uint8), quality=quality))
    for shape in ((20, 30, 3), (90, 70, 4), (64, 64))
    for quality in (5, 90)
]


def one_input(data: bytes) -> None:
    # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
    provider = atheris.FuzzedDataProvider(data + np.random.default_rng(list(data)).bytes(900))
    genuine = GENUINE[provider.ConsumeIntInRange(0, len(GENUINE) - 1)]
    sections = dict(genuine.sections)
    config, shape = dict(genuine.config), genuine.shape
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 5)
        if kind == 0:
            sections["y"] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 400))
        elif kind == 1 and len(sections["y"]):
            message = bytearray(sections["y"])
            message[provider.ConsumeIntInRange(0, len(message) - 1)] ^= provider.ConsumeIntInRange(1, 255)
            sections["y"] = bytes(message)
        elif kind == 2:
            config[provider.ConsumeIntInRange(0, 2)] = provider.ConsumeIntInRange(-2, 2100)
        elif kind == 3:
            shape = tuple(provider.ConsumeIntInRange(0, 300) for _ in range(provider.ConsumeIntInRange(0, 3)))
        elif kind == 4:
            name = ("alpha", "icc", "exif", "other")[provider.ConsumeIntInRange(0, 3)]
            sections[name] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 100))
        else:
            sections["y"] = sections["y"][: provider.ConsumeIntInRange(0, len(sections["y"]))]
    try:
        blob = write(Container("image", config, shape, sections, CODEC.fingerprint))
        array = obverse.decompress(blob, limits=LIMITS)
    except ObverseError:
        return
    if array.shape[:2] != tuple(shape) or array.dtype != np.uint8:
        raise RuntimeError(f"a picture of {array.shape} for a header of {shape}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
