"""Meet a number of bytes: the highest quality whose file is not larger."""

from __future__ import annotations

import math
from collections.abc import Callable

from obverse.container import Container, write
from obverse.errors import InputError, RateTargetError

CLOSE = 0.99  # good enough: within 1 % of the target, from below
AIM = 0.997  # of the target: what refined files aim at, whose size is not known before
CLOSE_REFINED = 0.98  # good enough for them
SAVED = 0.96  # bytes of a refined file relative to the plain one of its level, before any is known
TRIES = 4  # refined files, each of which takes long


def highest_level(encode: Callable[[int], Container], max_bytes: int, levels: int) -> Container:
    """The container of the highest level 0..levels that makes at most `max_bytes` bytes.

    The logarithm of the size is close to linear in the level, so regula falsi with bisection as its guard
    needs about five encodings. Stops early within 1 % of the target. Raises RateTargetError when even
    level 0 is larger.
    """
    if max_bytes < 1:
        raise InputError(f"max_bytes must be at least 1, not {max_bytes}")
    best = encode(0)
    low, low_size = 0, len(write(best))
    if low_size > max_bytes:
        raise RateTargetError(
            f"the smallest file of this image has {low_size} bytes, more than the {max_bytes} allowed: "
            "allow more, or reduce the image first"
        )
    top = encode(levels)
    high, high_size = levels, len(write(top))
    if high_size <= max_bytes:
        return top
    guess_by_slope = True
    while high - low > 1 and low_size < CLOSE * max_bytes:
        middle = (low + high) // 2
        if guess_by_slope and high_size > low_size:
            # aim a little below the target: only files from below count
            share = math.log(0.996 * max_bytes / low_size) / math.log(high_size / low_size)
            middle = min(max(low + round(share * (high - low)), low + 1), high - 1)
        container = encode(middle)
        size = len(write(container))
        previous = high - low
        if size <= max_bytes:
            low, low_size, best = middle, size, container
        else:
            high, high_size = middle, size
        guess_by_slope = high - low < 0.6 * previous or not guess_by_slope
    return best


def highest_refined_level(
    plain: Callable[[int], Container], refined: Callable[[int], Container], max_bytes: int, levels: int
) -> Container:
    """As `highest_level` for an encoder that takes long and whose files are smaller than those of a quick one.

    plain(level), refined(level): the two encoders. By how much refined files are smaller is learned from each one
    that is made, and the quick encoder finds the level that fits; rarely more than two are made. Returns the plain
    file of the target where no refined one fits. Raises RateTargetError where neither does at level 0.
    """
    if max_bytes < 1:
        raise InputError(f"max_bytes must be at least 1, not {max_bytes}")
    sizes: dict[int, Container] = {}

    def quick(level: int) -> Container:
        if level not in sizes:
            sizes[level] = plain(level)
        return sizes[level]

    try:
        fallback = highest_level(quick, max_bytes, levels)
    except RateTargetError:
        smallest = refined(0)
        if len(write(smallest)) > max_bytes:
            raise
        return smallest
    best, best_size, saved = fallback, 0, SAVED
    tried: set[int] = set()
    for _ in range(TRIES):
        try:
            start = highest_level(quick, max(1, int(AIM * max_bytes / saved)), levels)
        except RateTargetError:
            break
        level = next(level for level, made in sizes.items() if made is start)
        if level in tried:
            break
        tried.add(level)
        container = refined(level)
        size = len(write(container))
        if best_size < size <= max_bytes:
            best, best_size = container, size
        if size <= max_bytes and (size >= CLOSE_REFINED * max_bytes or level == levels):
            break
        saved = size / len(write(start))
    return best
