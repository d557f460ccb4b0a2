"""Examples of plug-and-play compression: posteriors, with tables in the file or in a stored model; an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.testing import Example
from obverse.zoo import load_model_from
from tests.conftest import smooth_photo

MODELS = Path(__file__).parent / "golden"


def posterior(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = Posterior.of(rng.standard_t(4, shape) + 0.3, np.exp(rng.normal(-2, 1, shape)))
    return made.mean, made.std


def uneven(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Items that are busy in all dimensions, or calm in all."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 1, (count, 5)) * np.where(rng.random((count, 1)) < 0.3, 3, 0.02)
    made = Posterior.of(mean, np.full(mean.shape, 0.2))
    return made.mean, made.std


def example(name, data, model=None, **options):
    return Example(
        "plug-and-play", name, data, options, model=model and (lambda: load_model_from(MODELS / model))
    )


EXAMPLES = (
    example("vbq-normal", lambda: posterior(2, (40, 3, 4)), lmbda=2.0, prior="normal", depth=9),
    example("with-model", lambda: posterior(6, (50, 5)), "model", lmbda=0.7),
    Example(
        "plug-and-play",
        "with-networks",
        lambda: smooth_photo(21, 30, 4, 1),
        {"lmbda": 0.7},
        tolerance=1,
        share=0.02,
        model=lambda: load_model_from(MODELS / "model-with-networks"),
    ),
)
GOLDEN = (
    example("vbq-empirical", lambda: posterior(1, (300, 5)), lmbda=0.5, prior="empirical", depth=12, axis=1),
    example("uniform", lambda: posterior(3, (200,)), lmbda=0.1, method="uniform"),
    example("scaled-uniform", lambda: posterior(4, (60, 4)), lmbda=1.0, method="scaled-uniform", axis=1),
    example("k-means", lambda: posterior(5, (100, 2)), lmbda=1.0, method="k-means"),
    example("with-contexts", lambda: uneven(7, 50), "model-with-contexts", lmbda=0.7),
)
