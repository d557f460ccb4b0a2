"""Networks of split computing: a small encoder on the device, all else on the server.

    device   x ──► encoder ──► y ──► round(y - offset) = q ──► tables ──► payload
    server   payload ──► q + offset = ŷ ──► decoder ──► h ──► tail of the teacher ──► logits
                                        ŷ ──► synthesis ──► x̂                      (where a model has it)

The encoder is three strided convolutions with GDN between them. The decoder stands in for the first layers of the
teacher: h is trained to be what they would give (Matsubara, Yang, Levorato, Mandt, "Supervised compression for
resource-constrained edge computing systems", WACV 2022: the Entropic Student). Only q and the tables are parsed, and
both are integers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from obverse.codecs.split.resnet import ResidualBlock, Tail, fold_into
from obverse.codecs.split.sizes import SplitConfig
from obverse.quantization.rounding import straight_through
from obverse.transforms.gdn import GDN

BENT = 128  # channels of the synthesis between its layers


def make_encoder(config: SplitConfig) -> nn.Sequential:
    """x (n, 3, S, S) in [0, 1], less 1/2 and times 4 -> y (n, codes, side, side)."""
    channels = (3, *config.widths, config.codes)
    layers: list[nn.Module] = []
    for i, (kernel, stride) in enumerate(zip(config.kernels, config.strides, strict=True)):
        layers.append(nn.Conv2d(channels[i], channels[i + 1], kernel, stride, kernel // 2))
        if i < 2:
            layers.append(GDN(channels[i + 1]))
    return nn.Sequential(*layers)


def standardised(x: Tensor) -> Tensor:
    """Pixels in [0, 1] -> about -2 to 2, as networks take them."""
    return (x - 0.5) * 4


class Server(nn.Module):
    """ŷ ──► 3x3, channels become places ──► ReLU ──► blocks ──► h ──► tail ──► logits (n, classes).

    h has the places and channels of the teacher's layer. normed: the blocks have normalisations of batches, as in
    training; `folded_server` puts them into their convolutions.
    """

    def __init__(self, config: SplitConfig, normed: bool = False):
        super().__init__()
        wanted = config.teacher.widths[config.after]
        self.decoder = nn.Sequential(
            nn.Conv2d(config.codes, wanted * config.growth**2, 3, 1, 1), nn.PixelShuffle(config.growth), nn.ReLU(),
            *(ResidualBlock(wanted, wanted, 1, normed) for _ in range(config.decoder_blocks)),
        )  # fmt: skip
        self.tail = Tail(config.teacher, config.after)

    def features(self, codes: Tensor) -> list[Tensor]:
        """h, and what each layer of the tail gives: what the teacher's layers from `after` on give."""
        # PixelShuffle would leave the memory order that convolutions are fast in
        h = self.decoder(codes).contiguous(memory_format=torch.channels_last)
        return [h, *self.tail.features(h)]

    def logits_of(self, last: Tensor) -> Tensor:
        """From what the last layer gave."""
        return self.tail.head(last.mean((2, 3)))

    def forward(self, codes: Tensor) -> Tensor:
        return self.logits_of(self.features(codes)[-1])


def folded_server(config: SplitConfig, server: Server) -> Server:
    """A server as it was trained -> one of convolutions alone, which computes the same."""
    plain = Server(config)
    plain.decoder[0].load_state_dict(server.decoder[0].state_dict())
    fold_into(plain.decoder, server.decoder)
    plain.tail.load_state_dict(server.tail.state_dict())
    return plain.eval().requires_grad_(False)


class Synthesis(nn.Module):
    """ŷ ──► 3x3 ─────────────────────────────┐
                                               ├──► sum, channels become places ──► x̂ in [0, 1]
    ŷ ──► 3x3 ──► inverse GDN ──► 3x3 ─────────┘

    What is linear of it can be fitted without training (split_start.py); the other branch begins at nothing.
    """

    def __init__(self, config: SplitConfig):
        super().__init__()
        growth = config.teacher.side // config.side
        self.linear = nn.Conv2d(config.codes, 3 * growth**2, 3, 1, 1)
        self.bent = nn.Sequential(
            nn.Conv2d(config.codes, BENT, 3, 1, 1),
            GDN(BENT, inverse=True),
            nn.Conv2d(BENT, 3 * growth**2, 3, 1, 1),
        )
        self.shuffle = nn.PixelShuffle(growth)
        nn.init.zeros_(self.bent[2].weight)
        nn.init.zeros_(self.bent[2].bias)

    def forward(self, codes: Tensor) -> Tensor:
        return self.shuffle(self.linear(codes) + self.bent(codes)) / 4 + 0.5


def rounded_by_channel(y: Tensor, offset: Tensor) -> Tensor:
    """y (n, C, h, w) rounded to whole steps from the offset (C,) of each channel; the gradient passes."""
    return straight_through(y, offset[:, None, None])


def by_channel(y: Tensor) -> Tensor:
    """(n, C, h, w) -> (n h w, C), as a factorised density takes it."""
    return y.permute(0, 2, 3, 1).reshape(-1, y.shape[1])


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """x, whose gradient is multiplied by `scale` on its way back."""
    return x.detach() + scale * (x - x.detach())


def relative_error(given: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error as a share of the variance of what is wanted: 1 for its mean, 0 for itself."""
    return functional.mse_loss(given.float(), wanted.float()) / wanted.float().var().clamp(min=1e-6)
