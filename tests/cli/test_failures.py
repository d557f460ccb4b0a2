"""What the commands do when something is wrong: one sentence, its own exit code, nothing half-written."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import obverse
from obverse import errors
from obverse.cli import run
from obverse.cli.batch import Batch
from obverse.cli.console import explain
from obverse.cli.plan import Job
from obverse.container import Container, files, read, temporary, write
from tests.conftest import smooth_photo

Capture = pytest.CaptureFixture[str]
FULL = Path("/dev/full")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with good.png in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(smooth_photo(40, 48)).save("good.png")
    return tmp_path


@pytest.fixture(scope="module")
def packed() -> bytes:
    return obverse.compress(smooth_photo(40, 48))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sentence(capsys: Capture) -> str:
    """The one line on stderr; nothing on stdout."""
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured
    assert captured.err.startswith("error: ") and "Traceback" not in captured.err
    return captured.err


# -- what cannot be compressed ----------------------------------------------------------------------------


def text_named_png() -> bytes:
    return b"this is not a picture\n"


def truncated_png() -> bytes:
    return Path("good.png").read_bytes()[:-1500]


def nothing() -> bytes:
    return b""


@pytest.mark.parametrize(
    ("make", "words"),
    [(text_named_png, "not an image"), (truncated_png, "damaged or cut short"), (nothing, "empty (0 bytes)")],
)
def test_bad_input(folder: Path, capsys: Capture, make: Callable[[], bytes], words: str) -> None:
    Path("bad.png").write_bytes(make())
    assert run(["compress", "bad.png"]) == 3
    line = sentence(capsys)
    assert words in line and line.count("bad.png") == 1
    assert names(folder) == ["bad.png", "good.png"]


def test_missing_input(folder: Path, capsys: Capture) -> None:
    for command in ("compress", "decompress", "info"):
        assert run([command, "gone"]) == 3
        assert "gone" in sentence(capsys)
    assert names(folder) == ["good.png"]


def test_float_pixels(folder: Path, capsys: Capture) -> None:
    Image.new("F", (8, 8)).save("deep.tif")
    assert run(["compress", "deep.tif"]) == errors.UnsupportedInputError.exit_code == 4
    assert "floating-point" in sentence(capsys)


def test_too_many_pixels(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    assert run(["compress", "good.png"]) == 17
    assert "--unlimited" in sentence(capsys)
    assert run(["compress", "good.png", "--unlimited"]) == 0
    assert Image.MAX_IMAGE_PIXELS == 900


def test_a_limit_on_memory(folder: Path, capsys: Capture) -> None:
    """Of each command that codes or reads, by one option."""
    Image.fromarray(smooth_photo(600, 700)).save("large.png")
    for lossless in ([], ["--lossless"]):
        words = ["compress", "large.png", "-o", "large.obv", *lossless]
        assert run([*words, "--memory", "1M"]) == errors.LimitError.exit_code
        assert "--memory" in sentence(capsys) and not Path("large.obv").exists()
        assert run([*words, "--memory", "1GB"]) == 0
        assert (
            run(["decompress", "large.obv", "-o", "again.png", "--memory", "1M"])
            == errors.LimitError.exit_code
        )
        capsys.readouterr()
        Path("large.obv").unlink()
    np.save("digits.npy", np.zeros((2, 28, 28), np.uint8))
    for words in (["large.png", "--memory", "much"], ["large.png", "--memory", "1G", "--unlimited"]):
        assert run(["compress", *words]) == 2
        assert "--memory" in sentence(capsys)
    assert run(["compress", "digits.npy", "--codec", "vae-mnist", "--memory", "1G"]) == 2
    assert "no use for --memory" in sentence(capsys)


def test_unknown_codec(folder: Path, capsys: Capture) -> None:
    assert run(["compress", "good.png", "--codec", "zip"]) == 8
    assert "'zip'" in sentence(capsys)


@pytest.mark.parametrize("target", [["--max-bytes", "20"], ["--bpp", "0.01"]])
def test_a_size_that_cannot_be_reached(folder: Path, capsys: Capture, target: list[str]) -> None:
    code = run(["compress", "good.png", *target])
    line = sentence(capsys)
    assert code == 23, line
    assert "smallest file" in line
    assert names(folder) == ["good.png"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("compress good.png --quality 101", "--quality must be a number from 1 to 100, not 101"),
        ("compress good.png --max-bytes 0", "--max-bytes: '0' is not a number of bytes of at least 1"),
        ("compress good.png --bpp 0", "--bpp must be a number above 0"),
        ("compress good.png --effort 99", "--effort must be"),
        ("compress good.png --lossless --max-error 40000", "--max-error must be"),
        ("compress good.png --jobs 0", "--jobs must be"),
        ("compress-features good.npy --loss 2", "--loss must be"),
        ("decompress good.obv --background whit", "'whit' is no colour"),
        ("plug-and-play evaluate --data good.npz --lmbda 0", "--lmbda must be a number above 0"),
        ("train image --data . --out . --steps 0", "--steps must be"),
    ],
)  # fmt: skip
def test_values_that_an_option_has_for_no_file_are_wrong_use(
    folder: Path, capsys: Capture, words: str, told: str
) -> None:
    """One code for all of them, with the flag, whichever part finds it."""
    assert run(words.split()) == 2
    assert told in sentence(capsys)
    assert names(folder) == ["good.png"]


def test_a_value_that_this_file_does_not_take_is_an_option_error(folder: Path, capsys: Capture) -> None:
    assert (
        run(["compress", "good.png", "--lossless", "--max-error", "200"]) == errors.OptionError.exit_code == 7
    )
    assert "at most 127" in sentence(capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["--quality", "50", "--bpp", "1"],
        ["--bpp", "0"],
        ["--bpp", "nan"],
        ["--bpp", "inf"],
        ["--effort", "10"],
    ],
    ids=" ".join,
)
def test_options_that_cannot_be(folder: Path, capsys: Capture, words: list[str]) -> None:
    assert run(["compress", "good.png", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert names(folder) == ["good.png"]


@pytest.mark.parametrize(
    "words",
    [
        "compress gone",
        "compress gone --lossless",
        "compress gone --codec vae-mnist",
        "compress gone --codec features",
        "decompress gone",
        "info gone",
        "compress-features gone -o x.obv",
        "compress-features good.png --encoder m:f --classes gone -o x.obv",
        "evaluate gone --against jpeg",
        "limits --samples gone",
        "limits --gaussian 1 --points gone",
        "plug-and-play fit --data gone --out m",
    ],
)
def test_a_missing_file_is_told_in_the_same_words(folder: Path, capsys: Capture, words: str) -> None:
    Path("m.py").write_text("f = lambda x: x.mean((2, 3))\n")
    assert run(words.split()) == 3
    assert "there is no file gone" in capsys.readouterr().err


# -- what cannot be decompressed --------------------------------------------------------------------------


def changed(packed: bytes, **changes: Any) -> bytes:
    container = read(packed)
    return write(Container(**{**container.__dict__, **changes}))


BAD_FILES: dict[str, tuple[Callable[[bytes], bytes], int, str]] = {
    "text": (lambda data: b"not a file of ours", 11, "not an .obv file"),
    "empty": (lambda data: b"", 11, "empty"),
    "newer": (lambda data: data[:4] + b"\x07" + data[5:], 12, "version 7"),
    "short": (lambda data: data[:-20], 13, "ends early"),
    "header": (lambda data: data[:8] + b"\xff" + data[9:], 14, "checksum of the header"),
    "payload": (lambda data: data[:-30] + bytes([data[-30] ^ 1]) + data[-29:], 14, "damaged"),
    "longer": (lambda data: data + b"x", 14, "more bytes"),
    "codec": (lambda data: changed(data, codec="sound"), 15, "'sound'"),
    "model": (lambda data: changed(data, model=b"8 bytes!"), 16, b"8 bytes!".hex()),
    "none": (lambda data: changed(data, model=None), 16, "names no model"),
    "huge": (lambda data: changed(data, shape=(2**20, 2**20)), 17, "more than the limit"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_obv(folder: Path, capsys: Capture, packed: bytes, kind: str) -> None:
    make, code, words = BAD_FILES[kind]
    Path("bad.obv").write_bytes(make(packed))
    assert run(["decompress", "bad.obv"]) == code
    line = sentence(capsys)
    assert words in line and line.count("bad.obv") == 1
    assert names(folder) == ["bad.obv", "good.png"]


@pytest.mark.parametrize("kind", ["text", "empty", "newer", "short", "header", "payload", "longer"])
def test_info_finds_damage_too(folder: Path, capsys: Capture, packed: bytes, kind: str) -> None:
    make, code, words = BAD_FILES[kind]
    Path("bad.obv").write_bytes(make(packed))
    assert run(["info", "bad.obv"]) == code
    assert words in sentence(capsys)


def test_a_kind_of_image_that_is_not_written(folder: Path, capsys: Capture, packed: bytes) -> None:
    Path("a.obv").write_bytes(packed)
    for name in ("a.xyz", "a.txt"):
        assert run(["decompress", "a.obv", "-o", name]) == 30
        assert "use .png" in sentence(capsys)
    photo = smooth_photo(8, 8)
    Path("alpha.obv").write_bytes(obverse.compress(photo.repeat(2, axis=2)[:, :, :4]))
    assert run(["decompress", "alpha.obv", "-o", "a.jpg"]) == 30
    assert "alpha" in sentence(capsys)
    assert names(folder) == ["a.obv", "alpha.obv", "good.png"]


# -- a wrong command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["compress"],
        ["compress", "good.png", "--colour"],
        ["compress", "good.png", "--quality", "high"],
        ["compress", "good.png", "--bpp", "much"],
        ["compress", "good.png", "--max-bytes", "many"],
        ["compress", "good.png", "--metadata", "author"],
        ["compress", "-", "-"],
        ["compress", "-", "good.png", "-o", "out"],
        ["compress", "good.png", "good.png", "-o", "-"],
        ["train", "image"],
        ["list", "good.png"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(folder: Path, capsys: Capture, words: list[str]) -> None:
    assert run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.strip() and "Traceback" not in captured.err
    assert names(folder) == ["good.png"]


# -- where results go -------------------------------------------------------------------------------------


def test_existing_files_are_kept_unless_forced(folder: Path, capsys: Capture) -> None:
    Path("good.obv").write_text("mine")
    assert run(["compress", "good.png"]) == 31
    assert "--force" in sentence(capsys) and Path("good.obv").read_text() == "mine"
    assert run(["compress", "good.png", "--force"]) == 0
    assert obverse.decompress("good.obv").shape == (40, 48, 3)
    capsys.readouterr()
    assert run(["decompress", "good.obv"]) == 31
    assert "good.png exists" in sentence(capsys)


def test_two_results_of_one_name(folder: Path, capsys: Capture) -> None:
    """All clashes are told, and the rest is done."""
    Path("sub").mkdir()
    for name in ("sub/good.png", "other.png"):
        Image.open("good.png").save(name)
    for words in (["good.png", "sub/good.png", "-o", "out"], ["good.png", "./good.png"]):
        assert run(["compress", "other.png", *words, "--force"]) == 30
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 2 and all("two inputs" in line and "good.png.obv" in line for line in errors)
        assert "1 of 3 files done, 2 failed" in captured.err
    assert names(folder) == ["good.png", "other.obv", "other.png", "out", "sub"]
    assert names(folder / "out") == ["other.obv"]


def test_sources_that_differ_in_their_suffix_keep_it(folder: Path, capsys: Capture) -> None:
    Path("in").mkdir()
    for name in ("a.png", "a.bmp", "b.png"):
        Image.open("good.png").save(f"in/{name}")
    assert run(["compress", "in", "-o", "out"]) == 0
    assert names(folder / "out") == ["a.bmp.obv", "a.png.obv", "b.obv"]
    assert run(["decompress", "out", "-o", "back"]) == 0
    assert names(folder / "back") == ["a.bmp.png", "a.png", "b.png"]


def test_a_longer_name_that_is_that_of_a_third_file(folder: Path, capsys: Capture) -> None:
    """All are coded and come back by names of their own; what is a PNG file by its own."""
    Path("in/deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "a.bmp", "a.bmp.png", "a.bmp.obv.png", "deep/a.png", "b.png")):
        Image.fromarray(np.full((16, 16), 40 * number, np.uint8)).save(f"in/{name}")
    assert run(["compress", "--lossless", "in", "-o", "out"]) == 0
    made = ["a.bmp.obv", "a.bmp.obv.obv", "a.bmp.png.obv", "a.png.obv", "b.obv", "deep"]
    assert names(folder / "out") == made and names(folder / "out" / "deep") == ["a.obv"]
    assert run(["decompress", "out", "-o", "back"]) == 0
    greys = {
        name: np.asarray(Image.open(f"back/{name}"))[0, 0] // 40
        for name in names(folder / "back")
        if "." in name
    }
    assert greys == {"a.png": 0, "a.bmp.obv.png": 1, "a.bmp.png": 2, "a.bmp.obv.obv.png": 3, "b.png": 5}


def test_a_name_comes_back_as_it_was(folder: Path, capsys: Capture) -> None:
    assert run(["compress", "good.png", "-o", "other.PNG.obv"]) == 0
    assert run(["decompress", "other.PNG.obv"]) == 0
    assert names(folder) == ["good.png", "other.PNG", "other.PNG.obv"]


def test_an_input_is_never_overwritten(folder: Path, capsys: Capture) -> None:
    before = Path("good.png").read_bytes()
    assert run(["compress", "good.png", "-o", "./good.png", "--force"]) == 30
    assert "is an input" in sentence(capsys)
    assert Path("good.png").read_bytes() == before


def test_an_output_folder_that_is_not_there_or_no_folder(folder: Path, capsys: Capture) -> None:
    assert run(["compress", "good.png", "-o", "gone/a.obv"]) == 30
    assert "does not exist" in sentence(capsys)
    assert run(["compress", "good.png", "-o", "good.png/"]) == 30
    assert "cannot be made" in sentence(capsys)
    assert run(["compress", "good.png", "-o", "x" * 300]) == 30
    assert "too long" in sentence(capsys)
    assert names(folder) == ["good.png"]


def test_an_empty_folder(folder: Path, capsys: Capture) -> None:
    Path("empty").mkdir()
    assert run(["compress", "empty"]) == 3
    assert "empty holds no files" in sentence(capsys)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission(folder: Path, capsys: Capture) -> None:
    Path("locked").mkdir(mode=0o500)
    assert run(["compress", "good.png", "-o", "locked/a.obv"]) == 30
    assert "permission denied" in sentence(capsys)
    assert run(["compress", "good.png", "-o", "locked/deep/"]) == 30
    assert "cannot be made" in sentence(capsys)


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EACCES, "permission denied"), (errno.EROFS, "read-only"), (errno.ENOSPC, "no space is left")],
)
def test_writing_fails(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", fail)  # when the data is in the temporary file already
    assert run(["compress", "good.png"]) == 30
    line = sentence(capsys)
    assert words in line and line.count("good.obv") == 1
    assert names(folder) == ["good.png"]


def test_opening_for_writing_fails(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.open

    def fail(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if "x" in mode:
            raise PermissionError(errno.EACCES, "Permission denied", file)
        return real(file, mode, *more, **options)

    monkeypatch.setattr(temporary, "open", fail, raising=False)
    assert run(["compress", "good.png"]) == 30
    assert "permission denied" in sentence(capsys)


def test_the_disk_fills_up_in_the_middle_of_a_batch(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def full_at_second(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # each file takes two: its data, then its folder
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    for name in ("a.png", "b.png", "c.png"):
        Image.open("good.png").save(name)
    monkeypatch.setattr(files.os, "fsync", full_at_second)
    assert run(["compress", "a.png", "b.png", "c.png"]) == 30
    assert "2 of 3 files done, 1 failed" in capsys.readouterr().err
    assert names(folder) == ["a.obv", "a.png", "b.png", "c.obv", "c.png", "good.png"]


# -- batches ----------------------------------------------------------------------------------------------


def test_the_others_of_a_batch_are_done_and_the_first_failure_counts(folder: Path, capsys: Capture) -> None:
    Path("first.png").write_text("text")
    Image.new("F", (8, 8)).save("second.tif")
    Image.open("good.png").save("zlast.png")
    assert run(["compress", "second.tif", "good.png", "first.png", "gone.png", "zlast.png"]) == 4
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 3
    assert captured.err.endswith("2 of 5 files done, 3 failed\n")
    assert "2 files: " in captured.out
    assert {"good.obv", "zlast.obv"} <= set(names(folder))
    assert not {"first.obv", "second.obv"} & set(names(folder))


def test_a_batch_survives_a_bug_and_a_lack_of_memory(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles = {
        "a": RuntimeError("a bug in a codec"),
        "b": MemoryError(),
        "c": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        "d": PermissionError(errno.EACCES, "Permission denied", "d"),
        "e": None,
    }

    def work(job: Job) -> dict[str, Any]:
        if trouble := troubles[str(job.source)]:
            raise trouble
        return {"input": "e"}

    jobs = [Job(Path(name), Path("-")) for name in troubles]
    rows, code = Batch("working", force=True).run(jobs, work)
    assert [row.get("exit_code") for row in rows] == [1, 1, 1, 3, None] and code == 1
    lines = capsys.readouterr().err.splitlines()
    assert "a: unexpected RuntimeError: a bug in a codec" in lines[0] and "OBVERSE_TRACEBACK" in lines[0]
    assert "out of memory" in lines[1] and "out of memory" in lines[2]
    assert lines[3] == "error: d: Permission denied" and "1 of 5 files done" in lines[4]
    monkeypatch.setenv("OBVERSE_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        explain(ZeroDivisionError())


# -- interruption -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_in_the_middle_of_a_batch(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    real, calls = os.fsync, []

    def interrupt_at_second(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
            time.sleep(5)  # the signal ends this
        real(descriptor)

    Path("in").mkdir()
    for name in ("a", "b", "c"):
        Image.open("good.png").save(f"in/{name}.png")
    monkeypatch.setattr(files.os, "fsync", interrupt_at_second)
    before = signal.getsignal(signal.SIGTERM)
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        terminated = number == signal.SIGTERM
        assert run(["compress", "in", "-o", "out"]) == (143 if terminated else 130)
    finally:
        signal.signal(signal.SIGINT, heard)
    captured = capsys.readouterr()
    what = "terminated" if terminated else "interrupted"
    assert captured.err == f"{what}: 1 of 3 files done; nothing half-written was left behind\n"
    assert names(folder / "out") == ["a.obv"]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to processes in another way")
def test_a_process_is_interrupted(folder: Path) -> None:
    script = (
        "import os, signal, sys, time\n"
        "from obverse.container import files\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "real = os.fsync\n"
        "def slow(descriptor):\n"
        "    print('writing', flush=True); time.sleep(30)\n"
        "files.os.fsync = slow\n"
        "from obverse.cli import main\n"
        "main(['compress', 'good.png'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    assert any(name.endswith(".tmp") for name in names(folder))
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told == "interrupted: 0 of 1 files done; nothing half-written was left behind\n"
    assert names(folder) == ["good.png"]


# -- pipes that break -------------------------------------------------------------------------------------


def test_stdout_that_fails(folder: Path, packed: bytes) -> None:
    """A full disk behind >, and a reader that went away: no traceback, not even at the end of the process."""
    Path("a.obv").write_bytes(packed)
    command = [sys.executable, "-c", "from obverse.cli import main; main()", "info", "a.obv"]
    if FULL.exists():
        with FULL.open("wb") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 30
        assert done.stderr.startswith("error: cannot write to standard output: No space left")
        assert done.stderr.count("\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


ENDS = ((">&-", 30), ("2>&-", 0), ("2>&- >&-", 30), ("<&-", 0), ("| true", 141), ("2>&1 | true", 141))
WORDS = ("info a.obv", "compress good.png --lossless", "decompress exact.obv -o b.png", "--help")


@pytest.mark.skipif(sys.platform == "win32", reason="shells close streams")
@pytest.mark.parametrize(
    ("words", "end", "code"),
    [
        *((words, *end) for words in WORDS for end in ENDS),
        # with torch, whose import takes seconds
        *((words, *ENDS[2]) for words in ("compress good.png", "decompress a.obv -o b.png")),
    ],
)
def test_streams_that_are_closed_are_no_bugs(
    folder: Path, packed: bytes, words: str, end: str, code: int
) -> None:
    if "exact" in words:
        Path("exact.obv").write_bytes(obverse.compress(smooth_photo(40, 48), "image-lossless"))
    Path("a.obv").write_bytes(packed)
    program = "from obverse.cli import main; main()"
    script = f"{sys.executable} -c '{program}' {words} {end}; echo ${{PIPESTATUS[0]}} > code"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    assert "bug" not in said and "Traceback" not in said and "Exception" not in said
    if words != "--help" or "|" in end:
        assert int(Path("code").read_text()) == code
    if "compress good" in words:
        assert obverse.decompress("good.obv").shape == (40, 48, 3)  # nothing else was written into it


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_data_to_a_full_stdout(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run(["compress", "good.png", "-o", "-"]) == 30
        monkeypatch.undo()
    assert "cannot write to standard output: No space left" in capsys.readouterr().err


def test_a_closed_stdin(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    for words in (["compress", "-", "-o", "y.obv"], ["decompress", "-", "-o", "y.png"], ["info", "-"]):
        assert run(words) == 3
        assert "standard input is closed: " in sentence(capsys)


class Endless(io.RawIOBase):
    """/dev/zero, of which no test takes much."""

    taken = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.taken += size
        assert size > 0 and self.taken < 20_000_000
        return bytes(size)


def test_standard_input_without_an_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for words in (["compress", "-", "-o", "y.obv"], ["decompress", "-", "-o", "y.png"], ["info", "-"]):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Endless()))
        assert run([*words, "--memory", "5M"]) == 17
        assert sentence(capsys).startswith("error: standard input: this takes ")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_device_is_no_input(folder: Path, capsys: Capture) -> None:
    for words in (["compress"], ["compress", "--codec", "vae-mnist"], ["compress", "--lossless"]):
        assert run([*words, "/dev/zero", "-o", "y.obv"]) == 3
        assert "/dev/zero is a device, not a file" in sentence(capsys)


def test_large_files_are_looked_at_before_they_are_read(folder: Path, capsys: Capture) -> None:
    """Their beginning, and how large they are."""
    front = Path("good.png").read_bytes()
    for name, start, code in (("none.png", b"", 3), ("long.png", front, 17), ("set.npy", b"\x93NUMPY", 17)):
        Path(name).write_bytes(start)
        os.truncate(name, 8_000_000)
        tracemalloc.start()
        try:
            assert run(["compress", name, "-o", "y.obv", "--memory", "5M"]) == code
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()
        told = sentence(capsys)
        assert name in told and ("not an image of a known format" if code == 3 else "--memory") in told


# -- the codes --------------------------------------------------------------------------------------------


def test_every_error_has_its_own_exit_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = [kind.exit_code for kind in kinds if issubclass(kind, errors.ObverseError)]
    assert len(set(codes)) == len(codes) > 20
    assert not {0, 2, 130, 141} & set(codes)
