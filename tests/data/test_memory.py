"""What reading and writing files take is counted before it is taken, where there is a limit on memory."""

from __future__ import annotations

import gzip
import re
import tracemalloc
import warnings

import numpy as np
import pytest

import obverse
from obverse.cli import run
from obverse.container import Limits
from obverse.data import image_sets, image_writing
from obverse.data.arrays import npy_bytes
from obverse.data.features import feature_bytes
from obverse.data.image_sets import png_archive, read_image_set
from obverse.data.image_writing import over_background, write_photo
from obverse.data.images import Photo, read_photo
from obverse.data.loading import loading_within
from obverse.errors import LimitError
from tests.conftest import smooth_photo

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


def test_metadata_count_beside_the_pixels() -> None:
    photo = Photo(noise(64, 64), icc=bytes(10**6), text={"Comment": "x" * 10**6})
    with loading_within(Limits(memory=10**6)), pytest.raises(LimitError) as told:
        write_photo(photo, "x.png")
    assert counted(told.value) > 4 * 10**6


@pytest.mark.parametrize("codec", ["image", "image-lossless"])
def test_what_decodes_holds_the_pixels_and_the_metadata_together(codec: str) -> None:
    """Each of them alone is within the limit."""
    pixels = smooth_photo(256, 256)
    chosen = obverse.open_codec(codec)

    def needed(photo: Photo) -> int:
        container = chosen.encode(photo, chosen.options())
        with pytest.raises(LimitError) as told:
            chosen.decode(container, Limits(memory=200_000))
        return counted(told.value)

    least = needed(Photo(pixels))
    xmp = bytes(least // 3)  # unpacked it takes twice as much for a moment
    container = chosen.encode(Photo(pixels, xmp=xmp), chosen.options())
    with pytest.raises(LimitError) as told:
        chosen.decode(container, Limits(memory=least))
    assert counted(told.value) == least + len(xmp)
    assert chosen.decode(container, Limits(memory=least + len(xmp))).shape == pixels.shape


def test_samples_of_16_bits_are_counted_where_a_file_is_opened(tmp_path) -> None:
    """Also those of which Pillow keeps 8."""
    pixels = noise(50, 40, 3, dtype="uint16")
    for name in ("x.png", "x.tif"):
        (tmp_path / name).write_bytes(write_photo(Photo(pixels), name, exact=True))
        with loading_within(Limits(memory=pixels.nbytes)), pytest.raises(LimitError, match="18,000 bytes"):
            read_photo(tmp_path / name, exact=True)
        with loading_within(Limits(memory=2 * pixels.nbytes)):
            assert np.array_equal(read_photo(tmp_path / name, exact=True).pixels, pixels)


def test_a_set_is_counted_while_it_is_read(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(write_photo(Photo(noise(30, 30)), "x.png"))
    read = []
    monkeypatch.setattr(image_sets, "read_photo", lambda *a, **k: (read.append(a), read_photo(*a, **k))[1])
    with loading_within(Limits(memory=5000)), pytest.raises(LimitError, match="5,400 bytes"):
        read_image_set(tmp_path)
    assert len(read) == 3
    with loading_within(Limits(memory=8 * 1800)):
        assert read_image_set(tmp_path).shape == (8, 30, 30)
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(bytes(10**8), 1))
    tracemalloc.start()
    try:
        with loading_within(Limits(memory=10**7)), pytest.raises(LimitError, match="memory"):
            read_image_set(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**7
    finally:
        tracemalloc.stop()


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
