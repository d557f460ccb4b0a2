"""Stripes of colours of 16 bits, or of gray with alpha: what is tried, and what a sample decides.

    pixels ──► ranks among the values that occur, where they are few ──► 256 or fewer: a stripe of 8 bits
                        │ or the values themselves
                        ├─► model of three channels at once
                        ├─► each channel by itself    noise that the channels do not share
                        └─► palette, filtered rows, drawing

The model learned from 8 bits. All that it is told of a pixel is in units of the errors around, so that 16 bits look the
same; how large the errors are by themselves does not, and is told less a `level`, which the sample chooses.
"""

from __future__ import annotations

import numpy as np

from obverse.codecs.image_lossless import methods
from obverse.codecs.image_lossless.context import logarithm
from obverse.codecs.image_lossless.looks import LOOKS_DRAWN, drawn_share
from obverse.codecs.image_lossless.methods import Pixels, Raster
from obverse.codecs.image_lossless.raster import LEVELS
from obverse.codecs.image_lossless.value_lists import pack_list, ranks_of
from obverse.container.varint import encode_varint

SAMPLE = 12_288  # pixels of the sample that decides; the model costs a microsecond for each of their channels
STEP = 4  # between the levels that are tried
GAPS = 0.8  # values are listed where at most this share of those between the least and the largest occurs


def encode_stripe(model: Raster, pixels: Pixels, listed: bool = False) -> bytes:
    """(H, W, C) uint16, C = 1 to 4, by the method that gives the fewest bytes.

    listed: whether these are ranks, among which lists are not looked for again.
    """
    if (pixels == pixels[0, 0]).all():
        return methods.encode_flat(pixels[0, 0])
    channels = pixels.shape[2]
    if channels >= 3 and (pixels[:, :, :1] == pixels[:, :, 1:3]).all():
        return bytes([methods.GRAY]) + encode_stripe(model, pixels[:, :, 2:], listed)
    best = bytes([methods.RAW]) + pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    share = drawn_share(pixels)
    small = pixels.shape[0] * pixels.shape[1] <= methods.SEVERAL
    wide = pixels.shape[1] > methods.WIDEST
    if not listed and (few := _few_values(model, pixels)) and len(few) < len(best):
        best = few
        if not small:
            return best
    if small or wide or share >= LOOKS_DRAWN:
        best = methods.shorter(best, methods.PALETTE, methods.encode_palette(pixels, len(best) - 2))
        if channels == 1:
            best = methods.shorter(best, methods.DRAWING, methods.encode_drawing(pixels, len(best) - 2))
        best = methods.shorter(best, methods.FILTERED, methods.encode_filtered(pixels, len(best) - 2))
    if channels in (2, 4):
        colours = encode_stripe(model, pixels[:, :, :-1], listed)
        alpha = encode_stripe(model, pixels[:, :, -1:], listed)
        return methods.shorter(best, methods.SPLIT, encode_varint(len(colours)) + colours + alpha)

    learned = not wide and (small or share < methods.IS_DRAWN)
    level, bits = _best_level(model, _sample(pixels)) if learned else (0, np.inf)
    if channels == 3 and (not learned or _bits_apart(model, _sample(pixels), level) < bits):
        return methods.shorter(best, methods.CHANNELS, _encode_channels(model, pixels, listed))
    if learned:
        best = methods.shorter(best, methods.DEEP, model.encode_deep(_planes(pixels), level))
    return best


def stripe_bits(model: Raster, pixels: Pixels) -> float:
    """What the model gives to a stripe that it codes; where another method codes it, the bits of that."""
    return _bits_of(model, encode_stripe(model, pixels), pixels)


def _bits_of(model: Raster, data: bytes, pixels: Pixels) -> float:
    """The same of the stripe's bytes and pixels."""
    if data[0] == methods.DEEP:
        return 8 + model.deep_bits(_planes(pixels), data[1])
    return 8.0 * len(data)


def _planes(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0))


def _sample(pixels: Pixels) -> Pixels:
    """The middle: whole rows, or parts of at least eight."""
    columns = min(pixels.shape[1], SAMPLE // 8)
    rows = min(pixels.shape[0], SAMPLE // columns)
    top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    return pixels[top : top + rows, left : left + columns]


def _encode_channels(model: Raster, pixels: Pixels, listed: bool) -> bytes:
    """Three stripes, all but the last behind their lengths."""
    red, green, blue = (encode_stripe(model, pixels[:, :, c : c + 1], listed) for c in range(3))
    return encode_varint(len(red)) + red + encode_varint(len(green)) + green + blue


# -- what the sample decides ----------------------------------------------------------------------------------


def _usual_level(pixels: Pixels) -> int:
    """Where to begin: the activity of the errors of a plane through W, N and NW, by their median."""
    values = pixels.astype(np.int64)
    if min(values.shape[:2]) < 2:
        return LEVELS.start
    errors = np.abs(values[1:, 1:] - values[1:, :-1] - values[:-1, 1:] + values[:-1, :-1])
    level = logarithm(64 + 256 * int(np.median(errors))) - 3
    return _bounded(level - level % STEP)


def _bounded(level: int) -> int:
    return min(max(level, LEVELS.start), LEVELS.stop - 1)


def _best_level(model: Raster, sample: Pixels, first: int | None = None) -> tuple[int, float]:
    """The level from which no step leads down, and the bits of the sample there."""
    planes = _planes(sample)
    at = _usual_level(sample) if first is None else first
    least = model.deep_bits(planes, at)
    for step in (-STEP, STEP):
        while (level := _bounded(at + step)) != at:
            bits = model.deep_bits(planes, level)
            if bits >= least:
                break
            at, least = level, bits
    return at, least


def _bits_apart(model: Raster, sample: Pixels, level: int) -> float:
    """Of the three channels, each by itself."""
    return sum(_best_level(model, sample[:, :, c : c + 1], level)[1] for c in range(3))


# -- values that are few --------------------------------------------------------------------------------------


def _few_values(model: Raster, pixels: Pixels) -> bytes | None:
    """The stripe as ranks among the values that occur, in one list or one for each channel; None if that is no gain.

    Ranks of alpha and colours together are worth it only where they are then 8 bits.
    """
    channels = pixels.shape[2]
    used = [np.unique(pixels[:, :, c]) for c in range(channels)]
    together = np.unique(np.concatenate(used))
    choices = [[together]] if channels == 1 else [[together], used]
    short = [lists for lists in choices if max(map(len, lists)) <= 256]
    if short:
        lists = min(short, key=lambda lists: sum(len(pack_list(one)) for one in lists))
        return _front(lists) + methods.encode_stripe(model, _ranked(pixels, lists).astype(np.uint8))
    if channels in (2, 4) or pixels.shape[1] > methods.WIDEST:
        return None
    gaps = [
        lists
        for lists in choices
        if any(len(one) <= GAPS * (int(one[-1]) - int(one[0]) + 1) for one in lists)
    ]
    if not gaps:
        return None
    sample = _sample(pixels)
    stripe = pixels.size / sample.size

    def bits(shown: Pixels) -> float:
        level, together = _best_level(model, shown)
        return min(together, _bits_apart(model, shown, level)) if channels == 3 else together

    least, best = stripe * bits(sample), None
    for lists in gaps:
        total = 8 * len(_front(lists)) + stripe * bits(_ranked(sample, lists))
        if total < least:
            least, best = total, lists
    if best is None:
        return None
    return _front(best) + encode_stripe(model, _ranked(pixels, best), listed=True)


def _front(lists: list[np.ndarray]) -> bytes:
    return bytes([methods.LISTED, len(lists)]) + b"".join(map(pack_list, lists))


def _ranked(pixels: Pixels, lists: list[np.ndarray]) -> Pixels:
    if len(lists) == 1:
        return ranks_of(pixels, lists[0]).astype(np.uint16)
    planes = [ranks_of(pixels[:, :, c], one) for c, one in enumerate(lists)]
    return np.dstack(planes).astype(np.uint16)
