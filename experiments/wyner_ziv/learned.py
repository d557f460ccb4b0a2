"""Learned Wyner-Ziv compressors recover binning: the figures and the table.

    python experiments/wyner_ziv/learned.py train     # 98 trainings of half a minute; rows that are there are kept
    python experiments/wyner_ziv/learned.py grid      # the best non-neural designs, a quarter of an hour
    python experiments/wyner_ziv/learned.py figures   # the table of gaps and the figures, from what the other two wrote
    python experiments/wyner_ziv/learned.py models    # the two models that ship

Two quadratic-Gaussian sources (Ozyilkan, Ballé, Erkip, ISIT 2023): X = Y + N with Y ~ N(0, 1), N ~ N(0, 0.1), and
Y = X + N with X ~ N(0, 1), N ~ N(0, 0.01). Both objectives, four or five rates, five seeds, and for each source the
`emergent` start, which has no structure at all. Every scheme is scored by numerical integration of the density
with the argmax encoder: rate H(U) or H(U|Y), mean squared error D, gap R - R_WZ(D), R_WZ = log2(sigma^2_{x|y} / D) / 2.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from obverse.codecs.wyner_ziv import grid_design as grids
from obverse.codecs.wyner_ziv.grid_design import JointGrid, Score
from obverse.codecs.wyner_ziv.recipe import WynerZivRecipe
from obverse.codecs.wyner_ziv.train_learned import Trained, train

RESULTS = Path(__file__).parents[1] / "results" / "wyner_ziv"
PAIRS = 1 << 22
FIELDS = (
    "source", "objective", "start", "K", "lmbda", "seed", "rate_bits", "mse", "gap_bits", "intervals",
    "cpu_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A jointly Gaussian pair. noise: variance of N. x_is_y_plus_n: X = Y + N, else Y = X + N."""

    name: str
    noise: float
    x_is_y_plus_n: bool

    @property
    def residual(self) -> float:
        """sigma^2_{x|y}."""
        return self.noise if self.x_is_y_plus_n else self.noise / (1 + self.noise)

    @property
    def x_variance(self) -> float:
        return 1 + self.noise if self.x_is_y_plus_n else 1.0

    @property
    def slope(self) -> float:
        """E[x|y] = slope * y."""
        return 1.0 if self.x_is_y_plus_n else 1 / (1 + self.noise)

    def pairs(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """n samples of x and y."""
        rng = np.random.default_rng(seed)
        first = rng.standard_normal(n)
        second = first + rng.standard_normal(n) * math.sqrt(self.noise)
        return (second, first) if self.x_is_y_plus_n else (first, second)

    def density(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Proportional to p(x, y)."""
        first = y if self.x_is_y_plus_n else x
        return np.exp(-(first**2) / 2 - (x - y) ** 2 / (2 * self.noise))

    def grid(self) -> JointGrid:
        """p(x, y) on 4800 x 2400 points."""
        reach = 6.2 * math.sqrt(1 + self.noise)
        return JointGrid.of_density(self.density, (-reach, reach), (-reach, reach))

    def wyner_ziv_bits(self, mse: float) -> float:
        """R_WZ(D), which for this source is also the rate with y at both ends."""
        return max(0.0, 0.5 * math.log2(self.residual / mse))


SOURCES = {
    "x=y+n": Source("x=y+n", 0.1, True),
    "y=x+n": Source("y=x+n", 0.01, False),
}
# objective, K, the distortion for sigma^2_{x|y} = 0.1 that sets lmbda (None: the default of K)
POINTS: tuple[tuple[str, int, float | None], ...] = (
    ("conditional", 6, 0.033),
    ("conditional", 8, 0.0205),
    ("conditional", 12, 0.01),
    ("conditional", 14, 0.01),
    ("conditional", 16, 0.0052),
    ("marginal", 2, None),
    ("marginal", 4, None),
    ("marginal", 6, None),
    ("marginal", 10, None),
)
EMERGENT: tuple[tuple[str, int, float | None], ...] = (("marginal", 4, None), ("conditional", 8, 0.0205))
# bits above R_WZ: what the best scalar designs need and what the learned ones may add to it
MARGINAL_GAPS = {2: (0.66, 0.02), 4: (0.98, 0.02), 6: (1.10, 0.02), 10: (1.22, 0.04)}
CONDITIONAL_GAP = 0.26


def score(trained: Trained, grid: JointGrid) -> tuple[Score, np.ndarray, np.ndarray]:
    """The scheme's score, its labels (nx,) and its decoder's curves (K, ny)."""
    networks = trained.networks
    with torch.inference_mode():
        x = torch.from_numpy(grid.x.astype(np.float32))[:, None]
        labels = networks.logits(x).argmax(dim=1).numpy()
        side = torch.from_numpy(trained.side.features(grid.y))
        curves = networks.reconstructions(side)[:, :, 0].double().numpy().T
    return grids.evaluate(grid, labels, curves, networks.sizes.indices), labels, curves


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append_row(path: Path, row: dict[str, object]) -> None:
    """One more row of a CSV file, which gets its header first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def train_all(out: Path, schemes: Path, seeds: int, only: str | None, pairs: int) -> None:
    """Every training that is not in `out`/learned.csv yet; the schemes of seed 0 go to `schemes` for the figures."""
    path = out / "learned.csv"
    done = {tuple(row[f] for f in ("source", "objective", "start", "K", "seed")) for row in read_rows(path)}
    grids_of: dict[str, JointGrid] = {}
    todo = [(seed, "nested", *point) for seed in range(seeds) for point in POINTS]
    todo[len(POINTS) : len(POINTS)] = [(seed, "emergent", *point) for seed in range(2) for point in EMERGENT]
    for seed, start, objective, indices, mse in todo:
        for source in SOURCES.values():
            key = (source.name, objective, start, str(indices), str(seed))
            if key in done or (only is not None and only not in key):
                continue
            if source.name not in grids_of:
                grids_of[source.name] = source.grid()
            lmbda = None if mse is None else 1 / (2 * mse * source.residual / 0.1)
            recipe = WynerZivRecipe(objective, indices, lmbda, start=start, seed=seed)
            x, y = source.pairs(pairs, 1000 + seed)
            started = time.process_time()
            trained = train(x, y, recipe)
            seconds = time.process_time() - started
            result, labels, curves = score(trained, grids_of[source.name])
            rate = result.rate_bits(objective)
            gap = rate - source.wyner_ziv_bits(result.mse)
            intervals = " ".join(map(str, result.intervals))
            numbers = (f"{trained.recipe.lmbda:.5g}", seed, f"{rate:.5f}", f"{result.mse:.7f}", f"{gap:.4f}")
            values = (source.name, objective, start, indices, *numbers, intervals, f"{seconds:.1f}")
            append_row(path, dict(zip(FIELDS, values, strict=True)))
            print(*values, flush=True)
            if seed == 0:
                schemes.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(
                    schemes / f"{source.name}-{objective}-{start}-{indices}.npz",
                    labels=labels.astype(np.uint8), curves=curves.astype(np.float32),
                )  # fmt: skip


def design_all(out: Path) -> None:
    """The best non-neural designs, those that are not in `out`/grid.csv yet."""
    path = out / "grid.csv"
    done = {tuple(row[f] for f in ("source", "objective", "K", "lmbda")) for row in read_rows(path)}
    # more prices than the learned codec has points: they draw the curve
    conditional = [(6, 14.0), (8, 24.4), (14, 50.0), (16, 90.0), (24, 200.0)]
    marginal = [(k, 2 * k / 0.1 if k > 2 else 37.0) for k in (2, 3, 4, 6, 8, 10, 16)]
    points = [("conditional", *p) for p in conditional] + [("marginal", *p) for p in marginal]
    for source in SOURCES.values():
        grid = source.grid()
        for objective, indices, price in points:
            lmbda = price * 0.1 / source.residual
            key = (source.name, objective, str(indices), f"{lmbda:.5g}")
            if key in done:
                continue
            started = time.process_time()
            deviation = math.sqrt(source.residual)
            widths = grids.default_widths(deviation, indices, objective, lmbda, 10)
            found = grids.design(grid, indices, objective, lmbda, widths, phases=2, random_starts=2)
            seconds = time.process_time() - started
            rate = found.score.rate_bits(objective)
            gap = rate - source.wyner_ziv_bits(found.score.mse)
            intervals = " ".join(map(str, found.score.intervals))
            numbers = (f"{lmbda:.5g}", "", f"{rate:.5f}", f"{found.score.mse:.7f}", f"{gap:.4f}")
            values = (source.name, objective, "grid", indices, *numbers, intervals, f"{seconds:.1f}")
            append_row(path, dict(zip(FIELDS, values, strict=True)))
            print(*values, flush=True)


def ship(folder: Path, pairs: int) -> None:
    """The two models that ship, unless they are there: X = Y + N at about 1.9 bits, learned and grid design."""
    from obverse.codecs.wyner_ziv.export_learned import train_model
    from obverse.codecs.wyner_ziv.recipe import GridRecipe
    from obverse.codecs.wyner_ziv.train_grid import train_grid

    x, y = SOURCES["x=y+n"].pairs(pairs, 1)

    if not (folder / "wyner-ziv" / "card.md").exists():
        train_model(x, y, folder / "wyner-ziv", WynerZivRecipe("conditional", 14, 50.0, lists=128))
    if not (folder / "wyner-ziv-grid" / "card.md").exists():
        train_grid(x, y, folder / "wyner-ziv-grid", GridRecipe("conditional", 14, 50.0, lists=128))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "grid", "figures", "models"))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the CSV files and the figures")
    parser.add_argument(
        "--schemes", type=Path, default=Path("runs/wyner_ziv"), help="labels and curves for the figures"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--pairs", type=int, default=PAIRS, help="samples to train on (models that ship: 2000000)"
    )
    parser.add_argument("--only", help="a source, objective, start or K: only rows that have it")
    parser.add_argument("--zoo", type=Path, default=Path("runs/zoo"), help="folder for the models that ship")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "train":
        train_all(options.out, options.schemes, options.seeds, options.only, options.pairs)
    elif options.what == "grid":
        design_all(options.out)
    elif options.what == "models":
        ship(options.zoo, options.pairs)
    else:
        from figures import draw_all

        draw_all(options.out, options.schemes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
