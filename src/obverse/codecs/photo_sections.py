"""What belongs to an image beside its pixels, as sections of a file: one zlib stream each.

Profile and EXIF data are of format version 1; XMP data, resolution, texts and colour chunks of version 2.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from obverse.container import Limits
from obverse.container.inflate import inflate, inflated_size
from obverse.data.exif import is_resolution
from obverse.data.images import Photo
from obverse.data.metadata import LARGEST, Metadata
from obverse.data.png_colour import LENGTHS, check_colour
from obverse.errors import DamagedError, InputError

OF_VERSION_1 = ("icc", "exif")
OF_VERSION_2 = ("xmp", "dpi", "text", "colour")
NAMES = (*OF_VERSION_1, *OF_VERSION_2)
PAIR_BYTES = 256  # that two short texts take in a map
_GAP = re.compile(r"[ \t\n\r]*")


def pack_metadata(photo: Photo) -> dict[str, bytes]:
    """The sections of a photo, those that it needs.

    Raises:
        InputError: for what cannot be stored.
    """
    values = {"icc": photo.icc, "exif": photo.exif, "xmp": photo.xmp}
    if photo.dpi is not None:
        if not is_resolution(photo.dpi):
            raise InputError(f"dpi are two numbers above 0, horizontal and vertical, not {photo.dpi!r}")
        values["dpi"] = " ".join(repr(float(value)).removesuffix(".0") for value in photo.dpi).encode()
    if photo.text:
        if not all(isinstance(text, str) for pair in photo.text.items() for text in pair):
            raise InputError("texts of an image are a map of text to text")
        values["text"] = json.dumps(photo.text, ensure_ascii=False).encode("utf-8", "replace")
    if photo.colour:
        try:
            check_colour(photo.colour)
        except ValueError as error:
            raise InputError(f"colour chunks of an image: {error}") from None
        values["colour"] = b"".join(
            name.encode("ascii") + photo.colour[name] for name in LENGTHS if name in photo.colour
        )
    if large := [name for name in values if len(values[name]) > LARGEST]:
        raise InputError(f"{large[0]} of an image has more than {LARGEST:,} bytes: leave it out")
    return {name: zlib.compress(values[name], 9) for name in NAMES if values.get(name)}


def version_of(names: Mapping[str, Any]) -> int:
    """The format version that a file with these sections has."""
    return 2 if set(names) & set(OF_VERSION_2) else 1


def names_of(version: int) -> tuple[str, ...]:
    """The sections that a file of a format version may have."""
    return NAMES if version >= 2 else OF_VERSION_1


def unpack_metadata(sections: Mapping[str, bytes], limits: Limits) -> Metadata:
    """The inverse of `pack_metadata`, of what nobody vouches for; other sections are passed over.

    Raises:
        DamagedError: for what no encoder wrote.
        LimitError: where all of them take more memory than there may be.
    """
    here, most = [name for name in NAMES if name in sections], limits.header * 64
    sizes = {name: inflated_size(sections[name], most) for name in here}
    # zlib holds what it unpacks twice for a moment
    limits.check_memory(sum(sizes.values()) + max(sizes.values(), default=0))
    raw = {name: inflate(sections[name], sizes[name]) for name in here}
    found = Metadata(icc=raw.get("icc", b""), exif=raw.get("exif", b""), xmp=raw.get("xmp", b""))
    if "dpi" in raw:
        found["dpi"] = _dpi(raw["dpi"])
    if "text" in raw:
        limits.check_memory(sum(sizes.values()) + _text_memory(raw["text"]))
        found["text"] = _text(raw["text"])
    if "colour" in raw:
        found["colour"] = _colour(raw["colour"])
    return found


def _dpi(raw: bytes) -> tuple[float, float]:
    try:
        horizontal, vertical = map(float, raw.decode("ascii").split(" "))
    except ValueError:
        raise DamagedError("the resolution of the image is damaged") from None
    if not is_resolution((horizontal, vertical)):
        raise DamagedError("the image has a resolution that cannot be")
    return horizontal, vertical


def _colour(raw: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = 0
    for name, lengths in LENGTHS.items():
        if raw[at : at + 4] == name.encode("ascii"):
            end = at + 4 + min(max(lengths), len(raw) - at - 4)
            found[name], at = raw[at + 4 : end], end
    try:
        check_colour(found)
    except ValueError:
        found = {}
    if at != len(raw) or not found:
        raise DamagedError("what the image says of its colours is damaged")
    return found


def _text_memory(raw: bytes) -> int:
    """Bytes that `_text` takes, at most: characters of up to four bytes, twice, and two texts for each four quotes."""
    return 8 * len(raw) + PAIR_BYTES * (raw.count(b'"') // 4)


def _text(raw: bytes) -> dict[str, str]:
    """Text by text, so that JSON of anything else, which may take far more memory than it is long, is never made."""
    damaged = DamagedError("the texts of the image are damaged, or no map of text to text")
    decoder, found = json.JSONDecoder(), dict[str, str]()

    def after(mark: str, at: int) -> int:
        """Where the next mark or text begins."""
        if not text.startswith(mark, at):
            raise damaged
        return _GAP.match(text, at + len(mark)).end()  # type: ignore[union-attr]  # it always matches

    def one(at: int) -> tuple[str, int]:
        if not text.startswith('"', at):
            raise damaged
        value, end = decoder.raw_decode(text, at)
        return value, after("", end)

    try:
        text = raw.decode("utf-8")
        at = after("{", after("", 0))
        while not text.startswith("}", at) or found:
            key, at = one(at)
            found[key], at = one(after(":", at))
            if text.startswith("}", at):
                break
            at = after(",", at)
        if after("}", at) != len(text):
            raise damaged
    except ValueError:
        raise damaged from None
    return found
