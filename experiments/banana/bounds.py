"""R(D) of the banana, whose density is known but has no formula: bounds from samples around Blahut-Arimoto.

Reproduces the setting of Yang and Mandt (ICLR 2022, section 6.1, sandwich bounds) and Yang, Eckstein, Nutz,
Mandt (NeurIPS 2023, Wasserstein gradient descent) on the two-dimensional banana. Blahut-Arimoto sees the density
on a grid; the sandwich and the particles see samples only. Prints the table, writes banana.csv and banana.png.

    python experiments/banana/bounds.py --out FOLDER [--threads 1] [--steps 1000]
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import torch

from obverse.theory import (
    Banana,
    Measured,
    RateDistortionCurve,
    blahut_arimoto,
    plot_curves,
    squared_error,
    wasserstein_gd,
)
from obverse.theory.sandwich import SandwichRecipe, sandwich

SLOPES = (0.15, 0.3, 0.6, 1.2, 2.0)
COLUMNS = (
    "slope_nats",
    "distortion",
    "sandwich_upper_bits",
    "sandwich_lower_bits",
    "blahut_arimoto_bits",
    "blahut_arimoto_lower_bits",
    "wasserstein_bits_at_its_distortion",
    "wasserstein_above_blahut_arimoto_bits",
    "upper_error_bits",
    "lower_error_bits",
    "certified",
    "seconds",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--k", type=int, default=8192)
    parser.add_argument("--grid-step", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)

    points, p = Banana().grid(arguments.grid_step, 1e-5)
    distortion = squared_error(points, points)
    x = Banana().sample(arguments.samples, seed=1)
    recipe = SandwichRecipe(steps=arguments.steps, k=arguments.k)
    rows, learned, exact, moved = [], [], [], []
    for slope in SLOPES:
        started = time.perf_counter()
        exact.append(blahut_arimoto(p, distortion, slope, 1e-3, 400).point)
        moved.append(wasserstein_gd(x, slope, particles=1000, steps=200, batch=1000))
        found = sandwich(x, slope, recipe)
        learned.append(found.point)
        curve = RateDistortionCurve.through("so far", exact)
        at, particles = found.point.distortion, moved[-1].point
        # Blahut-Arimoto's touching line is R(D) to second order this near to its point
        row = (
            slope,
            at,
            found.point.rate_bits,
            found.point.lower_rate_bits,
            exact[-1].rate_bits + exact[-1].tangent_bits(at) - exact[-1].lower_rate_bits,
            curve.lower_rate_bits_at(at),
            particles.rate_bits,
            particles.rate_bits - exact[-1].tangent_bits(particles.distortion),
            found.upper_error_bits,
            found.lower_error_bits,
            found.certified,
            time.perf_counter() - started,
        )
        rows.append(row)
        print(
            ", ".join(
                f"{n} {v:.4f}" if isinstance(v, float) else f"{n} {v}"
                for n, v in zip(COLUMNS, row, strict=True)
            )
        )
        sys.stdout.flush()
    with open(arguments.out / "banana.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)
    picture = plot_curves(
        [
            RateDistortionCurve.through("sandwich: upper and lower bound, from samples", learned),
            RateDistortionCurve.through("Blahut-Arimoto on a grid", exact),
        ],
        [
            Measured(m.point.distortion, m.point.rate_bits, "Wasserstein gradient descent, from samples")
            for m in moved
        ],
        "R(D) of the banana",
        "squared error, summed over two dimensions",
    )
    (arguments.out / "banana.png").write_bytes(picture)


if __name__ == "__main__":
    main()
