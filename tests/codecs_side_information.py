"""Small examples for every codec that decodes with side information: seed -> (data, side information)."""

from __future__ import annotations

import numpy as np

from tests.conftest import smooth_photo


def gaussian_pairs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x = y + N(0, 0.1), float32: the source of the shipped Wyner-Ziv models."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n).astype(np.float32)
    return (y + np.sqrt(0.1) * rng.normal(size=n)).astype(np.float32), y


def views(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A right view and the left one, in which everything lies 10 pixels further to the right."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(-40, 40, (height // 2, width // 2, 1)).repeat(2, 0).repeat(2, 1)
    right = np.clip(smooth_photo(height, width, seed).astype(int) + texture, 0, 255).astype(np.uint8)
    return right, np.roll(right, 10, axis=1)


EXAMPLES = {
    "stereo": lambda seed: views(64, 192, seed),
    "wyner-ziv": lambda seed: gaussian_pairs(5000, seed),
    "wyner-ziv-grid": lambda seed: gaussian_pairs(5000, seed),
    "wyner-ziv-trellis": lambda seed: gaussian_pairs(5000, seed),
}

# by how much what is painted may differ between machines, and in which part of the values more than that: alignment
# of two views can hang on a last bit in a few pixels
TOLERANCE = {
    "stereo": (1, 0.002),
    "wyner-ziv": (1e-4, 0),
    "wyner-ziv-grid": (1e-6, 0),
    "wyner-ziv-trellis": (1e-6, 0),
}


def same(codec: str, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two decodings agree as far as machines must."""
    by, share = TOLERANCE[codec]
    return a.shape == b.shape and float((np.abs(a.astype(float) - b.astype(float)) > by).mean()) <= share
