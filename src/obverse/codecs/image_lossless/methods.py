"""The ways to code a stripe of an image, of which the smallest wins.

    pixels ──┬─► raster model        photos: a learned distribution of each sample
             ├─► drawing             text, screenshots, diagrams: colours of neighbours, in a palette or not
             ├─► filtered rows, LZMA patterns that repeat far apart
             └─► raw                 noise

A coded stripe is the number of its method and then its data (docs/format.md). Images with alpha may be split into
colours and alpha, each coded by a method of its own; colours that are all grey are coded as gray.

Which methods are hopeless is decided by a sample: the model costs a second for half a megapixel, and drawing as
much where nothing repeats.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import numpy as np
import numpy.typing as npt

from obverse.codecs.image_lossless import drawing as graphics
from obverse.codecs.image_lossless.looks import LOOKS_DRAWN, drawn_share
from obverse.codecs.image_lossless.value_lists import read_list, values_of
from obverse.coding import filtered_rows
from obverse.container.varint import decode_varint, encode_varint
from obverse.errors import CodingError, DamagedError, DecodeError

RAW, RASTER, PALETTE, DRAWING, FILTERED, SPLIT, GRAY = range(7)
DEEP, CHANNELS, LISTED = range(7, 10)  # of colours of 16 bits, encoded by `deep`

# memory that decoding takes beside the pixels themselves: bytes a pixel, bytes a column, bytes whatever the size
WORK_BYTES = {
    RAW: (8, 0, 0),
    RASTER: (192, 1300, 2**23),
    PALETTE: (24, 0, 2**26),
    DRAWING: (24, 0, 2**26),
    FILTERED: (48, 0, 2**20),
    SPLIT: (192, 1300, 2**26),  # any method
}
WIDEST = 2**18  # pixels: the model, which keeps equations for each 16 columns, is not tried on wider images

SAMPLE = 32_768  # pixels of the sample that decides
SEVERAL = 3 * SAMPLE  # stripes of fewer pixels are coded by all methods instead
IS_DRAWN = 0.9  # from this share of pixels equal to a neighbour on the model is not tried

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class Raster(Protocol):
    """The learned model, as `raster.RasterModel`. planes: (1 or 3, H, W), uint8 or uint16."""

    def encode(self, planes: Pixels, depth: int) -> bytes: ...

    def decode(self, data: bytes, channels: int, height: int, width: int, depth: int) -> Pixels: ...

    def bits(self, planes: Pixels, depth: int) -> float: ...

    def encode_deep(self, planes: Pixels, level: int) -> bytes: ...

    def decode_deep(self, data: bytes, channels: int, height: int, width: int) -> Pixels: ...

    def deep_bits(self, planes: Pixels, level: int) -> float: ...


def encode_stripe(model: Raster, pixels: Pixels) -> bytes:
    """(H, W, C), C = 1 to 4 and uint8, or C = 1 and uint16, by the method that gives the fewest bytes."""
    if (pixels == pixels[0, 0]).all():
        return encode_flat(pixels[0, 0])
    if pixels.shape[2] >= 3 and (pixels[:, :, :1] == pixels[:, :, 1:3]).all():
        # drop red and green: what is left is gray, with alpha if there was any
        return bytes([GRAY]) + encode_stripe(model, pixels[:, :, 2:])
    best = bytes([RAW]) + pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    try_model, try_drawing = _promising(model, pixels)
    if try_drawing:
        best = shorter(best, PALETTE, encode_palette(pixels, len(best) - 2))
        if best[0] != PALETTE:
            best = shorter(best, DRAWING, encode_drawing(pixels, len(best) - 2))
        best = shorter(best, FILTERED, encode_filtered(pixels, len(best) - 2))
    if try_model:
        if pixels.shape[2] in (2, 4):
            colours = encode_stripe(model, pixels[:, :, :-1])
            alpha = encode_stripe(model, pixels[:, :, -1:])
            best = shorter(best, SPLIT, encode_varint(len(colours)) + colours + alpha)
        else:
            best = shorter(best, RASTER, _encode_raster(model, pixels))
    return best


def stripe_bits(model: Raster, pixels: Pixels) -> float:
    """What the model gives to a stripe that it codes; where another method codes it, the bits of that."""
    data = encode_stripe(model, pixels)
    if data[0] == GRAY:
        return 8 + stripe_bits(model, pixels[:, :, 2:])
    if data[0] == SPLIT:
        colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
        return 8 + 8 * len(encode_varint(len(data))) + stripe_bits(model, colours) + stripe_bits(model, alpha)
    if data[0] == RASTER:
        return 8 + model.bits(np.ascontiguousarray(pixels.transpose(2, 0, 1)), 8 * pixels.itemsize)
    return 8 * len(data)


def encode_flat(colour: Pixels) -> bytes:
    """A stripe of any size that has only one colour (C)."""
    gray = len(colour) >= 3 and bool((colour[:1] == colour[1:3]).all())
    table = bytes_of(colour[None, None, 2 if gray else 0 :])[0]
    return (bytes([GRAY]) if gray else b"") + bytes([PALETTE]) + _encode_table(table)


def decode_stripe(model: Raster, data: bytes, height: int, width: int, channels: int, depth: int) -> Pixels:
    """The mirror of `encode_stripe`: (height, width, channels), uint8 or (depth 16) uint16.

    Memory and sizes are the caller's to check. Raises DamagedError.
    """
    try:
        return _decode(model, data, height, width, channels, depth)
    except (CodingError, DecodeError) as error:
        raise DamagedError(f"a stripe of the image is damaged: {error}") from None


def work_bytes(data: bytes, height: int, width: int) -> int:
    """An upper bound of the memory that `decode_stripe` takes for a stripe, beside its result."""
    data = data.removeprefix(bytes([GRAY]))
    one_colour = data.startswith(bytes([PALETTE, 0]))
    pixel, column, fixed = WORK_BYTES[RAW if not data or one_colour else min(data[0], SPLIT)]
    return pixel * height * width + column * width + fixed


def _promising(model: Raster, pixels: Pixels) -> tuple[bool, bool]:
    """Whether to try the model, and whether to try what drawings are coded with."""
    height, width, channels = pixels.shape
    share = drawn_share(pixels)
    if width > WIDEST:
        return False, True
    if height * width <= SEVERAL:
        return True, True
    if share >= IS_DRAWN:
        return False, True
    rows = max(8, SAMPLE // width)
    top = max(0, height - rows) // 2
    sample = pixels[top : top + rows]
    drawing = encode_drawing(sample, 2 * sample.nbytes)
    colours = sample if channels in (1, 3) else sample[:, :, :-1]
    learned = len(_encode_raster(model, colours)) * channels / colours.shape[2]
    # a long stripe is worth more to drawing, which learns as it goes, than its beginning tells
    better = drawing is not None and len(drawing) < learned
    much_better = drawing is not None and len(drawing) < 0.7 * learned
    return not (share >= LOOKS_DRAWN and much_better), better or share >= LOOKS_DRAWN


def shorter(best: bytes, method: int, data: bytes | None) -> bytes:
    return best if data is None or len(data) + 1 >= len(best) else bytes([method]) + data


def _decode(model: Raster, data: bytes, height: int, width: int, channels: int, depth: int) -> Pixels:
    if not data:
        raise DamagedError("it is empty")
    method, data = data[0], data[1:]
    if method == RAW:
        return _decode_raw(data, height, width, channels, depth)
    if method == RASTER and channels in (1, 3):
        planes = model.decode(data, channels, height, width, depth)
        return np.moveaxis(planes, 0, 2)
    if method == PALETTE:
        return _decode_palette(data, height, width, channels, depth)
    if method == DRAWING and (depth == 8 or channels == 1):
        symbols = graphics.decode(data, height, width, channels * depth // 8, 16 if depth == 16 else 0)
        return symbols if depth == 8 else symbols.view("<u2").astype(np.uint16)
    if method == FILTERED:
        return _decode_filtered(data, height, width, channels, depth)
    if method == SPLIT and channels in (2, 4):
        first, rest = _first_of(data)
        colours = _decode(model, first, height, width, channels - 1, depth)
        alpha = _decode(model, rest, height, width, 1, depth)
        return np.concatenate([colours, alpha], axis=2)
    if method == GRAY and channels in (3, 4):
        gray = _decode(model, data, height, width, channels - 2, depth)
        return np.concatenate([gray[:, :, :1], gray[:, :, :1], gray], axis=2)
    if depth == 16 and method == DEEP and channels in (1, 3):
        return np.moveaxis(model.decode_deep(data, channels, height, width), 0, 2)
    if depth == 16 and method == CHANNELS and channels == 3:
        return _decode_channels(model, data, height, width, channels)
    if depth == 16 and method == LISTED:
        return _decode_listed(model, data, height, width, channels)
    raise DamagedError(f"there is no method {method} for {channels} channels")


def _first_of(data: bytes) -> tuple[bytes, bytes]:
    """A stripe behind its length, and what follows it."""
    length, at = decode_varint(data)
    if length > len(data) - at:
        raise DamagedError("its colours end early")
    return data[at : at + length], data[at + length :]


# -- the methods --------------------------------------------------------------------------------------


def _decode_raw(data: bytes, height: int, width: int, channels: int, depth: int) -> Pixels:
    if len(data) != height * width * channels * depth // 8:
        raise DamagedError("it has another length than its pixels")
    samples = np.frombuffer(data, "<u2" if depth == 16 else np.uint8)
    return samples.astype(np.uint16 if depth == 16 else np.uint8).reshape(height, width, channels)


def _encode_raster(model: Raster, pixels: Pixels) -> bytes:
    planes = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    return model.encode(planes, 8 * pixels.itemsize)


def bytes_of(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """(H, W, C) to (H, W, bytes of a pixel), 16-bit samples the low byte first."""
    little = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<")))
    return little.view(np.uint8).reshape(*pixels.shape[:2], -1)


def encode_drawing(pixels: Pixels, most: int) -> bytes | None:
    return graphics.encode(bytes_of(pixels), 16 if pixels.itemsize == 2 else 0, most)


def encode_palette(pixels: Pixels, most: int) -> bytes | None:
    """None for more than 256 colours, or more than `most` bytes."""
    symbols = bytes_of(pixels)
    word = np.uint32 if symbols.shape[2] <= 4 else np.uint64
    keys = np.zeros(symbols.shape[:2], word)
    for c in range(symbols.shape[2]):
        keys = keys << word(8) | symbols[:, :, c]
    some = np.unique(keys.ravel()[:: max(1, keys.size // 4096)])
    if len(some) > 256:  # found at once for photos
        return None
    colours, index = np.unique(keys, return_inverse=True)
    if len(colours) > 256:
        return None
    table = colours.astype(colours.dtype.newbyteorder(">")).view(np.uint8).reshape(len(colours), -1)
    table = np.ascontiguousarray(table[:, -symbols.shape[2] :])
    packed = _encode_table(table)
    indices = index.reshape(*keys.shape, 1).astype(np.uint8)
    message = graphics.encode(indices, (len(colours) - 1).bit_length(), most - len(packed))
    return None if message is None else packed + message


def _decode_palette(data: bytes, height: int, width: int, channels: int, depth: int) -> Pixels:
    count = channels * depth // 8
    table, message = _decode_table(data, count)
    if len(table) == 1:
        if message:
            raise DamagedError("it holds more than its one colour")
        index = np.zeros((height, width), np.uint8)
    else:
        index = graphics.decode(message, height, width, 1, (len(table) - 1).bit_length())[:, :, 0]
        if int(index.max()) >= len(table):
            raise DamagedError("it has a colour that is not in its palette")
    symbols = table[index]
    return symbols if depth == 8 else np.ascontiguousarray(symbols).view("<u2").astype(np.uint16)


def _encode_table(table: npt.NDArray[np.uint8]) -> bytes:
    """(n, bytes of a colour), 1 <= n <= 256: n - 1, whether deflated, the colours (deflated: their differences)."""
    plain = table.tobytes()
    columns = np.diff(table, axis=0, prepend=np.zeros((1, table.shape[1]), np.uint8)).T
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = stream.compress(np.ascontiguousarray(columns).tobytes()) + stream.flush()
    short = len(deflated) + 2 < len(plain)
    count = bytes([len(table) - 1, short])
    return count + (encode_varint(len(deflated)) + deflated if short else plain)


def _decode_table(data: bytes, count: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """The colours (n, count), and the data behind them."""
    if len(data) < 2 or data[1] > 1:
        raise DamagedError("its palette is damaged")
    size, at = (data[0] + 1) * count, 2
    if data[1] == 0:
        if len(data) < at + size:
            raise DamagedError("its palette ends early")
        return np.frombuffer(data, np.uint8, size, at).reshape(-1, count), data[at + size :]
    length, at = decode_varint(data, at)
    stream = zlib.decompressobj(-15)
    try:
        raw = stream.decompress(data[at : at + length], size + 1)
    except zlib.error:
        raise DamagedError("its palette is damaged") from None
    if len(raw) != size or not stream.eof or stream.unused_data or length > len(data) - at:
        raise DamagedError("its palette does not have the length it should")
    columns = np.frombuffer(raw, np.uint8).reshape(count, -1)
    return np.cumsum(columns.T, axis=0, dtype=np.uint8), data[at + length :]


def encode_filtered(pixels: Pixels, most: int) -> bytes | None:
    """Rows as PNG filters them, or as they are, behind LZMA; None where `most` bytes are far away."""
    symbols = bytes_of(pixels)
    return filtered_rows.encode(symbols.reshape(len(symbols), -1), symbols.shape[2], most)


def _decode_filtered(data: bytes, height: int, width: int, channels: int, depth: int) -> Pixels:
    step = channels * depth // 8
    symbols = filtered_rows.decode(data, height, width * step, step).reshape(height, width, step)
    return symbols if depth == 8 else symbols.view("<u2").astype(np.uint16)


def _decode_channels(model: Raster, data: bytes, height: int, width: int, channels: int) -> Pixels:
    planes = []
    for _ in range(channels - 1):
        first, data = _first_of(data)
        planes.append(_decode(model, first, height, width, 1, 16))
    return np.concatenate([*planes, _decode(model, data, height, width, 1, 16)], axis=2)


def _decode_listed(model: Raster, data: bytes, height: int, width: int, channels: int) -> Pixels:
    if not data or data[0] not in (1, channels):
        raise DamagedError("it has a wrong number of lists of values")
    lists, at = [], 1
    for _ in range(data[0]):
        used, at = read_list(data, at)
        lists.append(used)
    if data[at : at + 1] == bytes([LISTED]):
        raise DamagedError("it has lists of values within lists")
    depth = 8 if max(map(len, lists)) <= 256 else 16
    ranks = _decode(model, data[at:], height, width, channels, depth)
    if len(lists) == 1:
        return values_of(ranks, lists[0])
    return np.dstack([values_of(ranks[:, :, c], used) for c, used in enumerate(lists)])
