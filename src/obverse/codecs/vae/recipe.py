"""What a training of the bits-back codec is told: its data, its recipe, the sizes of its networks."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from obverse.errors import InputError
from obverse.fields import option
from obverse.training.recipe import Inputs, Recipe, Sizes

AS_IS, STOCHASTIC = "as-is", "stochastic"


@dataclass(frozen=True, kw_only=True)
class VaeInputs(Inputs):
    """What a run learns from."""

    data: list[Path] = option(
        MISSING,
        "Sets of gray images of one size: a .npy array (n, H, W), an IDX file, or a folder; repeat for several.",
    )

    @cached_property
    def images(self) -> Any:
        """The images, read once: by the check, the training and the export."""
        from obverse.codecs.vae.images import read_gray_sets

        return read_gray_sets(self.data)

    def check(self) -> None:
        _ = self.images


@dataclass(frozen=True)
class VaeRecipe(Recipe):
    """Everything that decides the result of a training run, saved beside its weights.

    binarise: "as-is" trains on the pixels; "stochastic" on binary ones, drawn anew in each step with the
    probability pixel / 255 (Salakhutdinov and Murray, ICML 2008).
    """

    steps: int = option(13_000, "Training steps in all.", low=1, high=10**9)
    batch: int = option(64, "Images of a step.", low=1, high=10**6)
    lr: float = option(2e-3, "Learning rate of Adam, before its fall.", above=0)
    warmup: int = option(200, "Steps over which lr rises.", low=1)
    decay: float = option(0.6, "Last part of the steps, over which lr falls to 0.", low=0, high=1)
    ema: float = option(0.999, "Of the averaged weights, a step.", low=0, below=1)
    clip: float = option(0.3, "Largest norm of the gradient.", above=0)
    kl_start: float = option(0.3, "Weight of the latents at first.", low=0, high=1)
    kl_steps: int = option(1000, "Steps until it is 1.", low=1, high=10**9)
    upper_kl_start: float = option(0.02, "The same for the layers above the first.", low=0, high=1)
    upper_kl_steps: int = option(3000, "Steps until that is 1.", low=1, high=10**9)
    shift: int = option(0, "Move images by up to so many pixels; for small sets.", low=0)
    binarise: str = option(
        AS_IS,
        "stochastic: train on binary images, each pixel drawn with its value as probability.",
        choices=(AS_IS, STOCHASTIC),
    )
    seed: int = option(1, "Of all random numbers.", low=0, high=2**32 - 1)
    bf16: bool = option(True, "Compute in bfloat16 where that is exact enough.")
    validate_every: int = option(1000, "Steps between validations.", low=1)
    checkpoint_seconds: float = option(60.0, "Seconds between checkpoints.", low=0)


@dataclass(frozen=True)
class VaeConfig(Sizes):
    """Sizes of a model. height, width: of the images, multiples of 4."""

    height: int = option(28, "Of the images.", low=4, high=4096, flag=False)
    width: int = option(28, "Of the images.", low=4, high=4096, flag=False)
    levels: int = option(256, "Values of a pixel; 2 for images of 0 and 1.", low=2, high=256)
    components: int = option(
        4, "Logistics in the mixture of a pixel; 1 where it has two values.", low=1, high=4096
    )
    local: int = option(6, "Channels of the lower latent layer; 0 for the upper one alone.", low=0, high=4096)
    top: int = option(32, "Numbers in the upper latent layer.", low=1, high=4096)
    channels: int = option(64, "Channels of the networks at a quarter of the size.", low=1, high=4096)
    features: int = option(40, "Channels at half of the size.", low=1, high=4096)
    phase: int = option(40, "Channels of the layers that make pixels.", low=1, high=4096)
    hidden: int = option(
        256, "Channels of the layers between the upper latents and the grid.", low=1, high=4096
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.height % 4 or self.width % 4:
            raise InputError(
                f"images must have sizes in multiples of 4, not {self.height}x{self.width}: pad them"
            )
        if self.levels == 2 and self.components != 1:
            raise InputError("a pixel of two levels has a single component")

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of z1."""
        return self.height // 4, self.width // 4

    @property
    def latents(self) -> tuple[tuple[int, int, int], ...]:
        """Shapes of z1 and z2, or of z2 alone."""
        top = (self.top, 1, 1)
        return ((self.local, *self.grid), top) if self.local else (top,)

    @property
    def parameters(self) -> int:
        """Numbers that the networks give for a pixel: weight, mean and scale of each component."""
        return 1 if self.levels == 2 else 3 * self.components

    def as_dict(self) -> dict[str, int]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> VaeConfig:
        """What `as_dict` gave. Raises InputError for anything else."""
        if not isinstance(values, dict):
            raise InputError("its configuration does not say how large it is")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"the sizes of a model are damaged: {error}") from None
