"""What a safetensors file says of itself: its header, read without trusting it.

8 bytes: length of the header, little-endian | header: JSON | the tensors' bytes, one behind the other, without gaps

The header is kept as its bytes: the same content can be spelled in many ways, and a file is to come back as it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from obverse.errors import InputError

MOST_HEADER = 100_000_000  # bytes, as the safetensors library has it
MOST_AXES = 64
LARGEST = 2**63 - 1
LENGTH = 8  # bytes of the header's length
METADATA = "__metadata__"

# bits of a value; those of fewer than 8 are packed
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        name: its key.
        dtype: as safetensors calls it, a key of BITS.
        shape: its axes.
        start: of its bytes, behind the header.
        size: how many bytes it has.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    @property
    def values(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """A header, understood.

    Attributes:
        header: the bytes of its JSON, with the spaces around.
        tensors: in the order of their bytes.
        metadata: texts under `__metadata__`.
    """

    header: bytes
    tensors: tuple[Tensor, ...]
    metadata: dict[str, str]

    @property
    def start(self) -> int:
        """Where the bytes of the tensors begin in the file."""
        return LENGTH + len(self.header)

    @property
    def front(self) -> bytes:
        """The file up to there."""
        return len(self.header).to_bytes(LENGTH, "little") + self.header

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.start + sum(tensor.size for tensor in self.tensors)


def read_layout(file: BinaryIO, size: int, name: str) -> Layout:
    """The layout of an open file that stands at its beginning.

    Args:
        file: it is read up to the end of the header.
        size: bytes of the file.
        name: for errors.

    Raises:
        InputError: for what is no safetensors file, or a damaged one.
    """
    length = int.from_bytes(file.read(LENGTH), "little")
    if size < LENGTH + 2 or length < 2:
        raise InputError(f"{name} is no safetensors file: it is too short for a header")
    if length > min(size - LENGTH, MOST_HEADER):
        raise InputError(
            f"{name} is no whole safetensors file: it says that its header has {length} bytes, more than "
            f"{'there are' if length > size - LENGTH else 'any may have'}; get a complete copy"
        )
    header = file.read(length)
    if len(header) < length:
        raise InputError(f"{name} ends within its header: get a complete copy")
    layout = parse_header(header, name)
    if layout.size != size:
        raise InputError(
            f"{name}: its header tells of {layout.size} bytes, and the file has {size}: get a complete copy"
        )
    return layout


def parse_header(header: bytes, name: str) -> Layout:
    """The layout that the JSON of a header tells.

    Args:
        header: its bytes.
        name: of the file, for errors.

    Raises:
        InputError: for anything that is not as the format wants it: overlapping tensors, gaps, sizes that do not fit.
    """
    if not header.startswith(b"{"):
        raise InputError(f"{name} is no safetensors file: its header is no JSON object")
    try:
        told = json.loads(header.decode(), object_pairs_hook=_distinct, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name} is a damaged safetensors file: its header cannot be read ({error})"
        ) from None
    metadata = told.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise InputError(f"{name} is a damaged safetensors file: its metadata are not texts under names")
    tensors = [_tensor(key, entry, name) for key, entry in told.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.size))
    end = 0
    for tensor in tensors:
        if tensor.start != end:
            raise InputError(
                f"{name} is a damaged safetensors file: tensor {tensor.name!r} begins at {tensor.start}, and the one "
                f"before it ends at {end}"
            )
        end += tensor.size
    return Layout(header, tuple(tensors), metadata)


def make_layout(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: dict[str, str]) -> Layout:
    """The layout of a new file, as the safetensors library orders it: wide types first, then by name.

    Args:
        tensors: name, type and shape of each.
        metadata: texts under names.
    """
    ordered = sorted(tensors, key=lambda tensor: (-BITS[tensor[1]], tensor[0]))
    told: dict[str, Any] = {METADATA: metadata} if metadata else {}
    start = 0
    for name, dtype, shape in ordered:
        end = start + -(-math.prod(shape) * BITS[dtype] // 8)
        told[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
    return parse_header(text + b" " * (-len(text) % 8), "the new file")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _tensor(key: str, entry: Any, name: str) -> Tensor:
    wrong = f"{name} is a damaged safetensors file: tensor {key!r} "
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"{wrong}has not exactly a type, a shape and offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise InputError(
            f"{name}: tensor {key!r} has the type {dtype!r}, which is not known: there are {', '.join(BITS)}"
        )
    if not _counts(shape) or len(shape) > MOST_AXES or not _counts(offsets) or len(offsets) != 2:
        raise InputError(f"{wrong}has a shape or offsets that are not whole numbers")
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8 or bits > LARGEST or offsets[1] - offsets[0] != bits // 8:
        raise InputError(
            f"{wrong}of shape {shape} and type {dtype} does not fill bytes {offsets[0]} to {offsets[1]}"
        )
    return Tensor(key, dtype, tuple(shape), offsets[0], bits // 8)


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST for value in values
    )
