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

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from obverse.codecs.split.resnet import (
    MOST_BLOCKS,
    MOST_STRIDE,
    MOST_WIDTH,
    ResidualBlock,
    ResNetConfig,
    Tail,
    fold_into,
)
from obverse.errors import InputError
from obverse.quantization.rounding import straight_through
from obverse.transforms.gdn import GDN

MOST_KERNEL = 15
BENT = 128  # channels of the synthesis between its layers


@dataclass(frozen=True)
class SplitConfig:
    """teacher: sizes of the network whose first layers are stood in for. after: the last of them, 0 for the stem.
    codes: channels of ŷ. widths: of the encoder's two inner layers. kernels, strides: of its three convolutions.
    decoder_blocks: residual blocks of the decoder. reconstructs: whether there is a synthesis."""

    teacher: ResNetConfig = field(default_factory=ResNetConfig)
    after: int = 0
    codes: int = 48
    widths: tuple[int, int] = (64, 48)
    kernels: tuple[int, int, int] = (5, 5, 3)
    strides: tuple[int, int, int] = (2, 2, 2)
    decoder_blocks: int = 2
    reconstructs: bool = False

    @property
    def side(self) -> int:
        """Places along a side of ŷ."""
        side = self.teacher.side
        for stride in self.strides:
            side = -(-side // stride)
        return side

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of an image, (S, S, 3)."""
        return (self.teacher.side, self.teacher.side, 3)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Of ŷ of an image, (codes, side, side)."""
        return (self.codes, self.side, self.side)

    @property
    def symbols(self) -> int:
        """Integers that stand for an image."""
        return math.prod(self.latent_shape)

    @property
    def growth(self) -> int:
        """How often the side of ŷ goes into that of h."""
        return self.teacher.side_after(self.after) // self.side

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        lists = {name: list(getattr(self, name)) for name in ("widths", "kernels", "strides")}
        return asdict(self) | lists | {"teacher": self.teacher.as_dict()}

    @classmethod
    def from_dict(cls, values: Any) -> SplitConfig:
        """What `as_dict` gave. Raises InputError for anything else."""
        names = {f.name for f in fields(cls)}
        lists = {"widths": 2, "kernels": 3, "strides": 3}
        if (
            not isinstance(values, dict) or set(values) != names or type(values["reconstructs"]) is not bool
            or any(not isinstance(values[name], list) or len(values[name]) != n for name, n in lists.items())
        ):  # fmt: skip
            raise InputError("the configuration is not that of a split model")
        singles = {name: values[name] for name in ("after", "codes", "decoder_blocks")}
        positive = [values["codes"], values["decoder_blocks"], *(v for n in lists for v in values[n])]
        if any(type(v) is not int or v < 1 for v in positive) or type(singles["after"]) is not int:
            raise InputError("the configuration of the split model holds no whole numbers above zero")
        tuples = {name: tuple(values[name]) for name in lists}
        config = cls(
            ResNetConfig.from_dict(values["teacher"]),
            reconstructs=values["reconstructs"],
            **singles,
            **tuples,
        )
        config.check()
        return config

    def check(self) -> None:
        """Raises InputError for sizes that do not go together."""
        if (
            max(self.kernels) > MOST_KERNEL or not all(kernel % 2 for kernel in self.kernels)
            or max(self.strides) > MOST_STRIDE or max(*self.widths, self.codes) > MOST_WIDTH
            or self.decoder_blocks > MOST_BLOCKS
        ):  # fmt: skip
            raise InputError(
                f"a split model has up to {MOST_WIDTH} channels, odd kernels up to {MOST_KERNEL} and strides up to "
                f"{MOST_STRIDE}, and up to {MOST_BLOCKS} blocks"
            )
        if not 0 <= self.after <= self.teacher.layers:
            raise InputError(f"there is no layer {self.after}: the teacher has {self.teacher.layers}")
        wanted = self.teacher.side_after(self.after)
        if wanted % self.side or self.growth > 8:
            raise InputError(
                f"the codes have {self.side} places a side and the teacher's layer {self.after} has {wanted}: choose "
                "strides that make it the same, or up to 8 times as many"
            )
        if self.reconstructs and self.teacher.side % self.side:
            raise InputError(
                f"a model that reconstructs needs strides that leave a whole part of {self.teacher.side} pixels a "
                f"side, not {self.side} places"
            )


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
