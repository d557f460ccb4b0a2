"""The .obv format: what is written is read back, and what was not written is refused."""

from __future__ import annotations

import io
import math
import os
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.container import MAGIC, Container, ItemReader, Limits, describe, read, read_header, write
from obverse.container.varint import decode_varint, encode_varint
from obverse.errors import (
    DamagedError,
    InputError,
    LimitError,
    NewerVersionError,
    NotObverseError,
    ObverseError,
    OptionError,
    TruncatedError,
)

QUICK = settings(deadline=None, max_examples=150)
IMAGE = Container(
    codec="image",
    config={0: 3, 1: 8, 2: 2},
    shape=(1080, 1920),
    sections={"y": bytes(range(256)) * 4, "z": b"\x07" * 700},
    model=bytes(range(8)),
    metadata={"title": "Ünïcode", "n": -5, "gain": 1.5, "raw": b"\x00", "ok": True},
)
STREAM = Container("frames", {}, (2, 3), items=(b"first", b"", b"x" * 300))

ints = st.integers(-(2**64), 2**64 - 1)
scalars = st.booleans() | ints | st.floats(allow_nan=False) | st.text(max_size=9) | st.binary(max_size=9)
keys = st.text(max_size=5) | st.integers(0, 23)
plain = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
names = st.text(min_size=1, max_size=6)
ids = st.from_regex("[a-z0-9-]{1,64}", fullmatch=True)
containers = st.builds(
    Container,
    codec=ids,
    config=st.dictionaries(keys, plain, max_size=4),
    shape=st.lists(st.integers(0, 2**64 - 1), max_size=4).map(tuple),
    sections=st.dictionaries(names, st.binary(max_size=400), max_size=3),
    model=st.none() | st.binary(min_size=8, max_size=8),
    metadata=st.dictionaries(st.text(max_size=5), scalars, max_size=3),
)
streams = st.builds(
    Container,
    codec=ids,
    config=st.just({}),
    shape=st.just((1,)),
    items=st.lists(st.binary(max_size=200), max_size=6).map(tuple),
)


def file_from(header: bytes, rest: bytes = b"", version: int = 1) -> bytes:
    """A file with a hand-made header, its checksum right."""
    front = MAGIC + bytes([version]) + encode_varint(len(header)) + header
    return front + zlib.crc32(front).to_bytes(4, "little") + rest


def section(payload: bytes, length: bytes | None = None) -> bytes:
    raw = encode_varint(len(payload)) if length is None else length
    return raw + payload + zlib.crc32(raw + payload).to_bytes(4, "little")


class Pipe(io.BytesIO):
    """A source that cannot seek, and that returns fewer bytes than asked for."""

    def seekable(self) -> bool:
        return False

    def seek(self, *args: int) -> int:
        raise io.UnsupportedOperation("seek")

    tell = seek

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(7, size or 0) if size and size > 0 else size)


# --- round trips ---


@QUICK
@given(containers | streams)
def test_round_trip(container: Container) -> None:
    blob = write(container)
    assert read(blob) == container
    assert read(Pipe(blob)) == container
    assert write(read(blob)) == blob
    facts = describe(blob)
    assert facts["file_bytes"] == len(blob)
    assert facts["sections"] == {name: len(data) for name, data in container.sections.items()}


@pytest.mark.parametrize("container", [IMAGE, STREAM, Container("x", {}, (), items=())])
def test_every_kind_of_source(container: Container, tmp_path: Path) -> None:
    blob = write(container)
    path = tmp_path / "a.obv"
    path.write_bytes(blob)
    with open(path, "rb") as file, open(path, "rb", buffering=0) as raw:
        for source in (blob, bytearray(blob), memoryview(blob), path, str(path), io.BytesIO(blob), file, raw):
            assert read(source) == container
        assert not file.closed


def test_a_file_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"before" + write(STREAM))
    file.seek(6)
    assert ItemReader(file)[2] == b"x" * 300
    file.seek(6)
    assert read(file) == STREAM


def test_a_real_pipe() -> None:
    blob = write(IMAGE)
    reading, writing = os.pipe()
    with open(writing, "wb") as sink, open(reading, "rb") as source:
        thread = threading.Thread(target=lambda: (sink.write(blob), sink.close()))
        thread.start()
        assert read(source) == IMAGE
        thread.join()


def test_not_a_number_survives() -> None:
    container = Container("x", {"a": math.nan, "b": -math.inf}, ())
    config = read(write(container)).config
    assert math.isnan(config["a"]) and config["b"] == -math.inf


def test_equal_containers_give_equal_bytes() -> None:
    one = Container("x", {"b": 1, 3: 2, "aa": 3}, ())
    two = Container("x", {"aa": 3, "b": 1, 3: 2}, ())
    assert write(one) == write(two)


def test_header_only() -> None:
    blob = write(IMAGE)
    header = read_header(blob[:-1000])
    assert (header.codec, header.config, header.shape) == ("image", IMAGE.config, (1080, 1920))
    assert (header.model, header.metadata) == (IMAGE.model, IMAGE.metadata)
    assert (header.section_names, header.items) == (("y", "z"), None)
    assert read_header(blob[: header.bytes]) == header
    with pytest.raises(TruncatedError):
        read_header(blob[: header.bytes - 1])


def test_describe() -> None:
    facts = describe(write(IMAGE))
    assert facts["sections"] == {"y": 1024, "z": 700}
    assert facts["model"] == "0001020304050607"
    assert (facts["codec"], facts["shape"], facts["items"]) == ("image", (1080, 1920), None)
    facts = describe(write(STREAM))
    assert (facts["items"], facts["item_bytes"], facts["sections"]) == (3, 305, {})


@pytest.mark.parametrize("sections", [{"y": b"1" * 9000}, {"y": b"1" * 9000, "z": b"2" * 900}])
def test_at_most_64_bytes_of_overhead(sections: dict[str, bytes]) -> None:
    container = Container("image", {0: 3, 1: 8, 2: 200}, (1080, 1920), sections, model=bytes(8))
    assert len(write(container)) - sum(map(len, sections.values())) <= 64


# --- damage ---


@pytest.mark.parametrize("container", [IMAGE, STREAM])
def test_every_flipped_bit_is_noticed(container: Container) -> None:
    blob = bytearray(write(container))
    for position in range(len(blob)):
        for bit in range(8):
            blob[position] ^= 1 << bit
            with pytest.raises(ObverseError):
                read(bytes(blob))
            blob[position] ^= 1 << bit


@pytest.mark.parametrize("container", [IMAGE, STREAM])
def test_every_truncation_is_noticed(container: Container) -> None:
    blob = write(container)
    for length in range(1, len(blob)):
        for source in (blob[:length], Pipe(blob[:length])):
            with pytest.raises(TruncatedError):
                read(source)
        with pytest.raises(TruncatedError):
            describe(blob[:length])
        if container is STREAM:
            with pytest.raises(TruncatedError):
                ItemReader(blob[:length])


def test_trailing_bytes() -> None:
    for read_it in (read, describe, ItemReader):
        with pytest.raises(DamagedError, match="follow its end"):
            read_it(write(STREAM) + b"\0")
    with pytest.raises(DamagedError, match="follow its end"):
        read(Pipe(write(IMAGE) + b"\0"))


def test_not_obverse() -> None:
    with pytest.raises(NotObverseError, match="empty"):
        read(b"")
    for blob in (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"\0", b"\x9bOBW"):
        with pytest.raises(NotObverseError, match="begins with"):
            read(blob)


def test_versions() -> None:
    with pytest.raises(NewerVersionError, match="written by format version 3; this Obverse reads up to 2"):
        read(MAGIC + b"\x03anything")
    with pytest.raises(DamagedError, match="version 0"):
        read(MAGIC + b"\x00anything")


def test_a_file_is_written_in_the_oldest_version_that_can_say_it() -> None:
    assert write(IMAGE)[4] == 1
    checked = replace(IMAGE, version=2, samples=0xFFFFFFFF)
    assert write(checked)[4] == 2 and read(write(checked)) == checked
    assert describe(write(checked))["samples"] == "ffffffff" and describe(write(checked))["version"] == 2
    assert describe(write(IMAGE))["samples"] is None and describe(write(IMAGE))["version"] == 1
    assert read(write(replace(IMAGE, version=2))).version == 2  # a codec's own reason
    for wrong in (
        {"samples": 1},
        {"version": 0},
        {"version": 3},
        {"version": 2, "samples": 2**32},
        {"version": 2, "samples": -1},
    ):
        with pytest.raises(InputError):
            write(replace(IMAGE, **wrong))
    with pytest.raises(DamagedError, match="unknown keys"):
        read(file_from(cbor2.dumps({0: "x", 1: {}, 3: [], 7: 1}), version=1))
    for value in ("x", 2**32, -1, None, True):
        with pytest.raises(DamagedError, match="checksum of the samples"):
            read(file_from(cbor2.dumps({0: "x", 1: {}, 3: [], 7: value}), version=2))


GOOD = {0: "x", 1: {}, 3: []}
NESTED: object = 0
for _ in range(40):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        {},
        {0: "x", 1: {}},
        GOOD | {7: 1},
        GOOD | {"a": 1},
        GOOD | {0: ""},
        GOOD | {0: "../../x"},
        GOOD | {0: "/etc/passwd"},
        GOOD | {0: "Image"},
        GOOD | {0: "x" * 65},
        GOOD | {0: b"x"},
        GOOD | {1: []},
        GOOD | {1: {24: 1}},
        GOOD | {1: {-1: 1}},
        GOOD | {1: {"a": NESTED}},
        GOOD | {1: {"a": 2**64}},
        GOOD | {1: {"a": cbor2.undefined}},
        GOOD | {2: b"1234567"},
        GOOD | {2: None},
        GOOD | {3: [-1]},
        GOOD | {3: [True]},
        GOOD | {3: [1.0]},
        GOOD | {4: []},
        GOOD | {4: ["a", "a"]},
        GOOD | {4: [""]},
        GOOD | {4: [1]},
        GOOD | {4: ["a"], 5: 1},
        GOOD | {5: -1},
        GOOD | {5: True},
        GOOD | {6: {}},
        GOOD | {6: {1: 1}},
        GOOD | {6: {"a": None}},
        GOOD | {6: {"a": [1]}},
    ],
    ids=repr,
)
def test_fields_that_do_not_hold(fields: object) -> None:
    with pytest.raises(DamagedError):
        read_header(file_from(cbor2.dumps(fields)))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "a3006178 01a0 0380 00",  # something follows
        "a4006178 0061 7801a0 0380",  # a key twice
        "a3 01a0 006178 0380",  # keys not sorted
        "bf006178 01a0 0380 ff",  # indefinite length
        "a3006178 01bb00000000ffffffff 0380",  # a map that cannot fit
        "a3006178 01a0 039b7fffffffffffffff",  # a list that cannot fit
        "a3006178 01a0 03811800",  # an integer not in its shortest form
        "a3006178 01a16161fa3fc00000 0380",  # a float of 4 bytes
        "a3006178 01a16161f93e00 0380",  # a float of 2 bytes
        "a3006178 01a16161fb7ff8000000000001 0380",  # another NaN
        "a3006178 01a16161c001 0380",  # a tag
        "a3006178 01a16161c48219ffff01 0380",  # a decimal number by tag
        "a30061ff 01a0 0380",  # not UTF-8
        "ff",
        "1c",
    ],
)
def test_cbor_that_is_refused(header: str) -> None:
    with pytest.raises(DamagedError):
        read_header(file_from(bytes.fromhex(header)))


def test_deep_nesting_is_refused_quickly() -> None:
    for opener in (b"\x81", b"\xa1\x00", b"\xd8\x1c"):
        with pytest.raises(DamagedError):
            read_header(file_from(opener * 200_000 + b"\x00"))


def test_wrong_index() -> None:
    head = cbor2.dumps({0: "x", 1: {}, 3: [], 5: 2})
    item = section(b"ab")
    read(file_from(head, section(b"\x02\x02") + item + item))
    for index in (b"\x02", b"\x02\x01", b"\x02\x02\x00", b"\x02\x82\x00", b"\x02\x82", b"\x03\x01"):
        with pytest.raises(DamagedError):
            read(file_from(head, section(index) + item + item))


def test_a_length_must_be_in_its_shortest_form() -> None:
    head = cbor2.dumps({0: "x", 1: {}, 3: [], 4: ["a"]})
    read(file_from(head, section(b"ab")))
    with pytest.raises(DamagedError, match="shortest"):
        read(file_from(head, section(b"ab", b"\x82\x00")))
    with pytest.raises(DamagedError, match="longer than"):
        read(file_from(head, b"\xff" * 20))


# --- limits ---


def test_a_length_is_not_trusted() -> None:
    head = cbor2.dumps({0: "x", 1: {}, 3: [], 4: ["a"]})
    huge = file_from(head, encode_varint(2**62) + b"abc")
    with pytest.raises(TruncatedError):
        read(huge, Limits.unlimited())
    with pytest.raises(TruncatedError):
        read(Pipe(huge), Limits.unlimited())
    with pytest.raises(LimitError, match="memory"):
        read(Pipe(huge))
    with pytest.raises(TruncatedError):
        read(MAGIC + b"\x01" + encode_varint(2**35 - 1), Limits.unlimited())
    stream = file_from(cbor2.dumps({0: "x", 1: {}, 3: [], 5: 2**63 - 1}), section(b"\x01"))
    for read_it in (read, describe, ItemReader):
        with pytest.raises(DamagedError):
            read_it(stream, Limits.unlimited())
        with pytest.raises(LimitError, match="items"):
            read_it(stream)


def test_limits_name_the_override() -> None:
    with pytest.raises(LimitError, match=r"1,724 bytes of memory.* 1,723.*Limits\(memory=1724\)"):
        read(write(IMAGE), Limits(memory=1723))
    assert read(write(IMAGE), Limits(memory=1724)) == IMAGE
    with pytest.raises(LimitError, match=r"Limits\(header="):
        read(write(IMAGE), Limits(header=20))
    with pytest.raises(LimitError, match=r"Limits\(items=3\)"):
        read(write(STREAM), Limits(items=2))
    with pytest.raises(LimitError, match="memory"):
        read(write(STREAM), Limits(memory=304))
    with pytest.raises(LimitError, match=r"Limits\(header="):
        write(Container("x", {}, (), metadata={"a": b"1" * 2**20}))


def test_pixels() -> None:
    limits = Limits()
    limits.check_pixels(2**28)
    limits.check_shape((2**14, 2**14))
    with pytest.raises(LimitError, match=r"536,870,912 pixels.*268,435,456.*Limits\(pixels=536870912\)"):
        limits.check_shape((2**15, 2**14))
    Limits.unlimited().check_pixels(2**60)


# --- items ---


def test_item_reader(tmp_path: Path) -> None:
    path = tmp_path / "s.obv"
    path.write_bytes(write(STREAM))
    with ItemReader(path) as reader:
        assert len(reader) == 3
        assert [reader[i] for i in (2, 0, 1, -1, -3)] == [b"x" * 300, b"first", b"", b"x" * 300, b"first"]
        assert tuple(reader) == STREAM.items
        assert reader.header.codec == "frames"
        for i in (3, -4):
            with pytest.raises(IndexError):
                reader[i]
    with ItemReader(path, Limits(memory=299)) as reader, pytest.raises(LimitError):
        reader[2]
    with pytest.raises(InputError):
        reader[0]
    with open(path, "rb") as file:
        with ItemReader(file) as reader:
            assert reader[0] == b"first"
        assert not file.closed


def test_item_reader_reads_one_item_only() -> None:
    blob = bytearray(write(STREAM))
    blob[-10] ^= 1
    with ItemReader(io.BytesIO(blob)) as reader:
        assert (reader[0], reader[1]) == (b"first", b"")
        with pytest.raises(DamagedError, match="checksum of item 2"):
            reader[2]


def test_item_reader_refuses() -> None:
    with pytest.raises(InputError, match="not a stream of items"):
        ItemReader(write(IMAGE))
    with pytest.raises(InputError, match="cannot seek"):
        ItemReader(Pipe(write(STREAM)))


# --- sources and values that cannot be used ---


def test_paths_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for read_it in (read, read_header, describe, ItemReader):
        with pytest.raises(InputError, match="there is no file"):
            read_it(tmp_path / "gone")
        with pytest.raises(InputError, match="is a directory"):
            read_it(tmp_path)
    with pytest.raises(InputError):
        read("a\0b")

    def denied(*args: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(InputError, match="permission denied"):
        read(tmp_path / "secret")


def test_sources_that_cannot_be_used() -> None:
    for source in (None, 3, io.StringIO("text")):
        with pytest.raises(InputError):
            read(source)  # type: ignore[arg-type]
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(InputError):
        read(closed)


@pytest.mark.parametrize(
    "container",
    [
        Container("", {}, ()),
        Container("\ud800", {}, ()),
        Container("x", {24: 1}, ()),
        Container("x", {True: 1}, ()),
        Container("x", {"a": {1, 2}}, ()),
        Container("x", {"a": 2**64}, ()),
        Container("x", {"a": NESTED}, ()),
        Container("x", {}, (-1,)),
        Container("x", {}, (1.5,)),  # type: ignore[arg-type]
        Container("x", {}, (), model=b"short"),
        Container("x", {}, (), {"": b""}),
        Container("x", {}, (), {"a": "text"}),  # type: ignore[dict-item]
        Container("x", {}, (), {"a": b""}, items=()),
        Container("x", {}, (), metadata={"a": None}),
        Container("x", {}, (), metadata={1: 1}),  # type: ignore[dict-item]
    ],
    ids=repr,
)
def test_containers_that_cannot_be_written(container: Container) -> None:
    with pytest.raises(InputError):
        write(container)


@QUICK
@given(st.integers(0, 2**63 - 1))
def test_varint_round_trip(value: int) -> None:
    raw = encode_varint(value)
    assert decode_varint(b"ab" + raw + b"c", 2) == (value, 2 + len(raw))
    with pytest.raises(TruncatedError):
        decode_varint(raw[:-1])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9, -5, "x", True, None])
@pytest.mark.parametrize("name", ["pixels", "items", "memory", "header"])
def test_limits_that_limit_nothing_are_refused(name, value):
    with pytest.raises(OptionError, match=f"{name} must be a whole number of at least 0"):
        Limits(**{name: value})


@pytest.mark.parametrize("limits", [0, 5, "50", True, [50], {}])
def test_what_are_no_limits_is_refused(limits):
    with pytest.raises(OptionError, match=r"limits must be an obverse\.Limits"):
        Limits.of(limits)
    with pytest.raises(OptionError, match=r"limits must be an obverse\.Limits"):
        read(b"", limits)
    assert Limits.of(None) == Limits() and Limits.of(Limits(memory=3)) == Limits(memory=3)


def test_a_buffer_that_skips_bytes_is_read():
    data = write(Container("test", {}, (1,), {"x": b"abc"}))
    spread = b"".join(bytes([byte, 0]) for byte in data)
    assert read(memoryview(spread)[::2]) == read(data)
