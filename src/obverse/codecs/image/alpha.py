"""Alpha of an image of the transform: a plane of its own, without loss, or within an error.

    alpha ──┬─► differences of rows or columns ──► deflate ──► section "alpha"       ─┐
            └─► steps of 2 e + 1 or less ──► image-lossless ──► section "alpha-file" ─┴─► the shorter one

What is transparent and what is opaque stays so: steps divide 255, so that 0 and 255 are values of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from obverse.codecs.image.alternatives import lossless_codec
from obverse.codecs.image_lossless import METHOD as LOSSLESS
from obverse.container import Limits, read, write
from obverse.container.inflate import inflate
from obverse.data.images import Photo
from obverse.errors import DamagedError, DecodeError

DEFLATED, FILE = "alpha", "alpha-file"
STEPS = (1, 3, 5, 15, 17, 51, 85, 255)  # odd, so that they have a middle, and divisors of 255
SHORT = 256  # bytes: what is deflated to less is not worth another try


def pack_alpha(plane: np.ndarray | None, max_error: int = 0) -> dict[str, bytes]:
    """The section of (H, W) uint8, none without alpha. max_error: by how much decoded samples may differ, 0 to 127."""
    if plane is None:
        return {}
    deflated = {DEFLATED: pack_plane(plane)}
    if len(deflated[DEFLATED]) < SHORT:
        return deflated
    codec = lossless_codec()
    step = max(step for step in STEPS if step <= 2 * max_error + 1)
    coded = write(codec.encode(Photo(plane, None), codec.options(max_error=step // 2, limits=None)))
    return {FILE: coded} if len(coded) < len(deflated[DEFLATED]) else deflated


def unpack_alpha(sections: Mapping[str, bytes], height: int, width: int, limits: Limits) -> np.ndarray | None:
    """The inverse of `pack_alpha`, of what nobody vouches for; other sections are passed over.

    Raises:
        DamagedError: for what no encoder writes.
    """
    if FILE not in sections:
        return unpack_plane(sections[DEFLATED], height, width) if DEFLATED in sections else None
    if DEFLATED in sections:
        raise DamagedError("the image has two alpha channels")
    try:
        coded = read(sections[FILE], limits)
    except DecodeError as error:
        raise DamagedError(f"the alpha channel is damaged: {error}") from error
    if coded.codec != LOSSLESS.id or coded.shape != (height, width):
        raise DamagedError("the alpha channel is of another size or kind than its image")
    found = lossless_codec().decode_photo(coded, limits)
    if found.alpha is not None or found.pixels.dtype != np.uint8 or found.pixels.ndim != 2:
        raise DamagedError("the alpha channel is of another kind than its image")
    return found.pixels


def pack_plane(plane: np.ndarray) -> bytes:
    """(H, W) uint8, deflated after whichever of three row filters is shortest; its number comes first."""
    up = np.diff(plane, axis=0, prepend=np.uint8(0))
    left = np.diff(plane, axis=1, prepend=np.uint8(0))
    return min((bytes([i]) + zlib.compress(p.tobytes(), 9) for i, p in enumerate((plane, up, left))), key=len)


def unpack_plane(data: bytes, height: int, width: int) -> np.ndarray:
    """The inverse of `pack_plane`."""
    raw = inflate(data[1:], height * width)
    if len(raw) != height * width or data[0] > 2:
        raise DamagedError("the alpha channel is damaged")
    plane = np.frombuffer(raw, np.uint8).reshape(height, width)
    return plane.copy() if data[0] == 0 else np.cumsum(plane, axis=data[0] - 1, dtype=np.uint8)
