"""SSIMULACRA2: how alike two images look, of structure, added and lost edges at six scales.

    x, x̂ ──► linear light ──► XYB ──► SSIM, edges ──► means and fourth norms ──► weighted sum ──► score
                  │
                  └──► half the size, five times

A score of 100 is the same image, 90 cannot be told apart side by side, 70 is high quality, 50 medium, 30 low; it may be
negative. Source: Sneyers, "SSIMULACRA 2" (2023), version 2.1. The blur is the Gaussian of the package `ssimulacra2`
(0.3.0), whose scores these are; the C++ program's is recursive, and its scores differ by some .1. In torch, so that
networks can be trained with it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SCALES = 6
MIN_SIDE = 8  # pixels: a scale of less is left out
SIGMA, RADIUS = 1.5, 5  # of the blur, pixels
C2 = 0.0009
BIAS = 0.0037930732552754493
ABSORBANCE = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.55180986650955360),
)
# of each channel X, Y, B, each scale, the mean and the fourth norm: of 1 - SSIM, of added edges, of lost ones
# fmt: off
WEIGHTS = (
    0, 0.0007376606707406586, 0, 0, 0.0007793481682867309, 0, 0, 0.0004371155730107379, 0,
    1.1041726426657346, 0.00066284834129271, 0.00015231632783718752, 0, 0.0016406437456599754, 0,
    1.8422455520539298, 11.441172603757666, 0, 0.0007989109436015163, 0.000176816438078653, 0,
    1.8787594979546387, 10.94906990605142, 0, 0.0007289346991508072, 0.9677937080626833, 0,
    0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053, 0.0004550992113792063, 0, 0,
    0.0013648766163243398, 0, 0, 0, 0, 0, 7.466890328078848, 0, 17.445833984131262,
    0.0006235601634041466, 0, 0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264,
    225.20515300849274, 0, 0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985,
    176.39317598450694, 0, 0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408, 0, 0, 0,
    34.77906344483772, 44.835625328877896, 0, 0, 0, 0, 0, 0, 0, 0, 0.0008680556573291698, 0, 0, 0, 0,
    0, 0.0005313191874358747, 0, 0.00016533814161379112, 0, 0, 0, 0, 0, 0.0004179171803251336,
    0.0017290828234722833, 0, 0.0020827005846636437, 0, 0, 8.826982764996862, 23.19243343998926, 0,
    95.1080498811086, 0.9863978034400682, 0.9834382792465353, 0.0012286405048278493, 171.2667255897307,
    0.9807858872435379, 0, 0, 0, 0.0005130064588990679, 0, 0.00010854057858411537,
)
# fmt: on


def to_linear(x: Tensor) -> Tensor:
    """sRGB to linear light, both in [0, 1]."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def to_xyb(linear: Tensor) -> Tensor:
    """(B, 3, H, W) linear light to XYB, moved so that all of it is positive."""
    matrix = torch.tensor(ABSORBANCE, dtype=linear.dtype, device=linear.device)
    mixed = torch.einsum("oc,bchw->bohw", matrix, linear) + BIAS
    root = mixed.clamp(min=1e-12).pow(1 / 3) - BIAS ** (1 / 3)
    long, medium, short = root.unbind(1)
    x, y = 0.5 * (long - medium), 0.5 * (long + medium)
    return torch.stack([x * 14 + 0.42, y + 0.01, short - y + 0.55], 1)


def blur(x: Tensor) -> Tensor:
    """(B, C, H, W) by a Gaussian of 11 taps: zeros at the sides, the image mirrored above and below."""
    taps = torch.exp(
        -0.5 * (torch.arange(-RADIUS, RADIUS + 1, dtype=x.dtype, device=x.device) / SIGMA).square()
    )
    taps = taps / taps.sum()
    batch, channels, height, width = x.shape
    flat = x.reshape(batch * channels, 1, height, width)
    flat = functional.conv2d(flat, taps.view(1, 1, 1, -1), padding=(0, RADIUS))
    above, below = flat[..., :RADIUS, :].flip(-2), flat[..., height - RADIUS :, :].flip(-2)
    flat = functional.conv2d(torch.cat([above, flat, below], -2), taps.view(1, 1, -1, 1))
    return flat.view(batch, channels, height, width)


def half(x: Tensor) -> Tensor:
    """The mean of each 2x2 pixels; of an odd side the last ones stand alone."""
    rows, columns = x.shape[2] % 2, x.shape[3] % 2
    if rows or columns:
        x = functional.pad(x, (0, columns, 0, rows), mode="replicate")
    return functional.avg_pool2d(x, 2)


def norms(x: Tensor) -> Tensor:
    """(B, C, H, W), not negative, to (B, C, 2): mean and fourth norm."""
    mean = x.mean((2, 3))
    nothing = 1e-60 if x.dtype == torch.float64 else 1e-24  # a slope at 0 that is a number
    return torch.stack([mean, (x.square().square().mean((2, 3)) + nothing).pow(0.25)], 2)


def differences(a: Tensor, b: Tensor) -> Tensor:
    """(B, C, H, W) of one scale, in XYB, to (B, C, 2 norms, 3): 1 - SSIM, added edges, lost edges."""
    mean_a, mean_b = blur(a), blur(b)
    square_a, square_b, product = blur(a * a), blur(b * b), blur(a * b)
    luma = 1 - (mean_a - mean_b).square()
    variances = (square_a - mean_a.square()) + (square_b - mean_b.square()) + C2
    structure = (2 * (product - mean_a * mean_b) + C2) / variances
    edges = (1 + (b - mean_b).abs()) / (1 + (a - mean_a).abs()) - 1
    return torch.stack([norms((1 - luma * structure).relu()), norms(edges.relu()), norms((-edges).relu())], 3)


def ssimulacra2(x: Tensor, x_hat: Tensor) -> Tensor:
    """The scores of a batch; differentiable.

    Args:
        x: (B, 3, H, W) sRGB in [0, 1]: the originals, sides of 8 pixels or more.
        x_hat: of the same shape: what is judged.

    Returns:
        (B,) scores, at most 100.
    """
    a, b = to_linear(x), to_linear(x_hat)
    found = []
    for scale in range(SCALES):
        if min(a.shape[2:]) < MIN_SIDE:
            break
        found.append(differences(to_xyb(a), to_xyb(b)))
        if scale < SCALES - 1:
            a, b = half(a), half(b)
    values = torch.stack(found, 2).flatten(1)  # by channel, scale, norm, kind
    weights = torch.tensor(WEIGHTS[: values.shape[1]], dtype=values.dtype, device=values.device)
    total = values @ weights * 0.9562382616834844
    total = 2.326765642916932 * total - 0.020884521182843837 * total**2 + 6.248496625763138e-05 * total**3
    return 100 - 10 * total.clamp(min=1e-12).pow(0.6276336467831387)


def score(a: np.ndarray, b: np.ndarray) -> float:
    """The score of two uint8 arrays (H, W, 3), in float64."""
    x, x_hat = (torch.from_numpy(image.astype(np.float64) / 255).permute(2, 0, 1)[None] for image in (a, b))
    with torch.no_grad():
        return float(ssimulacra2(x, x_hat))
