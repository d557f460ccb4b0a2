"""Effort of the image codec: the same files, smaller; the promises that hold at every effort."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import obverse
from obverse.codecs.image import effort as image_effort
from obverse.codecs.image.codec import level_of
from obverse.codecs.image.effort import EFFORTS, lmbda_of_level
from obverse.codecs.image.rate_control import highest_refined_level
from obverse.codecs.image.train import LMBDA_MAX, LMBDA_MIN
from obverse.container import Container, read, write
from obverse.errors import InputError, OptionError, RateTargetError
from obverse.metrics.distortion import mse
from obverse.quantization.sga import GumbelAnnealing, Search
from tests.conftest import REPOSITORY, smooth_photo


@pytest.fixture(scope="module")
def codec():
    return obverse.open_codec("image")


@pytest.fixture(scope="module")
def crop():
    """(128, 192, 3) uint8 of a photo."""
    return np.asarray(Image.open(REPOSITORY / "examples" / "kodim23.png").convert("RGB"))[192:320, 256:448]


def cost_of(pixels, data, quality):
    """Bits of the file + lmbda * squared error of what it decodes to."""
    decoded = obverse.decompress(data)
    return (
        8 * len(data)
        + lmbda_of_level(level_of(quality)) * mse(pixels, decoded) * pixels.shape[0] * pixels.shape[1]
    )


@pytest.mark.parametrize("quality", [20, 60])
def test_more_effort_costs_less(crop, quality):
    files = {effort: obverse.compress(crop, quality=quality, effort=effort) for effort in (0, 1, 3)}
    costs = [cost_of(crop, data, quality) for data in files.values()]
    assert costs == sorted(costs, reverse=True)
    bits = 8 * len(files[0])
    assert (costs[2] - costs[0]) / bits < -0.03  # about the change of the rate at equal quality


def test_the_file_is_that_of_any_image_and_decodes_in_another_process(crop, tmp_path):
    plain, refined = (read(obverse.compress(crop, quality=35, effort=effort)) for effort in (0, 1))
    assert (plain.codec, plain.config, plain.shape, plain.model) == (
        refined.codec, refined.config, refined.shape, refined.model
    )  # fmt: skip
    assert set(plain.sections) == set(refined.sections) and plain.sections != refined.sections
    (tmp_path / "a.obv").write_bytes(write(refined))
    command = [sys.executable, "-c", "from obverse.cli import main; main()", "decompress", "a.obv"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    there = np.asarray(Image.open(tmp_path / "a.png")).astype(int)
    assert np.abs(there - obverse.decompress(write(refined))).max() <= 1


def test_the_same_input_gives_the_same_file(crop):
    assert obverse.compress(crop, effort=1) == obverse.compress(crop, effort=1)
    assert obverse.compress(crop, effort=0) == obverse.compress(crop)


def test_a_search_that_goes_wrong_gives_the_plain_file(crop, monkeypatch):
    wild = Search(2, lr=50.0, last_lr=1.0)
    monkeypatch.setattr("obverse.codecs.image.effort.EFFORTS", (None, wild))
    assert obverse.compress(crop, effort=1) == obverse.compress(crop)


@pytest.mark.parametrize("shape", [(1, 1, 3), (70, 50, 3), (65, 40), (40, 65, 2), (33, 64, 4)])
def test_any_shape(shape):
    array = smooth_photo(*shape[:2])
    array = np.dstack([array, array[:, :, :1]])[:, :, : shape[2]] if len(shape) == 3 else array[:, :, 0]
    array = np.ascontiguousarray(array)
    decoded = obverse.decompress(obverse.compress(array, quality=70, effort=1))
    assert decoded.shape == array.shape
    if shape[2:] in ((2,), (4,)):
        assert np.array_equal(decoded[:, :, -1], array[:, :, -1])


def test_windows_save_about_as_much_as_the_whole(crop, monkeypatch):
    pixels = np.concatenate([crop, crop[:, ::-1]])[:200, :180]  # 4 x 3 positions of z
    plain, whole = (cost_of(pixels, obverse.compress(pixels, quality=40, effort=e), 40) for e in (0, 2))
    monkeypatch.setattr(image_effort, "WINDOW", 2)
    monkeypatch.setattr(image_effort, "HALO", 1)
    seen = []
    data = obverse.compress(pixels, quality=40, effort=2, progress=lambda *a: seen.append(a))
    windowed = cost_of(pixels, data, 40)
    assert plain - windowed > 0.7 * (plain - whole) > 0
    assert seen[-1][:2] == (4 * EFFORTS[2].iterations,) * 2


def test_progress_tells_every_iteration_and_the_cost_falls(crop):
    seen = []
    data = obverse.compress(crop, quality=40, effort=2, progress=lambda *a: seen.append(a))
    steps = EFFORTS[2].iterations
    assert [s[:2] for s in seen] == [(k, steps) for k in range(steps + 1)] + [(steps, steps)]
    assert seen[-1][2] < seen[0][2]
    area = crop.shape[0] * crop.shape[1]
    header = 8 * (len(data) - len(read(data).sections["y"]))
    assert seen[-1][2] == pytest.approx((cost_of(crop, data, 40) - header) / area, rel=0.01)


def test_a_target_is_met_from_below(crop):
    for target in (800, 2500):
        plain, refined = (obverse.compress(crop, max_bytes=target, effort=effort) for effort in (0, 1))
        assert 0.98 * target <= len(refined) <= target
        assert mse(crop, obverse.decompress(refined)) < mse(crop, obverse.decompress(plain))


def test_targets_at_the_ends(crop):
    with pytest.raises(RateTargetError, match="smallest file"):
        obverse.compress(crop, max_bytes=60, effort=1)
    best = obverse.compress(crop[:64, :64], max_bytes=10**7, effort=1)
    assert np.array_equal(obverse.decompress(best), crop[:64, :64])


def encoder(share, made=None):
    """Of files that grow with the level as those of images do."""

    def encode(level):
        if made is not None:
            made.append(level)
        size = int(share * 500 * 1.002**level)
        return Container("image", {0: level}, (1, 1), {"y": np.random.default_rng(0).bytes(size)}, None, {})

    return encode


@pytest.mark.parametrize("saved", [0.8, 0.94, 0.99, 1.05])
def test_rate_control_learns_what_a_search_saves(saved):
    made = []
    chosen = highest_refined_level(encoder(1.0), encoder(saved, made), 20_000, 1980)
    assert 0.98 * 20_000 <= len(write(chosen)) <= 20_000
    assert 1 <= len(made) <= 3


def test_a_search_may_reach_what_plain_files_cannot():
    chosen = highest_refined_level(encoder(1.0), encoder(0.8), 480, 1980)
    assert chosen.config == {0: 0} and len(write(chosen)) <= 480 < len(write(encoder(1.0)(0)))
    with pytest.raises(RateTargetError):
        highest_refined_level(encoder(1.0), encoder(0.8), 400, 1980)
    with pytest.raises(InputError):
        highest_refined_level(encoder(1.0), encoder(0.8), 0, 1980)


def test_the_plain_file_is_taken_where_searched_ones_do_not_fit():
    chosen = highest_refined_level(encoder(1.0), lambda level: encoder(3.0)(1980), 20_000, 1980)
    assert 0.98 * 20_000 <= len(write(chosen)) <= 20_000


@pytest.mark.parametrize("effort", [-1, 10, 2.5, True, "3", None])
def test_efforts_that_there_are_not(photo, effort):
    with pytest.raises(InputError, match="effort must be a whole number from 0 to 9"):
        obverse.compress(photo, effort=effort)


def test_a_codec_without_effort_says_so():
    with pytest.raises(OptionError, match="no option 'effort'"):
        obverse.compress(smooth_photo(20, 20), codec="image-lossless", effort=1)


def test_lmbda_is_that_of_training():
    assert lmbda_of_level(0) == pytest.approx(LMBDA_MIN)
    assert lmbda_of_level(1980) == pytest.approx(LMBDA_MAX)


def test_searches_work_where_gradients_are_off_and_leave_none_behind(crop):
    with torch.inference_mode():
        inside = obverse.compress(crop[:64, :64], effort=1)
    assert inside == obverse.compress(crop[:64, :64], effort=1)
    networks = obverse.open_codec("image").networks
    assert not any(p.requires_grad or p.grad is not None for p in networks.synthesis.parameters())
    assert GumbelAnnealing().noise < 1
