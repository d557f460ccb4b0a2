"""Examples of the image codec."""

from __future__ import annotations

import numpy as np

from obverse.data.images import Photo
from obverse.testing import Example
from tests.conftest import smooth_photo


def with_alpha() -> np.ndarray:
    alpha = np.tile(np.arange(100, dtype=np.uint8), (72, 1))
    return np.dstack([smooth_photo(72, 100, seed=11), alpha])


def with_soft_alpha() -> np.ndarray:
    """A disc whose edge is soft and has grain: format version 2."""
    y, x = np.mgrid[:96, :120]
    edge = 255 - 4 * (np.hypot(y - 48, x - 60) - 12) + np.random.default_rng(2).integers(-2, 3, (96, 120))
    alpha = np.clip(edge, 0, 255).astype(np.uint8)
    return np.dstack([smooth_photo(96, 120, seed=9), alpha])


def grain() -> np.ndarray:
    """More than 10 kB at its quality."""
    rng = np.random.default_rng(4)
    return np.clip(smooth_photo(150, 210, seed=5) + rng.normal(0, 25, (150, 210, 1)), 0, 255).astype(np.uint8)


def with_metadata() -> Photo:
    """All that a photo may have beside its pixels: format version 2."""
    text = {"Title": "a slope", "Author": "Žofie"}
    return Photo(
        smooth_photo(24, 32, seed=6), None, b"profile", b"Exif\0\0data", b"<x:xmpmeta/>", (300.0, 150.5), text
    )


def photo_on_a_page() -> np.ndarray:
    """Letters of two colours, and a photo among them: format version 2."""
    page = np.full((224, 320, 3), 250, np.uint8)
    rng = np.random.default_rng(8)
    for top in range(6, 210, 14):  # letters of bars, as no font draws them in the same way everywhere
        for left in range(6, 300, 9):
            for x in rng.integers(0, 6, 2):
                page[top : top + 9, left + x : left + x + 2] = (30, 30, 60)
    page[64:192, 128:288] = smooth_photo(128, 160, seed=7)
    return page


def example(name, data, golden=True, **options):
    return Example("image", name, data, options, tolerance=1, golden=golden)


EXAMPLES = (
    example("image-alpha-q10", with_alpha, quality=10.0),
    example("image-grain", grain, golden=False, quality=85.0),
    example("image-effort", lambda: smooth_photo(40, 50, seed=3), golden=False, quality=20, effort=1),
)
GOLDEN = (
    example("image-soft-alpha", with_soft_alpha, quality=30.0),
    example("image-blocks", photo_on_a_page, quality=30.0),
    example("image-metadata", with_metadata, quality=30.0),
    example("image-colour-q40", lambda: smooth_photo(72, 100, seed=11), quality=40.0),
    example("image-gray-odd-q90", lambda: smooth_photo(33, 65, seed=12, channels=1), quality=90.0),
    example("image-one-pixel-q50", lambda: np.full((1, 1, 3), 200, np.uint8), quality=50.0),
)
