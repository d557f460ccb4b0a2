"""Learning rates over the steps of a run."""

from __future__ import annotations

import math
from typing import Protocol


class Schedule(Protocol):
    """What a schedule reads of a recipe.

    Attributes:
        decay: the last part of the steps, over which the rate falls to zero.
    """

    @property
    def lr(self) -> float: ...

    @property
    def warmup(self) -> int: ...

    @property
    def decay(self) -> float: ...

    @property
    def steps(self) -> int: ...


def half_cosine(step: int, steps: int) -> float:
    """What a rate is multiplied by: from 1 to 0 along half a cosine, 0 once `steps` are done."""
    return 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))


def warm_up_and_fall(peak: float, warmup: int, step: int, first: int, last: int) -> float:
    """Warm up, then fall along half a cosine to a hundredth.

    Args:
        peak: the highest rate.
        warmup: steps of the whole run over which it rises.
        step: steps that are done.
        first: the step from which it falls.
        last: the step at which it has fallen.

    Returns:
        The learning rate of the next step.
    """
    return peak * min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * half_cosine(step - first, last - first))


def warm_up_stay_fall(recipe: Schedule, step: int) -> float:
    """Warm up, stay, and fall (1 - square root) at the end, so that a longer run shares its beginning.

    Args:
        recipe: lr, warmup, decay, steps.
        step: steps that are done.

    Returns:
        The learning rate of the next step.
    """
    rate = recipe.lr * min(1.0, (step + 1) / recipe.warmup)
    left = (recipe.steps - step) / max(1.0, recipe.decay * recipe.steps)
    return rate * (1 - math.sqrt(1 - left)) if left < 1 else rate
