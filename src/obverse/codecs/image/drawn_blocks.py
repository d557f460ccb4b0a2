"""An image that is photo here and drawing there: blocks of each, each coded by what suits it.

    image ──► drawn? ──┬─► blocks that are, side by side ──► image-lossless ──────────────► section "blocks"
                       └─► the others, smooth where the drawn ones were ──► transform ────► section "y"

The decoder decodes both and puts the blocks over the other. The section holds one zlib stream of the mask, a bit a
block, how many blocks lie side by side, and a file of `image-lossless`.
"""

from __future__ import annotations

import zlib

import numpy as np

from obverse.codecs.image_lossless import METHOD as LOSSLESS
from obverse.container import Container, Limits, read, write
from obverse.container.inflate import inflate
from obverse.data.images import Photo
from obverse.errors import DamagedError, DecodeError

SECTION = "blocks"
SIDE = 32  # pixels of a block
DRAWN = 0.55  # from this share of pixels on that are equal to the one to the left or above, a block is drawn
FLAT = 0.97  # from this share on that are equal to both, it is like its surroundings, whatever they are
LEAST = 0.03  # of blocks: fewer drawn ones, or fewer others, are not worth a second stream
MOST_SIDE = 4096  # blocks that lie side by side


def drawn_blocks(left: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Which blocks look drawn.

    Args:
        left: (H, W) bool, which pixels are equal to the one to the left.
        above: likewise to the one above.

    Returns:
        (rows, columns) bool, of blocks; those at the ends may be cut.
    """
    any_, both = left | above, left & above
    both[:, 0], both[0] = above[:, 0], left[0]  # at the borders one neighbour decides
    flat = _shares(both) >= FLAT
    drawn = (_shares(any_) >= DRAWN) & ~flat
    for _ in range(int(np.ceil(np.hypot(*drawn.shape)))):  # flat blocks go with the drawing that they touch
        grown = np.pad(drawn, 1)
        touched = grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
        more = flat & touched & ~drawn
        if not more.any():
            break
        drawn |= more
    return drawn


def _shares(chosen: np.ndarray) -> np.ndarray:
    """(H, W) bool -> (rows, columns): the share of the pixels of each block."""
    rows, columns = (np.arange(0, length, SIDE) for length in chosen.shape)
    counts = np.add.reduceat(chosen, rows, axis=0, dtype=np.uint8)  # SIDE at most
    found = np.add.reduceat(counts, columns, axis=1, dtype=np.int32)
    sizes = (np.diff([*starts, length]) for starts, length in zip((rows, columns), chosen.shape, strict=True))
    return np.asarray(found / np.multiply.outer(*sizes))


def worth_mixing(drawn: np.ndarray) -> bool:
    """Whether there are enough blocks of both kinds."""
    return bool(LEAST <= drawn.mean() <= 1 - LEAST)


def blocks_of(plane: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(H, W, ...) -> (rows, columns, side, side, ...); the last row and column are repeated."""
    height, width = plane.shape[:2]
    margins = [(0, -height % side), (0, -width % side)] + [(0, 0)] * (plane.ndim - 2)
    padded = np.pad(plane, margins, mode="edge")
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    return padded.reshape(rows, side, columns, side, *plane.shape[2:]).swapaxes(1, 2)


def side_by_side(pixels: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The drawn blocks as one image, as many in a row as most rows of the image have; the last ones repeat the last."""
    chosen = blocks_of(pixels)[drawn]
    counts = drawn.sum(axis=1)
    across = min(int(np.bincount(counts[counts > 0]).argmax()), MOST_SIDE)
    missing = -len(chosen) % across
    chosen = np.concatenate([chosen, np.repeat(chosen[-1:], missing, axis=0)])
    grid = chosen.reshape(-1, across, *chosen.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(grid.shape[0] * SIDE, across * SIDE, *pixels.shape[2:]))


def put_back(pixels: np.ndarray, drawn: np.ndarray, together: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The image with the drawn blocks of `side_by_side` over it. side: of a block, of a preview less."""
    height, width = pixels.shape[:2]
    blocks = blocks_of(pixels, side).copy()
    found = blocks_of(together, side).reshape(-1, *blocks.shape[2:])
    blocks[drawn] = found[: int(drawn.sum())]
    whole = blocks.swapaxes(1, 2).reshape(blocks.shape[0] * side, blocks.shape[1] * side, *pixels.shape[2:])
    return np.ascontiguousarray(whole[:height, :width])


def smooth_where(pixels: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The image with what is around in place of the drawn blocks: means of halves of halves of its size."""
    height, width = pixels.shape[:2]
    planes = (pixels if pixels.ndim == 3 else pixels[:, :, None]).astype(np.float32)
    here = np.repeat(np.repeat(~drawn, SIDE, axis=0), SIDE, axis=1)[:height, :width]
    filled = _fill(planes, here.astype(np.float32)[:, :, None])
    mixed = np.where(here[:, :, None], planes, filled)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8).reshape(pixels.shape)


def _fill(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted means of 2x2 values, filled in themselves where there is no weight, brought back to this size."""
    if min(values.shape[:2]) < 2:
        return np.broadcast_to((values * weight).sum((0, 1)) / max(float(weight.sum()), 1e-6), values.shape)
    height, width = values.shape[:2]
    margins = ((0, height % 2), (0, width % 2), (0, 0))

    def halved(plane: np.ndarray) -> np.ndarray:
        padded = np.pad(plane, margins)
        return padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, -1).sum((1, 3))

    small = halved(weight)
    means = halved(values * weight) / np.maximum(small, 1e-6)
    means = np.where(small > 0, means, _fill(means, np.minimum(small, 1)))
    return np.repeat(np.repeat(means, 2, axis=0), 2, axis=1)[:height, :width]


def pack(drawn: np.ndarray, together: Container) -> bytes:
    """The section."""
    across = int(together.shape[1]) // SIDE
    mask = zlib.compress(across.to_bytes(2, "little") + np.packbits(drawn).tobytes(), 9)
    return len(mask).to_bytes(4, "little") + mask + write(together)


def unpack(section: bytes, height: int, width: int, limits: Limits) -> tuple[np.ndarray, Container]:
    """The inverse of `pack`, of what nobody vouches for: the mask, and the file of the blocks.

    Raises:
        DamagedError: for what no encoder writes.
    """
    rows, columns = -(-height // SIDE), -(-width // SIDE)
    most = 2 + -(-rows * columns // 8)
    length = int.from_bytes(section[:4], "little")
    raw = inflate(section[4 : 4 + length], most)
    if len(section) < 4 + length or len(raw) != most:
        raise DamagedError("the blocks of the image are damaged")
    across = int.from_bytes(raw[:2], "little")
    drawn = np.unpackbits(np.frombuffer(raw[2:], np.uint8), count=rows * columns).astype(bool)
    count = int(drawn.sum())
    if not count or not 1 <= across <= min(columns, MOST_SIDE):
        raise DamagedError("the blocks of the image are damaged")
    try:
        together = read(section[4 + length :], limits)
    except DecodeError as error:
        raise DamagedError(f"the blocks of the image are damaged: {error}") from error
    size = (-(-count // across) * SIDE, across * SIDE)
    if together.codec != LOSSLESS.id or tuple(together.shape[:2]) != size:
        raise DamagedError("the blocks of the image are of another size or kind")
    return drawn.reshape(rows, columns), together


def check_blocks(photo: Photo, channels: int) -> np.ndarray:
    """The pixels of the blocks, once decoded. Raises DamagedError where they are of another kind than the image's."""
    if (
        photo.alpha is not None
        or photo.pixels.dtype != np.uint8
        or (photo.pixels.ndim == 2) != (channels == 1)
    ):
        raise DamagedError("the blocks of the image are of another kind than it")
    return photo.pixels
