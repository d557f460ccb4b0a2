"""Examples of the split codec: a set, one image, and noise, which needs the tables' escapes."""

from __future__ import annotations

import numpy as np

from obverse.testing import Example
from tests.codecs.split.models import RECONSTRUCTS, images_of, stored_model
from tests.conftest import smooth_photo

SIDE = 32  # of the shipped model


def noise() -> np.ndarray:
    return np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (3, SIDE, SIDE, 3))


EXAMPLES = (
    Example("split", "split-set", lambda: np.stack([smooth_photo(SIDE, SIDE, seed) for seed in range(12)])),
    Example(
        "split",
        "small",
        lambda: images_of(RECONSTRUCTS, 9),
        model=lambda: stored_model(RECONSTRUCTS),
        golden=False,
    ),
)
GOLDEN = (
    Example("split", "split-one", lambda: smooth_photo(SIDE, SIDE, 40)),
    Example("split", "split-noise", noise),
)
