"""Examples of the three Wyner-Ziv codecs, of the source of their shipped models."""

from __future__ import annotations

import numpy as np

from obverse.testing import Example


def gaussian_pairs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x = y + N(0, 0.1), float32."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n).astype(np.float32)
    return (y + np.sqrt(0.1) * rng.normal(size=n)).astype(np.float32), y


def example(codec, tolerance):
    """tolerance: by how much what networks say may differ between machines."""
    return Example(
        codec,
        codec,
        lambda: gaussian_pairs(5000, 11)[0],
        side_info=lambda: gaussian_pairs(5000, 11)[1],
        tolerance=tolerance,
    )


EXAMPLES = (example("wyner-ziv", 1e-4), example("wyner-ziv-grid", 1e-6), example("wyner-ziv-trellis", 1e-6))
