"""Wyner-Ziv R(D): the rate when only the decoder has the side information y.

    x ──► q(u|x) ──► u ──► t_u(y) ──► x̂         rate I(X; U | Y), the mean of d(x, t_u(y)) is D
                           ▲
                           y

A letter u stands for a *strategy*, a function t_u from y to reproductions. At slope s the objective
I(X; U | Y) + s E d is, for fixed strategies, jointly convex in q(u|x) and r(u|y), so alternating between

    r(u|y) = sum_x p(x|y) q(u|x)      and      q(u|x) ~ exp(sum_y p(y|x) [ln r(u|y) - s d(x, t_u(y))])

ends at the optimum. With all |Z|^|Y| strategies (`wyner_ziv`) that is R(D), certified from below. Large
alphabets and grids (`wyner_ziv_auxiliary`, `wyner_ziv_squared_error`) have too many, so there the strategies
are optimised along with the rest: t_u(y) becomes the best reproduction given u and y. That is descent, each
result is an achievable rate, but only an upper bound on the minimum; the lower bound beside it is the
conditional R_{X|Y}(D), where the encoder sees y as well.

Sources: Wyner and Ziv, IEEE Trans. IT 22 (1976), Theorem 1; Dupuis, Yu, Willems, "Blahut-Arimoto algorithms
for computing channel capacity and rate-distortion with side information", ISIT 2004; the certified bound is
derived at `_certificate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.theory.blahut_arimoto import (
    TOLERANCE_BITS,
    check_distortion,
    check_probabilities,
    check_slope,
    conditional_blahut_arimoto,
)
from obverse.theory.curves import NATS_PER_BIT, Array, RateDistortionPoint

MAX_STRATEGIES = 4096
MAX_STEPS = 6000
TINY = 1e-300


@dataclass(frozen=True)
class WynerZiv:
    """A solution at one slope.

    Attributes:
        point: distortion, achieved rate and lower bound.
        channel: (symbols, letters) q(u|x).
        decoder: (letters, side values), t_u(y): indices of reproductions, or with squared error on a grid the
            reproductions themselves.
        steps: how many alternations it took.
    """

    point: RateDistortionPoint
    channel: Array
    decoder: npt.NDArray[np.generic]
    steps: int


def wyner_ziv(
    joint: npt.ArrayLike,
    distortion: npt.ArrayLike,
    slope_nats: float,
    tolerance_bits: float = TOLERANCE_BITS,
    max_steps: int = 10 * MAX_STEPS,
) -> WynerZiv:
    """The point of R_WZ(D) of slope -slope_nats, over all strategies: both bounds are certified.

    Args:
        joint: (symbols, side values) p(x, y).
        distortion: (symbols, reproductions) >= 0.
        slope_nats: s > 0 in nats per unit of distortion.
        tolerance_bits: stop when the bounds are that close.
        max_steps: stop after so many at the latest.

    Raises:
        InputError: for more than 4,096 strategies; take `wyner_ziv_auxiliary` then.
    """
    p_xy = check_joint(joint)
    d = check_distortion(distortion, len(p_xy))
    slope = check_slope(slope_nats)
    strategies = all_strategies(d.shape[1], p_xy.shape[1])
    cost = _expected_distortion(p_xy, d, strategies)
    start = np.full((len(strategies), p_xy.shape[1]), 1 / len(strategies))

    def done(state: _State) -> bool:
        return state.objective_nats - _certificate(state, p_xy) <= tolerance_bits * NATS_PER_BIT

    state, steps = alternate(p_xy, slope, start, lambda _: cost, max_steps, done)
    bound = _certificate(state, p_xy)
    return WynerZiv(point_of(state, slope, bound), state.channel, strategies, steps)


def wyner_ziv_auxiliary(
    joint: npt.ArrayLike,
    distortion: npt.ArrayLike,
    slope_nats: float,
    letters: int | None = None,
    restarts: int = 3,
    seed: int = 0,
    tolerance_bits: float = TOLERANCE_BITS,
    max_steps: int = MAX_STEPS,
) -> WynerZiv:
    """As `wyner_ziv` for alphabets of any size: an achievable rate, and the conditional R(D) below it.

    The strategies are optimised by descent, so that the result can lie above R_WZ(D).

    Args:
        joint: as in `wyner_ziv`.
        distortion: as in `wyner_ziv`.
        slope_nats: as in `wyner_ziv`.
        letters: size of the alphabet of u, by default |X| + 1, which suffices (Wyner and Ziv 1976).
        restarts: the best of so many random starts, and of one that begins at u = x.
        seed: of the random starts.
        tolerance_bits: stop when 20 alternations gain less than that.
        max_steps: stop after so many at the latest.
    """
    p_xy = check_joint(joint)
    d = check_distortion(distortion, len(p_xy))
    slope = check_slope(slope_nats)
    symbols = len(p_xy)
    count = symbols + 1 if letters is None else letters
    if count < 1:
        raise InputError(f"the alphabet of u needs at least one letter, not {count}")
    rng = np.random.default_rng(seed)
    starts = [rng.dirichlet(np.full(count, 0.5), symbols) for _ in range(max(restarts, 0))]
    identity = np.full((symbols, count), 0.1 / count)
    identity[np.arange(symbols), np.arange(symbols) % count] += 0.9
    results = []
    for channel in [identity, *starts]:
        answers = np.zeros((count, p_xy.shape[1]), np.int64)

        def cost(q: Array, answers: npt.NDArray[np.int64] = answers) -> Array:
            # the decoder's best answer for u and y
            answers[:] = np.einsum("xu,xy,xz->uyz", q, p_xy, d, optimize=True).argmin(2)
            return _expected_distortion(p_xy, d, answers)

        start = (channel.T @ p_xy) / p_xy.sum(0)
        state, steps = alternate(p_xy, slope, start, cost, max_steps, stalled(tolerance_bits), channel)
        results.append((state, answers, steps))
    state, answers, steps = min(results, key=lambda result: result[0].objective_nats)
    below = conditional_blahut_arimoto(p_xy, d, slope, tolerance_bits).point
    bound = (below.tangent_bits(0.0)) * NATS_PER_BIT
    return WynerZiv(point_of(state, slope, bound), state.channel, answers, steps)


def all_strategies(reproductions: int, side_values: int) -> npt.NDArray[np.int64]:
    """(reproductions ** side_values, side_values): every function from y to a reproduction, as indices."""
    count = reproductions**side_values
    if count > MAX_STRATEGIES:
        raise InputError(
            f"{reproductions} reproductions and {side_values} side values make {count} strategies, more than "
            f"{MAX_STRATEGIES}: use wyner_ziv_auxiliary, or wyner_ziv_squared_error for a grid"
        )
    return np.stack(np.unravel_index(np.arange(count), (reproductions,) * side_values), 1)


# -- the alternation --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _State:
    """After a step: q(u|x), the r(u|y) it was made from, the new r, E d, the objective I(X;U|Y) + s D."""

    channel: Array
    before: Array
    after: Array
    distortion: float
    objective_nats: float
    value_nats: float  # G(before), see _certificate


def alternate(
    p_xy: Array,
    slope: float,
    start: Array,
    cost: Callable[[Array], Array],
    max_steps: int,
    done: Callable[[_State], bool],
    channel: Array | None = None,
) -> tuple[_State, int]:
    """Alternate until `done`.

    After every second step r is extrapolated as far as that lowers the objective (SQUAREM, on ln r).

    Args:
        p_xy: (symbols, side values) p(x, y).
        slope: in nats per unit of distortion.
        start: (letters, side values) r(u|y).
        cost: cost(q) is (symbols, letters) E_y d.
        max_steps: how many there may be.
        done: whether a state is good enough.
        channel: (symbols, letters) q(u|x) to begin with.
    """
    p_x, p_y = p_xy.sum(1), p_xy.sum(0)
    p_y_x = p_xy / p_x[:, None]  # p(y|x)

    def step(r: Array, q: Array | None) -> _State:
        expected = cost(q) if q is not None else cost(np.empty(0))
        exponent = p_y_x @ np.log(np.maximum(r, TINY)).T - slope * expected
        top = exponent.max(1, keepdims=True)
        q = np.exp(exponent - top)
        total = q.sum(1, keepdims=True)
        q /= total
        log_total = (np.log(total) + top)[:, 0]
        after = (q.T @ p_xy) / p_y
        distortion = float((p_x[:, None] * q * expected).sum())
        # I(X;U|Y) = H(U|Y) - H(U|X); the exponent is ln q + ln total
        information = float(
            (p_x[:, None] * q * (exponent - log_total[:, None])).sum()
            - (p_y * after * np.log(np.maximum(after, TINY))).sum()
        )
        return _State(q, r, after, distortion, information + slope * distortion, -float(p_x @ log_total))

    state = step(start, channel)
    steps = 1
    while not done(state) and steps < max_steps:
        second = step(state.after, state.channel)
        steps += 3
        far = _extrapolate(state.before, state.after, second.after, p_y)
        third = step(far, second.channel)
        state = third if third.objective_nats <= second.objective_nats else second
    return state, steps


def _extrapolate(r0: Array, r1: Array, r2: Array, p_y: Array) -> Array:
    logs = [np.log(np.maximum(r, TINY)) for r in (r0, r1, r2)]
    first, second = logs[1] - logs[0], logs[2] - logs[1]
    weight = p_y * r2
    size = math.sqrt((weight * first**2).sum() / max((weight * (second - first) ** 2).sum(), TINY))
    size = min(max(size, 1.0), 300.0)
    log_far = logs[0] + 2 * size * first + size**2 * (second - first)
    far = np.exp(np.clip(log_far - log_far.max(0), -690, 0))
    return np.asarray(far / far.sum(0))


def stalled(tolerance_bits: float, steps: int = 10) -> Callable[[_State], bool]:
    """True once `steps` calls (of two alternations) have gained less than tolerance_bits together."""
    history: list[float] = []

    def done(state: _State) -> bool:
        history.append(state.objective_nats)
        return len(history) > steps and history[-1 - steps] - history[-1] < tolerance_bits * NATS_PER_BIT

    return done


def _certificate(state: _State, p_xy: Array) -> float:
    """A lower bound in nats on min I(X;U|Y) + s D over all q and r, for these strategies.

    G(r) = -sum_x p(x) ln sum_u exp(sum_y p(y|x)[ln r(u|y) - s d]) is the objective after the best q. For any
    other r', with m(y) = max_u (after / before)(u|y): the mean over p(y|x) of ln (r'/r) is at most that of
    ln m plus the logarithm of the mean of r' / (r m), and by Jensen G(r') - G(r) >= -sum_y p(y) ln m(y)
    - ln sum_y p(y) sum_u r'(u|y) = -sum_y p(y) ln m(y).
    """
    ratio = state.after / np.maximum(state.before, TINY)
    return state.value_nats - float(p_xy.sum(0) @ np.log(ratio.max(0)))


def point_of(state: _State, slope: float, bound_nats: float) -> RateDistortionPoint:
    rate = (state.objective_nats - slope * state.distortion) / NATS_PER_BIT
    lower = (bound_nats - slope * state.distortion) / NATS_PER_BIT
    return RateDistortionPoint(slope, state.distortion, max(rate, 0.0), lower)


def _expected_distortion(p_xy: Array, d: Array, strategies: npt.NDArray[np.int64]) -> Array:
    """(symbols, strategies): sum_y p(y|x) d(x, t(y))."""
    p_y_x = p_xy / p_xy.sum(1, keepdims=True)
    return np.stack([(p_y_x * d[:, strategy]).sum(1) for strategy in strategies], 1)


def check_joint(joint: npt.ArrayLike) -> Array:
    p_xy = check_probabilities(joint, "joint distribution", 2)
    if (p_xy.sum(1) == 0).any() or (p_xy.sum(0) == 0).any():
        raise InputError("a symbol or a side value has probability 0: leave it out of the joint distribution")
    return p_xy
