"""`Photo` -> the bytes of an image file, of every format that Pillow writes, read back before they are handed out.

Photo ──► what the format holds of it ──► Pillow ──► bytes ──► read back: the size, and the pixels where it keeps them
                                             ▲                         │
                                             └── without what harms ◄──┘
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, PngInfo

from obverse.data import exif as exif_data
from obverse.data.arrays import npy_bytes
from obverse.data.conversion import ConversionWarning
from obverse.data.deep_images import finished, savable
from obverse.data.guard import cause_of, guarded
from obverse.data.image_formats import COMMENT_ONLY, PARTS, Format, format_of
from obverse.data.images import Photo, Samples, read_photo
from obverse.data.loading import check_held, loading_within
from obverse.data.metadata import COMMENT, XMP_CHUNK, metadata_bytes
from obverse.data.png_colour import is_srgb, significant_bits
from obverse.errors import OptionError, OutputError

Array = npt.NDArray[Any]

AT_ONCE = 2**16  # pixels that are compared, or put on a background, together
DEEP_COPIES = 7.5  # as `Format.copies`, of 16 bits a sample
METADATA_COPIES = 6  # that there are of them while they are written and read back, at most
_LONG_TEXT = 1000  # characters, from which on a PNG file has a text compressed


def colour_of(text: str) -> tuple[int, ...]:
    """Red, green and blue, 0 to 255.

    Args:
        text: a name ("white") or a number ("#ffcc00") as CSS has them.

    Raises:
        OptionError: for no colour, or one with alpha.
    """
    try:
        red, green, blue, *alpha = ImageColor.getrgb(text)
    except ValueError:
        raise OptionError(
            f"{text!r} is no colour: give a name as white, or red, green and blue as #ffcc00"
        ) from None
    if alpha and alpha != [255]:
        raise OptionError(
            f"{text!r} lets through what is behind it, where nothing is: give a colour without alpha"
        )
    return red, green, blue


def over_background(photo: Photo, colour: str) -> Photo:
    """The photo without alpha, on a background.

    Args:
        photo: with or without alpha.
        colour: as `colour_of` reads it.

    Raises:
        OptionError: for no colour.
    """
    ground = np.array(colour_of(colour), np.int64)
    if photo.alpha is None:
        return photo
    most = int(np.iinfo(photo.pixels.dtype).max)
    ground = ground * (most // 255)
    pixels: Array = photo.pixels
    if pixels.ndim == 2 and len(set(ground.tolist())) == 1:
        ground = ground[:1]
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
    made = np.empty((*photo.size, max(len(ground), planes.shape[2])), pixels.dtype)
    rows = max(1, AT_ONCE // made.shape[1])
    for top in range(0, len(made), rows):  # the products take eight times as much as the samples
        part = slice(top, top + rows)
        alpha = photo.alpha[part, :, None].astype(np.int64)
        made[part] = (planes[part] * alpha + ground * (most - alpha) + most // 2) // most
    return replace(photo, pixels=cast(Samples, made[:, :, 0] if made.shape[2] == 1 else made), alpha=None)


def write_photo(photo: Photo, target: str, exact: bool = False) -> bytes:
    """The bytes of an image file of the kind that the name `target` ends in (PNG, JPEG, WebP, TIFF, ...).

    A ConversionWarning says what the format does not hold: metadata, and pixels where they are to be exact.

    Args:
        photo: what is written.
        target: the name of the file.
        exact: the pixels are to be kept.

    Raises:
        OutputError: where the format cannot hold the image, or does not give it back.
        LimitError: where there are limits on memory, and writing and reading back take more.
    """
    if Path(target).suffix.lower() == ".npy":
        check_held(4 * _sample_bytes(photo))  # with alpha, together and each
        return npy_bytes(photo.array())
    kind, form = format_of(target)
    _check_fits(photo, target, kind, form)
    check_held(_writing_memory(photo, form))
    writer = _Writer(photo, target, kind, form, exact)
    kept = _held(photo, target, kind, form)
    data = _without_what_harms(writer, kept)
    if exact and not writer.keeps_pixels:
        _tell(f"{target}: {kind} does not keep pixels exactly; .png does")
    return data


def _without_what_harms(writer: _Writer, kept: dict[str, Any]) -> bytes:
    """The file with as many of these metadata as can be written; a word for the others."""
    if kept:
        try:
            return writer.written(kept)
        except Exception:  # is it the metadata? then each is tried
            pass
    with guarded(f"{writer.target} cannot be written as {writer.kind}", "use .png", OutputError):
        data = writer.written({})
    good: dict[str, Any] = {}
    for name, value in kept.items():
        try:
            data = writer.written(good | {name: value})
            good[name] = value
        except Exception as error:
            _tell(
                f"{writer.target}: {PARTS[name]} left out, as {writer.kind} does not take them: {cause_of(error)}"
            )
    return data


def _check_fits(photo: Photo, target: str, kind: str, form: Format) -> None:
    """Raises OutputError for what the format cannot hold."""
    height, width = photo.size
    if form.side is not None and max(height, width) > form.side:
        raise OutputError(
            f"{target}: {kind} files have at most {form.side:,} pixels a side, the image is {width:,} x {height:,}; "
            "use .png"
        )
    if photo.alpha is not None and not form.alpha:
        raise OutputError(
            f"{target}: {kind} has no alpha channel, the image has one; name what to put it on with --background "
            "(white, #ffcc00), or use .png"
        )
    full = np.iinfo(photo.pixels.dtype).max
    if photo.alpha is not None and not (
        form.translucent or ((photo.alpha == 0) | (photo.alpha == full)).all()
    ):
        raise OutputError(
            f"{target}: in {kind} a pixel is seen or not, some of the image are half seen; name what to put it on with "
            "--background (white, #ffcc00), or use .png"
        )
    if photo.pixels.dtype == np.uint16 and not form.deep:
        raise OutputError(f"{target}: {kind} is not written with 16 bits a channel; use .png or .tif")


def _held(photo: Photo, target: str, kind: str, form: Format) -> dict[str, Any]:
    """Of the metadata those that the format holds, as they are written; a word for the others."""
    found = {name: getattr(photo, name) for name in PARTS if getattr(photo, name)}
    if "colour" not in form.holds and is_srgb(photo.colour):
        found.pop("colour", None)  # which it is taken for without
    if lost := [PARTS[name] for name in found if name not in form.holds]:
        _tell(f"{target}: {kind} holds no {' and no '.join(lost)}: left out")
    kept = {name: value for name, value in found.items() if name in form.holds}
    if "exif" in kept:
        try:
            kept["exif"] = exif_data.without_layout(kept["exif"])
        except ValueError as error:
            _tell(f"{target}: EXIF data left out: {error}")
            del kept["exif"]
    if kept.get("icc", b"")[16:20] == b"GRAY" and not form.gray:
        _tell(f"{target}: colour profile left out: it is of gray, and {kind} has RGB only")
        del kept["icc"]
    if "text" in kept and kind in COMMENT_ONLY:
        if others := sorted(set(kept["text"]) - {COMMENT}):
            _tell(f"{target}: {kind} holds no texts but a comment, left out: {', '.join(others)}")
        kept["text"] = {COMMENT: kept["text"][COMMENT]} if COMMENT in kept["text"] else {}
        if not kept["text"]:
            del kept["text"]
    if "dpi" not in kept and "dpi" in form.holds and kept.get("exif"):
        dpi = exif_data.resolution(kept["exif"])
        if exif_data.is_resolution(dpi) and kind != "TIFF":
            kept["dpi"] = dpi
    return kept


def _writing_memory(photo: Photo, form: Format) -> int:
    """Bytes that the image, its file and the image that is read back of it take at once, at most."""
    beside = METADATA_COPIES * metadata_bytes({name: getattr(photo, name) for name in PARTS})
    samples = _sample_bytes(photo)
    if photo.pixels.dtype == np.uint16:
        return beside + samples + int(DEEP_COPIES * samples)
    height, width = photo.size
    pillow = height * width * (1 if photo.pixels.ndim == 2 and photo.alpha is None and form.gray else 4)
    copies = form.copies * (3 if photo.pixels.ndim == 2 and not form.gray else 1)  # which makes RGB of gray
    return beside + samples + pillow + int(copies * samples)


def _sample_bytes(photo: Photo) -> int:
    return photo.pixels.nbytes + (0 if photo.alpha is None else photo.alpha.nbytes)


class _Writer:
    """Writes a photo in a format, and reads it back.

    Attributes:
        keeps_pixels: whether the last file gives back every pixel, where that was looked at.
    """

    def __init__(self, photo: Photo, target: str, kind: str, form: Format, exact: bool):
        self.samples = photo.array()
        savable(self.samples[:1], kind, target)  # an error here is no error of the metadata
        self.target, self.kind, self.form, self.exact = target, kind, form, exact
        self.keeps_pixels = False

    def written(self, kept: dict[str, Any]) -> bytes:
        """The bytes of the file with these metadata. Raises whatever Pillow does, and ValueError."""
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of odd EXIF data
            options = self.form.options_of(self.exact) | _pillow_options(self.kind, kept, self.samples)
            # the image is made anew, and gone with this line: it would lie beside the one that is read back
            savable(self.samples, self.kind, self.target).save(buffer, self.kind, **options)
        data = finished(buffer.getvalue(), self.samples, self.kind)
        del buffer
        self._check(data, kept)
        return data

    def _check(self, data: bytes, kept: dict[str, Any]) -> None:
        """That the file gives back the image: its size, and its pixels where the format keeps them."""
        exact = self.form.exact and (self.exact or self.form.exact_options is None)
        wanted = _as_read(self.samples, self.kind, kept)
        again = self._again(data, exact)
        if again is not None and again.size != wanted.shape[:2]:
            raise ValueError(f"{self.kind} makes {again.size[1]} x {again.size[0]} pixels of it")
        if self.exact or exact:
            self.keeps_pixels = again is not None and _same(wanted, again)
        if exact and not self.keeps_pixels:
            raise ValueError("it would not come back as it is")

    def _again(self, data: bytes, exact: bool) -> Photo | None:
        """What the file holds; None for a format that is written only."""
        if self.kind not in Image.OPEN or self.kind == "EPS":  # which needs a program to be read
            return None
        with warnings.catch_warnings(), _any_size(), loading_within(None):  # it was counted before
            warnings.simplefilter("ignore")
            return read_photo(io.BytesIO(data), exact, mend=False)  # as others read it


def _pillow_options(kind: str, kept: dict[str, Any], samples: Array) -> dict[str, Any]:
    """Metadata as Pillow's writer of a format takes them."""
    options: dict[str, Any] = {}
    if "icc" in kept:
        options["icc_profile"] = kept["icc"]
    if "dpi" in kept:
        options["dpi"] = kept["dpi"]
    if "exif" in kept:
        options["exif"] = kept["exif"]
    if kind == "PNG":
        chunks = PngInfo()
        if "xmp" in kept:
            chunks.add_itxt(XMP_CHUNK, kept["xmp"].decode("utf-8"))
        for chunk, body in kept.get("colour", {}).items():
            if chunk == "sBIT":
                body = significant_bits(
                    body, 1 if samples.ndim == 2 else samples.shape[2], 8 * samples.itemsize
                )
            chunks.add(chunk.encode("ascii"), body)
        for key, text in kept.get("text", {}).items():
            # of what is compressed readers take no more than this, against decompression bombs
            chunks.add_text(
                key, text, zip=_LONG_TEXT < len(text.encode("utf-8", "replace")) <= MAX_TEXT_CHUNK
            )
        return options | {"pnginfo": chunks}
    if COMMENT in kept.get("text", {}):
        options["comment"] = kept["text"][COMMENT].encode("utf-8")
    if "xmp" in kept and kind == "TIFF":
        tags = Image.Exif()
        tags.load(kept.get("exif", b""))
        tags[exif_data.XMP] = kept["xmp"]
        options["exif"] = tags
    elif "xmp" in kept:
        options["xmp"] = kept["xmp"]
    return options


def _as_read(samples: Array, kind: str, kept: dict[str, Any]) -> Array:
    """What Pillow makes of the file: it turns a TIFF as its EXIF data say."""
    turn = exif_data.orientation(kept["exif"]) if kind == "TIFF" and "exif" in kept else 1
    # 1 to 4: as it is, mirrored, by half a turn, upside down; 5 to 8: these, mirrored at the diagonal
    if turn in (2, 3, 7, 8):
        samples = samples[:, ::-1]
    if turn in (3, 4, 6, 7):
        samples = samples[::-1]
    return samples.swapaxes(0, 1) if turn > 4 else samples


def _same(wanted: Array, found: Photo) -> bool:
    """Whether an image (H, W), (H, W, 2 to 4) and another look the same to the last bit: gray is RGB of equal channels,
    and no alpha is alpha that is full everywhere. Some rows at a time, as each is made RGB with alpha for that."""
    if wanted.dtype != found.pixels.dtype or wanted.shape[:2] != found.size:
        return False
    rows = max(1, AT_ONCE // wanted.shape[1])
    for top in range(0, len(wanted), rows):
        part = slice(top, top + rows)
        alpha = None if found.alpha is None else found.alpha[part]
        if not np.array_equal(_rgba(wanted[part]), _rgba(Photo(found.pixels[part], alpha).array())):
            return False
    return True


def _rgba(image: Array) -> Array:
    channels = 1 if image.ndim == 2 else image.shape[2]
    planes = image[:, :, None] if image.ndim == 2 else image
    colours = planes[:, :, :1].repeat(3, 2) if channels < 3 else planes[:, :, :3]
    full = np.iinfo(image.dtype).max
    alpha = planes[:, :, -1:] if channels in (2, 4) else np.full_like(planes[:, :, :1], full)
    return np.concatenate([colours, alpha], 2)


@contextmanager
def _any_size() -> Iterator[None]:
    """Without Pillow's limit on pixels: the image is here already."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _tell(message: str) -> None:
    warnings.warn(message, ConversionWarning, stacklevel=4)
