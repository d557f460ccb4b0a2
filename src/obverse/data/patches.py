"""Random crops of a folder of photos, for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from obverse.data.deep_images import check_8_bits
from obverse.data.guard import guarded
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError


def open_rgb(path: Path) -> Image.Image:
    """The pixels of an image file to train on, RGB.

    Raises:
        InputError: it cannot be read: it is no image, cut off, or larger than Pillow opens; or it has more than 8 bits
            a channel.
    """
    with guarded(f"{path} cannot be read as an image", "remove it"), Image.open(path) as image:
        check_8_bits(image, path)
        return image.convert("RGB")


def image_files(folders: Sequence[Path]) -> list[Path]:
    """All image files under the folders, sorted by path within each folder; one under two of them counts once.

    Raises:
        InputError: if there is none.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder}")
    found: dict[Path, Path] = {}
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
                found.setdefault(path.absolute(), path)
    if not found:
        raise InputError(f"no images under {', '.join(map(str, folders))}")
    return [*found.values()]


def split_files(files: Sequence[Path], every: int = 40) -> tuple[list[Path], list[Path]]:
    """(training, validation): every `every`-th file is kept for validation, at least the last one.

    Raises:
        InputError: for fewer than two files.
    """
    if len(files) < 2:
        raise InputError("training needs at least two images: one of them is kept for validation")
    validation = list(files[every // 2 :: every] or files[-1:])
    held_out = set(validation)
    return [f for f in files if f not in held_out], validation


def split_sets(
    data: Sequence[Path], validation: Sequence[Path] = (), every: int = 40
) -> tuple[list[list[Path]], list[Path]]:
    """(training images of each folder of `data`, validation images); the same for the same folders, always.

    Args:
        data: folders of images.
        validation: folders of which every `every`-th image is kept for validation. One of them may be a folder of
            `data` too: its other images are trained on. Without any, every `every`-th of all images of `data` is kept.
        every: which images are kept.

    Raises:
        InputError: without images, or without any left to train on.
    """
    files = image_files(data)
    if validation:
        folders = [image_files([folder]) for folder in validation]
        kept = [f for found in folders for f in found[every // 2 :: every] or found[-1:]]
    else:
        kept = split_files(files, every)[1]
    held_out = {f.resolve() for f in kept}
    training = [f for f in files if f.resolve() not in held_out]
    if not training:
        raise InputError("every image is kept for validation: none is left to train on")
    return [[f for f in training if f.is_relative_to(folder)] for folder in data], kept


def central_crop(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of (H, W, 3), at most `side` pixels a side, sides multiples of 64; a copy."""
    h, w = (min(side, length // 64 * 64) for length in image.shape[:2])
    top, left = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    return image[top : top + h, left : left + w].copy()


class PatchSampler:
    """Draws augmented square patches from images held in memory (uint8).

    Each image is kept at its own size and once reduced (Lanczos, factor drawn in [0.45, 0.8]), which removes most JPEG
    artefacts of the sources. A patch is flipped and transposed at random.

    Args:
        files: the images.
        patch: height and width in pixels.
        seed: of what is drawn.
        progress: called as progress(done, total) after each file.
        sets: the set that each file belongs to. A patch then comes from a set with a probability that grows with the
            square root of the set's area, so that neither a large set rules nor a small one is seen again and again;
            within a set, as without sets, from an image by its area.
        scale_low: above 0, images are kept at their own size alone, and half of the patches are reduced by a factor of
            their own, drawn in [scale_low, 1].
    """

    def __init__(
        self,
        files: Sequence[Path],
        patch: int,
        seed: int,
        progress: Callable[[int, int], None],
        sets: Sequence[int] | None = None,
        scale_low: float = 0.0,
    ):
        self.patch, self.scale_low = patch, scale_low
        self.rng = np.random.default_rng(seed)
        self.images: list[np.ndarray] = []
        self.sets: list[int] = []  # of each image
        scales = np.random.default_rng(seed + 1)
        for i, path in enumerate(files):
            image = open_rgb(path)
            versions = [image]
            if not scale_low:
                factor = scales.uniform(0.45, 0.8)
                size = round(image.width * factor), round(image.height * factor)
                versions.append(image.resize(size, Image.Resampling.LANCZOS))
            for version in versions:
                if min(version.size) >= patch:
                    self.images.append(np.asarray(version))
                    self.sets.append(0 if sets is None else sets[i])
            progress(i + 1, len(files))
        if not self.images:
            raise InputError(f"no image of at least {patch}x{patch} pixels to train on")
        area = np.array([image.shape[0] * image.shape[1] for image in self.images], np.float64)
        if sets is not None:
            area /= np.sqrt(np.bincount(self.sets, area))[self.sets]
        self.probability = area / area.sum()

    def _side(self, image: np.ndarray) -> int:
        """How many pixels of the image become a side of the next patch."""
        if not self.scale_low or self.rng.random() < 0.5:
            return self.patch
        lowest = max(self.scale_low, self.patch / min(image.shape[:2]))
        return round(self.patch / float(self.rng.uniform(lowest, 1)))

    def batch(self, size: int) -> np.ndarray:
        """(size, patch, patch, 3) uint8."""
        out = np.empty((size, self.patch, self.patch, 3), np.uint8)
        for i, which in enumerate(self.rng.choice(len(self.images), size, p=self.probability)):
            image = self.images[which]
            side = self._side(image)
            top = self.rng.integers(image.shape[0] - side + 1)
            left = self.rng.integers(image.shape[1] - side + 1)
            crop = image[top : top + side, left : left + side]
            if side > self.patch:
                whole = Image.fromarray(crop)
                crop = np.asarray(whole.resize((self.patch, self.patch), Image.Resampling.LANCZOS))
            flip, mirror, transpose = self.rng.integers(2, size=3)
            crop = crop[:: 1 - 2 * flip, :: 1 - 2 * mirror]
            out[i] = crop.transpose(1, 0, 2) if transpose else crop
        return out
