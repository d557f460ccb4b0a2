"""Fuzz the container: whatever the bytes, only errors of Obverse may come out.

    python -m tests.fuzz.fuzz_container -atheris_runs=1000000
    python -m tests.fuzz.fuzz_container FILE        # one input again, such as a crash-... file

Needs atheris (`pip install obverse[fuzz]`). Every input is tried as it is, and again with its checksums
made right, so that the code behind the checksums is reached. Findings: an exception that is not an
ObverseError; a file that is read but written back otherwise; readers that disagree.
"""

from __future__ import annotations

import contextlib
import random
import sys
import tempfile
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["obverse"]):
    from obverse.container import Container, ItemReader, describe, read, read_header, write
    from obverse.container.varint import decode_varint
    from obverse.errors import ObverseError

SEEDS = [
    Container("x", {}, ()),
    Container("image", {0: 3, 1: 8, 2: 2}, (1080, 1920), {"y": b"abc" * 9, "z": b""}, bytes(range(8))),
    Container("t", {"a": [1, -1, 2**64 - 1, None, 1.5, float("nan"), {"b": b"\0", 23: True}]}, (2**63,)),
    Container("m", {}, (1,), metadata={"text": "é", "n": -7, "x": 0.1, "raw": b"12", "ok": False}),
    Container("s", {}, (4, 4), items=(b"first", b"", b"x" * 200)),
    Container("s", {}, (), items=()),
    Container("v", {0: 2}, (5, 7), {"x": b"raw" * 40}, bytes(8), version=2, samples=0x12345678),
    Container("v", {}, (3,), items=(b"a", b"b"), version=2, samples=7),
]


def with_right_checksums(data: bytes) -> bytes:
    """`data` with every checksum made right that its own lengths lead to."""
    fixed = bytearray(data)
    try:
        length, start = decode_varint(data, 5, 5)
        begin, end = 0, start + length
        while end + 4 <= len(data):
            fixed[end : end + 4] = zlib.crc32(fixed[begin:end]).to_bytes(4, "little")
            begin = end + 4
            length, start = decode_varint(data, begin)
            end = start + length
    except ObverseError:
        pass
    return bytes(fixed)


def check(data: bytes) -> None:
    """Read `data` in every way; any exception that escapes is a finding."""
    container = facts = None
    with contextlib.suppress(ObverseError):
        read_header(data)
    with contextlib.suppress(ObverseError):
        facts = describe(data)
    with contextlib.suppress(ObverseError):
        container = read(data)
    if (container is None) != (facts is None):
        raise RuntimeError("read and describe disagree")
    try:
        with ItemReader(data) as reader:
            items = tuple(reader)
    except ObverseError:
        items = None
    if container is None:
        if items is not None:
            raise RuntimeError("read and ItemReader disagree")
        return
    if container.items != items:
        raise RuntimeError("read and ItemReader disagree")
    if write(container) != data:
        raise RuntimeError("written back otherwise")


def one_input(data: bytes) -> None:
    check(data)
    check(with_right_checksums(data))


def write_seeds(folder: Path) -> None:
    """Valid files, and damaged ones whose checksums are sometimes made right."""
    choose = random.Random(1)
    for number, container in enumerate(SEEDS):
        blob = write(container)
        (folder / f"{number}").write_bytes(blob)
        for variant in range(8):
            damaged = bytearray(blob)
            for _ in range(choose.randint(1, 3)):
                damaged[choose.randrange(5, len(blob))] = choose.randrange(256)
            result = bytes(damaged) if variant % 2 else with_right_checksums(bytes(damaged))
            (folder / f"{number}-{variant}").write_bytes(result)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_seeds(Path(folder))
        arguments = list(sys.argv)
        if not any(Path(argument).is_file() for argument in arguments[1:]):
            arguments.append(folder)
        atheris.Setup(arguments, one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
