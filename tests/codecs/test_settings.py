"""Sets of 1, 20 and 200 images, under the settings of torch: batches take other kernels than one image does."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from obverse.codec import Codec
from obverse.container import Container
from obverse.registry import open_codec
from obverse.testing.machines import SETTINGS, setting
from tests.codecs.flow.models import some_images
from tests.codecs.vae.models import strokes

OF_KERNELS = ("oneDNN off, NNPACK on", "oneDNN off", "bfloat16 products")
CASES = [
    (name, within, n)
    for name in ("vae-mnist", "flow")
    for within in SETTINGS
    for n in (1, 20, 200)
    if n == 1 or within in OF_KERNELS[: 3 if n == 20 else 1]  # the other settings do not choose kernels
]


@cache
def codec_of(name: str) -> Codec:
    return open_codec(name)  # opened under the first setting, and used under all


def images(name: str, n: int) -> np.ndarray:
    many = strokes(20, seed=5) if name.startswith("vae") else some_images(20, 5)
    return np.concatenate([many] * (n // 20 + 1))[:n]


@cache
def written(name: str, n: int) -> Container:
    return encoded(name, n)


def encoded(name: str, n: int) -> Container:
    codec = codec_of(name)
    segment = (
        1 if name.startswith("vae") else 20
    )  # images of a batch: chains of vae, images of a segment of flow
    return codec.encode(images(name, n), codec.options(segment=segment, model_only=True))


@pytest.mark.slow
@pytest.mark.parametrize("name, within, n", CASES)
def test_the_same_file_and_the_same_images(name: str, within: str, n: int) -> None:
    wanted = written(name, n)
    with setting(within):
        again = encoded(name, n)
        decoded = codec_of(name).decode(wanted)
    assert again == wanted
    assert np.array_equal(decoded, images(name, n))
