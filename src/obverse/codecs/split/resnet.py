"""A small residual network that tells the class of small images: the teacher of split computing.

    x ──► stem ──► layer 1 ──► layer 2 ──► layer 3 ──► mean over places ──► head ──► logits
            1          1/2         1/4         1/8        (sides, after the stem's own stride)

ResNet of He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (CVPR 2016), for images of some 32 pixels
a side. It trains with batch normalisation, and `folded` puts each normalisation into the convolution before it: what is
distilled, shipped and run has convolutions with biases only.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from obverse.codecs.split.sizes import ResNetConfig


class ConvNorm(nn.Module):
    """x ──► convolution ──► normalisation of the batch; folded, one convolution with a bias.

    A 1x1 convolution takes the places that its stride leaves before it: the same sums, and oneDNN's own stride writes
    outside of its memory in the backward pass of fewer than 8 channels, channels last, on a CPU without AVX-512.
    """

    def __init__(self, fan_in: int, fan_out: int, kernel: int, stride: int, normed: bool):
        super().__init__()
        self.step = stride if kernel == 1 else 1
        stride = stride // self.step
        self.conv = nn.Conv2d(fan_in, fan_out, kernel, stride, kernel // 2, bias=not normed)
        self.norm = nn.BatchNorm2d(fan_out) if normed else None

    def forward(self, x: Tensor) -> Tensor:
        if self.step > 1:
            x = x[:, :, :: self.step, :: self.step].contiguous(memory_format=torch.channels_last)
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)

    @torch.no_grad()
    def fold_from(self, other: ConvNorm) -> None:
        """Take over what `other`, which has a normalisation, computes when it does not train."""
        norm = other.norm
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        self.conv.weight.copy_(other.conv.weight * scale[:, None, None, None])
        self.conv.bias.copy_(norm.bias - norm.running_mean * scale)


class ResidualBlock(nn.Module):
    """x ──► 3x3 ──► ReLU ──► 3x3 ──► + x (or a 1x1 of it, where the size changes) ──► ReLU."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, normed: bool):
        super().__init__()
        self.first = ConvNorm(fan_in, fan_out, 3, stride, normed)
        self.second = ConvNorm(fan_out, fan_out, 3, 1, normed)
        same = stride == 1 and fan_in == fan_out
        self.shortcut = None if same else ConvNorm(fan_in, fan_out, 1, stride, normed)

    def forward(self, x: Tensor) -> Tensor:
        skipped = x if self.shortcut is None else self.shortcut(x)
        return functional.relu(self.second(functional.relu(self.first(x))) + skipped)


class Tail(nn.Module):
    """What a layer gave ──► the layers after it ──► mean over places ──► head ──► logits.

    after: the layer, 0 for the stem. features: what each of the layers gives, first to last.
    """

    def __init__(self, config: ResNetConfig, after: int, normed: bool = False):
        super().__init__()
        self.layers = nn.ModuleList()
        for (fan_in, fan_out), count in list(zip(pairwise(config.widths), config.blocks, strict=True))[
            after:
        ]:
            blocks = [ResidualBlock(fan_in if i == 0 else fan_out, fan_out, 2 if i == 0 else 1, normed)
                      for i in range(count)]  # fmt: skip
            self.layers.append(nn.Sequential(*blocks))
        self.head = nn.Linear(config.widths[-1], config.classes)

    def features(self, x: Tensor) -> list[Tensor]:
        given = []
        for layer in self.layers:
            x = layer(x)
            given.append(x)
        return given

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean((2, 3)))


class ResNet(nn.Module):
    """x (n, 3, S, S) in [0, 1] ──► (x - 1/2) * 4 ──► stem ──► ReLU ──► tail ──► logits (n, classes)."""

    def __init__(self, config: ResNetConfig, normed: bool = True):
        super().__init__()
        self.config = config
        kernel = 3 if config.stem_stride == 1 else 2 * config.stem_stride + 1
        self.stem = ConvNorm(3, config.widths[0], kernel, config.stem_stride, normed)
        self.tail = Tail(config, 0, normed)

    def features(self, x: Tensor) -> list[Tensor]:
        """What the stem and each layer give."""
        stem = functional.relu(self.stem((x - 0.5) * 4))
        return [stem, *self.tail.features(stem)]

    def logits_of(self, last: Tensor) -> Tensor:
        """From what the last layer gave."""
        return self.tail.head(last.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits_of(self.features(x)[-1])

    def tail_after(self, layer: int) -> Tail:
        """A copy of the part that follows a layer, of a folded network."""
        tail = Tail(self.config, layer)
        for mine, its in zip(tail.layers, self.tail.layers[layer:], strict=True):
            mine.load_state_dict(its.state_dict())
        tail.head.load_state_dict(self.tail.head.state_dict())
        return tail


def folded(network: ResNet) -> ResNet:
    """The network with each normalisation put into its convolution: the same function, without batches."""
    plain = ResNet(network.config, normed=False)
    fold_into(plain, network)
    plain.tail.head.load_state_dict(network.tail.head.state_dict())
    return plain.eval().requires_grad_(False)


def fold_into(plain: nn.Module, normed: nn.Module) -> None:
    """Give each convolution of `plain` what that of `normed`, of the same layers, does with its normalisation."""
    sources = [m for m in normed.modules() if isinstance(m, ConvNorm)]
    targets = [m for m in plain.modules() if isinstance(m, ConvNorm)]
    for source, target in zip(sources, targets, strict=True):
        target.fold_from(source)
