"""What a training of the image codec is told: its data, its recipe, the sizes of its networks."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

from obverse.codecs.image.options import TUNES
from obverse.errors import InputError, TrainingError
from obverse.fields import option
from obverse.training.recipe import Inputs, Recipe, Sizes


@dataclass(frozen=True, kw_only=True)
class ImageInputs(Inputs):
    """What a run learns from, and where it begins."""

    data: list[Path] = option(MISSING, "Folders of photos; repeat for several.")
    validation: list[Path] | None = option(
        None, "Folders to keep images of; may be among --data. All of --data by default."
    )
    warm_start: str | None = option(None, "Begin with the weights of this model, a name or a folder.")

    tune_of: str | None = option(
        None,
        "Keep this model's prior and tables, and become one of its tunes; begin with it, or with --warm-start.",
    )

    encoder_of: str | None = option(
        None,
        "Keep all that decoders of this model run, and train a better encoder, whose files they decode.",
    )

    def check(self) -> None:
        from obverse.data.patches import image_files

        for folders in (self.data, self.validation or []):
            if folders:
                image_files(folders)


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """Everything that decides the result of a training run, saved beside its weights."""

    steps: int = option(40_000, "Training steps in all.", low=1, high=10**9)
    batch: int = option(8, "Patches a step.", low=1, high=10**6)
    patch: int = option(128, "Side of a patch in pixels, a multiple of 64.", low=64, high=8192)
    lr: float = option(1e-3, "Learning rate of Adam, before its fall at the end.", above=0)
    linear_lr: float = option(0.1, "Of lr, for the layers that start as the block transform.", above=0)
    index_lr: float = option(30.0, "Of lr, for the table indices of the hyper-latents.", above=0)
    warmup: int = option(500, "Steps over which lr rises.", low=1)
    decay: float = option(0.3, "Last part of the steps, over which lr falls to 0.", low=0, high=1)
    ema: float = option(0.999, "Of the averaged weights, a step.", low=0, below=1)
    clip: float = option(1.0, "Largest norm of the gradient.", above=0)
    seed: int = option(1, "Of all random numbers.", low=0, high=2**32 - 1)
    bf16: bool = option(True, "Compute in bfloat16 where that is exact enough.")
    validate_every: int = option(1000, "Steps between validations.", low=1)
    checkpoint_seconds: float = option(120.0, "Seconds between checkpoints.", low=0)
    by_set: bool = option(False, "Draw a folder first, by the square root of its area.")
    scale_low: float = option(
        0.0, "Reduce half of the patches by up to this factor; 0: one reduced copy an image.", low=0, high=1
    )
    tune: str = option("psnr", "What decoded photos are judged by: psnr, ssim or eye.", choices=TUNES)
    hold_out: int = option(40, "Keep every so many images for validation.", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch % 64:
            raise TrainingError(f"a patch must be a multiple of 64 pixels, not {self.patch}")


@dataclass(frozen=True)
class ImageModelConfig(Sizes):
    """Sizes of the networks; the names are those of the classes' arguments.

    The sizes of the transforms are those of both, but where the analysis has its own: it runs at the encoder alone,
    so a larger one leaves decoding as fast as it was.
    """

    latents: int = option(320, "Channels of the latents.", low=1, high=4096)
    fine: int = option(4, "Residual blocks at 1/8 of the size.", low=0, high=4096)
    coarse: int = option(2, "Residual blocks at 1/16 of the size.", low=0, high=4096)
    fine_hidden: int = option(112, "Channels inside the fine blocks.", low=1, high=4096)
    coarse_hidden: int = option(160, "Channels inside the coarse blocks.", low=1, high=4096)
    hyper: int = option(96, "Channels of the hyper-latents.", low=1, high=4096)
    features: int = option(160, "Channels of the prior's features.", low=1, high=4096)
    context: int = option(160, "Channels of the prior's context.", low=1, high=4096)
    hidden: int = option(320, "Hidden channels of the prior.", low=1, high=4096)
    analysis_fine: int | None = option(None, "Those of the analysis, if others than fine.", low=0, high=4096)
    analysis_coarse: int | None = option(
        None, "Those of the analysis, if others than coarse.", low=0, high=4096
    )
    analysis_fine_hidden: int | None = option(
        None, "Those of the analysis, if others than fine_hidden.", low=1, high=4096
    )
    analysis_coarse_hidden: int | None = option(
        None, "Those of the analysis, if others than coarse_hidden.", low=1, high=4096
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latents % 4:
            raise InputError(f"latents must be a multiple of 4, the slices of the prior, not {self.latents}")

    @property
    def analysis_sizes(self) -> tuple[int, int, int, int, int]:
        """The arguments of `Analysis`."""

        def own(name: str) -> int:
            value = getattr(self, f"analysis_{name}")
            return int(getattr(self, name) if value is None else value)

        return self.latents, own("fine"), own("coarse"), own("fine_hidden"), own("coarse_hidden")

    @property
    def synthesis_sizes(self) -> tuple[int, int, int, int, int]:
        """The arguments of `Synthesis`."""
        return self.latents, self.fine, self.coarse, self.fine_hidden, self.coarse_hidden

    def as_dict(self) -> dict[str, int]:
        """What is stored with weights: models whose transforms are of one size are described as they always were."""
        return {name: value for name, value in asdict(self).items() if value is not None}
