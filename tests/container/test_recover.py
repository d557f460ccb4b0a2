"""Items of a damaged file: every one whose section is whole comes back, and no other."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.container import Container, Limits, write
from obverse.container.recover import recover_items
from obverse.errors import DecodeError, InputError, LimitError, ObverseError, TruncatedError

ITEMS = (b"first item", b"", b"x" * 300, b"the last")


def file_of(items: tuple[bytes, ...] = ITEMS) -> bytes:
    return write(Container("vae", {0: 1}, (4,), items=items))


def sections() -> list[tuple[int, int]]:
    """Where each item's section begins and ends."""
    end = len(file_of())
    spans = []
    for item in reversed(ITEMS):
        start = end - len(item) - 4 - (1 if len(item) < 128 else 2)
        spans.append((start, end))
        end = start
    return spans[::-1]


def test_a_whole_file_comes_back_whole():
    header, items, missing = recover_items(file_of())
    assert tuple(items) == ITEMS and missing == [] and header.codec == "vae" and header.shape == (4,)


def test_cut_anywhere():
    data, spans = file_of(), sections()
    for cut in range(len(data)):
        if cut < spans[0][0]:
            with pytest.raises(DecodeError):
                recover_items(data[:cut])
            continue
        _, items, missing = recover_items(data[:cut])
        whole = [end <= cut for _, end in spans]
        assert [item is not None for item in items] == whole
        assert [i for i, w in zip(ITEMS, whole, strict=True) if w] == [i for i in items if i is not None]
        assert len(missing) == whole.count(False)
        assert all(f"item {number} is cut off" in missing[number - whole.count(True)] for number in
                   range(whole.count(True), len(whole)))  # fmt: skip


@pytest.mark.parametrize("pipe", [False, True])
def test_each_changed_byte_costs_the_one_item_that_it_lies_in(pipe):
    data, spans = file_of(), sections()

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    for at in range(spans[0][0], len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        _, items, missing = recover_items(Pipe(damaged) if pipe else damaged)
        hit = next(i for i, (start, end) in enumerate(spans) if start <= at < end)
        assert [item is None for item in items] == [i == hit for i in range(len(ITEMS))]
        assert missing == [f"item {hit} is damaged"]


def test_damage_before_the_items_is_an_error():
    data, spans = file_of(), sections()
    for at in range(spans[0][0]):
        with pytest.raises(ObverseError):
            recover_items(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])


def test_what_is_not_a_stream_of_items():
    with pytest.raises(InputError, match="not a stream of items"):
        recover_items(write(Container("image", {}, (1,), {"a": b"b"})))
    with pytest.raises(TruncatedError):
        recover_items(file_of()[:20])


def test_limits_hold():
    with pytest.raises(LimitError):
        recover_items(file_of(), Limits(items=3))
    with pytest.raises(LimitError):
        recover_items(file_of(), Limits(memory=200))


def test_items_that_the_index_promises_beyond_the_end_take_no_memory():
    data = file_of((b"here", bytes(50_000_000)))
    _, items, missing = recover_items(data[: len(data) - 50_000_000 - 3], Limits(memory=100_000))
    assert items == [b"here", None] and len(missing) == 1


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 500))
def test_arbitrary_bytes_are_errors_of_ours_or_items(noise, keep):
    try:
        _, items, missing = recover_items(file_of()[:keep] + noise)
    except ObverseError:
        return
    assert len(missing) == items.count(None)
