"""Where training of a split model begins: a transform code whose pictures the teacher looks at.

    x ──► principal components of blocks, layer by layer ──► y ──► least squares ──► what the teacher's layer gives

A small encoder and a decoder of random weights learn for thousands of steps only to carry the picture. Begun like this
they carry it from the first step on, about as well as JPEG does, and training is left with what is its own: to drop
what the classes do not need.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from obverse.codecs.split.networks import Server, Synthesis, by_channel, standardised
from obverse.codecs.split.resnet import ResidualBlock, ResNet
from obverse.codecs.split.sizes import SplitConfig
from obverse.priors.factorised import FactorisedDensity
from obverse.quantization.rounding import with_noise
from obverse.transforms.gdn import GDN

INNER = 0.3  # largest standard deviation between layers: where GDN hardly bends
RIDGE = 1e-3
DENSITY_STEPS, DENSITY_ROWS = 150, 2000


@torch.no_grad()
def principal_components(encoder: nn.Sequential, x: Tensor, scale: float) -> None:
    """Let each convolution give the principal components of the blocks that its strides cut its input into.

    x: (n, 3, S, S) standardised images. scale: of the last layer's, which would else be those of the pixels. A layer
    with more channels than components keeps the others as they are, only small.
    """
    h, kept, grown = x, 3, 1.0  # h = grown times components of x, in its first `kept` channels
    convolutions = [m for m in encoder if isinstance(m, nn.Conv2d)]
    for layer in encoder:
        if isinstance(layer, nn.Conv2d):
            size, stride = layer.kernel_size[0], layer.stride[0]
            reach = min(stride, size - size // 2)
            # kernels reach back by half their size: from there on lie the pixels of a place's own block
            own = slice(size // 2, size // 2 + reach)
            side = h.shape[2] // stride * stride
            blocks = functional.unfold(h[:, :kept, :side, :side], stride, stride=stride).transpose(1, 2)
            blocks = blocks.unflatten(2, (kept, stride, stride))[..., :reach, :reach].flatten(2).flatten(0, 1)
            mean = blocks.mean(0)
            _, vectors = torch.linalg.eigh((blocks - mean).T @ (blocks - mean) / len(blocks))
            count = min(layer.out_channels, vectors.shape[1])
            vectors = vectors.flip(1)[:, :count].T
            last = layer is convolutions[-1]
            spread = float(((blocks - mean) @ vectors.T).std(0).max())
            factor = scale / grown if last else INNER / max(spread, 1e-6)
            layer.weight.mul_(0.1)
            layer.weight[:count] = 0
            layer.weight[:count, :kept, own, own] = factor * vectors.unflatten(1, (kept, reach, reach))
            layer.bias.zero_()
            layer.bias[:count] = -factor * (vectors @ mean)
            kept, grown = count, grown * factor
        elif isinstance(layer, GDN):
            # next to no division yet, and none of one channel by another
            layer.root_gamma.copy_((0.1 * torch.eye(len(layer.root_beta))).sqrt())
        h = layer(h)


@torch.no_grad()
def fit_decoder(server: Server, teacher: ResNet, config: SplitConfig, codes: Tensor, x: Tensor) -> None:
    """Let the decoder give what is nearest to the teacher's layer, linear in 3 x 3 places of the codes of x."""
    # before its ReLU the stem is linear in the pixels, so that is what the decoder's first layer can give
    wanted = teacher.stem(standardised(x)) if config.after == 0 else teacher.features(x)[config.after]
    fit_convolution(server.decoder[0], codes, functional.pixel_unshuffle(wanted, config.growth))
    for block in server.decoder:
        if isinstance(block, ResidualBlock) and block.second.norm is not None:
            block.second.norm.weight.zero_()  # at first a block passes on what it is given


@torch.no_grad()
def fit_synthesis(synthesis: Synthesis, config: SplitConfig, codes: Tensor, x: Tensor) -> None:
    """Let the synthesis give what is nearest to the images x, linear in 3 x 3 places of their codes."""
    wanted = functional.pixel_unshuffle(standardised(x), config.teacher.side // config.side)
    fit_convolution(synthesis.linear, codes, wanted)


def fit_convolution(layer: nn.Conv2d, x: Tensor, wanted: Tensor) -> None:
    """Least squares: the 3x3 convolution of x (n, C, h, w) that is nearest to what is wanted, (n, K, h, w)."""
    target = wanted.flatten(2).transpose(1, 2).flatten(0, 1).double()
    places = functional.unfold(x, 3, padding=1).transpose(1, 2).flatten(0, 1).double()
    places = torch.cat([places, torch.ones(len(places), 1, dtype=places.dtype, device=places.device)], 1)
    gram = places.T @ places
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    solution = torch.linalg.solve(gram, places.T @ target).T.float()
    layer.weight.copy_(solution[:, :-1].unflatten(1, (x.shape[1], 3, 3)))
    layer.bias.copy_(solution[:, -1])


def fit_density(density: FactorisedDensity, y: Tensor) -> None:
    """Let the density know about the codes that it will see first."""
    rows = by_channel(y)
    optimiser = torch.optim.Adam(density.parameters(), 0.03)
    with torch.enable_grad():
        for _ in range(DENSITY_STEPS):
            some = rows[torch.randint(len(rows), (min(DENSITY_ROWS, len(rows)),), device=rows.device)]
            loss = density.rate_nats(with_noise(some)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    density.zero_grad()
