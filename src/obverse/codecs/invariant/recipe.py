"""What a training of an invariant compressor is told: its data, its recipe, the sizes of its networks."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from obverse.errors import InputError, TrainingError
from obverse.fields import option
from obverse.training.recipe import Inputs, Recipe, Sizes

MOST_CODES, MOST_WIDTH, MOST_CLUSTERS, LARGEST_SIDE, MOST_DIMENSIONS = 4096, 4096, 1024, 256, 1 << 16
VIC, VC, BINCE = "vic", "vc", "bince"


@dataclass(frozen=True)
class Affine(Recipe):
    """How images are changed without changing what they mean. The paper's augmented MNIST by default."""

    degrees: float = option(30.0, "Images mean the same turned by up to so much.", low=0, high=180)
    shear: float = option(10.0, "Images mean the same sheared by up to so many degrees.", low=0, high=60)
    translate: float = option(
        0.1, "Images mean the same moved by up to this share of their side.", low=0, high=1
    )
    scale: tuple[float, float] = option(
        (0.8, 1.2), "Images mean the same scaled between these two.", low=0.1, high=10
    )
    flip: bool = option(False, "Images mean the same mirrored left to right.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale[0] > self.scale[1]:
            raise TrainingError(f"scale must be two numbers in order, not {self.scale}")


@dataclass(frozen=True, kw_only=True)
class InvariantInputs(Affine, Inputs):
    """What a run learns from."""

    data: list[Path] = option(
        MISSING,
        "Sets of gray images of one size (a .npy array (n, H, W), an IDX file, or a folder), or of points of the plane "
        "(a .npy array (n, 2)); repeat for several.",
    )
    upright: bool = option(
        False,
        "For vic: decode to images set upright, in the middle and in one size, not as they were found: fewer bits, "
        "where it does not matter how they lie.",
    )

    @property
    def affine(self) -> Affine:
        """How images are changed."""
        return Affine(**{field.name: getattr(self, field.name) for field in fields(Affine)})

    @cached_property
    def items(self) -> Any:
        """The images or points, read once: by the check, the training and the export."""
        from obverse.codecs.invariant.items import read_items

        return read_items(self.data)

    def check(self) -> None:
        _ = self.items


@dataclass(frozen=True)
class InvariantRecipe(Recipe):
    """Everything that decides the result of a training run, saved beside its weights."""

    objective: str = option(
        VIC,
        "vic decodes to the item without its change, vc to what was put in, bince tells items apart.",
        choices=(VIC, VC, BINCE),
    )
    beta: float = option(
        1.0,
        "Distortion that a nat of rate is worth: larger, fewer bits. Distortions are nats for images and for bince, "
        "squared errors for points.",
        low=0,
    )
    steps: int = option(10_000, "Training steps in all.", low=1, high=10**9)
    batch: int = option(128, "Items of a step.", low=2, high=10**6)
    lr: float = option(1e-3, "Learning rate of Adam, before its fall.", above=0)
    warmup: int = option(100, "Steps over which lr rises.", low=1)
    anneal: float = option(0.25, "Share of the steps over which beta rises to its value.", low=0, high=1)
    refit: float = option(
        0.2, "Last share of the steps, which fits density and decoder to the rounded codes.", low=0, high=1
    )
    settle: float = option(
        0.5, "Share of the steps after which the offsets of the grid stay as they are.", low=0, high=1
    )
    noise: float = option(
        0.6, "Share of the steps before the refit in which the distortion sees noise.", low=0, high=1
    )
    place: float = option(
        0.35, "Share of the steps before the refit after which codes have clusters.", low=0, high=1
    )
    clip: float = option(10.0, "Largest norm of the gradient.", above=0)
    seed: int = option(1, "Of all random numbers.", low=0, high=2**32 - 1)
    bf16: bool = option(False, "Compute in bfloat16 where that is exact enough, and store matrices in it.")
    validate_every: int = option(1000, "Steps between validations.", low=1)
    checkpoint_seconds: float = option(60.0, "Seconds between checkpoints.", low=0)

    @property
    def refit_from(self) -> int:
        """The step from which the encoder stays as it is."""
        return self.steps - round(self.refit * self.steps)

    @property
    def place_at(self) -> int:
        """The step before which clusters are placed."""
        return min(round(self.place * self.refit_from), self.steps - 1)


@dataclass(frozen=True)
class InvariantConfig(Sizes):
    """Sizes of a model. shape: of one item, (d,) for a point, (H, W) for a gray image. decodes: whether there is a
    decoder. width and clusters are never None once it is made."""

    shape: tuple[int, ...] = option((), "Of an item.", low=1, flag=False)
    codes: int = option(32, "Numbers that stand for an item.", low=1, high=MOST_CODES)
    width: int | None = option(
        None,
        "Channels of the first layer (images, by default 16), or units of a layer (points, by default 64).",
        low=1,
        high=MOST_WIDTH,
    )
    decodes: bool = option(True, "Whether there is a decoder.", flag=False)
    clusters: int | None = option(
        None,
        "Clusters of codes with tables of their own, so that codes take fewer bits (images, by default 64; points, by "
        "default 1).",
        low=1,
        high=MOST_CLUSTERS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = (
            self.shape[0] <= MOST_DIMENSIONS
            if len(self.shape) == 1
            else max(self.shape, default=0) <= LARGEST_SIDE
        )
        if len(self.shape) not in (1, 2) or not fits:
            raise InputError(
                f"an invariant compressor codes points of up to {MOST_DIMENSIONS} numbers or images of up to "
                f"{LARGEST_SIDE} pixels a side"
            )
        for name, of_images, of_points in (("width", 16, 64), ("clusters", 64, 1)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, of_images if self.images else of_points)

    @property
    def images(self) -> bool:
        """Whether items are images, not points."""
        return len(self.shape) == 2

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Any) -> InvariantConfig:
        """What `as_dict` gave. Raises InputError for anything else."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names or not isinstance(values["shape"], list):
            raise InputError("the configuration is not that of an invariant compressor")
        if values["width"] is None or values["clusters"] is None:
            raise InputError("the configuration of the invariant compressor lacks a width or clusters")
        return cls(**values | {"shape": tuple(values["shape"])})
