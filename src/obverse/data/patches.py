"""Random crops of a folder of photos, for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError


def image_files(folders: Sequence[Path]) -> list[Path]:
    """All image files under the folders, sorted by path within each folder. Raises InputError if there is none."""
    for folder in folders:
        if not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder}")
    found = [
        path
        for folder in folders
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not found:
        raise InputError(f"no images under {', '.join(map(str, folders))}")
    return found


def split_files(files: Sequence[Path], every: int = 40) -> tuple[list[Path], list[Path]]:
    """(training, validation): every `every`-th file is kept for validation, at least the last one.

    Raises InputError for fewer than two files.
    """
    if len(files) < 2:
        raise InputError("training needs at least two images: one of them is kept for validation")
    validation = list(files[every // 2 :: every] or files[-1:])
    held_out = set(validation)
    return [f for f in files if f not in held_out], validation


def central_crop(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of (H, W, 3), at most `side` pixels a side, sides multiples of 64; a copy."""
    h, w = (min(side, length // 64 * 64) for length in image.shape[:2])
    top, left = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    return image[top : top + h, left : left + w].copy()


class PatchSampler:
    """Draws augmented square patches from images held in memory (uint8).

    Each image is kept at its own size and once reduced (Lanczos, factor drawn in [0.45, 0.8]), which
    removes most JPEG artefacts of the sources. A patch is flipped and transposed at random.
    """

    def __init__(self, files: Sequence[Path], patch: int, seed: int, progress: Callable[[int, int], None]):
        self.patch = patch
        self.rng = np.random.default_rng(seed)
        self.images: list[np.ndarray] = []
        scales = np.random.default_rng(seed + 1)
        for i, path in enumerate(files):
            try:
                image = Image.open(path).convert("RGB")
            except OSError as error:
                raise InputError(f"{path} cannot be read as an image: {error}; remove it") from error
            factor = scales.uniform(0.45, 0.8)
            small = image.resize(
                (round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS
            )
            for version in (image, small):
                if min(version.size) >= patch:
                    self.images.append(np.asarray(version))
            progress(i + 1, len(files))
        if not self.images:
            raise InputError(f"no image of at least {patch}x{patch} pixels to train on")
        area = np.array([image.shape[0] * image.shape[1] for image in self.images], np.float64)
        self.probability = area / area.sum()

    def batch(self, size: int) -> np.ndarray:
        """(size, patch, patch, 3) uint8."""
        out = np.empty((size, self.patch, self.patch, 3), np.uint8)
        for i, which in enumerate(self.rng.choice(len(self.images), size, p=self.probability)):
            image = self.images[which]
            top = self.rng.integers(image.shape[0] - self.patch + 1)
            left = self.rng.integers(image.shape[1] - self.patch + 1)
            crop = image[top : top + self.patch, left : left + self.patch]
            flip, mirror, transpose = self.rng.integers(2, size=3)
            crop = crop[:: 1 - 2 * flip, :: 1 - 2 * mirror]
            out[i] = crop.transpose(1, 0, 2) if transpose else crop
        return out
