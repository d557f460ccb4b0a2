"""A folder of photos through the command line, beside Pillow's AVIF at equal PSNR: CPU and wall seconds.

    python benchmarks/folder.py [FOLDER] [--photos 400] [--quality 50] [--rounds 3]

Whole processes are measured, with all that they start: `obverse compress FOLDER` as it comes (a worker a core) and with
--jobs 1, and a Python program that does the same with Pillow's AVIF encoder, speed 6, of the quality whose mean PSNR is
nearest to ours, with the threads that Pillow takes. Each is run with all photos and with a tenth of them, in turn; the
difference is the price of the photos, the rest that of the start. Medians of the rounds. The table is printed and
written to benchmarks/results/folder.csv. Linux only: children of children are counted by adopting them.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("OBVERSE_DATA", REPOSITORY.parent / "shared" / "data"))
RESULT = REPOSITORY / "benchmarks" / "results" / "folder.csv"
SEARCHED = 20  # photos for the quality of equal PSNR
BECOME_PARENT_OF_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
AVIF = """
import sys
from pathlib import Path
from PIL import Image
source, target, quality = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
target.mkdir()
for path in sorted(source.iterdir()):
    Image.open(path).convert("RGB").save(target / f"{path.stem}.avif", quality=quality, speed=6)
"""
OBVERSE = "from obverse.cli import main; main()"


def psnr(image: np.ndarray, decoded: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - decoded) ** 2)))


def rgb(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def avif_psnr(images: Sequence[np.ndarray], quality: int) -> float:
    values = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "AVIF", quality=quality, speed=6)
        values.append(psnr(image, np.asarray(Image.open(buffer).convert("RGB"))))
    return statistics.fmean(values)


def nearest_quality(images: Sequence[np.ndarray], wanted: float) -> tuple[int, float]:
    """Of AVIF, and its mean PSNR, which rises with the quality."""
    low, high = 1, 100
    found = {}
    while low <= high:
        middle = (low + high) // 2
        found[middle] = avif_psnr(images, middle)
        low, high = (middle + 1, high) if found[middle] < wanted else (low, middle - 1)
    quality = min(found, key=lambda q: abs(found[q] - wanted))
    return quality, found[quality]


def measured(command: Sequence[str]) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of a command and of all that it starts."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def commands(quality: float, avif_quality: int) -> dict[str, list[str]]:
    """Name -> the command, to which source and target are added."""
    ours = [sys.executable, "-c", OBVERSE, "compress", "--quality", f"{quality:g}"]
    return {
        "obverse": [*ours, "{source}", "-o", "{target}"],
        "obverse --jobs 1": [*ours, "--jobs", "1", "{source}", "-o", "{target}"],
        "avif": [sys.executable, "-c", AVIF, "{source}", "{target}", str(avif_quality)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=DATA / "bsds500")
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(BECOME_PARENT_OF_ORPHANS, 1, 0, 0, 0)

    photos = sorted(options.folder.rglob("*.jpg"))[: options.photos]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        sizes = {"all": len(photos), "few": len(photos) // 10}
        for label, count in sizes.items():
            (place / label).mkdir()
            for number, photo in enumerate(photos[:count]):
                (place / label / f"{number:04}.jpg").symlink_to(photo)
        packed = place / "packed"
        ours = commands(options.quality, 0)["obverse"]
        measured([part.format(source=place / "few", target=packed) for part in ours])  # compiles, warms up
        images = [rgb(photo) for photo in photos[: min(sizes["few"], SEARCHED)]]
        import obverse

        decoded = [obverse.decompress(path) for path in sorted(packed.iterdir())[:SEARCHED]]
        wanted = statistics.fmean(map(psnr, images, decoded))
        avif_quality, reached = nearest_quality(images, wanted)
        print(f"PSNR: {wanted:.2f} dB at quality {options.quality:g}, AVIF {reached:.2f} at {avif_quality}")

        seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
        lengths: dict[str, int] = {}
        for turn in range(options.rounds):
            for codec, command in commands(options.quality, avif_quality).items():
                for label in sizes:
                    target = place / f"{codec} {label} {turn}"
                    filled = [
                        part if part == AVIF else part.format(source=place / label, target=target)
                        for part in command
                    ]
                    seconds.setdefault((codec, label), []).append(measured(filled))
                    if label == "all":
                        lengths[codec] = sum(path.stat().st_size for path in target.iterdir())

    rows = []
    for codec, length in lengths.items():
        row: dict[str, object] = {"codec": codec, "photos": sizes["all"], "bytes": length}
        for number, kind in enumerate(("cpu", "wall")):
            whole, few = (statistics.median(s[number] for s in seconds[codec, label]) for label in sizes)
            coding = (whole - few) * sizes["all"] / (sizes["all"] - sizes["few"])
            row |= {kind: whole, f"{kind}_without_start": coding}
        rows.append(row)
    show(rows)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    with open(RESULT, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )
    print(f"\nwritten: {RESULT}")


def show(rows: list[dict]) -> None:
    avif = next(row for row in rows if row["codec"] == "avif")
    one = next(row for row in rows if row["codec"] == "obverse --jobs 1")
    print(
        f"{'codec':18}{'bytes':>10} |{'CPU':>8}{'x AVIF':>8}{'no start':>10}{'x AVIF':>8} |{'wall':>8}{'x 1 job':>9}"
    )
    for row in rows:
        print(
            f"{row['codec']:18}{row['bytes']:10} |{row['cpu']:8.2f}{row['cpu'] / avif['cpu']:8.3f}"
            f"{row['cpu_without_start']:10.2f}{row['cpu_without_start'] / avif['cpu_without_start']:8.3f}"
            f" |{row['wall']:8.2f}{row['wall'] / one['wall']:9.3f}"
        )


if __name__ == "__main__":
    main()
