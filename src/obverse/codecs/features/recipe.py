"""What fitting a model of features is told: the features, or an encoder with images, and how much is kept."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from obverse.codecs.features.options import Fitting
from obverse.errors import InputError
from obverse.fields import option
from obverse.training.recipe import Inputs, Recipe


@dataclass(frozen=True, kw_only=True)
class FeatureInputs(Inputs):
    """What a model is fitted to."""

    data: list[Path] = option(MISSING, "Features, or images where there is an --encoder; repeat for several.")
    key: str | None = option(None, "Which tensor or column, of a file that holds several.")
    encoder: str | None = option(
        None,
        "Make features of images with it: TorchScript (.pt), torch.export (.pt2), .onnx, a Hugging Face folder, or "
        "module:function. With a file of "
        "features: whose they are.",
    )
    trust: bool = option(
        False, "Load an encoder that is a program (.pt, .pt2): it may run any code of whoever made it."
    )
    size: int | None = option(None, "Resize images to this height and width.", low=1)
    mean: list[float] | None = option(None, "Of each channel, 0 to 1; repeat for 3.")
    std: list[float] | None = option(None, "Of each channel, 0 to 1.")
    batch: int = option(64, "Images that the encoder sees at once.", low=1, high=10**6)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder is None and (self.size, self.mean, self.std) != (None, None, None):
            raise InputError("size, mean and std are for images: give an encoder")


@dataclass(frozen=True, kw_only=True)
class FeatureRecipe(Fitting, Recipe):
    """How the model is fitted."""

    seed: int = option(0, "Of the choice of vectors, where there are very many.", low=0, high=2**32 - 1)
