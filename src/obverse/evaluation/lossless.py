"""Lossless codecs side by side: what their files weigh, and whether every pixel came back.

    image ──► encode ──► file ──► decode ──► compared with the image, sample by sample

Whether a codec is lossless is measured, never assumed: each file is decoded again, and a codec that changes a
single sample is reported as not exact, with how much it changes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from obverse.data.images import read_photo
from obverse.errors import InputError, UnsupportedInputError
from obverse.evaluation.coders import Codecs, Coder, all_ours, classical, distinct
from obverse.evaluation.engine import Coded, Engine, Failure, Progress, image_names, image_paths
from obverse.evaluation.report import COLOURS, LABELS, OWN_COLOURS, csv_bytes, write_files

FILES = ("images.csv", "summary.csv", "lossless.png")


@dataclass(frozen=True)
class LosslessRow:
    """One image through one codec.

    Attributes:
        image: as in `obverse.evaluation.Row`.
        bytes: size of the file.
        bits_per_pixel: 8 bytes / (height width).
        bits_per_subpixel: that by the number of channels.
        max_error: the largest change of a sample, 0 where all came back.
        wrong: the share of samples that changed, 0 to 1.
        encode_seconds: CPU time of this process, all of its threads together.
        decode_seconds: likewise.
    """

    image: str
    codec: str
    height: int
    width: int
    channels: int
    bytes: int
    bits_per_pixel: float
    bits_per_subpixel: float
    max_error: int
    wrong: float
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class LosslessSummary:
    """All images of one codec together.

    Attributes:
        bytes: of all files.
        bits_per_pixel: of the total, 8 bytes / all pixels.
        bits_per_subpixel: of the total, 8 bytes / all samples.
        ratio: the bytes by those of the first codec of the rows.
        exact: how many of the images came back sample for sample.
        max_error: as in `LosslessRow`, over all samples.
        wrong: as in `LosslessRow`, over all samples.
        encode_seconds: mean of an image.
        decode_seconds: mean of an image.
    """

    codec: str
    images: int
    bytes: int
    bits_per_pixel: float
    bits_per_subpixel: float
    ratio: float
    exact: int
    max_error: int
    wrong: float
    encode_seconds: float
    decode_seconds: float


def evaluate_lossless(
    paths: Iterable[Path | str],
    codec: Codecs = "image-lossless",
    against: Iterable[str | Coder] = ("png", "webp", "jxl", "avif"),
    progress: Progress = None,
    failures: list[Failure] | None = None,
) -> list[LosslessRow]:
    """Measure codecs on every image; metadata is left out, which costs some formats more than others.

    Args:
        paths: images, or folders of them.
        codec: the name of an Obverse codec, or a `Coder`, or several; None for the peers alone.
        against: names for `classical`, or coders.
        progress: called as progress(done, total) after each measurement.
        failures: as in `evaluate`.

    Raises:
        InputError: there is no image, or names are not known.
        MissingExtraError: the library of a peer is not installed.
    """
    own = all_ours(codec)
    peers = [classical(peer, lossless=True) if isinstance(peer, str) else peer for peer in against]
    coders = distinct([*own, *peers])
    files = image_paths(paths)
    names = image_names(files)
    engine: Engine[LosslessRow] = Engine(progress, len(files) * len(coders))

    def measure(path: Path) -> list[LosslessRow]:
        samples = read_samples(path)
        rows = []
        for coder in coders:
            coded = engine.through(coder, coder.settings[0], samples, str(path))
            rows.append(_row(path, names[path], samples, coder, coded))
            engine.step()
        return rows

    return engine.over(files, measure, len(coders), failures)


def read_samples(path: Path | str) -> npt.NDArray[np.generic]:
    """The pixels of an image file as they lie in it, (H, W[, C]).

    Raises:
        InputError: for what is not a whole image, or one of which not all would be kept.
    """
    return read_photo(Path(path), exact=True).array()


def _row(path: Path, name: str, original: npt.NDArray[np.generic], coder: Coder, coded: Coded) -> LosslessRow:
    decoded = np.asarray(coded.seen)
    if decoded.shape != original.shape:
        raise UnsupportedInputError(
            f"{path}: {coder.name} returned shape {decoded.shape}, not {original.shape}"
        )
    error = np.abs(decoded.astype(np.int64) - original.astype(np.int64))
    height, width = original.shape[:2]
    return LosslessRow(
        image=name,
        codec=coder.name,
        height=height,
        width=width,
        channels=original.size // (height * width),
        bytes=coded.bytes,
        bits_per_pixel=8 * coded.bytes / (height * width),
        bits_per_subpixel=8 * coded.bytes / original.size,
        max_error=int(error.max()),
        wrong=float(np.mean(error > 0)),
        encode_seconds=coded.encode_seconds,
        decode_seconds=coded.decode_seconds,
    )


def summarise_lossless(rows: Iterable[LosslessRow]) -> list[LosslessSummary]:
    """One LosslessSummary a codec, in the order of the rows."""
    groups: dict[str, list[LosslessRow]] = {}
    for row in rows:
        groups.setdefault(row.codec, []).append(row)
    totals = {codec: sum(row.bytes for row in group) for codec, group in groups.items()}
    first = next(iter(totals.values()), 1)
    result = []
    for codec, group in groups.items():
        pixels = sum(row.height * row.width for row in group)
        samples = sum(row.height * row.width * row.channels for row in group)
        wrong = sum(row.wrong * row.height * row.width * row.channels for row in group)
        result.append(
            LosslessSummary(
                codec=codec,
                images=len(group),
                bytes=totals[codec],
                bits_per_pixel=8 * totals[codec] / pixels,
                bits_per_subpixel=8 * totals[codec] / samples,
                ratio=totals[codec] / first,
                exact=sum(row.max_error == 0 for row in group),
                max_error=max(row.max_error for row in group),
                wrong=wrong / samples,
                encode_seconds=sum(row.encode_seconds for row in group) / len(group),
                decode_seconds=sum(row.decode_seconds for row in group) / len(group),
            )
        )
    return result


def lossless_table(rows: Iterable[LosslessRow]) -> str:
    """The summary as a Markdown table, ending with a newline."""
    lines = [
        "| codec | bytes | bits/pixel | bits/subpixel | ratio | lossless | encode (CPU s) | decode (CPU s) |",
        "|---|--:|--:|--:|--:|---|--:|--:|",
    ]
    for s in summarise_lossless(rows):
        lines.append(
            f"| {s.codec} | {s.bytes:,} | {s.bits_per_pixel:.3f} | {s.bits_per_subpixel:.3f} | {s.ratio:.3f} "
            f"| {_verdict(s)} | {s.encode_seconds:.2f} | {s.decode_seconds:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _verdict(s: LosslessSummary) -> str:
    if s.exact == s.images:
        return "yes"
    return f"no: {s.wrong:.1%} of samples changed, by up to {s.max_error}"


def write_lossless_report(rows: Sequence[LosslessRow], out_dir: Path | str) -> dict[str, Path]:
    """Write images.csv, summary.csv and lossless.png into out_dir, as `write_report`.

    Returns:
        Name -> path.
    """
    if not rows:
        raise InputError("nothing was measured, so there is nothing to report")
    summary = summarise_lossless(rows)
    contents = (csv_bytes(LosslessRow, rows), csv_bytes(LosslessSummary, summary), _plot(summary))
    return write_files(dict(zip(FILES, contents, strict=True)), Path(out_dir))


def _plot(summary: Sequence[LosslessSummary]) -> bytes:
    """PNG with a bar a codec; those that lost something are hatched and say so."""
    from matplotlib.figure import Figure  # a bare Figure draws with Agg and needs no display

    figure = Figure(figsize=(6.4, 1.2 + 0.5 * len(summary)), layout="constrained")
    axes = figure.subplots()
    own = iter(OWN_COLOURS * len(summary))
    for place, s in enumerate(summary):
        exact = s.exact == s.images
        axes.barh(
            place,
            s.bits_per_subpixel,
            color=COLOURS.get(s.codec) or next(own),
            alpha=1 if exact else 0.45,
            hatch=None if exact else "//",
            edgecolor="white",
        )
        text = f" {s.bits_per_subpixel:.3f}" + ("" if exact else ", not lossless")
        axes.text(s.bits_per_subpixel, place, text, va="center", fontsize=9)
    axes.set_yticks(range(len(summary)), [LABELS.get(s.codec, f"Obverse {s.codec}") for s in summary])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max(s.bits_per_subpixel for s in summary))
    images = summary[0].images
    axes.set_xlabel("rate (bits per subpixel)")
    axes.set_title(f"Lossless, {images} image{'s' if images > 1 else ''}: shorter is better", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
