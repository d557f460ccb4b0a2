"""What a training of split computing is told: its data, the recipes of a student and of its teacher."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from obverse.errors import InputError
from obverse.fields import option
from obverse.training.recipe import Inputs, Recipe

DISTIL, END_TO_END = "distil", "end-to-end"


@dataclass(frozen=True, kw_only=True)
class SplitInputs(Inputs):
    """What a run learns from."""

    data: Path = option(
        MISSING, "Square RGB images of one size: a folder of folders named as classes, a folder, or a .npy."
    )
    labels: Path | None = option(
        None, "A number for each image (.npy, .csv, IDX), where folders do not say it."
    )

    start: Path | None = option(
        None, "Begin with the student of another run, its folder or its checkpoint, of the same sizes."
    )

    @property
    def start_checkpoint(self) -> Path | None:
        """Of the run to begin with."""
        return self.start / "checkpoint.pt" if self.start is not None and self.start.is_dir() else self.start

    @cached_property
    def labelled(self) -> tuple[Any, Any]:
        """Images and their classes, read once: by the check, the training and the export."""
        from obverse.data.labelled import read_labelled

        found = read_labelled(self.data, self.labels)
        if found.labels is None:
            raise InputError(
                f"{self.data} does not say the classes of its images: give --labels, or a folder for each class"
            )
        return found.whole(), found.labels

    def check(self) -> None:
        if self.start_checkpoint is not None and not self.start_checkpoint.is_file():
            raise InputError(f"there is no checkpoint {self.start_checkpoint} to start from")
        _ = self.labelled


@dataclass(frozen=True)
class TeacherRecipe(Recipe):
    """Everything that decides the result of training a teacher, saved beside its weights."""

    steps: int = option(2200, "Training steps in all.", low=1, high=10**9)
    batch: int = option(128, "Images of a step.", low=2, high=10**6)
    lr: float = option(0.1, "Highest learning rate of SGD.", above=0)
    warmup: float = option(0.2, "Share of the steps over which lr rises.", low=0, high=1)
    momentum: float = option(0.9, "Of SGD.", low=0, below=1)
    decay: float = option(1e-3, "Of the weights, times lr, a step.", low=0)
    mix: float = option(0.25, "Share of the batches that are cut and mixed.", low=0, high=1)
    smoothing: float = option(0.1, "Of the labels.", low=0, below=1)
    seed: int = option(1, "Of all random numbers.", low=0, high=2**32 - 1)
    bf16: bool = option(False, "Compute in bfloat16 where that is exact enough.")
    validate_every: int = option(250, "Steps between validations.", low=1)
    checkpoint_seconds: float = option(60.0, "Seconds between checkpoints.", low=0)


@dataclass(frozen=True)
class SplitRecipe(Recipe):
    """Everything that decides the result of training a student, saved beside its weights.

    mix: a student that needs no labels learns the teacher on more pictures than there are.
    """

    objective: str = option(
        DISTIL, "Learn from the teacher's features, or from labels alone.", choices=(DISTIL, END_TO_END)
    )
    beta: float = option(
        2e-3, "Distortion that a nat of an image's rate is worth: larger, fewer bytes.", low=0
    )
    steps: int = option(3000, "Training steps of the student.", low=1, high=10**9)
    batch: int = option(64, "Images of a student's step.", low=2, high=10**6)
    lr: float = option(7e-4, "Learning rate of Adam, before its fall.", above=0)
    tune: float = option(0.15, "Last share of the steps, in which the encoder stays as it is.", low=0, high=1)
    tune_lr: float = option(5e-5, "Learning rate there.", above=0)
    warmup: int = option(100, "Steps over which lr rises.", low=1)
    reconstruct: float | None = option(0.0, "Weight of the error of the reconstruction.", low=0)
    settle: float = option(
        0.5, "Share of the steps after which the offsets of the grid stay as they are.", low=0, high=1
    )
    noise: float = option(
        0.3, "Share of the steps before tuning in which the objective sees noise.", low=0, high=1
    )
    mix: float = option(0.0, "Share of the batches before tuning that are cut and mixed.", low=0, high=1)
    clip: float = option(5.0, "Largest norm of the gradient.", above=0)
    seed: int = option(1, "Of all random numbers.", low=0, high=2**32 - 1)
    bf16: bool = option(False, "Compute in bfloat16 where that is exact enough.")
    validate_every: int = option(500, "Steps between validations.", low=1)
    checkpoint_seconds: float = option(60.0, "Seconds between checkpoints.", low=0)

    @property
    def tune_from(self) -> int:
        """The first step of stage 2."""
        return self.steps - round(self.tune * self.steps)


@dataclass(frozen=True)
class TaughtRecipe(SplitRecipe):
    """A student's recipe with that of its teacher, which has the same seed and precision."""

    reconstruct: float | None = option(
        None,
        "Give the model a second head that synthesises the image, and weight its error by so much.",
        low=0,
    )
    width: int = option(
        16, "Channels of the teacher's stem; its layers have 3, 6 and 12 times more.", low=1, high=128
    )
    teacher_steps: int = option(TeacherRecipe.steps, "Training steps of the teacher.", low=1, high=10**9)
    teacher_batch: int = option(TeacherRecipe.batch, "Images of a teacher's step.", low=2, high=10**6)
    teacher_lr: float = option(TeacherRecipe.lr, "The teacher's highest learning rate.", above=0)
    teacher_warmup: float = option(
        TeacherRecipe.warmup, "Share of its steps over which that rises.", low=0, high=1
    )
    teacher_momentum: float = option(TeacherRecipe.momentum, "Of its SGD.", low=0, below=1)
    teacher_decay: float = option(TeacherRecipe.decay, "Of its weights, times lr, a step.", low=0)
    teacher_mix: float = option(
        TeacherRecipe.mix, "Share of its batches that are cut and mixed.", low=0, high=1
    )
    teacher_smoothing: float = option(TeacherRecipe.smoothing, "Of its labels.", low=0, below=1)
    teacher_validate_every: int = option(
        TeacherRecipe.validate_every, "Steps between its validations.", low=1
    )
