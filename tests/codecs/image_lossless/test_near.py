"""Near-lossless: no sample is further from the truth than was asked for, alpha not at all, and it saves bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import obverse
from obverse.cli import run
from obverse.codecs.image_lossless import near
from obverse.container import read
from obverse.errors import DamagedError, OptionError
from tests.codecs.image_lossless.cases import colour, deep, drawing, parrot


@given(st.data(), st.sampled_from([np.uint8, np.uint16]), st.integers(1, 4))
def test_every_colour_is_within_the_error_and_alpha_is_as_it_was(
    data: st.DataObject, kind: Any, channels: int
) -> None:
    pixels = data.draw(arrays(kind, (3, 4, channels)))
    error = data.draw(st.integers(0, 127 if kind is np.uint8 else 32_767))
    step = near.step_of(error, pixels)
    again = near.dequantise(near.quantise(pixels, step), step)
    colours = channels - (channels in (2, 4))
    assert again.dtype == pixels.dtype
    assert np.abs(again[:, :, :colours].astype(int) - pixels[:, :, :colours]).max() <= error
    assert (again[:, :, colours:] == pixels[:, :, colours:]).all()


@pytest.mark.parametrize("make", [parrot, deep, lambda: np.dstack([colour(), colour()[:, :, 0]])])
def test_larger_errors_take_fewer_bytes(make: Any) -> None:
    image = make()
    sizes = [len(obverse.compress(image, "image-lossless", max_error=error)) for error in (0, 1, 2, 5)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < 0.9 * sizes[0]


@pytest.mark.parametrize("colours", [16, 1000])
@pytest.mark.parametrize("error", [1, 2, 5])
def test_a_drawing_takes_no_more_than_without_an_error(colours: int, error: int) -> None:
    image = drawing(colours)
    near_bytes = len(obverse.compress(image, "image-lossless", max_error=error))
    assert near_bytes <= len(obverse.compress(image, "image-lossless"))


def test_rows_of_many_stripes_are_decoded_with_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obverse.codecs.image_lossless.codec.STRIPE_PIXELS", 1500)
    codec: Any = obverse.open_codec("image-lossless")
    file = obverse.compress(parrot(), codec.id, max_error=2)
    whole = obverse.decompress(file)
    assert read(file).items
    assert (codec.decode_rows(file, 20, 50) == whole[20:50]).all()
    assert (codec.recover(file)[0] == whole).all()


@pytest.mark.parametrize("step", [0, 1, 256, -3, 2.5, True, "3", None])
def test_impossible_steps_are_damage(step: Any) -> None:
    container = read(obverse.compress(parrot(), "image-lossless", max_error=2))
    with pytest.raises(DamagedError):
        obverse.open_codec("image-lossless").decode(replace(container, config=container.config | {3: step}))


def test_an_error_that_leaves_one_value_is_refused() -> None:
    with pytest.raises(OptionError, match="at most 127, not 128"):
        obverse.compress(parrot(), "image-lossless", max_error=128)
    with pytest.raises(OptionError, match="max_error"):
        obverse.compress(parrot(), "image-lossless", max_error=-1)


def test_info_says_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "near.obv"
    path.write_bytes(obverse.compress(parrot(), "image-lossless", max_error=2))
    assert run(["info", str(path)]) == 0
    assert "errors of at most 2 in 256 levels" in capsys.readouterr().out
