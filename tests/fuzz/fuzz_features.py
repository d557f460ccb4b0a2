"""Fuzz the decoder of features: python tests/fuzz/fuzz_features.py -atheris_runs=3000

Behind valid checksums, what a hostile writer could put into a file: any header, any arrays in the model, any bytes in
any item. What comes out are finite features of the shape that the header says, or an error of our tree; the view, one
item at a time, must agree with the codec, which reads everything.
"""

from __future__ import annotations

import contextlib
import sys

import atheris
import numpy as np

from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.items import pack_arrays, unpack_arrays
from obverse.codecs.features.view import FeatureView
from obverse.container import Container, Limits, read, write
from obverse.errors import ObverseError

LIMITS = Limits(pixels=40_000, memory=2**25)
CODEC = FeatureCodec()
DTYPES = (np.int8, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64)


def genuine(dtype: type, **options: object) -> Container:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(150, 6)) @ rng.normal(size=(6, 6))).astype(dtype)
    return CODEC.encode(x, CODEC.options(chunk=40, **options))


PROTOTYPES = {"a": np.eye(6)[0], "b": np.ones(6)}
CASES = (
    genuine(np.float16, loss=0.1),
    genuine(np.float32, loss=0.01, transform="klt", encoder=bytes(32), prototypes=PROTOTYPES),
    genuine(np.float64, lmbda=0.5, distortion="l1"),
)


def changed_model(provider: atheris.FuzzedDataProvider, payload: bytes) -> bytes:
    """One array of the model with other numbers, type or shape."""
    arrays = unpack_arrays(payload, LIMITS)
    name = sorted(arrays)[provider.ConsumeIntInRange(0, len(arrays) - 1)]
    array = arrays[name]
    kind = provider.ConsumeIntInRange(0, 4)
    with np.errstate(all="ignore"):
        if kind == 0 and array.size:
            array = array.copy()
            raw = array.reshape(-1).view(np.uint8)
            raw[provider.ConsumeIntInRange(0, raw.size - 1)] = provider.ConsumeIntInRange(0, 255)
        elif kind == 1:
            array = array.astype(DTYPES[provider.ConsumeIntInRange(0, len(DTYPES) - 1)])
        elif kind == 2:
            array = array[: provider.ConsumeIntInRange(0, len(array))]
        elif kind == 3:
            array = np.full_like(array, provider.ConsumeIntInRange(-128, 127) % 128)
        else:
            array = np.zeros(
                [provider.ConsumeIntInRange(0, 40) for _ in range(provider.ConsumeIntInRange(0, 3))]
            )
    return pack_arrays(arrays | {name: array})


def one_input(data: bytes) -> None:
    # the fuzzer starts from inputs of a few bytes and sees no coverage in compiled code: more follow from these
    provider = atheris.FuzzedDataProvider(data + np.random.default_rng(list(data)).bytes(900))
    case = CASES[provider.ConsumeIntInRange(0, len(CASES) - 1)]
    items, settings, shape = list(case.items or ()), dict(case.config), case.shape
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        kind = provider.ConsumeIntInRange(0, 6)
        i = provider.ConsumeIntInRange(0, len(items) - 1)
        if kind == 0:
            items[i] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 400))
        elif kind == 1 and items[i]:
            content = bytearray(items[i])
            content[provider.ConsumeIntInRange(0, len(content) - 1)] ^= provider.ConsumeIntInRange(1, 255)
            items[i] = bytes(content)
        elif kind == 2:
            settings[provider.ConsumeIntInRange(0, 6)] = provider.ConsumeIntInRange(-2, 2**33)
        elif kind == 3:
            shape = tuple(provider.ConsumeIntInRange(0, 200) for _ in range(provider.ConsumeIntInRange(0, 4)))
        elif kind == 4:
            items[i] = items[i][: provider.ConsumeIntInRange(0, len(items[i]))]
        elif kind == 5:
            try:
                items[0] = changed_model(provider, items[0])
            except ObverseError:
                return
        else:
            items = items[:i] + items[i + 1 :] if len(items) > 1 else items + items
    blob = write(Container(CODEC.id, settings, shape, {}, None, {}, tuple(items)))
    whole = seen = None
    with contextlib.suppress(ObverseError):
        whole = CODEC.decode(read(blob, LIMITS), limits=LIMITS)
    with contextlib.suppress(ObverseError), FeatureView(blob, limits=LIMITS) as view:
        seen = view[:]
        if view.prototypes is not None:
            view.labels()
    if whole is not None and (whole.shape != shape or not np.isfinite(whole).all()):
        raise RuntimeError(f"features of shape {whole.shape} came out of a file of {shape}, or no numbers")
    if whole is not None and seen is not None and not np.array_equal(whole, seen):
        raise RuntimeError("the view and the codec read other features")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
