"""Small models of the split codec, untrained but whole, that several tests and the fuzzer share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

from obverse.codecs.split.codec import state_of
from obverse.codecs.split.networks import folded_server
from obverse.codecs.split.resnet import ResNet, folded
from obverse.codecs.split.sizes import ResNetConfig, SplitConfig
from obverse.codecs.split.student import SplitNetworks
from obverse.zoo import StoredModel, fingerprint

TEACHER = ResNetConfig(16, 4, 1, (4, 6, 8), (1, 1))
SMALL = SplitConfig(
    TEACHER, after=1, codes=5, widths=(6, 5), kernels=(3, 3, 3), strides=(2, 2, 1), decoder_blocks=1
)
RECONSTRUCTS = replace(SMALL, reconstructs=True)
UPSAMPLED = replace(SMALL, teacher=replace(TEACHER, side=24, stem_stride=2), strides=(2, 2, 2))
CONFIGS = (SMALL, RECONSTRUCTS, UPSAMPLED)


@cache
def stored_model(config: SplitConfig, seed: int = 0) -> StoredModel:
    """A model with random networks, spread enough that codes take many values."""
    torch.manual_seed(seed)
    networks = SplitNetworks(config).eval()
    x = torch.from_numpy(images_of(config, 100, seed)).permute(0, 3, 1, 2).float() / 255
    networks.start(x, folded(ResNet(config.teacher).eval()), step=0.2)
    with torch.no_grad():
        networks.offset.copy_(torch.linspace(-0.4, 0.4, config.codes))
    parts = {
        "encoder": networks.encoder.state_dict(),
        "server": folded_server(config, networks.server).state_dict(),
    }
    if networks.synthesis is not None:
        parts["synthesis"] = networks.synthesis.state_dict()
    weights = save_safetensors(state_of(parts, networks.offset, networks.density.tables(networks.offset)))
    described = {"codec": "split", "model": config.as_dict(), "objective": "distil"}
    return StoredModel("small", weights, described, fingerprint(weights, repr(described).encode()))


def images_of(config: SplitConfig, n: int, seed: int = 0) -> np.ndarray:
    """(n, S, S, 3) random images, uint8, each of its own colour."""
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 256, (n, 1, 1, 3))
    grain = rng.normal(0, 40, (n, *config.image_shape))
    return (colour + grain).clip(0, 255).astype(np.uint8)
