"""What images are judged by, each with what a rate-distortion curve is drawn over: larger is better there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from obverse.errors import OptionError
from obverse.metrics.distortion import ms_ssim, ms_ssim_db, psnr

Measure = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Metric:
    """How alike two images are.

    Attributes:
        field: its name in tables.
        label: what an axis shows, with the unit.
        measure: (original, decoded), uint8 (H, W, 3), to a number.
        axis: that number to what curves are drawn and BD-rates computed over.
        curve: the name of what `axis` returns.
    """

    field: str
    label: str
    measure: Measure
    curve: str
    axis: Callable[[float], float] = float


def _ssimulacra2(a: np.ndarray, b: np.ndarray) -> float:
    from obverse.metrics.ssimulacra2 import MIN_SIDE, score

    return score(a, b) if min(a.shape[:2]) >= MIN_SIDE else math.nan


def _lpips(a: np.ndarray, b: np.ndarray) -> float:
    from obverse.metrics.lpips import MIN_SIDE, distance

    return distance(a, b) if min(a.shape[:2]) >= MIN_SIDE else math.nan


def lpips_db(value: float) -> float:
    """LPIPS on a scale that rises with quality: `-10 log10(value)` in dB; `inf` at 0."""
    return -10 * math.log10(value) if value > 0 else math.nan if math.isnan(value) else math.inf


METRICS = {
    "psnr": Metric("psnr", "PSNR (dB)", psnr, "psnr"),
    "ms-ssim": Metric("ms_ssim", "MS-SSIM (dB)", ms_ssim, "ms_ssim_db", ms_ssim_db),
    "ssimulacra2": Metric("ssimulacra2", "SSIMULACRA2", _ssimulacra2, "ssimulacra2"),
    "lpips": Metric("lpips", "LPIPS (dB)", _lpips, "lpips_db", lpips_db),
}


def check_metrics(names: Iterable[str]) -> frozenset[str]:
    """The metrics of these names, PSNR with them.

    Raises:
        OptionError: for a name that is none.
        MissingExtraError: what one needs is not installed.
    """
    wanted = frozenset(names) | {"psnr"}
    unknown = sorted(wanted - METRICS.keys())
    if unknown:
        raise OptionError(f"unknown metric {unknown[0]!r}; known are {', '.join(METRICS)}")
    if "lpips" in wanted:
        from obverse.metrics.lpips import weights

        weights("alex")
    return wanted
