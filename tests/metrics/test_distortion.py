import math

import numpy as np
import pytest

from obverse.errors import InputError, UnsupportedInputError
from obverse.metrics.distortion import ms_ssim, ms_ssim_db, mse, psnr


def photo(height=176, width=192, seed=0):
    """Smooth noise around mid-grey, levels 28 to 228, uint8 (height, width, 3)."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    for axis in (0, 1):
        for _ in range(12):
            noise = noise + np.roll(noise, 1, axis)
    noise /= np.abs(noise).max()
    return (128 + 100 * noise).astype(np.uint8)


def test_mse_and_psnr_of_a_constant_shift():
    a = photo()
    assert mse(a, a + 5) == 25
    assert psnr(a, a + 5) == pytest.approx(10 * math.log10(255**2 / 25), abs=1e-12)


def test_psnr_does_not_wrap_around_below_zero():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr(black, white) == 0
    assert psnr(white, black) == 0


def test_psnr_is_over_the_channels_jointly():
    a = photo()
    b = a.copy()
    b[..., 0] += 6  # an error in red only: MSE 36 / 3
    assert mse(a, b) == 12
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 12))


def test_equal_images():
    a = photo()
    assert psnr(a, a) == math.inf
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_falls_with_noise_and_forgives_a_shift():
    a = photo()
    noise = np.random.default_rng(1).integers(-12, 13, a.shape)
    little, much = (np.clip(a + noise * k, 0, 255).astype(np.uint8) for k in (1, 3))
    shift = a + np.uint8(round(math.sqrt(mse(a, little))))
    assert 0 < ms_ssim(a, much) < ms_ssim(a, little) < ms_ssim(a, shift) < 1


def test_ms_ssim_of_a_small_image_is_nan():
    a = photo(160, 400)
    assert math.isnan(ms_ssim(a, a))
    b = photo(161, 161)
    assert ms_ssim(b, b) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_db():
    assert ms_ssim_db(0.9) == pytest.approx(10)
    assert ms_ssim_db(0.99) == pytest.approx(20)
    assert ms_ssim_db(1.0) == math.inf
    assert math.isnan(ms_ssim_db(math.nan))


@pytest.mark.parametrize("measure", [mse, psnr, ms_ssim])
def test_what_cannot_be_compared_is_refused(measure):
    a = photo(32, 32)
    with pytest.raises(InputError, match="differ in size"):
        measure(a, a[:16])
    for other in (a.astype(np.float32), a[..., 0], np.dstack([a, a[..., :1]]), a[:0]):
        with pytest.raises(UnsupportedInputError, match="uint8"):
            measure(other, other)
