"""An integer flow beside PNG, WebP and JPEG XL: lossless coding of small colour images.

    python experiments/flow/cifar.py prepare --cifar FOLDER --out FOLDER
    obverse train flow --data FOLDER/train.npy --photos PHOTOS --out runs/flow
    python experiments/flow/cifar.py rates --test FOLDER/test.npy --out experiments/results/flow
    python experiments/flow/cifar.py values --test FOLDER/test.npy --out experiments/results/flow

`prepare` cuts the sheets of images (25 x 40 each) of OBVERSE_DATA/cifar10 into arrays. `rates` measures real files of
all test images and writes rates.csv and rates.png; every file is decoded and compared. `values` draws what the flow
makes of some images, and where the bits go, values.png.

Two comparisons, since a small file pays for its header: one file for each image, and one file for all of them; for
image formats that is a sheet of all images, 40 a row.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from obverse.codecs.flow.codec import FlowCodec
from obverse.codecs.flow.networks import to_colour
from obverse.container import read, write
from obverse.data.image_sets import read_image_set
from obverse.errors import InputError, MissingExtraError
from obverse.evaluation.coders import check_library
from obverse.registry import open_codec

ROWS, COLUMNS = 25, 40
PUBLISHED = 3.34  # Hoogeboom et al. 2019, table 2: CIFAR-10, trained on 50,000 images
PEERS: dict[str, tuple[str, dict[str, object]]] = {
    "png": ("PNG", {"optimize": True}),
    "webp": ("WEBP", {"lossless": True, "quality": 100, "method": 6}),
    "jxl": ("JXL", {"lossless": True, "effort": 7}),
}
NAMES = {
    "png": "PNG",
    "webp": "WebP lossless, method 6",
    "jxl": "JPEG XL lossless, effort 7",
    "flow": "integer flow",
}
EACH, SET = "one file each", "one file for all"


def cut_sheet(path: Path) -> np.ndarray:
    """A sheet of 25 x 40 images -> (1000, 32, 32, 3) uint8."""
    sheet = np.asarray(Image.open(path).convert("RGB"))
    height, width = sheet.shape[0] // ROWS, sheet.shape[1] // COLUMNS
    return (
        sheet.reshape(ROWS, height, COLUMNS, width, 3).transpose(0, 2, 1, 3, 4).reshape(-1, height, width, 3)
    )


def make_sheet(images: np.ndarray) -> np.ndarray:
    """(n, H, W, 3) -> one image, 40 a row; what is left of the last row is black."""
    rows = -(-len(images) // COLUMNS)
    full = np.zeros((rows * COLUMNS, *images.shape[1:]), np.uint8)
    full[: len(images)] = images
    _, height, width, _ = images.shape
    return (
        full.reshape(rows, COLUMNS, height, width, 3).transpose(0, 2, 1, 3, 4).reshape(rows * height, -1, 3)
    )


def prepare(cifar: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        images = np.concatenate([cut_sheet(path) for path in sorted(cifar.glob(f"{part}_*.png"))])
        np.save(out / f"{part}.npy", images)
        sys.stdout.write(f"{out / part}.npy: {len(images)} images\n")


def peer_bytes(image: np.ndarray, name: str) -> int:
    """The size of a file by a classical codec, decoded again and compared."""
    kind, settings = PEERS[name]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **settings)
    if not np.array_equal(np.asarray(Image.open(buffer).convert("RGB")), image):
        raise RuntimeError(f"{name} did not give back every pixel")
    return len(buffer.getvalue())


def flow_codec(model: str) -> FlowCodec:
    """The codec of a flow given by the name or the folder of its model."""
    codec = open_codec(model)
    if not isinstance(codec, FlowCodec):
        raise InputError(f"{model} is a model of codec {codec.id!r}, not of a flow")
    return codec


def flow_bytes(images: np.ndarray, codec: FlowCodec) -> int:
    data = write(codec.encode(images))
    if not np.array_equal(codec.decode(read(data)), images):
        raise RuntimeError("the flow did not give back every pixel")
    return len(data)


def entropy_bits(values: np.ndarray) -> float:
    """Empirical entropy of all values under one table of their own, in bits, the table not counted."""
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def rates(test: Path, model: str, out: Path) -> None:
    images = read_image_set(test)
    codec = flow_codec(model)
    out.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, object]] = []

    def record(method: str, files: str, count: int, size: float, seconds: float) -> None:
        rate = 8 * size / images.size
        records.append({
            "method": method, "files": files, "images": count, "bytes": round(size),
            "bits_per_dimension": f"{rate:.4f}", "cpu_seconds": f"{seconds:.1f}",
        })  # fmt: skip
        sys.stdout.write(f"| {method} | {files} | {rate:.3f} | {seconds:.0f} |\n")

    def timed(size: Callable[[], float]) -> tuple[float, float]:
        start = time.process_time()
        return size(), time.process_time() - start

    sys.stdout.write("| method | files | bits per dimension | CPU s, both ways |\n|---|---|--:|--:|\n")
    sheet = make_sheet(images)
    for name in PEERS:
        try:
            check_library(name)
        except MissingExtraError as error:
            sys.stdout.write(f"| {NAMES[name]} | skipped: {error} | | |\n")
            continue
        record(
            NAMES[name], EACH, len(images), *timed(lambda name=name: sum(peer_bytes(x, name) for x in images))
        )
        record(NAMES[name], SET, len(images), *timed(lambda name=name: peer_bytes(sheet, name)))
    record(NAMES["flow"], EACH, len(images), *timed(lambda: sum(flow_bytes(x[None], codec) for x in images)))
    record(NAMES["flow"], SET, len(images), *timed(lambda: flow_bytes(images, codec)))
    predicted, seconds = timed(
        lambda: float(codec.rate_bits(images, codec.options(model_only=True)).sum()) / 8
    )
    record("integer flow, what the model predicts", "no file", len(images), predicted, seconds)
    pixels = sum(entropy_bits(images[..., c]) for c in range(3)) / 8
    record("pixels, a table for each colour", "no file", len(images), pixels, 0)
    values = sum(entropy_bits(v) for v in codec.networks(images)) / 8
    record("flow values, a table for each kind", "no file", len(images), values, 0)
    write_csv(out / "rates.csv", records)
    plot_rates(records, out / "rates.png")


def write_csv(path: Path, records: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def plot_rates(records: Sequence[dict[str, object]], path: Path) -> None:
    """A bar for each method, and each way to make files."""
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    axes = figure.subplots()
    methods = [name for name in NAMES.values() if any(r["method"] == name for r in records)]
    for offset, files, colour in ((-0.2, EACH, "#999999"), (0.2, SET, "#0072b2")):
        heights = [
            next(
                float(str(r["bits_per_dimension"]))
                for r in records
                if (r["method"], r["files"]) == (m, files)
            )
            for m in methods
        ]
        bars = axes.bar(np.arange(len(methods)) + offset, heights, 0.38, color=colour, label=files)
        axes.bar_label(bars, fmt="%.2f", fontsize=9)
    axes.axhline(
        PUBLISHED, color="#d55e00", linestyle="--",
        label="large integer flow, trained on 50,000 images (published)",
    )  # fmt: skip
    axes.set_xticks(np.arange(len(methods)), [m.replace(" lossless, ", " lossless,\n") for m in methods])
    count = records[0]["images"]
    axes.set(
        ylabel="bits per dimension (real files)", title=f"{count} CIFAR-10 test images, 32x32 RGB, lossless"
    )
    axes.set_ylim(
        0, 1.22 * max(float(str(r["bits_per_dimension"])) for r in records if r["files"] != "no file")
    )
    axes.legend(fontsize=9, loc="upper right")
    figure.savefig(path, dpi=110)


def values(test: Path, model: str, out: Path, chosen: Sequence[int]) -> None:
    """Original, luma of a, b, c, d of the first level, and bits a pixel."""
    images = read_image_set(test)[list(chosen)]
    codec = flow_codec(model)
    out.mkdir(parents=True, exist_ok=True)
    first = codec.networks.levels[0]
    x = torch.from_numpy(images).permute(0, 3, 1, 2).double()
    with torch.inference_mode():
        a, b, c, d = first(to_colour(x))
    # the last nine of the coded values are d, b, c of the first level
    bits = [mixtures.bits(symbols) for symbols, mixtures in codec.symbols(images)]
    cost = [sum(bits[-9 + 3 * k : len(bits) - 6 + 3 * k]) for k in range(3)]
    figure = Figure(figsize=(1.9 * len(images) + 1.4, 7.4), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.05)
    panels = figure.subplots(4, len(images))
    titles = ("image", "a, coarse (luma)", "b, c, d (luma)", "bits for b, c, d")
    for i in range(len(images)):
        panels[0, i].imshow(images[i])
        panels[1, i].imshow(a[i, 0], cmap="gray", vmin=-128, vmax=127)
        blank = torch.zeros_like(b[i, 0])
        corners = torch.cat([torch.cat([blank, b[i, 0]], 1), torch.cat([c[i, 0], d[i, 0]], 1)])
        shown = panels[2, i].imshow(corners, cmap="coolwarm", vmin=-40, vmax=40)
        blank = np.zeros_like(cost[0][i])
        where = np.block([[blank, cost[1][i]], [cost[2][i], cost[0][i]]])
        heat = panels[3, i].imshow(where, cmap="magma", vmin=0, vmax=24)
    for row, title in zip(panels, titles, strict=True):
        row[0].set_ylabel(title, fontsize=10)
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
    figure.colorbar(shown, ax=panels[2], label="value", shrink=0.9)
    figure.colorbar(heat, ax=panels[3], label="bits a pixel", shrink=0.9)
    figure.savefig(out / "values.png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    cut = commands.add_parser("prepare")
    cut.add_argument("--cifar", type=Path, required=True)
    cut.add_argument("--out", type=Path, required=True)
    for name in ("rates", "values"):
        command = commands.add_parser(name)
        command.add_argument("--test", type=Path, required=True)
        command.add_argument("--model", default="flow-cifar", help="name or folder of a model")
        command.add_argument("--out", type=Path, default=Path("report/flow"))
        command.add_argument("--threads", type=int, default=1)
    commands.choices["values"].add_argument("--images", type=int, nargs="+", default=[3, 7, 11, 21, 34, 48])
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.cifar, options.out)
        return
    torch.set_num_threads(options.threads)
    if options.command == "rates":
        rates(options.test, options.model, options.out)
    else:
        values(options.test, options.model, options.out, options.images)


if __name__ == "__main__":
    main()
