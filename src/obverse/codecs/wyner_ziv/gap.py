"""How far a codec is above what is possible for its source, and which limit that is measured against.

scalars, one y       the Wyner-Ziv limit: by its formula where the pairs are Gaussian, else estimated with a bracket
vectors, several y   no limit is known: only what a Gaussian of the same residual would need, and that by this name
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from obverse.codecs.wyner_ziv.side_information import SideInformation
from obverse.errors import InputError
from obverse.theory import gaussian_wyner_ziv_rate_bits, limit_of_pairs
from obverse.theory.densities import thinned

MOST_PAIRS = 60_000  # that a limit is estimated from


@dataclass(frozen=True)
class Gap:
    """What a mean squared error needs at least, as far as that is known.

    Attributes:
        facts: numbers for logs and cards.
        sentence: what they are.
    """

    facts: dict[str, float]
    sentence: str


def gap_of(
    x: np.ndarray, y: np.ndarray, side: SideInformation, mse: float, ideal_bits: float, file_bits: float
) -> Gap:
    """The gap of a codec at its error.

    Args:
        x: (n, d) samples of the source, training's and those kept out.
        y: (n, c) their side information.
        side: what it is.
        mse: mean squared error a component.
        ideal_bits: rate a component with an ideal entropy coder.
        file_bits: rate a component of files.
    """
    if x.shape[1] == y.shape[1] == 1:
        try:
            return _of_scalars(x[:, 0], y[:, 0].astype(np.float64), mse, ideal_bits, file_bits)
        except InputError:  # no density: x is constant for some symbol, say
            pass
    needed = gaussian_wyner_ziv_rate_bits(residual_variance(side, x, y), mse)
    facts = {
        "linear_gaussian_bits": needed,
        "ideal_above_linear_gaussian_bits": ideal_bits - needed,
        "file_above_linear_gaussian_bits": file_bits - needed,
    }
    return Gap(
        facts,
        "linear_gaussian_bits: what a Gaussian source of the same residual variance around a linear function of y "
        "would need at this error, bits a component. It is no limit of this source unless that is such a Gaussian: "
        "other sources can need less, and then the differences are negative.",
    )


def _of_scalars(x: np.ndarray, y: np.ndarray, mse: float, ideal_bits: float, file_bits: float) -> Gap:
    x, y = thinned(x, y, most=MOST_PAIRS)
    limit = limit_of_pairs(x, y, distortions=[mse], through=mse, around=False)
    linear = limit.gaussian and len(np.unique(y)) > 2
    if linear:
        design = np.stack([np.ones(len(x)), y], 1)
        variance = float(np.mean((x - design @ np.linalg.lstsq(design, x, rcond=None)[0]) ** 2))
        bits = gaussian_wyner_ziv_rate_bits(variance, mse)
        name = (
            "1/2 log2(variance of x given y / mse), the Wyner-Ziv limit of Gaussian pairs: nothing that is not "
            "Gaussian shows in these pairs"
        )
    else:
        curve, bracket = limit.curve, limit.bracket
        bits = curve.estimate_bits_at(max(mse, curve.points[0].distortion))
        name = (
            "the Wyner-Ziv limit at this error, estimated from the pairs by a mixture of Gaussians and Blahut-Arimoto; "
            "it lies between limit_low_bits and limit_high_bits"
        )
    facts = {"limit_bits": bits}
    if not linear:
        at = max(mse, bracket.points[0].distortion)
        facts["limit_low_bits"] = bracket.lower_rate_bits_at(mse)
        facts["limit_high_bits"] = bracket.rate_bits_at(at)
    facts |= {"gap_bits": ideal_bits - bits, "file_gap_bits": file_bits - bits}
    sentence = f"limit_bits: {name}. gap_bits: of the ideal rate above it; file_gap_bits: of the file."
    return Gap(facts, sentence)


def residual_variance(side: SideInformation, x: np.ndarray, y: np.ndarray) -> float:
    """sigma^2_{x|y} around a linear function of y (of each category's mean), the mean of all components; for
    vectors the geometric mean of the residual covariance's eigenvalues."""
    features = side.features(y).astype(np.float64)
    design = np.concatenate([np.ones((len(x), 1)), features], axis=1)
    weight = np.linalg.lstsq(design, x, rcond=None)[0]
    residual = x - design @ weight
    _, logarithm = np.linalg.slogdet(np.atleast_2d(residual.T @ residual / len(x)))
    return float(math.exp(logarithm / x.shape[1]))
