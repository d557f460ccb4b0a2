"""Which images are trained on, which are kept, and how often each is seen."""

from itertools import chain

import numpy as np
import pytest
from PIL import Image

from obverse.data.patches import PatchSampler, image_files, split_files, split_sets
from obverse.errors import InputError
from tests.conftest import smooth_photo


def quiet(done, of):
    pass


@pytest.fixture
def sets(tmp_path):
    """Folders of 12 images of 96x80 and of 3 images of 192x160; the brightness tells the folder."""
    for name, count, side, level in (("many", 12, 80, 0), ("few", 3, 160, 200)):
        (tmp_path / name).mkdir()
        for i in range(count):
            image = np.full((side, side * 6 // 5, 3), level + i, np.uint8)
            Image.fromarray(image).save(tmp_path / name / f"{i:02}.png")
    return [tmp_path / "many", tmp_path / "few"]


def test_without_validation_folders_the_split_is_the_one_of_all_images(sets):
    training, validation = split_sets(sets, every=4)
    assert (list(chain(*training)), validation) == split_files(image_files(sets), 4)
    assert [len(files) for files in training] == [9, 2]


def test_every_so_many_images_of_each_validation_folder_are_kept(sets, monkeypatch):
    many, few = sets
    training, validation = split_sets([many], [many, few], every=5)
    assert [f.parent.name + "/" + f.name for f in validation] == ["many/02.png", "many/07.png", "few/02.png"]
    assert len(training) == 1 and training[0] == [f for f in image_files([many]) if f not in validation]
    monkeypatch.chdir(many.parent)  # the same folder in other words is the same folder
    assert [f.name for f in split_sets([many], ["many", few], 5)[0][0]] == [f.name for f in training[0]]
    with pytest.raises(InputError, match="none is left"):
        split_sets([many], [many], every=1)


def test_sets_are_seen_by_the_square_root_of_their_area(sets):
    training = [image_files([folder]) for folder in sets]
    groups = [k for k, files in enumerate(training) for _ in files]
    sampler = PatchSampler(list(chain(*training)), 64, 1, quiet, sets=groups, scale_low=0.6)
    assert len(sampler.images) == 15  # no reduced copies
    share = sampler.probability[:12].sum()
    # areas 12 * 80 * 96 and 3 * 160 * 192 are equal, and so are the shares
    assert share == pytest.approx(0.5)
    few = PatchSampler(training[0][:3] + training[1], 64, 1, quiet, sets=[0] * 3 + [1] * 3, scale_low=0.6)
    assert few.probability[:3].sum() == pytest.approx(1 / 3)  # a quarter of the area
    bright = sampler.batch(400).mean(axis=(1, 2, 3)) > 100
    assert 0.4 < bright.mean() < 0.6


def test_half_of_the_patches_are_reduced_where_the_image_is_large_enough(tmp_path):
    Image.fromarray(smooth_photo(200, 100)).save(tmp_path / "photo.png")
    sampler = PatchSampler([tmp_path / "photo.png"], 64, 1, quiet, scale_low=0.5)
    sides = np.array([sampler._side(sampler.images[0]) for _ in range(400)])
    assert 0.4 < (sides == 64).mean() < 0.6
    assert sides.min() == 64 and 95 < sides.max() <= 100  # not 128: the image is 100 pixels wide
    assert sampler.batch(20).shape == (20, 64, 64, 3)


def test_the_default_draws_the_patches_that_it_always_drew(tmp_path):
    """The recipe of the shipped model must reproduce: own size and one reduced copy, by area."""
    Image.fromarray(smooth_photo(120, 200)).save(tmp_path / "photo.png")
    sampler = PatchSampler([tmp_path / "photo.png"], 64, 1, quiet)
    factor = np.random.default_rng(2).uniform(0.45, 0.8)
    assert [image.shape[:2] for image in sampler.images] == [
        (120, 200),
        (round(120 * factor), round(200 * factor)),
    ]
    rng = np.random.default_rng(1)
    which = rng.choice(2, 1, p=sampler.probability)[0]
    image = sampler.images[which]
    top, left = rng.integers(image.shape[0] - 63), rng.integers(image.shape[1] - 63)
    flip, mirror, transpose = rng.integers(2, size=3)
    crop = image[top : top + 64, left : left + 64][:: 1 - 2 * flip, :: 1 - 2 * mirror]
    assert np.array_equal(sampler.batch(1)[0], crop.transpose(1, 0, 2) if transpose else crop)
