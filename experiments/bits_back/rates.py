r"""Bits back on MNIST and Fashion-MNIST: files, ELBO, and what other compressors make of the same images.

    obverse train vae --data DATA/mnist/train-images-idx3-ubyte.gz --out runs/vae-mnist --steps 11000
    obverse train vae --data DATA/fashion-mnist/train-images-idx3-ubyte.gz --out runs/vae-fashion --steps 5000
    obverse train vae --data DATA/mnist/train-images-idx3-ubyte.gz --out runs/vae-mnist-binary --steps 2600 \
        --binarise stochastic --local 0 --top 40
    python experiments/bits_back/rates.py run --data DATA            about ten minutes of CPU time
    python experiments/bits_back/rates.py show                       tables and plots from the CSV files

The first three make models like those that ship, in about 17, 8 and 4 CPU minutes (the shipped runs were given fewer
steps while they ran; the zoo's cards say when). The last two use those that ship.

Three test sets of 10,000 images of 28x28: mnist (8 bits), mnist-binary (each pixel drawn once, with its value as
probability, by NumPy's generator with seed 0: stochastic binarisation), fashion (8 bits). Rates are bits a pixel:

    whole    the whole set as one: our file (10 chains of 1000 images, initial bits and all); for PNG, WebP and JPEG XL
             one image of 100x100 tiles; for gzip, bz2, xz, zstd the raw bytes, one image after the other
    net      our messages' growth: the whole less the initial bits, which the receiver has back in the end
    each     one file for each image; ours of the first 200 images, initial bits, header and all

Raw bytes of the binary set are eight pixels a byte or one, whichever comes out smaller; PNG has a mode of one bit.
Published are net rates: Townsend et al., ICLR 2019 (BB-ANS, fully connected networks) and Kingma et al., ICML 2019
(Bit-Swap); in neither do pixels depend on pixels.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import io
import lzma
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from obverse.codecs.vae.codec import VaeCodec
from obverse.codecs.vae.train import binarise
from obverse.container import read, write
from obverse.data.image_sets import read_image_set
from obverse.zoo import load_model

RESULTS = Path(__file__).parents[1] / "results" / "bits_back"
SETS = {
    "mnist": ("mnist/t10k-images-idx3-ubyte.gz", "vae-mnist"),
    "mnist-binary": ("mnist/t10k-images-idx3-ubyte.gz", "vae-mnist-binary"),
    "fashion": ("fashion-mnist/t10k-images-idx3-ubyte.gz", "vae-fashion"),
}
PUBLISHED = [
    ("mnist", "BB-ANS (published)", 1.41),
    ("mnist", "Bit-Swap (published)", 1.29),
    ("mnist-binary", "BB-ANS (published)", 0.19),
]
ALONE = 200
TILES = 100

Compressor = Callable[[bytes], bytes]


def images_of(name: str, data: Path) -> np.ndarray:
    images = read_image_set(data / SETS[name][0])
    return binarise(images, np.random.default_rng(0)) if name == "mnist-binary" else images


# -- other compressors -------------------------------------------------------------------------------------------


def zstd() -> Compressor | None:
    """zstd at level 19, from the package or from Python itself (3.14 on); None where there is neither."""
    try:
        import zstandard
    except ImportError:
        try:
            from compression import zstd as module
        except ImportError:
            return None
        return lambda data: module.compress(data, 19)
    return zstandard.ZstdCompressor(level=19).compress


def xz(data: bytes) -> bytes:
    """xz -9e, with a dictionary no larger than the data: as short, and faster for small data."""
    preset = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": max(4096, len(data))}
    return lzma.compress(data, filters=[preset])


def byte_compressors() -> dict[str, Compressor]:
    found: dict[str, Compressor | None] = {
        "gzip -9": lambda data: gzip.compress(data, 9, mtime=0),
        "bz2 -9": lambda data: bz2.compress(data, 9),
        "xz -9e": xz,
        "zstd -19": zstd(),
    }
    for name in [name for name, compressor in found.items() if compressor is None]:
        print(f"no row for {name}: neither the package zstandard nor compression.zstd is installed here")
    return {name: compressor for name, compressor in found.items() if compressor}


def image_bytes(pixels: np.ndarray, binary: bool, kind: str, **settings: object) -> int:
    image = Image.fromarray(pixels * 255 if binary else pixels)
    if binary and kind == "PNG":
        image = image.convert("1")
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return len(buffer.getvalue())


def image_compressors() -> dict[str, tuple[str, dict[str, object]]]:
    found: dict[str, tuple[str, dict[str, object]]] = {
        "PNG": ("PNG", {"optimize": True}),
        "WebP lossless, method 6": ("WEBP", {"lossless": True, "quality": 100, "method": 6}),
    }
    try:
        import pillow_jxl  # noqa: F401  registers JPEG XL with Pillow
    except ImportError:
        print("no row for JPEG XL: the package pillow-jxl-plugin is not installed here")
    else:
        found["JPEG XL lossless, effort 7"] = ("JXL", {"lossless": True, "effort": 7})
    return found


def tiled(images: np.ndarray) -> np.ndarray:
    height, width = images.shape[1:]
    grid = images.reshape(-1, TILES, height, width).transpose(0, 2, 1, 3)
    return grid.reshape(-1, TILES * width)


def others(name: str, images: np.ndarray) -> list[dict[str, object]]:
    binary = name == "mnist-binary"
    rows: list[dict[str, object]] = []

    def add(codec: str, whole: int, each: int) -> None:
        rates = {"whole": round(8 * whole / images.size, 4), "each": round(8 * each / images.size, 4)}
        rows.append({"set": name, "codec": codec} | rates)
        print(rows[-1], flush=True)

    for codec, (kind, settings) in image_compressors().items():
        whole = image_bytes(tiled(images), binary, kind, **settings)
        add(codec, whole, sum(image_bytes(image, binary, kind, **settings) for image in images))
    forms = [images.tobytes()]
    singles = [[image.tobytes() for image in images]]
    if binary:
        forms.append(np.packbits(images).tobytes())
        singles.append([np.packbits(image).tobytes() for image in images])
    for codec, compress in byte_compressors().items():
        whole = min(len(compress(form)) for form in forms)
        add(codec, whole, sum(min(map(len, map(compress, item))) for item in zip(*singles, strict=True)))
    return rows


# -- ours --------------------------------------------------------------------------------------------------------


def ours(name: str, images: np.ndarray) -> dict[str, object]:
    model = SETS[name][1]
    codec = VaeCodec(load_model(model))
    codec.encode(images[:2])  # compiled before anything is timed
    start = time.process_time()
    data = write(codec.encode(images))
    encoded = time.process_time()
    if not np.array_equal(codec.decode(read(data)), images):
        raise SystemExit(f"{model} did not return the images")
    decoded = time.process_time()
    report, elbo = codec.report(images), codec.elbo(images)
    alone = codec.report(images[:ALONE], codec.options(segment=1))
    each = sum(len(write(codec.encode(image[None]))) for image in images[:ALONE])
    with open(RESULTS / f"chain_{name}.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "net_bits", "elbo_bits"])
        rows.writerows(
            (i, f"{a:.2f}", f"{b:.2f}") for i, (a, b) in enumerate(zip(report.net_bits, elbo, strict=True))
        )
    row: dict[str, object] = {
        "set": name,
        "codec": f"obverse {model}",
        "whole": round(8 * len(data) / images.size, 4),
        "net": round(report.net_rate_bits, 4),
        "negative_elbo": round(float(elbo.sum()) / images.size, 4),
        "each": round(8 * each / images[:ALONE].size, 4),
        "alone_bits": round(alone.alone_bits),
        "initial_bits": round(report.initial_bits / (len(images) / 1000)),
        "net_bits_an_image": round(float(report.net_bits.mean())),
        "encode_cpu_s": round(encoded - start, 1),
        "decode_cpu_s": round(decoded - encoded, 1),
        "model_bytes": len(model_file(model).read_bytes()),
    }
    print(row, flush=True)
    return row


def model_file(model: str) -> Path:
    from obverse.zoo import WEIGHTS, model_folder

    return model_folder(model) / WEIGHTS


# -- tables and plots ---------------------------------------------------------------------------------------------

COLUMNS = ["set", "codec", "whole", "net", "negative_elbo", "each", "alone_bits", "initial_bits",
           "net_bits_an_image", "encode_cpu_s", "decode_cpu_s", "model_bytes"]  # fmt: skip


def save_table(rows: list[dict[str, object]]) -> None:
    with open(RESULTS / "table.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def load_table() -> list[dict[str, str]]:
    path = RESULTS / "table.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def show() -> None:
    for name in SETS:
        rows = [row for row in load_table() if row["set"] == name]
        if not rows:
            continue
        print(
            f"\n{name}, bits a pixel\n\n| codec | whole set | net | each image its own file |\n|---|--:|--:|--:|"
        )
        for row in rows:
            print(f"| {row['codec']} | {row['whole']} | {row['net']} | {row['each']} |")
        for where, codec, rate in PUBLISHED:
            if where == name:
                print(f"| {codec} | | {rate} | |")
        for mine in (row for row in rows if row["codec"].startswith("obverse")):
            print(
                f"\nnegative ELBO {mine['negative_elbo']}; a chain of 1000 images begins with {mine['initial_bits']} "
                f"bits; an image alone costs {mine['alone_bits']} bits, in a chain {mine['net_bits_an_image']}; CPU "
                f"seconds for 10,000 images: encode {mine['encode_cpu_s']}, decode {mine['decode_cpu_s']}"
            )
    plot()


def plot() -> None:
    ours = {row["set"]: row for row in load_table() if row["codec"].startswith("obverse")}
    found = [name for name in SETS if name in ours and (RESULTS / f"chain_{name}.csv").exists()]
    if not found:
        return
    chain = Figure(figsize=(4.2 * len(found), 3.6), layout="constrained")
    scatter = Figure(figsize=(4.2 * len(found), 4), layout="constrained")
    for at, name in enumerate(found):
        table = np.loadtxt(RESULTS / f"chain_{name}.csv", delimiter=",", skiprows=1)
        net, elbo = table[:1000, 1] / 784, table[:1000, 2] / 784
        count = np.arange(1, 1001)
        order = net[::-1]  # the last image is pushed first
        axes = chain.add_subplot(1, len(found), at + 1)
        axes.semilogx(
            count,
            (np.cumsum(order) + float(ours[name]["initial_bits"]) / 784) / count,
            label="all bits of the chain",
        )
        axes.semilogx(count, np.cumsum(order) / count, label="net, without initial bits")
        axes.axhline(elbo.mean(), color="black", lw=0.8, ls="--", label="negative ELBO of the chain's images")
        axes.set(title=name, xlabel="images on the chain", ylim=(0, None))
        if at == 0:
            axes.set_ylabel("bits a pixel, mean so far")
            axes.legend(fontsize=8, loc="upper right")
        axes = scatter.add_subplot(1, len(found), at + 1)
        most = max(net.max(), elbo.max()) * 1.05
        axes.plot(elbo, net, ".", ms=2, alpha=0.5, label="one image")
        segments = table[:, 1:].reshape(-1, 1000, 2).mean(axis=1) / 784
        axes.plot(
            segments[:, 1], segments[:, 0], "o", ms=4, mec="black", label="a chain of 1000 images, mean"
        )
        axes.plot([0, most], [0, most], color="black", lw=0.8)
        axes.set(
            title=name, xlabel="negative ELBO, bits a pixel", xlim=(0, most), ylim=(0, most), aspect="equal"
        )
        if at == 0:
            axes.set_ylabel("measured growth of the message,\nbits a pixel")
            axes.legend(fontsize=8, loc="upper left")
    chain.savefig(RESULTS / "chain.png", dpi=110)
    scatter.savefig(RESULTS / "elbo.png", dpi=110)
    images = Path(__file__).parents[2] / "docs" / "images"
    chain.savefig(images / "bits_back_chain.png", dpi=110)
    scatter.savefig(images / "bits_back_elbo.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "ours", "others", "show"])
    parser.add_argument("--data", type=Path, default=os.environ.get("OBVERSE_DATA"), help="or OBVERSE_DATA")
    parser.add_argument("--sets", default=",".join(SETS))
    options = parser.parse_args()
    if options.what != "show" and options.data is None:
        parser.error("--data is missing, and OBVERSE_DATA is not set")
    RESULTS.mkdir(parents=True, exist_ok=True)
    if options.what != "show":
        for name in options.sets.split(","):
            images = images_of(name, options.data)
            kept: list[dict[str, object]] = [dict(row) for row in load_table()]
            new = [ours(name, images)] if options.what in ("run", "ours") else []
            new += others(name, images) if options.what in ("run", "others") else []
            done = {(row["set"], row["codec"]) for row in new}
            rows = [row for row in kept if (row["set"], row["codec"]) not in done] + new
            order = list(SETS)
            rows.sort(
                key=lambda row: (order.index(str(row["set"])), not str(row["codec"]).startswith("obverse"))
            )
            save_table(rows)
    show()


if __name__ == "__main__":
    sys.exit(main())
