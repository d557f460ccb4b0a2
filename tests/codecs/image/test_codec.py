"""The image codec with its shipped model: round trips, targets, windows, and what damaged files do."""

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import obverse
from obverse.codecs.image import decoder as image_decoder
from obverse.codecs.image import networks as image_networks
from obverse.codecs.image.codec import (
    PIXEL_BYTES,
    level_of,
    message_of,
    quality_of_level,
)
from obverse.codecs.image.encoder import quantise_pixels
from obverse.container import Container, Limits, read, write
from obverse.data.conversion import ConversionWarning
from obverse.errors import (
    DamagedError,
    InputError,
    LimitError,
    ObverseError,
    RateTargetError,
    WrongModelError,
)
from obverse.metrics.distortion import psnr
from obverse.zoo import model_folder
from tests.conftest import REPOSITORY, smooth_photo

PHOTO = REPOSITORY / "examples" / "kodim23.png"


@pytest.fixture(scope="module")
def codec():
    return obverse.open_codec("image")


@pytest.fixture(scope="module")
def parrot():
    """(256, 384, 3): a part of PHOTO."""
    with Image.open(PHOTO) as image:
        return np.asarray(image.convert("RGB"))[100:356, 150:534].copy()


@pytest.mark.parametrize("quality", [1, 37.25, 50, 100])
def test_round_trip_at_any_quality(photo, quality):
    decoded = obverse.decompress(obverse.compress(photo, quality=quality))
    assert decoded.shape == photo.shape and decoded.dtype == np.uint8
    assert psnr(photo, decoded) > (30 if quality == 100 else 15)


def test_quality_raises_rate_and_psnr(photo):
    files = [obverse.compress(photo, quality=q) for q in (5, 35, 65, 95)]
    quality = [psnr(photo, obverse.decompress(f)) for f in files]
    assert [len(f) for f in files] == sorted(len(f) for f in files)
    assert quality == sorted(quality)


def test_the_same_input_gives_the_same_file(photo):
    assert obverse.compress(photo) == obverse.compress(photo)


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 4), st.floats(1, 100), st.integers(0, 99))
def test_any_shape(height, width, channels, quality, seed):
    array = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    array = np.ascontiguousarray(array[:, :, 0] if channels == 1 else array)
    decoded = obverse.decompress(obverse.compress(array, quality=quality))
    assert decoded.shape == array.shape
    if channels in (2, 4):
        assert np.array_equal(decoded[:, :, -1], array[:, :, -1])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (63, 65), (64, 64), (65, 129)])
def test_odd_sizes(size):
    array = smooth_photo(*size)
    assert obverse.decompress(obverse.compress(array)).shape == array.shape


def test_gray_stays_gray():
    gray = smooth_photo(70, 90, channels=1)
    decoded = obverse.decompress(obverse.compress(gray, quality=90))
    assert decoded.shape == gray.shape
    assert np.square(decoded.astype(float) - gray).mean() < 65  # 30 dB


def test_metadata_profile_and_exif_survive(codec, photo):
    image = Image.fromarray(photo)
    image.info["icc_profile"] = b"profile" * 50
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    container = codec.encode(image, codec.options(metadata={"author": "somebody", "year": 2026}))
    again = read(write(container))
    decoded = codec.decode_photo(again)
    assert decoded.icc == b"profile" * 50 and decoded.exif == exif.tobytes()
    assert again.metadata == {"author": "somebody", "year": 2026}


def test_overhead_of_a_thumbnail_is_at_most_64_bytes(photo):
    data = obverse.compress(photo[:48, :64])
    assert len(data) - len(read(data).sections["y"]) <= 64


def test_real_bytes_agree_with_the_models_estimate(codec):
    """Within 1 % for files above 10 kB (what is above: the estimate of the tables, below: real bytes)."""
    pixels = np.asarray(Image.open(PHOTO).convert("RGB"))
    data = obverse.compress(pixels, quality=60)
    coded, _ = quantise_pixels(codec.networks, pixels, level_of(60))
    estimate = sum(float(codec.networks.tables.bits(symbols, index).sum()) for symbols, index in coded) / 8
    assert len(data) > 10_000
    assert abs(len(data) - estimate) < 0.01 * estimate


@pytest.mark.parametrize("target", [2_000, 10_000])
def test_max_bytes_is_met_from_below_within_2_percent(parrot, target):
    data = obverse.compress(parrot, max_bytes=target)
    assert 0.98 * target <= len(data) <= target


def test_bpp_is_met_from_below(parrot):
    data = obverse.compress(parrot, bpp=0.25)
    assert 0.98 * 0.25 <= len(data) * 8 / (256 * 384) <= 0.25


def test_more_bytes_than_the_best_quality_needs_keep_every_pixel(photo):
    assert np.array_equal(obverse.decompress(obverse.compress(photo, max_bytes=10**9)), photo)


def test_targets_that_cannot_be_met_or_make_no_sense(photo):
    with pytest.raises(RateTargetError, match="smallest file"):
        obverse.compress(photo, max_bytes=20)
    for options in ({"quality": 0}, {"quality": 101}, {"quality": float("nan")}, {"bpp": 0}, {"bpp": -1},
                    {"max_bytes": 0}, {"quality": 5, "bpp": 1}):  # fmt: skip
        with pytest.raises(InputError):
            obverse.compress(photo, **options)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.int16),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        "array"[0:0] + "x",
    ],
    ids=["float", "int16", "5 channels", "batch", "empty", "missing file"],
)
def test_wrong_input_is_refused_by_name(array):
    with pytest.raises(InputError):
        obverse.compress(array)


@pytest.mark.parametrize("shape", [(40, 48), (40, 48, 3)])
def test_16_bits_are_coded_with_8_and_a_warning(shape):
    deep = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    with pytest.warns(ConversionWarning, match="16 bits a channel"):
        data = obverse.compress(deep)
    assert data == obverse.compress(np.round(deep / 257).astype(np.uint8))


def test_levels_are_a_bijection():
    assert [level_of(quality_of_level(level)) for level in range(1981)] == list(range(1981))


def test_windows_give_the_whole_image(codec, monkeypatch):
    """Windowed analysis leads to the same symbols but for rounding ties, windowed synthesis to the same pixels
    within 1/255."""
    pixels = smooth_photo(330, 390, seed=3)
    whole, _ = quantise_pixels(codec.networks, pixels, 1000)
    message = message_of(codec.networks.tables, whole).to_bytes()
    data = write(Container("image", {0: 1000, 1: 3}, (330, 390), {"y": message}, codec.fingerprint))
    decoded = obverse.decompress(data).astype(int)
    monkeypatch.setattr(image_networks, "WINDOW", 128)
    monkeypatch.setattr(image_decoder, "WINDOW", 128)
    parts, _ = quantise_pixels(codec.networks, pixels, 1000)
    for (symbols, index), (symbols2, index2) in zip(whole, parts, strict=True):
        assert np.mean(symbols != symbols2) < 1e-3
        assert np.mean(index != index2) < 1e-2
    assert np.abs(obverse.decompress(data).astype(int) - decoded).max() <= 1


# -- bad files ----------------------------------------------------------------------------------------


def container_of(photo, **changes):
    fields = vars(read(obverse.compress(photo, quality=40))) | changes
    return write(Container(**fields))


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {}},
        {"config": {0: 5}},
        {"config": {0: 1981, 1: 3}},
        {"config": {0: -1, 1: 3}},
        {"config": {0: True, 1: 3}},
        {"config": {0: "x", 1: 3}},
        {"config": {0: 5, 1: 2}},
        {"shape": (0, 5)},
        {"shape": (80, 112, 3)},
        {"shape": (64, 64)},
        {"sections": {}},
        {"sections": {"y": b""}},
        {"sections": {"y": b"\xff" * 400}},
        {"sections": {"y": b"\x01"}},
    ],
    ids=str,
)
def test_files_that_no_encoder_writes(photo, changes):
    with pytest.raises(ObverseError):
        obverse.decompress(container_of(photo, **changes))


def test_a_zip_bomb_as_alpha_is_refused(photo):
    import zlib

    bomb = b"\0" + zlib.compress(bytes(10**7), 9)
    sections = read(obverse.compress(photo)).sections | {"alpha": bomb}
    with pytest.raises(DamagedError):
        obverse.decompress(container_of(photo, sections=sections))


def test_wrong_model_is_named(photo):
    with pytest.raises(WrongModelError, match="0011223344556677"):
        obverse.decompress(container_of(photo, model=bytes.fromhex("0011223344556677")))


def test_pixel_limit_and_its_override(photo):
    data = obverse.compress(photo)
    with pytest.raises(LimitError, match="pixels"):
        obverse.decompress(data, limits=Limits(pixels=100))
    with pytest.raises(LimitError):
        obverse.compress(photo, limits=Limits(pixels=100))
    with pytest.raises(LimitError):
        obverse.decompress(container_of(photo, shape=(2**20, 2**20)))
    assert obverse.decompress(data, limits=Limits.unlimited()).shape == photo.shape


def test_a_thin_image_takes_the_memory_of_its_whole_cells(codec):
    """Latents are those of cells of 64 x 64 pixels: a file of a line of pixels has 64 times as many as pixels."""
    limits = Limits(memory=256 * PIXEL_BYTES)
    for size in ((256, 1), (1, 256)):
        with pytest.raises(LimitError, match="memory"):
            codec.decode(Container("image", {0: 0, 1: 3}, size, {"y": b""}, codec.fingerprint), limits)
        with pytest.raises(LimitError, match="memory"):
            codec.encode(np.zeros(size, np.uint8), codec.options(limits=limits))


def test_side_information_is_refused(photo):
    with pytest.raises(InputError, match="side information"):
        obverse.decompress(obverse.compress(photo), side_info=photo)


def test_every_truncation_and_many_bit_flips_are_noticed(photo):
    data = obverse.compress(photo, quality=30)
    for length in range(len(data)):
        with pytest.raises(ObverseError):
            obverse.decompress(data[:length])
    for bit in np.random.default_rng(0).choice(8 * len(data), 600, replace=False):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ObverseError):
            obverse.decompress(bytes(flipped))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300))
def test_any_message_decodes_or_raises_our_errors(data):
    """Bytes behind valid checksums: what a hostile writer could make."""
    codec = obverse.open_codec("image")
    blob = write(Container("image", {0: 600, 1: 3}, (70, 70), {"y": data}, codec.fingerprint))
    with contextlib.suppress(ObverseError):
        assert obverse.decompress(blob).shape == (70, 70, 3)


def test_the_model_is_small_enough_to_ship():
    assert sum(path.stat().st_size for path in model_folder("image").iterdir()) <= 8_000_000


def test_no_gradients_and_no_state_are_left_behind(codec, photo):
    obverse.compress(photo)
    assert not any(p.requires_grad for p in codec.networks.analysis.parameters())
    assert torch.is_grad_enabled()
