"""Options of bits back."""

from __future__ import annotations

from dataclasses import dataclass

from obverse.fields import Options, option


@dataclass(frozen=True, kw_only=True)
class VaeOptions(Options):
    """How a set is cut into chains, and what they begin with."""

    seed: int = option(0, "Of the initial bits.", low=0, high=2**63 - 1)
    segment: int = option(
        1000,
        "Images of a chain: fewer lose less when a file is damaged, and cost more initial bits.",
        low=1,
        high=2**31 - 1,
    )
    initial: int | None = option(
        None,
        "Symbols of 10 initial bits that a chain has; by default as few as suffice.",
        low=0,
        high=2**16,
    )
    model_only: bool = option(False, "Code every segment with the model, also where it does not fit.")
