"""Fuzz the decoder of latents: python tests/fuzz/fuzz_plug_and_play.py -atheris_runs=3000

Behind valid checksums, what a hostile writer could put into a file: any header, any grids and tables, any symbols. What
comes out are latents of the shape that the header says, or an error of our tree.
"""

from __future__ import annotations

import contextlib
import sys
import zlib

import atheris
import numpy as np

from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.codecs.plug_and_play.fit import METHODS, build_model, fit
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.container import Container, Limits, read, write
from obverse.errors import ObverseError

LIMITS = Limits(pixels=40_000, memory=2**25)
_RNG = np.random.default_rng(0)
POSTERIOR = Posterior.of(_RNG.standard_t(4, (60, 5)), np.exp(_RNG.normal(-2, 1, (60, 5))))
UNEVEN = Posterior.of(
    _RNG.normal(0, 1, (3000, 5)) * np.where(_RNG.random((3000, 1)) < 0.3, 3, 0.02), np.full((3000, 5), 0.2)
)
CODECS = [
    PlugAndPlayCodec(),
    PlugAndPlayCodec(build_model(fit(POSTERIOR, 1, [0.1, 1.0], depth=8), (60, 5), axis=1)),
    PlugAndPlayCodec(build_model(fit(UNEVEN, 1, [1.0], depth=8), (60, 5), axis=1)),
]
CASES = [
    *(
        (CODECS[0], CODECS[0].encode(POSTERIOR, CODECS[0].options(method=method, axis=axis)))
        for method in METHODS
        for axis in (None, 1)
    ),
    *((codec, codec.encode(POSTERIOR)) for codec in CODECS[1:]),
]


def changed_model(provider: atheris.FuzzedDataProvider, payload: bytes) -> bytes:
    """Grids and tables with some bytes or numbers changed, or cut."""
    raw = bytearray(zlib.decompress(payload))
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 3)
        at = provider.ConsumeIntInRange(0, max(0, len(raw) - 4))
        if kind == 0:
            raw[at] ^= provider.ConsumeIntInRange(1, 255)
        elif kind == 1:
            at = 4 * provider.ConsumeIntInRange(0, min(30, len(raw) // 4 - 1))
            raw[at : at + 4] = provider.ConsumeIntInRange(-(2**31), 2**31 - 1).to_bytes(
                4, "little", signed=True
            )
        elif kind == 2:
            at = 4 * provider.ConsumeIntInRange(0, min(30, len(raw) // 4 - 1))
            raw[at : at + 4] = provider.ConsumeIntInRange(-3, 40).to_bytes(4, "little", signed=True)
        else:
            raw = raw[: max(at, 4)] + provider.ConsumeBytes(provider.ConsumeIntInRange(0, 8))
        raw = raw.ljust(8, b"\0")
    return zlib.compress(bytes(raw))


def one_input(data: bytes) -> None:
    # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
    provider = atheris.FuzzedDataProvider(data + np.random.default_rng(list(data)).bytes(900))
    codec, case = CASES[provider.ConsumeIntInRange(0, len(CASES) - 1)]
    sections, config, shape = dict(case.sections), dict(case.config), case.shape
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 5)
        name = sorted(sections)[provider.ConsumeIntInRange(0, len(sections) - 1)]
        if kind == 0:
            sections[name] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 400))
        elif kind == 1 and sections[name]:
            content = bytearray(sections[name])
            content[provider.ConsumeIntInRange(0, len(content) - 1)] ^= provider.ConsumeIntInRange(1, 255)
            sections[name] = bytes(content)
        elif kind == 2:
            config[provider.ConsumeIntInRange(0, 3)] = provider.ConsumeIntInRange(-2, 2**33)
        elif kind == 3:
            shape = tuple(provider.ConsumeIntInRange(0, 200) for _ in range(provider.ConsumeIntInRange(0, 4)))
        elif kind == 4:
            sections[name] = sections[name][: provider.ConsumeIntInRange(0, len(sections[name]))]
        elif "model" in sections:
            with contextlib.suppress(zlib.error):
                sections["model"] = changed_model(provider, sections["model"])
    blob = write(Container(codec.id, config, shape, sections, case.model))
    with contextlib.suppress(ObverseError):
        z = codec.decode(read(blob, LIMITS), limits=LIMITS)
        if z.shape != shape or z.dtype != np.float32:
            raise RuntimeError(f"latents {z.dtype} of shape {z.shape} came out of a file of {shape}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
