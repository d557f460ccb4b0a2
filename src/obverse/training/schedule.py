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
