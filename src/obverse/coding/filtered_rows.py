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
    properties = _properties(step)
    choices = [filter_rows(rows, step, adaptive).tobytes() for adaptive in (True, False)]
    tried = [_compress(raw, properties, QUICK) for raw in choices]
    quick = min((0, 1), key=lambda i: len(tried[i]))
    if len(tried[quick]) > 1.5 * most + 200:
        return None
    return bytes([properties]) + _compress(choices[quick], properties, THOROUGH)


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
    size = height * (width + 1)
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
    rows = unfilter_rows(np.frombuffer(raw, np.uint8).reshape(height, width + 1), step)
    if rows is None:
        raise DamagedError("it has a row filter that there is not")
    return rows


def _properties(step: int) -> int:
    """LZMA's, (pb * 5 + lp) * 9 + lc: samples of 2, 4 or 8 bytes begin at multiples of that, 1 and 3 have no rhythm."""
    rhythm = {2: 1, 4: 2, 8: 3}.get(step, 0)
    return (rhythm * 5 + rhythm) * 9 + 4 - rhythm


def _compress(raw: bytes, properties: int, preset: int) -> bytes:
    return lzma.compress(raw, lzma.FORMAT_RAW, filters=_filters(properties, len(raw), preset))


def _filters(properties: int, size: int, preset: int) -> list[dict[str, int]]:
    """LZMA2 with these properties, and a dictionary as large as the data."""
    dictionary = 1 << min(30, max(12, size.bit_length()))
    return [
        {
            "id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": dictionary,
            "lc": properties % 9, "lp": properties // 9 % 5, "pb": properties // 45,
        }
    ]  # fmt: skip
