"""Lossless codecs side by side: what their files weigh, and whether every pixel came back.

    image ──► encode ──► file ──► decode ──► compared with the image, sample by sample

Whether a codec is lossless is measured, never assumed: each file is decoded again, and a codec that changes a
single sample is reported as not exact, with how much it changes.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from obverse.data.images import read_photo
from obverse.errors import InputError, MissingExtraError, ObverseError, UnsupportedInputError
from obverse.evaluation.peers import check_library
from obverse.evaluation.report import COLOURS, LABELS, OWN_COLOURS, csv_bytes, write_files
from obverse.evaluation.runner import PILLOW_ERRORS, Failure, image_paths, through_a_file


class LosslessCodec(Protocol):
    """encode: a Pillow image without metadata -> the bytes of a file; decode: those -> the samples, (H, W[, C])."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    def encode(self, image: Image.Image) -> bytes: ...

    def decode(self, data: bytes, mode: str) -> np.ndarray: ...


@dataclass(frozen=True)
class LosslessPeer:
    """A classical codec with the settings of somebody who wants small files and every pixel."""

    name: str
    suffix: str
    settings: dict[str, Any]
    format: str

    def encode(self, image: Image.Image) -> bytes:
        if image.mode.startswith("I") and self.format != "PNG":
            # Pillow would cut it to 8 bits without a word
            raise ValueError("of 16 bits a pixel only PNG is compared")
        buffer = io.BytesIO()
        image.save(buffer, self.format, **self.settings)
        return buffer.getvalue()

    def decode(self, data: bytes, mode: str) -> np.ndarray:
        """Samples in the mode that was coded; WebP has no gray and returns it as RGB."""
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image if image.mode == mode else image.convert(mode))


class ObverseLossless:
    """A codec of Obverse in the shape of a `LosslessCodec`."""

    suffix = ".obv"

    def __init__(self, name: str = "image-lossless"):
        self.name = name

    def encode(self, image: Image.Image) -> bytes:
        import obverse

        return obverse.compress(np.asarray(image), codec=self.name)

    def decode(self, data: bytes, mode: str) -> np.ndarray:
        import obverse

        return np.asarray(obverse.decompress(data))


# AVIF's best quality is not always its lossless one, depending on how Pillow was built: it is measured
PEERS = {
    peer.name: peer
    for peer in (
        LosslessPeer("png", ".png", {"optimize": True}, "PNG"),
        LosslessPeer("webp", ".webp", {"lossless": True, "quality": 100, "method": 6, "exact": True}, "WEBP"),
        LosslessPeer("jxl", ".jxl", {"lossless": True, "effort": 7}, "JXL"),
        LosslessPeer("avif", ".avif", {"quality": 100, "subsampling": "4:4:4"}, "AVIF"),
    )
}


def get_lossless_peer(name: str) -> LosslessPeer:
    """Raises InputError for an unknown name, MissingExtraError where its library is not installed."""
    if name not in PEERS:
        raise InputError(f"unknown lossless peer {name!r}; known are {', '.join(PEERS)}")
    check_library(name)
    return PEERS[name]


@dataclass(frozen=True)
class LosslessRow:
    """One image through one codec.

    bytes: size of the file. bits_per_pixel: 8 bytes / (height width); bits_per_subpixel: that by the number of
    channels. max_error: the largest change of a sample, 0 where all came back; wrong: the share of samples
    that changed, 0 to 1. seconds: CPU time of this process, all of its threads together.
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

    bytes: of all files. Rates are those of the total: 8 bytes / all pixels, and by all samples. ratio: the bytes by
    those of the first codec of the rows. exact: how many of the images came back sample for sample; max_error
    and wrong as in `LosslessRow`, over all samples. seconds: means of an image.
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
    codec: str | LosslessCodec | None = "image-lossless",
    against: Iterable[str | LosslessCodec] = ("png", "webp", "jxl", "avif"),
    progress: Callable[[int, int], None] | None = None,
    failures: list[Failure] | None = None,
) -> list[LosslessRow]:
    """Measure codecs on every image; metadata is left out, which costs some formats more than others.

    paths, progress, failures: as in `evaluate`. codec: the name of an Obverse codec, or an object of the shape
    of `LosslessCodec`, or None for the peers alone. An image that one of the codecs cannot code is left out for
    all. Raises InputError, MissingExtraError.
    """
    ours = [ObverseLossless(codec) if isinstance(codec, str) else codec] if codec is not None else []
    plan = [*ours, *(get_lossless_peer(peer) if isinstance(peer, str) else peer for peer in against)]
    names = [c.name for c in plan]
    if not plan or len(set(names)) < len(names):
        raise InputError(f"evaluate needs codecs of different names, not {', '.join(names) or 'none'}")
    files = image_paths(paths)
    rows: list[LosslessRow] = []
    warm: set[str] = set()
    for number, path in enumerate(files):
        try:
            image = read_image(path)
            measured = []
            for done, codec_ in enumerate(plan, 1):
                measured.append(_measure(path, image, codec_, warm))
                if progress:
                    progress(number * len(plan) + done, len(files) * len(plan))
            rows += measured
        except InputError as error:
            if failures is None:
                raise
            failures.append(Failure(path, error))
            if progress:
                progress((number + 1) * len(plan), len(files) * len(plan))
    return rows


def read_image(path: Path | str) -> Image.Image:
    """The pixels of an image file as they lie in it, without metadata. Raises InputError."""
    return Image.fromarray(read_photo(Path(path), exact=True).array())


def _measure(path: Path, image: Image.Image, codec: LosslessCodec, warm: set[str]) -> LosslessRow:
    try:
        if codec.name not in warm:  # imports, weights and compilation belong to no image
            codec.decode(codec.encode(image), image.mode)
            warm.add(codec.name)
        start = time.process_time()
        data = codec.encode(image)
        encode_seconds = time.process_time() - start
        data, size = through_a_file(data, codec.suffix)
        start = time.process_time()
        decoded = codec.decode(data, image.mode)
        decode_seconds = time.process_time() - start
    except MissingExtraError:
        raise
    except (*PILLOW_ERRORS, ObverseError) as error:
        raise InputError(f"{path}: {codec.name} failed: {error}") from error
    original = np.asarray(image)
    if decoded.shape != original.shape:
        raise UnsupportedInputError(
            f"{path}: {codec.name} returned shape {decoded.shape}, not {original.shape}"
        )
    error_ = np.abs(decoded.astype(np.int64) - original)
    height, width = original.shape[:2]
    return LosslessRow(
        image=Path(path).name,
        codec=codec.name,
        height=height,
        width=width,
        channels=original.size // (height * width),
        bytes=size,
        bits_per_pixel=8 * size / (height * width),
        bits_per_subpixel=8 * size / original.size,
        max_error=int(error_.max()),
        wrong=float(np.mean(error_ > 0)),
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
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
    """Write images.csv, summary.csv and lossless.png into out_dir; returns name -> path. As `write_report`."""
    if not rows:
        raise InputError("nothing was measured, so there is nothing to report")
    summary = summarise_lossless(rows)
    contents = {
        "images.csv": csv_bytes(LosslessRow, rows),
        "summary.csv": csv_bytes(LosslessSummary, summary),
        "lossless.png": _plot(summary),
    }
    return write_files(contents, Path(out_dir))


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
