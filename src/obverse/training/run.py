"""What every training run does around a step of its own: folder, checkpoint, resuming, recipe, what it says.

    run = Run(out, device, recipe, {"model": model, "optimiser": optimiser}, {"rng": rng})
    run.resume()
    for step in run.steps(validate):          a step of the method, which ends with run.log(loss=...)
        ...
                                              then: progress, validation and checkpoint when they are due

A run that is stopped, by Ctrl-C or SIGTERM, ends the step that it is in, writes its checkpoint and says so; one that is
killed goes on from its last checkpoint. Both give what a run that was never stopped gives, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from obverse.errors import TrainingError
from obverse.interrupts import interrupt
from obverse.training.checkpoint import Checkpoint, Stateful
from obverse.training.progress import Progress
from obverse.training.stopping import Stopped, stopping


def check_device(name: str) -> torch.device:
    """The device: "cpu", "cuda", or "auto" for the faster that is here.

    Raises:
        TrainingError: when it is not here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not (name.startswith("cuda") and torch.cuda.is_available()):
        raise TrainingError(f"there is no device {name!r} here: use cpu")
    return torch.device(name)


class Settings(Protocol):
    """What a run reads of a recipe."""

    @property
    def steps(self) -> int: ...

    @property
    def validate_every(self) -> int: ...

    @property
    def checkpoint_seconds(self) -> float: ...


@dataclass(frozen=True)
class Unvalidated:
    """Settings of a run without validation.

    Attributes:
        steps: in all.
        checkpoint_seconds: between checkpoints.
    """

    steps: int
    checkpoint_seconds: float

    @property
    def validate_every(self) -> int:
        """Never."""
        return self.steps + 1


Validation = Callable[[], tuple[Mapping[str, Any], str | None]]
"""() -> a row of validation.jsonl, and the words that tell of it, None for the row's own numbers."""


class Run:
    """One training run in its folder: the loop around a method's step.

    Args:
        out: the folder.
        device: where the parts are.
        recipe: `steps`, `validate_every` and `checkpoint_seconds` are read.
        parts: modules, optimisers and whatever else it goes on from, by the names under which they are stored.
        rngs: random generators of numpy, likewise.
        facts: what else a reader of the checkpoint needs.
        every: how many steps a line of progress tells of.
    """

    def __init__(
        self,
        out: Path,
        device: torch.device,
        recipe: Settings,
        parts: Mapping[str, Stateful],
        rngs: Mapping[str, np.random.Generator] | None = None,
        facts: Mapping[str, object] | None = None,
        every: int = 100,
    ):
        self.out, self.recipe, self.every = out, recipe, every
        self.checkpoint = Checkpoint(out, device, parts, rngs or {}, facts or {}, recipe.checkpoint_seconds)
        self.step = 0
        self._values: dict[str, float] = {}
        self._more = ""

    def resume(self) -> int:
        """Go on from the checkpoint, if there is one.

        Returns:
            The steps that are done.

        Raises:
            TrainingError: the checkpoint is damaged.
        """
        self.step = self.checkpoint.resume()
        return self.step

    def log(self, more: str = "", **values: float) -> None:
        """At the end of a step: what a line of progress says of it.

        Args:
            more: words behind the running averages.
            **values: numbers of the step, whose running averages a line says.
        """
        self._values, self._more = values, more

    def steps(
        self, validate: Validation | None = None, validate_at: Collection[int] = (), first: bool = False
    ) -> Iterator[int]:
        """The numbers of the steps that are left, each yielded for the body of a loop to do.

        Args:
            validate: called every `recipe.validate_every` steps and after the last one.
            validate_at: further numbers of done steps after which it is called.
            first: whether a new run is validated before its first step, to tell what it has to better.

        Raises:
            KeyboardInterrupt: the run was stopped; what it says tells which step was kept.
        """
        progress, recipe = Progress(self.out, self.step, self.recipe.steps, self.every), self.recipe

        def validated() -> None:
            if validate is not None:
                progress.validation(self.step, *validate())

        with stopping() as stop:
            try:
                if first and self.step == 0:
                    stop.check()
                    validated()
                while self.step < recipe.steps:
                    with stop.put_off():
                        yield self.step
                        self.step += 1
                        progress.step(self.step, self._values, self._more)
                    stop.check()
                    if self.step in (recipe.steps, *validate_at) or self.step % recipe.validate_every == 0:
                        validated()
                    with stop.put_off():
                        self.checkpoint.save_if_due(self.step, recipe.steps)
                    stop.check()
            except Stopped:
                with stop.put_off():
                    self.checkpoint.save(self.step)
                raise interrupt(stop.number)(
                    f"step {self.step} of {recipe.steps} is kept in {self.checkpoint.path}, "
                    "and the same command goes on from there"
                ) from None


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, ema: float, step: int) -> None:
    """Move the averaged weights towards the model's, faster at the beginning, when `step` steps were done before."""
    weight = 1 - min(ema, (step + 1) / (step + 10))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)
