"""PNG files of 16 bits a channel in colour or with alpha, of which Pillow keeps 8: their samples, exactly.

    chunks ──► IHDR, tRNS, IDAT ──► inflate ──► rows without filters, of seven passes if interlaced ──► samples

(PNG specification, third edition, chapters 4 to 11.) Everything else in a file, profile and texts, is Pillow's.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from obverse.coding.row_filters import filter_rows, unfilter_rows
from obverse.data.png_chunks import SIGNATURE, chunks, packed_chunk
from obverse.errors import InputError

GRAY, RGB, GRAY_ALPHA, RGBA = 0, 2, 4, 6  # colour types
CHANNELS = {GRAY: 1, RGB: 3, GRAY_ALPHA: 2, RGBA: 4}
COLOUR_TYPES = {channels: kind for kind, channels in CHANNELS.items()}
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
)  # fmt: skip  # first row and column of a pass, and the steps between them

Deep = npt.NDArray[np.uint16]


def read_png16(data: bytes) -> Deep:
    """(H, W, C) of such a file, C = 1 to 4: a transparent colour becomes an alpha channel.

    Raises:
        InputError: for a damaged file.
    """
    header, key, stream = b"", b"", []
    for kind, body in chunks(data):
        if kind == b"IHDR":
            header = body
        elif kind == b"tRNS":
            key = body
        elif kind == b"IDAT":
            stream.append(body)
    if len(header) != 13:
        raise InputError("it has no header")
    width, height, depth, colours, compression, filters, interlaced = struct.unpack(">IIBBBBB", header)
    if (
        depth != 16
        or colours not in CHANNELS
        or compression
        or filters
        or interlaced > 1
        or not width * height
    ):
        raise InputError("its header is damaged")
    step = 2 * CHANNELS[colours]
    passes = _ADAM7 if interlaced else _WHOLE
    sizes = [(-(-(height - y) // down), -(-(width - x) // right)) for y, x, down, right in passes]
    lengths = [rows * (1 + columns * step) if rows > 0 and columns > 0 else 0 for rows, columns in sizes]
    raw = _inflated(stream, sum(lengths))
    samples = np.empty((height, width, CHANNELS[colours]), np.uint16)
    at = 0
    for (y, x, down, right), (rows, columns), length in zip(passes, sizes, lengths, strict=True):
        if length:
            filtered = np.frombuffer(raw, np.uint8, length, at).reshape(rows, -1)
            values = unfilter_rows(filtered, step)
            if values is None:
                raise InputError("a row has a filter that there is not")
            samples[y::down, x::right] = values.view(">u2").reshape(rows, columns, -1)
        at += length
    return _with_key(samples, key)


def with_samples(data: bytes, samples: Deep, level: int) -> bytes:
    """A PNG file with all that another one has, but these samples instead of its own.

    Args:
        data: any PNG file without a palette, whose colours and alpha are of the kind of the samples.
        samples: (H, W, C), C = 1 to 4.
        level: of deflate, 0 to 9.
    """
    height, width, channels = samples.shape
    rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    packed = zlib.compress(filter_rows(rows, 2 * channels).tobytes(), level)
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0)
    parts, written = [SIGNATURE], False
    for kind, body in chunks(data):
        if kind == b"IDAT":
            if not written:
                parts.append(packed_chunk(kind, packed))
            written = True
        else:
            parts.append(packed_chunk(kind, header if kind == b"IHDR" else body))
    return b"".join(parts)


def _inflated(stream: list[bytes], size: int) -> bytes:
    """Exactly so many bytes. Raises InputError."""
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(b"".join(stream), size)
    except zlib.error as error:
        raise InputError(f"its pixels are damaged: {error}") from None
    if len(raw) != size:
        raise InputError("it holds fewer pixels than its header says")
    return raw


def _with_key(samples: Deep, key: bytes) -> Deep:
    """Pixels of the transparent colour get alpha 0, all others full."""
    channels = samples.shape[2]
    if channels not in (1, 3) or len(key) != 2 * channels:
        return samples
    transparent = (samples == np.frombuffer(key, ">u2")).all(axis=2)
    return np.dstack([samples, np.where(transparent, 0, 65535).astype(np.uint16)])
