"""Alpha of photos: exact unless a loss is asked for, transparent and opaque for ever."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import obverse
from obverse.codecs.image import alpha
from obverse.codecs.image.alpha import pack_alpha, pack_plane, unpack_alpha, unpack_plane
from obverse.container import Container, Limits, read, write
from obverse.errors import DamagedError
from tests.conftest import smooth_photo


def shadow(height: int = 96, width: int = 120) -> np.ndarray:
    """A disc with a soft edge, opaque in its middle, and grain on the edge."""
    y, x = np.mgrid[:height, :width]
    edge = np.clip(255 - 400 / height * (np.hypot(y - height / 2, x - width / 2) - height / 8), 0, 255)
    grain = np.random.default_rng(1).normal(0, 1.5, edge.shape)
    return np.where((edge > 0) & (edge < 255), np.clip(edge + grain, 0, 255), edge).astype(np.uint8)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99), st.integers(1, 256))
def test_planes_round_trip(height, width, seed, values):
    plane = np.random.default_rng(seed).integers(0, values, (height, width)).astype(np.uint8)
    assert np.array_equal(unpack_plane(pack_plane(plane), height, width), plane)
    with pytest.raises(DamagedError):
        unpack_plane(pack_plane(plane), height, width + 1)


@pytest.mark.parametrize("max_error", [0, 1, 2, 6, 7, 60, 127])
def test_alpha_is_within_its_error_and_its_ends_stay(max_error):
    noisy = np.random.default_rng(0).integers(-9, 10, (96, 120)) * ((shadow() > 0) & (shadow() < 255))
    plane = np.clip(shadow() + noisy, 0, 255).astype(np.uint8)
    found = unpack_alpha(pack_alpha(plane, max_error), *plane.shape, Limits())
    assert np.abs(found.astype(int) - plane).max() <= max_error
    for end in (0, 255):
        assert (found[plane == end] == end).all()


def test_soft_alpha_takes_less_than_deflated_and_less_still_with_loss():
    plane = shadow(300, 400)
    exact, lossy = pack_alpha(plane), pack_alpha(plane, 2)
    assert list(exact) == [alpha.FILE] and len(exact[alpha.FILE]) < 0.8 * len(pack_plane(plane))
    assert len(lossy[alpha.FILE]) < 0.6 * len(exact[alpha.FILE])


def test_a_photo_with_soft_alpha_is_a_file_of_version_2():
    pixels = np.dstack([smooth_photo(96, 120, seed=1), shadow()])
    exact = obverse.compress(pixels, quality=30)
    assert read(exact).version == 2
    assert np.array_equal(obverse.decompress(exact)[..., 3], pixels[..., 3])
    lossy = obverse.compress(pixels, quality=30, alpha_error=3)
    assert len(lossy) < len(exact)
    off = np.abs(obverse.decompress(lossy)[..., 3].astype(int) - pixels[..., 3])
    assert 0 < off.max() <= 3


def test_a_plain_alpha_stays_as_older_versions_read_it():
    pixels = np.dstack([smooth_photo(96, 120, seed=1), np.full((96, 120), 255, np.uint8)])
    container = read(obverse.compress(pixels, quality=30))
    assert container.version == 1 and alpha.DEFLATED in container.sections


def file_of(plane: np.ndarray) -> bytes:
    return pack_alpha(plane)[alpha.FILE]


@pytest.mark.parametrize(
    "sections",
    [
        {alpha.FILE: file_of(shadow(97, 120))},
        {alpha.FILE: file_of(shadow()), alpha.DEFLATED: pack_plane(shadow())},
        {alpha.FILE: file_of(shadow())[:-9]},
        {alpha.FILE: b""},
        {alpha.FILE: obverse.compress(smooth_photo(96, 120, seed=1), "image-lossless")},
        {alpha.FILE: obverse.compress(np.dstack([shadow(), shadow()]), "image-lossless")},
        {alpha.FILE: obverse.compress(shadow().astype(np.uint16) * 257, "image-lossless")},
        {alpha.FILE: obverse.compress(smooth_photo(96, 120, seed=1, channels=1), quality=30)},
    ],
    ids=["size", "two", "cut", "empty", "colour", "alpha of alpha", "16 bits", "lossy"],
)
def test_alpha_that_no_encoder_writes_is_damage(sections):
    with pytest.raises(DamagedError):
        unpack_alpha(sections, 96, 120, Limits())


def test_an_alpha_file_is_of_version_2_alone():
    pixels = np.dstack([smooth_photo(96, 120, seed=1), shadow()])
    container = read(obverse.compress(pixels, quality=30))
    old = Container(
        container.codec, container.config, container.shape, container.sections, container.model, version=1
    )
    with pytest.raises(DamagedError):
        obverse.decompress(write(old))
