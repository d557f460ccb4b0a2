"""What a training of the stereo codec is told: its data, its recipe, the sizes of its network."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

from obverse.errors import TrainingError
from obverse.fields import option
from obverse.training.recipe import Inputs, Recipe, Sizes

CELL = 4  # pixels a side of a cell of the matching grid


@dataclass(frozen=True, kw_only=True)
class StereoInputs(Inputs):
    """What a run learns from."""

    data: list[Path] = option(
        MISSING, "Folders of pairs (NAME_left.png, NAME_right.png) and of photos; repeat for several."
    )

    def check(self) -> None:
        from obverse.codecs.stereo.pairs import pair_files

        pair_files(self.data)


@dataclass(frozen=True)
class StereoRecipe(Recipe):
    """Everything that decides the result of a training run, saved beside its weights."""

    steps: int = option(7000, "Training steps in all.", low=1, high=10**9)
    batch: int = option(4, "Crops of a step.", low=1, high=10**6)
    height: int = option(112, "Of a crop, in pixels.", low=64, high=8192)
    width: int = option(320, "Of a crop, in pixels.", low=64, high=8192)
    margin: int = option(128, "Columns by which most left crops go on.", low=0)
    synthetic: int = option(360, "Pairs to make of photos.", low=0, high=10**6)
    synthetic_share: float = option(
        0.3, "Share of them in the samples, after a beginning where it is 0.7.", low=0, high=1
    )
    beginning: float = option(0.15, "Share of the steps that is the beginning.", low=0, high=1)
    keep_out: int = option(0, "The last pairs of each folder are not trained on; for a test.", low=0)
    warp_weight: float = option(0.1, "Of the warped left view's error in the loss.", low=0)
    match_weight: float = option(0.3, "Of the matching cost in the loss.", low=0)
    lr: float = option(1e-3, "Learning rate of Adam, before its fall at the end.", above=0)
    warmup: int = option(200, "Steps over which lr rises.", low=1)
    decay: float = option(0.4, "Last part of the steps, over which lr falls to 0.", low=0, high=1)
    ema: float = option(0.998, "Of the averaged weights, a step.", low=0, below=1)
    clip: float = option(1.0, "Largest norm of the gradient.", above=0)
    seed: int = option(1, "Of all random numbers.", low=0, high=2**32 - 1)
    bf16: bool = option(True, "Compute in bfloat16 where that is exact enough.")
    validate_every: int = option(500, "Steps between validations.", low=1)
    checkpoint_seconds: float = option(120.0, "Seconds between checkpoints.", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.height % 8 or self.width % 8 or self.margin % 8:
            raise TrainingError("height, width and margin of a crop must be multiples of 8")


@dataclass(frozen=True)
class StereoConfig(Sizes):
    """Sizes of the networks."""

    disparities: int = option(
        48, "Cells searched, so that the largest disparity is 4 times this, less 4.", low=1, high=1024
    )
    features: int = option(48, "Channels that are correlated.", low=1, high=4096)
    match: int = option(32, "Channels of the layers before them.", low=1, high=4096)
    cost: int = option(64, "Channels of the layers that clean correlations up.", low=1, high=4096)
    coarse_cost: int = option(96, "The same at half of the size.", low=1, high=4096)
    context: int = option(16, "Channels of what they know of the decoded view.", low=1, high=4096)
    refine: int = option(32, "Channels of the layers that refine the alignment.", low=1, high=4096)
    trunk: int = option(64, "Channels of the layers that fuse the views.", low=1, high=4096)
    deep: int = option(128, "The same at half of the size.", low=1, high=4096)
    deep_blocks: int = option(4, "Residual blocks there.", low=0, high=4096)

    def as_dict(self) -> dict[str, int]:
        """Plain values."""
        return asdict(self)

    @property
    def reach(self) -> int:
        """The largest disparity that is found, in pixels, plus one cell."""
        return CELL * self.disparities
