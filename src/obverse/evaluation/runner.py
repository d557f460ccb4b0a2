"""Run codecs over images and measure what their files weigh and what comes back from them."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from obverse.data.patches import image_files
from obverse.errors import InputError, MissingExtraError, ObverseError, UnsupportedInputError
from obverse.evaluation.peers import Peer, get_peer
from obverse.metrics import distortion

QUALITIES = (10, 20, 30, 40, 50, 60, 70, 80, 90)

# What Pillow raises for a file that it cannot read or an image that a format cannot hold.
PILLOW_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Row:
    """One image through one codec at one quality.

    bytes: size of the file; bpp: 8 * bytes / (height * width); psnr: dB; ms_ssim: 0 to 1, NaN where not
    measured; seconds: CPU time of this process, all of its threads together.
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


@dataclass(frozen=True)
class Failure:
    """An image that was left out, and why."""

    path: Path
    error: InputError


class ObverseCodec:
    """A codec of Obverse in the shape of a `Peer`."""

    suffix = ".obv"

    def __init__(self, name: str = "image", qualities: Sequence[float] = QUALITIES):
        self.name = name
        self.qualities = tuple(qualities)

    def encode(self, image: Image.Image, quality: float) -> bytes:
        import obverse

        with tempfile.TemporaryDirectory(prefix="obverse-") as folder:
            path = Path(folder, "image.bmp")  # not packed: writing and reading it takes no time to speak of
            image.save(path)
            return obverse.compress(path, codec=self.name, quality=quality)

    def decode(self, data: bytes) -> Image.Image:
        import obverse

        return Image.fromarray(obverse.decompress(data))


def evaluate(
    paths: Iterable[Path | str],
    codec: str | Peer | ObverseCodec | None = "image",
    qualities: Sequence[float] | None = None,
    against: Iterable[str | Peer] = ("jpeg", "webp", "avif"),
    ms_ssim: bool = True,
    progress: Callable[[int, int], None] | None = None,
    failures: list[Failure] | None = None,
) -> list[Row]:
    """Measure `codec` at `qualities`, and each of `against` at its own, on every image.

    paths: images, or folders of them. codec: the name of an Obverse codec, or an object with the
    attributes of a `Peer`, or None for the peers alone. qualities: of `codec`; its own by default.
    progress: called as progress(done, total) after each measurement.

    An image that cannot be read or coded is left out for all codecs, so that every mean is over the same
    images. Where a list `failures` is given, it is appended there and the others go on; where not, its
    InputError is raised. Also raises InputError where there is no image, MissingExtraError where the
    library of a peer is not installed.
    """
    plan = _plan(codec, qualities, against)
    files = image_paths(paths)

    rows: list[Row] = []
    warm: set[str] = set()
    for index, path in enumerate(files):
        step = _counter(progress, index * len(plan), len(files) * len(plan))
        try:
            rows += _measure_image(path, plan, ms_ssim, warm, step)
        except InputError as error:
            if failures is None:
                raise
            failures.append(Failure(path, error))
            step(len(plan))
    return rows


def read_rgb(path: Path | str) -> Image.Image:
    """An image file as 8-bit RGB, upright, without metadata (which would add to the files of some codecs).

    Raises InputError where it cannot be read, UnsupportedInputError where RGB would lose part of it.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("RGB", "L", "P", "1") or "transparency" in image.info:
                raise UnsupportedInputError(
                    f"{path} has mode {image.mode}, and only opaque 8-bit images are evaluated; "
                    "convert it first"
                )
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except PILLOW_ERRORS as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from error
    return Image.fromarray(pixels)


def _plan(
    codec: str | Peer | ObverseCodec | None, qualities: Sequence[float] | None, against: Iterable[str | Peer]
) -> list[tuple[Peer | ObverseCodec, float]]:
    """Every (codec, quality) to measure on each image."""
    if codec is None and qualities is not None:
        raise InputError("qualities are those of the codec, and none was given")
    if isinstance(codec, str):
        codec = ObverseCodec(codec)
    peers = [get_peer(peer) if isinstance(peer, str) else peer for peer in against]
    plan = [(codec, quality) for quality in (qualities or codec.qualities)] if codec else []
    plan += [(peer, quality) for peer in peers for quality in peer.qualities]
    names = [c.name for c in ([codec] if codec else []) + peers]
    if not plan or len(set(names)) < len(names):
        raise InputError(f"evaluate needs codecs of different names, not {', '.join(names) or 'none'}")
    return plan


def image_paths(paths: Iterable[Path | str]) -> list[Path]:
    """Files as they are, folders as the images in them. Raises InputError where there are none."""
    paths = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    files = [file for path in paths for file in (image_files([path]) if path.is_dir() else [path])]
    if not files:
        raise InputError(f"no image to evaluate in {', '.join(map(str, paths)) or 'an empty list'}")
    return files


def _counter(progress: Callable[[int, int], None] | None, start: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(start + done, total) if progress else None


def _measure_image(
    path: Path,
    plan: list[tuple[Peer | ObverseCodec, float]],
    with_ms_ssim: bool,
    warm: set[str],
    step: Callable[[int], None],
) -> list[Row]:
    image = read_rgb(path)
    rows = []
    for done, (codec, quality) in enumerate(plan, 1):
        try:
            if codec.name not in warm:  # imports, weights and compilation belong to no image
                codec.decode(codec.encode(image, quality))
                warm.add(codec.name)
            rows.append(_measure(path.name, image, codec, quality, with_ms_ssim))
        except MissingExtraError:
            raise
        except (*PILLOW_ERRORS, ObverseError) as error:
            raise InputError(f"{path}: {codec.name} at quality {quality} failed: {error}") from error
        step(done)
    return rows


def _measure(
    name: str, image: Image.Image, codec: Peer | ObverseCodec, quality: float, with_ms_ssim: bool
) -> Row:
    start = time.process_time()
    data = codec.encode(image, quality)
    encode_seconds = time.process_time() - start

    data, size = through_a_file(data, codec.suffix)
    start = time.process_time()
    decoded = codec.decode(data)
    decode_seconds = time.process_time() - start

    a, b = np.asarray(image), np.asarray(decoded)
    return Row(
        image=name,
        codec=codec.name,
        quality=quality,
        bytes=size,
        bpp=8 * size / (image.height * image.width),
        psnr=distortion.psnr(a, b),
        ms_ssim=distortion.ms_ssim(a, b) if with_ms_ssim else math.nan,
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
    )


def through_a_file(data: bytes, suffix: str) -> tuple[bytes, int]:
    """The data as it is read back, and the size of the file: that is the rate, and nothing else reaches a decoder."""
    with tempfile.TemporaryDirectory(prefix="obverse-") as folder:
        file = Path(folder, "image" + suffix)
        file.write_bytes(data)
        return file.read_bytes(), file.stat().st_size
