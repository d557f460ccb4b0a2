"""How near limits estimated from pairs come to the truth, and whether their brackets hold it.

    python experiments/limits/pairs.py [--only NAME] [--pairs 100000] [--seeds 5]

    gaussian    X = Y + N, N of variance 0.1
    laplacian   X = Y + N, N Laplacian of variance 0.1
    mixture     X = Y + N, N of deviation 0.05, 0.2 or 1.0 (chances 0.5, 0.3, 0.2)
    magnitude   Y = |X| + N, N of deviation 0.1

The truth is that of the density itself on a fine grid (`obverse.theory.wyner_ziv_squared_error`). All numbers of a row
are rates at one slope, R + s D at the distortion of the bracket, so that errors in the distortion count too. Writes
results/limits/pairs.csv; finished rows are not computed again.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from obverse.theory import RateDistortionPoint, discretise_pair, limit_of_pairs, wyner_ziv_squared_error

RESULTS = Path(__file__).parents[1] / "results" / "limits" / "pairs.csv"
RATES = (0.5, 1.5, 2.5)
Pairs = tuple[np.ndarray, np.ndarray]
Density = Callable[[np.ndarray, np.ndarray], np.ndarray]
WIDTHS, CHANCES = (0.05, 0.2, 1.0), (0.5, 0.3, 0.2)


def bell(z: np.ndarray, deviation: float) -> np.ndarray:
    return np.exp(-((z / deviation) ** 2) / 2) / deviation


def drawn(name: str, n: int, rng: np.random.Generator) -> Pairs:
    if name == "magnitude":
        x = rng.normal(size=n)
        return x, np.abs(x) + 0.1 * rng.normal(size=n)
    y = rng.normal(size=n)
    if name == "laplacian":
        return y + rng.laplace(scale=math.sqrt(0.05), size=n), y
    if name == "mixture":
        return y + rng.choice(WIDTHS, size=n, p=CHANCES) * rng.normal(size=n), y
    return y + math.sqrt(0.1) * rng.normal(size=n), y


# density, the variance of x given y
SOURCES: dict[str, tuple[Density, float]] = {
    "gaussian": (lambda x, y: bell(y, 1) * bell(x - y, math.sqrt(0.1)), 0.1),
    "laplacian": (lambda x, y: bell(y, 1) * np.exp(-np.abs(x - y) / math.sqrt(0.05)), 0.1),
    "mixture": (
        lambda x, y: bell(y, 1) * sum(p * bell(x - y, w) for p, w in zip(CHANCES, WIDTHS, strict=True)),
        0.21325,
    ),
    "magnitude": (lambda x, y: bell(x, 1) * bell(y - np.abs(x), 0.1), 0.99),
}


def true_point(name: str, slope: float) -> RateDistortionPoint:
    x, y = np.linspace(-5.5, 5.5, 700), np.linspace(-4.3, 4.8, 150)
    joint = discretise_pair(SOURCES[name][0], x, y)
    rows, columns = joint.sum(1) > 1e-12, joint.sum(0) > 1e-12
    joint = joint[np.ix_(rows, columns)]
    return wyner_ziv_squared_error(
        x[rows], joint / joint.sum(), slope, tolerance_bits=1e-5, bound=False
    ).point


def run(name: str, pairs: int, seeds: int) -> list[dict[str, object]]:
    """A row for each rate."""
    variance = SOURCES[name][1]
    levels = [variance * 4.0**-rate for rate in RATES]
    truths = [true_point(name, 1 / (2 * level)) for level in levels]
    started = time.process_time()
    found: dict[float, list[tuple[float, float, float]]] = {level: [] for level in levels}
    for seed in range(seeds):
        x, y = drawn(name, pairs, np.random.default_rng([seed, 3]))
        limit = limit_of_pairs(x, y, distortions=levels, around=False)
        for level, truth in zip(levels, truths, strict=True):
            slope = 1 / (2 * level)
            near = min(limit.curve.points, key=lambda p: abs(p.slope_nats - slope))
            at = min(limit.bracket.points, key=lambda p: abs(p.slope_nats - slope))
            here = truth.rate_bits - slope * (at.distortion - truth.distortion) / math.log(2)
            guess = near.rate_bits - slope * (at.distortion - near.distortion) / math.log(2)
            found[level].append((guess - here, at.lower_rate_bits - here, at.rate_bits - here))
    seconds = (time.process_time() - started) / seeds
    rows = []
    for truth, level in zip(truths, levels, strict=True):
        error, low, high = np.array(found[level]).T
        rows.append(
            {
                "source": name, "pairs": pairs, "seeds": seeds, "distortion": f"{truth.distortion:.5f}",
                "true_bits": f"{truth.rate_bits:.4f}", "worst_error_bits": f"{error[np.abs(error).argmax()]:.4f}",
                "low_bits": f"{low.mean():.4f}", "high_bits": f"{high.mean():.4f}",
                "held": int(((low <= 0) & (high >= 0)).sum()), "cpu_seconds": f"{seconds:.0f}",
            }
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SOURCES)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = list(csv.DictReader(options.out.open())) if options.out.exists() else []
    done = {(row["source"], row["pairs"]) for row in rows}
    for name in SOURCES:
        if (name, str(options.pairs)) in done or options.only not in (None, name):
            continue
        for row in run(name, options.pairs, options.seeds):
            print(*row.values(), flush=True)
            rows.append({key: str(value) for key, value in row.items()})
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
