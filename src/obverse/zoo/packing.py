"""The bytes of a safetensors file in fewer bytes, in one of two forms that their first bytes tell apart.

    LZMA        as models are stored from the first version on, and small ones still: the smallest, slow to unpack
    planes      numbers of several bytes as planes of their first, second, ... bytes, behind deflate: about as small
                for weights, whose bytes have no patterns but frequencies, and eight times as fast to unpack

Both give back the same bytes, which a model's fingerprint is of.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Iterator

LARGEST = 2**30  # bytes of unpacked weights: more is no model of ours
LARGEST_HEADER = 2**21  # bytes of a safetensors header, which names tensors: ours name up to a thousand
# bytes that any model may unpack to, and then times its packed size: ours take 3 times
ROOM, MOST_RATIO = 2**24, 64
PLANES = b"OBVPLANE"  # what the second form begins with
WORTH = 1.02  # how much larger it may be
ITEM_SIZES = {
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
STRATEGIES = (
    (zlib.Z_FILTERED, 8),
    (zlib.Z_DEFAULT_STRATEGY, 9),
)  # and how much memory: with less, Huffman codes change more often


def pack(weights: bytes) -> bytes:
    """What is stored: the form that is quick to unpack, unless it is larger by more than WORTH."""
    small = lzma.compress(weights, preset=9)
    try:
        planes = _rearranged(weights, to_planes=True)
    except ValueError:  # no safetensors file: whoever reads it says so
        return small
    quick = PLANES + min((_deflated(planes, *how) for how in STRATEGIES), key=len)
    return quick if len(quick) <= WORTH * len(small) else small


def unpack(packed: bytes) -> bytes:
    """What `pack` was given; what unpacks to more than a model can, or names more tensors, is refused before it does.

    Raises:
        ValueError: for anything else.
    """
    most = min(LARGEST, ROOM + MOST_RATIO * len(packed))
    try:
        if packed.startswith(PLANES):
            deflated = zlib.decompressobj()
            raw = deflated.decompress(memoryview(packed)[len(PLANES) :], most)
            whole = deflated.eof and not deflated.unused_data
        else:
            stream = lzma.LZMADecompressor()
            raw = stream.decompress(packed, most)
            whole = stream.eof and not stream.unused_data
    except (lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"its stream is damaged: {error}") from error
    if not whole:
        raise ValueError("it is cut off, or larger than a model")
    if LARGEST_HEADER < int.from_bytes(raw[:8], "little") <= len(raw):
        raise ValueError("it names more tensors than a model has")
    return _rearranged(raw, to_planes=False) if packed.startswith(PLANES) else raw


def _deflated(data: bytes, strategy: int, memory: int) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, memory, strategy)
    return stream.compress(data) + stream.flush()


def _rearranged(data: bytes, to_planes: bool) -> bytes:
    """The bytes of each tensor of more bytes a number as planes, or back; all others stay where they are."""
    out = bytearray(data)
    for start, end, size in _tensors(data):
        count = (end - start) // size
        for k in range(size):
            plane, among = slice(start + k * count, start + (k + 1) * count), slice(start + k, end, size)
            out[plane if to_planes else among] = data[among if to_planes else plane]
    return bytes(out)


def _tensors(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Where tensors of several bytes a number lie, and how many bytes these have; none lies over another.

    Raises:
        ValueError: where this is no safetensors file.
    """
    first = 8 + int.from_bytes(data[:8], "little")
    if not 8 < first <= min(len(data), 8 + LARGEST_HEADER):
        raise ValueError("it has no header of tensors")
    try:
        header = json.loads(data[8:first])
        spans = sorted(
            (*map(int, about["data_offsets"]), ITEM_SIZES.get(about["dtype"], 1))
            for name, about in header.items()
            if name != "__metadata__"
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError("its header is damaged") from error
    position = 0
    for span in spans:
        if len(span) != 3 or not position <= span[0] <= span[1] <= len(data) - first:
            raise ValueError("its tensors do not lie where they can")
        start, position, size = span
        if (position - start) % size:
            raise ValueError("a tensor ends in the middle of a number")
        if size > 1 and position > start:
            yield first + start, first + position, size
