"""The cache of compiled functions: a folder that this user owns, or none, and never an error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from obverse import jit
from obverse.jit import folder as folders
from tests.conftest import NOBODY, as_nobody

SOURCE = """
from obverse.jit import njit

@njit(cache=True)
def twice(x):
    return 2 * x
"""
PROGRAM = """
import sys
sys.dont_write_bytecode = True
import mine
from obverse.jit import cache_folder
print(mine.twice(21), cache_folder(sys.argv[1]))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A package folder that only root may write."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "mine.py").write_text(SOURCE)
    (folder / "__pycache__").mkdir()
    for path in (folder / "__pycache__", folder):
        path.chmod(0o555)
    for parent in tmp_path.parents:
        if parent.owner() == Path.home().owner() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
        if parent.name.startswith("pytest-of"):
            break
    tmp_path.chmod(0o777)
    return folder


def run(source: Path, tmp_path: Path, **variables: str) -> list[str]:
    """What PROGRAM prints as a user who owns nothing: its result and the folder of the cache."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "TMPDIR")
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    path = os.pathsep.join([str(source), *filter(None, sys.path)])
    environment |= {"PYTHONPATH": path, "TMPDIR": str(tmp_path / "gone")} | variables
    done = subprocess.run(
        [*as_nobody(), sys.executable, "-c", PROGRAM, str(source)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def writable(path: Path, mode: int = 0o777) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


def compiled(folder: Path) -> list[Path]:
    return sorted(folder.rglob("mine.twice*"))


def test_the_first_folder_that_can_be_written(source: Path, tmp_path: Path) -> None:
    given, home, temporary = (writable(tmp_path / name) for name in ("given", "home", "temporary"))
    everything = {"NUMBA_CACHE_DIR": str(given), "HOME": str(home), "TMPDIR": str(temporary)}
    for name, place in (
        ("NUMBA_CACHE_DIR", given),
        ("HOME", home / ".cache" / "obverse"),
        ("TMPDIR", temporary),
    ):
        result, folder = run(source, tmp_path, **everything)
        assert result == "42" and Path(folder).is_relative_to(place)
        assert compiled(Path(folder))
        everything.pop(name)
    assert (
        temporary / f"obverse-{NOBODY if os.geteuid() == 0 else os.geteuid()}"
    ).stat().st_mode & 0o777 == 0o700


def test_no_home_no_folder_for_temporary_files(source: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        if os.access("/dev/shm", os.W_OK):
            shutil.rmtree(f"/dev/shm/obverse-{NOBODY}", ignore_errors=True)
        result = run(source, tmp_path, HOME="/nonexistent", TMPDIR="/proc")
    finally:
        tmp_path.chmod(0o777)
    assert result[0] == "42"
    assert not (tmp_path / "~").exists()


def test_a_home_of_the_cache_directory_standard(source: Path, tmp_path: Path) -> None:
    cache = writable(tmp_path / "xdg")
    assert run(source, tmp_path, XDG_CACHE_HOME=str(cache))[1] == str(cache / "obverse")


def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    assert folders._private(str(tmp_path / "new"))
    open_to_all = writable(tmp_path / "open", 0o777)
    assert not folders._private(str(open_to_all))
    (tmp_path / "link").symlink_to(tmp_path / "new")
    assert not folders._private(str(tmp_path / "link"))
    (tmp_path / "file").write_bytes(b"")
    assert not folders._private(str(tmp_path / "file"))
    if os.geteuid() == 0:
        os.chown(tmp_path / "new", NOBODY, NOBODY)
        assert not folders._private(str(tmp_path / "new"))


def test_a_full_disk_and_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @jit.njit(cache=True)
    def thrice(x: int) -> int:
        return 3 * x

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(thrice._cache._cache_file, "save", full)
    assert thrice(5) == 15

    def damaged(*_: object) -> None:
        raise EOFError

    monkeypatch.setattr(thrice._cache._cache_file, "load", damaged)
    assert (thrice(np.arange(3)) == [0, 3, 6]).all()


def test_numba_switched_off() -> None:
    program = "from obverse.coding import rans; print(rans.__name__)"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "obverse.coding.rans\n", done.stderr
