"""What `obverse info` says of a file of weights, and of each tensor in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from obverse.container import ItemReader, Limits


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    (size,), tensors = file["shape"], file["items"] - 1
    return {
        "weights": f"{tensors} tensor{'s' * (tensors != 1)}, {size} bytes as .safetensors",
        "rate": f"{file['file_bytes'] / max(1, size):.1%} of that",
    }


def parts(reader: ItemReader, limits: Limits | None = None) -> Iterator[dict[str, Any]]:
    """A row a tensor: name, type, shape, how it is coded, bytes, and bits a number.

    Args:
        reader: of the items of a file.
        limits: what it may ask for.

    Raises:
        DecodeError: for what no encoder wrote.
    """
    from obverse.codecs.weights.codec import layout_of
    from obverse.codecs.weights.item import ways_of

    layout = layout_of(reader.header, reader, Limits.of(limits))
    for number, tensor in enumerate(layout.tensors, 1):
        item = reader[number]
        yield {
            "name": tensor.name,
            "type": tensor.dtype,
            "shape": "x".join(map(str, tensor.shape)) or "-",
            "coded": ways_of(item, tensor),
            "bytes": len(item),
            "bits": round(8 * len(item) / max(1, tensor.values), 3),
        }
