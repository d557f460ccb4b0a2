"""Examples of the stereo codec."""

from __future__ import annotations

import numpy as np

from obverse.testing import Example
from tests.conftest import smooth_photo


def views(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A right view and the left one, in which everything lies 10 pixels further to the right."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(-40, 40, (height // 2, width // 2, 1)).repeat(2, 0).repeat(2, 1)
    right = np.clip(smooth_photo(height, width, seed).astype(int) + texture, 0, 255).astype(np.uint8)
    return right, np.roll(right, 10, axis=1)


EXAMPLES = (
    Example(
        "stereo",
        "stereo",
        lambda: views(64, 192, 11)[0],
        side_info=lambda: views(64, 192, 11)[1],
        tolerance=1,
        share=0.002,  # alignment of two views can hang on a last bit in a few pixels
    ),
)
