"""Seconds to encode and decode one photo: Obverse beside JPEG, WebP and AVIF, in one process and one run.

    python benchmarks/image.py [PHOTO] [--quality 20 50 80] [--repeats 9] [--peers-only]

Import, first call and the median of the following calls are told apart. CPU seconds count all threads of
the process; wall seconds are what a person waits. Both swing with what else the machine does, so every
codec is also quoted as a ratio to the AVIF speed-6 encode of the same run. The table is printed and
written to benchmarks/results/image.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
PHOTO = REPOSITORY / "examples" / "kodim23.png"
RESULT = REPOSITORY / "benchmarks" / "results" / "image.csv"
# Each about 0.5 and 1 bpp on a Kodak photo; AVIF 60 is the unit of the ratios.
PEER_QUALITIES = {"jpeg": (30, 75), "webp": (35, 75), "avif": (60, 78)}
UNIT = ("avif", 60)


def timed(function: Callable[[], object]) -> tuple[object, float, float]:
    """(result, CPU seconds, wall seconds) of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def measure(codec, quality: float, image: np.ndarray, repeats: int, psnr: Callable) -> dict[str, object]:
    """One line of the table."""
    setting = {"quality": quality}
    data, *first_encode = timed(lambda: codec.encode(image, setting))
    decoded, *first_decode = timed(lambda: codec.decode(data, image))
    encodes = [timed(lambda: codec.encode(image, setting))[1:] for _ in range(repeats)]
    decodes = [timed(lambda: codec.decode(data, image))[1:] for _ in range(repeats)]
    line = {
        "codec": codec.name,
        "quality": quality,
        "bpp": 8 * len(data) / (image.shape[0] * image.shape[1]),
        "psnr": psnr(image, decoded),
    }
    for name, first, calls in (("encode", first_encode, encodes), ("decode", first_decode, decodes)):
        for kind, index in (("cpu", 0), ("wall", 1)):
            line[f"{name}_first_{kind}"] = first[index]
            line[f"{name}_{kind}"] = statistics.median(call[index] for call in calls)
    return line


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("photo", nargs="?", type=Path, default=PHOTO)
    parser.add_argument("--quality", nargs="+", type=float, default=[20, 50, 80], help="of Obverse")
    parser.add_argument("--codec", default="image", help="codec of Obverse")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--peers-only", action="store_true")
    options = parser.parse_args()

    _, *start_up = timed(lambda: __import__("obverse.evaluation"))
    from obverse.evaluation import classical, ours
    from obverse.evaluation.rates import read_rgb
    from obverse.metrics.distortion import psnr

    image = read_rgb(options.photo)
    runs = [] if options.peers_only else [(ours(options.codec), q) for q in options.quality]
    runs += [(classical(name), q) for name, qualities in PEER_QUALITIES.items() for q in qualities]
    lines = [measure(codec, quality, image, options.repeats, psnr) for codec, quality in runs]

    (unit,) = (line for line in lines if (line["codec"], line["quality"]) == UNIT)
    for line in lines:
        for name in ("encode", "decode"):
            for kind in ("cpu", "wall"):
                line[f"{name}_{kind}_ratio"] = line[f"{name}_{kind}"] / unit[f"encode_{kind}"]
    show(lines, image, options, start_up)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    with open(RESULT, "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()} for line in lines
        )
    print(f"\nwritten: {RESULT}")


def show(lines: list[dict], image: np.ndarray, options: argparse.Namespace, start_up: list[float]) -> None:
    print(f"{options.photo.name}, {image.shape[1]} x {image.shape[0]}; median of {options.repeats} calls")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}"
    )
    print(
        f"import: {start_up[0]:.2f} s CPU, {start_up[1]:.2f} s wall, after NumPy and Pillow; "
        "the model loads in the first call"
    )
    print(f"x: ratio to the {UNIT[0]} speed-6 quality-{UNIT[1]} encode of this run, CPU / wall\n")
    print(
        f"{'codec':8}{'quality':>8}{'bpp':>7}{'PSNR':>7} | {'first encode':>13}{'encode CPU':>12}{'wall':>8}"
        f"{'x':>14} | {'first decode':>13}{'decode CPU':>12}{'wall':>8}{'x':>14}"
    )
    for line in lines:
        text = f"{line['codec']:8}{line['quality']:8g}{line['bpp']:7.3f}{line['psnr']:7.2f}"
        for name in ("encode", "decode"):
            ratio = f"{line[f'{name}_cpu_ratio']:.3f} / {line[f'{name}_wall_ratio']:.3f}"
            text += f" | {line[f'{name}_first_cpu']:13.3f}{line[f'{name}_cpu']:12.4f}"
            text += f"{line[f'{name}_wall']:8.4f}{ratio:>14}"
        print(text)


if __name__ == "__main__":
    main()
