"""Fuzz the decoders of all declared codecs: python -m tests.fuzz.fuzz_codecs [CODEC ...] -atheris_runs=10000

Behind valid checksums, what a hostile writer could put into a file (`obverse.testing.damage`). Findings: an exception
that is not an ObverseError, an array that is not finite, a recovery that says nothing of what is missing.

The examples are those of the conformance tests; name codecs to fuzz these alone. Needs atheris
(`pip install obverse[fuzz]`).
"""

from __future__ import annotations

import sys

import atheris
import numpy as np

from obverse.codec import Recovers
from obverse.container import Limits, read, write
from obverse.errors import ModelError, ObverseError
from obverse.testing import Opened
from obverse.testing.damage import damaged
from tests.codecs.test_conformance import EXAMPLES

LIMITS = Limits(pixels=40_000, memory=2**27, items=4000)
CHOSEN = [name for name in sys.argv[1:] if not name.startswith("-")]
OPENED = [Opened(example) for example in EXAMPLES.values() if not CHOSEN or example.codec in CHOSEN]


class FromFuzzer:
    """Choices from the fuzzer's bytes, as `obverse.testing.damage.Choose` wants them."""

    def __init__(self, data: bytes):
        # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
        more = np.random.default_rng(list(data)).bytes(4000)
        self._provider = atheris.FuzzedDataProvider(data + more)

    def below(self, count: int) -> int:
        return int(self._provider.ConsumeIntInRange(0, count - 1))

    def some_bytes(self, count: int) -> bytes:
        return bytes(self._provider.ConsumeBytes(count))


def one_input(data: bytes) -> None:
    choose = FromFuzzer(data)
    it = OPENED[choose.below(len(OPENED))]
    try:
        blob = write(damaged(it.container, choose))
    except ObverseError:
        return  # no such file can be written
    if isinstance(it.codec, Recovers) and it.container.items:
        try:
            kept, missing = it.codec.recover(blob, LIMITS)
            shape = read(blob).shape
            if shape and (len(kept) < shape[0]) and not missing:
                raise RuntimeError(f"{it.example}: recovered {kept.shape} of {shape}, and nothing is missing")
        except ModelError:
            raise  # the file is at fault, not the model
        except ObverseError:
            pass
    try:
        decoded = it.decode(read(blob, LIMITS), LIMITS)
    except ModelError:
        raise
    except ObverseError:
        return
    if decoded.dtype.kind == "f" and not np.isfinite(decoded).all():
        raise RuntimeError(f"{it.example}: what is decoded is not finite")


if __name__ == "__main__":
    for it in OPENED:
        it.decode(it.container, LIMITS)  # what is compiled at first use takes longer than an input may
    atheris.Setup([word for word in sys.argv if word not in CHOSEN], one_input)
    atheris.Fuzz()
