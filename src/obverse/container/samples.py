"""The checksum of decoded data: whether what a decoder made is what the encoder was given.

The checksums of sections find a damaged file. This one finds a decoder, or an encoder, that computes something else
than it should; FLAC has one for the same reason. Codecs without loss write it.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from obverse.container.format import Container
from obverse.errors import DamagedError

if TYPE_CHECKING:
    import numpy.typing as npt

AT_ONCE = 2**24  # bytes that are copied at once, where the array does not lie in memory as it is read


def samples_checksum(data: npt.NDArray[Any]) -> int:
    """CRC-32 of an array's values in C order, each with its lowest byte first."""
    checksum = 0
    rows = data.reshape(1) if data.ndim == 0 else data
    step = max(1, AT_ONCE * len(rows) // max(1, rows.nbytes))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        big = part.dtype.byteorder == ">" or (part.dtype.byteorder == "=" and sys.byteorder == "big")
        ordered = part.astype(part.dtype.newbyteorder("<")) if big else part
        checksum = zlib.crc32(ordered.tobytes(), checksum)
    return checksum


def with_samples(container: Container, data: npt.NDArray[Any]) -> Container:
    """The container with the checksum of what it decodes to."""
    return replace(container, version=2, samples=samples_checksum(data))


def check_samples(container: Container, data: npt.NDArray[Any]) -> None:
    """Compare what was decoded with the checksum in the file, where there is one.

    Raises:
        DamagedError: where they differ.
    """
    if container.samples is not None and container.samples != samples_checksum(data):
        raise DamagedError(
            "what was decoded is not what was compressed: its checksum differs. The file is whole, so the machine that "
            "wrote it, or this one, computes something else than it should; decode it on another one"
        )
