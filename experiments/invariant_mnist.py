"""Augmented MNIST: bits an image, measured from the file of the whole test set, at an accuracy.

Reproduces the MNIST experiment of Dubois, Bloem-Reddy, Ullrich, Maddison, "Lossy compression for lossless prediction"
(NeurIPS 2021): images are turned, sheared, scaled and moved at random, and so are those of the test set. VC keeps the
changed image, VIC and BINCE keep what all changes of it share. A probe (a network of two hidden layers) learns the
class from decoded codes of training images, and is asked about the decoded codes of the test file.

    python experiments/invariant_mnist.py --data FOLDER --out FOLDER [--only vic] [--threads 1]
    python experiments/invariant_mnist.py --data FOLDER --out FOLDER --fashion

FOLDER holds the four official *-ubyte.gz files. A run that was stopped goes on where it was; objectives that were
measured already are read from their rows. Writes mnist.csv, mnist.png (rates against accuracies) and
mnist_images.png (what VC and VIC decode to); with --fashion, the same under that name.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional

from obverse.codecs.invariant import InvariantCodec
from obverse.container import read, write
from obverse.data.image_sets import read_image_set
from obverse.training.invariant import InvariantRecipe, objective_of, train
from obverse.training.invariant_export import export_invariant
from obverse.training.invariant_sources import Affine, TransformedImages, transformed_set
from obverse.transforms.invariant import InvariantConfig
from obverse.zoo import load_model_from

COLUMNS = (
    "objective", "beta", "steps", "file_bits", "model_bits", "density_bits", "alone_bits", "accuracy", "file_bytes",
)  # fmt: skip
COLOURS = {"vc": "#c44e52", "vic": "#4c72b0", "bince": "#55a868"}
PUBLISHED = {"vc": (177.7, 0.912), "vic": (47.3, 0.976)}  # predicted bits, accuracy, on MNIST


@dataclass(frozen=True)
class Setting:
    """A data set's name, how far its images are changed, and beta for each objective."""

    name: str
    affine: Affine
    betas: dict[str, float]


MNIST = Setting("mnist", Affine(), {"vic": 0.25, "vc": 0.1, "bince": 0.1})
FASHION = Setting(
    "fashion",
    Affine(degrees=10, shear=5, translate=0.1, scale=(0.9, 1.1), flip=True),
    {"vic": 0.4, "vc": 0.15, "bince": 0.1},
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
) -> float:
    """Share of test codes whose class a network tells that has learned from `codes`, (n, k) float32."""
    torch.manual_seed(seed)
    mean, scale = codes.mean(0), codes.std(0) + 1e-3
    x, y = torch.from_numpy((codes - mean) / scale), torch.from_numpy(labels)
    probe = nn.Sequential(
        nn.Linear(x.shape[1], 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 10),
    )  # fmt: skip
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
    codec: InvariantCodec,
    setting: Setting,
    sets: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    views: int,
    epochs: int,
) -> dict[str, float]:
    """The rates of the test file, and the probe's accuracy. views: how often the probe sees each training image."""
    images, labels, test, test_labels = sets
    changed = transformed_set(test, setting.affine, seed=100)
    data = write(codec.encode(changed))
    alone = [8 * len(write(codec.encode(changed[i : i + 1]))) for i in range(100)]
    known = [
        codec.decode(codec.encode(transformed_set(images, setting.affine, seed=200 + view)))
        for view in range(views)
    ]
    accuracy = probe_accuracy(
        np.concatenate(known), np.tile(labels, views), codec.decode(read(data)), test_labels, epochs
    )
    return {
        "file_bits": 8 * len(data) / len(test),
        "model_bits": float(codec.rate_bits(changed).mean()),
        "alone_bits": float(np.mean(alone)),
        "accuracy": accuracy,
        "file_bytes": len(data),
    }


def draw_rates(rows: list[dict[str, float | str]], setting: Setting) -> Figure:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        name = str(row["objective"])
        axes.plot(row["file_bits"], 100 * float(row["accuracy"]), "o", ms=9, color=COLOURS[name],
                  label=f"{name.upper()}, the file of the test set")  # fmt: skip
    if setting is MNIST:
        for name, (bits, accuracy) in PUBLISHED.items():
            axes.plot(bits, 100 * accuracy, "*", ms=13, color=COLOURS[name],
                      label=f"{name.upper()}, published (predicted bits)")  # fmt: skip
    axes.set(xlabel="rate, bits an image", ylabel="accuracy of a probe on the decoded codes, %", xscale="log")
    ticks = [10, 20, 50, 100, 200]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title(
        f"Augmented {setting.name.upper() if setting is MNIST else 'Fashion-MNIST'}: rate and task"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def draw_images(codecs: dict[str, InvariantCodec], test: np.ndarray, setting: Setting) -> Figure:
    """Changed test images, and what their codes decode to."""
    changed = transformed_set(test[:12], setting.affine, seed=100)
    lines = {"what is coded": changed, "unchanged, never seen": test[:12]}
    for name in ("vc", "vic"):
        if name in codecs:
            lines[f"decoded by {name.upper()}"] = codecs[name].reconstruct(codecs[name].encode(changed))
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
    parser.add_argument("--only", choices=tuple(COLOURS), action="append", help="these objectives alone")
    parser.add_argument("--beta", type=float, help="instead of the setting's; for one objective")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--codes", type=int, default=32)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--views", type=int, default=4, help="how often the probe sees each training image")
    parser.add_argument("--epochs", type=int, default=8, help="of the probe")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    setting = FASHION if arguments.fashion else MNIST
    sets = read_set(arguments.data)
    source = TransformedImages(sets[0][:-2000], setting.affine)
    held_out = TransformedImages(sets[0][-2000:], setting.affine)
    rows: list[dict[str, float | str]] = []
    codecs: dict[str, InvariantCodec] = {}
    for objective in arguments.only or setting.betas:
        beta = arguments.beta if arguments.beta is not None else setting.betas[objective]
        folder = arguments.out / f"{setting.name}-{objective}-{beta}"
        recipe = InvariantRecipe(
            objective, beta, arguments.steps, arguments.batch, arguments.lr, anneal=0.25, bf16=arguments.bf16
        )
        config = InvariantConfig((28, 28), arguments.codes, arguments.width, objective_of(objective).decodes)
        kept = folder / "row.json"
        if kept.exists():
            row = json.loads(kept.read_text())
            codecs[objective] = InvariantCodec(load_model_from(folder / "model"))
        else:
            checkpoint = train(source, held_out, folder, recipe, config)
            model = export_invariant(checkpoint, held_out, folder / "model")
            codecs[objective] = InvariantCodec(model)
            row = {"objective": objective, "beta": beta, "steps": arguments.steps}
            row |= {"density_bits": model.config["rate_bits"]}
            row |= measure(codecs[objective], setting, sets, arguments.views, arguments.epochs)
            kept.write_text(json.dumps(row))
        rows.append(row)
        print(
            ", ".join(f"{k} {row[k]:.4f}" if isinstance(row[k], float) else f"{k} {row[k]}" for k in COLUMNS)
        )
    with open(arguments.out / f"{setting.name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{row[k]:.6g}" if isinstance(row[k], float) else row[k] for k in COLUMNS})
    draw_rates(rows, setting).savefig(arguments.out / f"{setting.name}.png", dpi=130)
    draw_images(codecs, sets[2], setting).savefig(arguments.out / f"{setting.name}_images.png", dpi=130)


if __name__ == "__main__":
    main()
