"""An integer discrete flow: integers to integers, invertible, with a prior that makes them cheap to code.

    x ──► colour ──► squeeze ──► coupling, coupling ──► z (b, c) ──► prior p(b, c | rest)
                                       │
                                       └► a, d ──► coupling, coupling ──► z (d) ──► prior p(d | rest)
                                                         │
                                                         └► a ──► the next level, or the last prior

A coupling adds to one half of the channels a whole number that a network computes from the other half,
z2 += round(t(z1)), so its inverse is a subtraction (Hoogeboom, Peters, van den Berg, Welling, "Integer discrete
flows and lossless image compression", NeurIPS 2019, eq. 7); in training the gradient passes the rounding as if
it were not there. Between couplings the halves change places. At each level a 2x2 block of pixels

    a b
    c d

becomes channels (squeeze). Then twice half of the channels is factored out: first b and c, the black fields of the
chessboard, then d. The couplings are lifting steps of a learned quincunx wavelet: what neighbours predict is
subtracted (predict, which starts as their mean), then the detail changes what stays (update, which starts as zero).
The priors see everything that is decoded before: the coarser levels, and what of the same level came earlier, b
before c and luma before chroma.

This file holds the float networks that are trained; `exact_integer_flow.py` the integer ones that code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.codecs.flow.recipe import FlowConfig

COLOURS = 3
CENTRE = 128  # luma is centred on zero
PREDICT_BOUND = (160, 288, 288)  # largest |round(t)| of a predicting coupling, for luma and both chromas
UPDATE_BOUND = (32, 32, 32)
VALUE_STEP = 16  # networks see values divided by this
MIN_LOG_SCALE, MAX_LOG_SCALE = -4.0, 9.0  # log2 of a logistic's scale
FLOOR = 2.0**-24  # what the coder gives the least likely value
# (source channel block, target channel block, dy, dx): quarter weights of the predicting couplings, per 2x2 block
NEIGHBOURS_BC = ((0, 0, 0, 0), (0, 0, 0, 1), (1, 0, -1, 0), (1, 0, 0, 0),
                 (0, 1, 0, 0), (0, 1, 1, 0), (1, 1, 0, -1), (1, 1, 0, 0))  # fmt: skip
NEIGHBOURS_D = ((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 0, 1, 1))


def to_colour(x: Tensor) -> Tensor:
    """(B, 3, H, W) RGB integers 0..255 -> luma -128..127 and two chromas -255..255: YCoCg-R, exactly invertible.

    Four couplings in a row (Malvar and Sullivan 2003): no network has to learn what holds for all photos.
    """
    r, g, b = x.unbind(1)
    co = r - b
    t = b + torch.floor(co / 2)
    cg = g - t
    return torch.stack([t + torch.floor(cg / 2) - CENTRE, co, cg], 1)


def from_colour(z: Tensor) -> Tensor:
    """The inverse of `to_colour`."""
    y, co, cg = z.unbind(1)
    t = y + CENTRE - torch.floor(cg / 2)
    b = t - torch.floor(co / 2)
    return torch.stack([co + b, cg + t, b], 1)


def squeeze(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, C, H, W) -> a, b, c, d of each 2x2 block, each (B, C, H/2, W/2)."""
    return x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]


def unsqueeze(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The inverse of `squeeze`."""
    rows = [torch.stack([left, right], -1).flatten(-2) for left, right in ((a, b), (c, d))]
    return torch.stack(rows, -2).flatten(-3, -2)


def replicate(x: Tensor) -> Tensor:
    """One more pixel at each edge, equal to its neighbour: a border of zeros would look like an edge."""
    return F.pad(x, (1, 1, 1, 1), mode="replicate")


def crop(x: Tensor) -> Tensor:
    """Without the outermost pixels."""
    return x[..., 1:-1, 1:-1]


def lifting_weights(
    targets: int, sources: int, neighbours: tuple[tuple[int, ...], ...], each: float
) -> Tensor:
    """(3 targets, 3 sources, 3, 3): `each` where a pixel is a neighbour, colour by colour, else 0."""
    weight = torch.zeros(targets, COLOURS, sources, COLOURS, 3, 3)
    for source, target, dy, dx in neighbours:
        for colour in range(COLOURS):
            weight[target, colour, source, colour, 1 + dy, 1 + dx] = each
    return weight.flatten(2, 3).flatten(0, 1)


class Coupling(nn.Module):
    """z2 + round(t(z1)), with a gradient that passes the rounding (straight through).

    z1 ──┬► linear ─────────────────────┐
         └► hidden ──► relu ──► output ─┴► sum ──► clip to ± bound ──► round ──► t
    """

    def __init__(self, sources: int, targets: int, hidden: int, initial: Tensor, bound: tuple[int, ...]):
        super().__init__()
        self.linear = nn.Conv2d(COLOURS * sources, COLOURS * targets, 3, padding=1)
        self.hidden = nn.Conv2d(COLOURS * sources, hidden, 3, padding=1)
        self.output = nn.Conv2d(hidden, COLOURS * targets, 1)
        with torch.no_grad():
            self.linear.weight.copy_(initial)
            self.linear.bias.zero_()
            self.output.weight.mul_(0.1)
            self.output.bias.zero_()
        self.bound = nn.Buffer(torch.tensor(bound * targets).float().view(1, -1, 1, 1), persistent=False)

    def forward(self, z1: Tensor) -> Tensor:
        """z1: integers -> t(z1), integers within the bound, of z2's shape."""
        padded = replicate(z1)
        t = self.linear(padded) + self.output(F.relu(self.hidden(padded / VALUE_STEP))) * VALUE_STEP
        t = torch.minimum(torch.maximum(crop(t), -self.bound), self.bound)
        return t + (t.round() - t).detach()


class FlowLevel(nn.Module):
    """x ──► squeeze ──► b, c: predict, update ──► d: predict, update ──► a, and b, c, d to be coded."""

    def __init__(self, hidden: int):
        super().__init__()
        bc, d = NEIGHBOURS_BC, NEIGHBOURS_D
        self.predict_bc = Coupling(2, 2, hidden, lifting_weights(2, 2, bc, -0.25), PREDICT_BOUND)
        self.update_ad = Coupling(2, 2, hidden, lifting_weights(2, 2, bc, 0.0), UPDATE_BOUND)
        self.predict_d = Coupling(1, 1, hidden, lifting_weights(1, 1, d, -0.25), PREDICT_BOUND)
        self.update_a = Coupling(1, 1, hidden, lifting_weights(1, 1, d, 0.0), UPDATE_BOUND)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """x: (B, 3, H, W) integers -> a, kept = (a, d) before they were coupled, b, c, d; all (B, 3 or 6, H/2, W/2)."""
        a, b, c, d = squeeze(x)
        kept, detail = torch.cat([a, d], 1), torch.cat([b, c], 1)
        detail = detail + self.predict_bc(kept)
        kept = kept + self.update_ad(detail)
        a, d = kept.chunk(2, 1)
        d = d + self.predict_d(a)
        a = a + self.update_a(d)
        b, c = detail.chunk(2, 1)
        return a, kept, b, c, d


class Block(nn.Module):
    """x ──► 3x3 ──► relu ──► 1x1 ──► + x"""

    def __init__(self, width: int):
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1)
        self.mix = nn.Conv2d(width, width, 1)
        with torch.no_grad():
            self.mix.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(F.relu(self.spatial(x)))


class Stage(nn.Module):
    """The prior of the three colours of one pixel of each block, and what the features learn before it.

    features, values ──► embed, blocks ──► features ──┬► head 0 ──► parameters of luma
                                    luma of the pixel ┼► head 1 ──► of the first chroma
                                both decoded colours ─┴► head 2 ──► of the second
    """

    def __init__(self, config: FlowConfig, seen: int, blocks: int):
        super().__init__()
        self.embed = nn.Conv2d(COLOURS * seen, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(config.width) for _ in range(blocks))
        k = config.components
        self.hidden = nn.ModuleList(nn.Conv2d(config.width + j, config.hidden, 1) for j in range(COLOURS))
        self.heads = nn.ModuleList(nn.Conv2d(config.hidden, 3 * k, 1) for _ in range(COLOURS))
        start = torch.cat([torch.zeros(k), torch.linspace(-0.1, 0.1, k), torch.linspace(0, 3, k)])
        with torch.no_grad():
            for head in self.heads:
                head.weight.mul_(0.3)
                head.bias.copy_(start)

    def features(self, features: Tensor, values: Tensor, mixed: bool = False) -> Tensor:
        """features: (B, width, h, w); values: integers decoded since they were computed."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=mixed):
            features = features + crop(self.embed(replicate(values / VALUE_STEP)))
            for block in self.blocks:
                features = block(features)
            return features

    def bits(self, features: Tensor, symbols: Tensor, mixed: bool = False) -> Tensor:
        """What `symbols` (B, 3, h, w) cost, in bits, summed over all."""
        known = symbols / VALUE_STEP
        parameters = []
        for j in range(COLOURS):
            with torch.autocast(features.device.type, torch.bfloat16, enabled=mixed):
                h = F.relu(self.hidden[j](torch.cat([features, known[:, :j]], 1) if j else features))
                parameters.append(self.heads[j](h).float())
        return mixture_bits(torch.stack(parameters, 1), symbols)


def mixture_bits(parameters: Tensor, symbols: Tensor) -> Tensor:
    """Bits of integers under mixtures of discretised logistics, summed over all.

    parameters: (B, 3, 3 K, h, w): logits, means / VALUE_STEP and log2 of the scales. symbols: (B, 3, h, w).
    """
    logits, means, scales = parameters.chunk(3, 2)
    centred = (
        symbols.unsqueeze(2) - means * VALUE_STEP
    ).abs()  # the logistic is even: stay in its lower tail
    inverse = torch.exp2(-scales.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE))
    mass = torch.sigmoid((0.5 - centred) * inverse) - torch.sigmoid((-0.5 - centred) * inverse)
    likelihood = (torch.softmax(logits, 2) * mass).sum(2)
    return -torch.log2(likelihood + FLOOR).sum()


class IntegerFlow(nn.Module):
    """The flow and its prior; `forward` gives the bits of a batch of images."""

    def __init__(self, config: FlowConfig):
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(FlowLevel(config.coupling) for _ in range(config.levels))
        d, b, c = config.blocks
        self.priors = nn.ModuleList(
            nn.ModuleList([Stage(config, 1, d), Stage(config, 2, b), Stage(config, 1, c)])
            for _ in range(config.levels)
        )
        self.up = nn.ModuleList(nn.Conv2d(config.width, config.width, 1) for _ in range(config.levels - 1))
        k = config.components
        spread = torch.cat([torch.zeros(k), torch.linspace(-4, 4, k), torch.full((k,), 4.0)])
        self.last = nn.Parameter(spread.repeat(COLOURS, 1))

    def forward(self, x: Tensor, mixed: bool = False) -> Tensor:
        """x: (B, 3, H, W) RGB, 0..255 as floats -> bits of the whole batch. mixed: bfloat16 where it is fast."""
        z = to_colour(x)
        details = []
        for level in self.levels:
            z, kept, b, c, d = level(z)
            details.append((z, kept, b, c, d))
        bits = mixture_bits(self.last[None, :, :, None, None], z)
        features = x.new_zeros(z.shape[0], self.config.width, *z.shape[2:])
        features = features.contiguous(memory_format=torch.channels_last)
        for number in reversed(range(self.config.levels)):
            a, kept, b, c, d = details[number]
            if number < self.config.levels - 1:
                with torch.autocast(x.device.type, torch.bfloat16, enabled=mixed):
                    features = F.interpolate(self.up[number](features), scale_factor=2)
            for stage, seen, symbols in zip(self.priors[number], (a, kept, b), (d, b, c), strict=True):
                features = stage.features(features, seen, mixed)
                bits = bits + stage.bits(features, symbols, mixed)
        return bits

    def bits_per_dimension(self, x: Tensor, mixed: bool = False) -> Tensor:
        """The mean over the batch."""
        return self(x, mixed) / math.prod(x.shape)
