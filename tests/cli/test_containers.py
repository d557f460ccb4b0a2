"""As containers run it: another user, no home, nothing to write but the result, and less than that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import obverse
from tests.conftest import NOBODY, as_nobody, smooth_photo

resource = pytest.importorskip("resource")  # not on Windows
MAIN = [sys.executable, "-B", "-c", "from obverse.cli import main; main()"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="users, limits and mounts of Linux")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with photo.png, open to others, in folders that others can enter."""
    Image.fromarray(smooth_photo(90, 120)).save(tmp_path / "photo.png")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    """Without a home, or a folder for temporary files or caches."""
    gone = {"HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR", "NUMBA_CACHE_DIR", "OBVERSE_ZOO"}
    kept = {name: value for name, value in os.environ.items() if name not in gone}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | more


def obverse_as(
    place: Path, before: list[str], *words: str, **more: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, *MAIN, *words], cwd=place, capture_output=True, text=True, timeout=240, check=False, **more
    )


def test_another_user_without_a_home(place: Path) -> None:
    """One file, and a folder by workers; nothing but results appears."""
    (place / "in").mkdir(mode=0o755)
    for number in range(3):
        shutil.copy(place / "photo.png", place / f"in/{number}.png")
    nowhere = environment(HOME="/nonexistent", TMPDIR="/proc")
    for words in (["compress", "photo.png"], ["compress", "in", "-o", "out", "--jobs", "2"], ["list"]):
        done = obverse_as(place, as_nobody(), *words, env=nowhere)
        assert (done.returncode, done.stderr) == (0, ""), words
    done = obverse_as(place, as_nobody(), "decompress", "photo.obv", "-o", "back.png", env=environment())
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert sorted(path.name for path in place.iterdir()) == [
        "back.png",
        "in",
        "out",
        "photo.obv",
        "photo.png",
    ]
    assert obverse.decompress(place / "photo.obv").shape == (90, 120, 3)


def test_a_user_without_an_entry_has_no_folder_called_tilde(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root becomes such a user")
    before = [word.replace(str(NOBODY), "54321") for word in as_nobody()]
    done = obverse_as(place, before, "compress", "photo.png", env=environment(TMPDIR="/proc"))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert sorted(path.name for path in place.iterdir()) == ["photo.obv", "photo.png"]


def test_no_file_may_be_large(place: Path) -> None:
    """As on a full disk: the result cannot be written, nor what is compiled be cached."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))

    cache = place / "cache"
    done = obverse_as(
        place, [], "compress", "photo.png", env=environment(NUMBA_CACHE_DIR=str(cache)), preexec_fn=limit
    )
    assert done.returncode == 30 and "cannot write photo.obv: File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in place.iterdir()) == ["cache", "photo.png"]
    done = obverse_as(place, [], "compress", "photo.png", env=environment(NUMBA_CACHE_DIR=str(cache)))
    assert (done.returncode, done.stderr) == (0, "")  # what is left in the cache does no harm


def mounted(options: str, target: Path) -> list[str]:
    """Words before a command that runs it with a file system of its own at `target`."""
    mount = f'mount -t tmpfs -o {options} none "{target}" && exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*before, "true"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    return before


def test_a_full_folder_for_temporary_files(place: Path) -> None:
    (place / "tmp").mkdir()
    before = mounted("size=8k,nr_inodes=3", place / "tmp")
    done = obverse_as(
        place, [*before, *as_nobody()], "compress", "photo.png", env=environment(TMPDIR=str(place / "tmp"))
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_a_full_disk(place: Path) -> None:
    (place / "full").mkdir()
    done = obverse_as(
        place, mounted("size=4k", place / "full"), "compress", "photo.png", "--lossless", "-o", "full/"
    )
    assert done.returncode == 30 and "no space is left in full" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_read_only_file_system(place: Path) -> None:
    (place / "fixed").mkdir()
    done = obverse_as(place, mounted("ro", place / "fixed"), "compress", "photo.png", "-o", "fixed/photo.obv")
    assert done.returncode == 30 and "fixed is read-only; write elsewhere" in done.stderr
    done = obverse_as(place, mounted("ro", place / "fixed"), "compress", "photo.png", "-o", "fixed/new/")
    assert done.returncode == 30 and "cannot be made: Read-only file system" in done.stderr
