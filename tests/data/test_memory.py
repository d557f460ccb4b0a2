"""What reading and writing files take is counted before it is taken, where there is a limit on memory."""

from __future__ import annotations

import re
import tracemalloc
import warnings

import numpy as np
import pytest

import obverse
from obverse.cli import run
from obverse.container import Limits
from obverse.data import image_writing
from obverse.data.arrays import npy_bytes
from obverse.data.features import feature_bytes
from obverse.data.image_sets import png_archive
from obverse.data.image_writing import over_background, write_photo
from obverse.data.images import Photo
from obverse.data.loading import loading_within
from obverse.errors import LimitError

SIDE = 1000
BESIDE = 1_500_000  # bytes, of any image: what is compared at once


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray:
    kind = np.dtype(dtype)
    return np.random.default_rng(1).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


def counted(error: LimitError) -> int:
    return int(re.search(r"Limits\(memory=(\d+)\)", str(error))[1])  # type: ignore[index]


@pytest.mark.parametrize("dtype, channels", [("uint8", 1), ("uint8", 3), ("uint16", 3), ("uint16", 1)])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "bmp", "npy"])
def test_writing_an_image_takes_what_is_counted(suffix: str, dtype: str, channels: int, alpha: bool) -> None:
    if suffix in ("webp", "jpg", "bmp") and (dtype == "uint16" or (alpha and suffix != "webp")):
        pytest.skip("not written")
    if suffix == "tif" and dtype == "uint16" and channels == 1 and alpha:
        pytest.skip("not written")
    pixels = noise(SIDE, SIDE, channels, dtype=dtype) if channels == 3 else noise(SIDE, SIDE, dtype=dtype)
    photo = Photo(pixels, noise(SIDE, SIDE, dtype=dtype) if alpha else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with loading_within(Limits(memory=100_000)), pytest.raises(LimitError, match="--memory") as told:
            write_photo(photo, f"x.{suffix}")
        write_photo(Photo(pixels[:9, :9]), f"x.{suffix}")  # what is imported at first
        tracemalloc.start()
        try:
            with loading_within(Limits(memory=counted(told.value))):
                write_photo(photo, f"x.{suffix}")
            taken = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    held = photo.pixels.nbytes + (photo.alpha.nbytes if photo.alpha is not None else 0)
    pillow = 0 if suffix == "npy" else 1 if channels == 1 and not alpha else 4  # bytes of a pixel, not traced
    assert taken + held + pillow * SIDE**2 <= counted(told.value) + BESIDE


def test_nothing_is_written_of_what_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object) -> None:
        raise AssertionError("it was made")

    monkeypatch.setattr(image_writing, "_Writer", never)
    file = obverse.compress(np.zeros((400, 400, 3), np.uint8), codec="image-lossless")
    codec = obverse.open_codec("image-lossless")
    container = obverse.container.read(file)
    enough = Limits(memory=2_500_000)  # to decode it
    assert codec.decode(container, enough).shape == (400, 400, 3)
    with pytest.raises(LimitError, match="bytes of memory"):
        obverse.codec.decoded_file(codec, container, "x.png", enough)


def test_the_command_refuses_what_is_too_large_to_be_written(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.obv").write_bytes(
        obverse.compress(np.zeros((400, 400, 3), np.uint8), codec="image-lossless")
    )
    words = ["decompress", "x.obv", "-o", "x.png", "--memory"]
    assert run([*words, "2500000"]) == LimitError.exit_code
    assert "bytes of memory" in capsys.readouterr().err and not (tmp_path / "x.png").exists()
    assert run([*words, "4M"]) == 0


def test_a_background_takes_no_copies_of_the_whole_image() -> None:
    photo = Photo(noise(1500, 1500, 3), noise(1500, 1500))
    tracemalloc.start()
    try:
        on = over_background(photo, "#ff8000")
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < on.pixels.nbytes + 10_000_000  # of 2**16 pixels at once


def test_arrays_sets_and_features_are_counted_before_they_are_written() -> None:
    images, features = noise(50, 20, 20), np.zeros((50, 400), np.float32)
    for write, data in (
        (npy_bytes, images),
        (png_archive, images),
        (lambda data: feature_bytes(data, "x.safetensors"), features),
    ):
        with loading_within(Limits(memory=int(1.9 * data.nbytes))), pytest.raises(LimitError, match="memory"):
            write(data)
        with loading_within(Limits(memory=10 * data.nbytes)):
            assert len(write(data)) >= data.nbytes
