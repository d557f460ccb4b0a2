"""Headers of safetensors files: what the library writes is read, what lies is refused."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from obverse.codecs.weights.layout import MOST_HEADER, make_layout, parse_header, read_layout
from obverse.errors import InputError


def tensor(start: int, end: int, shape: list[Any] | None = None, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - start] if shape is None else shape, "data_offsets": [start, end]}


def test_a_file_of_the_library() -> None:
    raw = save(
        {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0, np.int8)}, {"made": "here"}
    )
    layout = read_layout(io.BytesIO(raw), len(raw), "x")
    assert layout.front == raw[: layout.start] and layout.size == len(raw)
    assert layout.metadata == {"made": "here"}
    assert {(t.name, t.dtype, t.shape, t.size) for t in layout.tensors} == {
        ("a", "F32", (2, 3), 24), ("b", "I8", (0,), 0),
    }  # fmt: skip


def test_a_new_file_is_that_of_the_library() -> None:
    arrays = {"b": np.zeros(3, np.float16), "a": np.zeros((2, 2), np.float32), "ä": np.zeros((), np.float32)}
    layout = make_layout([("b", "F16", (3,)), ("a", "F32", (2, 2)), ("ä", "F32", ())], {})
    assert layout.front == save(arrays)[: layout.start]


@pytest.mark.parametrize(
    "told",
    [
        {"a": tensor(0, 4), "b": tensor(2, 6)},
        {"a": tensor(0, 4), "b": tensor(5, 6)},
        {"a": tensor(4, 0)},
        {"a": tensor(0, 4, [5])},
        {"a": tensor(0, 4, [-4])},
        {"a": tensor(0, 4, [True, 4])},
        {"a": tensor(0, 4, [2.0, 2])},
        {"a": tensor(0, 4, [2**63, 2**63])},
        {"a": tensor(0, 2**62, [2**60], "F32")} | {"b": tensor(0, 1)},
        {"a": tensor(0, 4, dtype="Q4")},
        {"a": tensor(0, 4) | {"more": 1}},
        {"a": {"dtype": "U8", "shape": [4]}},
        {"a": 3},
        {"a": tensor(0, 3, [3], "F4")},
        {"__metadata__": {"x": 3}},
        {"__metadata__": [1]},
        {"a": tensor(0, 4, [1] * 70 + [4])},
    ],
)
def test_a_header_that_lies(told: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="x"):
        parse_header(json.dumps(told).encode(), "x")


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b"{", b'{"a":1,"a":2}', b"{\xff}", b"{" * 100_000, b'{"a": NaN}', b'{"a": Infinity}'],
)
def test_what_is_no_header(header: bytes) -> None:
    with pytest.raises(InputError, match="x"):
        parse_header(header, "x")


@pytest.mark.parametrize("length", [0, 1, 2**60, MOST_HEADER + 1, 100])
def test_lengths_that_lie(length: int) -> None:
    raw = length.to_bytes(8, "little") + b"{}   "
    with pytest.raises(InputError, match="x"):
        read_layout(io.BytesIO(raw), len(raw), "x")


def test_a_file_that_is_cut_or_longer() -> None:
    raw = save({"a": np.arange(6, dtype=np.float32)})
    for wrong in (raw[:-1], raw + b"x", raw[:20], raw[:3]):
        with pytest.raises(InputError):
            read_layout(io.BytesIO(wrong), len(wrong), "x")
