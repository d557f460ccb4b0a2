"""What is no photo, and qualities near 100: coded by image-lossless where that costs less, at no surprise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

import obverse
from obverse.codecs.image.alternatives import all_that_fits
from obverse.codecs.image.codec import ImageCodec
from obverse.codecs.image.effort import lmbda_of_level
from obverse.codecs.image.fewer_colours import with_fewer_colours
from obverse.codecs.image.latents import LEVELS
from obverse.codecs.image.options import ImageOptions
from obverse.codecs.image.quality import FINE, FINEST_STEP, STEP_WORTH, effective, nominal, step_of, worth_of
from obverse.container import read, write
from obverse.data.images import Photo
from obverse.errors import OptionError
from obverse.metrics.distortion import mse
from tests.conftest import REPOSITORY, smooth_photo

QUALITIES = (1, 10, 30, 50, 70, 90, 93, 96, 100)


def listing() -> np.ndarray:
    """(96, 160, 3): text with soft edges on a coloured page."""
    image = Image.new("RGB", (160, 96), (30, 31, 36))
    draw = ImageDraw.Draw(image)
    for line in range(8):
        draw.text(
            (4 + 6 * (line % 3), 2 + 11 * line),
            f"if x[{line}] > {line * 37}: return",
            fill=(220, 180 + line, 160),
        )
    return np.asarray(image)


def checker() -> np.ndarray:
    """(96, 160, 3): saturated squares."""
    colours = np.random.default_rng(2).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    return colours.repeat(16, 0).repeat(16, 1)


def stripes() -> np.ndarray:
    """(96, 160, 3): two colours, two pixels each."""
    return (
        np.where(np.arange(160)[None, :, None] % 4 < 2, [250, 20, 10], [5, 40, 240])
        .repeat(96, 0)
        .astype(np.uint8)
    )


def scan() -> np.ndarray:
    """(96, 160): black and white alone."""
    return np.where(smooth_photo(96, 160, 3, channels=1) > 110, 255, 0).astype(np.uint8)


def ramp() -> np.ndarray:
    """(96, 160, 3): a gradient in which no pixel is like its neighbour."""
    rows, columns = np.mgrid[:96, :160]
    return np.dstack([columns + rows // 2, 250 - columns, 20 + columns + rows // 3]).astype(np.uint8)


def parrot() -> np.ndarray:
    with Image.open(REPOSITORY / "examples" / "kodim23.png") as image:
        return np.asarray(image.convert("RGB"))[150:246, 300:460]


def grain() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (96, 160, 3), dtype=np.uint8)


PICTURES = (listing, checker, stripes, scan, ramp, parrot)


@pytest.mark.parametrize("make", (*PICTURES, grain))
def test_more_quality_is_more_bytes_and_less_error(make: Callable[[], np.ndarray]) -> None:
    picture = make()
    files = [obverse.compress(picture, quality=quality) for quality in QUALITIES]
    sizes = [len(file) for file in files]
    errors = [float(np.square(obverse.decompress(file).astype(float) - picture).mean()) for file in files]
    exact = len(obverse.compress(picture, "image-lossless"))
    for i in range(2 if make is grain else 1, len(files)):
        assert (
            sizes[i] >= 0.98 * sizes[i - 1]
        )  # a hundredth, since the qualities of the transform are not exact either
        assert errors[i] <= 1.02 * errors[i - 1] + 0.02
    assert max(sizes) <= exact + 64
    assert errors[-1] <= 2.0  # 45 dB
    if make is not grain:
        assert errors[2] <= 205  # 25 dB


@pytest.mark.parametrize("shape", [(300, 1, 3), (1, 300, 3), (2, 200), (5, 3)])
@pytest.mark.parametrize("quality", [1, 50, 100])
def test_thin_images_never_take_more_than_they_are(shape: tuple[int, ...], quality: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert len(obverse.compress(image, quality=quality)) <= image.nbytes + 64


def test_a_drawing_is_one_of_image_lossless_and_a_photo_is_not() -> None:
    assert read(obverse.compress(listing())).codec == "image-lossless"
    assert read(obverse.compress(parrot())).codec == "image"


def test_the_scale_goes_on_where_the_transform_ends() -> None:
    """Below FINE the worth of errors is that of training; at 100 it is that of the finest step."""
    for quality in (1, 20, 50, FINE):
        level = round((quality - 1) * LEVELS / 99)
        assert effective(quality) == quality
        assert worth_of(quality) == pytest.approx(lmbda_of_level(level) / 3, rel=1e-5)
    assert worth_of(100) == pytest.approx(STEP_WORTH / FINEST_STEP**2)
    assert step_of(100) == pytest.approx(FINEST_STEP)
    assert all(nominal(effective(q)) == pytest.approx(q) for q in range(1, 101))
    assert all(worth_of(q + 0.5) > worth_of(q) for q in np.arange(1, 99.5, 0.5))


@pytest.mark.parametrize("error", [0, 1, 2, 5])
def test_max_error_is_kept(error: int) -> None:
    photo = parrot()
    back = obverse.decompress(obverse.compress(photo, max_error=error))
    assert np.abs(back.astype(int) - photo).max() == error


def test_max_error_is_one_way_to_say_it() -> None:
    with pytest.raises(OptionError, match="give one of"):
        obverse.compress(parrot(), max_error=2, quality=50)
    with pytest.raises(OptionError, match="max_error"):
        obverse.compress(parrot(), "stereo", max_error=2)


def test_a_budget_is_used() -> None:
    photo = parrot()
    exact = obverse.compress(photo, "image-lossless")
    assert np.array_equal(obverse.decompress(obverse.compress(photo, max_bytes=len(exact) + 100)), photo)
    above = len(obverse.compress(photo, quality=95))
    found = obverse.compress(photo, max_bytes=above)
    assert 0.9 * above <= len(found) <= above


def test_a_budget_between_two_ways_of_coding_is_used() -> None:
    """What is found is no worse than the best of the near-lossless files that fit."""
    photo = parrot()[:96, :128]
    sizes = {quality: len(obverse.compress(photo, quality=quality)) for quality in (90, 93, 95, 97)}
    files = [obverse.compress(photo, max_error=error) for error in (1, 2, 3, 4, 6, 8)]
    near = [(len(file), mse(photo, obverse.decompress(file))) for file in files]
    for below in sizes.values():
        budget = below * 5 // 4
        found = obverse.compress(photo, max_bytes=budget)
        least = min((error for size, error in near if size <= budget), default=np.inf)
        assert len(found) <= budget and mse(photo, obverse.decompress(found)) <= least


def test_a_region_is_not_exchanged_for_a_file_that_is_nearer_elsewhere() -> None:
    photo = Photo(parrot()[:64, :96], None)
    codec = ImageCodec()
    best = codec.encode(photo, codec.options(quality=10))
    budget = len(write(codec.encode(photo, codec.options(max_error=1))))
    assert len(write(best)) < budget < len(obverse.compress(photo.pixels, "image-lossless"))
    assert all_that_fits(photo, best, None, budget, ImageOptions()) is best
    assert all_that_fits(photo, best, codec.decode_photo, budget, ImageOptions()) is not best


def test_alpha_and_metadata_come_along() -> None:
    alpha = np.tile(np.arange(160, dtype=np.uint8), (96, 1))
    photo = Photo(listing(), alpha, b"profile", b"Exif\0\0data")
    codec = obverse.open_codec("image")
    container = codec.encode(photo, codec.options(metadata={"by": "me"}))
    back = codec.decode_photo(container)
    assert container.codec == "image-lossless"
    assert container.metadata == {"by": "me"}
    assert (back.icc, back.exif) == (photo.icc, photo.exif)
    assert back.alpha is not None
    assert (back.alpha == alpha).all()


@pytest.mark.parametrize("make", [listing, parrot])
@pytest.mark.parametrize("quality", [50, 97])
def test_the_rate_is_that_of_the_file(make: Callable[[], np.ndarray], quality: int) -> None:
    codec = obverse.open_codec("image")
    container = codec.encode(make(), codec.options(quality=quality))
    payload = 8 * sum(map(len, container.sections.values()))
    assert codec.rate_bits(make(), codec.options(quality=quality))[0] == pytest.approx(
        payload, rel=0.01, abs=128
    )


# -- fewer colours -------------------------------------------------------------------------------------------


@given(arrays(np.uint8, (6, 7, 3), elements=st.integers(0, 40)), st.floats(1e-4, 10))
def test_no_colour_is_new_and_the_most_frequent_stays(pixels: np.ndarray, worth: float) -> None:
    fewer = with_fewer_colours(pixels, worth)
    assert fewer is not None
    before, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    after = np.unique(fewer.reshape(-1, 3), axis=0)
    assert {tuple(c) for c in after} <= {tuple(c) for c in before}
    most = before[counts == counts.max()]
    assert any((fewer == colour).all(axis=2).any() for colour in most)


def test_errors_that_are_worth_much_are_not_made() -> None:
    page = listing()
    assert np.array_equal(with_fewer_colours(page, 1e6), page)
    few = with_fewer_colours(page, 0.003)
    assert few is not None
    assert len(np.unique(few.reshape(-1, 3), axis=0)) < 0.5 * len(np.unique(page.reshape(-1, 3), axis=0))
    assert (few == [30, 31, 36]).all(axis=2).sum() >= (page == [30, 31, 36]).all(axis=2).sum()


def test_gray_has_fewer_greys() -> None:
    gray = listing()[:, :, 0]
    few = with_fewer_colours(gray, 0.003)
    assert few is not None
    assert few.shape == gray.shape
    assert len(np.unique(few)) < len(np.unique(gray))


def test_a_photo_has_too_many_colours() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert with_fewer_colours(noise, 0.01) is None
