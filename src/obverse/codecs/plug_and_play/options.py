"""Options of compression with a model of the user's."""

from __future__ import annotations

from dataclasses import dataclass

from obverse.fields import Options, option


@dataclass(frozen=True, kw_only=True)
class PlugAndPlayOptions(Options):
    """lmbda; and for posteriors without a stored model how grids and tables are made."""

    lmbda: float = option(
        1.0,
        "What a bit may cost, in units of (z - mean)^2 / (2 std^2); default 1.",
        above=0,
        compared=tuple(2.0**k for k in range(-4, 9)),
    )
    method: str | None = option(
        None,
        "Without a stored model: how latents are quantised, by default vbq or steps, whichever costs less.",
        choices=("vbq", "steps", "uniform", "scaled-uniform", "k-means"),
    )
    prior: str | None = option(
        None,
        "Without a stored model: what places vbq's points; by default the better.",
        choices=("empirical", "normal"),
    )
    depth: int | None = option(None, "Without a stored model: levels of vbq's grid.", low=6, high=12)
    axis: int | None = option(
        None, "Without a stored model: the axis whose places have tables of their own.", low=0, high=7
    )
