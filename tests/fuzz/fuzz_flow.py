"""Fuzz the flow codec's decoder: python tests/fuzz/fuzz_flow.py -atheris_runs=2000

Behind valid checksums, what a hostile writer could put into a file: any header, any bytes in any segment. What comes
out must have the announced shape and be what encodes to this file, or be an error of our tree. `recover` too.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from obverse.codecs.flow.codec import FlowCodec
from obverse.container import Container, Limits, read, write
from obverse.errors import ObverseError
from tests.codecs.flow.models import some_images, store_flow

LIMITS = Limits(pixels=40_000, memory=2**26)
with tempfile.TemporaryDirectory() as folder:
    CODEC = FlowCodec(store_flow(Path(folder) / "small"))
    CODEC.networks  # noqa: B018  while the folder is there
GENUINE = CODEC.encode(some_images(5), CODEC.options(segment=2))


def one_input(data: bytes) -> None:
    # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
    provider = atheris.FuzzedDataProvider(data + np.random.default_rng(list(data)).bytes(3000))
    items, config, shape = list(GENUINE.items or ()), dict(GENUINE.config), GENUINE.shape
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 5)
        number = provider.ConsumeIntInRange(0, len(items) - 1)
        if kind == 0:
            items[number] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 2500))
        elif kind == 1 and items[number]:
            content = bytearray(items[number])
            content[provider.ConsumeIntInRange(0, len(content) - 1)] ^= provider.ConsumeIntInRange(1, 255)
            items[number] = bytes(content)
        elif kind == 2:
            config[provider.ConsumeIntInRange(0, 1)] = provider.ConsumeIntInRange(-2, 2000)
        elif kind == 3:
            shape = tuple(provider.ConsumeIntInRange(0, 40) for _ in range(provider.ConsumeIntInRange(0, 5)))
        elif kind == 4:
            shape = (provider.ConsumeIntInRange(0, 2**40), *shape[1:])
        else:
            items[number] = items[number][: provider.ConsumeIntInRange(0, len(items[number]))]
    blob = write(Container(CODEC.id, config, shape, {}, CODEC.fingerprint, {}, tuple(items)))
    try:
        kept, missing = CODEC.recover(blob, LIMITS)
        if kept.shape[1:] != (32, 32, 3) or (len(kept) < shape[0]) != bool(missing):
            raise RuntimeError(f"recovered {kept.shape} of {shape}, missing: {missing}")
    except ObverseError:
        pass
    try:
        decoded = CODEC.decode(read(blob, LIMITS), limits=LIMITS)
    except ObverseError:
        return
    if decoded.shape != shape or CODEC.encode(decoded, CODEC.options(segment=config[0])).items != tuple(
        items
    ):
        raise RuntimeError(
            f"decoded {decoded.shape} where {shape} was announced, or to what encodes otherwise"
        )


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
