"""Fuzz what a server of split computing reads: python tests/fuzz/fuzz_split.py -atheris_runs=3000

Three kinds of hostile bytes: a payload (any bytes, any number of images), an .obv file with valid checksums but any
header and any codes, and the file of a half. What comes out are codes of the right shape, all finite, or an error of
our tree; from a file with changed bytes whose checksums are not mended, the true codes or an error.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from obverse.codecs.split.codec import SplitCodec
from obverse.codecs.split.halves import load_server
from obverse.container import Container, Limits, read, write
from obverse.errors import ObverseError
from tests.codecs.split.models import CONFIGS, images_of, stored_model

LIMITS = Limits(pixels=40_000, items=4000, memory=2**24)
FOLDER = Path(tempfile.mkdtemp())
CASES = []
for config in CONFIGS:
    codec = SplitCodec(stored_model(config))
    genuine = codec.encode(images_of(config, 5))
    codec.server.store(FOLDER / "server", overwrite=True)
    CASES.append((codec, genuine, codec.decode(genuine), (FOLDER / "server").read_bytes()))


def one_input(data: bytes) -> None:
    # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
    provider = atheris.FuzzedDataProvider(data + np.random.default_rng(list(data)).bytes(600))
    codec, genuine, latents, half = CASES[provider.ConsumeIntInRange(0, len(CASES) - 1)]
    kind = provider.ConsumeIntInRange(0, 4)
    if kind == 0:
        changed(provider, codec, latents, bytearray(write(genuine)))
    elif kind == 1:
        payload(provider, codec, bytearray(genuine.sections["codes"]))
    elif kind == 2:
        a_half(provider, bytearray(half))
    else:
        hostile(provider, codec, genuine)


def damaged(provider: atheris.FuzzedDataProvider, content: bytearray) -> bytes:
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 2)
        if kind == 0:
            content = bytearray(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 300)))
        elif kind == 1 and content:
            content[provider.ConsumeIntInRange(0, len(content) - 1)] ^= provider.ConsumeIntInRange(1, 255)
        else:
            content = content[: provider.ConsumeIntInRange(0, len(content))]
    return bytes(content)


def payload(provider: atheris.FuzzedDataProvider, codec: SplitCodec, content: bytearray) -> None:
    n = provider.ConsumeIntInRange(-1, 8) if provider.ConsumeBool() else provider.ConsumeIntInRange(0, 2**40)
    try:
        decoded = codec.server.latents(damaged(provider, content), n, LIMITS)
    except ObverseError:
        return
    if decoded.shape != (n, *codec.config.latent_shape) or not np.isfinite(decoded).all():
        raise RuntimeError(
            f"{decoded.shape} codes came out of a payload of {n} images, or not all are finite"
        )


def a_half(provider: atheris.FuzzedDataProvider, content: bytearray) -> None:
    """Mostly its header is hit, where sizes and names are."""
    for _ in range(provider.ConsumeIntInRange(1, 4)):
        last = len(content) - 1 if provider.ConsumeBool() else 2500
        content[provider.ConsumeIntInRange(0, last)] = provider.ConsumeIntInRange(0, 255)
    (FOLDER / "server").write_bytes(content[: provider.ConsumeIntInRange(0, 4 * len(content))])
    try:
        load_server(FOLDER / "server").check()
    except ObverseError:
        return


def hostile(provider: atheris.FuzzedDataProvider, codec: SplitCodec, genuine: Container) -> None:
    settings, shape = dict(genuine.config), genuine.shape
    kind = provider.ConsumeIntInRange(0, 3)
    if kind == 0:
        settings[provider.ConsumeIntInRange(0, 3)] = provider.ConsumeIntInRange(-2, 2**33)
    elif kind == 1:
        shape = tuple(provider.ConsumeIntInRange(0, 60) for _ in range(provider.ConsumeIntInRange(0, 5)))
    elif kind == 2:
        shape = (provider.ConsumeIntInRange(0, 2**40), *shape[1:])
    else:
        shape = shape[1:]
    content = damaged(provider, bytearray(genuine.sections["codes"]))
    try:
        blob = write(Container(codec.id, settings, shape, {"codes": content}, codec.fingerprint, {}))
        decoded = codec.decode(read(blob, LIMITS), limits=LIMITS)
    except ObverseError:
        return
    if decoded.shape != (*shape[:-3], *codec.config.latent_shape) or not np.isfinite(decoded).all():
        raise RuntimeError(f"{decoded.shape} codes came out of a file of {shape}, or not all are finite")


def changed(
    provider: atheris.FuzzedDataProvider, codec: SplitCodec, latents: np.ndarray, blob: bytearray
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
    if not np.array_equal(decoded, latents):
        raise RuntimeError("other codes came out of a changed file, without an error")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
