"""What a training of the flow is told: its data, its recipe, the sizes of its networks."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from obverse.errors import InputError
from obverse.fields import option
from obverse.training.recipe import Inputs, Recipe, Sizes


@dataclass(frozen=True, kw_only=True)
class FlowInputs(Inputs):
    """What a run learns from."""

    data: Path = option(
        MISSING, "32x32 colour images: a .npy array (n, 32, 32, 3), or a folder of image files."
    )
    photos: list[Path] | None = option(
        None, "Folders of photos, crops of which are trained on too, scaled down; repeat for several."
    )

    @cached_property
    def images(self) -> Any:
        """The images, read once: by the check, the training and the export."""
        from obverse.data.image_sets import read_image_set

        return read_image_set(self.data)

    def check(self) -> None:
        from obverse.data.patches import image_files

        _ = self.images
        if self.photos:
            image_files(self.photos)


@dataclass(frozen=True)
class FlowRecipe(Recipe):
    """Everything that decides the result of a training run, saved beside its weights."""

    steps: int = option(9000, "Training steps in all.", low=1, high=10**9)
    batch: int = option(32, "Images of a step.", low=1, high=10**6)
    lr: float = option(3e-3, "Learning rate of Adam, before its fall at the end.", above=0)
    coupling_lr: float = option(0.3, "Of lr, for the networks of couplings.", above=0)
    linear_lr: float = option(
        0.03, "Of lr, for the couplings' linear part, which multiplies values of up to 128.", above=0
    )
    last_lr: float = option(10.0, "Of lr, for the mixtures of the coarsest level.", above=0)
    warmup: int = option(200, "Steps over which lr rises.", low=1)
    decay: float = option(0.4, "Last part of the steps, over which lr falls to 0.", low=0, high=1)
    photo_share: float = option(
        0.4, "Of a batch that are crops of photos; falls linearly to zero.", low=0, high=1
    )
    photo_crops: int = option(50, "Crops of each photo.", low=1)
    validation: int = option(256, "Images at the end of the data that are not trained on.", low=1)
    ema: float = option(0.998, "Of the averaged weights, a step.", low=0, below=1)
    clip: float = option(1.0, "Largest norm of the gradient.", above=0)
    seed: int = option(1, "Of all random numbers.", low=0, high=2**32 - 1)
    bf16: bool = option(True, "Compute in bfloat16 where that is exact enough.")
    validate_every: int = option(500, "Steps between validations.", low=1)
    checkpoint_seconds: float = option(120.0, "Seconds between checkpoints.", low=0)


@dataclass(frozen=True)
class FlowConfig(Sizes):
    """Sizes of the networks."""

    levels: int = option(4, "Squeezes; images are multiples of 2**levels on a side.", low=1, high=5)
    width: int = option(64, "Channels of the prior's features.", low=1, high=1024)
    hidden: int = option(48, "Channels of the layer before the prior's parameters.", low=1, high=1024)
    blocks: tuple[int, int, int] = option(
        (2, 2, 1), "Residual blocks before d, b and c of a level.", low=1, high=64
    )
    components: int = option(3, "Logistics in a mixture.", low=1, high=1024)
    coupling: int = option(32, "Hidden channels of a coupling's network.", low=1, high=1024)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"blocks": list(self.blocks)}

    @classmethod
    def from_dict(cls, values: Any) -> FlowConfig:
        """What `as_dict` gave. Raises InputError for anything else."""
        names = {field.name for field in fields(cls)}
        numbers = [values[n] for n in sorted(names - {"blocks"})] if _has_keys(values, names) else []
        blocks = values["blocks"] if numbers else None
        if (
            not isinstance(blocks, list | tuple)
            or len(blocks) != 3
            or any(type(n) is not int or not 1 <= n <= 1024 for n in [*numbers, *blocks])
            or values["levels"] > 5
        ):
            raise InputError("the model's configuration is damaged: it is not that of an integer flow")
        return cls(**values | {"blocks": tuple(blocks)})


def _has_keys(values: Any, names: set[str]) -> bool:
    return isinstance(values, dict) and set(values) == names
