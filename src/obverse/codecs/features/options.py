"""Options of the feature compressor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from obverse.fields import Fields, Options, option


@dataclass(frozen=True, kw_only=True)
class Fitting(Fields):
    """How a bottleneck is fitted to features."""

    one_of: ClassVar[tuple[str, ...]] = ("lmbda", "bits", "loss")

    lmbda: float | None = option(None, "What a bit may cost in distortion.", above=0)
    bits: float | None = option(None, "Bits a vector of the whole file, met from below.", above=0)
    loss: float | None = option(
        None,
        "Part of the variance that may be lost; by default .01.",
        above=0,
        below=1,
        compared=(0.001, 0.003, 0.01, 0.03, 0.1),
    )
    distortion: str | None = option(
        None, "What loss is measured by, l2 (default) or l1.", choices=("l2", "l1")
    )
    transform: str | None = option(
        None, "Before quantisation; by default auto, which chooses.", choices=("auto", "klt", "identity")
    )
    standardise: bool = option(False, "Count distortion in units of each feature's deviation.")


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(Fitting, Options):
    """Without a stored model one is fitted to the data and put into the file, by one of lmbda, bits and loss.

    encoder: whose features these are, an `EncoderId` or its fingerprint, 32 bytes.
    prototypes: a vector for each class name, kept in the file.
    """

    chunk: int = option(256, "Vectors that are read together.", low=1, high=65536)
    encoder: Any = option(None, "Whose features these are.", flag=False)
    prototypes: Mapping[str, Any] | None = option(None, "A vector for each class.", flag=False)
