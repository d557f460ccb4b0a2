"""Fuzz the decoder of invariant codes: python tests/fuzz/fuzz_invariant.py -atheris_runs=3000

Behind valid checksums, what a hostile writer could put into a file: any header, any bytes as codes. What comes out are
codes of the shape that the header says, all finite, or an error of our tree; from a file with changed bytes whose
checksums are not mended, the true codes or an error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from obverse.codecs.invariant.codec import InvariantCodec
from obverse.container import Container, Limits, read, write
from obverse.errors import ObverseError
from tests.codecs.invariant.models import CONFIGS, items_of, stored_model

LIMITS = Limits(pixels=40_000, items=4000, memory=2**24)
CASES = []
for config in CONFIGS:
    codec = InvariantCodec(stored_model(config))
    genuine = codec.encode(items_of(config, 40))
    CASES.append((codec, genuine, codec.decode(genuine)))


def one_input(data: bytes) -> None:
    # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
    provider = atheris.FuzzedDataProvider(data + np.random.default_rng(list(data)).bytes(600))
    codec, genuine, codes = CASES[provider.ConsumeIntInRange(0, len(CASES) - 1)]
    if provider.ConsumeIntInRange(0, 3) == 0:
        changed(provider, codec, codes, bytearray(write(genuine)))
        return
    content, settings, shape = bytearray(genuine.sections["codes"]), dict(genuine.config), genuine.shape
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 5)
        if kind == 0:
            content = bytearray(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 300)))
        elif kind == 1 and content:
            content[provider.ConsumeIntInRange(0, len(content) - 1)] ^= provider.ConsumeIntInRange(1, 255)
        elif kind == 2:
            settings[provider.ConsumeIntInRange(0, 3)] = provider.ConsumeIntInRange(-2, 2**33)
        elif kind == 3:
            shape = tuple(provider.ConsumeIntInRange(0, 60) for _ in range(provider.ConsumeIntInRange(0, 4)))
        elif kind == 4:
            shape = (provider.ConsumeIntInRange(0, 2**40), *shape[1:])
        else:
            content = content[: provider.ConsumeIntInRange(0, len(content))]
    try:
        sections = {"codes": bytes(content)}
        blob = write(Container(codec.id, settings, shape, sections, codec.fingerprint, {}))
        decoded = codec.decode(read(blob, LIMITS), limits=LIMITS)
    except ObverseError:
        return
    if decoded.shape != (shape[0], codec.config.codes) or not np.isfinite(decoded).all():
        raise RuntimeError(f"{decoded.shape} codes came out of a file of {shape}, or not all are finite")


def changed(
    provider: atheris.FuzzedDataProvider, codec: InvariantCodec, codes: np.ndarray, blob: bytearray
) -> None:
    """Changed bytes and a cut end; the checksums are not mended."""
    for _ in range(provider.ConsumeIntInRange(0, 2)):
        blob[provider.ConsumeIntInRange(0, len(blob) - 1)] ^= provider.ConsumeIntInRange(1, 255)
    try:
        container = read(bytes(blob[: provider.ConsumeIntInRange(0, len(blob))]), LIMITS)
        if container.codec != codec.id or container.model != codec.fingerprint:
            return
        decoded = codec.decode(container, limits=LIMITS)
    except ObverseError:
        return
    if not np.array_equal(decoded, codes):
        raise RuntimeError("other codes came out of a changed file, without an error")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
