"""How many columns of each degree `obverse.coding.ldpc` gives its graphs: density evolution and linear programming.

    python benchmarks/ldpc_design.py [--entropies 0.4 0.8] [--margin 0.02]

For a bit of given entropy (Gaussian log-odds), the densities of the messages in an endless graph are followed on a
grid of log-odds, for two kinds of edges: those of the chain of columns of degree 2, of which each check has two (a
share of them one), and the others, whose degrees are to be found. The entropy of the other bits' messages must fall
by `--margin` of itself in each iteration; which degrees need the fewest checks for that is a linear programme
along the trajectory of the last solution, solved again until it stays (Richardson, Shokrollahi, Urbanke, "Design of
capacity-approaching irregular low-density parity-check codes", 2001). A margin near .02 served blocks of 65,536 best.

Prints the lines of the table in `src/obverse/coding/ldpc_graph.py`, and how far from the entropy each is. Needs scipy.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.optimize import linprog

from obverse.coding import polar

BASE = 1_024
CHAIN = 0.97  # of the joints between layers that the chain has
STEP, HALF = 0.15, 200  # log-odds from -30 to 30
GRID = np.arange(-HALF, HALF + 1) * STEP
DEGREES = (3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 20, 24, 28, 33, 40, 48, 58)
# edges a check, where measured best, and between them on a logarithmic scale
CHECK_DEGREE = ((0.04, 0.11, 0.413, 0.805, 0.95), (90, 40, 12.5, 4.5, 3.3))
ENTROPIES = (0.05, 0.08, 0.11, 0.16, 0.22, 0.28, 0.35, 0.41, 0.48, 0.56, 0.64, 0.72, 0.8, 0.87)


def entropy_at(odds: np.ndarray) -> np.ndarray:
    """Bits of entropy of a bit with these log-odds >= 0."""
    return (np.log1p(np.exp(-odds)) + odds / (1 + np.exp(odds))) / math.log(2)


SURPRISE = np.logaddexp(0, -GRID) / math.log(
    2
)  # a density is that of the log-odds in favour of the true value


def _check_table() -> tuple[np.ndarray, np.ndarray]:
    """(i, j) -> grid place below the sum's log-odds, and the share that goes above, such that entropy is kept."""
    odds = np.arange(HALF + 1) * STEP
    a, b = np.meshgrid(odds, odds, indexing="ij")
    exact = np.minimum(a, b) + np.log1p(np.exp(-(a + b))) - np.log1p(np.exp(-np.abs(a - b)))
    place = np.clip(np.floor(exact / STEP + 1e-9).astype(np.int32), 0, HALF - 1)
    h = entropy_at(odds)
    share = (h[place] - entropy_at(exact)) / np.maximum(h[place] - h[place + 1], 1e-300)
    return place, np.clip(share, 0, 1)


PLACE, SHARE = _check_table()


@njit(cache=True, error_model="numpy")
def _check(p, q, place, share, out):
    half = place.shape[0] - 1
    alike, differ = np.zeros(half + 1), np.zeros(half + 1)
    for i in range(half + 1):
        p_sum = p[half + i] + (p[half - i] if i else 0.0)
        p_difference = p[half + i] - p[half - i] if i else 0.0
        if p_sum < 1e-14:
            continue
        for j in range(half + 1):
            q_sum = q[half + j] + (q[half - j] if j else 0.0)
            q_difference = q[half + j] - q[half - j] if j else 0.0
            k, above = place[i, j], share[i, j]
            alike[k] += p_sum * q_sum * (1 - above)
            alike[k + 1] += p_sum * q_sum * above
            differ[k] += p_difference * q_difference * (1 - above)
            differ[k + 1] += p_difference * q_difference * above
    out[half] = alike[0]
    for i in range(1, half + 1):
        out[half + i] = (alike[i] + differ[i]) / 2
        out[half - i] = (alike[i] - differ[i]) / 2


def check(p: np.ndarray | None, q: np.ndarray) -> np.ndarray:
    """Density of the log-odds of a sum; None is that of a known bit."""
    if p is None:
        return q
    out = np.zeros_like(q)
    _check(p, q, PLACE, SHARE, out)
    return out


def check_power(p: np.ndarray, k: int) -> np.ndarray | None:
    result = None
    while k:
        if k & 1:
            result = check(result, p)
        k >>= 1
        if k:
            p = check(p, p)
    return result


SIZE = 1 << (4 * HALF + 1).bit_length()


def add(p: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """Density of a sum of log-odds, what lies beyond the grid at its ends. spectrum: of the second density."""
    full = np.fft.irfft(np.fft.rfft(p, SIZE) * spectrum, SIZE)[: 4 * HALF + 1]
    out = full[HALF : 3 * HALF + 1].copy()
    out[0] += full[:HALF].sum()
    out[-1] += full[3 * HALF + 1 :].sum()
    return np.maximum(out, 0)


def columns_out(channel: np.ndarray, inward: np.ndarray, degrees: tuple[int, ...]) -> list[np.ndarray]:
    """What columns of these rising degrees say if all checks but one say `inward`."""
    spectra = [np.fft.rfft(inward, SIZE)]  # of 1, 2, 4, ... of them
    power = inward
    while 2 ** len(spectra) < degrees[-1]:
        power = add(power, spectra[-1])
        spectra.append(np.fft.rfft(power, SIZE))
    result, density, edges = [], channel, 0
    for degree in degrees:
        for k, spectrum in enumerate(spectra):
            if (degree - 1 - edges) >> k & 1:
                density = add(density, spectrum)
        edges = degree - 1
        result.append(density)
    return result


def gaussian(entropy: float) -> np.ndarray:
    mean = 2.0 ** (polar.log2_mean_of(entropy) / polar.UNIT)
    p = np.exp(-((GRID - mean) ** 2) / (4 * mean))
    return p / p.sum()


@dataclass
class Trajectory:
    converged: bool
    entropy: np.ndarray  # (iterations,) bits, of the messages from columns outside the chain
    after: np.ndarray  # (iterations, degrees): what it is after the iteration, for each degree


def evolve(
    shares: np.ndarray,
    degrees: tuple[int, ...],
    check_degree: float,
    channel: np.ndarray,
    iterations: int = 300,
) -> Trajectory:
    """shares: of the edges outside the chain, by degree."""
    least = math.floor(check_degree)
    more = check_degree - least
    kinds = [  # probability, chain edges, other edges of a check
        (p * q, a, d - a)
        for a, p in ((2, 2 * CHAIN - 1), (1, 2 - 2 * CHAIN))
        for d, q in ((least, 1 - more), (least + 1, more))
        if q > 1e-9
    ]
    per_chain, per_other = (sum(p * kind[i] for p, *kind in kinds) for i in (0, 1))
    chain, other = channel, channel
    entropy, after = [], []
    for turn in range(iterations):
        h = float(other @ SURPRISE)
        if h < 1e-3:
            return Trajectory(True, np.array(entropy), np.array(after))
        fewest = min(b for _, _, b in kinds)
        powers = {fewest - 1: check_power(other, fewest - 1)}
        for k in range(fewest, max(b for _, _, b in kinds) + 1):
            powers[k] = check(powers[k - 1], other)
        to_chain, to_other = np.zeros_like(channel), np.zeros_like(channel)
        for p, a, b in kinds:
            to_chain += p * a / per_chain * check(chain if a == 2 else None, powers[b])
            both = check_power(chain, a)
            to_other += p * b / per_other * (both if powers[b - 1] is None else check(both, powers[b - 1]))
        out = columns_out(channel, to_other, degrees)
        entropy.append(h)
        after.append([float(density @ SURPRISE) for density in out])
        other = sum(share * density for share, density in zip(shares, out, strict=True))
        other = other / other.sum()
        chain = add(channel, np.fft.rfft(to_chain, SIZE))
        chain /= chain.sum()
        if turn > 10 and h - float(other @ SURPRISE) < 1e-6 * h:
            break
    return Trajectory(False, np.array(entropy), np.array(after))


def optimise(
    entropy: float, check_degree: float, margin: float, rounds: int = 6
) -> tuple[float, dict[int, float]]:
    """(checks a bit, columns a bit by degree)"""
    degrees = tuple(d for d in DEGREES if d <= max(8, 0.35 * BASE * entropy))
    inverse = 1 / np.array(degrees, float)
    channel = gaussian(entropy)
    for low, middle in itertools.product((0.3, 0.2, 0.12, 0.5), (0.3, 0.15)):
        current = np.zeros(len(degrees))
        for part, chosen in ((low, (3,)), (middle, (8, 12)), (1 - low - middle, (24, 58))):
            chosen = [d for d in chosen if d in degrees] or [degrees[-1]]
            current[np.isin(degrees, chosen)] += part / len(chosen)
        if evolve(current, degrees, check_degree, channel).converged:
            break
    else:
        raise SystemExit(f"no degrees to start from found for entropy {entropy}: try fewer edges a check")
    best, trust = None, 0.1
    for _ in range(rounds):
        path = evolve(current, degrees, check_degree, channel)
        checks = 1 / (CHAIN + (check_degree - 2 * CHAIN) * float(current @ inverse))
        slowest = 1 - float((path.after @ current / path.entropy).max())
        if path.converged and slowest > margin / 2 and (best is None or checks < best[0]):
            best = (checks, current)
        relative = path.after / path.entropy[:, None]
        wanted = np.full(len(relative), margin)
        if not path.converged:
            wanted[-1] += 0.01
        solution = linprog(  # the last variable is how far the margin is missed, at a price
            np.append(-inverse, 50.0),
            A_ub=np.column_stack([relative, -np.ones(len(relative))]),
            b_ub=1 - wanted,
            A_eq=np.append(np.ones(len(degrees)), 0)[None],
            b_eq=[1],
            bounds=[(max(0, c - trust), min(1, c + trust)) for c in current] + [(0, None)],
            method="highs",
        )
        if solution.status:
            break
        current, trust = solution.x[:-1], 0.75 * trust
    if best is None:
        raise SystemExit(f"no degrees found for entropy {entropy}")
    checks, shares = best
    columns = {2: CHAIN * checks}
    for degree, share in zip(degrees, shares, strict=True):
        columns[degree] = (check_degree - 2 * CHAIN) * checks * share / degree
    return checks, columns


def whole(columns: dict[int, float]) -> tuple[tuple[int, int], ...]:
    """In 1,024ths, rounded so that they add up."""
    ideal = {d: BASE * share / sum(columns.values()) for d, share in columns.items()}
    counts = {d: math.floor(v) for d, v in ideal.items()}
    for d in sorted(ideal, key=lambda d: counts[d] - ideal[d])[: BASE - sum(counts.values())]:
        counts[d] += 1
    return tuple((d, c) for d, c in sorted(counts.items()) if c)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entropies", type=float, nargs="+", default=ENTROPIES)
    parser.add_argument("--margin", type=float, default=0.02)
    options = parser.parse_args()
    for entropy in options.entropies:
        log_degrees = np.log(CHECK_DEGREE[1])
        check_degree = round(float(np.exp(np.interp(entropy, CHECK_DEGREE[0], log_degrees))), 1)
        checks, columns = optimise(entropy, check_degree, options.margin)
        print(
            f"    {entropy}: {whole(columns)},  # {check_degree} edges a check, {checks - entropy:+.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
