"""A small flow for tests: random networks, strong enough that couplings reach their bounds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

from obverse.codecs.flow.exact_networks import ExactIntegerFlow
from obverse.codecs.flow.export import quantise_flow
from obverse.codecs.flow.networks import Coupling, IntegerFlow
from obverse.codecs.flow.recipe import FlowConfig
from obverse.zoo import StoredModel, store_model
from tests.conftest import smooth_photo

CONFIG = FlowConfig(levels=2, width=8, hidden=8, blocks=(1, 1, 1), components=2, coupling=6)


def some_images(count: int, seed: int = 0) -> np.ndarray:
    """(count, 32, 32, 3) uint8, synthetic."""
    return np.stack([smooth_photo(32, 32, seed * 1000 + i) for i in range(count)])


def hard_images() -> np.ndarray:
    """What no network has seen: all 0, all 255, noise, chessboards of extremes, single colours, one bright pixel."""
    rng = np.random.default_rng(5)
    chess = np.indices((32, 32)).sum(0) % 2 * 255
    spot = np.zeros((32, 32, 3))
    spot[13, 31] = 255
    extremes = rng.integers(0, 2, (32, 32, 3)) * 255
    colours = [
        np.broadcast_to(c, (32, 32, 3)) for c in ([255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 255])
    ]
    boards = [np.repeat(chess[..., None], 3, 2), np.stack([chess, 255 - chess, chess], 2)]
    lines = np.broadcast_to((np.arange(32) % 2 * 255)[:, None, None], (32, 32, 3))
    noise = rng.integers(0, 256, (32, 32, 3))
    zeros = np.zeros((32, 32, 3))
    return np.stack([zeros, zeros + 255, noise, extremes, spot, lines, *colours, *boards]).astype(np.uint8)


def float_flow(seed: int = 0, strength: float = 0.3) -> IntegerFlow:
    """Random networks; strength: of the couplings, beside what they start with."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = IntegerFlow(CONFIG)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, Coupling):
                    module.linear.weight.add_(strength * torch.randn_like(module.linear.weight))
                    module.output.weight.mul_(10 * strength)
            for parameter in model.priors.parameters():
                parameter.add_(0.03 * torch.randn_like(parameter))
    return model.eval()


@cache
def exact_flow(seed: int = 0, strength: float = 0.3) -> ExactIntegerFlow:
    """The same, exact."""
    return quantise_flow(float_flow(seed, strength), some_images(16, 1))


def store_flow(folder: Path, seed: int = 0) -> StoredModel:
    """As a model on disk."""
    weights = save_safetensors(exact_flow(seed).export_state())
    return store_model(folder, weights, {"codec": "flow", "model": CONFIG.as_dict(), "steps": 0}, "# small\n")
