"""Networks over large images, window by window, with the result of the whole.

Convolutions see a finite neighbourhood, the halo. A window that is computed with its halo and then cut
to its core equals the whole-image result; at the edge of the image the window ends where the image
does, so that zero padding is the same too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A part of an image, as slices of (rows, columns).

    Attributes:
        core: what is to be kept.
        padded: core plus halo, within the image.
        inside: where the core lies within `padded`.
    """

    core: tuple[slice, slice]
    padded: tuple[slice, slice]
    inside: tuple[slice, slice]


def windows(height: int, width: int, size: int, halo: int) -> Iterator[Window]:
    """Cut (height, width) into windows of `size`; one window alone if the whole is at most 5/4 of that."""

    def cuts(length: int) -> list[tuple[slice, slice, slice]]:
        step = length if length <= size + size // 4 else size
        parts = []
        for start in range(0, length, step):
            end = min(start + step, length)
            first, last = max(0, start - halo), min(length, end + halo)
            parts.append((slice(start, end), slice(first, last), slice(start - first, end - first)))
        return parts

    for core_y, padded_y, inside_y in cuts(height):
        for core_x, padded_x, inside_x in cuts(width):
            yield Window((core_y, core_x), (padded_y, padded_x), (inside_y, inside_x))


def scaled(part: tuple[slice, slice], numerator: int, denominator: int = 1) -> tuple[slice, slice]:
    """The same region on a grid that is numerator / denominator as fine."""
    scale: Callable[[int], int] = lambda v: v * numerator // denominator  # noqa: E731
    rows, columns = part
    return (
        slice(scale(rows.start), scale(rows.stop)),
        slice(scale(columns.start), scale(columns.stop)),
    )
