"""A region of a photo that is coded better than the rest."""

import numpy as np
import pytest
from PIL import Image

import obverse
from obverse.errors import InputError, OptionError
from obverse.metrics.distortion import mse
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def photo():
    with Image.open(REPOSITORY / "examples" / "kodim23.png") as photo:
        return np.ascontiguousarray(np.asarray(photo.convert("RGB"))[250:442, 60:316])


@pytest.fixture(scope="module")
def inside():
    mask = np.zeros((192, 256), bool)
    mask[64:128, 64:160] = True
    return mask


def errors(pixels, decoded, inside):
    square = np.square(pixels.astype(float) - decoded).mean(axis=2)
    return square[inside].mean(), square[~inside].mean()


def test_the_region_is_as_good_and_the_file_is_smaller(photo, inside):
    plain, region = obverse.compress(photo, quality=60), obverse.compress(photo, quality=60, roi=inside)
    assert len(region) < 0.75 * len(plain)
    within, outside = errors(photo, obverse.decompress(region), inside)
    before, _ = errors(photo, obverse.decompress(plain), inside)
    assert within < 1.15 * before and outside > 1.5 * within


def test_at_the_same_size_the_region_is_better(photo, inside):
    plain, region = (obverse.compress(photo, max_bytes=5000, **more) for more in ({}, {"roi": inside}))
    assert len(region) <= 5000
    better, before = (errors(photo, obverse.decompress(file), inside)[0] for file in (region, plain))
    assert better < 0.8 * before


def test_the_background_has_the_quality_that_is_asked_for(photo, inside):
    sizes = [len(obverse.compress(photo, quality=60, roi=inside, roi_background=q)) for q in (5, 30, 60)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2]


def test_a_region_of_everything_changes_nothing(photo):
    whole = np.ones(photo.shape[:2], bool)
    assert obverse.compress(photo, quality=40, roi=whole) == obverse.compress(photo, quality=40)


def test_masks_as_files_and_arrays_are_the_same(photo, inside, tmp_path):
    Image.fromarray(inside.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    files = {
        obverse.compress(photo, quality=40, roi=roi)
        for roi in (inside, inside * 7, str(tmp_path / "mask.png"))
    }
    assert len(files) == 1
    gray = np.ascontiguousarray(photo[:, :, 0])
    assert obverse.decompress(obverse.compress(gray, quality=40, roi=inside)).shape == gray.shape
    assert mse(photo, obverse.decompress(files.pop())) < 400


def test_masks_that_do_not_go_with_the_image(photo, inside, tmp_path):
    (tmp_path / "words.png").write_text("no image")
    Image.new("L", (100, 50), 255).save(tmp_path / "small.png")
    for roi, error, sentence in (
        (
            tmp_path / "small.png",
            OptionError,
            "has 100 x 50 pixels, the image 256 x 192: give one of its size",
        ),
        (tmp_path / "words.png", InputError, "cannot be read as an image"),
        (tmp_path / "absent.png", InputError, "absent.png"),
        (np.zeros((192, 256), np.uint8), OptionError, "nothing inside"),
        (5, OptionError, "roi is an image file or an array"),
    ):
        with pytest.raises(error, match=sentence):
            obverse.compress(photo, roi=roi)
    with pytest.raises(OptionError, match="give --roi too"):
        obverse.compress(photo, roi_background=20)
    with pytest.raises(OptionError, match="one of roi and max_error"):
        obverse.compress(photo, roi=inside, max_error=2)
