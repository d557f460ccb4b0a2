"""Previews: the means of 4x4 pixels of the decoded image, without decoding it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import obverse
from obverse.cli import run
from obverse.codec import codec_of
from obverse.container import read
from obverse.data.previews import means
from obverse.errors import OptionError
from tests.conftest import smooth_photo

GOLDEN = Path(__file__).parent / "golden"


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    waves = [
        128 + 60 * np.sin(rows / a) + 40 * np.cos(columns / b) for a, b in ((31, 23), (47, 19), (29, 41))
    ]
    return np.dstack(waves).round().astype(np.uint8)


@pytest.mark.parametrize("size", [(96, 128), (93, 130), (3, 1), (1100, 40)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_preview_is_the_mean_of_the_decoded_pixels(size: tuple[int, int], channels: int) -> None:
    photo = smooth(*size)
    codec = obverse.open_codec("image")
    file, _ = codec.encode_photographic(*_arguments(codec, photo if channels == 3 else photo[:, :, 0]))
    small = codec.decode_preview(file).pixels.astype(int)
    wanted = means(codec.decode(file)).astype(int)
    assert small.shape == wanted.shape
    whole = (size[0] // 4, size[1] // 4)  # the last pixels are means of what is beyond the image too
    assert np.abs(small - wanted)[: whole[0], : whole[1]].max(initial=0) <= 1
    assert np.abs(small - wanted).max() <= 12


def _arguments(codec, pixels):
    from obverse.data.images import photo_of

    return photo_of(pixels), 1000, codec.options(), {}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.obv")), ids=lambda path: path.stem)
def test_previews_of_every_kind_of_file(path: Path) -> None:
    """Alpha and drawn blocks among them."""
    container = read(path)
    photo, small = (
        getattr(codec_of(container), name)(container) for name in ("decode_photo", "decode_preview")
    )
    error = np.abs(small.pixels.astype(int) - means(photo.pixels)).mean()
    assert error < (5 if min(photo.size) < 4 else 1.5)  # one pixel is the mean of what is beyond it too
    assert (small.alpha is None) == (photo.alpha is None)
    if photo.alpha is not None:
        assert np.array_equal(small.alpha, means(photo.alpha))


def test_any_image_has_a_preview_and_other_data_have_none(tmp_path: Path) -> None:
    photo = smooth_photo(41, 50)
    file = tmp_path / "photo.obv"
    file.write_bytes(obverse.compress(photo, codec="image-lossless"))
    assert np.array_equal(obverse.decompress(file, preview=True), means(photo))
    target = tmp_path / "small.png"
    assert run(["decompress", str(file), "-o", str(target), "--preview"]) == 0
    assert np.array_equal(np.asarray(Image.open(target)), means(photo))
    assert run(["decompress", str(file), "-o", str(target), "--preview", "--recover", "--force"]) == 2
    features = obverse.compress(
        np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32), codec="features"
    )
    with pytest.raises(OptionError, match="no single images"):
        obverse.decompress(features, preview=True)


def test_means_are_of_the_pixels_that_there_are() -> None:
    plane = np.arange(30, dtype=np.uint16).reshape(5, 6) * 1000
    assert means(plane).tolist() == [[10500, 13500], [25500, 28500]]
