"""Temporary files of writers that were killed are removed, those of living ones are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from obverse.container import temporary, write_atomically

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there a file that is open cannot be removed")

WRITER = """
import signal, sys, time
from obverse.container.files import new_file
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this process was started with
with new_file(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline()
"""


def writer(target: Path) -> subprocess.Popen[str]:
    """A process in the middle of writing a file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "writing\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture(autouse=True)
def _look_again() -> None:
    temporary.remove_abandoned.cache_clear()


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    process = writer(tmp_path / "a")
    process.kill()
    process.communicate()
    (left,) = names(tmp_path)
    assert temporary.NAME.fullmatch(left)
    write_atomically(tmp_path / "b", b"whole")
    assert names(tmp_path) == ["b"]


def test_what_a_living_writer_writes_stays(tmp_path: Path) -> None:
    process = writer(tmp_path / "a")
    write_atomically(tmp_path / "b", b"whole")
    assert len(names(tmp_path)) == 2
    _, _ = process.communicate("go on\n")
    assert process.returncode == 0
    assert names(tmp_path) == ["a", "b"] and (tmp_path / "a").read_bytes() == b"half"


def test_a_writer_that_is_terminated_removes_its_own(tmp_path: Path) -> None:
    process = writer(tmp_path / "a")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert names(tmp_path) == []


def test_only_our_own_files_are_removed(tmp_path: Path) -> None:
    mine = [".obverse-0123456789abcdef.tmp", ".obverse-x.tmp", "obverse-0123456789abcdef.tmp"]
    for name in mine:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".obverse-aaaaaaaaaaaaaaaa.tmp").mkdir()
    (tmp_path / ".obverse-bbbbbbbbbbbbbbbb.tmp").symlink_to(tmp_path / mine[1])
    os.mkfifo(tmp_path / ".obverse-cccccccccccccccc.tmp")
    write_atomically(tmp_path / "a", b"")
    assert names(tmp_path) == sorted([*mine[1:], "a", *(f".obverse-{letter * 16}.tmp" for letter in "abc")])


def test_a_file_that_was_taken_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = temporary._lock, []

    def late(descriptor: int, wait: bool) -> None:
        if not taken:
            (path,) = tmp_path.iterdir()
            taken.append(path)
            path.unlink()
        real(descriptor, wait)

    monkeypatch.setattr(temporary, "_lock", late)
    write_atomically(tmp_path / "a", b"whole")
    assert taken and names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"whole"


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".obverse-0123456789abcdef.tmp").write_bytes(b"of somebody")

    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(temporary.fcntl, "flock", none)
    write_atomically(tmp_path / "a", b"whole")
    assert names(tmp_path) == [".obverse-0123456789abcdef.tmp", "a"]
