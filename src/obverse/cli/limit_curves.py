"""From a source to its curves, for `obverse limits`: which algorithm, at which slopes, and what to say of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from obverse.cli.console import UsageError, progress_bar
from obverse.errors import InputError, UnsupportedInputError

if TYPE_CHECKING:  # NumPy and matplotlib are loaded when the command runs
    import numpy as np

    from obverse.theory import RateDistortionCurve, RateDistortionPoint

LABELS = {"mse": "mean squared error", "abs": "mean absolute error", "hamming": "share of wrong symbols"}
RATES_BITS = (0.05, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
VECTOR_RATES_BITS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)  # particles hold no more: see wasserstein_gd
PARTICLES = 2000
BRACKET = (
    "the bracket's upper end is a rate measured on samples kept out, its lower end holds as far as these samples show "
    "all that the source has"
)


@dataclass
class Limits:
    """What is known about a source: its curves, and a sentence on what they are."""

    source: str
    distortion: str
    note: str
    curves: list[RateDistortionCurve] = field(default_factory=list)
    bracket: RateDistortionCurve | None = None  # one of the curves: the limit lies in it but for chance


# -- sources with a formula ---------------------------------------------------------------------------------


def of_gaussian(variance: float, given_y: float | None, distortion: str) -> Limits:
    import numpy as np

    from obverse.theory import RateDistortionCurve, gaussian_rate_bits, gaussian_wyner_ziv_rate_bits

    _check_positive("--gaussian", variance)
    if distortion == "hamming":
        raise UsageError(
            "a Gaussian has no symbols: --distortion hamming goes with --bernoulli and --samples"
        )
    source = f"Gaussian of variance {variance:g}"
    if distortion == "abs":
        if given_y is not None:
            raise UsageError("--side-info-noise goes with --distortion mse")
        sigma = math.sqrt(variance)
        return _on_grid(
            source,
            lambda x: np.exp(-(x**2) / (2 * variance)),
            7 * sigma,
            sigma * math.sqrt(2 / math.pi),
            "abs",
        )
    levels = variance * 2.0 ** (-2 * np.array([0.0, *RATES_BITS]))
    curve = RateDistortionCurve.of_formula("R(D)", lambda d: gaussian_rate_bits(variance, d), levels)
    found = Limits(source, "mse", "exact, from the formula", [curve])
    if given_y is not None:
        _check_positive("--side-info-noise", given_y)
        if given_y > variance:
            raise UsageError("--side-info-noise is the variance of x given y: at most that of x, --gaussian")
        levels = given_y * 2.0 ** (-2 * np.array([0.0, *RATES_BITS]))
        found.source += f", {given_y:g} given y"
        found.curves[0] = RateDistortionCurve.of_formula(
            "R(D) without side information", lambda d: gaussian_rate_bits(variance, d), levels
        )
        found.curves.append(
            RateDistortionCurve.of_formula(
                "Wyner-Ziv R(D)", lambda d: gaussian_wyner_ziv_rate_bits(given_y, d), levels
            )
        )
    return found


def of_laplace(scale: float, distortion: str) -> Limits:
    import numpy as np

    from obverse.theory import RateDistortionCurve, laplace_rate_bits

    _check_positive("--laplace", scale)
    if distortion == "hamming":
        raise UsageError(
            "a Laplacian has no symbols: --distortion hamming goes with --bernoulli and --samples"
        )
    source = f"Laplacian of scale {scale:g}"
    if distortion == "mse":
        return _on_grid(source, lambda x: np.exp(-np.abs(x) / scale), 16 * scale, 2 * scale**2, "mse")
    levels = scale * 2.0 ** -np.array([0.0, *RATES_BITS])
    curve = RateDistortionCurve.of_formula("R(D)", lambda d: laplace_rate_bits(scale, d), levels)
    return Limits(source, "abs", "exact, from the formula", [curve])


def of_bernoulli(p: float, distortion: str) -> Limits:
    import numpy as np

    from obverse.theory import RateDistortionCurve, bernoulli_rate_bits

    if not 0 < p < 1:
        raise UsageError(f"--bernoulli takes a probability between 0 and 1, not {p:g}")
    if distortion != "hamming":
        raise UsageError("a coin has symbols: with --bernoulli the distortion is hamming")
    levels = np.linspace(0, min(p, 1 - p), 25)
    curve = RateDistortionCurve.of_formula("R(D)", lambda d: bernoulli_rate_bits(p, d), levels)
    return Limits(f"coin of probability {p:g}", "hamming", "exact, from the formula", [curve])


def _on_grid(
    source: str, density: Callable[[Any], Any], reach: float, greatest: float, distortion: str
) -> Limits:
    """R(D) by Blahut-Arimoto of a density without a formula. greatest: the distortion at rate 0."""
    from obverse.theory import absolute_error, discretise, squared_error

    x, p = discretise(density, -reach, reach, 601)
    matrix = (squared_error if distortion == "mse" else absolute_error)(x, x)
    curve = _blahut_arimoto("R(D)", p, matrix, _levels(greatest, distortion), distortion)
    note = "Blahut-Arimoto on a grid of 601 points; certified for the grid"
    return Limits(source, distortion, note, [curve])


# -- samples ------------------------------------------------------------------------------------------------


def of_samples(x: np.ndarray, y: np.ndarray | None, distortion: str, sandwich: bool) -> Limits:
    vectors = x.ndim == 2 and x.shape[1] > 1
    source = f"{len(x):,} samples" + (f" of {x.shape[1]} dimensions" if vectors else "")
    if sandwich and not vectors:
        raise UsageError("--sandwich is for vectors (n, dims); the curve of scalars is computed on a grid")
    if not vectors:
        if distortion == "hamming":
            return _of_symbols(source, x, y)
        return _of_scalars(source, x, distortion) if y is None else _of_pairs(source, x, y, distortion)
    if y is not None:
        raise UnsupportedInputError(
            "with side information the samples must be scalars (n,): give one dimension"
        )
    if distortion != "mse":
        raise UnsupportedInputError("for vectors the distortion is mse")
    return _of_vectors(source, x, sandwich)


def _of_symbols(source: str, x: np.ndarray, y: np.ndarray | None) -> Limits:
    import numpy as np

    from obverse.theory import conditional_blahut_arimoto, curve_at_slopes, hamming, wyner_ziv_auxiliary
    from obverse.theory.densities import symbols_of

    values, index = symbols_of(x)
    if len(values) < 2:
        raise InputError("all samples are the same symbol: that needs no bits")
    d = hamming(len(values))
    p = np.bincount(index) / len(index)
    note = "Blahut-Arimoto on the symbols' frequencies, certified for these frequencies"
    greatest = float(1 - p.max())
    slopes = _slopes(greatest * (1 - np.array(RATES_BITS) / 4.2), "hamming", len(values))
    found = Limits(source, "hamming", note, [_blahut_arimoto("R(D)", p, d, None, "hamming", slopes)])
    if y is None:
        return found
    sides, side_index = symbols_of(y, "the side information")
    joint = np.zeros((len(values), len(sides)))
    np.add.at(joint, (index, side_index), 1 / len(index))
    least = float(1 - joint.max(0).sum())
    if least == 0:
        raise InputError("the side information tells every symbol already: that needs no bits")
    slopes = _slopes(least * (1 - np.array(RATES_BITS) / 4.2), "hamming", len(values))
    found.curves[0] = _blahut_arimoto("R(D) without side information", p, d, None, "hamming", slopes)
    with progress_bar("Wyner-Ziv", len(slopes)) as advance:

        def solve(slope: float) -> RateDistortionPoint:
            advance()
            return wyner_ziv_auxiliary(joint, d, slope, letters=len(values) + 1, restarts=2).point

        found.curves.append(curve_at_slopes("Wyner-Ziv R(D)", solve, slopes))
    found.curves.append(
        curve_at_slopes(
            "R(D) with y at both ends", lambda s: conditional_blahut_arimoto(joint, d, s).point, slopes
        )
    )
    found.note = (
        "Blahut-Arimoto on the frequencies; Wyner-Ziv is achievable, the dotted bound below it certified"
    )
    return found


def _of_scalars(source: str, x: np.ndarray, distortion: str) -> Limits:
    from obverse.theory import limit_of_scalars

    with progress_bar("R(D)", len(RATES_BITS)) as advance:
        limit = limit_of_scalars(x, distortion, RATES_BITS, progress=advance)
    note = "an estimate: Blahut-Arimoto on a mixture of Gaussians fitted to the samples; " + BRACKET
    return Limits(source, distortion, note, [limit.curve, limit.bracket], limit.bracket)


def _of_pairs(source: str, x: np.ndarray, y: np.ndarray, distortion: str) -> Limits:
    from obverse.theory import limit_of_pairs

    if distortion == "abs":
        raise UnsupportedInputError("with side information the distortion is mse, or hamming for symbols")
    with progress_bar("Wyner-Ziv", len(RATES_BITS)) as advance:
        limit = limit_of_pairs(x, y, RATES_BITS, progress=advance)
    curves = [limit.without, limit.curve, limit.both_ends, limit.bracket]
    note = "estimates: Blahut-Arimoto on a mixture of Gaussians fitted to the pairs; " + BRACKET
    source = f"{source} with side information at the decoder"
    return Limits(source, "mse", note, [c for c in curves if c is not None], limit.bracket)


def _of_vectors(source: str, x: np.ndarray, sandwich: bool) -> Limits:
    import numpy as np

    from obverse.theory import curve_at_slopes, wasserstein_gd
    from obverse.theory.wasserstein_gd import check_samples

    x = check_samples(x)
    eigenvalues = np.maximum(np.linalg.eigvalsh(np.cov(x.T)), 0)
    # the slopes at which a Gaussian of this covariance has these rates
    levels = np.geomspace(eigenvalues.max() * 1e-6, eigenvalues.max() * 0.999, 4000)
    rates = 0.5 * np.log2(np.maximum(eigenvalues / levels[:, None], 1)).sum(1)
    slopes = [1 / (2 * float(np.interp(-rate, -rates, levels))) for rate in VECTOR_RATES_BITS]
    steps = 200
    with progress_bar("Wasserstein gradient descent", steps * len(slopes)) as advance:

        def solve(slope: float) -> RateDistortionPoint:
            return wasserstein_gd(x, slope, PARTICLES, steps, 1000, progress=advance).point

        curves = [curve_at_slopes("R(D), estimate from above", solve, slopes)]
    note = f"an estimate from above: Wasserstein gradient descent of {PARTICLES} particles"
    if sandwich:
        import obverse.theory.sandwich as learned

        recipe = learned.SandwichRecipe(steps=1000)
        proven = True
        with progress_bar("sandwich", 2 * recipe.steps * len(slopes)) as advance:

            def bounds(slope: float) -> RateDistortionPoint:
                nonlocal proven
                result = learned.sandwich(x, slope, recipe, progress=advance)
                proven = proven and result.certified
                return result.point

            curves.append(curve_at_slopes("R(D), learned bounds", bounds, slopes))
        kind = "whose suprema are certified" if proven else "an estimate only, as its suprema are searched"
        note += f"; learned bounds with a lower one, {kind}"
    return Limits(source, "mse", note, curves)


# -- slopes and levels --------------------------------------------------------------------------------------


def _levels(greatest: float, distortion: str) -> list[float]:
    """The distortions to look near, from the one at rate 0 down."""
    power = 2 if distortion == "mse" else 1
    return [greatest * 2.0 ** (-power * rate) for rate in RATES_BITS]


def _slopes(levels: Any, distortion: str, symbols: int = 2) -> list[float]:
    """The slopes in nats that a Gaussian, a Laplacian or uniform symbols have at these distortions."""
    if distortion == "mse":
        return [1 / (2 * d) for d in levels]
    if distortion == "abs":
        return [1 / d for d in levels]
    return [max(math.log((1 - d) * (symbols - 1) / d), 0.05) for d in levels]


def _blahut_arimoto(
    name: str,
    p: Any,
    matrix: Any,
    levels: list[float] | None,
    distortion: str,
    slopes: list[float] | None = None,
) -> RateDistortionCurve:
    from obverse.theory import blahut_arimoto, curve_at_slopes

    slopes = slopes or _slopes(levels, distortion)
    with progress_bar("Blahut-Arimoto", len(slopes)) as advance:

        def solve(slope: float) -> RateDistortionPoint:
            advance()
            return blahut_arimoto(p, matrix, slope, 1e-4).point

        return curve_at_slopes(name, solve, slopes)


def _check_positive(option: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{option} must be a finite number above 0, not {value:g}")
