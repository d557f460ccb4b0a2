"""How far a decoded image is from its original: MSE, PSNR and MS-SSIM of 8-bit RGB arrays."""

from __future__ import annotations

import math

import numpy as np

from obverse.errors import InputError, UnsupportedInputError

PEAK = 255
# MS-SSIM halves the image four times and then still needs its 11-tap window: (11 - 1) * 2**4.
MS_SSIM_MIN_SIDE = 160


def mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error over all pixels and the three channels jointly.

    Args:
        a: uint8 (H, W, 3).
        b: uint8 (H, W, 3).

    Returns:
        Squared 8-bit levels (0 to 65025).

    Raises:
        InputError: where the shapes differ.
        UnsupportedInputError: where they are not uint8 RGB.
    """
    _check_pair(a, b)
    difference = a.astype(np.float64) - b
    return float(np.mean(difference * difference))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, `10 log10(255**2 / mse)`; `inf` where a equals b.

    The MSE is taken over R, G and B jointly, as the learned-compression literature does (Balle et al. 2018, section 4),
    not as a mean of three PSNRs or of luma.

    Args:
        a: uint8 (H, W, 3).
        b: uint8 (H, W, 3).
    """
    error = mse(a, b)
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Multi-scale structural similarity, 1 where a equals b (Wang, Simoncelli and Bovik 2003).

    Five scales, 11-tap Gaussian window, mean of the three channels, float32, by pytorch-msssim. NaN where the smaller
    side is 160 pixels or less: the measure has no value there.

    Args:
        a: uint8 (H, W, 3).
        b: uint8 (H, W, 3).
    """
    _check_pair(a, b)
    if min(a.shape[:2]) <= MS_SSIM_MIN_SIDE:
        return math.nan
    import torch
    from pytorch_msssim import ms_ssim as measure

    def tensor(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]

    with torch.no_grad():
        return float(measure(tensor(a), tensor(b), data_range=float(PEAK)))


def ms_ssim_db(value: float) -> float:
    """MS-SSIM on a scale that does not crowd at 1: `-10 log10(1 - value)` in dB; `inf` at 1."""
    return -10 * math.log10(1 - value) if value < 1 else math.nan if math.isnan(value) else math.inf


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    for image in (a, b):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise UnsupportedInputError(
                f"distortion is measured on uint8 arrays of shape (H, W, 3), not {image.dtype} {image.shape}"
            )
    if a.shape != b.shape:
        raise InputError(f"the two images differ in size: {a.shape} and {b.shape}")
