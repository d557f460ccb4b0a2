"""Image analysis and synthesis: a linear block transform with learned residual branches.

At initialisation the pair is exactly a 16x16 Karhunen-Loeve transform of colour blocks (built as an
8x8 DCT followed by a 2x2 merge), so that a codec made of it is a plain transform codec before the
first training step; training then bends it. This reaches in thousands of steps what randomly
initialised transforms need hundreds of thousands for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.codecs.image.synthesis import UNIT
from obverse.transforms.blocks import ResidualBottleneck, depth_to_space, space_to_depth


def dct8_colour() -> Tensor:
    """(192, 192) orthonormal matrix: 8x8 DCT-II of three opponent colours, rows are basis vectors.

    Columns are ordered as `space_to_depth(x, 8)` orders pixels, rows (frequency, colour).
    """
    k = torch.arange(8, dtype=torch.float64)
    dct = torch.cos(math.pi * (k[None] + 0.5) * k[:, None] / 8) * math.sqrt(2 / 8)
    dct[0] /= math.sqrt(2)
    colour = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    colour /= colour.norm(dim=1, keepdim=True)
    return torch.einsum("ay,bx,cz->abcyxz", dct, dct, colour).reshape(192, 192).float()


def block_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """images: (B, 3, H, W) in [0, 1] -> standard deviations of the 192 DCT channels (in UNITs) and the
    eigenvectors (768, 768), rows by falling variance, of 2x2 groups of DCT blocks."""
    x = space_to_depth((images - 0.5) * UNIT, 8)
    h = torch.einsum("oc,bchw->bohw", dct8_colour(), x)
    std = h.pow(2).mean(dim=(0, 2, 3)).sqrt()
    groups = space_to_depth(h, 2).permute(0, 2, 3, 1).reshape(-1, 768).double()
    _, vectors = torch.linalg.eigh(groups.T @ groups / len(groups))
    return std, vectors.flip(1).T.float()


def pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution in full precision, as one matrix product over the channels_last memory."""
    with torch.autocast(x.device.type, enabled=False):
        y = F.linear(x.float().permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias)
    return y.permute(0, 3, 1, 2)


class Analysis(nn.Module):
    """Image to latents, 1/16 of its size a side.

    x ──► space_to_depth 8 ──► dct ──► fine blocks ──► space_to_depth 2 ──► merge ──► coarse blocks ──► y
    (3, H, W)                 (192, H/8, W/8)                               (M, H/16, W/16)
    """

    def __init__(self, latents: int, fine: int, coarse: int, fine_hidden: int, coarse_hidden: int):
        super().__init__()
        self.dct = nn.Conv2d(192, 192, 1)
        self.fine = nn.ModuleList(ResidualBottleneck(192, fine_hidden) for _ in range(fine))
        self.merge = nn.Conv2d(768, latents, 1)
        self.coarse = nn.ModuleList(ResidualBottleneck(latents, coarse_hidden) for _ in range(coarse))

    def initialise(self, std: Tensor, vectors: Tensor) -> None:
        """Set the linear path to the transform that `block_statistics` found."""
        latents = self.merge.out_channels
        with torch.no_grad():
            self.dct.weight.copy_(dct8_colour()[:, :, None, None])
            self.merge.weight.copy_(vectors[:latents, :, None, None])
            self.dct.bias.zero_()
            self.merge.bias.zero_()
            for block in self.fine:
                block.input_scale.copy_(1 / (std.view(1, -1, 1, 1) + 0.1))

    @property
    def reach(self) -> int:
        """How many pixels beyond its own 16x16 a latent depends on, in whole latents."""
        return 16 * (len(self.coarse) + (len(self.fine) + 1) // 2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: (B, 3, H, W) in [0, 1], H and W multiples of 16; t: (B,) quality in [0, 1] -> (B, M, H/16, W/16)."""
        h = pointwise(self.dct, space_to_depth((x - 0.5) * UNIT, 8))
        for block in self.fine:
            h = block(h, t)
        y = pointwise(self.merge, space_to_depth(h, 2))
        for block in self.coarse:
            y = block(y, t)
        return y


class Synthesis(nn.Module):
    """Latents to image, the mirror of `Analysis`.

    y ──► coarse blocks ──► split ──► depth_to_space 2 ──► fine blocks ──► idct ──► depth_to_space 8 ──► x
    (M, H/16, W/16)                  (192, H/8, W/8)                                (3, H, W)
    """

    def __init__(self, latents: int, fine: int, coarse: int, fine_hidden: int, coarse_hidden: int):
        super().__init__()
        self.coarse = nn.ModuleList(ResidualBottleneck(latents, coarse_hidden) for _ in range(coarse))
        self.split = nn.Conv2d(latents, 768, 1)
        self.fine = nn.ModuleList(ResidualBottleneck(192, fine_hidden) for _ in range(fine))
        self.idct = nn.Conv2d(192, 192, 1)

    def initialise(self, std: Tensor, vectors: Tensor) -> None:
        """Set the linear path to the transpose of the analysis."""
        latents = self.split.in_channels
        with torch.no_grad():
            self.idct.weight.copy_(dct8_colour().T[:, :, None, None])
            self.split.weight.copy_(vectors[:latents].T[:, :, None, None])
            self.idct.bias.zero_()
            self.split.bias.zero_()
            for block in self.fine:
                block.input_scale.copy_(1 / (std.view(1, -1, 1, 1) + 0.1))

    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        """y: (B, M, H/16, W/16); t: (B,) quality in [0, 1] -> (B, 3, H, W), about [0, 1], not clipped."""
        for block in self.coarse:
            y = block(y, t)
        h = depth_to_space(pointwise(self.split, y), 2)
        for block in self.fine:
            h = block(h, t)
        return depth_to_space(pointwise(self.idct, h), 8) / UNIT + 0.5
