"""A region of a photo that is coded better than the rest."""

import numpy as np
import pytest
import torch
from PIL import Image

import obverse
from obverse import Limits
from obverse.errors import InputError, LimitError, OptionError
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
        (tmp_path / "words.png", InputError, r"the mask of --roi: .* is not an image of a known format"),
        (tmp_path / "absent.png", InputError, "absent.png"),
        (np.zeros((192, 256), np.uint8), OptionError, "nothing inside"),
        (5, OptionError, "roi is an image file or an array"),
        (np.ones((192, 256, 3), np.uint8), OptionError, r"3 dimensions: give two, \(height, width\)"),
        (np.full((192, 256), np.nan), OptionError, "NaN"),
        (np.full((192, 256), "x"), OptionError, "dtype <U1: give numbers"),
        (np.zeros((192, 256), "M8[s]"), OptionError, "give numbers"),
        (np.ma.masked_array(np.ones((192, 256))), InputError, "masked array"),
        (np.float32(50), OptionError, "0 dimensions"),
    ):
        with pytest.raises(error, match=sentence):
            obverse.compress(photo, roi=roi)
    with pytest.raises(OptionError, match="give --roi too"):
        obverse.compress(photo, roi_background=20)
    with pytest.raises(OptionError, match="one of roi and max_error"):
        obverse.compress(photo, roi=inside, max_error=2)
    with pytest.raises(OptionError, match="give --roi too"):
        obverse.compress(photo, roi_background=20, max_error=3)
    for given in ({"quality": 60}, {}):
        with pytest.raises(OptionError, match=r"above the quality .0 of the region"):
            obverse.compress(photo, roi=inside, roi_background=90, **given)


def test_what_is_transparent_in_a_mask_is_outside(photo, inside, tmp_path):
    white = np.full((192, 256, 4), 255, np.uint8)
    white[:, :, 3] = inside * 255
    Image.fromarray(white).save(tmp_path / "shape.png")
    wanted = obverse.compress(photo, quality=40, roi=inside)
    assert obverse.compress(photo, quality=40, roi=tmp_path / "shape.png") == wanted
    assert obverse.compress(photo, quality=40, roi=torch.from_numpy(inside)) == wanted


def test_a_mask_is_held_to_the_limits(photo, tmp_path):
    Image.new("L", (4000, 4000), 255).save(tmp_path / "huge.png")
    with pytest.raises(LimitError, match=r"the mask of --roi: .*huge\.png"):
        obverse.compress(photo, roi=tmp_path / "huge.png", limits=Limits(pixels=10**6))
