"""Rate and distortion of images: what files weigh, and what comes back from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from obverse.data.deep_images import check_8_bits
from obverse.data.guard import guarded
from obverse.errors import InputError, UnsupportedInputError
from obverse.evaluation.coders import Codecs, Coder, all_ours, classical, distinct
from obverse.evaluation.engine import Engine, Failure, Progress, image_names, image_paths
from obverse.metrics.image_metrics import METRICS, check_metrics


@dataclass(frozen=True)
class Row:
    """One image through one codec at one quality.

    Attributes:
        image: name of the file, with the folders that tell it from others of its name.
        bytes: size of the file.
        bpp: 8 * bytes / (height * width).
        psnr: dB.
        ms_ssim: 0 to 1; this and the next two are NaN where not measured.
        ssimulacra2: at most 100.
        lpips: from 0, the network "alex".
        encode_seconds: CPU time of this process, all of its threads together.
        decode_seconds: likewise.
    """

    image: str
    codec: str
    quality: float
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float
    encode_seconds: float
    decode_seconds: float
    ssimulacra2: float = math.nan
    lpips: float = math.nan


def evaluate(
    paths: Iterable[Path | str],
    codec: Codecs = "image",
    qualities: Sequence[float] | None = None,
    against: Iterable[str | Coder] = ("jpeg", "webp", "avif"),
    metrics: Sequence[str] = ("psnr", "ms-ssim"),
    progress: Progress = None,
    failures: list[Failure] | None = None,
) -> list[Row]:
    """Measure `codec` at `qualities`, and each of `against` at its own, on every image.

    Args:
        paths: images, or folders of them.
        codec: the name of an Obverse codec, or a `Coder`, or several; None for the peers alone.
        qualities: of `codec`; its own by default.
        against: names for `classical`, or coders.
        metrics: of METRICS; PSNR is always measured.
        progress: called as progress(done, total) after each measurement.
        failures: an image that cannot be read or coded is left out for all codecs, so that every mean is over the same
            images; it is appended here and the others go on, or, without a list, its InputError is raised.

    Raises:
        InputError: there is no image, or names are not known.
        MissingExtraError: the library of a peer, or what a metric needs, is not installed.
    """
    measured = check_metrics(metrics)
    own = all_ours(codec, qualities)
    if not own and qualities is not None:
        raise InputError("qualities are those of the codec, and none was given")
    peers = [classical(peer) if isinstance(peer, str) else peer for peer in against]
    plan = [(coder, setting) for coder in distinct([*own, *peers]) for setting in coder.settings]
    files = image_paths(paths)
    names = image_names(files)
    engine: Engine[Row] = Engine(progress, len(files) * len(plan))

    def measure(path: Path) -> list[Row]:
        image = read_rgb(path)
        rows = []
        for coder, setting in plan:
            coded = engine.through(coder, setting, image, str(path))
            seen = np.asarray(coded.seen)
            if seen.shape != image.shape:
                raise UnsupportedInputError(
                    f"{path}: {coder.name} returned shape {seen.shape}, not {image.shape}"
                )
            rows.append(
                Row(
                    image=names[path],
                    codec=coder.name,
                    quality=setting.get(coder.option or "", math.nan),
                    bytes=coded.bytes,
                    bpp=8 * coded.bytes / (image.shape[0] * image.shape[1]),
                    encode_seconds=coded.encode_seconds,
                    decode_seconds=coded.decode_seconds,
                    **{
                        metric.field: metric.measure(image, seen) if name in measured else math.nan
                        for name, metric in METRICS.items()
                    },
                )
            )
            engine.step()
        return rows

    return engine.over(files, measure, len(plan), failures)


def read_rgb(path: Path | str) -> npt.NDArray[np.uint8]:
    """An image file as (H, W, 3) uint8, upright.

    Raises:
        InputError: it cannot be read.
        UnsupportedInputError: RGB would lose part of it.
    """
    with guarded(f"{path} cannot be read as an image"), Image.open(path) as image:
        check_8_bits(image, path)
        if image.mode not in ("RGB", "L", "P", "1") or "transparency" in image.info:
            raise UnsupportedInputError(
                f"{path} has mode {image.mode}, and only opaque 8-bit images are evaluated; convert it first"
            )
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
