"""Rate-distortion curves as a picture: limits as lines, codecs as marks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from obverse.errors import InputError
from obverse.theory.curves import RateDistortionCurve

# Colours that colour-blind readers tell apart (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#e69f00")
_MARKS = "osD^vPX*"


@dataclass(frozen=True)
class Measured:
    """What a codec reached.

    Attributes:
        distortion: mean per sample.
        rate_bits: bits per sample.
        label: its name in the legend.
    """

    distortion: float
    rate_bits: float
    label: str = "measured"


def plot_curves(
    curves: Sequence[RateDistortionCurve],
    points: Sequence[Measured] = (),
    title: str = "Rate and distortion",
    distortion_label: str = "mean squared error",
    logarithmic: bool = True,
) -> bytes:
    """A PNG of curves and points.

    Solid: what is achievable. Where the bound below differs visibly, it is dotted and the area between is shaded.

    Args:
        curves: rate over distortion.
        points: what was measured.
        title: above the plot.
        distortion_label: below the distortion axis.
        logarithmic: the distortion axis.

    Raises:
        InputError: where there is nothing to draw.
    """
    from matplotlib.figure import Figure  # a bare Figure draws with Agg and needs no display
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not curves and not points:
        raise InputError("there is no curve and no point to draw")
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    for index, curve in enumerate(curves):
        colour = _COLOURS[index % len(_COLOURS)]
        axes.plot(curve.distortion, curve.rate_bits, color=colour, label=curve.name, linewidth=2)
        if np.nanmax(curve.rate_bits - curve.lower_rate_bits, initial=0) > 0.01:
            # between the points too, where the chord of lower bounds would be none
            levels = np.linspace(curve.distortion[0], curve.distortion[-1], 200)
            below = np.array([curve.lower_rate_bits_at(d) for d in levels])
            above = np.array([curve.rate_bits_at(d) for d in levels])
            axes.plot(levels, below, color=colour, linewidth=1, linestyle=":")
            axes.fill_between(levels, below, above, color=colour, alpha=0.12, linewidth=0)
    labels = list(dict.fromkeys(point.label for point in points))
    for index, label in enumerate(labels):
        group = sorted((p.distortion, p.rate_bits) for p in points if p.label == label)
        axes.plot(
            [d for d, _ in group],
            [r for _, r in group],
            color=_COLOURS[(len(curves) + index) % len(_COLOURS)],
            marker=_MARKS[index % len(_MARKS)],
            linestyle="--" if len(group) > 1 else "none",
            linewidth=1,
            label=label,
        )
    if logarithmic and all(p.distortion > 0 for p in points):
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        if high < 100 * low:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)
    axes.set_title(title, fontsize=12)
    axes.set_xlabel(f"distortion ({distortion_label})")
    axes.set_ylabel("rate (bits per sample)")
    axes.grid(color="0.9", linewidth=0.8, which="both")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
