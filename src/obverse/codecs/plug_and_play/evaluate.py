"""Rate and distortion of one trained model with Variational Bayesian Quantization, and with the baselines.

    training data ──► posterior ──► a ladder for each method ┐
    test data     ──► posterior ──► a real file for each lmbda ──► bytes, distortion ──► table, BD-rate, plot

All methods have the same file layout and the same entropy coder; they differ in the grid and in how a point is chosen.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.codecs.plug_and_play.fit import BEST
from obverse.codecs.plug_and_play.options import PlugAndPlayOptions
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.container import read, write
from obverse.errors import InputError
from obverse.evaluation.coders import Coder, Setting
from obverse.evaluation.engine import Coded, Engine
from obverse.evaluation.report import csv_bytes, write_files
from obverse.metrics.bd_rate import BdRateWarning, bd_rate
from obverse.zoo import StoredModel

Array = npt.NDArray[Any]
LMBDAS = next(about.about.compared for about in PlugAndPlayOptions.described() if about.name == "lmbda")
FILES = ("rates.csv", "rates.png")
_COLOURS = {
    "best": "#0b3c5d",
    "vbq": "#1f6f8b",
    "steps": "#5dade2",
    "uniform": "#c0392b",
    "scaled-uniform": "#e08e45",
    "k-means": "#7f8c8d",
}


@dataclass(frozen=True)
class PlugRow:
    """One method at one lmbda, over all test items.

    bytes: of all files. latents: how many they hold. bits_per_latent: 8 bytes / latents. bpp: bits a pixel, of
    images. excess: mean (z - mean)^2 / (2 std^2) over the latents, in nats. mse: of the decoded data, which has the
    units of the data, None without a decoder. psnr: dB, of data from 0 to `peak`, mean over items.
    """

    method: str
    lmbda: float
    bytes: int
    latents: int
    bits_per_latent: float
    bpp: float | None
    excess: float
    mse: float | None
    psnr: float | None


@dataclass(frozen=True)
class TestItem:
    """What one file is made of: data as the codec takes it, and its posterior."""

    data: Array | None
    posterior: Posterior
    pixels: int | None = None

    __test__ = False  # pytest: no test


def measure(
    models: dict[str, StoredModel | None],
    items: Sequence[TestItem],
    lmbdas: Sequence[float] = LMBDAS,
    peak: float = 1.0,
    progress: Callable[[int], None] | None = None,
    options: dict[str, dict[str, Any]] | None = None,
) -> list[PlugRow]:
    """Rows by method and rising lmbda.

    models: for each method's name a stored model, or None for files with tables of their own, made with `options` of
    encode. Of models without data between rungs (the baselines) lmbdas are moved to the nearest rung, and each rung is
    measured once. Raises InputError.
    """
    if not items:
        raise InputError("there is nothing to measure on")
    rows = []
    engine: Engine[PlugRow] = Engine()
    for method, model in models.items():
        codec = PlugAndPlayCodec(model)
        coder = _coder(method, codec, (options or {}).get(method, {}))
        for lmbda in _possible(codec, lmbdas):
            coded = [
                engine.through(coder, {"lmbda": lmbda}, item, "the data", warm_up=False) for item in items
            ]
            rows.append(_row(method, lmbda, items, coded, peak))
            if progress:
                progress(1)
    return rows


def _coder(method: str, codec: PlugAndPlayCodec, options: dict[str, Any]) -> Coder:
    """Of test items; what is decoded are latents, and data where the model has a decoder."""

    def encode(item: TestItem, setting: Setting) -> bytes:
        return write(codec.encode_latents(item.posterior, item.data, codec.options(**setting, **options)))

    def decode(data: bytes, item: TestItem) -> tuple[Array, Array | None]:
        container = read(data)
        return codec.latents(container), None if item.data is None else codec.decode(container)

    return Coder(method, ".obv", ({},), encode, decode)


def _possible(codec: PlugAndPlayCodec, lmbdas: Sequence[float]) -> list[float]:
    """The lmbdas in rising order; of a model that knows no rates between its rungs, its rungs next to them."""
    ladder = codec.plug.ladders[0] if codec.plug is not None else None
    if (
        ladder is not None
        and not ladder.rungs[0].by_cost
        and ladder.rungs[0].grid is not ladder.rungs[-1].grid
    ):
        return sorted({ladder.rungs[ladder.nearest(lmbda)].lmbda for lmbda in lmbdas})
    return sorted(set(lmbdas))


def _row(
    method: str, lmbda: float, items: Sequence[TestItem], coded: Sequence[Coded], peak: float
) -> PlugRow:
    latents, excess, squares, count = 0, 0.0, 0.0, 0
    psnr = []
    for item, one in zip(items, coded, strict=True):
        z, made = one.seen
        latents += item.posterior.mean.size
        off = (z.astype(np.float64) - item.posterior.mean) / item.posterior.std
        excess += float(np.square(off).sum()) / 2
        if item.data is not None:
            made = made[tuple(slice(0, side) for side in item.data.shape)].astype(np.float64)
            error = np.square((np.clip(made, 0, peak) if math.isfinite(peak) else made) - item.data)
            squares += float(error.sum())
            count += error.size
            psnr.append(
                10 * math.log10(peak**2 / max(float(error.mean()), 1e-12))
                if math.isfinite(peak)
                else math.nan
            )
    size = sum(one.bytes for one in coded)
    pixels = [item.pixels for item in items]
    return PlugRow(
        method, lmbda, size, latents, 8 * size / latents,
        8 * size / sum(p for p in pixels if p) if all(pixels) else None, excess / latents,
        squares / count if count else None, float(np.mean(psnr)) if psnr and math.isfinite(peak) else None,
    )  # fmt: skip


def quality(row: PlugRow) -> float:
    """What BD-rate compares at, in dB: the PSNR, else the mean squared error, else the excess."""
    if row.psnr is not None:
        return row.psnr
    return -10 * math.log10(max(row.mse if row.mse is not None else row.excess, 1e-30))


def bd_rates(rows: Sequence[PlugRow], against: str) -> dict[str, float]:
    """BD-rate in per cent of each method against one of them.

    Those that cannot be compared with it are left out, with a `BdRateWarning` that says why.
    """
    curves = {
        method: [(row.bits_per_latent, quality(row)) for row in rows if row.method == method]
        for method in dict.fromkeys(row.method for row in rows)
    }
    found = {}
    for method, curve in curves.items():
        if method != against and against in curves:
            try:
                found[method] = bd_rate(curves[against], curve)
            except InputError as error:
                warnings.warn(
                    f"no BD-rate of {method} against {against}: {error}", BdRateWarning, stacklevel=2
                )
    return found


def table(rows: Sequence[PlugRow]) -> str:
    """Markdown."""
    lines = [
        "| method | lmbda | bytes | bits/latent | bpp | excess, nats/latent | MSE | PSNR, dB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"{row.bits_per_latent:.3f}", _number(row.bpp, ".3f"), f"{row.excess:.3f}"]
        cells += [_number(row.mse, ".3g"), _number(row.psnr, ".2f")]
        lines.append(f"| {row.method} | {row.lmbda:g} | {row.bytes:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def write_report(rows: Sequence[PlugRow], out: Path) -> dict[str, Path]:
    """rates.csv and rates.png in a folder that is made. Raises OutputError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), layout="constrained")
    draw(figure.subplots(), rows)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    contents = (csv_bytes(PlugRow, rows), image.getvalue())
    paths = write_files(dict(zip(FILES, contents, strict=True)), out)
    return dict(zip(("csv", "plot"), paths.values(), strict=True))


def draw(axes: Any, rows: Sequence[PlugRow]) -> None:
    """Rate against quality, a line for each method."""
    images = all(row.bpp is not None for row in rows)
    decoded = all(row.psnr is not None for row in rows)
    for method in dict.fromkeys(row.method for row in rows):
        mine = sorted((row for row in rows if row.method == method), key=lambda row: row.bits_per_latent)
        x = [row.bpp if images else row.bits_per_latent for row in mine]
        axes.plot(
            x, [quality(row) for row in mine], "o-", markersize=3.5, label=method,
            color=_COLOURS.get(method), linewidth=2 if method == BEST else 1.3,
        )  # fmt: skip
    axes.set_xlabel("rate of the files, bits a pixel" if images else "rate of the files, bits a latent")
    with_mse = all(row.mse is not None for row in rows)
    axes.set_ylabel(
        "PSNR, dB" if decoded else "quality, -10 log10 of the squared error" if with_mse
        else "quality, -10 log10 of the excess, (z - mean)$^2$ / (2 std$^2$)"
    )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend()
