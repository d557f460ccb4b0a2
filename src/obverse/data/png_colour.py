"""The chunks by which a PNG file says what its colours are, where no profile does: gAMA, cHRM, cICP and sBIT.

They are kept byte for byte (PNG specification, third edition, chapter 11.3.2). gAMA and cHRM have no meaning beside a
profile or an sRGB chunk; and an image without any is taken for sRGB, so that an sRGB chunk alone is not kept.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from obverse.data.png_chunks import SIGNATURE, chunks
from obverse.errors import InputError

LENGTHS = {"cICP": {4}, "cHRM": {32}, "gAMA": {4}, "sBIT": {1, 2, 3, 4}}  # in bytes, in the order of a file
_UNIT = 100_000  # of numbers in gAMA and cHRM
_SRGB_GAMMA, _SRGB = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_NEAR = 500  # within which gamma and chromaticities are those of sRGB, as writers round them
_SRGB_CODE = b"\x01\x0d\x00\x01"  # in cICP: primaries of BT.709, transfer of sRGB, RGB, full range


def check_colour(colour: Mapping[str, bytes]) -> None:
    """Check that these are such chunks.

    Raises:
        ValueError: naming what they are not.
    """
    for name, body in colour.items():
        if name not in LENGTHS:
            raise ValueError(f"{name!r} is none of {', '.join(LENGTHS)}")
        if not isinstance(body, bytes) or len(body) not in LENGTHS[name]:
            raise ValueError(f"{name} does not have the length that it must have")


def colour_of_file(data: bytes) -> dict[str, bytes]:
    """What is told before the pixels of a PNG file: the bodies of these chunks and of sRGB; empty for other files."""
    found: dict[str, bytes] = {}
    if not data.startswith(SIGNATURE):
        return found
    try:
        for kind, body in chunks(data):
            name = kind.decode("latin-1")
            if name == "IDAT":
                break
            if name in LENGTHS or name == "sRGB":
                found.setdefault(name, body)
    except InputError:  # damaged further on: Pillow has read it
        pass
    return found


def colour_of_info(info: Mapping[Any, Any]) -> dict[str, bytes]:
    """The same, as far as Pillow tells it of an image that somebody else has opened."""
    found: dict[str, bytes] = {}
    try:
        if "srgb" in info:
            found["sRGB"] = bytes([info["srgb"]])
        if "gamma" in info:
            found["gAMA"] = struct.pack(">I", round(info["gamma"] * _UNIT))
        if "chromaticity" in info:
            found["cHRM"] = struct.pack(">8I", *(round(value * _UNIT) for value in info["chromaticity"]))
    except (TypeError, ValueError, struct.error):  # not as Pillow has them
        return {}
    return found


def is_srgb(colour: Mapping[str, bytes]) -> bool:
    """Whether it says what an image is taken for that says nothing."""
    gamma = struct.unpack(">I", colour["gAMA"]) if "gAMA" in colour else (_SRGB_GAMMA,)
    primaries = struct.unpack(">8I", colour["cHRM"]) if "cHRM" in colour else _SRGB
    pairs = zip((*gamma, *primaries), (_SRGB_GAMMA, *_SRGB), strict=True)
    return colour.get("cICP", _SRGB_CODE) == _SRGB_CODE and all(abs(a - b) <= _NEAR for a, b in pairs)


def significant_bits(bits: bytes, channels: int, depth: int) -> bytes:
    """sBIT of an image with other channels than it was read with.

    Args:
        bits: the body of the chunk, one byte a channel.
        channels: 1 to 4 of the image.
        depth: bits of a sample, that alpha has where it was not there.
    """
    colours, alpha = (
        bits[:3] if len(bits) > 2 else bits[:1],
        bits[-1:] if len(bits) in (2, 4) else bytes([depth]),
    )
    if channels < 3:
        colours = bytes([max(colours)])
    elif len(colours) == 1:
        colours *= 3
    return colours + (alpha if channels in (2, 4) else b"")
