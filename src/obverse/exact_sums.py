"""Sums of integers held in floats, by the fastest kernel of this machine that was seen to be exact.

    x, weight, bias ──► known settings ──► convolution or matrix product      as it is, if it was exact when tried
                                       ──► unfold, product in float64         else, and on other devices
                                       ──► unfold, product in int64           else, and within `certain_sums`

Direct kernels sum integers exactly in any order. Winograd and FFT kernels compute other numbers on the way, and
products in bfloat16 or TF32 lose bits. Which kernel a library takes depends on shapes, batch and settings; so each
layer's shape is tried, alone and in a batch, under the settings that are in force, and again when these change.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.certain import is_certain
from obverse.torch_settings import known_settings

BATCH = 64  # of the trial that stands for batches
PLACES = 16  # of a trial's output that are compared, in all channels


def integer_sums(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of stride 1, zero padding of k // 2, exactly.

    Args:
        x: (B, in, H, W) integers in the type of the weight.
        weight: (out, in, k, k) integers, in float32 or float64 that holds every partial sum.
        bias: (out,) integers.

    Returns:
        (B, out, H, W) in the same type.
    """
    with known_settings():
        if is_certain():
            return _unfolded(x, weight, bias, torch.int64)
        device, alone = x.device.type, len(x) == 1
        if device == "cpu" and _is_exact(_direct, weight.shape, weight.dtype, alone, device, *_flags()):
            return _direct(x, weight, bias)
        if _is_exact(_double, weight.shape, weight.dtype, alone, device, *_flags()):
            return _double(x, weight, bias)
        return _unfolded(x, weight, bias, torch.int64)


def _flags() -> tuple[bool, int]:
    """What kernels depend on beside shapes and the known settings."""
    return torch._C._get_mkldnn_enabled(), torch.get_num_threads()


def _direct(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if weight.shape[2] > 1:
        return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
    b, _, h, w = x.shape
    columns = x.contiguous().flatten(2)
    return torch.matmul(weight.flatten(1), columns).add_(bias[:, None]).view(b, -1, h, w)


def _double(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _unfolded(x, weight, bias, torch.float64)


def _unfolded(x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    b, _, h, w = x.shape
    k = weight.shape[2]
    columns = (F.unfold(x, k, padding=k // 2) if k > 1 else x.flatten(2)).to(dtype)
    sums = torch.matmul(weight.flatten(1).to(dtype), columns) + bias.to(dtype)[:, None]
    return sums.view(b, -1, h, w).to(weight.dtype)


@cache
def _is_exact(
    kernel: Callable[[Tensor, Tensor, Tensor], Tensor],
    shape: torch.Size,
    dtype: torch.dtype,
    alone: bool,
    device: str,
    *flags: object,
) -> bool:
    """Whether the kernel sums integers exactly for weights of this shape, tried with sums that fill the type."""
    out, inside, k, _ = shape
    size = 24 if alone else 8 if k > 1 else 2
    fan = inside * k * k
    largest, top = (2**24, 1023) if dtype == torch.float32 else (2**53, 2**20)
    generator = torch.Generator().manual_seed(0)

    def draw(most: int, *shape: int) -> Tensor:
        return torch.randint(-most, most + 1, shape, generator=generator).to(dtype)

    with torch.inference_mode():
        x = draw(top, 1 if alone else BATCH, inside, size, size)
        weight = draw(max(1, min(2**20, largest // (fan * top) - 1)), out, inside, k, k)
        got = kernel(x.to(device), weight.to(device), torch.zeros(out, dtype=dtype, device=device))
        places = torch.linspace(0, len(x) * size * size - 1, PLACES).long()  # corners, edges and the middle
        images, rows, columns = places // size**2, places // size % size, places % size
        padded = F.pad(x, (k // 2,) * 4).double()
        for image, row, column in zip(images.tolist(), rows.tolist(), columns.tolist(), strict=True):
            patch = padded[image, :, row : row + k, column : column + k]
            # no kernel but the four operations, which are exact
            wanted = (weight.double() * patch).flatten(1).sum(1)
            if not torch.equal(got[image, :, row, column].double().cpu(), wanted):
                return False
    return True
