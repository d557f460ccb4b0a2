"""The rows of experiments/features/probe.py as table.csv, equal_accuracy.csv and rate_accuracy.png.

Product quantisation has no rate to choose but the number of its parts, so equal_accuracy.csv tells how many bytes a
family of such points needs for the accuracy that ours has: between two of its points by a straight line over the
logarithm of the bytes (`bytes_at`).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure


def report(records: list[dict[str, object]], out: Path) -> None:
    """table.csv, equal_accuracy.csv and rate_accuracy.png of all rows that there are."""

    def place(record: dict[str, object]) -> int:
        return next((i for i, kind in enumerate(KINDS) if kind.has(str(record["method"]))), len(KINDS))

    records = sorted(records, key=place)
    write_csv(out / "table.csv", records)
    equal = equal_accuracy(records)
    if equal:
        write_csv(out / "equal_accuracy.csv", equal)
    plot(records, out / "rate_accuracy.png")


@dataclass(frozen=True)
class Kind:
    """Methods that are one line of the plot. pattern: of their names."""

    label: str
    pattern: str
    colour: str
    style: str

    def has(self, method: str) -> bool:
        return re.match(self.pattern, method) is not None

    def points(self, records: list[dict[str, object]]) -> list[tuple[float, float]]:
        """(bytes an image, accuracy), from small files to large."""
        return sorted(
            (float(str(r["bytes_an_image"])), float(str(r["probe_accuracy"])))
            for r in records if self.has(str(r["method"]))
        )  # fmt: skip


KINDS = (
    Kind("JPEG files of the images", "JPEG", "#e69f00", "x-"),
    Kind("float16, + zstd, + xz", "float16", "#555555", "v"),
    Kind("int8, + zstd, + xz", "int8", "#009e73", "^"),
    Kind("ours, standardised", r"ours, standardised, [\d.]+% lost$", "#0072b2", "o-"),
    Kind("ours, model in the file", r"ours.*in the file$", "#000000", "*"),
    Kind("ours, without a rotation", r"ours.*without a rotation$", "#0072b2", "P"),
    Kind("ours", r"ours, [\d.]+% lost$", "#56b4e9", "o:"),
    Kind("product quantisation, standardised", "product quantisation, standardised", "#d55e00", "s-"),
    Kind("product quantisation", r"product quantisation, \d+ parts", "#d55e00", "s:"),
    Kind("OPQ (faiss), standardised", "faiss, OPQ, standardised", "#cc79a7", "d-"),
    Kind("OPQ (faiss)", r"faiss, OPQ, \d+ parts", "#cc79a7", "d:"),
)


def equal_accuracy(records: list[dict[str, object]]) -> list[dict[str, object]]:
    """For each of our rows the bytes an image that product quantisation needs for the same accuracy (bytes_at)."""
    rows = []
    for record in records:
        method, accuracy = str(record["method"]), float(str(record["probe_accuracy"]))
        if not re.match(r"ours,( standardised,)? [\d.]+% lost$", method):
            continue
        row: dict[str, object] = {
            "method": method, "probe_accuracy": f"{accuracy:.4f}", "bytes_an_image": record["bytes_an_image"]
        }  # fmt: skip
        for kind in KINDS:
            points = kind.points(records) if kind.pattern.startswith(("product", "faiss")) else []
            if points:
                size, reached = bytes_at(accuracy, points)
                row[f"{kind.label}: bytes"] = f"{size:.0f}" if reached else f"above {points[-1][0]:.0f}"
        rows.append(row)
    return rows


def bytes_at(accuracy: float, points: Sequence[tuple[float, float]]) -> tuple[float, bool]:
    """Bytes that a family needs for an accuracy, and whether it reaches it; else those of its best point.

    points: (bytes, accuracy). An accuracy below that of the smallest point has that one's bytes: fewer may do.
    """
    curve: list[tuple[float, float]] = []
    for size, reached in sorted(points):
        curve.append((size, max(reached, curve[-1][1]) if curve else reached))
    if accuracy <= curve[0][1]:
        return curve[0][0], True
    for (small, low), (large, high) in pairwise(curve):
        if low < accuracy <= high:
            part = (accuracy - low) / (high - low)
            return math.exp((1 - part) * math.log(small) + part * math.log(large)), True
    best = max(reached for _, reached in curve)
    return min(size for size, reached in curve if reached == best), False


def read_csv(path: Path) -> list[dict[str, object]]:
    if not path.is_file():
        return []
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def write_csv(path: Path, records: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def plot(records: list[dict[str, object]], path: Path) -> None:
    """Accuracy against bytes an image."""
    figure = Figure(figsize=(10.2, 4.8), layout="constrained")
    axes = figure.subplots()
    for kind in KINDS:
        points = kind.points(records)
        if points:
            axes.plot(
                [size for size, _ in points],
                [100 * accuracy for _, accuracy in points],
                kind.style,
                color=kind.colour,
                label=kind.label,
                markersize=7,
            )
    base = [100 * float(str(r["probe_accuracy"])) for r in records if r["method"] == "float16"]
    for accuracy in base:
        axes.axhline(
            accuracy - 0.5, color="#999999", linestyle="--", linewidth=1, label="half a point below float16"
        )
    axes.set_xscale("log")
    ticks = [20, 30, 50, 100, 200, 300, 500, 1000]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    axes.set(
        xlabel="bytes an image (files of all test features, without shared models)",
        ylabel="accuracy of a linear probe, %",
        title="Fashion-MNIST, self-supervised features of 512 numbers",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8.5, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path, dpi=110)
