"""What reading and writing a file may take is looked at before it is read or written: where the limits are known.

with loading_within(limits):
    photo = read_photo(path)            LimitError for what would take more
    data = write_photo(photo, "x.png")  likewise
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from obverse.container.limits import Limits

if TYPE_CHECKING:  # imported by those who call
    from PIL import Image

_LIMITS: ContextVar[Limits | None] = ContextVar("limits", default=None)
_WIDE = {"I": 4, "F": 4}  # bytes of a sample; others have 1, those of 16 bits 2


@contextmanager
def loading_within(limits: Limits | None) -> Iterator[None]:
    """What is read and written within is refused where it takes more than these limits; None for no limits."""
    before = _LIMITS.set(limits)
    try:
        yield
    finally:
        _LIMITS.reset(before)


def limits_in(options: Any) -> Limits | None:
    """Those that a codec's options say, or the usual ones; None where the codec has none."""
    return Limits.of(options.limits) if hasattr(options, "limits") else None


def is_limited() -> bool:
    """Whether limits are known here."""
    return _LIMITS.get() is not None


def check_held(count: int) -> None:
    """Check a number of bytes that reading or writing a file is to hold.

    Args:
        count: all that is held at once, of the data too.

    Raises:
        LimitError: where that is more than the limits allow.
    """
    if (limits := _LIMITS.get()) is not None:
        limits.check_memory(count)


def check_header(image: Image.Image) -> None:
    """Check an image that was opened and not decoded.

    Raises:
        LimitError: for one that has more pixels, or takes more memory, than the limits allow.
    """
    if (limits := _LIMITS.get()) is None:
        return
    from obverse.data.deep_images import is_deep_file  # this file is light to import

    pixels = image.width * image.height
    limits.check_pixels(pixels)
    # of 16 bits in colour, which Pillow cuts to 8, all are read beside what it keeps
    sample = 3 if is_deep_file(image) else 2 if image.mode.startswith("I;16") else _WIDE.get(image.mode, 1)
    limits.check_memory(pixels * len(image.getbands()) * sample)
