"""Augmented MNIST: bits an image, measured from the file of the whole test set, at an accuracy.

Reproduces the MNIST experiment of Dubois, Bloem-Reddy, Ullrich, Maddison, "Lossy compression for lossless prediction"
(NeurIPS 2021): images are turned, sheared, scaled and moved at random, and so are those of the test set. VC keeps the
changed image, VIC and BINCE keep what all changes of it share. A probe (a network of two hidden layers) learns the
class from decoded codes of training images, and is asked about the decoded codes of the test file.

    python experiments/invariant/mnist.py --data FOLDER --out FOLDER [--threads 1]
    python experiments/invariant/mnist.py --data FOLDER --out FOLDER --fashion

FOLDER holds the four official *-ubyte.gz files. Trains and measures every run of the table below; a run that was
stopped goes on where it was, and one that was measured is read from its row. Writes mnist.csv, mnist.png (rates against
accuracies) and mnist_images.png (what VC and VIC decode to); with --fashion, the same under that name. vc_bits is what
VC takes at the row's accuracy, between the two runs of VC around it; vc_bound says when it is a bound: < or >, not =.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional

from obverse.codecs.invariant.codec import InvariantCodec
from obverse.codecs.invariant.export import export_invariant
from obverse.codecs.invariant.objectives import objective_of
from obverse.codecs.invariant.recipe import Affine, InvariantConfig, InvariantRecipe
from obverse.codecs.invariant.sources import TransformedImages, transformed_set
from obverse.codecs.invariant.train import train
from obverse.container import read, write
from obverse.data.image_sets import Bytes, read_image_set
from obverse.zoo import load_model_from

COLUMNS = (
    "name", "beta", "steps", "batch", "width", "clusters", "file_bits", "model_bits", "density_bits", "alone_bits",
    "accuracy", "file_bytes", "vc_bits", "vc_bound", "ratio",
)  # fmt: skip
CURVES = {
    "vc": ("#c44e52", "VC, file of the test set"),
    "vic": ("#4c72b0", "VIC, file of the test set"),
    "vic-upright": ("#8172b3", "VIC to upright images, file of the test set"),
    "bince": ("#55a868", "BINCE, file of the test set"),
}
PROBE_VIEWS, PROBE_EPOCHS = 4, 8  # changes of each training image that the probe sees, and how often
PUBLISHED = {"vc": (177.7, 0.912), "vic": (47.3, 0.976)}  # predicted bits, accuracy, on MNIST


@dataclass(frozen=True)
class Run:
    """One model: its objective, its place on the curve, and what its training took. upright: whether VIC's images are
    represented by what `upright` makes of them, not as they were found."""

    objective: str
    beta: float
    steps: int
    batch: int = 128
    width: int = 16
    clusters: int = 64
    codes: int = 32
    upright: bool = False

    @property
    def name(self) -> str:
        """Of its curve, and of its folder with beta."""
        return self.objective + "-upright" * self.upright

    @property
    def recipe(self) -> InvariantRecipe:
        return InvariantRecipe(
            self.objective, self.beta, self.steps, self.batch, lr=2e-3, anneal=0.25, refit=0.1, bf16=True
        )

    @property
    def config(self) -> InvariantConfig:
        decodes = objective_of(self.objective).decodes
        return InvariantConfig((28, 28), self.codes, self.width, decodes, self.clusters)


@dataclass(frozen=True)
class Setting:
    """A data set's name, how far its images are changed, and the runs on it."""

    name: str
    title: str
    affine: Affine
    runs: tuple[Run, ...]


MNIST = Setting(
    "mnist",
    "Augmented MNIST",
    Affine(),
    (
        Run("vic", 0.25, 9000),
        Run("vic", 0.2, 9000, upright=True),
        Run("vic", 0.5, 6000, upright=True),
        Run("vc", 0.05, 9000),
        Run("vc", 0.1, 9000),
        Run("vc", 0.2, 9000),
        Run("bince", 0.1, 2500, batch=256),
    ),
)
FASHION = Setting(
    "fashion",
    "Augmented Fashion-MNIST",
    Affine(degrees=10, shear=5, translate=0.1, scale=(0.9, 1.1), flip=True),
    (Run("vic", 0.5, 2500), Run("vic", 0.2, 2500), Run("vc", 0.3, 2500), Run("bince", 0.1, 1000, batch=256)),
)


def read_set(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, test images and labels."""
    images = [read_image_set(data / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")]
    labels = [read_labels(data / f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k")]
    return images[0], labels[0], images[1], labels[1]


def read_labels(path: Path) -> np.ndarray:
    """(n,) int64 of an IDX file of labels."""
    import gzip

    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)


def probe_accuracy(
    codes: np.ndarray,
    labels: np.ndarray,
    test_codes: np.ndarray,
    test_labels: np.ndarray,
    epochs: int,
    seed: int = 0,
    hidden: int = 256,
) -> float:
    """Share of test codes whose class a network tells that has learned from `codes`, (n, k) float32.

    hidden: width of its two hidden layers; 0: it is linear.
    """
    torch.manual_seed(seed)
    mean, scale = codes.mean(0), codes.std(0) + 1e-3
    x, y = torch.from_numpy((codes - mean) / scale), torch.from_numpy(labels)
    layers: list[nn.Module] = []
    for width in (x.shape[1], hidden) if hidden else ():
        layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.1)]
    probe = nn.Sequential(*layers, nn.Linear(hidden or x.shape[1], 10))
    optimiser = torch.optim.Adam(probe.parameters(), 2e-3)
    batch = 500
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for first in range(0, len(x) - batch + 1, batch):
            here = order[first : first + batch]
            loss = functional.cross_entropy(probe(x[here]), y[here])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    probe.eval()
    with torch.no_grad():
        guess = probe(torch.from_numpy((test_codes - mean) / scale)).argmax(1).numpy()
    return float((guess == test_labels).mean())


def measure(
    codec: InvariantCodec, changed: Bytes, test_labels: np.ndarray, views: Sequence[Bytes], labels: np.ndarray
) -> dict[str, float]:
    """The rates of the file of `changed`, the test set, and the accuracy of a probe that saw the codes of `views`."""
    data = write(codec.encode(changed))
    alone = [8 * len(write(codec.encode(changed[i : i + 1]))) for i in range(100)]
    # what `decode` gives back for each view, without a file of each
    known = [(codec.symbols_of(view) + codec.offset).astype(np.float32) for view in views]
    decoded = codec.decode(read(data))
    return {
        "file_bits": 8 * len(data) / len(changed),
        "model_bits": float(codec.rate_bits(changed).mean()),
        "alone_bits": float(np.mean(alone)),
        "accuracy": probe_accuracy(
            np.concatenate(known), np.tile(labels, len(views)), decoded, test_labels, PROBE_EPOCHS
        ),
        "file_bytes": len(data),
    }


def bits_at(accuracy: float, curve: list[tuple[float, float]]) -> tuple[float, str]:
    """The bits at which a curve of (bits, accuracy) reaches an accuracy, straight between two points, and "=".

    The bits of its first point and "<", where already that is more accurate: the curve would take less. Those of its
    last and ">", where none is as accurate: it would take more, if it ever gets there.
    """
    points = sorted(curve)
    if points[0][1] >= accuracy:
        return points[0][0], "=" if points[0][1] == accuracy else "<"
    for (bits, reached), (more_bits, more) in pairwise(points):
        if more >= accuracy:
            return bits + (accuracy - reached) / (more - reached) * (more_bits - bits), "="
    return points[-1][0], ">"


def draw_rates(rows: list[dict[str, Any]], setting: Setting) -> Figure:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for name, (colour, label) in CURVES.items():
        points = sorted((row["file_bits"], 100 * row["accuracy"]) for row in rows if row["name"] == name)
        if points:
            axes.plot(*zip(*points, strict=True), "o-", ms=7, color=colour, label=label)
    if setting is MNIST:
        for name, (bits, accuracy) in PUBLISHED.items():
            axes.plot(bits, 100 * accuracy, "*", ms=13, color=CURVES[name][0],
                      label=f"{name.upper()}, published (predicted bits)")  # fmt: skip
    axes.set(xlabel="rate, bits an image", ylabel="accuracy of a probe on the decoded codes, %", xscale="log")
    ticks = [10, 20, 30, 50, 100, 200]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title(f"{setting.title}: rate and task")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def draw_images(codecs: dict[str, InvariantCodec], test: np.ndarray, setting: Setting) -> Figure:
    """Changed test images, and what their codes decode to."""
    changed = transformed_set(test[:12], setting.affine, seed=100)
    lines = {"what is coded": changed, "unchanged, never seen": test[:12]}
    for name, title in {"vc": "VC", "vic": "VIC", "vic-upright": "VIC, upright"}.items():
        if name in codecs:
            lines[f"decoded by {title}"] = codecs[name].reconstruct(codecs[name].encode(changed))
    figure = Figure(figsize=(11, 1.05 * len(lines)), layout="constrained")
    grid = figure.subplots(len(lines), 12, squeeze=False)
    for row, (name, images) in zip(grid, lines.items(), strict=True):
        for axes, image in zip(row, images, strict=True):
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fashion", action="store_true", help="the files are Fashion-MNIST's")
    parser.add_argument("--only", choices=tuple(CURVES), action="append", help="these objectives alone")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    setting = FASHION if arguments.fashion else MNIST
    images, labels, test, test_labels = read_set(arguments.data)
    changed = transformed_set(test, setting.affine, seed=100)
    views: list[Bytes] = []
    rows: list[dict[str, Any]] = []
    codecs: dict[str, InvariantCodec] = {}
    for run in setting.runs:
        if arguments.only and run.name not in arguments.only:
            continue
        folder = arguments.out / f"{setting.name}-{run.name}-{run.beta}"
        kept = folder / "row.json"
        if not kept.exists():
            source = TransformedImages(images[:-2000], setting.affine, run.upright)
            held_out = TransformedImages(images[-2000:], setting.affine, run.upright)
            checkpoint = train(source, held_out, folder, run.recipe, run.config)
            model = export_invariant(checkpoint, held_out, folder / "model")
            views = views or [
                transformed_set(images, setting.affine, seed=200 + i) for i in range(PROBE_VIEWS)
            ]
            measured = measure(InvariantCodec(model), changed, test_labels, views, labels)
            row = {"name": run.name} | asdict(run) | {"density_bits": model.config["rate_bits"]} | measured
            kept.write_text(json.dumps(row))
        codecs.setdefault(run.name, InvariantCodec(load_model_from(folder / "model")))
        rows.append(json.loads(kept.read_text()))
    curve = [(row["file_bits"], row["accuracy"]) for row in rows if row["name"] == "vc"]
    for row in rows:
        row |= {"vc_bits": "", "vc_bound": "", "ratio": ""}
        if curve and row["name"] != "vc":
            row["vc_bits"], row["vc_bound"] = bits_at(row["accuracy"], curve)
            row["ratio"] = row["vc_bits"] / row["file_bits"]
    with open(arguments.out / f"{setting.name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            line = {k: f"{row[k]:.6g}" if isinstance(row[k], float) else row[k] for k in COLUMNS}
            writer.writerow(line)
            print(", ".join(f"{k} {v}" for k, v in line.items()))
    draw_rates(rows, setting).savefig(arguments.out / f"{setting.name}.png", dpi=130)
    draw_images(codecs, test, setting).savefig(arguments.out / f"{setting.name}_images.png", dpi=130)


if __name__ == "__main__":
    main()
