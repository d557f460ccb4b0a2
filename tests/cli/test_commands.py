"""What the commands do when all is well: files, folders, pipes, JSON, help."""

from __future__ import annotations

import io
import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import obverse
from obverse import errors
from obverse.cli import run
from obverse.cli.console import human, printable, to_json
from obverse.errors import OptionError
from obverse.fields import parse_bytes
from obverse.registry import find_method
from tests.conftest import smooth_photo

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path: Path | str, seed: int = 0, height: int = 40, width: int = 48) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth_photo(height, width, seed)).save(path)
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


# -- one file ---------------------------------------------------------------------------------------------


def test_there_and_back(folder: Path, capsys: Capture) -> None:
    save("photo.png")
    assert run(["compress", "photo.png"]) == 0
    line = capsys.readouterr()
    assert re.fullmatch(r"photo\.png -> photo\.obv: [\d.]+ kB -> \d+ B, \d\.\d{3} bpp\n", line.out)
    assert line.err == ""
    assert run(["decompress", "photo.obv", "-o", "again.png"]) == 0
    with Image.open("again.png") as image:
        assert image.size == (48, 40) and image.mode == "RGB"
    assert files(folder) == ["again.png", "photo.obv", "photo.png"]
    assert Path("photo.obv").read_bytes() == obverse.compress("photo.png")


def test_the_name_of_the_output_says_its_kind(folder: Path) -> None:
    save("photo.png")
    assert run(["compress", "photo.png"]) == 0
    for name, kind in {"a.jpg": "JPEG", "a.tif": "TIFF"}.items():
        assert run(["decompress", "photo.obv", "-o", name]) == 0
        with Image.open(name) as image:
            assert image.format == kind
    assert run(["decompress", "photo.obv", "-o", "a.npy"]) == 0
    assert np.load("a.npy").shape == (40, 48, 3)


def test_quality_sets_the_size(folder: Path) -> None:
    save("photo.png")
    sizes = []
    for quality in ("5", "50", "95"):
        assert run(["compress", "photo.png", "-q", quality, "-o", f"{quality}.obv"]) == 0
        sizes.append(Path(f"{quality}.obv").stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]


def test_rate_targets_are_met_from_below_within_2_percent(folder: Path, capsys: Capture) -> None:
    save("photo.png", height=60, width=64)
    for option, text, target in (
        ("--max-bytes", "0.7k", 700),
        ("--bpp", "1.1", 1.1 * 60 * 64 / 8),
    ):
        assert run(["compress", "photo.png", option, text, "-f"]) == 0
        assert 0.98 * target <= Path("photo.obv").stat().st_size <= target


def test_metadata_and_info(folder: Path, capsys: Capture) -> None:
    save("photo.png")
    assert (
        run(["compress", "photo.png", "--metadata", "author=Ada", "--metadata", "note=a=b", "-q", "60"]) == 0
    )
    capsys.readouterr()
    assert run(["info", "photo.obv"]) == 0
    text = capsys.readouterr().out
    fingerprint = obverse.open_codec("image").fingerprint
    size = Path("photo.obv").stat().st_size
    assert fingerprint is not None
    for part in (
        f"photo.obv: {size} bytes, format version 1, checksums hold",
        f"codec     image, model {fingerprint.hex()}",
        "shape     40 x 48",
        "quality   60\n",
        "pixels    colour",
        "bits per pixel",
        "section   y: ",
        "metadata  author: Ada",
        "metadata  note: a=b",
        "overhead ",
    ):
        assert part in text
    assert run(["info", "--json", "photo.obv"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["shape"] == [40, 48] and facts["metadata"] == {"author": "Ada", "note": "a=b"}
    assert facts["file_bytes"] == size and facts["model"] == fingerprint.hex()
    assert facts["quality"] == 60 and facts["bpp"] == 8 * size / (40 * 48)
    assert facts["method"] == find_method("image").summary and facts["facts"]["pixels"] == "colour"


@pytest.mark.parametrize("command", ["compress", "compress-features"])
def test_metadata_that_cannot_be_kept(folder: Path, capsys: Capture, command: str) -> None:
    save("a.png")
    np.save("a.npy", np.ones((3, 2), np.float32))
    source = {"compress": "a.png", "compress-features": "a.npy"}[command]
    for texts, words in (
        (["k=1", "k=2"], "names 'k' twice"),
        (["k=\udcff"], "no text in UTF-8"),  # as Python has an argument with the byte 255
        (["\udcff=1"], "no text in UTF-8"),
        (["k"], "takes KEY=TEXT"),
        (["=1"], "takes KEY=TEXT"),
    ):
        assert run([command, source, *(f"--metadata={text}" for text in texts)]) == 2
        assert words in capsys.readouterr().err
    assert not list(folder.glob("*.obv"))
    assert run([command, source, "--metadata", "k=a=b", "--metadata", "l="]) == 0
    assert obverse.container.describe("a.obv")["metadata"] == {"k": "a=b", "l": ""}


def test_info_does_not_hand_control_characters_to_the_terminal(folder: Path, capsys: Capture) -> None:
    data = obverse.compress(smooth_photo(8, 8), metadata={"evil": "\x1b[2Jgone\nline", "nan": float("nan")})
    Path("a.obv").write_bytes(data)
    assert run(["info", "a.obv"]) == 0
    assert "\\x1b[2Jgone\\nline" in capsys.readouterr().out
    assert run(["info", "a.obv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["metadata"]["nan"] is None


def test_info_of_a_codec_that_is_not_installed(folder: Path, capsys: Capture) -> None:
    container = obverse.Container("other", {"depth": 3}, (0, 5), items=(b"ab", b"c"))
    Path("a.obv").write_bytes(obverse.container.write(container))
    assert run(["info", "a.obv"]) == 0
    text = capsys.readouterr().out
    assert "codec     other\n" in text and "{'depth': 3}" in text and "items     2, 3 bytes" in text


# -- many -------------------------------------------------------------------------------------------------


def test_a_folder_tree_keeps_its_shape(folder: Path, capsys: Capture) -> None:
    save("in/a.png")
    save("in/deep/er/b.PNG", 1)
    save("in/deep/c.bmp", 2)
    Path("in/notes.txt").write_text("not a picture")
    assert run(["compress", "in", "-o", "packed"]) == 0
    assert files(folder / "packed") == ["a.obv", "deep/c.obv", "deep/er/b.obv"]
    report = capsys.readouterr().out
    assert re.search(r"^3 files: [\d.]+ kB -> [\d.]+ k?B \([\d.]+%\)$", report, re.MULTILINE)
    assert run(["decompress", "packed", "-o", "out"]) == 0
    assert files(folder / "out") == ["a.png", "deep/c.png", "deep/er/b.png"]


def test_without_output_results_lie_beside_their_sources(folder: Path) -> None:
    save("in/a.png")
    save("in/deep/b.png", 1)
    save("c.png", 2)
    assert run(["compress", "in", "c.png"]) == 0
    assert files(folder) == ["c.obv", "c.png", "in/a.obv", "in/a.png", "in/deep/b.obv", "in/deep/b.png"]


def test_a_folder_of_one_file_and_an_output_that_ends_in_a_slash(folder: Path) -> None:
    save("in/a.png")
    assert run(["compress", "in", "-o", "new/one"]) == 0
    assert run(["compress", "in/a.png", "-o", "new/two/"]) == 0
    assert run(["compress", "in/a.png", "-o", "new"]) == 0  # is a folder
    assert files(folder / "new") == ["a.obv", "one/a.obv", "two/a.obv"]


def test_json_of_a_batch(folder: Path, capsys: Capture) -> None:
    save("a.png")
    Path("b.png").write_text("text")
    assert run(["compress", "a.png", "b.png", "--json"]) == 3
    captured = capsys.readouterr()
    done, failed = json.loads(captured.out)
    size = Path("a.obv").stat().st_size
    assert done["input"] == "a.png" and done["output"] == "a.obv" and done["bytes_out"] == size
    assert done["bytes_in"] == Path("a.png").stat().st_size and done["bpp"] == size * 8 / (40 * 48)
    assert failed["input"] == "b.png" and failed["exit_code"] == 3 and "b.png" in failed["error"]
    assert run(["decompress", "a.obv", "--json", "-o", "c.png"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["bytes_out"] == Path("c.png").stat().st_size


def test_a_bar_with_a_total_on_a_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in "abc":
        save(f"{name}.png")
    Path("b.png").write_text("text")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run(["compress", "a.png", "b.png", "c.png"]) == 3
    shown = terminal.getvalue()
    assert "compressing" in shown and "3/3" in shown and "b.png is not an image" in shown


# -- pipes ------------------------------------------------------------------------------------------------


def test_pipes_give_the_bytes_of_files(
    folder: Path, stdin: Callable[[bytes], None], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    save("photo.png")
    assert run(["compress", "photo.png", "-o", "file.obv"]) == 0
    assert run(["decompress", "file.obv", "-o", "file.png"]) == 0
    capsysbinary.readouterr()

    stdin(Path("photo.png").read_bytes())
    assert run(["compress", "-"]) == 0
    packed = capsysbinary.readouterr()
    assert packed.out == Path("file.obv").read_bytes()
    assert packed.err.startswith(b"- -> -: ")

    stdin(packed.out)
    assert run(["decompress", "-", "-o", "-"]) == 0
    assert capsysbinary.readouterr().out == Path("file.png").read_bytes()

    assert run(["compress", "photo.png", "-o", "-", "--json"]) == 0
    captured = capsysbinary.readouterr()
    assert captured.out == packed.out and json.loads(captured.err)[0]["bytes_out"] == len(packed.out)

    stdin(packed.out)
    assert run(["decompress", "-", "-o", "piped.png"]) == 0
    assert Path("piped.png").read_bytes() == Path("file.png").read_bytes()

    stdin(packed.out)
    capsysbinary.readouterr()
    assert run(["info", "-", "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)[0]["file_bytes"] == len(packed.out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_read_once(folder: Path, capsys: Capture) -> None:
    """As those of `<(command)` are: what is read of it to look at the header is not there again."""

    def piped(data: bytes, *command: str) -> int:
        Path("pipe").unlink(missing_ok=True)
        os.mkfifo("pipe")
        writer = threading.Thread(target=Path("pipe").write_bytes, args=(data,), daemon=True)
        writer.start()
        code = run([*command, "pipe"])
        writer.join()
        return code

    photo = save("photo.png").read_bytes()
    assert run(["compress", "photo.png", "-o", "file.obv"]) == 0
    assert run(["decompress", "file.obv", "-o", "file.png"]) == 0
    packed = Path("file.obv").read_bytes()
    capsys.readouterr()
    assert piped(photo, "compress", "-o", "piped.obv", "--json") == 0
    assert Path("piped.obv").read_bytes() == packed
    (row,) = json.loads(capsys.readouterr().out)
    assert row["bytes_in"] == len(photo) and "larger" not in row
    assert piped(packed, "decompress", "-o", "piped.png") == 0
    assert Path("piped.png").read_bytes() == Path("file.png").read_bytes()
    assert run(["compress", "--lossless", "photo.png", "-o", "exact.obv"]) == 0
    assert piped(Path("exact.obv").read_bytes(), "decompress", "--recover", "-o", "exact.png") == 0
    assert piped(packed, "info") == 0


@pytest.mark.slow
def test_real_pipes(folder: Path) -> None:
    save("photo.png")
    assert run(["compress", "photo.png", "-o", "file.obv"]) == 0
    obv = f'"{sys.executable}" -c "from obverse.cli import main; main()"'
    script = f"{obv} compress - < photo.png | {obv} info --json -"
    done = subprocess.run(script, shell=True, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["file_bytes"] == Path("file.obv").stat().st_size


def test_no_data_to_a_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    save("photo.png")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run(["compress", "photo.png", "-o", "-"]) == 30
    assert "terminal" in capsys.readouterr().err


# -- help, and what is not imported for it ----------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["compress", "decompress", "info", "list", "train image", "export image", "evaluate"]
)
def test_help_with_examples(command: str, capsys: Capture) -> None:
    assert run([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: obverse {command}" in text
    assert re.search(rf"For example:.*obverse {command}", text, re.DOTALL)


def test_help_of_all(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("compress", "decompress", "info", "list", "train", "export", "evaluate"):
        assert re.search(rf"│ {command} ", text)
    assert "Exit codes" in text
    assert run([]) == 0
    assert "compress" in capsys.readouterr().out
    assert run(["train"]) == 0
    assert "image" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == obverse.__version__


def test_exit_codes_of_the_help_belong_to_one_kind_of_error() -> None:
    """17 lies among those of files that cannot be decoded, and is no one of them."""
    told = errors.exit_codes()
    assert "; 10 to 16, 18 a file that cannot be decoded; 17 larger than" in told
    listed: list[int] = []
    for numbers in re.findall(r"(?:^|[:;] )(\d[\d, to]*) [a-z]", told):
        for part in numbers.split(", "):
            first, _, last = part.partition(" to ")
            listed += range(int(first), int(last or first) + 1)
    assert len(listed) == len(set(listed)) and {17, 18, 2, 130} < set(listed)


def test_list(capsys: Capture) -> None:
    assert run(["list"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^image +photos.*\(obverse\)$", told, re.MULTILINE)
    lines = told.splitlines()
    codecs = sum(line.endswith("(obverse)") for line in lines)
    models = sum(" a model of " in line for line in lines)
    assert lines[-1].startswith(f"{codecs} codecs, {models} more models: ") and codecs > 9 and models > 4
    assert run(["list", "--json"]) == 0
    assert {"id", "summary", "package"} == set(json.loads(capsys.readouterr().out)[0])


def test_help_list_and_info_import_neither_torch_nor_numba(folder: Path) -> None:
    Path("a.obv").write_bytes(obverse.compress(smooth_photo(8, 8)))
    script = (
        "import sys; from obverse.cli import run\n"
        "for words in (['--help'], ['compress', '--help'], ['list'], ['info', 'a.obv'], ['--version']):\n"
        "    assert run(words) == 0\n"
        "heavy = {'torch', 'numba', 'numpy', 'PIL', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# -- evaluate, export, train ------------------------------------------------------------------------------


def test_evaluate(folder: Path, capsys: Capture) -> None:
    save("in/a.png", height=48, width=64)
    words = ["evaluate", "in", "--against", "jpeg", "--metrics", "psnr", "--out", "report"]
    assert run([*words, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert {row["codec"] for row in results["summary"]} == {"image", "jpeg"}
    assert results["summary"][0]["images"] == 1 and results["summary"][0]["ms_ssim"] is None
    assert files(folder / "report") == ["bd_rates.csv", "images.csv", "rd.png", "summary.csv"]
    several = [
        "--codec",
        "image,image:effort=1",
        "--qualities",
        "20,50",
        "--against",
        "",
        "--force",
        "--json",
    ]
    assert run([*words[:2], *several]) == 0
    results = json.loads(capsys.readouterr().out)
    found = [(row["codec"], row["quality"]) for row in results["summary"]]
    assert found == [(codec, quality) for codec in ("image", "image:effort=1") for quality in (20, 50)]
    assert {(rate["test"], rate["anchor"]) for rate in results["bd_rates"]} == {("image:effort=1", "image")}
    for wrong in (
        ["--qualities", "0"],
        ["--lossless", "--qualities", "20"],
        ["--metrics", "foo"],
        ["--codec", ","],
        ["--lossless", "--metrics", "psnr"],
        ["--task", "c.pt", "--metrics", "psnr"],
    ):
        assert run(["evaluate", "in", *wrong, "--out", "other"]) == 2


def test_evaluate_says_why_there_is_no_bd_rate(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from obverse.evaluation import Row

    def measured(*_: object, **__: object) -> list[Row]:
        rows = []
        for codec, first in (("image", 25.0), ("jpeg", 60.0)):
            rows += [
                Row("a.png", codec, k, 100, 0.1 * 1.5**k, first + 3 * k, math.nan, 0.1, 0.1) for k in range(5)
            ]
        return rows

    monkeypatch.setattr("obverse.evaluation.evaluate", measured)
    save("in/a.png", height=48, width=64)
    assert run(["evaluate", "in", "--against", "jpeg", "--metrics", "psnr", "--out", "report"]) == 0
    printed = capsys.readouterr()
    assert "BD-rate (psnr) of image against jpeg: none" in printed.out and "nan" not in printed.out
    assert "no quality in common (60.00 to 72.00 dB and 25.00 to 37.00 dB)" in printed.out


def test_evaluate_says_what_is_wrong(folder: Path, capsys: Capture) -> None:
    Path("in").mkdir()
    assert run(["evaluate", "in"]) == 3
    assert "no images under in" in capsys.readouterr().err
    assert run(["evaluate", "gone.png", "--against", "jpeg"]) == 3
    assert "gone.png" in capsys.readouterr().err
    assert run(["evaluate", "in", "--codec", "zip"]) == 8
    Path("in/a.png").write_bytes(b"")
    assert run(["evaluate", "in", "--against", "jpeg"]) == 3
    said = capsys.readouterr().err
    assert "nothing was measured" in said and "measured 1" not in said and " of " not in said


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        ("image:quality=5", "several values of quality: leave it out"),
        ("image:bpp=2", "several values of quality: leave it out"),
        ("image:tune=eye", "has no tune 'eye'"),
    ],
)
def test_an_option_that_cannot_be_is_told_before_measuring(
    codec: str, words: str, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("obverse.evaluation.evaluate", lambda *_, **__: pytest.fail("measured"))
    save("in/a.png")
    assert run(["evaluate", "in", "--codec", codec]) == 7
    assert words in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_found_before_measuring(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("obverse.evaluation.evaluate", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setattr("obverse.evaluation.evaluate_lossless", lambda *_, **__: pytest.fail("measured"))
    save("in/a.png")
    Path("file").write_text("x")
    for more in ([], ["--lossless"], ["--task", "teacher.pt", "--labels", "l.npy"]):
        assert run(["evaluate", "in", "--out", "file/report", *more]) == 30
        assert "file/report cannot be made" in capsys.readouterr().err


def test_train_and_export_say_what_is_wrong(folder: Path, capsys: Capture) -> None:
    Path("in").mkdir()
    assert run(["train", "image", "--data", "in", "--out", "runs"]) == 3
    assert "no images under in" in capsys.readouterr().err
    assert run(["train", "image", "--data", "gone", "--out", "runs"]) == 3
    assert "gone" in capsys.readouterr().err
    assert run(["export", "image", "runs", "--data", "in", "--out", "zoo"]) == 3
    assert "no checkpoint runs" in capsys.readouterr().err
    Path("bad.pt").write_text("text")
    Image.fromarray(smooth_photo(64, 64)).save("in/photo.png")
    assert run(["export", "image", "bad.pt", "--data", "in", "--out", "zoo"]) == 3
    assert "bad.pt is not a checkpoint" in capsys.readouterr().err
    assert files(folder) == ["bad.pt", "in/photo.png"]
    assert run(["export", "image", "bad.pt", "--out", "zoo"]) == 3
    assert "does not say what it learned from: give --data" in capsys.readouterr().err


# -- words and numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("40000", 40000), ("40k", 40000), ("1.5M", 1_500_000), ("2KiB", 2048), ("1 Gi", 2**30), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "k", "abc", "0", "-5", "nan", "inf", "1e30", "5 apples", "0.2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(OptionError, match=re.escape(repr(text))):
        parse_bytes(text)


def test_human_sizes() -> None:
    assert [human(n) for n in (0, 999, 1000, 1234567, 2 * 10**9)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "2.00 GB",
    ]


def test_strict_json_and_printable_text() -> None:
    value = {1: b"\xff", "x": (float("inf"), 1.5, None, True), "p": Path("a")}
    assert json.loads(to_json(value)) == {"1": "ff", "x": [None, 1.5, None, True], "p": "a"}
    assert printable("é\x07\u202e\n") == "é\\x07\\u202e\\n"
    assert printable("a\u3000b\xa0c") == "a\u3000b\xa0c"  # spaces of names


def test_a_name_that_is_no_text(folder: Path, capsys: Capture) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        save(folder / name)
    except OSError:
        pytest.skip("this file system takes names of valid text only")
    assert run(["compress", name]) == 0
    assert "caf\\udce9.png" in capsys.readouterr().out


def test_the_package_is_the_command_too():
    done = subprocess.run(
        [sys.executable, "-m", "obverse", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == obverse.__version__
