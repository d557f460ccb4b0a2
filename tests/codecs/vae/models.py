"""Small latent-variable models, untrained, and images to code with them: for tests of what surrounds the weights."""

from __future__ import annotations

import hashlib
import json
from functools import cache

import numpy as np
import torch
from safetensors.torch import save

from obverse.codecs.vae.codec import VaeCodec
from obverse.codecs.vae.exact_networks import quantise_vae
from obverse.codecs.vae.networks import VaeNetworks
from obverse.codecs.vae.recipe import VaeConfig
from obverse.coding import Message
from obverse.coding.bits_back import pop_item
from obverse.zoo import StoredModel

SIZES = {
    "height": 8,
    "width": 12,
    "components": 3,
    "local": 2,
    "top": 4,
    "channels": 16,
    "features": 8,
    "phase": 12,
    "hidden": 24,
}
TWO_LAYERS = VaeConfig(**SIZES)
BINARY = VaeConfig(**(SIZES | {"local": 0, "levels": 2, "components": 1}))
FEW_LEVELS = VaeConfig(**(SIZES | {"levels": 16}))
CONFIGS = [TWO_LAYERS, BINARY, FEW_LEVELS]


def networks_of(config: VaeConfig, seed: int = 0) -> VaeNetworks:
    """Untrained, with weights large enough that every output varies."""
    torch.manual_seed(seed)
    networks = VaeNetworks(config)
    with torch.no_grad():
        for parameter in networks.parameters():
            if parameter.ndim == 4:
                parameter.mul_(1.7)
    return networks.eval().requires_grad_(False)


def images_of(config: VaeConfig, n: int = 40, seed: int = 0) -> np.ndarray:
    """(n, H, W) uint8: blocks with a little noise."""
    rng = np.random.default_rng(seed)
    rough = rng.random((n, config.height // 4, config.width // 4)).repeat(4, 1).repeat(4, 2)
    images = (rough + rng.normal(0, 0.1, (n, config.height, config.width))).clip(0, 1)
    return np.round(images * (config.levels - 1)).astype(np.uint8)


def as_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).unsqueeze(1).float()


@cache
def stored_model(config: VaeConfig, seed: int = 0, name: str = "small") -> StoredModel:
    """Such a model as it would be read from its folder."""
    exact = quantise_vae(networks_of(config, seed), as_tensor(images_of(config)))
    weights = save(exact.export_state())
    settings = {"codec": "vae", "model": config.as_dict()}
    digest = hashlib.sha256(weights + json.dumps(settings).encode()).digest()
    return StoredModel(name, weights, settings, digest[:8])


def strokes(n: int, seed: int = 0) -> np.ndarray:
    """(n, 28, 28) uint8: light curves on black, such as handwritten digits are."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:28, :28]
    images = np.empty((n, 28, 28), np.uint8)
    t = np.linspace(0, 1, 40)[:, None, None]
    for image in images:
        a, b, c, d = rng.uniform(6, 22, (4, 2))  # a cubic Bezier curve
        y, x = (
            (1 - t) ** 3 * a[i] + 3 * t * (1 - t) ** 2 * b[i] + 3 * t**2 * (1 - t) * c[i] + t**3 * d[i]
            for i in (0, 1)
        )
        distance = np.sqrt((rows - y) ** 2 + (columns - x) ** 2).min(axis=0)
        image[:] = np.round(255 / (1 + np.exp(4 * (distance - 1.5)))).astype(np.uint8)
    return images


def drawn(codec: VaeCodec, n: int) -> np.ndarray:
    """(n, H, W) uint8: images as the model imagines them, so that it fits none better."""
    images: np.ndarray = pop_item([Message.random(2000, seed) for seed in range(n)], codec.lanes)
    return images
