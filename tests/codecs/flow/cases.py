"""Examples of the integer flow: the shipped model, and a small one whose couplings reach their bounds."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from obverse.testing import Example
from obverse.zoo import StoredModel
from tests.codecs.flow.models import hard_images, some_images, store_flow


@cache
def small_model() -> StoredModel:
    with TemporaryDirectory() as folder:
        return store_flow(Path(folder) / "small")


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


EXAMPLES = (
    Example(
        "flow", "flow-photos", lambda: some_images(2, 11), {"segment": 1, "model_only": True}, golden=False
    ),
    Example(
        "flow",
        "flow-small",
        lambda: some_images(5),
        {"segment": 2, "model_only": True},
        model=small_model,
        golden=False,
    ),
    # what the model does not fit: stored without it, some segments and all
    Example("flow", "flow-stored", lambda: np.concatenate([some_images(3, 11), noise(4)]), {"segment": 2}),
)
GOLDEN = (
    Example("flow", "flow-photos", lambda: some_images(3, 11), {"segment": 250}),
    Example("flow", "flow-hard", lambda: hard_images()[:6], {"segment": 2, "model_only": True}),
    Example("flow", "flow-stored-noise", lambda: noise(3)),
    Example("flow", "flow-stored-inverted", lambda: 255 - hard_images(), {"segment": 5}),
    Example("flow", "flow-one-gray", lambda: np.repeat(some_images(1, 12)[..., :1], 3, 3), {"segment": 250}),
)
