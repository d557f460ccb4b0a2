"""Stochastic Gumbel annealing at the encoder of the image codec: fewer bits for the same decoder.

    python experiments/sga/effort.py run kodak/ --out experiments/results/sga
    python experiments/sga/effort.py figures --out experiments/results/sga

`run` codes central crops at several qualities with each method, writes each file, decodes it from disk, and adds a row
to results.csv; it goes on where it was interrupted. `figures` writes bd_rates.csv, gain.png and rates.png from the
images that all methods have done.

Methods: effort-1 to effort-9 are what `obverse compress --effort` runs. The others run as many iterations as effort 3,
in the same loop: straight-through, map (uniform noise), deterministic (annealing without noise) and published (the
noise and temperatures of the paper), each with the learning rate that is best of three on photos of BSDS500's test.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import obverse
from obverse.codecs.image import codec as image_codec
from obverse.codecs.image import effort as image_effort
from obverse.container import read, write
from obverse.data.patches import central_crop
from obverse.metrics.bd_rate import bd_rate
from obverse.metrics.distortion import psnr
from obverse.quantization.sga import (
    PUBLISHED,
    GumbelAnnealing,
    Relaxation,
    Search,
    StraightThrough,
    UniformNoise,
)

QUALITIES = (15, 35, 55, 75)
EFFORTS = (0, 1, 3, 5, 7, 9)
EQUAL = 3  # the effort whose iterations the others get
OTHERS: dict[str, tuple[Relaxation, float]] = {
    "straight-through": (StraightThrough(), 0.001),
    "map": (UniformNoise(), 0.02),
    "deterministic": (GumbelAnnealing(noise=0.0), 0.004),
    "published": (PUBLISHED, 0.03),
}
METHODS = tuple(f"effort-{effort}" for effort in EFFORTS) + tuple(OTHERS)
FIELDS = ("image", "quality", "method", "bytes", "bpp", "psnr_db", "encode_seconds", "iterations")


def encode(
    codec: image_codec.ImageCodec, pixels: np.ndarray, quality: float, method: str
) -> tuple[bytes, int]:
    """A file's bytes, and how many iterations its search took."""
    if method.startswith("effort-"):
        effort = int(method.removeprefix("effort-"))
        search = image_effort.EFFORTS[effort]
        return write(
            codec.encode(pixels, codec.options(quality=quality, effort=effort))
        ), search.iterations if search else 0
    relaxation, lr = OTHERS[method]
    known = image_effort.EFFORTS[EQUAL]
    search = Search(known.iterations, lr=lr)

    def refine(*arguments, search=image_effort.refine, **keywords):
        return search(*arguments, **keywords, relaxation=relaxation)

    efforts = (None, search)
    with patch.object(image_effort, "EFFORTS", efforts), patch.object(image_effort, "refine", refine):
        return write(codec.encode(pixels, codec.options(quality=quality, effort=1))), search.iterations


def run(images: Path, out: Path, crop: int, count: int, methods: Sequence[str], step: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    table = out / "results.csv"
    done = {(row["image"], float(row["quality"]), row["method"]) for row in rows_of(table)}
    codec = obverse.open_codec("image")
    codec.encode(
        np.zeros((64, 64, 3), np.uint8), codec.options(effort=1)
    )  # the networks are built at first use
    for path in sorted(images.glob("*.png"))[::step][:count]:
        pixels = central_crop(np.asarray(Image.open(path).convert("RGB")), crop)
        for method in methods:
            for quality in QUALITIES:
                if (path.name, float(quality), method) in done:
                    continue
                started = time.process_time()
                data, iterations = encode(codec, pixels, quality, method)
                seconds = time.process_time() - started
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / "image.obv"
                    file.write_bytes(data)
                    quality_db = psnr(pixels, codec.decode(read(file)))
                    size = file.stat().st_size
                bpp = 8 * size / (pixels.shape[0] * pixels.shape[1])
                row = (
                    path.name,
                    quality,
                    method,
                    size,
                    f"{bpp:.5f}",
                    f"{quality_db:.4f}",
                    f"{seconds:.2f}",
                    iterations,
                )
                new = not table.exists()
                with open(table, "a", newline="") as f:
                    writer = csv.writer(f)
                    if new:
                        writer.writerow(FIELDS)
                    writer.writerow(row)
                sys.stdout.write(" ".join(map(str, row)) + "\n")
                sys.stdout.flush()


def rows_of(table: Path) -> list[dict[str, str]]:
    if not table.exists():
        return []
    with open(table, newline="") as f:
        return list(csv.DictReader(f))


def figures(out: Path, wanted: Sequence[str]) -> None:
    points: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    seconds: dict[str, list[float]] = defaultdict(list)
    iterations: dict[str, int] = {}
    for row in rows_of(out / "results.csv"):
        points[row["method"]][row["image"]].append((float(row["bpp"]), float(row["psnr_db"])))
        seconds[row["method"], row["image"]].append(float(row["encode_seconds"]))
        iterations[row["method"]] = int(row["iterations"])
    methods = [method for method in METHODS if method in points and method in wanted]
    complete = [
        image
        for image in points["effort-0"]
        if all(len(points[method][image]) == len(QUALITIES) for method in methods)
    ]
    table = []
    for method in methods:
        curves = [sorted(points[method][image]) for image in complete]
        mean = [tuple(np.mean([curve[i] for curve in curves], axis=0)) for i in range(len(QUALITIES))]
        base = [sorted(points["effort-0"][image]) for image in complete]
        each = [bd_rate(a, b) if method != "effort-0" else 0.0 for a, b in zip(base, curves, strict=True)]
        took = float(np.mean([np.mean(seconds[method, image]) for image in complete]))
        table.append((method, iterations[method], mean, float(np.mean(each)), took))
    with open(out / "bd_rates.csv", "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(("method", "iterations", "images", "bd_rate_percent", "cpu_seconds"))
        for method, steps, _, gain, took in table:
            writer.writerow((method, steps, len(complete), f"{gain:.2f}", f"{took:.2f}"))
            sys.stdout.write(f"{method:18} {steps:5} iterations {gain:+7.2f} % {took:7.2f} s\n")

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    efforts = [row for row in table if row[0].startswith("effort-")]
    axes.plot([row[4] for row in efforts], [row[3] for row in efforts], "o-", label="--effort")
    for method, _, _, gain, took in efforts:
        axes.annotate(method.removeprefix("effort-"), (took, gain), (6, 5), textcoords="offset points")
    for (method, steps, _, gain, took), marker in zip(
        [row for row in table if row not in efforts], "sv^D", strict=False
    ):
        axes.plot([took], [gain], marker, linestyle="none", label=f"{method}, {steps} iterations")
    axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axes.set(xscale="log", xlabel="CPU seconds of an encoding", ylabel="BD-rate against effort 0 (%)")
    axes.set_title(f"{len(complete)} central crops of Kodak, one core")
    axes.legend()
    figure.savefig(out / "gain.png", dpi=110)

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for method, _, mean, gain, _ in table:
        if method in ("effort-0", "effort-3", "effort-9", "straight-through", "map"):
            label = method if method == "effort-0" else f"{method} ({gain:+.1f} %)"
            axes.plot(*zip(*mean, strict=True), "o-", markersize=3, label=label)
    axes.set(xlabel="bits per pixel of the files", ylabel="PSNR (dB)")
    axes.set_title(f"Mean of {len(complete)} central crops of Kodak")
    axes.legend()
    figure.savefig(out / "rates.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="code, decode, measure")
    runner.add_argument("images", type=Path)
    runner.add_argument("--crop", type=int, default=256, help="side of the central crops in pixels")
    runner.add_argument("--count", type=int, default=24, help="at most so many images")
    runner.add_argument("--step", type=int, default=1, help="every so manyth image")
    drawer = commands.add_parser("figures", help="BD-rates and plots of what was measured")
    for command in (runner, drawer):
        command.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
        command.add_argument("--out", type=Path, default=Path("experiments/results/sga"))
    options = parser.parse_args()
    if options.command == "run":
        run(options.images, options.out, options.crop, options.count, options.methods, options.step)
    else:
        figures(options.out, options.methods)


if __name__ == "__main__":
    main()
