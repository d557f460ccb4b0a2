"""The front of a file: magic, format version, header length, header, checksum."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, TypeAlias

from obverse.container import cbor
from obverse.container.limits import Limits
from obverse.container.source import Source
from obverse.container.varint import encode_varint
from obverse.errors import DamagedError, NewerVersionError, NotObverseError, TruncatedError

# The first byte is not ASCII, so no text file begins like this.
MAGIC = b"\x9bOBV"
VERSION = 2  # the newest; a file that needs nothing new is written as version 1
FINGERPRINT_BYTES = 8
_LENGTH_BYTES = 5  # of the header length, at most

CODEC, CONFIG, MODEL, SHAPE, NAMES, ITEMS, METADATA, SAMPLES = range(8)
KEYS = {1: frozenset(range(7)), 2: frozenset(range(8))}  # of the header, by format version
Fingerprint: TypeAlias = bytes


@dataclass(frozen=True)
class Header:
    """What the front of a file says.

    Attributes:
        codec: the codec id.
        config: the codec's own settings; keys are text or whole numbers from 0 to 23.
        shape: shape of the coded data; what the axes mean is up to the codec.
        section_names: one per section, in order; empty for a stream of items.
        model: fingerprint (8 bytes) of the model that wrote the file, None without a model.
        items: how many items a stream has; None when the file is not a stream of items.
        metadata: the user's own: text keys; text, int, float, bytes or bool values.
        version: of the format, 1 or 2.
        samples: checksum of the decoded data (samples.py), None where the file has none; from version 2 on.
        bytes: length of the front of the file in bytes, from the magic through the checksum.
    """

    codec: str
    config: dict[int | str, Any]
    shape: tuple[int, ...]
    section_names: tuple[str, ...]
    model: Fingerprint | None
    items: int | None
    metadata: dict[str, Any]
    version: int = 1
    samples: int | None = None
    bytes: int = 0


def pack_header(header: Header) -> bytes:
    """The front of the file (`header.bytes` is not used).

    Raises:
        ValueError: a field cannot be stored; the sentence names it.
    """
    fields: dict[int, Any] = {CODEC: header.codec, CONFIG: header.config, SHAPE: list(header.shape)}
    if header.model is not None:
        fields[MODEL] = header.model
    if header.section_names:
        fields[NAMES] = list(header.section_names)
    if header.items is not None:
        fields[ITEMS] = header.items
    if header.metadata:
        fields[METADATA] = header.metadata
    if header.samples is not None:
        fields[SAMPLES] = header.samples
    _from_fields(fields, header.version, 0)
    packed = cbor.pack(fields)
    front = MAGIC + bytes([header.version]) + encode_varint(len(packed)) + packed
    return front + zlib.crc32(front).to_bytes(4, "little")


def unpack_header(source: Source, limits: Limits) -> Header:
    """Read the front of a file.

    Raises:
        NotObverseError: not an .obv file.
        NewerVersionError: written by a newer format version.
        TruncatedError: the file ends within its front.
        DamagedError: a checksum or a field is wrong.
        LimitError: the header or the count of items is larger than `limits`.
    """
    front = source.read_at_most(len(MAGIC))
    if not front:
        raise NotObverseError(f"{source.name}: is empty, so it is not an .obv file")
    if not MAGIC.startswith(front):
        found = f"begins with the bytes {front.hex()}, not {MAGIC.hex()}"
        raise NotObverseError(f"{source.name}: not an .obv file ({found})")
    if len(front) < len(MAGIC):
        raise TruncatedError(f"{source.name}: ends early, within its first 4 bytes; get a complete copy")
    front += source.read(1, "the format version")
    version = front[-1]
    if version > VERSION:
        raise NewerVersionError(
            f"{source.name}: written by format version {version}; "
            f"this Obverse reads up to {VERSION}; upgrade it"
        )
    if version == 0:
        raise source.damaged("there is no format version 0")
    length, raw = source.read_varint(_LENGTH_BYTES, "the header length")
    source.require(length + 4, "the header")
    limits.check_header(length)
    packed = source.read(length, "the header")
    front += raw + packed
    checksum = int.from_bytes(source.read(4, "the header checksum"), "little")
    if checksum != zlib.crc32(front):
        raise source.damaged("the checksum of the header does not match")
    try:
        header = _from_fields(cbor.unpack(packed), version, len(front) + 4)
    except (ValueError, DamagedError) as error:
        raise source.damaged(str(error)) from error
    if header.items is not None:
        limits.check_items(header.items)
    return header


def _from_fields(fields: Any, version: int, size: int) -> Header:
    """Check every field; ValueError names the first that does not hold."""
    _need(version in KEYS, f"there is no format version {version}")
    _need(type(fields) is dict, "the header is not a map")
    missing = {CODEC, CONFIG, SHAPE} - fields.keys()
    _need(not missing, f"the header misses the keys {sorted(missing)}")
    unknown = fields.keys() - KEYS[version]
    _need(not unknown, f"the header has unknown keys {sorted(map(str, unknown))}")
    codec, config, shape = fields[CODEC], fields[CONFIG], fields[SHAPE]
    _need(type(codec) is str and codec != "", "the codec id is not a text")
    _need(isinstance(config, dict), "the codec config is not a map")
    _need(type(shape) is list and all(map(_is_count, shape)), "the shape is not a list of whole numbers")
    model = fields.get(MODEL)
    if MODEL in fields:
        good = type(model) is bytes and len(model) == FINGERPRINT_BYTES
        _need(good, f"the model fingerprint is not {FINGERPRINT_BYTES} bytes")
    names = fields.get(NAMES, [])
    if NAMES in fields:
        good = type(names) is list and bool(names) and all(type(name) is str and name for name in names)
        _need(good, "the section names are not a list of texts")
        _need(len(set(names)) == len(names), "two sections have the same name")
    items = fields.get(ITEMS)
    if ITEMS in fields:
        _need(_is_count(items), "the item count is not a whole number")
        _need(NAMES not in fields, "a stream of items has no named sections")
    metadata = fields.get(METADATA, {})
    if METADATA in fields:
        _need(isinstance(metadata, dict) and bool(metadata), "the metadata is not a map")
        for key, value in metadata.items():
            _need(isinstance(key, str), f"the metadata key {key!r} is not a text")
            good = isinstance(value, str | int | float | bytes)
            _need(good, f"the metadata value of {key!r} is not a text, number, bytes or bool")
    samples = fields.get(SAMPLES)
    if SAMPLES in fields:
        _need(
            _is_count(samples) and samples < 2**32, "the checksum of the samples is not a number of 32 bits"
        )
    return Header(codec, config, tuple(shape), tuple(names), model, items, metadata, version, samples, size)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**64


def _need(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
