"""Uniform quantisation of latents: every posterior mean to the nearest multiple of a step.

    mean ──► round((mean - offset) / step) ──► symbol ──► offset + step * symbol

The plain alternative to Variational Bayesian Quantization, which it is compared with: it knows nothing of how sure
the posterior is of a latent. One step serves all latents, or (`scaled`) each group has its own, in proportion to its
typical posterior standard deviation: then it knows that much.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.point_grid import REACH, UNIFORM, PointGrid
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.codecs.plug_and_play.quantiser import check_lmbda
from obverse.errors import InputError


def typical_std(posterior: Posterior, each: bool) -> npt.NDArray[np.float64]:
    """(G,) the standard deviation whose inverse square is the mean of all inverse squares of a group (A, G, B); without
    `each`, of all groups together: what a squared error means for the objective, on average."""
    weights = np.square(1 / posterior.std.astype(np.float64))
    means = weights.mean((0, 2)) if each else np.full(weights.shape[1], weights.mean())
    return np.asarray(1 / np.sqrt(means))


def uniform_grid(posterior: Posterior, lmbda: float, scaled: bool = False) -> PointGrid:
    """The steps at which a bit more or less of fine quantisation is worth lmbda.

    A step s has a distortion of s^2 / 12 / (2 std^2), which falls by the factor 4 a bit; its slope is lmbda at
    s = std sqrt(12 lmbda / ln 2). posterior: (A, G, B). Raises InputError.
    """
    check_lmbda(lmbda)
    steps = typical_std(posterior, scaled) * math.sqrt(12 * float(lmbda) / math.log(2))
    return PointGrid(UNIFORM, np.stack([np.zeros_like(steps), steps], 1).astype(np.float32))


def nearest_multiple(means: npt.NDArray[np.float32], grid: PointGrid) -> npt.NDArray[np.int32]:
    """The symbol of each mean (A, G, B) on a uniform grid. Raises InputError where a step is too small."""
    p = grid.parameters.astype(np.float64)
    symbols = np.rint((means - p[:, 0, None]) / p[:, 1, None])
    if np.abs(symbols).max() >= REACH:
        raise InputError("the step of uniform quantisation is too small for these latents: raise lmbda")
    return np.asarray(symbols.astype(np.int32))
