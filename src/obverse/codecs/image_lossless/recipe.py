"""What a training of the lossless image codec is told: its data and its recipe."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from functools import cached_property
from pathlib import Path

from obverse.errors import TrainingError
from obverse.fields import option
from obverse.training.recipe import Inputs, Recipe


@dataclass(frozen=True, kw_only=True)
class LosslessInputs(Inputs):
    """What a run learns from."""

    data: list[Path] = option(MISSING, "Folders of photos; repeat for several.")

    @cached_property
    def files(self) -> tuple[list[Path], list[Path]]:
        """Those to train on and those to validate on, looked for once: the export measures what was kept out."""
        from obverse.data.patches import image_files, split_files

        return split_files(image_files(self.data))

    def check(self) -> None:
        _ = self.files


@dataclass(frozen=True)
class RasterRecipe(Recipe):
    """Everything that decides the result of a training run, saved beside its weights."""

    steps: int = option(30_000, "Training steps in all.", low=1, high=10**9)
    batch: int = option(4096, "Pixels a step, for each network.", low=1, high=10**6)
    hidden: int = option(64, "Units of the first layer of each network.", low=1, high=4096)
    hidden2: int = option(48, "Units of the second.", low=1, high=4096)
    components: int = option(4, "Logistics in the mixture of a value.", low=1, high=256)
    share: float = option(0.15, "Share of the pixels of a photo that are trained on.", above=0, high=1)
    half_share: float = option(0.3, "The same of photos halved in size.", above=0, high=1)
    lr: float = option(3e-3, "Learning rate of Adam, before its fall.", above=0)
    warmup: int = option(200, "Steps over which lr rises.", low=1)
    ema: float = option(0.999, "Of the averaged weights, a step.", low=0, below=1)
    seed: int = option(1, "Of all random numbers.", low=0, high=2**32 - 1)
    validate_every: int = option(1000, "Steps between validations.", low=1)
    checkpoint_seconds: float = option(120.0, "Seconds between checkpoints.", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % 8 or self.hidden2 % 8:
            raise TrainingError(
                "hidden and hidden2 must be multiples of 8: the coder reads eight units at a time"
            )
