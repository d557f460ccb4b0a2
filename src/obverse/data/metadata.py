"""What belongs to an image beside its pixels: colour profile, EXIF, XMP, resolution, texts, colour chunks of PNG.

No photo is refused for them: what is damaged is left out, with a warning.
"""

from __future__ import annotations

import re
import struct
import sys
import warnings
from collections.abc import Mapping
from typing import TypedDict

from PIL import Image
from PIL.TiffImagePlugin import X_RESOLUTION, TiffImageFile

from obverse.data import exif as exif_data
from obverse.data.conversion import ConversionWarning
from obverse.data.guard import cause_of
from obverse.data.png_colour import LENGTHS, check_colour, colour_of_info

LARGEST = 2**26  # bytes of each: what a decoder unpacks by default
XMP_CHUNK = "XML:com.adobe.xmp"  # what PNG calls it
COMMENT = "Comment"  # what PNG calls the one text that JPEG and GIF have
COLOUR_CHUNKS = "obverse colour chunks"  # in the `info` of images that were opened here
_RAW_EXIF = "Raw profile type exif"
_WITH_DPI = ("JPEG", "MPO", "PNG", "TIFF", "BMP", "DIB")  # others have defaults of their programs


class Metadata(TypedDict, total=False):
    """Those of `obverse.data.images.Photo`, as its keywords."""

    icc: bytes
    exif: bytes
    xmp: bytes
    dpi: tuple[float, float] | None
    text: dict[str, str]
    colour: dict[str, bytes]


def metadata_bytes(found: Mapping[str, object]) -> int:
    """Bytes that these take in memory.

    Args:
        found: a `Metadata`, or the same of a photo.
    """
    total = 0
    for value in found.values():
        if isinstance(value, bytes):
            total += len(value)
        elif isinstance(value, dict):
            total += sum(sys.getsizeof(each) for pair in value.items() for each in pair)
    return total


def metadata_of(image: Image.Image, name: str, exact: bool = False) -> Metadata:
    """What a Pillow image, loaded, has of it.

    Args:
        image: as it was read.
        name: how warnings name it.
        exact: whether its samples are kept as they are, and so which of their bits are significant.
    """

    def left_out(what: str, why: object) -> None:
        warnings.warn(f"{name}: {what} left out: {why}", ConversionWarning, stacklevel=4)

    found: Metadata = {}
    icc = image.info.get("icc_profile")
    if isinstance(icc, bytes):
        found["icc"] = icc
    elif "icc_profile" in image.info:
        left_out("its colour profile is", "it is damaged")
    try:
        found["exif"] = _exif(image)
    except Exception as error:
        left_out("its EXIF data are", cause_of(error))
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if isinstance(xmp, bytes):
        found["xmp"] = xmp
    elif xmp:
        left_out("its XMP data are", "they are damaged")
    found["dpi"] = _dpi(image, found.get("exif", b""))
    found["text"] = _text(image)
    for key, what in (
        ("icc", "its colour profile is"),
        ("exif", "its EXIF data are"),
        ("xmp", "its XMP data are"),
    ):
        if len(found.get(key, b"")) > LARGEST:  # type: ignore[arg-type]
            left_out(what, f"more than {LARGEST:,} bytes")
            found[key] = b""  # type: ignore[literal-required]
    if sum(map(len, (*found["text"], *found["text"].values()))) > LARGEST // 4:
        left_out("its texts are", f"more than {LARGEST // 4:,} characters")
        found["text"] = {}
    found["colour"] = _colour(image, bool(found.get("icc")), exact)
    return found


def _colour(image: Image.Image, has_profile: bool, exact: bool) -> dict[str, bytes]:
    """The chunks of a PNG file that say what its colours are, those that have a meaning; a word for damaged ones."""
    if image.format not in ("PNG", None):
        return {}
    told = image.info.get(COLOUR_CHUNKS)
    if not isinstance(told, dict):
        told = colour_of_info(image.info)
    if has_profile or "sRGB" in told:
        told = {name: body for name, body in told.items() if name not in ("gAMA", "cHRM")}
    found = {}
    for key in LENGTHS:
        if key in told and (exact or key != "sBIT"):
            try:
                check_colour({key: told[key]})
                found[key] = told[key]
            except ValueError:
                continue  # readers pass it over
    return found


def _exif(image: Image.Image) -> bytes:
    """With prefix, if there are any. Raises whatever Pillow does, and ValueError for what is none."""
    raw = image.info.get("exif") or _of_tags(image.getexif())
    if not raw and _RAW_EXIF in image.info:
        raise ValueError("they are written in no known way")
    if not raw:
        return b""
    if not raw.startswith(exif_data.PREFIX):
        raw = exif_data.PREFIX + raw
    exif_data.directory(raw)
    return bytes(raw)


def _of_tags(tags: Image.Exif) -> bytes:
    """Those of a TIFF file, without what is its own. EXIF data have 32-bit offsets, also where the file has 64."""
    own = {tag: tags[tag] for tag in exif_data.OF_TIFF & set(tags)}
    bigtiff = tags.bigtiff
    try:
        for tag in own:
            del tags[tag]
        tags.bigtiff = False
        return tags.tobytes() if tags else b""
    finally:  # they are the image's, which stays as it was
        tags.bigtiff = bigtiff
        for tag, value in own.items():
            tags[tag] = value


def _dpi(image: Image.Image, exif: bytes) -> tuple[float, float] | None:
    """Dots per inch, where the file tells them and its EXIF data do not."""
    dpi = image.info.get("dpi")
    # Pillow makes up 72 dpi for a JPEG file with EXIF data that tells none
    made_up = image.format in ("JPEG", "MPO") and image.info.get("jfif_unit") not in (1, 2)
    if made_up or image.format not in (*_WITH_DPI, None):
        return None
    if isinstance(image, TiffImageFile) and X_RESOLUTION not in image.tag_v2:  # Pillow says 1 dpi
        return None
    if dpi is None or not exif_data.is_resolution(dpi):
        return None
    found = float(dpi[0]), float(dpi[1])
    return None if exif and exif_data.resolution(exif) == found else found


def _text(image: Image.Image) -> dict[str, str]:
    """The texts of a PNG file by keyword, and the comment of a JPEG or GIF file."""
    texts = getattr(image, "text", None)
    if isinstance(texts, dict):
        return {
            str(key): str(value)
            for key, value in texts.items()
            if key not in (XMP_CHUNK, _RAW_EXIF) and isinstance(value, str)
        }
    comment = _decoded(image.info.get("comment")) if image.format in ("JPEG", "MPO", "GIF", None) else ""
    return {COMMENT: comment} if comment else {}


def _decoded(comment: object) -> str:
    """Bytes of no known encoding as text."""
    if isinstance(comment, bytes):
        try:
            return comment.decode("utf-8")
        except UnicodeDecodeError:
            return comment.decode("latin-1")
    return comment if isinstance(comment, str) else ""


# -- files that cannot be read for their metadata ------------------------------------------------------------


def without_metadata(data: bytes) -> bytes | None:
    """A PNG, JPEG or AVIF file without its metadata; None for another one, and where there are none."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        bare = _bare_png(data)
    elif data.startswith(b"\xff\xd8"):
        bare = _bare_jpeg(data)
    elif data[4:8] == b"ftyp":
        # the item keeps its place, and is of a type that no reader knows
        bare = re.sub(rb"(?s)(infe[\2\3]\0\0.(?:..|....)\0\0)Exif", rb"\1none", data)
    else:
        return None
    return bare if bare != data else None


_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}


def _bare_png(data: bytes) -> bytes:
    """With those chunks that make up the pixels."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] in _PNG_KEPT:
            parts.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(parts) + data[at:]


def _bare_jpeg(data: bytes) -> bytes:
    """Without comments and application segments, but for those that say what the colours are (JFIF, Adobe)."""
    parts, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker not in (0xFE, *range(0xE1, 0xEE), 0xEF):
            parts.append(data[at : at + 2 + length])
        at += 2 + length
    return b"".join(parts) + data[at:]
