"""Lossy bits-back: the hyper-latents of photos drawn from a posterior, their bits refunded, in real files.

    python experiments/lossy_bits_back/model.py --data DATA
    python experiments/lossy_bits_back/run.py code kodak/ --step 3 --iterations 60 --lr 0.02
    python experiments/lossy_bits_back/run.py decode FILES --out images/
    python experiments/lossy_bits_back/run.py table

and for a coarser z, --halvings 2 --out runs/lossy_bits_back_coarse, then --model and --out accordingly.

`code` codes central crops as one file for each quality and method, decodes them in another process, checks that what
it synthesised comes out, and writes sets.csv. `table` writes gains.csv and gains.png. The methods:

    rounded     y and z of the networks, rounded; both coded
    drawn       y of the networks, rounded; z ~ q(z|ŷ), by bits-back
    sga         y and z by stochastic Gumbel annealing, rounded; both coded
    sga drawn   y by stochastic Gumbel annealing on the negative ELBO; z ~ q(z|ŷ), by bits-back

sets.csv has the files, and net, the images alone: the mean over draws of z, without header and beginning of a chain. A
cost is bits + lmbda * squared error.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from coder import Coder
from hyperprior import Ints
from matplotlib.figure import Figure
from model import LMBDAS, QUALITIES
from PIL import Image

import obverse
from obverse.data.patches import central_crop
from obverse.errors import MessageEmptyError
from obverse.metrics.bd_rate import bd_rate
from obverse.metrics.distortion import psnr
from obverse.quantization.sga import Search
from obverse.training.log import log

# -- measurements ------------------------------------------------------------------------------------------

METHODS = {  # hyperprior, whether searched
    "rounded": ("rounded", False),
    "drawn": ("drawn", False),
    "sga": ("rounded", True),
    "sga drawn": ("drawn", True),
}
FIELDS = (
    *("quality", "method", "images", "file_bytes", "bpp", "psnr_db", "file_cost_bpp"),
    *("net_bpp", "net_psnr_db", "net_cost_bpp", "initial_bits", "rounded_first"),
)


def latents_of(
    coder: Coder, folder: Path, image: str, pixels: np.ndarray, rate: int, method: str, search: Search
) -> tuple[Ints, Ints | None]:
    """What a method codes for one image; kept in `folder`, so that an interrupted run goes on."""
    name, searches = METHODS[method]
    kept = folder / f"{image} {QUALITIES[rate]} {method} {search.iterations}.npz"
    if not kept.exists():
        y, z = coder.searched(pixels, rate, name, search) if searches else coder.plain(pixels, rate, name)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(kept, y=y, **({} if z is None else {"z": z}))
    with np.load(kept) as arrays:
        return arrays["y"], arrays.get("z")


def code(images: Path, model: Path, out: Path, crop: int, step: int, search: Search) -> None:
    """Code a set at each quality with each method, decode its files in another process, and write sets.csv."""
    coder = Coder(model)
    paths = sorted(images.glob("*.png"))[::step]
    crops = [central_crop(np.asarray(Image.open(path).convert("RGB")), crop) for path in paths]
    area = sum(pixels.shape[0] * pixels.shape[1] for pixels in crops)
    files = model / "files"
    files.mkdir(exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    rows = shipped(crops, area)
    for rate, quality in enumerate(QUALITIES):
        latents = {
            method: [
                latents_of(coder, model / "latents", f"{path.stem} {crop}", pixels, rate, method, search)
                for path, pixels in zip(paths, crops, strict=True)
            ]
            for method in METHODS
        }
        written: dict[str, tuple[Path, list[tuple[Ints, Ints | None]], int]] = {}
        for method, (name, searches) in METHODS.items():
            drawn = coder.exact[name].config.drawn
            start = latents["sga" if searches else "rounded"]
            whole = 1 if drawn else len(crops)
            while True:
                coded = start[:whole] + latents[method][whole:]
                try:
                    data = coder.write(coded, rate, name, "rounded", whole)
                    break
                except MessageEmptyError:
                    whole += 1
            path = files / f"{quality} {method}.obv".replace(" ", "_")
            path.write_bytes(data)
            written[method] = path, coded, whole if drawn else 0
        sets = decoded_elsewhere([path for path, _, _ in written.values()], model)
        for (method, (path, coded, first)), decoded in zip(written.items(), sets, strict=True):
            name = METHODS[method][0]
            for image, (y, _) in zip(decoded, coded, strict=True):
                if not np.array_equal(image, coder.synthesise(y, rate)):
                    raise SystemExit(f"{path} does not decode to what was coded")
            size = path.stat().st_size
            net = sum(coder.net_bits(y, z, name, rate) for y, z in latents[method])
            worth = float(LMBDAS[rate])
            synthesised = [coder.synthesise(y, rate) for y, _ in latents[method]]
            (file_error, file_db), (net_error, net_db) = (
                distortions(crops, x) for x in (decoded, synthesised)
            )
            initial = coder.drawn_bits(latents[method][0][0], name, rate)
            of_file = (len(crops), size, 8 * size / area, file_db, (8 * size + worth * file_error) / area)
            of_net = (net / area, net_db, (net + worth * net_error) / area, initial, first)
            values = (quality, method, *of_file, *of_net)
            rows.append(dict(zip(FIELDS, values, strict=True)))
            log(" ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in values))
        write_rows(out / "sets.csv", rows)


def distortions(crops: Sequence[np.ndarray], images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Sum over images and pixels of squared differences, the mean of the three channels; mean PSNR in dB."""
    pairs = list(zip(crops, images, strict=True))
    error = sum(float(np.square(a.astype(np.float32) - b).sum(dtype=np.float64)) / 3 for a, b in pairs)
    return error, float(np.mean([psnr(a, b) for a, b in pairs]))


def shipped(crops: list[np.ndarray], area: int) -> list[dict[str, object]]:
    """The image codec on the same crops: its payloads, without its headers."""
    codec, rows = obverse.open_codec("image"), []
    for quality in QUALITIES:
        containers = [codec.encode(pixels, codec.options(quality=quality)) for pixels in crops]
        size = sum(len(container.sections["y"]) for container in containers)
        quality_db = [psnr(pixels, codec.decode(c)) for pixels, c in zip(crops, containers, strict=True)]
        rows.append(
            {"quality": quality, "method": "image codec", "images": len(crops), "file_bytes": size}
            | {
                "bpp": 8 * size / area,
                "psnr_db": float(np.mean(quality_db)),
                "net_bpp": 8 * size / area,
                "net_psnr_db": float(np.mean(quality_db)),
            }
        )
    return rows


def decoded_elsewhere(paths: list[Path], model: Path) -> list[np.ndarray]:
    """The images of files, decoded by this script in a process of its own."""
    arguments = [sys.executable, __file__, "decode", *map(str, paths), "--model", str(model)]
    sets = []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*arguments, "--out", folder], check=True)
        for path in paths:
            sets.append(np.load(Path(folder) / f"{path.stem}.npy"))
    return sets


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    with open(path, "w", newline="") as f:
        writer = csv.DictWriter(f, FIELDS)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5f}" if isinstance(v, float) else v for k, v in row.items()})


PAIRS = (("drawn", "rounded"), ("sga", "rounded"), ("sga drawn", "sga"))


def table(out: Path, other: Path | None = None) -> None:
    """gains.csv and gains.png from sets.csv; other: the folder of another model's, which is compared with too.

    Differences of bits + lmbda * squared error, in per cent of the bits. net_percent: of the images alone.
    file_percent: of the files, whose first image has no bits-back, since the others draw their z from its bits.
    random_start_percent: if it had, and its z were drawn from random bits that are in the file. In rows of BD-rates:
    of net bits, and of files.
    """
    with open(out / "sets.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    pairs = PAIRS
    if other is not None:
        with open(other / "sets.csv", newline="") as f:
            rows += [row | {"method": f"other {row['method']}"} for row in csv.DictReader(f)]
        pairs += (("sga", "other sga"), ("sga drawn", "other sga"), ("sga drawn", "other sga drawn"))

    def values(method: str, field: str) -> np.ndarray:
        return np.array([float(row[field]) for row in rows if row["method"] == method])

    def curve(method: str, kind: str) -> list[tuple[float, float]]:
        rate, quality = ("net_bpp", "net_psnr_db") if kind == "net" else ("bpp", "psnr_db")
        return list(zip(values(method, rate), values(method, quality), strict=True))

    def of_pair(method: str, against: str) -> list[np.ndarray]:
        pixels = 8 * values(method, "file_bytes") / values(method, "bpp")
        start = values(method, "initial_bits") / pixels
        changes = [
            values(method, field) - values(against, field) for field in ("net_cost_bpp", "file_cost_bpp")
        ]
        return [100 * change / values(against, "net_bpp") for change in (*changes, changes[0] + start)]

    lines: list[tuple[object, ...]] = []
    for method, against in pairs:
        gains = zip(QUALITIES, *of_pair(method, against), strict=True)
        lines += [(method, against, quality, *percents) for quality, *percents in gains]
        rates = (bd_rate(curve(against, kind), curve(method, kind)) for kind in ("net", "file"))
        lines.append((method, against, "BD-rate", *rates, ""))
    for method in METHODS:
        rates = (bd_rate(curve("image codec", kind), curve(method, kind)) for kind in ("net", "file"))
        lines.append((method, "image codec", "BD-rate", *rates, ""))
    with open(out / "gains.csv", "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(
            ("method", "against", "quality", "net_percent", "file_percent", "random_start_percent")
        )
        for line in lines:
            writer.writerow([f"{value:.2f}" if isinstance(value, float) else value for value in line])
            log(" ".join(f"{value:+.2f}" if isinstance(value, float) else str(value) for value in line))

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for method in (*METHODS, "image codec"):
        style = "k--" if method == "image codec" else "o-"
        left.plot(values(method, "bpp"), values(method, "psnr_db"), style, markersize=3, label=method)
    left.set(xlabel="bits per pixel of the files", ylabel="PSNR (dB)", xscale="log")
    left.set_title(f"Central crops of Kodak, {rows[0]['images']} in a file")
    left.legend()
    bits = values("sga", "bpp")
    for method, against in PAIRS:
        net, file, random = of_pair(method, against)
        (line,) = right.plot(bits, file, "o-", markersize=3, label=f"{method}, against {against}")
        if method != "sga":
            right.plot(bits, net, ":", color=line.get_color(), label="    without the beginning of the chain")
            right.plot(bits, random, "x", color=line.get_color(), label="    random initial bits, counted")
    right.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    right.set(
        xlabel="bits per pixel of the files",
        ylabel="change of bits + lmbda * error (% of the bits)",
        xscale="log",
    )
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.set_xticks([0.2, 0.5, 1.0, 1.5], ["0.2", "0.5", "1", "1.5"])
        axes.minorticks_off()
    figure.savefig(out / "gains.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("code", help="write files of a set, decode and measure them")
    runner.add_argument("images", type=Path, help="folder of PNG files")
    runner.add_argument("--crop", type=int, default=256, help="side of the central crops in pixels")
    runner.add_argument("--step", type=int, default=1, help="every so manyth image")
    runner.add_argument("--iterations", type=int, default=100)
    runner.add_argument("--lr", type=float, default=0.018)
    reader = commands.add_parser("decode", help="the images of files, as .npy")
    reader.add_argument("files", type=Path, nargs="+")
    reader.add_argument("--out", type=Path, required=True, help="folder")
    for command in (runner, reader):
        command.add_argument("--model", type=Path, default=Path("runs/lossy_bits_back"))
    drawer = commands.add_parser("table", help="gains.csv and gains.png from what was measured")
    for command in (runner, drawer):
        command.add_argument("--out", type=Path, default=Path("experiments/results/lossy_bits_back"))
    drawer.add_argument("--other", type=Path, help="results of another model, to compare with too")
    options = parser.parse_args()
    if options.command == "code":
        search = Search(options.iterations, lr=options.lr)
        code(options.images, options.model, options.out, options.crop, options.step, search)
    elif options.command == "decode":
        coder = Coder(options.model)
        options.out.mkdir(parents=True, exist_ok=True)
        for path in options.files:
            np.save(options.out / f"{path.stem}.npy", coder.read(path.read_bytes()))
    else:
        table(options.out, options.other)


if __name__ == "__main__":
    main()
