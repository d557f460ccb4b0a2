"""One VAE, one set of weights, every rate: Variational Bayesian Quantization beside uniform and k-means quantisation.

    python experiments/vbq/models.py photos --data DATA
    python experiments/vbq/models.py fashion --data DATA
    python experiments/vbq/models.py mnist --data DATA
    python experiments/vbq/models.py cifar --data DATA
    python experiments/vbq/images.py photos --data DATA
    python experiments/vbq/images.py fashion --data DATA
    python experiments/vbq/images.py mnist --data DATA
    python experiments/vbq/images.py cifar --data DATA
    python experiments/vbq/images.py contexts --data DATA --every 3
    python experiments/vbq/images.py bits --data DATA

Grids and tables are fitted to the posteriors of training images, for each method to the same ones: a grid and a table
for each of the channels. All methods write the same files with the same entropy coder. Six are measured:

- best: what the codec does, for each file vbq or steps, whichever costs less;
- vbq: the quantile of least error (in units of the posterior's deviation) and bits;
- steps: the multiple of a channel's step of least error and bits;
- uniform: every mean to the nearest multiple of one step, as published;
- scaled-uniform: a step for each channel, in proportion to its typical deviation. That is not in the paper, and takes
  most of what there is to gain in models like these, whose deviations differ mostly between channels;
- k-means: centres for each channel.

`photos` is measured on the Kodak photos, beside JPEG; `fashion`, `mnist` and `cifar` on 1,000 test images, as one file.
BD-rates and how far the finest file is from the ceiling go to summary.csv. `contexts` measures on the
photos what it is worth that a channel has several tables (codecs/plug_and_play/activity.py), for vbq. `bits` draws how
many bits a latent gets against how sure the posterior is of it, for the photos' VAE and for word embeddings
(embeddings.py).
"""

from __future__ import annotations

import argparse
import csv
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from models import PHOTO_FOLDERS, STRIDE, load_vae, small_images
from PIL import Image

from obverse.codecs.plug_and_play.codec import image_batch
from obverse.codecs.plug_and_play.evaluate import PlugRow, TestItem, bd_rates, draw, measure, table
from obverse.codecs.plug_and_play.export import exported
from obverse.codecs.plug_and_play.fit import OF_MODEL, build_model, fit, fit_ladders, posterior_of
from obverse.codecs.plug_and_play.generative_model import GenerativeModel, of_module
from obverse.codecs.plug_and_play.networks import Networks
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.data.patches import image_files
from obverse.errors import InputError
from obverse.evaluation import classical
from obverse.metrics.bd_rate import bd_rate

Array = npt.NDArray[Any]
FITTED_TO = 40  # photos
SMALL = ("fashion", "mnist", "cifar")
LMBDAS = {
    "best": tuple(2.0 ** np.arange(-8, 8, 2)),
    "vbq": tuple(2.0 ** np.arange(-8, 8, 2)),
    "steps": tuple(2.0 ** np.arange(-8, 8, 2)),
    "uniform": tuple(2.0 ** np.arange(-10, 7, 2)),
    "scaled-uniform": tuple(2.0 ** np.arange(-8, 8, 2)),
    "k-means": tuple(2.0 ** np.arange(-2, 11, 3)),
}
MEASURED = tuple(LMBDAS)
PHOTO = np.zeros((1, 3, 64, 96), np.float32)  # for the export of networks
JPEG_QUALITIES = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80)


def photo(path: Path) -> Array:
    """(1, 3, H, W), 0 to 1, sides filled up to multiples of 16."""
    with Image.open(path) as image:
        return image_batch(np.asarray(image.convert("RGB")), 3, STRIDE)


def training_photos(data: Path) -> Iterator[Array]:
    files = image_files([data / folder for folder in PHOTO_FOLDERS])
    chosen = np.random.default_rng(0).choice(len(files), min(FITTED_TO, len(files)), replace=False)
    yield from (photo(files[i]) for i in sorted(chosen))


def kodak(data: Path, every: int, model: GenerativeModel) -> list[TestItem]:
    items = []
    for path in sorted((data / "kodak").glob("*.png"))[::every]:
        x = photo(path)
        items.append(TestItem(x, model.posterior(x), x.shape[2] * x.shape[3]))
    return items


def measured(
    methods: list[str],
    posterior: Posterior,
    networks: Networks,
    items: list[TestItem],
    table: Path,
) -> list[PlugRow]:
    """Rows of these methods, newly measured, and of the others as the CSV file has them from before."""
    rows = []
    for method in MEASURED:
        if method in methods:
            ladders = fit_ladders(posterior, 1, LMBDAS[method], method)
            stored = build_model(ladders, posterior.shape, axis=1, networks=networks)
            rows += measure({method: stored}, items, LMBDAS[method])
        elif table.exists():
            with table.open() as file:
                rows += [read_row(row) for row in csv.DictReader(file) if row["method"] == method]
    return rows


def read_row(row: dict[str, str]) -> PlugRow:
    """What the CSV file says, as it was measured."""
    whole = ("bytes", "latents")
    return PlugRow(**{
        key: text if key == "method" else int(text) if key in whole else float(text) if text else None
        for key, text in row.items()
    })  # fmt: skip


def ceiling(model: GenerativeModel, items: list[TestItem]) -> float:
    """PSNR in dB of what is decoded from the means themselves, mean over items."""
    found = []
    for item in items:
        made = np.concatenate(
            [model.decode(m) for m in np.array_split(item.posterior.mean, max(1, len(item.data) // 64))]
        )
        found.append(-10 * np.log10(np.square(np.clip(made, 0, 1) - item.data).mean()))
    return float(np.mean(found))


def jpeg(items: list[TestItem]) -> list[tuple[float, float]]:
    """(bpp, dB) at each quality, means over the photos."""
    peer, points = classical("jpeg"), []
    for quality in JPEG_QUALITIES:
        rates, scores = [], []
        for item in items:
            pixels = np.rint(item.data[0].transpose(1, 2, 0) * 255).astype(np.uint8)
            data = peer.encode(pixels, {"quality": quality})
            error = np.square(peer.decode(data, pixels).astype(np.float64) - pixels).mean()
            rates.append(8 * len(data) / (pixels.shape[0] * pixels.shape[1]))
            scores.append(10 * np.log10(255**2 / error))
        points.append((float(np.mean(rates)), float(np.mean(scores))))
    return points


def write_rows(path: Path, rows: list[PlugRow]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, asdict(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def report(name: str, rows: list[PlugRow], out: Path, top: float, points: list[tuple[float, float]]) -> None:
    """CSV, figure, and what is said."""
    write_rows(out / f"{name}.csv", rows)
    print(table(rows))
    print(f"ceiling: {top:.2f} dB from the means themselves")
    summarise(name, rows, out, top)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    draw(axes, rows)
    axes.axhline(top, color="black", linewidth=0.8, linestyle=":", label="ceiling: the means themselves")
    if points:
        with (out / f"{name}_jpeg.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("bpp", "psnr"), *points])
        axes.plot(*zip(*points, strict=True), "s--", color="black", markersize=3.5, linewidth=1, label="JPEG")
        axes.set_xlim(0, 4)
        axes.set_ylim(20, 43)
        for most in (1.0, 2.0):
            below = [(row.bpp, row.psnr) for row in rows if row.method == "vbq" and row.bpp <= most * 1.1]
            try:
                rate = bd_rate([p for p in points if p[0] <= most * 1.1], below)
                print(f"BD-rate of vbq against JPEG up to {most:g} bpp: {rate:+.1f} %")
            except InputError as error:
                print(f"no BD-rate against JPEG up to {most:g} bpp: {error}")
    else:
        axes.set_xlim(0, 6)
    if points:  # the curves end low on the right
        axes.legend(loc="upper right", bbox_to_anchor=(1, 0.92), fontsize=8)
    else:
        axes.legend(loc="lower right")
    figure.savefig(out / f"{name}.png", dpi=150)


def summarise(name: str, rows: list[PlugRow], out: Path, top: float) -> None:
    """BD-rates of one model, in per cent, in place of what summary.csv had of it."""
    path, kept = out / "summary.csv", []
    if path.exists():
        with path.open() as file:
            kept = [row for row in csv.DictReader(file) if row["model"] != name]
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        finest = max(row.psnr for row in mine if row.psnr is not None)
        found: dict[str, Any] = {"model": name, "method": method, "ceiling": top, "finest": finest}
        found["below_ceiling"] = top - finest
        for against in ("uniform", "scaled-uniform", "vbq"):
            both = [row for row in rows if row.method in (method, against)]
            rate = bd_rates(both, against).get(method) if method != against else None
            found[against] = "" if rate is None else rate
        kept.append(found)
        print({key: round(value, 2) if isinstance(value, float) else value for key, value in found.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def photos(data: Path, runs: Path, out: Path, every: int, methods: list[str]) -> None:
    module = load_vae("photos", runs)
    model = of_module(module)
    posterior = posterior_of(model.posterior, training_photos(data))
    items = kodak(data, every, model)
    networks = exported(module, PHOTO)
    rows = measured(methods, posterior, networks, items, out / "photos.csv")
    report("photos", rows, out, ceiling(model, items), jpeg(items))


def contexts(data: Path, runs: Path, out: Path, every: int) -> None:
    """One table a channel, as in the paper, against several."""
    module = load_vae("photos", runs)
    model = of_module(module)
    posterior = posterior_of(model.posterior, training_photos(data))
    items, networks = kodak(data, every, model), exported(module, PHOTO)
    rows = []
    for name, count in {"one table": 1, "contexts": OF_MODEL.contexts}.items():
        ladder = fit(posterior, 1, LMBDAS["vbq"], tables=replace(OF_MODEL, contexts=count))
        stored = build_model(ladder, posterior.shape, axis=1, networks=networks)
        rows += measure({name: stored}, items, LMBDAS["vbq"])
    write_rows(out / "contexts.csv", rows)
    print(table(rows))
    print(f"BD-rate of contexts against one table: {bd_rates(rows, 'one table')['contexts']:+.1f} %")


def small(name: str, data: Path, runs: Path, out: Path, methods: list[str]) -> None:
    module = load_vae(name, runs)
    model = of_module(module)

    def images(part: str, count: int) -> Array:
        return small_images(name, data, part, count).astype(np.float32) / 255

    def batches(x: Array) -> Iterator[Array]:
        yield from (x[i : i + 64] for i in range(0, len(x), 64))

    posterior = posterior_of(model.posterior, batches(images("train", 1000)))
    x = images("test", 1000)
    items = [TestItem(x, posterior_of(model.posterior, batches(x)))]
    rows = measured(methods, posterior, exported(module, x[:4]), items, out / f"{name}.csv")
    report(name, rows, out, ceiling(model, items), [])


def bits(data: Path, runs: Path, out: Path) -> None:
    """Bits of a latent against the deviation of its posterior, at several lmbdas."""
    module = load_vae("photos", runs)
    model = of_module(module)
    some = posterior_of(model.posterior, (x for _, x in zip(range(12), training_photos(data), strict=False)))
    words = np.load(runs / "embeddings.npz")
    cases = [
        ("VAE of photos, a grid for each of 320 channels", some, 1, (1.0, 8.0, 64.0)),
        (
            "word embeddings, one grid",
            Posterior.of(words["mean"], words["std"]),
            None,
            (0.015625, 0.0625, 0.25),
        ),
    ]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    found = []
    for axes, (title, posterior, axis, lmbdas) in zip(figure.subplots(1, 2), cases, strict=True):
        latents = posterior.grouped(axis)
        for lmbda, colour in zip(lmbdas, ("#0b3c5d", "#328cc1", "#d9b310"), strict=True):
            rung = fit(posterior, axis, [lmbda]).rungs[0]
            spent = rung.tables.bits(rung.quantise(latents))
            edges = np.geomspace(latents.std.min(), latents.std.max() * 1.0001, 31)
            place = np.searchsorted(edges, latents.std.ravel(), "right") - 1
            points = []
            for cell in range(30):
                inside = spent.ravel()[place == cell]
                if len(inside) > 300:
                    middle = float(np.sqrt(edges[cell] * edges[cell + 1]))
                    points.append((middle, float(inside.mean()), *np.quantile(inside, [0.1, 0.9]).tolist()))
            x, mean, low, high = np.array(points).T
            axes.plot(x, mean, "o-", markersize=3, color=colour, label=f"lmbda {lmbda:g}")
            if lmbda == lmbdas[1]:
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            found += [
                {"model": title, "lmbda": lmbda, "std": p[0], "bits": p[1], "low": p[2], "high": p[3]}
                for p in points
            ]
        axes.set_xscale("log", base=2)
        axes.set_xlabel("standard deviation of the posterior")
        axes.set_ylabel("bits a latent: mean (band: 10 to 90 %)")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend()
    out.mkdir(parents=True, exist_ok=True)
    with (out / "bits.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, found[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    figure.savefig(out / "bits.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["photos", *SMALL, "contexts", "bits"])
    given = os.environ.get("OBVERSE_DATA")
    parser.add_argument("--data", type=Path, default=given, required=not given, help="or OBVERSE_DATA")
    parser.add_argument("--runs", type=Path, default=Path("runs/vbq"))
    parser.add_argument("--out", type=Path, default=Path("experiments/results/vbq"))
    parser.add_argument("--every", type=int, default=1, help="of the Kodak photos, only every so many-th")
    parser.add_argument(
        "--method", action="append", choices=MEASURED, help="measure only this one again; repeat for several"
    )
    arguments = parser.parse_args()
    methods = arguments.method or list(MEASURED)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments.what == "photos":
        photos(arguments.data, arguments.runs, arguments.out, arguments.every, methods)
    elif arguments.what == "contexts":
        contexts(arguments.data, arguments.runs, arguments.out, arguments.every)
    elif arguments.what in SMALL:
        small(arguments.what, arguments.data, arguments.runs, arguments.out, methods)
    else:
        bits(arguments.data, arguments.runs, arguments.out)


if __name__ == "__main__":
    main()
