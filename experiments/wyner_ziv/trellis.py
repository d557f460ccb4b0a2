"""How near real files come to the Wyner-Ziv limit: trellis, learned p(x|y), Slepian-Wolf code.

    python experiments/wyner_ziv/trellis.py --cases gaussian --rates 1.4 --failure 0.002
    python experiments/wyner_ziv/trellis.py --cases gaussian --rates 1.9 --failure 0.004
    python experiments/wyner_ziv/trellis.py --cases learned,laplace,mixture --rates 1.9 --failure 0.004 --blocks 128

X = Y + N, Y ~ N(0, 1), N of variance 0.1:
    gaussian   N Gaussian, p(x|y) linear-Gaussian fitted by least squares
    learned    the same source, p(x|y) a network that is told nothing
    laplace    N Laplacian, p(x|y) learned
    mixture    N a mixture of N(0, 0.02) and N(0, 0.34), p(x|y) learned

For each case a model is trained on 800,000 pairs; fresh pairs are then written to files of 16 times 65,536 samples and
read again with y; --block is how many of them are Slepian-Wolf coded together. Rates are file sizes. The gap is to R_WZ
at the measured error: in closed form for the Gaussian, by Blahut-Arimoto for the others. Writes
results/wyner_ziv_trellis/ (CSV, plot); finished cases are not run again.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch

from obverse.codecs.wyner_ziv.recipe import TrellisRecipe
from obverse.codecs.wyner_ziv.train_trellis import train
from obverse.codecs.wyner_ziv.trellis import WynerZivTrellisCodec
from obverse.container import read, write
from obverse.errors import UnrecoverableBlockError
from obverse.theory.wyner_ziv_grid import grid_rate_bits

BLOCK, PER_FILE = 65_536, 16
VARIANCE = 0.1
RESULTS = Path(__file__).parents[1] / "results" / "wyner_ziv_trellis"


def noise(case: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if case == "laplace":
        return rng.laplace(scale=math.sqrt(VARIANCE / 2), size=n)
    if case == "mixture":
        narrow = rng.random(n) < 0.75
        return np.where(narrow, math.sqrt(0.02), math.sqrt(0.34)) * rng.normal(size=n)
    return math.sqrt(VARIANCE) * rng.normal(size=n)


def noise_density(case: str, z: np.ndarray) -> np.ndarray:
    if case == "laplace":
        scale = math.sqrt(VARIANCE / 2)
        return np.exp(-np.abs(z) / scale) / (2 * scale)
    return sum(
        weight * np.exp(-z * z / (2 * v)) / math.sqrt(2 * math.pi * v)
        for weight, v in ((0.75, 0.02), (0.25, 0.34))
    )


def pairs(case: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = rng.normal(size=n)
    return y + noise(case, n, rng), y


def limit_bits(case: str, error: float) -> float:
    """R_WZ at this mean squared error."""
    if case in ("gaussian", "learned"):
        return 0.5 * math.log2(VARIANCE / error)
    x, y = np.linspace(-6, 6, 601), np.linspace(-4.5, 4.5, 61)
    joint = np.exp(-(y[None, :] ** 2) / 2) * noise_density(case, x[:, None] - y[None, :])
    return grid_rate_bits(x, joint / joint.sum(), error)


def run(case: str, rate: float, options: argparse.Namespace) -> dict[str, object]:
    linear = case == "gaussian"
    recipe = TrellisRecipe(
        rate=rate, states=options.states, components=1 if linear else 6, hidden=0 if linear else 64,
        lists=options.lists, failure=options.failure, block=options.block, seed=1,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    folder = (
        options.models / f"{case}-{rate}-{options.states}-{options.lists}-{options.failure}-{options.block}"
    )
    model = train(*pairs(case, 800_000, rng), folder, recipe)
    codec = WynerZivTrellisCodec(model)
    rng = np.random.default_rng(2)
    failures, total_bytes, error, decoded, samples = 0, 0, 0.0, 0, 0
    encode_s = decode_s = 0.0
    for number in range(-(-options.blocks // PER_FILE)):
        x, y = pairs(case, PER_FILE * BLOCK, rng)
        start = time.process_time()
        data = write(codec.encode(x))
        encode_s += time.process_time() - start
        total_bytes += len(data)
        samples += x.size
        start = time.process_time()
        try:
            good = [(codec.decode(read(data), side_info=y), x)]
        except UnrecoverableBlockError:  # which of its blocks, and all others measured
            good = []
            for first in range(0, x.size, recipe.block):
                part, side = x[first : first + recipe.block], y[first : first + recipe.block]
                try:
                    good.append((codec.decode(codec.encode(part), side_info=side), part))
                except UnrecoverableBlockError:
                    failures += 1
        decode_s += time.process_time() - start
        error += sum(float(np.sum((again - original) ** 2)) for again, original in good)
        decoded += sum(original.size for _, original in good)
        if number % 8 == 7:
            say(f"{case} {rate}: {samples // recipe.block} blocks, {failures} failed")
    bits, mse = total_bytes * 8 / samples, error / decoded
    limit = limit_bits(case, mse)
    return {
        "case": case, "states": recipe.states, "dimensions": model.config["dimensions"], "lists": recipe.lists,
        "failure": recipe.failure, "together": recipe.block, "blocks": samples // recipe.block, "failures": failures,
        "rate_bits": round(bits, 4),
        "mse": round(mse, 6), "limit_bits": round(limit, 4), "gap_bits": round(bits - limit, 4),
        "gap_db": round(20 * math.log10(2) * (bits - limit), 3),
        "encode_samples_per_s": round(samples / encode_s, -3), "decode_samples_per_s": round(samples / decode_s, -3),
    }  # fmt: skip


def plot(rows: list[dict[str, str]], target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    rate = np.linspace(1, 2.2, 50)
    axes.plot(rate, 10 * np.log10(VARIANCE * 4.0**-rate), "k-", label="R_WZ(D), Gaussian")
    axes.plot(
        rate,
        10 * np.log10(VARIANCE * 4.0**-rate) + 1.53,
        "k:",
        label="best scalar quantiser, ideal Slepian-Wolf",
    )
    markers = {"gaussian": "o", "learned": "s", "laplace": "^", "mixture": "v"}
    for case, marker in markers.items():
        points = [
            (float(r["rate_bits"]), 10 * math.log10(float(r["mse"]))) for r in rows if r["case"] == case
        ]
        if points:
            (line,) = axes.plot(*zip(*points, strict=True), marker, label=f"{case}: files")
            limits = [
                (float(r["limit_bits"]), 10 * math.log10(float(r["mse"]))) for r in rows if r["case"] == case
            ]
            axes.plot(*zip(*limits, strict=True), marker, mfc="none", color=line.get_color(), ms=5)
    axes.set(
        xlabel="bits a sample", ylabel="mean squared error (dB)", title="hollow: the limit at the same error"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(target, dpi=110)


def say(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="gaussian,learned,laplace,mixture")
    parser.add_argument("--rates", default="1.4,1.9")
    parser.add_argument("--blocks", type=int, default=1024)
    parser.add_argument("--states", type=int, default=2048)
    parser.add_argument("--lists", type=int, default=32)
    parser.add_argument("--failure", type=float, default=0.005)
    parser.add_argument(
        "--block", type=int, default=BLOCK, help="samples that are Slepian-Wolf coded together"
    )
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder for the trained models")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "wyner_ziv_trellis.csv"
    rows = list(csv.DictReader(table.open())) if table.exists() else []
    done = {(row["case"], row["asked"], row["states"], row["lists"], row["together"]) for row in rows}
    for case in options.cases.split(","):
        for rate in options.rates.split(","):
            if (case, rate, str(options.states), str(options.lists), str(options.block)) in done:
                continue
            row = {"asked": rate, **run(case, float(rate), options)}
            print(row, flush=True)
            rows.append({key: str(value) for key, value in row.items()})
            with table.open("w", newline="") as f:
                writer = csv.DictWriter(f, rows[0])
                writer.writeheader()
                writer.writerows(rows)
    plot(rows, options.out / "wyner_ziv_trellis.png")


if __name__ == "__main__":
    main()
