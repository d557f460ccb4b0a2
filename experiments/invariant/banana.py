"""The banana whose points mean their distance from the origin: what VIC saves over VC, in real files.

Reproduces the two-dimensional experiment of Dubois, Bloem-Reddy, Ullrich, Maddison, "Lossy compression for lossless
prediction" (NeurIPS 2021): a task asks for the radius alone, so which way a point lies need not be sent. VC is trained
on the points as they are, VIC and BINCE on points turned by random angles; all code the same test points, the whole set
in one file. The task's loss is the mean squared error of the best predictor of the radius that there is: the mean
radius of the training points that have the same code.

    python experiments/invariant/banana.py --out FOLDER [--threads 1] [--steps 1500]

Writes banana.csv, banana_rates.png (rates against losses) and banana_cells.png (the quantisation cells of VC and VIC).
A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from obverse.codecs.invariant.codec import InvariantCodec
from obverse.codecs.invariant.export import export_invariant
from obverse.codecs.invariant.objectives import objective_of
from obverse.codecs.invariant.recipe import InvariantConfig, InvariantRecipe
from obverse.codecs.invariant.sources import RotatedPoints, rotated
from obverse.codecs.invariant.train import train
from obverse.container import read, write
from obverse.theory import Banana

BANANA = Banana(degrees=140.0, shift=(-1.3285, -1.6894))  # the paper's: curvature 0.05, factor 6, scale 1/2
BETAS = {"vc": (0.1, 0.14, 0.2, 0.28), "vic": (0.1, 0.14, 0.2, 0.28), "bince": (0.05, 0.1)}
CODES = {"vc": 2, "vic": 2, "bince": 1}
PUBLISHED = {"vc": (4.83, 0.077), "vic": (2.30, 0.086)}  # bits, task loss
COLUMNS = (
    "objective", "beta", "file_bits", "model_bits", "radius_loss", "file_bytes", "turned_file_bits",
    "turned_radius_loss",
)  # fmt: skip
COLOURS = {"vc": "#c44e52", "vic": "#4c72b0", "bince": "#55a868"}


def radius_loss(codec: InvariantCodec, known: np.ndarray, codes: np.ndarray, radius: np.ndarray) -> float:
    """Mean squared error of predicting `radius` from decoded `codes`.

    known: (m, 2) training points; the prediction is the mean radius of those with the same code, or with the nearest
    code where none has the same.
    """
    seen = codec.decode(codec.encode(known))
    cells, which = np.unique(seen, axis=0, return_inverse=True)
    which = which.ravel()
    means = np.bincount(which, np.hypot(*known.T)) / np.bincount(which)
    places = {cell.tobytes(): i for i, cell in enumerate(cells)}
    asked, back = np.unique(codes, axis=0, return_inverse=True)
    answers = np.array(
        [
            means[places[c.tobytes()] if c.tobytes() in places else np.square(cells - c).sum(1).argmin()]
            for c in asked
        ]
    )
    return float(np.square(answers[back.ravel()] - radius).mean())


def measure(codec: InvariantCodec, known: np.ndarray, points: np.ndarray) -> tuple[float, float, int]:
    """Bits a point of the file of all points, radius loss, and bytes of the file."""
    data = write(codec.encode(points))
    codes = codec.decode(read(data))
    return 8 * len(data) / len(points), radius_loss(codec, known, codes, np.hypot(*points.T)), len(data)


def turn_all(points: np.ndarray, seed: int) -> np.ndarray:
    """Each point turned about the origin by a random angle."""
    angles = np.random.default_rng(seed).uniform(0, 2 * math.pi, len(points))
    return rotated(torch.from_numpy(points), angles).numpy()


def draw_rates(rows: list[dict[str, float | str]]) -> Figure:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for objective in CODES:
        own = sorted((r["file_bits"], r["radius_loss"]) for r in rows if r["objective"] == objective)
        if own:
            axes.plot(
                *zip(*own, strict=True),
                "o-",
                color=COLOURS[objective],
                label=f"{objective.upper()}, real files",
            )
        if objective in PUBLISHED:
            name = f"{objective.upper()}, published (predicted bits)"
            axes.plot(*PUBLISHED[objective], "*", ms=13, color=COLOURS[objective], label=name)
    axes.set(xlabel="rate, bits a point", ylabel="mean squared error of the radius", yscale="log")
    axes.set_title("The rotation-invariant banana: rate and task loss")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure


def draw_cells(axes: Axes, codec: InvariantCodec, points: np.ndarray, title: str) -> None:
    """Cells of the quantiser as coloured areas, some points of the source, and the radius that each cell means."""
    low, high, steps = -7.0, 7.0, 700
    side = np.linspace(low, high, steps)
    plane = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    cells = np.unique(codec.symbols_of(plane.astype(np.float32)), axis=0, return_inverse=True)[1]
    cells = cells.reshape(steps, steps)
    shades = np.random.default_rng(3).uniform(0.55, 1.0, (cells.max() + 1, 3))
    edge = np.zeros_like(cells, bool)
    edge[:-1] |= cells[1:] != cells[:-1]
    edge[:, :-1] |= cells[:, 1:] != cells[:, :-1]
    picture = np.where(edge[..., None], 0.25, shades[cells])
    axes.imshow(picture, extent=(low, high, low, high), origin="lower", interpolation="nearest")
    inside = points[(np.abs(points) < high).all(1)][:1500]
    axes.plot(*inside.T, ".", ms=1.5, color="black", alpha=0.5, label="points of the source")
    middles = codec.reconstruct(codec.encode(points[:20_000]))
    middles = np.unique(middles, axis=0)
    axes.plot(*middles.T, "o", ms=4, color="#c44e52", mec="white", mew=0.6, label="decoded points")
    axes.set(
        title=title,
        xlabel="x, first dimension",
        ylabel="x, second dimension",
        xlim=(low, high),
        ylim=(low, high),
    )
    axes.legend(loc="upper right", fontsize=8)


def best_pair(
    rows: list[dict[str, float | str]],
) -> tuple[dict[str, float | str], dict[str, float | str]] | None:
    """The VIC and the VC row of the largest ratio of rates, VIC within 2.5 bits and 1.2 times VC's loss."""
    pairs = [
        (vic, vc)
        for vic in rows for vc in rows
        if vic["objective"] == "vic" and vc["objective"] == "vc" and vic["file_bits"] <= 2.5
        and vic["radius_loss"] <= 1.2 * vc["radius_loss"]
    ]  # fmt: skip
    return max(pairs, key=lambda pair: pair[1]["file_bits"] / pair[0]["file_bits"], default=None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--points", type=int, default=100_000, help="points of the test file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=tuple(CODES), action="append", help="these objectives alone")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    known = BANANA.sample(400_000, seed=1).astype(np.float32)
    test = BANANA.sample(arguments.points, seed=2).astype(np.float32)
    known_turned, turned = turn_all(known, 3), turn_all(test, 4)
    held_out = BANANA.sample(5000, seed=4)
    rows: list[dict[str, float | str]] = []
    codecs: dict[tuple[str, float], InvariantCodec] = {}
    for objective in arguments.only or CODES:
        for beta in BETAS[objective]:
            turn = objective != "vc"
            folder = arguments.out / f"{objective}-{beta}"
            # a contrastive objective collapses to one code at the others' learning rate
            lr = arguments.lr if objective_of(objective).decodes else arguments.lr / 3
            recipe = InvariantRecipe(objective, beta, arguments.steps, arguments.batch, lr, anneal=0.0)
            config = InvariantConfig((2,), CODES[objective], arguments.width, objective_of(objective).decodes)
            checkpoint = train(
                RotatedPoints(known, turn), RotatedPoints(held_out, turn), folder, recipe, config
            )
            codec = InvariantCodec(
                export_invariant(checkpoint, RotatedPoints(held_out, turn), folder / "model")
            )
            bits, loss, size = measure(codec, known, test)
            turned_bits, turned_loss, _ = measure(codec, known_turned, turned)
            predicted = float(codec.rate_bits(test).mean())
            values = (objective, beta, bits, predicted, loss, size, turned_bits, turned_loss)
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            codecs[objective, beta] = codec
            shown = (f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items())
            print(", ".join(shown), flush=True)
    with open(arguments.out / "banana.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    draw_rates(rows).savefig(arguments.out / "banana_rates.png", dpi=130)
    found = best_pair(rows)
    if found is None:
        print("no VIC of at most 2.5 bits within 1.2 times the loss of a VC")
        return
    vic, vc = found
    print(
        f"VIC {vic['file_bits']:.3f} bits at loss {vic['radius_loss']:.4f}; VC {vc['file_bits']:.3f} bits at "
        f"{vc['radius_loss']:.4f}: {vc['file_bits'] / vic['file_bits']:.2f} times the bits"
    )
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    for place, row in enumerate((vc, vic)):
        name = str(row["objective"]).upper()
        title = f"{name}: {row['file_bits']:.2f} bits a point, radius loss {row['radius_loss']:.3f}"
        draw_cells(figure.add_subplot(1, 2, place + 1), codecs[row["objective"], row["beta"]], test, title)
    figure.savefig(arguments.out / "banana_cells.png", dpi=130)


if __name__ == "__main__":
    main()
