"""How large a file may be before reading it is refused: a guard against hostile or damaged files."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

from obverse.errors import LimitError, OptionError


@dataclass(frozen=True)
class Limits:
    """What a reader accepts. Raise one limit with e.g. `Limits(pixels=2**30)`.

    Attributes:
        pixels: height times width of a decoded image (default 2**28, about 268 megapixels).
        items: items in a stream of items (default 2**24).
        memory: bytes of payload held at once (default 4 GiB).
        header: bytes of the header (default 1 MiB).

    Raises:
        OptionError: for what is no whole number of at least 0.
    """

    pixels: int = 2**28
    items: int = 2**24
    memory: int = 4 * 2**30
    header: int = 2**20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
                raise OptionError(f"Limits: {name} must be a whole number of at least 0, not {value!r}")

    @classmethod
    def of(cls, given: Limits | None) -> Limits:
        """Those that are given, or where that is None, the usual ones.

        Raises:
            OptionError: for what are no limits.
        """
        if given is not None and not isinstance(given, Limits):
            raise OptionError(
                f"limits must be an obverse.Limits, such as Limits(memory=10**9), not {given!r}"
            )
        return cls() if given is None else given

    @classmethod
    def unlimited(cls) -> Limits:
        """No limit but what the file really holds. Only for files that you trust."""
        most = 2**63 - 1
        return cls(pixels=most, items=most, memory=most, header=most)

    def check_pixels(self, count: int) -> None:
        """Check a number of pixels.

        Raises:
            LimitError: when `count` pixels are more than allowed.
        """
        _check("pixels", count, self.pixels, "pixels")

    def check_shape(self, shape: Sequence[int]) -> None:
        """Check the shape of an array.

        Raises:
            LimitError: when an array of this shape has more elements than `pixels` allows.
        """
        self.check_pixels(math.prod(shape))

    def check_items(self, count: int) -> None:
        """Check a number of items.

        Raises:
            LimitError: when `count` items are more than allowed.
        """
        _check("items", count, self.items, "items")

    def check_memory(self, count: int) -> None:
        """Check a number of bytes that are to be held.

        Raises:
            LimitError: when holding `count` bytes is more than allowed.
        """
        _check("memory", count, self.memory, "bytes of memory")

    def check_header(self, count: int) -> None:
        """Check the length of a header.

        Raises:
            LimitError: when a header of `count` bytes is longer than allowed.
        """
        _check("header", count, self.header, "bytes of header")


def _check(limit: str, count: int, allowed: int, unit: str) -> None:
    if count > allowed:
        raise LimitError(
            f"this takes {count:,} {unit}, more than the limit of {allowed:,}; "
            f"if you trust the data, raise the limit with limits=Limits({limit}={count})"
            f"{' (--memory)' if limit == 'memory' else ''}"
        )
