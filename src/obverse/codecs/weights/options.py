"""Options of the codec of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obverse.errors import OptionError
from obverse.fields import LimitedOptions, option


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(LimitedOptions):
    """How long to look for what takes fewer bytes, and what the receiver has."""

    effort: int = option(
        3,
        "0 to 9: from 1 on scales of rows and columns and repeats are used, from 7 on all is tried. Default 3.",
        low=0,
        high=9,
    )
    base: Any = option(
        None,
        "Weights that the receiver has, as the model before fine-tuning: a file, also .obv; needed to decompress.",
        parse=Path,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.base is None or isinstance(self.base, str | Path | Mapping)):
            raise OptionError(f"base is a file of weights, or arrays under names, not {self.base!r}")
