"""What device and server say to one another, over any stream of bytes.

    device ──► "OBSP", version 1, fingerprint (8 bytes)          once; the server answers with an empty frame
    device ──► frame: a payload                                  for each image
    server ──► frame: microseconds that it took (4 bytes),       for each payload
                      logits (float32); all little-endian
    server ──► frame of which the length's highest bit is set    a sentence that says what was wrong; then it hangs up

A frame is its length in 4 bytes, little-endian, and so many bytes. Neither side reads a frame longer than it expects.
"""

from __future__ import annotations

import asyncio

HELLO = b"OBSP\x01"
FAULT = 1 << 31
LONGEST_FAULT = 1000  # bytes
PATIENCE = 60.0  # seconds that a side may be silent


class ProtocolError(Exception):
    """The other side said something else than the protocol allows, or hung up."""


class Farewell(ProtocolError):
    """The other side hung up where nothing had begun."""


async def read_exactly(reader: asyncio.StreamReader, count: int) -> bytes:
    """So many bytes. Raises ProtocolError."""
    try:
        return await asyncio.wait_for(reader.readexactly(count), PATIENCE)
    except TimeoutError:
        raise ProtocolError(f"nothing came for {PATIENCE:.0f} seconds") from None
    except asyncio.IncompleteReadError as error:
        kind = ProtocolError if error.partial else Farewell
        raise kind("the other side hung up") from None
    except ConnectionError:
        raise ProtocolError("the connection broke") from None


async def read_frame(reader: asyncio.StreamReader, longest: int) -> bytes:
    """The bytes of a frame. Raises ProtocolError for one that is too long, or that tells of a fault."""
    length = int.from_bytes(await read_exactly(reader, 4), "little")
    if length & FAULT:
        sentence = await read_exactly(reader, min(length ^ FAULT, LONGEST_FAULT))
        text = "".join(c for c in sentence.decode(errors="replace") if c.isprintable())  # no terminal codes
        raise ProtocolError(f"the other side says: {text}")
    if length > longest:
        raise ProtocolError(f"a frame of {length} bytes, where at most {longest} are expected")
    return await read_exactly(reader, length)


def frame(data: bytes) -> bytes:
    """The bytes of a frame."""
    return len(data).to_bytes(4, "little") + data


def fault(sentence: str) -> bytes:
    """The bytes of a frame that says what was wrong."""
    data = sentence.encode()[:LONGEST_FAULT]
    return (len(data) | FAULT).to_bytes(4, "little") + data
