"""Examples of the bits-back codec, one for each shipped model."""

from __future__ import annotations

import numpy as np

from obverse.testing import Example
from tests.codecs.vae.models import strokes


def gray(n: int = 12) -> np.ndarray:
    return strokes(12, seed=11)[:n]


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 28, 28), dtype=np.uint8)


EXAMPLES = (
    Example("vae", "vae-mnist", gray, {"segment": 5, "seed": 3, "model_only": True}, rate_noise=40),
    Example(
        "vae",
        "vae-mnist-binary",
        lambda: (gray() > 127).astype(np.uint8),
        {"model_only": True},
        model="vae-mnist-binary",
        rate_noise=40,
    ),
    # what the model does not fit: stored without it, some segments and all
    Example(
        "vae", "vae-stored", lambda: np.concatenate([gray(), 255 - gray()]), {"segment": 6}, rate_noise=40
    ),
)
GOLDEN = (
    Example(
        "vae",
        "vae-mnist-noise",
        lambda: np.random.default_rng(0).integers(0, 256, (1, 28, 28), dtype=np.uint8),
        {"model_only": True},
        model="vae-mnist",
    ),
    Example("vae", "vae-stored-noise", lambda: noise(5), {"segment": 2}),
    Example("vae", "vae-stored-bits", lambda: noise(3) & 1, model="vae-mnist-binary"),
    Example("vae", "vae-stored-constant", lambda: np.full((40, 28, 28), 200, np.uint8)),
    Example("vae", "vae-fashion", lambda: gray(4), {"model_only": True}, model="vae-fashion"),
)
