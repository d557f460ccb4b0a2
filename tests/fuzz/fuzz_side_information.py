"""Fuzz the decoders with side information: python tests/fuzz/fuzz_side_information.py -atheris_runs=2000

Behind valid checksums, what a hostile writer could put into a file: any header, any bytes in any section. What comes
out must have the announced shape or be an error of our tree.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import obverse
from obverse.container import Container, Limits, read, write
from obverse.errors import ObverseError
from tests.codecs_side_information import EXAMPLES

LIMITS = Limits(pixels=40_000, memory=2**26)
GENUINE = []
for name, make in EXAMPLES.items():
    if name != "stereo":  # its sections are the image codec's: fuzz_image.py
        data, side = make(1)
        codec = obverse.open_codec(name)
        GENUINE.append((codec, read(obverse.compress(data[:3000], codec=name)), side[:3000]))


def one_input(data: bytes) -> None:
    # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
    provider = atheris.FuzzedDataProvider(data + np.random.default_rng(list(data)).bytes(900))
    codec, genuine, side = GENUINE[provider.ConsumeIntInRange(0, len(GENUINE) - 1)]
    sections, config, shape = dict(genuine.sections), dict(genuine.config), genuine.shape
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 4)
        section = list(sections)[provider.ConsumeIntInRange(0, len(sections) - 1)]
        if kind == 0:
            sections[section] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 400))
        elif kind == 1 and len(sections[section]):
            content = bytearray(sections[section])
            content[provider.ConsumeIntInRange(0, len(content) - 1)] ^= provider.ConsumeIntInRange(1, 255)
            sections[section] = bytes(content)
        elif kind == 2:
            config[provider.ConsumeIntInRange(0, 2)] = provider.ConsumeIntInRange(-2, 3)
        elif kind == 3:
            shape = tuple(
                provider.ConsumeIntInRange(0, 4000) for _ in range(provider.ConsumeIntInRange(0, 3))
            )
        else:
            sections[section] = sections[section][: provider.ConsumeIntInRange(0, len(sections[section]))]
    if len(shape) and 0 < shape[0] < len(side) and provider.ConsumeBool():
        side = side[: shape[0]]
    try:
        blob = write(Container(codec.id, config, shape, sections, codec.fingerprint, {}))
        decoded = codec.decode(read(blob, LIMITS), LIMITS, side_info=side)
    except ObverseError:
        return
    if decoded.shape != shape or not np.isfinite(decoded).all():
        raise RuntimeError(f"decoded {decoded.shape} where {shape} was announced, or not finite")


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
