"""From measured rows to what a paper shows: means per quality, BD-rates, a rate-distortion plot."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from obverse.container.files import make_folder, write_atomically
from obverse.errors import InputError
from obverse.evaluation.coders import LOSSY
from obverse.evaluation.rates import Row
from obverse.metrics.bd_rate import compare
from obverse.metrics.distortion import ms_ssim_db

MAX_BPP = 2.0  # BD-rates and plot stop here: beyond, photos are archived, not compressed


@dataclass(frozen=True)
class Summary:
    """The means of one codec at one quality over `images` images.

    As usual in the field: arithmetic means of bpp and of PSNR at a fixed quality.

    Attributes:
        ms_ssim: mean over the images that have one, NaN without any.
        ms_ssim_db: that mean in dB, -10 log10(1 - ms_ssim).
    """

    codec: str
    quality: float
    images: int
    bpp: float
    psnr: float
    ms_ssim: float
    ms_ssim_db: float
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class BdRate:
    """How many per cent more bits `test` needs than `anchor`.

    Attributes:
        percent: NaN where the curves cannot be compared.
        note: why they cannot, or what to know of the figure; empty where there is nothing to say.
    """

    metric: str
    anchor: str
    test: str
    percent: float
    note: str = ""


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """One Summary per codec and quality; codecs in the order of the rows, qualities rising."""
    groups: dict[str, dict[float, list[Row]]] = {}
    for row in rows:
        groups.setdefault(row.codec, {}).setdefault(row.quality, []).append(row)
    return [
        _mean(codec, quality, by_quality[quality])
        for codec, by_quality in groups.items()
        for quality in sorted(by_quality)
    ]


def bd_rates(rows: Iterable[Row]) -> list[BdRate]:
    """BD-rate of each codec against each other one, for PSNR and MS-SSIM (dB), up to 2 bpp."""
    summary = summarise(rows)
    result = []
    for metric in ("psnr", "ms_ssim_db"):
        curves = {
            codec: [(s.bpp, getattr(s, metric)) for s in points if s.bpp <= MAX_BPP]
            for codec, points in _by_codec(summary).items()
        }
        for anchor in curves:
            for test in curves:
                if test != anchor:
                    try:
                        found = compare(curves[anchor], curves[test])
                        percent, note = found.percent, "; ".join(found.notes)
                    except InputError as error:
                        percent, note = math.nan, str(error)
                    result.append(BdRate(metric, anchor, test, percent, note))
    return result


def markdown_table(rows: Iterable[Row]) -> str:
    """The summary as a Markdown table, ending with a newline."""
    lines = [
        "| codec | quality | bpp | PSNR (dB) | MS-SSIM (dB) | encode (CPU s) | decode (CPU s) |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for s in summarise(rows):
        similarity = "–" if math.isnan(s.ms_ssim_db) else f"{s.ms_ssim_db:.2f}"
        lines.append(
            f"| {s.codec} | {s.quality:g} | {s.bpp:.3f} | {s.psnr:.2f} | {similarity} "
            f"| {s.encode_seconds:.3f} | {s.decode_seconds:.3f} |"
        )
    return "\n".join(lines) + "\n"


def write_report(rows: Iterable[Row], out_dir: Path | str) -> dict[str, Path]:
    """Write images.csv, summary.csv, bd_rates.csv and rd.png into out_dir.

    The folder is made where it does not exist, files of these names are replaced, each in one step. In the CSV files an
    empty field is a value that does not exist.

    Returns:
        Name -> path.

    Raises:
        InputError: where there are no rows.
        OutputError: where a file cannot be written.
    """
    rows = list(rows)
    if not rows:
        raise InputError("nothing was measured, so there is nothing to report")
    summary = summarise(rows)
    contents = {
        "images.csv": csv_bytes(Row, rows),
        "summary.csv": csv_bytes(Summary, summary),
        "bd_rates.csv": csv_bytes(BdRate, bd_rates(rows)),
        "rd.png": _plot(summary),
    }
    return write_files(contents, Path(out_dir))


def write_files(contents: dict[str, bytes], folder: Path) -> dict[str, Path]:
    """Write files into a folder that is made if need be, each in one step.

    Raises:
        OutputError: where the folder cannot be made, or a file not be written.
    """
    make_folder(folder)
    for name, data in contents.items():
        write_atomically(folder / name, data, overwrite=True)
    return {name: folder / name for name in contents}


def _mean(codec: str, quality: float, rows: list[Row]) -> Summary:
    def mean(values: Iterable[float]) -> float:
        values = list(values)
        return math.fsum(values) / len(values) if values else math.nan

    similarity = mean(row.ms_ssim for row in rows if not math.isnan(row.ms_ssim))
    return Summary(
        codec=codec,
        quality=quality,
        images=len(rows),
        bpp=mean(row.bpp for row in rows),
        psnr=mean(row.psnr for row in rows),
        ms_ssim=similarity,
        ms_ssim_db=ms_ssim_db(similarity),
        encode_seconds=mean(row.encode_seconds for row in rows),
        decode_seconds=mean(row.decode_seconds for row in rows),
    )


def _by_codec(summary: Iterable[Summary]) -> dict[str, list[Summary]]:
    result: dict[str, list[Summary]] = {}
    for s in summary:
        result.setdefault(s.codec, []).append(s)
    return result


def csv_bytes(kind: type[Any], records: Sequence[Any]) -> bytes:
    """Records of a dataclass as a CSV file; NaN becomes an empty field."""

    def text(value: object) -> object:
        if isinstance(value, float):
            return "" if math.isnan(value) else f"{value:.6g}"
        return value

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(field.name for field in fields(kind))
    writer.writerows([text(value) for value in asdict(record).values()] for record in records)
    return buffer.getvalue().encode()


# Colours that colour-blind readers tell apart (Okabe and Ito 2008).
COLOURS = {"png": "#999999", "jpeg": "#e69f00", "webp": "#009e73", "avif": "#0072b2", "jxl": "#cc79a7"}
LABELS = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL"}
OWN_COLOURS = ("#d55e00", "#000000", "#56b4e9")


def _plot(summary: Sequence[Summary]) -> bytes:
    """PNG with one panel per metric that was measured; Obverse's own codecs are the thick lines."""
    from matplotlib.figure import Figure  # a bare Figure draws with Agg and needs no display

    panels: list[tuple[str, Callable[[Summary], float]]] = [("PSNR (dB)", lambda s: s.psnr)]
    if any(math.isfinite(s.ms_ssim_db) for s in summary):
        panels.append(("MS-SSIM (dB)", lambda s: s.ms_ssim_db))

    figure = Figure(figsize=(5.6 * len(panels), 4.6), layout="constrained")
    images = max(s.images for s in summary)
    figure.suptitle(f"Rate and distortion, mean of {images} image{'s' if images > 1 else ''}", fontsize=12)
    own = iter(OWN_COLOURS * len(summary))
    colours = {c: COLOURS.get(c) or next(own) for c in _by_codec(summary)}
    for axes, (label, value) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        shown = [value(s) for s in summary if s.bpp <= MAX_BPP and math.isfinite(value(s))]
        for codec, points in _by_codec(summary).items():
            curve = sorted((s.bpp, value(s)) for s in points if math.isfinite(value(s)))
            ours = codec not in LOSSY
            axes.plot(
                [bpp for bpp, _ in curve],
                [quality for _, quality in curve],
                color=colours[codec],
                label=LABELS.get(codec, f"Obverse {codec}"),
                linewidth=3 if ours else 1.5,
                marker="o",
                markersize=6 if ours else 3.5,
                zorder=3 if ours else 2,
            )
        if shown:
            margin = 0.04 * (max(shown) - min(shown)) or 1
            axes.set_ylim(min(shown) - margin, max(shown) + margin)
        axes.set_xlim(0, MAX_BPP)
        axes.set_xlabel("rate (bits per pixel)")
        axes.set_ylabel(label)
        axes.grid(color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
