"""Labelled images for split computing: what teachers and students draw their batches from.

    image ──► shifted ──► mirrored half of the time ──► brightness and contrast ──► x

A teacher also learns from pairs pasted together (CutMix: Yun et al., "CutMix: regularization strategy to train strong
classifiers with localizable features", ICCV 2019); distillation needs no labels and takes the plain views.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from obverse.codecs.split.recipe import SplitInputs
from obverse.data.image_sets import check_image_set
from obverse.errors import InputError, TrainingError, UnsupportedInputError


class LabelledImages:
    """Square RGB images of one size, and the class of each.

    images: (n, S, S, 3) uint8. labels: (n,) whole numbers from 0. jitter: how far brightness and contrast change, as a
    share. Raises InputError, UnsupportedInputError.
    """

    def __init__(self, images: npt.ArrayLike, labels: npt.ArrayLike, jitter: float = 0.2):
        checked = check_image_set(images)
        if checked.ndim != 4 or checked.shape[1] != checked.shape[2]:
            raise UnsupportedInputError(
                f"split computing learns from square colour images, (n, S, S, 3), not {checked.shape}"
            )
        classes = np.asarray(labels)
        if classes.dtype.kind not in "iu" or classes.shape != checked.shape[:1]:
            raise InputError(
                f"{len(checked)} images need as many labels, whole numbers, not {classes.dtype} of shape "
                f"{classes.shape}"
            )
        if classes.min() < 0:
            raise InputError("labels count classes from 0, and one of these is negative")
        self.images = torch.from_numpy(np.array(checked)).permute(0, 3, 1, 2)
        self.labels = torch.from_numpy(classes.astype(np.int64))
        self.side = int(self.images.shape[2])
        self.classes = int(self.labels.max()) + 1
        self.jitter = jitter

    def __len__(self) -> int:
        return len(self.images)

    def facts(self) -> dict[str, Any]:
        """For recipes."""
        return {"images": len(self), "side": self.side, "classes": self.classes, "jitter": self.jitter}

    def plain(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Images first to last as they are, (n, 3, S, S) in [0, 1], and their classes (n,)."""
        return as_floats(self.images[first:last]), self.labels[first:last]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Views of random images, (count, 3, S, S) in [0, 1], and their classes (count,)."""
        chosen = torch.from_numpy(rng.integers(0, len(self), count))
        x = as_floats(self.images[chosen])
        pad = max(1, self.side // 8)
        # one pixel has none to be reflected about
        padded = functional.pad(x, (pad, pad, pad, pad), mode="reflect" if pad < self.side else "replicate")
        moves, mirrored = rng.integers(0, 2 * pad + 1, (count, 2)), rng.random(count) < 0.5
        x = torch.empty_like(x)
        for i, ((down, right), mirror) in enumerate(zip(moves, mirrored, strict=True)):
            view = padded[i, :, down : down + self.side, right : right + self.side]
            x[i] = view.flip(2) if mirror else view
        if self.jitter:
            low, high = 1 - self.jitter, 1 + self.jitter
            contrast, light = (
                torch.from_numpy(rng.uniform(low, high, (count, 1, 1, 1))).float() for _ in range(2)
            )
            mean = x.mean((1, 2, 3), keepdim=True)
            x = ((x - mean) * contrast + mean * light).clamp(0, 1)
        return x.contiguous(memory_format=torch.channels_last), self.labels[chosen]


def as_floats(images: Tensor) -> Tensor:
    """(n, 3, S, S) uint8 -> the same in [0, 1], laid out as convolutions like it."""
    return (images.float() / 255).contiguous(memory_format=torch.channels_last)


def cut_and_mixed(x: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, float]:
    """CutMix: a rectangle of each image replaced by that of another image of the batch.

    Returns the images, which image each rectangle came from (n,), and the share of the pixels that stayed.
    """
    n, side = len(x), x.shape[2]
    size = round(side * math.sqrt(1 - float(rng.random())))
    centre = rng.integers(0, side, 2)
    (top, left), (bottom, right) = (
        np.clip(centre - size // 2, 0, side),
        np.clip(centre + (size + 1) // 2, 0, side),
    )
    other = torch.from_numpy(rng.permutation(n))
    mixed = x.clone(memory_format=torch.preserve_format)
    mixed[:, :, top:bottom, left:right] = x[other][:, :, top:bottom, left:right]
    return mixed, other, 1 - float((bottom - top) * (right - left)) / side**2


def split_off(data: LabelledImages, share: float = 0.05) -> tuple[LabelledImages, LabelledImages]:
    """What to train on, and the last images, to validate on. Raises TrainingError for too few."""
    held = round(share * len(data))
    if held < 1 or len(data) < 50:
        raise TrainingError(f"{len(data)} images are too few to learn from: give at least 50")
    images, labels = data.images.permute(0, 2, 3, 1).numpy(), data.labels.numpy()
    return (
        LabelledImages(images[:-held], labels[:-held], data.jitter),
        LabelledImages(images[-held:], labels[-held:], data.jitter),
    )


def read_images(inputs: SplitInputs) -> tuple[LabelledImages, LabelledImages]:
    """What to train on, and what is held out. Raises InputError."""
    return split_off(LabelledImages(*inputs.labelled))
