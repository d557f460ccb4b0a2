"""Writing into place: the whole file or nothing, and never over another file unasked."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from obverse.container import write_atomically
from obverse.container.files import check_file
from obverse.errors import OutputError, OutputExistsError


def failing(code: int):
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_writes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"one")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a"]


def test_a_bare_name_goes_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("a", b"one")
    assert os.listdir(tmp_path) == ["a"]


def test_permissions_are_the_ordinary_ones_or_those_of_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "a", b"one")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "a").chmod(0o600)
    write_atomically(tmp_path / "a", b"two", overwrite=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_does_not_overwrite_unasked(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(OutputExistsError, match="exists already"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    write_atomically(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_check_says_what_writing_would_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a"
    check_file(target)
    assert os.listdir(tmp_path) == []
    target.write_bytes(b"old")
    with pytest.raises(OutputExistsError, match="exists already"):
        check_file(target)
    check_file(target, overwrite=True)
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]
    (tmp_path / "link").symlink_to("gone/b")
    for place, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "gone" / "b", "does not exist"),
        (target / "b", "is not a folder"),
        (tmp_path / "link", "does not exist"),
        (tmp_path / ("x" * 300), "name is too long"),
    ):
        for test in (check_file, lambda path, overwrite: write_atomically(path, b"new", overwrite)):
            with pytest.raises(OutputError, match=words):
                test(place, overwrite=True)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    target = tmp_path / "a"
    fsync = os.fsync

    def appear(descriptor: int) -> None:
        target.write_bytes(b"theirs")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", appear)
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    with pytest.raises(OutputExistsError):
        write_atomically(target, b"mine")
    assert target.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a"]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EOPNOTSUPP))
    write_atomically(tmp_path / "a", b"one")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "write elsewhere"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failed_write_leaves_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str, overwrite: bool
) -> None:
    if overwrite:
        (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing(code))
    with pytest.raises(OutputError, match=sentence):
        write_atomically(tmp_path / "a", b"new", overwrite=overwrite)
    assert os.listdir(tmp_path) == (["a"] if overwrite else [])
    if overwrite:
        assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = open

    def open_full(path: str, mode: str):
        real_open(path, mode).close()
        return real_open("/dev/full", "wb")

    monkeypatch.setattr("builtins.open", open_full)
    with pytest.raises(OutputError, match="no space is left"):
        write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == []


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; make it first"):
        write_atomically(tmp_path / "gone" / "a", b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="is not a folder"):
        write_atomically(tmp_path / "file" / "a", b"")
    with pytest.raises(OutputError, match="is a folder"):
        write_atomically(tmp_path, b"", overwrite=True)
    with pytest.raises(OutputError, match="not an ordinary file"):
        write_atomically("/dev/null", b"", overwrite=True)
    with pytest.raises(OutputError, match="too long"):
        write_atomically(tmp_path / ("a" * 300), b"")
    for name in ("", "a\0b"):
        with pytest.raises(OutputError):
            write_atomically(name, b"")
