"""Examples of the bits-back codec, one for each shipped model."""

from __future__ import annotations

import numpy as np

from obverse.testing import Example
from tests.codecs.vae.models import strokes


def gray(n: int = 12) -> np.ndarray:
    return strokes(12, seed=11)[:n]


EXAMPLES = (
    Example("vae", "vae-mnist", gray, {"segment": 5, "seed": 3}, rate_noise=40),
    Example(
        "vae",
        "vae-mnist-binary",
        lambda: (gray() > 127).astype(np.uint8),
        model="vae-mnist-binary",
        rate_noise=40,
    ),
)
GOLDEN = (
    Example(
        "vae",
        "vae-mnist-noise",
        lambda: np.random.default_rng(0).integers(0, 256, (1, 28, 28), dtype=np.uint8),
        model="vae-mnist",
    ),
    Example("vae", "vae-fashion", lambda: gray(4), model="vae-fashion"),
)
