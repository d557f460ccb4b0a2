"""Options of the integer flow."""

from __future__ import annotations

from dataclasses import dataclass

from obverse.fields import Options, option


@dataclass(frozen=True, kw_only=True)
class FlowOptions(Options):
    """How a set is cut."""

    segment: int = option(
        250,
        "Images of a message: fewer lose less when a file is damaged, and cost a few bytes more for each.",
        low=1,
        high=1000,
    )
    model_only: bool = option(False, "Code every segment with the model, also where it does not fit.")
