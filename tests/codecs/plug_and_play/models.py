"""Small generative models with known posteriors, and what goes wrong with others."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """x (N, 6), two latents that matter a lot, two that matter little; an orthonormal transform, so nothing is lost."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        basis = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
        self.basis = nn.Parameter(basis[:, :4].contiguous())
        self.scales = nn.Parameter(torch.tensor([4.0, 2.0, 0.5, 0.25]))
        self.only_encode = nn.Parameter(torch.tensor(0.1))
        self.only_decode = nn.Parameter(torch.zeros(10_000))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x @ self.basis / self.scales
        return mean, (self.only_encode / self.scales).abs().expand(mean.shape)

    def decode(self, z: Tensor) -> Tensor:
        return (z * self.scales) @ self.basis.T + self.only_decode.sum()


class Blocks(nn.Module):
    """Images (N, C, H, W) with sides that are multiples of 4, as the means and details of 4x4 blocks."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        n = 16 * channels
        generator = torch.Generator().manual_seed(5)
        mixing = torch.randn(n, n, generator=generator)
        mixing[0] = 1
        q = torch.linalg.qr(mixing.T)[0].T
        self.kernel = nn.Parameter(q.reshape(n, channels, 4, 4).contiguous())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.nn.functional.conv2d(x - 0.5, self.kernel, stride=4)
        return mean, torch.full_like(mean, 0.02)

    def decode(self, z: Tensor) -> Tensor:
        return torch.nn.functional.conv_transpose2d(z, self.kernel, stride=4) + 0.5


class BadStd(Linear):
    """Forgot the exponential."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = super().encode(x)
        return mean, std.log()


class BadShape(Linear):
    """Its decode does not invert the shape of its encode."""

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z)[:, :5]


class OneThing(Linear):
    """Its encode returns one tensor."""

    def encode(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().encode(x)[0]


def make_linear() -> Linear:
    return Linear()


linear = Linear()
bad_std, bad_shape, one_thing = BadStd(), BadShape(), OneThing()
no_model = object()
