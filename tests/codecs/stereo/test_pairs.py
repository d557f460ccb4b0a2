"""Stereo pairs: reading, and what a synthetic pair promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from obverse.codecs.stereo.crops import (
    CropSampler,
    Scene,
    load_scenes,
    photo_files,
    real_scenes,
    save_scenes,
    synthetic_scenes,
)
from obverse.codecs.stereo.pairs import other_camera, pair_files, read_pair, shift_rows, synthetic_pair
from obverse.errors import InputError
from tests.conftest import smooth_photo


def save(folder, name, array):
    Image.fromarray(array).save(folder / name)


def test_pairs_are_found_in_order_and_read(tmp_path):
    views = {}
    for name in ("b", "a"):
        for i, side in enumerate(("left", "right")):
            views[name, side] = smooth_photo(20, 30, seed=i, channels=1)
            save(tmp_path, f"{name}_{side}.png", views[name, side])
    save(tmp_path, "photo.png", smooth_photo(20, 30))
    pairs = pair_files([tmp_path])
    assert [p.name for p in pairs] == ["a", "b"]
    left, right = read_pair(pairs[0])
    assert np.array_equal(left, views["a", "left"]) and np.array_equal(right, views["a", "right"])
    assert photo_files([tmp_path]) == [tmp_path / "photo.png"]


def test_gray_and_colour_in_one_pair_become_colour(tmp_path):
    save(tmp_path, "a_left.png", smooth_photo(20, 30, channels=1))
    save(tmp_path, "a_right.png", smooth_photo(20, 30))
    assert [v.shape for v in read_pair(pair_files([tmp_path])[0])] == [(20, 30, 3)] * 2


def test_what_is_no_pair_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        pair_files([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no stereo pairs"):
        pair_files([tmp_path])
    save(tmp_path, "a_left.png", smooth_photo(20, 30))
    with pytest.raises(InputError, match=r"a_right\.png"):
        pair_files([tmp_path])
    save(tmp_path, "a_right.png", smooth_photo(20, 31))
    with pytest.raises(InputError, match="differ in size"):
        read_pair(pair_files([tmp_path])[0])
    (tmp_path / "a_right.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match="cannot be read"):
        read_pair(pair_files([tmp_path])[0])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(2, 20), st.integers(0, 25), st.integers(0, 99))
def test_shift_rows_by_whole_pixels(height, width, shift, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width + 10)).astype(np.float32)
    out = shift_rows(image, np.full((height, width), shift, np.float32))
    assert np.array_equal(out, image[:, np.minimum(np.arange(width) + shift, width + 9)])


def test_shift_rows_is_linear_between_pixels():
    ramp = np.arange(20, dtype=np.float32)[None, :, None].repeat(3, 2)
    disparity = np.linspace(0, 7, 10, dtype=np.float32)[None]
    assert np.allclose(shift_rows(ramp, disparity)[0, :, 1], np.arange(10) + disparity[0], atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_synthetic_pair_obeys_its_disparity(seed):
    """Warping the left view gives the right one, but where one of the views sees what the other does not."""
    rng = np.random.default_rng(seed)
    photo = smooth_photo(120, 400, seed=seed)
    left, right, disparity = synthetic_pair(photo, 96, 256, 100, rng)
    assert left.shape == right.shape == (96, 256, 3) and left.dtype == right.dtype == np.uint8
    assert disparity.min() >= 0 and disparity.max() <= 100
    seen = np.arange(256) + disparity < 255
    error = np.abs(shift_rows(left, disparity) - right.astype(np.float32)).mean(2)[seen]
    unmoved = np.abs(left.astype(np.float32) - right).mean(2)[seen]
    # cameras differ by gain, gamma and offset, each a few per cent
    assert np.median(error) < 20
    if disparity.max() > 8:
        assert error.mean() < unmoved.mean()


def test_other_camera_changes_little():
    photo = smooth_photo(40, 50)
    seen = other_camera(photo, np.random.default_rng(0))
    assert seen.shape == photo.shape and seen.dtype == np.uint8
    assert 0 < np.abs(seen.astype(float) - photo).mean() < 25


def decode(view, quality):
    """Stands for a codec: coarser steps at lower quality."""
    step = 2 + int(20 / quality)
    return (view // step * step).astype(np.uint8)


def scenes_in(tmp_path):
    for name in ("a", "b"):
        for i, side in enumerate(("left", "right")):
            save(tmp_path, f"{name}_{side}.png", smooth_photo(80, 200, seed=i, channels=1))
    save(tmp_path, "photo.png", smooth_photo(90, 300))
    rng = np.random.default_rng(0)
    real = real_scenes(pair_files([tmp_path]), (1.0, 10.0), decode)
    return real, synthetic_scenes(photo_files([tmp_path]), 3, (1.0, 10.0), decode, rng)


def test_scenes_survive_saving(tmp_path):
    real, made = scenes_in(tmp_path)
    assert len(real) == 4 and len(made) == 3
    assert np.array_equal(real[1].right, real[0].left[:, ::-1])  # the mirrored pair swaps its views
    save_scenes(real + made, tmp_path / "scenes.npz")
    for before, after in zip(real + made, load_scenes(tmp_path / "scenes.npz"), strict=True):
        assert before.synthetic == after.synthetic and list(before.decoded) == list(after.decoded)
        for q in before.decoded:
            assert np.array_equal(after.decoded[q], decode(after.right, q))
    assert load_scenes(tmp_path / "scenes.npz", "of others") is None
    (tmp_path / "scenes.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="damaged"):
        load_scenes(tmp_path / "scenes.npz")


def test_crops_are_of_one_place(tmp_path):
    """A scene whose pixels tell their column: the three crops start at the same one."""
    column = np.broadcast_to(np.arange(200, dtype=np.uint8), (80, 200)).copy()
    scene = Scene(column, column, {5.0: column}, synthetic=True)
    sampler = CropSampler([scene], 64, 64, 32, seed=0)
    widths = set()
    for _ in range(20):
        crops = sampler.batch(1, 0.5)
        assert crops.x.shape == crops.right.shape == (1, 64, 64, 3) and crops.quality == [5]
        assert np.array_equal(crops.x, crops.right) and np.array_equal(crops.left[:, :, :64], crops.right)
        widths.add(crops.left.shape[2])
    assert widths == {64, 96}
    with pytest.raises(InputError, match="no pair of at least"):
        CropSampler([scene], 64, 256, 32, seed=0)
