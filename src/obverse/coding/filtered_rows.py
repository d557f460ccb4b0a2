"""Rows of bytes without a model: PNG's row filters, or none, and raw LZMA2 behind them.

    rows ──► filter number and differences, row by row ──► LZMA2 ──► properties, stream

It knows nothing of the data but that rows resemble each other, so it is what remains where no model fits. LZMA finds
what repeats far apart.
"""

from __future__ import annotations

import lzma

import numpy as np
import numpy.typing as npt

from obverse.coding.row_filters import filter_rows, unfilter_rows
from obverse.errors import DamagedError

MOST = 2**26  # bytes: LZMA's encoder takes over 10 times its dictionary
QUICK, THOROUGH = 1, 9 | lzma.PRESET_EXTREME  # presets of LZMA
SAMPLE, BLOCKS = 1 << 16, 8  # bytes that an estimate looks at, and from how many places

Bytes = npt.NDArray[np.uint8]


def encode(rows: Bytes, step: int, most: int) -> bytes | None:
    """Properties and stream of the way, of two, that a quick try finds shorter.

    Args:
        rows: (H, N).
        step: bytes of a pixel.
        most: how many bytes would be of use.

    Returns:
        Any number of bytes; None where a quick try shows that `most` are far away, or for too many rows.
    """
    if rows.nbytes > MOST:
        return None
    choices = [filter_rows(rows, step, adaptive).tobytes() for adaptive in (True, False)]
    tried = [len(pack(raw, step, QUICK)) for raw in choices]
    quick = min((0, 1), key=lambda i: tried[i])
    if tried[quick] > 1.5 * most + 200:
        return None
    return pack(choices[quick], step)


def estimate(rows: Bytes, step: int) -> tuple[float, float]:
    """About how many bytes `encode` gives with PNG's filters, and `pack` of the rows as they are, from a sample.

    What it takes does not grow with the rows. Those that are there more than once count once, since LZMA finds them
    however far apart they are.

    Args:
        rows: (H, N).
        step: bytes of a pixel.
    """
    return _estimate(filter_rows(rows, step), step), _estimate(rows, step)


def decode(data: bytes, height: int, width: int, step: int) -> Bytes:
    """The mirror of `encode`, (height, width); takes no more memory than that, twice, and a dictionary of that size.

    Args:
        data: what `encode` gave.
        height: rows.
        width: bytes of a row.
        step: as for `encode`.

    Raises:
        DamagedError: for anything else.
    """
    raw = unpack(data, height * (width + 1))
    rows = unfilter_rows(np.frombuffer(raw, np.uint8).reshape(height, width + 1), step)
    if rows is None:
        raise DamagedError("it has a row filter that there is not")
    return rows


def pack(raw: bytes, step: int, preset: int = THOROUGH) -> bytes:
    """LZMA's properties and the stream of any bytes, of pixels of so many bytes."""
    properties = _properties(step)
    return bytes([properties]) + lzma.compress(
        raw, lzma.FORMAT_RAW, filters=_filters(properties, len(raw), preset)
    )


def unpack(data: bytes, size: int) -> bytes:
    """The so many bytes that `pack` was given; takes no more memory than they, and a dictionary of that size.

    Raises:
        DamagedError: for anything else.
    """
    if not data or data[0] >= 9 * 5 * 5 or data[0] % 9 + data[0] // 9 % 5 > 4:
        raise DamagedError("it has no valid LZMA properties")
    try:
        stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(data[0], size, QUICK))
        raw = stream.decompress(data[1:], size + 1)
        if len(raw) == size and not stream.eof:  # the end marker may still be ahead
            raw += stream.decompress(b"", 1)
    except (lzma.LZMAError, EOFError) as error:
        raise DamagedError(f"its LZMA stream is damaged: {error}") from None
    if len(raw) != size or not stream.eof or stream.unused_data:
        raise DamagedError("its LZMA stream does not have the length it should")
    return raw


def _estimate(rows: Bytes, step: int) -> float:
    distinct = list(dict.fromkeys(map(bytes, rows)))
    length = max(1, SAMPLE // BLOCKS // rows.shape[1])
    sample = distinct
    if len(distinct) > BLOCKS * length:
        starts = np.linspace(0, len(distinct) - length, BLOCKS).astype(int)
        sample = [row for start in starts for row in distinct[start : start + length]]
    return len(pack(b"".join(sample), step)) * len(distinct) / len(sample)


def _properties(step: int) -> int:
    """LZMA's, (pb * 5 + lp) * 9 + lc: samples of 2, 4 or 8 bytes begin at multiples of that, 1 and 3 have no rhythm."""
    rhythm = {2: 1, 4: 2, 8: 3}.get(step, 0)
    return (rhythm * 5 + rhythm) * 9 + 4 - rhythm


def _filters(properties: int, size: int, preset: int) -> list[dict[str, int]]:
    """LZMA2 with these properties, and a dictionary as large as the data."""
    dictionary = 1 << min(30, max(12, size.bit_length()))
    return [
        {
            "id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": dictionary,
            "lc": properties % 9, "lp": properties // 9 % 5, "pb": properties // 45,
        }
    ]  # fmt: skip
