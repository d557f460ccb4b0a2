"""What is no photo, at equal PSNR: `obverse compress` beside AVIF (4:4:4, speed 6) and WebP (method 6).

    python benchmarks/no_photos.py [--out benchmarks/results/no_photos]
    python benchmarks/no_photos.py gb82/screens --crop 1024 --out benchmarks/results/screens

Pictures are made here (listings, a chart, windows of a program, tiles, a scan, a ramp, stripes), or read from FOLDER,
the middle of each at most CROP pixels a side.
Every file is decoded. For each file of a peer, ours is the smallest one with at least its PSNR; the ratio of their
bytes is averaged (as logarithms) over the peer's qualities and written for each picture, with the PSNR at quality 30.
The points are in points.csv, drawn in points.png.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import obverse

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HEIGHT, WIDTH = 480, 640
QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
PEERS = {
    "avif": (20, 35, 50, 65, 80, 95),
    "webp": (10, 30, 50, 70, 85, 98),
}
LISTING = Path(__file__).read_text().splitlines()

Point = tuple[int, int, float]  # quality, bytes, PSNR


def listing(page: str, ink: tuple[str, ...], size: int) -> Image.Image:
    """Lines of this file, smooth letters."""
    image = Image.new("RGB", (WIDTH, HEIGHT), page)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for i in range(HEIGHT // (size + 4)):
        draw.text((8, 4 + (size + 4) * i), LISTING[i % len(LISTING)][:100], font=font, fill=ink[i % len(ink)])
    return image


def chart() -> Image.Image:
    figure, axes = plt.subplots(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    rng = np.random.default_rng(0)
    for k in range(4):
        axes.plot(np.cumsum(rng.normal(size=200)), label=f"run {k}")
    axes.legend()
    axes.grid()
    axes.set_title("A chart")
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[attr-defined]
    plt.close(figure)
    return Image.fromarray(pixels)


def windows() -> Image.Image:
    """A bar with a gradient, cards with round corners, icons and letters of three sizes."""
    image, rng = Image.new("RGB", (WIDTH, HEIGHT), (240, 240, 243)), np.random.default_rng(1)
    draw = ImageDraw.Draw(image)
    for y in range(40):
        draw.line((0, y, WIDTH, y), fill=(60 + y, 110 + y, 190 + y // 2))
    draw.text((10, 10), "File  Edit  View  Window  Help", font=ImageFont.load_default(14), fill="white")
    for number in range(18):
        x, y = 20 + 205 * (number % 3), 60 + 68 * (number // 3)
        draw.rounded_rectangle((x, y, x + 190, y + 56), 8, fill="white", outline=(200, 200, 205))
        draw.ellipse((x + 8, y + 10, x + 44, y + 46), fill=tuple(rng.integers(40, 230, 3).tolist()))
        draw.text((x + 54, y + 10), f"Item {number}", font=ImageFont.load_default(14), fill=(30, 30, 30))
        draw.text((x + 54, y + 30), "of which more is said", font=ImageFont.load_default(11), fill="gray")
    return image


def pictures() -> Iterator[tuple[str, Image.Image]]:
    rng = np.random.default_rng(2)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    yield "listing", listing("white", ("black", "navy", "darkgreen"), 13)
    yield "dark listing", listing("#1e1e24", ("gainsboro", "skyblue", "salmon"), 15)
    yield "chart", chart()
    yield "windows", windows()
    tiles = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
    yield "tiles", Image.fromarray(tiles)
    letters = np.asarray(listing("white", ("black",), 22).convert("L")) > 128
    yield "scan", Image.fromarray(letters.astype(np.uint8) * 255).convert("RGB")
    ramp = np.dstack([columns * 255 / WIDTH, rows * 255 / HEIGHT, (rows + columns) * 255 / (WIDTH + HEIGHT)])
    yield "ramp", Image.fromarray(ramp.round().astype(np.uint8))
    stripes = np.where((rows + columns)[:, :, None] % 6 < 3, [250, 20, 10], [5, 40, 240])
    yield "stripes", Image.fromarray(stripes.astype(np.uint8))


def psnr(image: Image.Image, decoded: np.ndarray) -> float:
    error = np.square(np.asarray(image).astype(float) - decoded).mean()
    return float(10 * np.log10(255**2 / error)) if error else np.inf


def ours(image: Image.Image) -> list[Point]:
    points = []
    for quality in QUALITIES:
        data = obverse.compress(image, quality=quality)
        points.append((quality, len(data), psnr(image, obverse.decompress(data))))
    return points


def theirs(image: Image.Image, peer: str) -> list[Point]:
    settings = {"speed": 6, "subsampling": "4:4:4"} if peer == "avif" else {"method": 6}
    points = []
    for quality in PEERS[peer]:
        buffer = io.BytesIO()
        image.save(buffer, peer, quality=quality, **settings)
        decoded = np.asarray(Image.open(buffer).convert("RGB"))
        points.append((quality, len(buffer.getvalue()), psnr(image, decoded)))
    return points


def ratio(own: list[Point], peer: list[Point]) -> float:
    """Our bytes for the same PSNR or more, relative to the peer's."""
    logs = []
    for _, size, value in peer:
        enough = [ours for _, ours, reached in own if reached >= value]
        if enough:
            logs.append(np.log(min(enough) / size))
    return float(np.exp(np.mean(logs))) if logs else np.nan


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "no_photos")
    parser.add_argument("--crop", type=int, default=2**16, help="pixels a side")
    given = parser.parse_args()
    found = pictures() if given.folder is None else read(given.folder, given.crop)
    given.out.mkdir(parents=True, exist_ok=True)
    table, points = [], []
    curves = {}
    for name, image in found:
        curves[name] = {"obverse": ours(image)} | {peer: theirs(image, peer) for peer in PEERS}
        own = curves[name]["obverse"]
        at_30 = next(value for quality, _, value in own if quality == 30)
        row = {"picture": name, "psnr_at_30": round(at_30, 2)}
        row |= {f"of_{peer}": round(ratio(own, curves[name][peer]), 3) for peer in PEERS}
        table.append(row)
        for codec, line in curves[name].items():
            points += [(name, codec, *point) for point in line]
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
    mean = {"picture": "all", "psnr_at_30": min(row["psnr_at_30"] for row in table)}
    for peer in PEERS:
        mean[f"of_{peer}"] = round(float(np.exp(np.mean([np.log(row[f"of_{peer}"]) for row in table]))), 3)
    write(given.out / "pictures.csv", list(mean), [list(row.values()) for row in (*table, mean)])
    rounded = [(*front, round(value, 3)) for *front, value in points]
    write(given.out / "points.csv", ["picture", "codec", "quality", "bytes", "psnr"], rounded)
    draw(curves, given.out / "points.png")
    sys.stdout.write(f"{mean}\n")


def read(folder: Path, crop: int) -> Iterator[tuple[str, Image.Image]]:
    for path in sorted(folder.iterdir()):
        image = Image.open(path).convert("RGB")
        left, top = (max(0, (side - crop) // 2) for side in image.size)
        yield path.stem, image.crop((left, top, left + min(crop, image.width), top + min(crop, image.height)))


def write(path: Path, header: list[str], rows: list[list[object]] | list[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def draw(curves: dict[str, dict[str, list[Point]]], path: Path) -> None:
    columns = 4
    lines = -(-len(curves) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4 * columns, 3 * lines), squeeze=False)
    for ax in axes.flat[len(curves) :]:
        ax.axis("off")
    for ax, (name, of_codec) in zip(axes.flat, curves.items(), strict=False):
        for codec, line in of_codec.items():
            sizes, values = [size / 1000 for _, size, _ in line], [min(value, 60) for *_, value in line]
            ax.plot(sizes, values, marker=".", label=codec)
        ax.set(title=name, xlabel="kB", ylabel="PSNR (dB, 60: exact)", xscale="log")
        for axis_ticks in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
            axis_ticks(lambda kilobytes, _: f"{kilobytes:g}" if f"{kilobytes:e}"[0] in "125" else "")
        ax.grid(alpha=0.3)
    axes.flat[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
