"""k-means quantisation of latents: every posterior mean to the nearest of K centres, which are learned.

    means ──► sort ──► K centres at quantiles ──► cells end half way ──► centres to the means of their cells ──► ...
                                                       ▲                              │
                                                       └──────────────────────────────┘   until they rest

In one dimension, with running sums, a round costs one binary search a centre. Like uniform quantisation it knows
nothing of how sure the posterior is; it is the other baseline of Yang, Bamler, Mandt (ICML 2020). Source: Lloyd,
"Least squares quantization in PCM", IEEE Trans. Inf. Theory 28(2), 1982.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.baselines import uniform_grid
from obverse.codecs.plug_and_play.point_grid import POINTS, PointGrid
from obverse.codecs.plug_and_play.posterior import Posterior

MOST_CENTRES = 1024
_TAIL = 0.001  # of the samples on either side, which do not count for their range


def centres_of(
    samples: npt.NDArray[np.floating[Any]], count: int, rounds: int = 200
) -> npt.NDArray[np.float32]:
    """(count,) rising centres of samples (n,)."""
    x = np.sort(samples.ravel()).astype(np.float64)
    sums = np.append(0.0, np.cumsum(x - x[len(x) // 2]))
    centres = np.quantile(x, (np.arange(count) + 0.5) / count)
    for _ in range(rounds):
        cuts = np.concatenate([[0], np.searchsorted(x, (centres[1:] + centres[:-1]) / 2), [len(x)]])
        held = np.diff(cuts)
        means = np.diff(sums[cuts]) / np.maximum(held, 1) + x[len(x) // 2]
        moved = np.where(held > 0, means, centres)
        rest = np.abs(moved - centres).max() <= 1e-6 * max(x[-1] - x[0], 1e-30)
        centres = np.sort(moved)
        if rest:
            break
    return centres.astype(np.float32)


def k_means_grid(posterior: Posterior, lmbda: float) -> PointGrid:
    """As many centres for each group (A, G, B) as a uniform grid for this lmbda has points in their range."""
    step = float(uniform_grid(posterior, lmbda).parameters[0, 1])
    low, high = np.quantile(posterior.mean, [_TAIL, 1 - _TAIL])
    count = int(np.clip(round(float(high - low) / step) + 1, 2, MOST_CENTRES))
    groups = range(posterior.shape[1])
    return PointGrid(POINTS, np.stack([centres_of(posterior.mean[:, g], count) for g in groups]))


def nearest_centre(means: npt.NDArray[np.float32], grid: PointGrid) -> npt.NDArray[np.int32]:
    """The symbol of each mean (A, G, B): the number of the nearest centre of its group."""
    symbols = np.empty(means.shape, np.int32)
    for group, centres in enumerate(grid.parameters.astype(np.float64)):
        symbols[:, group] = np.searchsorted((centres[1:] + centres[:-1]) / 2, means[:, group])
    return symbols
