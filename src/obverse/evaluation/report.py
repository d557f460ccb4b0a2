"""From measured rows to what a paper shows: means per quality, BD-rates, a rate-distortion plot."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from obverse.container.files import make_folder, write_atomically
from obverse.errors import InputError
from obverse.evaluation.coders import LOSSY
from obverse.evaluation.rates import Row
from obverse.metrics.bd_rate import compare
from obverse.metrics.distortion import ms_ssim_db
from obverse.metrics.image_metrics import METRICS, Metric, lpips_db

FILES = ("images.csv", "summary.csv", "bd_rates.csv", "rd.png")
MAX_BPP = 2.0  # BD-rates and plot stop here: beyond, photos are archived, not compressed


@dataclass(frozen=True)
class Summary:
    """The means of one codec at one quality over `images` images.

    As usual in the field: arithmetic means of bpp and of PSNR at a fixed quality.

    Attributes:
        ms_ssim: mean over the images that have one, NaN without any.
        ms_ssim_db: that mean in dB, -10 log10(1 - ms_ssim).
        ssimulacra2: mean, NaN where not measured.
        lpips: likewise.
        lpips_db: that mean in dB, -10 log10(lpips).
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
    ssimulacra2: float = math.nan
    lpips: float = math.nan
    lpips_db: float = math.nan


@dataclass(frozen=True)
class BdRate:
    """How many per cent more bits `test` needs than `anchor`.

    Attributes:
        percent: of the mean curves; NaN where they cannot be compared.
        note: why they cannot, or what to know of the figure; empty where there is nothing to say.
        images: how many images have curves of their own that can be compared; of those are what follows.
        mean_of_images: the mean of their BD-rates, where `percent` is the BD-rate of the means.
        best: the least, with its image; likewise the worst, and the median, which is between two images of an even
            number.
    """

    metric: str
    anchor: str
    test: str
    percent: float
    note: str = ""
    images: int = 0
    mean_of_images: float = math.nan
    best: float = math.nan
    best_image: str = ""
    median: float = math.nan
    median_image: str = ""
    worst: float = math.nan
    worst_image: str = ""


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
    """BD-rate of each codec against each other one, for each metric that was measured, up to 2 bpp."""
    rows = list(rows)
    by_image: dict[str, list[Row]] = {}
    for row in rows:
        by_image.setdefault(row.image, []).append(row)
    means, of_images = summarise(rows), {image: summarise(some) for image, some in by_image.items()}
    result = []
    for metric in measured_metrics(rows):
        whole = _curves(means, metric)
        each = {image: _curves(points, metric) for image, points in of_images.items()}
        for anchor in whole:
            for test in whole:
                if test != anchor:
                    percent, note = _compared(whole[anchor], whole[test])
                    rate = BdRate(metric.curve, anchor, test, percent, note)
                    result.append(_with_images(rate, each))
    return result


def measured_metrics(rows: Iterable[Row]) -> list[Metric]:
    """The metrics that some row has a value of."""
    rows = list(rows)
    return [
        metric
        for metric in METRICS.values()
        if any(not math.isnan(getattr(row, metric.field)) for row in rows)
    ]


Curves = dict[str, list[tuple[float, float]]]


def _curves(summary: Sequence[Summary], metric: Metric) -> Curves:
    """(bpp, quality) points of each codec, up to 2 bpp."""
    return {
        codec: [(s.bpp, getattr(s, metric.curve)) for s in points if s.bpp <= MAX_BPP]
        for codec, points in _by_codec(summary).items()
    }


def _compared(anchor: list[tuple[float, float]], test: list[tuple[float, float]]) -> tuple[float, str]:
    """The BD-rate and what to know of it; NaN and the reason where there is none."""
    try:
        found = compare(anchor, test)
        return found.percent, "; ".join(found.notes)
    except InputError as error:
        return math.nan, str(error)


def _with_images(rate: BdRate, each: dict[str, Curves]) -> BdRate:
    """With what the images one by one say, each by its own two curves."""
    found = sorted(
        (percent, image)
        for image, curves in each.items()
        if rate.anchor in curves and rate.test in curves
        for percent in [_compared(curves[rate.anchor], curves[rate.test])[0]]
        if not math.isnan(percent)
    )
    if not found:
        return rate
    (best, best_image), (worst, worst_image) = found[0], found[-1]
    middle = found[(len(found) - 1) // 2 : len(found) // 2 + 1]  # one, or two
    return replace(
        rate,
        images=len(found),
        mean_of_images=math.fsum(percent for percent, _ in found) / len(found),
        best=best,
        best_image=best_image,
        median=math.fsum(percent for percent, _ in middle) / len(middle),
        median_image=" and ".join(image for _, image in middle),
        worst=worst,
        worst_image=worst_image,
    )


def markdown_table(rows: Iterable[Row]) -> str:
    """The summary as a Markdown table, ending with a newline."""
    rows = list(rows)
    shown = {"psnr": METRICS["psnr"], "ms_ssim": METRICS["ms-ssim"]}
    shown |= {metric.field: metric for metric in measured_metrics(rows)}
    names = [metric.label for metric in shown.values()]
    lines = [
        f"| codec | quality | bpp | {' | '.join(names)} | encode (CPU s) | decode (CPU s) |",
        "|---|--:|--:|" + "--:|" * (len(names) + 2),
    ]
    for s in summarise(rows):
        values = [getattr(s, metric.curve) for metric in shown.values()]
        texts = " | ".join("–" if math.isnan(value) else f"{value:.2f}" for value in values)
        lines.append(
            f"| {s.codec} | {s.quality:g} | {s.bpp:.3f} | {texts} | {s.encode_seconds:.3f} | {s.decode_seconds:.3f} |"
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
    contents = (
        csv_bytes(Row, rows),
        csv_bytes(Summary, summary),
        csv_bytes(BdRate, bd_rates(rows)),
        _plot(summary),
    )
    return write_files(dict(zip(FILES, contents, strict=True)), Path(out_dir))


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

    def mean_of(field: str) -> float:
        values = [getattr(row, field) for row in rows]
        return mean(value for value in values if not math.isnan(value))

    similarity, distance = mean_of("ms_ssim"), mean_of("lpips")
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
        ssimulacra2=mean_of("ssimulacra2"),
        lpips=distance,
        lpips_db=lpips_db(distance),
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

    panels = [
        metric
        for metric in METRICS.values()
        if metric.field == "psnr" or any(math.isfinite(getattr(s, metric.curve)) for s in summary)
    ]
    figure = Figure(figsize=(5.6 * len(panels), 4.6), layout="constrained")
    images = max(s.images for s in summary)
    figure.suptitle(f"Rate and distortion, mean of {images} image{'s' if images > 1 else ''}", fontsize=12)
    own = iter(OWN_COLOURS * len(summary))
    colours: dict[str, str] = {}
    styles: dict[str, str] = {}
    for codec in _by_codec(summary):
        base = codec.partition(":")[0]
        again = [c for c in colours if c.partition(":")[0] == base]
        colours[codec] = COLOURS.get(base) or next(own)
        styles[codec] = ("-", "--", ":", "-.")[len(again) % 4] if base in COLOURS else "-"
    for axes, metric in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):

        def value(s: Summary, metric: Metric = metric) -> float:
            return float(getattr(s, metric.curve))

        shown = [value(s) for s in summary if s.bpp <= MAX_BPP and math.isfinite(value(s))]
        for codec, points in _by_codec(summary).items():
            curve = sorted((s.bpp, value(s)) for s in points if math.isfinite(value(s)))
            base, _, options = codec.partition(":")
            ours = base not in LOSSY
            axes.plot(
                [bpp for bpp, _ in curve],
                [quality for _, quality in curve],
                color=colours[codec],
                label=f"{LABELS.get(base, f'Obverse {base}')} {options}".strip(),
                linestyle=styles[codec],
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
        axes.set_ylabel(metric.label)
        axes.grid(color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
