"""What decoded photos are judged by while a model is trained, in squared grey levels, so that one lambda serves all.

    psnr    mean squared error
    ssim    a fifth of that, and 1 - MS-SSIM
    eye     a fifth of that, SSIMULACRA2, and LPIPS

The exchange rates are those at which the model trained by mean squared error loses as much by each, on photos at its
ten qualities from .1 to 2 bits a pixel: MS-SSIM's and LPIPS's are one number for all of them; SSIMULACRA2's scale
stretches at high quality, as a power of lambda.
"""

from __future__ import annotations

import torch
from torch import Tensor

from obverse.codecs.image.model import lmbda_of

PLAIN = 0.2  # the share of the mean squared error
MS_SSIM = 2000.0  # squared grey levels that 1 - MS-SSIM of 1 is worth
LPIPS = 550.0  # likewise
SSIMULACRA2, AT, POWER = 1.9, 8.6e-4, -0.306  # what a point is worth, at this lambda, and how that changes
LPIPS_SHARE = 0.3


def distortion(judge: str, x: Tensor, x_hat: Tensor, t: Tensor) -> Tensor:
    """How far decoded photos are from their originals.

    Args:
        judge: of `options.TUNES`.
        x: (B, 3, H, W) in [0, 1]; sides above 160 pixels for "ssim".
        x_hat: of the same shape.
        t: (B,) quality in [0, 1].

    Returns:
        (B,) squared grey levels, or what is worth as much.

    Raises:
        MissingExtraError: for "eye" without the weights of LPIPS.
    """
    x_hat = x_hat.float()
    plain = 255**2 * (x_hat - x).square().mean(dim=(1, 2, 3))
    if judge == "psnr":
        return plain
    if judge == "ssim":
        from pytorch_msssim import ms_ssim

        similarity = ms_ssim(x_hat.clamp(0, 1), x, data_range=1.0, size_average=False)
        return PLAIN * plain + (1 - PLAIN) * MS_SSIM * (1 - similarity)
    from obverse.metrics.lpips import lpips
    from obverse.metrics.ssimulacra2 import ssimulacra2

    point = SSIMULACRA2 * (lmbda_of(t) / AT) ** POWER
    structure = point * (100 - ssimulacra2(x, x_hat))
    # the network sees the image at strides: moved by some pixels, no grid of them is favoured
    dy, dx = (int(n) for n in torch.randint(0, 16, (2,)))
    features = LPIPS * lpips(x[..., dy:, dx:], x_hat[..., dy:, dx:])
    return PLAIN * plain + (1 - PLAIN) * ((1 - LPIPS_SHARE) * structure + LPIPS_SHARE * features)
