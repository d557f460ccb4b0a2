"""The stereo codec: files of the image codec, synthesised better by a decoder that has the left view."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from obverse.codec import decoded_file
from obverse.codecs.image.codec import ImageCodec
from obverse.codecs.stereo import codec as stereo
from obverse.codecs.stereo.codec import StereoCodec, fuse_pixels, fusion_memory, like, sharpness
from obverse.codecs.stereo.fusion import StereoFusion
from obverse.codecs.stereo.pairs import shift_rows
from obverse.codecs.stereo.recipe import StereoConfig
from obverse.container import Limits, read, write
from obverse.data.conversion import ConversionWarning
from obverse.data.images import Photo
from obverse.errors import (
    DamagedError,
    InputError,
    LimitError,
    ModelError,
    SideInformationError,
    WrongModelError,
)
from obverse.metrics.distortion import psnr
from obverse.zoo import load_model, model_folder
from tests.conftest import smooth_photo


def textured(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width, 3) uint8: random discs of all sizes over a smooth colour field."""
    rng = np.random.default_rng(seed)
    image = smooth_photo(height, width, seed).astype(np.float32)
    rows, columns = np.mgrid[:height, :width]
    for radius in np.geomspace(20, 2, 160):
        middle = rng.uniform(0, height), rng.uniform(0, width)
        inside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2
        image[inside] = image[inside] * 0.4 + rng.uniform(0, 255, 3) * 0.6
    return image.clip(0, 255).round().astype(np.uint8)


def made_pair(height: int = 128, width: int = 256, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(left, right): a wall from 6 to 30 pixels of disparity, slanted, with a box 44 pixels before it."""
    wide = textured(height, width + 64, seed)
    disparity = np.linspace(6, 30, height, dtype=np.float32)[:, None] + np.zeros((1, width), np.float32)
    left = wide[:, :width].copy()
    right = shift_rows(wide, disparity).round().astype(np.uint8)
    box = textured(40, 60, seed + 1)
    top, start = height // 3, width // 3
    right[top : top + 40, start : start + 60] = box
    left[top : top + 40, start + 44 : start + 104] = box
    return left, right


@pytest.fixture(scope="module")
def codec():
    return StereoCodec()


@pytest.fixture(scope="module")
def pair():
    return made_pair()


@pytest.fixture(scope="module")
def coded(codec, pair):
    return codec.encode(pair[1], codec.options(quality=10))


def test_the_left_view_makes_the_picture_better(codec, pair, coded):
    left, right = pair
    alone = ImageCodec().decode(coded)
    decoded = codec.decode(read(write(coded)), side_info=left)
    assert decoded.shape == right.shape and decoded.dtype == np.uint8
    assert psnr(decoded, right) > psnr(alone, right) + 0.5


def test_gray_views(codec, pair):
    left, right = (np.asarray(Image.fromarray(view).convert("L")) for view in pair)
    coded = codec.encode(right, codec.options(quality=10))
    alone, decoded = ImageCodec().decode(coded), codec.decode(coded, side_info=left)
    assert decoded.shape == right.shape
    error = [np.square(view.astype(float) - right).mean() for view in (alone, decoded)]
    assert error[1] < 0.9 * error[0]


def test_files_hold_what_the_image_codec_writes(codec, pair, coded):
    """Same sections, same configuration: parsing never depends on the left view."""
    image = ImageCodec().encode(pair[1], ImageCodec.options(quality=10))
    assert coded.sections == image.sections and coded.config == image.config and coded.shape == image.shape
    assert coded.codec == "stereo" and coded.model == codec.fingerprint != image.model
    assert codec.encode(pair[1], codec.options(quality=10)).sections == coded.sections


def test_max_bytes_is_met(codec, pair):
    assert 0.9 * 1500 <= len(write(codec.encode(pair[1], codec.options(max_bytes=1500)))) <= 1500


def test_one_view_gray_and_the_other_in_colour(codec, pair, coded):
    left, right = pair
    gray = np.asarray(Image.fromarray(left).convert("L"))
    assert codec.decode(coded, side_info=gray).shape == right.shape
    gray_right = np.asarray(Image.fromarray(right).convert("L"))
    decoded = codec.decode(codec.encode(gray_right, codec.options(quality=10)), side_info=left)
    assert decoded.shape == gray_right.shape
    assert like(gray, right).shape == right.shape and like(left, gray_right).shape == gray_right.shape


def test_alpha_and_profile_travel_on(codec, pair):
    left, right = pair
    alpha = np.random.default_rng(0).integers(0, 256, right.shape[:2], dtype=np.uint8)
    coded = codec.encode(Photo(right, alpha, b"profile"), codec.options(quality=10))
    photo = codec.decode_photo(coded, side_info=left)
    assert np.array_equal(photo.alpha, alpha) and photo.icc == b"profile"
    assert codec.decode(coded, side_info=left).shape == (*right.shape[:2], 4)


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (200, 7), (65, 129)])
def test_odd_sizes(codec, size):
    view = textured(*size, seed=2)
    assert codec.decode(codec.encode(view, codec.options(quality=30)), side_info=view).shape == view.shape


def test_save_writes_the_fused_view(codec, pair, coded, tmp_path):
    path = tmp_path / "right.png"
    path.write_bytes(decoded_file(codec, coded, "right.png", side_info=pair[0]))
    assert np.array_equal(np.asarray(Image.open(path)), codec.decode(coded, side_info=pair[0]))
    with pytest.raises(SideInformationError):
        decoded_file(codec, coded, "right.png")


def test_windows_give_nearly_the_whole_image(codec, pair, monkeypatch):
    """Only the wider reach of the search at a window's right edge may differ: it must not."""
    left, right = made_pair(136, 640, seed=4)
    monkeypatch.setattr(stereo, "has_native_bfloat16", lambda: False)  # its sums depend on the shape
    whole, match = fuse_pixels(codec.fusion, right, left, 200)
    monkeypatch.setattr(stereo, "WINDOW", 256)
    parts, match_of_parts = fuse_pixels(codec.fusion, right, left, 200)
    difference = np.abs(parts.astype(int) - whole)
    assert np.mean(difference > 1) < 0.002
    assert match_of_parts == pytest.approx(match, abs=0.01)


# -- what is not the left view -------------------------------------------------------------------------


def test_no_left_view(codec, coded):
    with pytest.raises(SideInformationError, match="side_info"):
        codec.decode(coded)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda left: left[:, 8:], "pixels"),
        (lambda left: left[:64], "pixels"),
        (lambda left: left.astype(np.float32), "dtype"),
        (lambda left: left[None], "shape"),
        (lambda left: np.full_like(left, 90), "does not show"),
        (lambda left: left[:, ::-1], "does not show"),
        (lambda left: left[::-1], "does not show"),
        (lambda left: made_pair(seed=50)[0], "does not show"),
        (lambda left: np.random.default_rng(0).integers(0, 256, left.shape, dtype=np.uint8), "does not show"),
    ],
    ids=["narrower", "lower", "float", "batch", "constant", "mirrored", "upside down", "stranger", "noise"],
)
def test_wrong_left_views_are_refused(codec, pair, coded, change, match):
    with pytest.raises(SideInformationError, match=match):
        codec.decode(coded, side_info=np.ascontiguousarray(change(pair[0])))


def test_swapped_views_do_not_pass_unnoticed(codec):
    """The right view of a pair with much disparity, given for the left one: all matches lie on the wrong side."""
    left, right = made_pair(seed=7)
    with pytest.raises(SideInformationError):
        codec.decode(codec.encode(left, codec.options(quality=10)), side_info=right)


def test_a_view_without_detail_can_be_decoded_with_any(codec):
    flat = np.full((64, 96, 3), 120, np.uint8)
    decoded = codec.decode(codec.encode(flat, codec.options(quality=20)), side_info=textured(64, 96, 0))
    assert np.abs(decoded.astype(int) - flat).max() < 40


# -- what is not a file of this codec ------------------------------------------------------------------


def test_damaged_headers_are_refused(codec, pair, coded):
    for change in ({"config": {0: 5}}, {"sections": {"y": b"\x01"}}, {"config": {0: -1, 1: 3}}):
        with pytest.raises(DamagedError):
            codec.decode(replace(coded, **change), side_info=pair[0])


def test_limits_hold(codec, pair, coded):
    with pytest.raises(LimitError):
        codec.decode(coded, side_info=pair[0], limits=Limits(pixels=100))
    with pytest.raises(LimitError):
        codec.decode(coded, side_info=pair[0], limits=Limits(memory=10**6))


def test_the_fingerprint_stands_for_the_image_model_too(coded, pair):
    model = load_model("stereo")
    assert bytes.fromhex(model.config["image_model"]) == load_model("image").fingerprint
    stranger = StereoCodec(replace(model, config=model.config | {"image_model": "00" * 8}))
    with pytest.raises(WrongModelError, match="0000000000000000"):
        stranger.decode(coded, side_info=pair[0])


def test_input_that_is_no_image(codec):
    with pytest.raises(InputError):
        codec.encode(np.zeros((8, 8), np.float32))


def test_the_model_is_small_enough_to_ship():
    assert sum(path.stat().st_size for path in model_folder("stereo").iterdir()) <= 4_000_000


def test_real_pairs_gain(codec, data_folder):
    """A pair that was not trained on, in a quarter of its size: fewer bits for the same quality."""
    folder = data_folder / "stereo" / "kit_drive23_gray"
    if not folder.is_dir():
        pytest.skip(f"no stereo pairs in {folder}")
    left, right = (
        np.asarray(Image.open(folder / f"000090_{s}.png"))[100:356, 300:812] for s in ("left", "right")
    )
    coded = codec.encode(right, codec.options(quality=10))
    alone, decoded = ImageCodec().decode(coded), codec.decode(coded, side_info=left)
    error = [np.square(view.astype(float) - right).mean() for view in (alone, decoded)]
    assert 10 * np.log10(error[0] / error[1]) > 0.5


def test_a_left_view_out_of_focus_is_not_made_use_of(pair, codec):
    """It would blur what the file holds; one that is a little soft still helps."""
    left, right = pair
    file = write(codec.encode(right, codec.options(quality=60)))
    plain = ImageCodec.decode_photo(codec, read(file)).pixels

    def blurred(radius):
        return np.asarray(Image.fromarray(left).filter(ImageFilter.GaussianBlur(radius)))

    with pytest.warns(ConversionWarning, match="out of focus"):
        assert np.array_equal(codec.decode(read(file), side_info=blurred(4)), plain)
    assert not np.array_equal(codec.decode(read(file), side_info=blurred(0.7)), plain)


def test_sharpness_in_closed_form():
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (200, 90), dtype=np.uint8)
    assert sharpness(noise) == pytest.approx(np.sqrt(20 * (256**2 - 1) / 12), rel=0.05)  # 4^2 + 4 variances
    assert sharpness(np.full((70, 70, 3), 9, np.uint8)) == 0
    rows, columns = np.mgrid[:80, :80]
    assert sharpness((rows + 2 * columns).astype(np.uint8)) == 0  # a plane
    assert sharpness(noise[:2]) == 0


@pytest.mark.parametrize("least", ["a", None, [1], float("nan"), 2])
def test_a_damaged_least_match_is_told(pair, coded, least):
    stored = load_model("stereo")
    damaged = StereoCodec(replace(stored, config=stored.config | {"least_match": least}))
    with pytest.raises(ModelError, match="least_match"):
        damaged.decode(coded, side_info=pair[0])


def test_larger_networks_count_as_larger(codec, pair, coded):
    """Models come from others: what is searched, and how wide, decides what it takes."""
    usual = StereoConfig()
    assert fusion_memory(usual, 1152, 1152) == 1152**2 * 700 == fusion_memory(usual, 9000, 1152) * 4 // 5
    # measured: 152 MiB of a view of 256x320 whose left one has 4,416 columns, searched by narrow networks
    widths = dict.fromkeys(
        ("features", "match", "cost", "coarse_cost", "context", "refine", "trunk", "deep"), 1
    )
    wide = StereoConfig(disparities=1024, deep_blocks=0, **widths)
    assert fusion_memory(wide, 1152, 4416) > 2 * fusion_memory(usual, 1152, 4416)
    assert fusion_memory(StereoConfig(features=1024), 256, 320) > 173 << 20
    assert fusion_memory(StereoConfig(trunk=1024), 256, 320) > 264 << 20
    hostile = StereoCodec()
    hostile.fusion = StereoFusion(StereoConfig(disparities=1024))
    limits = Limits(memory=fusion_memory(usual, *pair[1].shape[:2]) + 1000)
    assert codec.decode(coded, side_info=pair[0], limits=limits).shape == pair[1].shape
    with pytest.raises(LimitError):
        hostile.decode(coded, side_info=pair[0], limits=limits)


def test_disparities_beyond_any_view_are_refused():
    with pytest.raises(InputError, match="disparities"):
        StereoConfig(disparities=4096)
