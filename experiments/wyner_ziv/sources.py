"""The learned Wyner-Ziv codec on sources for which nobody has a formula: real files, pairs it has not seen.

    python experiments/wyner_ziv/sources.py [--only NAME]

    mixture     X = Y + N, N a mixture of N(0, 0.02) and N(0, 0.34)
    nonlinear   X = sin(3 Y) + Y^2 / 2 + N / 5
    discrete    Y one of five symbols, X a Laplacian around a mean and with a width that depend on it
    vectors     8 components, X = Y + N, N white: one index of 256 against eight of 2
    correlated  the same with N an autoregression of coefficient 0.8
    rows        a pixel given the five above it, gray stereo photos (real data)
    wind        wind u given the 3 x 3 values of v around it (real data)

Every line of results/wyner_ziv/sources.csv is one scheme: bits a component of its files (`file_bits`), ideal rate
(`ideal_bits`: H(U) or the cross-entropy of q(u|y)), mean squared error, and beside it what a uniform quantiser with an
ideal entropy coder needs without side information for the same error (`without_y_bits`).
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from learned import append_row, read_rows
from PIL import Image

from obverse.codecs.wyner_ziv.export_learned import log_likelihoods, measure, train_model
from obverse.codecs.wyner_ziv.grid import WynerZivGridCodec
from obverse.codecs.wyner_ziv.index import IndexCodec
from obverse.codecs.wyner_ziv.learned import WynerZivCodec
from obverse.codecs.wyner_ziv.recipe import MARGINAL, GridRecipe, WynerZivRecipe
from obverse.codecs.wyner_ziv.train_grid import train_grid

RESULTS = Path(__file__).parents[1] / "results" / "wyner_ziv"
DATA = Path(os.environ.get("OBVERSE_DATA", "data"))
SAMPLES, TEST = 1_000_000, 131_072
Pairs = tuple[np.ndarray, np.ndarray]


def mixture(n: int, rng: np.random.Generator) -> Pairs:
    y = rng.normal(size=n)
    deviation = np.where(rng.random(n) < 0.75, math.sqrt(0.02), math.sqrt(0.34))
    return y + deviation * rng.normal(size=n), y


def nonlinear(n: int, rng: np.random.Generator) -> Pairs:
    y = rng.normal(size=n)
    return np.sin(3 * y) + y**2 / 2 + rng.normal(size=n) / 5, y


def discrete(n: int, rng: np.random.Generator) -> Pairs:
    y = rng.choice(5, size=n, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    mean, width = np.array([0.0, 1.5, -2.0, 4.0, 2.5]), np.array([0.2, 0.3, 0.2, 0.5, 0.1])
    return mean[y] + width[y] * rng.laplace(size=n), y


def vectors(n: int, rng: np.random.Generator, coefficient: float = 0.0) -> Pairs:
    n //= 2
    y = rng.normal(size=(n, 8))
    noise = rng.normal(size=(n, 8))
    for i in range(1, 8):
        noise[:, i] = coefficient * noise[:, i - 1] + math.sqrt(1 - coefficient**2) * noise[:, i]
    return y + math.sqrt(0.1) * noise, y


def rows_of_photos(folder: Path, names: range) -> Pairs:
    """x (n,): a pixel; y (n, 5): the five above it. Both views of each pair."""
    xs, ys = [], []
    for i in names:
        for view in ("left", "right"):
            photo = np.asarray(Image.open(folder / f"{i:06d}_{view}.png")).astype(np.float64)
            above = np.stack([photo[:-1, k : photo.shape[1] - 4 + k] for k in range(5)], axis=-1)
            xs.append(photo[1:, 2:-2].ravel())
            ys.append(above.reshape(-1, 5))
    return np.concatenate(xs), np.concatenate(ys)


def stereo_rows(n: int, rng: np.random.Generator) -> tuple[Pairs, Pairs]:
    folder = DATA / "stereo" / "kit_drive23_gray"
    x, y = rows_of_photos(folder, range(0, 75, 5))
    chosen = rng.permutation(len(x))[:n]
    return (x[chosen], y[chosen]), rows_of_photos(folder, range(75, 100, 5))


def wind(n: int, rng: np.random.Generator) -> tuple[Pairs, Pairs]:
    from scipy.io import netcdf_file

    with netcdf_file(DATA / "scientific" / "eraint_uvz.nc", mmap=False) as file:
        u, v = (
            file.variables[k].data * file.variables[k].scale_factor + file.variables[k].add_offset
            for k in "uv"
        )
    around = [np.roll(v, (dy, dx), (2, 3)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    y = np.stack(around, axis=-1)[:, :, 1:-1]
    x = u[:, :, 1:-1]
    # test: two stripes of 48 of the 480 longitudes
    stripe = np.arange(480) // 48
    test = (stripe == 3) | (stripe == 8)
    train, held = ((x[..., k].ravel(), y[..., k, :].reshape(-1, 9)) for k in (~test, test))
    chosen = rng.permutation(len(train[0]))[:n]
    return (train[0][chosen], train[1][chosen]), held


def synthetic(make: Callable[..., Pairs], *arguments: float) -> Callable[..., tuple[Pairs, Pairs]]:
    def both(n: int, rng: np.random.Generator) -> tuple[Pairs, Pairs]:
        return make(n, rng, *arguments), make(TEST, rng, *arguments)

    return both


SHORT = {"steps": 1500, "refit_batch": 1024, "refit_steps": 500}
# source, pairs, and its schemes: a name, the recipe; a recipe for one component codes all of them, one by one
CASES: tuple[tuple[str, Callable[..., tuple[Pairs, Pairs]], tuple[WynerZivRecipe | GridRecipe, ...]], ...] = (
    (
        "mixture", synthetic(mixture),
        (WynerZivRecipe("conditional", 14, 50.0), WynerZivRecipe("marginal", 6, 110.0),
         GridRecipe("conditional", 14, 50.0), GridRecipe("marginal", 6, 110.0)),
    ),
    (
        "nonlinear", synthetic(nonlinear),
        (WynerZivRecipe("conditional", 14, 125.0), WynerZivRecipe("marginal", 6, 280.0),
         GridRecipe("conditional", 14, 125.0), GridRecipe("marginal", 6, 280.0)),
    ),
    (
        "discrete", synthetic(discrete),
        (WynerZivRecipe("conditional", 12, 40.0), WynerZivRecipe("marginal", 6, 80.0),
         GridRecipe("conditional", 12, 40.0), GridRecipe("marginal", 6, 80.0)),
    ),
    ("vectors", synthetic(vectors), (WynerZivRecipe("marginal", 256, **SHORT), WynerZivRecipe("marginal", 2, 37.0))),
    (
        "correlated", synthetic(vectors, 0.8),
        (WynerZivRecipe("marginal", 256, **SHORT), WynerZivRecipe("marginal", 2, 37.0)),
    ),
    ("rows", stereo_rows, (WynerZivRecipe("conditional", 16), WynerZivRecipe("marginal", 8))),
    ("wind", wind, (WynerZivRecipe("conditional", 16), WynerZivRecipe("marginal", 8))),
)  # fmt: skip


def without_y_bits(x: np.ndarray, mse: float) -> float:
    """Bits a sample of a uniform quantiser with centroids and an ideal entropy coder, at this squared error; of the
    mean component."""
    columns = x.reshape(len(x), -1)
    rates = []
    for column in columns.T:
        low, high = math.log(1e-3 * column.std()), math.log(20 * column.std())
        rate = 0.0
        for _ in range(25):
            step = math.exp((low + high) / 2)
            _, cells = np.unique(np.floor(column / step), return_inverse=True)
            counts = np.bincount(cells)
            centroids = np.bincount(cells, column) / counts
            error = ((column - centroids[cells]) ** 2).mean()
            p = counts / len(column)
            rate = float(-(p * np.log2(p)).sum())
            low, high = ((low + high) / 2, high) if error < mse else (low, (low + high) / 2)
        rates.append(rate)
    return float(np.mean(rates))


def run(name: str, recipe: WynerZivRecipe | GridRecipe, training: Pairs, test: Pairs) -> dict[str, object]:
    """Train on `training`, write and read a file of `test`: one row of the CSV file."""
    scalar = recipe.indices == 2 and training[0].ndim == 2
    if scalar:  # separate coding: every component by itself
        training, test = ((x.reshape(-1), y.reshape(-1)) for x, y in (training, test))
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        codec: IndexCodec
        if isinstance(recipe, GridRecipe):
            codec = WynerZivGridCodec(train_grid(*training, Path(folder) / name, recipe))
        else:
            codec = WynerZivCodec(train_model(*training, Path(folder) / name, recipe))
    seconds = time.process_time() - started
    x, y = test[0].reshape(len(test[0]), -1), test[1]
    u = codec.indices_of(x)
    d = x.shape[1]
    facts = measure(codec, u, log_likelihoods(codec, u, y), x, y)
    ideal = facts["marginal_bits" if recipe.objective == MARGINAL else "conditional_bits"] / d
    kind = "grid" if isinstance(recipe, GridRecipe) else "separate scalars" if scalar else "learned"
    return {
        "source": name, "scheme": kind, "objective": recipe.objective, "K": recipe.indices,
        "file_bits": f"{facts['file_bits'] / d:.4f}", "ideal_bits": f"{ideal:.4f}", "mse": f"{facts['mse']:.6g}",
        "without_y_bits": f"{without_y_bits(x, facts['mse']):.4f}",
        "unrecoverable": int(facts.get("unrecoverable_blocks", 0)), "cpu_seconds": f"{seconds:.0f}",
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="one source")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="pairs to train on")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.out / "sources.csv"
    done = {(r["source"], r["objective"], r["scheme"]) for r in read_rows(path)}
    for name, pairs, recipes in CASES:
        if options.only not in (None, name):
            continue
        if name in ("rows", "wind") and not DATA.is_dir():
            print(f"{name}: no data in {DATA}; set OBVERSE_DATA", file=sys.stderr)
            continue
        training, test = pairs(options.samples, np.random.default_rng(5))
        for recipe in recipes:
            kind = "grid" if isinstance(recipe, GridRecipe) else "learned"
            if recipe.indices == 2 and training[0].ndim == 2:
                kind = "separate scalars"
            if (name, recipe.objective, kind) not in done:
                row = run(name, recipe, training, test)
                append_row(path, row)
                print(*row.values(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
