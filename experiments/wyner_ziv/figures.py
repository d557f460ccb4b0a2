"""Table and figures of experiments/wyner_ziv/learned.py, from the CSV files and schemes that its other parts wrote."""

from __future__ import annotations

import csv
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
from learned import CONDITIONAL_GAP, MARGINAL_GAPS, SOURCES, Source, read_rows
from matplotlib import colormaps
from matplotlib.figure import Figure

Row = dict[str, str]
TITLES = {"x=y+n": "X = Y + N,  N ~ N(0, 0.1)", "y=x+n": "Y = X + N,  N ~ N(0, 0.01)"}
BLACK, BLUE, ORANGE, GREEN, GREY = "#000000", "#0072b2", "#d55e00", "#009e73", "#888888"


def draw_all(out: Path, schemes: Path) -> None:
    """table.csv, encoders.png, decoders.png, rate_distortion.png in `out`."""
    learned, grid = read_rows(out / "learned.csv"), read_rows(out / "grid.csv")
    write_table(learned, out / "table.csv")
    encoders(schemes, out / "encoders.png")
    decoders(schemes, learned, out / "decoders.png")
    rate_distortion(learned, grid, out / "rate_distortion.png")


def allowed_gap(row: Row) -> float:
    """What the gap of a learned scheme may be, in bits."""
    if row["objective"] == "conditional":
        return CONDITIONAL_GAP
    best, more = MARGINAL_GAPS[int(row["K"])]
    return best + more


def passes(row: Row) -> bool:
    """Whether a training reached its goal: the gap, within three minutes, at 1 bit or more, or all of log2 K."""
    least = 1.0 if row["objective"] == "conditional" else 0.98 * math.log2(int(row["K"]))
    close = float(row["gap_bits"]) <= allowed_gap(row) + 5e-4
    return close and float(row["rate_bits"]) >= least and float(row["cpu_seconds"]) <= 180


def write_table(learned: list[Row], path: Path) -> None:
    """One row for each source, objective, start and K: medians over the seeds, and how many reach the goal."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in learned:
        groups.setdefault((row["source"], row["objective"], row["start"], row["K"]), []).append(row)
    header = (
        "source", "objective", "start", "K", "seeds", "rate_bits", "mse", "gap_bits", "worst_gap_bits", "goal_bits",
        "reached", "intervals_per_index", "cpu_seconds",
    )  # fmt: skip
    lines: list[tuple[object, ...]] = []
    for key, rows in groups.items():
        gaps = [float(r["gap_bits"]) for r in rows]
        counts = [int(n) for r in rows for n in r["intervals"].split() if n != "0"]
        middle = {f: np.median([float(r[f]) for r in rows]) for f in ("rate_bits", "mse", "cpu_seconds")}
        lines.append((
            *key, len(rows), f"{middle['rate_bits']:.4f}", f"{middle['mse']:.6f}", f"{np.median(gaps):.4f}",
            f"{max(gaps):.4f}", allowed_gap(rows[0]), sum(map(passes, rows)), f"{min(counts)}-{max(counts)}",
            f"{middle['cpu_seconds']:.0f}",
        ))  # fmt: skip
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
    for line in (header, *lines):
        print(" ".join(f"{value!s:>12}" for value in line))


def load(schemes: Path, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    path = schemes / f"{name}.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["labels"], arrays["curves"]


def runs(labels: np.ndarray) -> list[tuple[int, int, int]]:
    """(index, first cell, last cell + 1) of each interval."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1, [len(labels)]])
    return [(int(labels[a]), int(a), int(b)) for a, b in pairwise(edges)]


def axis_of(source: Source, cells: int) -> np.ndarray:
    reach = 6.2 * math.sqrt(1 + source.noise)
    return -reach + (np.arange(cells) + 0.5) * (2 * reach / cells)


def colour(index: int, count: int) -> tuple[float, ...]:
    return colormaps["tab20" if count > 10 else "tab10"](index)


def encoders(schemes: Path, path: Path) -> None:
    """Every encoder of seed 0 as coloured intervals of the x axis, one panel a source."""
    points = [
        ("marginal-emergent-4", "marginal, K = 4, emergent"),
        ("marginal-nested-2", "marginal, K = 2"),
        ("marginal-nested-4", "marginal, K = 4"),
        ("marginal-nested-10", "marginal, K = 10"),
        ("conditional-emergent-8", "conditional, K = 8, emergent"),
        ("conditional-nested-8", "conditional, K = 8"),
        ("conditional-nested-14", "conditional, K = 14"),
    ]
    figure = Figure(figsize=(11, 7), layout="constrained")
    panels = figure.subplots(2, 1)
    for axes, source in zip(panels, SOURCES.values(), strict=True):
        shown = []
        for name, title in points:
            found = load(schemes, f"{source.name}-{name}")
            if found is None:
                continue
            labels, curves = found
            x, count = axis_of(source, len(labels)), len(curves)
            half = (x[1] - x[0]) / 2
            bottom = -len(shown)
            for index, first, last in runs(labels):
                left, right = x[first] - half, x[last - 1] + half
                axes.barh(bottom, right - left, 0.8, left, color=colour(index, count), linewidth=0)
            shown.append(title)
        reach = 3.6 * math.sqrt(source.x_variance)
        axes.set_yticks(range(0, -len(shown), -1), shown)
        axes.set_xlim(-reach, reach)
        axes.set_xlabel("x (within 3.6 standard deviations)")
        axes.set_title(TITLES[source.name])
    figure.suptitle("Learned encoders: intervals of one colour share an index, y tells them apart")
    figure.savefig(path, dpi=110)


def decoders(schemes: Path, learned: list[Row], path: Path) -> None:
    """x̂(u, y) of the emergent marginal schemes, with the lines of the ideal Gaussian decoder."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, source in zip(panels, SOURCES.values(), strict=True):
        found = load(schemes, f"{source.name}-marginal-emergent-4")
        key = (source.name, "marginal", "emergent", "4", "0")
        rows = [
            r for r in learned if tuple(r[f] for f in ("source", "objective", "start", "K", "seed")) == key
        ]
        if found is None or not rows:
            continue
        labels, curves = found
        x, y = axis_of(source, len(labels)), axis_of(source, curves.shape[1])
        b = 1 - float(rows[0]["mse"]) / source.residual
        density = np.exp(-(x**2) / (2 * source.x_variance))
        reach = 2.6 if source.x_is_y_plus_n else 1.3
        for index, curve in enumerate(curves):
            axes.plot(y, curve, color=colour(index, len(curves)), linewidth=1.8, label=f"u = {index}")
            mine = [(first, last) for u, first, last in runs(labels) if u == index]
            centres = [np.average(x[a:z], weights=density[a:z]) for a, z in mine if density[a:z].sum() > 0]
            for k, c in enumerate(centres):
                # as far as this interval is nearer to E[x|y] than the next one of the index
                below = (c + centres[k - 1]) / 2 if k else -np.inf
                above = (c + centres[k + 1]) / 2 if k + 1 < len(centres) else np.inf
                m = source.slope * y
                inside = (m > below) & (m < above)
                label = "(1 - b) E[x|y] + b u" if index == len(curves) - 1 and k == 0 else None
                axes.plot(
                    y[inside], (1 - b) * m[inside] + b * c, "--", color=BLACK, linewidth=0.9, label=label
                )
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-1.25 * reach, 1.25 * reach)
        axes.set_xlabel("y")
        axes.set_ylabel("reconstruction x̂(u, y)")
        axes.set_title(f"{TITLES[source.name]};  b = 1 - D / var(x|y) = {b:.3f}", fontsize=10)
        axes.legend(loc="upper left", fontsize=8)
    figure.suptitle("Decoders of the emergent schemes, marginal objective, K = 4")
    figure.savefig(path, dpi=110)


def rate_distortion(learned: list[Row], grid: list[Row], path: Path) -> None:
    """Rates and distortions of every training, of the best designs, and the bounds."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, source in zip(panels, SOURCES.values(), strict=True):
        d = np.geomspace(source.residual / 64, source.residual, 200)
        db = 10 * np.log10(d)
        axes.plot(
            0.5 * np.log2(source.residual / d), db, color=BLACK, label="R_WZ(D) = R_X|Y(D), joint bound"
        )
        axes.plot(0.5 * np.log2(source.x_variance / d), db, ":", color=GREY, label="R_X(D), without y")
        for objective, tint, mark in (("conditional", BLUE, "o"), ("marginal", ORANGE, "s")):
            rate_name = "H(U|Y)" if objective == "conditional" else "H(U)"
            for start, rows in (("grid", grid), ("nested", learned), ("emergent", learned)):
                chosen = [
                    (float(r["rate_bits"]), 10 * math.log10(float(r["mse"]))) for r in rows
                    if (r["source"], r["objective"], r["start"]) == (source.name, objective, start)
                ]  # fmt: skip
                if not chosen:
                    continue
                rates, errors = zip(*sorted(chosen), strict=True)
                if start == "grid":
                    axes.plot(rates, errors, "-x", color=tint, alpha=0.6, linewidth=0.9,
                              label=f"{objective}, best non-neural design")  # fmt: skip
                else:
                    filled = tint if start == "emergent" else "none"
                    axes.plot(rates, errors, mark, color=tint, markerfacecolor=filled, markersize=6,
                              label=f"{objective}, learned, {start}: {rate_name}")  # fmt: skip
        axes.set_xlim(0, 4.2)
        axes.set_ylim(db[0] + 1, db[-1] + 0.5)
        axes.set_xlabel("rate (bits a sample)")
        axes.set_ylabel("mean squared error (dB)")
        axes.set_title(TITLES[source.name])
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=4)
    figure.suptitle("Learned scalar Wyner-Ziv codecs against the bounds, scored by numerical integration")
    figure.savefig(path, dpi=110)
