"""Weights, lossless.

safetensors file ──► header ──────────────────────────► item 0
                     tensor k ──► the shortest of item.py ──► item k + 1
                                  the same as tensor j ──►
base, which the receiver has ──► its tensor of that name ──►

Each tensor is an item, so that one is read without the rest; the header is kept byte by byte, so that the file comes
back as it was. Nothing larger than a tensor is held in memory (`encode_to`, `decode_parts`).
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from obverse.codec import Codec
from obverse.codecs.weights import METHOD
from obverse.codecs.weights.files import load_weights
from obverse.codecs.weights.item import decode_tensor, encode_tensor, same_as, source_of
from obverse.codecs.weights.layout import MOST_HEADER, Layout, Tensor, parse_header
from obverse.codecs.weights.options import WeightsOptions
from obverse.codecs.weights.plane_coding import WINDOW, zip_bytes
from obverse.codecs.weights.tensors import Tensors
from obverse.container import MAGIC, Container, Header, ItemReader, Items, Limits
from obverse.container.spool import ItemSpool
from obverse.data.guard import guarded
from obverse.errors import DamagedError, InputError, OptionError, SideInformationError, UnsupportedInputError

Bytes = npt.NDArray[np.uint8]
FINGERPRINT = 16  # bytes that name a base
_LEVEL = 19  # of zstd for headers, which are short


class WeightsCodec(Codec):
    """tensors -> items, one each;  items -> tensors."""

    method = METHOD

    def encode(self, data: Any, options: WeightsOptions | None = None) -> Container:
        """See `Codec.encode`.

        Args:
            data: `Tensors`, or arrays of NumPy or torch under names.
            options: see WeightsOptions.
        """
        with ItemSpool() as spool:
            container = self.encode_to(data, options, spool)
            return replace(container, items=tuple(spool.items()))

    def encode_to(self, data: Any, options: WeightsOptions | None, spool: ItemSpool) -> Container:
        """Items to a spool, tensor after tensor, so that those of a file need not be in memory together.

        Args:
            data: as for `encode`.
            options: as for `encode`.
            spool: where they go.

        Returns:
            The container, without items.
        """
        options = options or WeightsOptions()
        tensors = as_tensors(data)
        layout, limits = tensors.layout, Limits.of(options.limits)
        limits.check_items(1 + len(layout.tensors))
        spool.append(zip_bytes(np.frombuffer(layout.header, np.uint8), _LEVEL))
        checksum = zlib.crc32(layout.front)
        sizes = Counter((tensor.size, tensor.dtype) for tensor in layout.tensors)
        seen: dict[tuple[str, bytes], int] = {}
        base = None if options.base is None else base_of(options.base)
        for number, tensor in enumerate(layout.tensors, 1):
            limits.check_memory(tensor.size)
            content = tensors.bytes(tensor)
            checksum = zlib.crc32(content, checksum)
            key = tensor.dtype, b""
            if sizes[tensor.size, tensor.dtype] > 1:
                key = tensor.dtype, blake2b(content, digest_size=32).digest()
            item = same_as(seen[key]) if key in seen else b""
            if not item or len(item) > tensor.size:
                if key[1]:
                    seen.setdefault(key, number)
                known = None if base is None else base.like(tensor)
                spool.append(*encode_tensor(content, tensor, options.effort, known))
            else:
                spool.append(item)
            del content
        config = {} if base is None else {0: base.fingerprint}
        return Container(
            self.id, config, (layout.size,), metadata=options.kept, items=(), version=2, samples=checksum
        )

    def decode(self, container: Container, limits: Limits | None = None, *, side_info: Any = None) -> Tensors:
        """See `Codec.decode`. All tensors, in memory.

        Args:
            container: of this codec.
            limits: what it may ask for.
            side_info: the base, as `WeightsOptions.base`, of a file that was coded against one.

        Raises:
            SideInformationError: where the base is missing, not wanted, or another one.
        """
        limits = Limits.of(limits)
        items = container.items or ()
        layout = layout_of(container, items, limits)
        limits.check_memory(layout.size)
        base = _wanted(container, side_info)
        held = {
            tensor.name: tensor_of(layout, items, number, base)
            for number, tensor in enumerate(layout.tensors, 1)
        }
        tensors = Tensors(layout, lambda tensor: held[tensor.name])
        checksum = 0
        for part in tensors.parts():
            checksum = zlib.crc32(part, checksum)
        _compare(container, checksum)
        return tensors

    def decode_parts(
        self,
        container: Container | Header,
        items: Items,
        limits: Limits | None = None,
        *,
        side_info: Any = None,
    ) -> Iterator[Bytes]:
        """The bytes of the file that was coded, tensor after tensor; its checksum is compared behind the last.

        Args:
            container: whatever items it has are not looked at.
            items: of the file.
            limits: what it may ask for; the limit on memory is for each tensor.
            side_info: as for `decode`.

        Raises:
            DecodeError: for what no encoder wrote.
            SideInformationError: as for `decode`.
        """
        limits = Limits.of(limits)
        base = _wanted(container, side_info)
        layout = layout_of(container, items, limits)
        for tensor in layout.tensors:
            limits.check_memory(tensor.size)
        front = np.frombuffer(layout.front, np.uint8)
        checksum = zlib.crc32(front)
        yield front
        for number in range(1, 1 + len(layout.tensors)):
            content = tensor_of(layout, items, number, base)
            checksum = zlib.crc32(content, checksum)
            yield content
        _compare(container, checksum)

    def open(self, reader: ItemReader, limits: Limits | None = None, *, side_info: Any = None) -> Tensors:
        """The tensors of a file, each decoded when it is asked for.

        Args:
            reader: of its items.
            limits: what one tensor may ask for.
            side_info: as for `decode`.

        Raises:
            DecodeError: for what no encoder wrote.
            SideInformationError: as for `decode`.
        """
        base = _wanted(reader.header, side_info)
        limits = Limits.of(limits)
        layout = layout_of(reader.header, reader, limits)
        numbers = {tensor.name: number for number, tensor in enumerate(layout.tensors, 1)}

        def read(tensor: Tensor) -> Bytes:
            limits.check_memory(tensor.size)
            return tensor_of(layout, reader, numbers[tensor.name], base)

        return Tensors(layout, read, reader.close)


@dataclass(frozen=True)
class Base:
    """Weights that both sides have.

    Attributes:
        tensors: of it.
        fingerprint: 16 bytes that name it: of its file, BLAKE2b.
    """

    tensors: Tensors
    fingerprint: bytes

    def like(self, tensor: Tensor) -> Bytes | None:
        """The bytes of its tensor of this name; None where it has none of this type and shape."""
        known = self.tensors.named(tensor.name)
        same = known is not None and (known.dtype, known.shape) == (tensor.dtype, tensor.shape)
        return self.tensors.bytes(known) if same and known is not None else None


def base_of(given: Any) -> Base:
    """A base, with its fingerprint.

    Args:
        given: a file of weights, or one that is compressed, or arrays under names.

    Raises:
        InputError: for what cannot be read.
    """
    tensors = load_base(Path(given)) if isinstance(given, str | Path) else as_tensors(given)
    digest = blake2b(digest_size=FINGERPRINT)
    for part in tensors.parts():
        digest.update(part)
    return Base(tensors, digest.digest())


def load_base(path: Path) -> Tensors:
    """The weights of a file, compressed or not; each tensor is read when it is needed.

    Raises:
        InputError: for what cannot be read.
    """
    with guarded(f"{path} cannot be read"), path.open("rb") as file:
        compressed = file.read(len(MAGIC)) == MAGIC
    if not compressed:
        return load_weights(path, "the base")
    reader = ItemReader(path)
    if reader.header.codec != METHOD.id:
        reader.close()
        raise InputError(f"{path} is a file of codec {reader.header.codec!r}, not weights")
    return WeightsCodec().open(reader)


def _wanted(container: Container | Header, given: Any) -> Base | None:
    """The base that a file was coded against."""
    wanted = container.config.get(0)
    if wanted is None:
        if given is not None:
            raise SideInformationError(
                "these weights were compressed without a base: do not pass one (--base)"
            )
        return None
    if not isinstance(wanted, bytes) or len(wanted) != FINGERPRINT:
        raise DamagedError("the base of the weights is not named as it should be")
    if given is None:
        raise SideInformationError(
            f"these weights were compressed against a base ({wanted.hex()}): pass it, side_info=... (--base FILE)"
        )
    try:
        base = base_of(given)
    except (OptionError, UnsupportedInputError) as error:
        raise SideInformationError(f"the base cannot be used: {error}") from None
    if base.fingerprint != wanted:
        raise SideInformationError(
            f"these weights were compressed against the base {wanted.hex()}, and this is {base.fingerprint.hex()}: "
            "pass the one that was named when they were compressed"
        )
    return base


def as_tensors(data: Any) -> Tensors:
    """What `encode` takes as tensors.

    Raises:
        InputError: for what are none.
    """
    if isinstance(data, Tensors):
        return data
    if isinstance(data, Mapping):
        return Tensors.of(data)
    raise InputError(f"weights are arrays under names, as in a state dict, not {type(data).__name__}")


def layout_of(container: Container | Header, items: Items, limits: Limits) -> Layout:
    """What the first item tells, compared with what there is.

    Args:
        container: the header.
        items: of the file.
        limits: what the header may ask for.

    Raises:
        DamagedError: for what no encoder wrote.
    """
    sections = container.sections if isinstance(container, Container) else container.section_names
    if set(container.config) - {0} or sections or not len(items) or len(container.shape) != 1:
        raise DamagedError("not the parts of a file of weights")
    most = min(MOST_HEADER, limits.memory)
    try:
        with zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(items[0]) as reader:
            header = reader.read(most + 1)
    except zstandard.ZstdError as error:
        raise DamagedError(f"the header of the weights cannot be unpacked: {error}") from None
    limits.check_memory(len(header))
    try:
        layout = parse_header(header, "what was compressed")
    except InputError as error:
        raise DamagedError(str(error)) from None
    if len(items) != 1 + len(layout.tensors) or layout.size != container.shape[0]:
        raise DamagedError("the header of the weights tells of other tensors than there are")
    return layout


def tensor_of(layout: Layout, items: Items, number: int, base: Base | None = None) -> Bytes:
    """(size,) the bytes of the tensor in this item.

    Args:
        layout: of the file.
        items: of it.
        number: of the item; that of the first tensor is 1.
        base: what the file was coded against.

    Raises:
        DamagedError: for what no encoder wrote.
    """
    tensor, item = layout.tensors[number - 1], items[number]
    source = source_of(item)
    if source is not None:
        if not 0 < source < number or layout.tensors[source - 1].size != tensor.size:
            raise DamagedError(f"tensor {tensor.name!r} is said to be the same as another that it cannot be")
        tensor, item = layout.tensors[source - 1], items[source]
    out = np.empty(tensor.size, np.uint8)
    decode_tensor(item, tensor, out, None if base is None else base.like(tensor))
    return out


def _compare(container: Container | Header, checksum: int) -> None:
    if container.samples is not None and container.samples != checksum:
        raise DamagedError(
            "what was decoded is not what was compressed: its checksum differs. The file is whole, so the machine that "
            "wrote it, or this one, computes something else than it should; decode it on another one"
        )
