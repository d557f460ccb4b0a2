"""Fuzz the bits-back codec's decoder and its recovery: python tests/fuzz/fuzz_vae.py -atheris_runs=3000

Behind valid checksums, what a hostile writer could put into a file: any header, any bytes in any chain. What comes out
are the true images or an error of our tree; from a file with changed or missing bytes, true images only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from obverse.codecs.vae.codec import VaeCodec
from obverse.container import Container, Limits, read, write
from obverse.errors import ObverseError
from tests.codecs.vae.models import BINARY, TWO_LAYERS, images_of, stored_model

LIMITS = Limits(pixels=40_000, memory=2**26)
CASES = []
for config in (TWO_LAYERS, BINARY):
    codec = VaeCodec(stored_model(config))
    images = images_of(config, 25)
    CASES.append((codec, images, codec.encode(images, codec.options(segment=10))))


def one_input(data: bytes) -> None:
    # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
    provider = atheris.FuzzedDataProvider(data + np.random.default_rng(list(data)).bytes(900))
    codec, images, genuine = CASES[provider.ConsumeIntInRange(0, len(CASES) - 1)]
    if provider.ConsumeIntInRange(0, 3) == 0:
        recover(provider, codec, images, bytearray(write(genuine)))
        return
    items, settings, shape = list(genuine.items or ()), dict(genuine.config), genuine.shape
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 5)
        i = provider.ConsumeIntInRange(0, len(items) - 1)
        if kind == 0:
            items[i] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 600))
        elif kind == 1 and items[i]:
            content = bytearray(items[i])
            content[provider.ConsumeIntInRange(0, len(content) - 1)] ^= provider.ConsumeIntInRange(1, 255)
            items[i] = bytes(content)
        elif kind == 2:
            settings[provider.ConsumeIntInRange(0, 3)] = provider.ConsumeIntInRange(-2, 2**33)
        elif kind == 3:
            shape = tuple(provider.ConsumeIntInRange(0, 60) for _ in range(provider.ConsumeIntInRange(0, 4)))
        elif kind == 4:
            items[i] = items[i][: provider.ConsumeIntInRange(0, len(items[i]))]
        else:
            items = items[:i] + items[i + 1 :] if len(items) > 1 else items + items
    try:
        blob = write(Container(codec.id, settings, shape, {}, codec.fingerprint, {}, tuple(items)))
        decoded = codec.decode(read(blob, LIMITS), limits=LIMITS)
    except ObverseError:
        return
    if not np.array_equal(decoded, images):
        raise RuntimeError(f"{decoded.shape} other images came out of a changed file, without an error")


def recover(
    provider: atheris.FuzzedDataProvider, codec: VaeCodec, images: np.ndarray, blob: bytearray
) -> None:
    """Changed bytes and a cut end; the checksums are not mended."""
    for _ in range(provider.ConsumeIntInRange(0, 2)):
        blob[provider.ConsumeIntInRange(0, len(blob) - 1)] ^= provider.ConsumeIntInRange(1, 255)
    try:
        kept, missing = codec.recover(bytes(blob[: provider.ConsumeIntInRange(0, len(blob))]), LIMITS)
    except ObverseError:
        return
    whole = [i for i in range(3) if not any(f"segment {i} " in sentence for sentence in missing)]
    if not np.array_equal(
        kept, np.concatenate([images[:0], *(images[10 * i : 10 * (i + 1)] for i in whole)])
    ):
        raise RuntimeError("other images than the file's were recovered")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
