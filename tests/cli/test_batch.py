"""Folders: worker processes, what is skipped, what is resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import obverse
from obverse.cli import batch, run
from obverse.cli.batch import Batch
from obverse.cli.console import human
from obverse.cli.plan import Job
from obverse.container import read, write_atomically
from obverse.errors import InputError, OutputError, OutputExistsError
from obverse.interrupts import interrupt
from tests.conftest import smooth_photo

Capture = pytest.CaptureFixture[str]
MAIN = [sys.executable, "-c", "from obverse.cli import main; main()"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; in/ has four photos."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number in range(4):
        Image.fromarray(smooth_photo(40 + number, 48, number)).save(f"in/{number}.png")
    return tmp_path


def names(folder: str) -> list[str]:
    return sorted(os.listdir(folder))


def forget_seconds(told: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in json.loads(told)]


# -- workers: what is done in them by Batch itself ----------------------------------------------------------------


def where(job: Job) -> dict[str, Any]:
    """Which process does it, and with how many threads; some jobs fail."""
    name = job.source.name
    if name == "bad":
        raise InputError("bad is bad")
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    import warnings

    warnings.warn("odd", stacklevel=1)
    return {"input": name, "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}


def jobs_of(*names: str) -> list[Job]:
    return [Job(Path(name), Path(f"out-{name}")) for name in names]


def test_workers_have_one_thread_and_rows_come_in_order(tmp_path: Path, capsys: Capture) -> None:
    work = jobs_of(*map(str, range(8)))
    rows, code = Batch("working", jobs=2).run(work, where)
    assert code == 0 and [row["input"] for row in rows] == [str(number) for number in range(8)]
    pids = {row["pid"] for row in rows}
    assert 1 <= len(pids) <= 2 and os.getpid() not in pids
    assert {row["threads"] for row in rows} == {"1"}
    assert capsys.readouterr().err == "warning: odd\n"  # once, as one process says it


def test_failures_in_workers_are_told_in_order(tmp_path: Path, capsys: Capture) -> None:
    rows, code = Batch("working", jobs=2).run(jobs_of("a", "bad", "killed", "b", "killed", "c"), where)
    assert code == 3 and [row.get("exit_code", 0) for row in rows] == [0, 3, 1, 0, 1, 0]
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert [row["warnings"] for row in rows if "pid" in row] == [["odd"]] * 3  # also where it was told before
    assert errors[0] == "error: bad is bad" and "killed by SIGKILL" in errors[1] and len(errors) == 3


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_file_in_its_place_is_done_even_if_nobody_was_told(tmp_path: Path, signal_number: int) -> None:
    """What is stopped between the rename and the row of a file counts; what was there before does not."""
    work = [Job(Path(name), tmp_path / name) for name in "abcd"]
    for job in work[1:]:
        job.target.write_bytes(b"old")

    def stopped_after(job: Job) -> dict[str, Any]:
        write_atomically(job.target, b"new", overwrite=True)
        if job.source.name == "b":
            raise interrupt(signal_number)
        return {"input": job.source.name}

    with pytest.raises(interrupt(signal_number), match=r"^2 of 4 files done$"):
        Batch("working", force=True, jobs=1).run(work, stopped_after)


def test_few_or_small_files_do_not_pay_for_workers(photos: Path) -> None:
    files = [Job(path, Path("x")) for path in sorted(Path("in").iterdir())]
    assert Batch("", jobs=None)._processes(files) == 1
    assert Batch("", jobs=8)._processes(files) == 4
    assert Batch("", jobs=8)._processes(files[:2]) == 1
    assert Batch("", jobs=1)._processes(files) == 1


def test_large_folders_have_a_worker_a_core(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [Job(path, Path("x")) for path in sorted(Path("in").iterdir())]
    monkeypatch.setattr(batch, "WORTH", 1000)
    monkeypatch.setattr(batch, "available_cores", lambda: 3)
    assert Batch("", jobs=None)._processes(files) == 3
    monkeypatch.setattr(batch, "available_cores", lambda: 1)
    assert Batch("", jobs=None)._processes(files) == 1


@pytest.mark.parametrize("count", ["0", "-1", "100000"])
def test_a_number_of_jobs_that_cannot_be(photos: Path, capsys: Capture, count: str) -> None:
    for words in (["compress", "in"], ["decompress", "in"]):
        Path("in/a.obv").write_bytes(b"")
        assert run([*words, "--jobs", count]) == 2
        assert "--jobs must be" in capsys.readouterr().err


# -- workers: the commands ----------------------------------------------------------------------------------------


def test_workers_write_what_one_process_writes(photos: Path, capsys: Capture) -> None:
    """Files, what is said, and exit codes."""
    Path("in/bad.png").write_text("no picture")
    told: dict[str, tuple[int, list[dict[str, Any]], str]] = {}
    for jobs in ("1", "2"):
        code = run(["compress", "in", "-o", f"out{jobs}", "--jobs", jobs, "--json"])
        captured = capsys.readouterr()
        rows = forget_seconds(captured.out.replace(f"out{jobs}", "out"))
        told[jobs] = code, rows, captured.err
    assert told["1"] == told["2"] and told["1"][0] == 3
    assert names("out1") == names("out2") == [f"{number}.obv" for number in range(4)]
    for name in names("out1"):
        assert Path("out1", name).read_bytes() == Path("out2", name).read_bytes()
    for jobs in ("1", "2"):
        assert run(["decompress", f"out{jobs}", "-o", f"back{jobs}", "--jobs", jobs]) == 0
    for name in names("back1"):
        assert Path("back1", name).read_bytes() == Path("back2", name).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to processes in another way")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_folder_is_stopped_and_gone_on_with(photos: Path, number: signal.Signals) -> None:
    for copy in range(28):
        Image.fromarray(smooth_photo(200, 300, copy)).save(f"in/more{copy}.png")
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from obverse.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "compress", "in", "-o", "out", "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while len(list(Path("out").glob("*.obv"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    time.sleep(0.05)
    process.send_signal(number)  # whoever is impatient: no traceback, nothing left
    _, said = process.communicate(timeout=60)
    word, code = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
    assert process.returncode == code
    left = names("out")
    assert said.startswith(f"{word}: {len(left)} of 32 files done; ") and said.count("\n") == 1
    assert 3 <= len(left) < 32 and not [name for name in left if not name.endswith(".obv")]
    done = subprocess.run(
        [*MAIN, "compress", "in", "-o", "out", "--skip-existing"], capture_output=True, text=True
    )
    assert done.returncode == 0 and f"{len(left)} of 32 files were there before" in done.stdout
    assert len(names("out")) == 32


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks the system for the children of a process")
def test_ctrl_c_while_workers_start(photos: Path) -> None:
    """A terminal sends it to all processes: one of them says so, in one line."""
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from obverse.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "compress", "in", "-o", "out", "--jobs", "2"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stderr=pipe, stdout=pipe, text=True, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(children.read_text().split()) < 2:
        time.sleep(0.01)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (
        130,
        "interrupted: 0 of 4 files done; nothing half-written was left behind\n",
    )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_warnings_are_in_the_rows_of_their_files(photos: Path, capsys: Capture, jobs: str) -> None:
    """Those of reading, of writing, of a file that failed and, in a list of none, of one without."""
    for number in (1, 2):
        Image.fromarray(np.full((30, 40), 257 * number, np.uint16)).save(f"in/{number}.png")
    assert run(["compress", "in", "-o", "out", "--jobs", jobs, "--json"]) == 0
    said = capsys.readouterr()
    deep = [f"in/{number}.png has 16 bits a channel: coded with 8" for number in (1, 2)]
    assert [row["warnings"] for row in json.loads(said.out)] == [[], [deep[0]], [deep[1]], []]
    assert said.err == "".join(f"warning: {text}\n" for text in deep)
    photo = Image.open("in/0.png")
    photo.save("in/0.png", dpi=(72, 72))
    assert run(["compress", "in/0.png", "-o", "out", "--force"]) == 0
    capsys.readouterr()
    assert run(["decompress", "out/0.obv", "out/3.obv", "-o", "back", "--json"]) == 0
    assert [row["warnings"] for row in json.loads(capsys.readouterr().out)] == [[], []]
    assert run(["decompress", "out/0.obv", "-o", "a.webp", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["warnings"] == ["a.webp: WEBP holds no resolution: left out"]


# -- what is no job -----------------------------------------------------------------------------------------------


def test_what_is_skipped_is_named_and_counted(photos: Path, capsys: Capture) -> None:
    for name in ("a.heic", "notes.txt", "README", "old.obv"):
        Path("in", name).write_bytes(b"x")
    Path("in/link.png").symlink_to("gone.png")
    Path("in/folder.png").mkdir()
    Path("in/again").symlink_to(Path("in").absolute())
    assert run(["compress", "in", "-o", "out"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("skipped 5 files: ") and said.count("\n") == 1
    for part in (
        "a.heic (.heic is not read)",
        "notes.txt (.txt",
        "README (no file",
        "link.png (a link to nothing",
    ):
        assert part in said
    assert "old.obv" not in said
    assert run(["compress", "in", "-o", "out", "--force", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {Path(row["input"]).name: row["skipped"] for row in rows if "skipped" in row} == {
        "a.heic": ".heic is not read",
        "notes.txt": ".txt is not read",
        "README": "no file of a kind that is read",
        "link.png": "a link to nothing",
        "again": "a link to a folder",
    }
    assert run(["decompress", "out", "-o", "back"]) == 0
    assert capsys.readouterr().err == ""


def test_many_skipped_files_are_counted(photos: Path, capsys: Capture) -> None:
    for number in range(25):
        Path(f"in/{number}.txt").write_bytes(b"x")
    assert run(["compress", "in"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("skipped 25 files: ") and said.endswith("and 15 more\n")


def test_a_folder_of_nothing_but_others_says_so(photos: Path, capsys: Capture) -> None:
    Path("heic").mkdir()
    Path("heic/a.heic").write_bytes(b"x")
    assert run(["compress", "heic"]) == 3
    assert "a.heic (.heic is not read)" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_fails_as_it_does_alone(photos: Path, capsys: Capture) -> None:
    Path("in/0.png").chmod(0)
    assert run(["compress", "in/0.png"]) == run(["compress", "in"]) == 3
    assert capsys.readouterr().err.count("Permission denied") == 2


# -- going on -----------------------------------------------------------------------------------------------------


def test_skip_existing_does_what_is_missing(photos: Path, capsys: Capture) -> None:
    assert run(["compress", "in", "-o", "out"]) == 0
    kept = Path("out/1.obv").stat().st_mtime_ns
    Path("out/2.obv").unlink()
    capsys.readouterr()
    assert run(["compress", "in", "-o", "out"]) == 31
    Path("out/2.obv").unlink()
    capsys.readouterr()
    assert run(["compress", "in", "-o", "out", "--skip-existing", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert ["skipped" in row for row in rows] == [True, True, False, True]
    assert Path("out/1.obv").stat().st_mtime_ns == kept
    for _ in range(2):
        assert run(["decompress", "out", "-o", "back", "--skip-existing"]) == 0
    assert "4 of 4 files were there before" in capsys.readouterr().out


def test_skip_existing_does_not_take_a_newer_input_for_done(photos: Path, capsys: Capture) -> None:
    assert run(["compress", "in/1.png", "in/2.png", "-o", "out/"]) == 0
    Path("in/1.png").unlink()
    Image.fromarray(smooth_photo(30, 40, seed=99)).save("in/1.jpg")  # which would be out/1.obv too
    later = Path("out/1.obv").stat().st_mtime_ns + 10**9
    os.utime("in/1.jpg", ns=(later, later))
    capsys.readouterr()
    words = ["compress", "in/1.jpg", "in/2.png", "-o", "out/", "--skip-existing"]
    assert run(words) == OutputExistsError.exit_code
    said = capsys.readouterr()
    assert "out/1.obv exists, but in/1.jpg is newer" in said.err and "1 of 2 files were there" in said.out
    Path("out/1.obv").unlink()
    assert run(words) == 0 and read("out/1.obv").shape[:2] == (30, 40)


def test_a_drawing_that_was_coded_without_the_transform_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.tile(np.array([[0, 255]], np.uint8), (40, 30))).save("stripes.png")
    for _ in range(2):
        assert run(["compress", "stripes.png", "--skip-existing"]) == 0
    assert read("stripes.obv").codec == "image-lossless"


def test_skip_existing_takes_nothing_else_for_a_result(photos: Path, capsys: Capture) -> None:
    Path("in/0.obv").write_text("mine")
    assert run(["compress", "in", "--skip-existing"]) == 31
    assert "is no whole .obv file" in capsys.readouterr().err
    assert Path("in/0.obv").read_text() == "mine"
    assert names("in") == sorted([f"{n}.{kind}" for n in range(4) for kind in ("obv", "png")])
    Path("in/1.png").unlink()
    Path("in/1.png").mkdir()
    assert run(["decompress", "in", "--skip-existing"]) == 31
    capsys.readouterr()
    for command in ("compress", "decompress"):
        assert run([command, "in", "--skip-existing", "--force"]) == 2
        assert "--skip-existing keeps what exists" in capsys.readouterr().err


# -- info ---------------------------------------------------------------------------------------------------------


def test_info_of_a_folder(photos: Path, capsys: Capture) -> None:
    assert run(["compress", "in", "-o", "out", "-q", "30"]) == 0
    capsys.readouterr()
    Path("out/notes.txt").write_text("x")
    Path("out/bad.obv").write_text("x")
    assert run(["info", "out"]) == 11
    captured = capsys.readouterr()
    total = sum(path.stat().st_size for path in Path("out").glob("?.obv"))
    assert captured.out.splitlines()[-1] == f"4 files, {human(total)}: 4 image"
    assert run(["info", "out/0.obv"]) == 0 and " files, " not in capsys.readouterr().out
    assert captured.out.count("format version") == 4 and "4 of 5 files done, 1 failed" in captured.err
    assert run(["info", "out", "--json"]) == 11
    rows = json.loads(capsys.readouterr().out)
    assert [row.get("quality") for row in rows] == [30, 30, 30, 30, None]
    assert rows[0]["bpp"] == rows[0]["file_bytes"] * 8 / (40 * 48) and "photos" in rows[0]["method"].lower()
    assert run(["info", "in"]) == 3


# -- files that become larger ------------------------------------------------------------------------------------


def test_what_becomes_larger_is_said_with_the_remedy(photos: Path, capsys: Capture) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save("noise.jpg", quality=5)
    Image.new("L", (200, 200)).save("flat.png")
    assert run(["compress", "noise.jpg", "--lossless", "--json"]) == 0
    captured = capsys.readouterr()
    (row,) = json.loads(captured.out)
    assert row["bytes_out"] > row["bytes_in"] and "without --lossless" in row["larger"]
    assert captured.err.startswith("warning: noise.jpg: ") and row["larger"] in captured.err
    assert captured.err == f"warning: {row['warnings'][0]}\n"
    assert run(["compress", "noise.jpg", "-q", "100", "-o", "all.obv"]) == 0
    assert "choose a lower --quality" in capsys.readouterr().err
    assert run(["compress", "in"]) == 0
    assert "warning" not in capsys.readouterr().err


# -- the same mistake, the same exit code -------------------------------------------------------------------------


def test_exit_codes_do_not_depend_on_how_it_is_asked(photos: Path, capsys: Capture) -> None:
    Path("bad").mkdir()
    Path("bad/a.png").write_text("no picture")
    Path("other").mkdir()
    Path("other/a.obv").write_text("no file of ours")
    Path("empty").mkdir()
    packed = obverse.compress(smooth_photo(20, 20))
    Path("cut").mkdir()
    Path("cut/a.obv").write_bytes(packed[:-9])
    for code, commands in {
        3: [["compress", "bad/a.png"], ["compress", "bad"], ["compress", "bad", "--lossless"]]
        + [[command, place] for command in ("compress", "decompress", "info") for place in ("gone", "empty")],
        8: [["compress", "in", "--codec", "imag"], ["compress", "in/0.png", "--codec", "imag"]],
        2: [["compress", "in", "-q", "101"], ["compress", "in/0.png", "-q", "101"]],
        11: [[command, place] for command in ("decompress", "info") for place in ("other/a.obv", "other")],
        13: [[command, place] for command in ("decompress", "info") for place in ("cut/a.obv", "cut")],
    }.items():
        for command in commands:
            for more in ([], ["--json"], ["--jobs", "2"]):
                if command[0] == "info" and "--jobs" in more:
                    continue
                assert run([*command, *more]) == code, (command, more)
    assert "did you mean 'image'" in capsys.readouterr().err


def test_links_in_an_output_folder_lead_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out, elsewhere = tmp_path / "photos", tmp_path / "out", tmp_path / "elsewhere"
    for folder in (photos / "sub", out, elsewhere):
        folder.mkdir(parents=True)
    for path in (photos / "a.png", photos / "sub" / "b.png"):
        Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path)
    (out / "sub").symlink_to(elsewhere)
    (elsewhere / "kept").write_bytes(b"mine")
    (out / "a.obv").symlink_to(elsewhere / "kept")
    for more in ([], ["--force"]):
        assert run(["compress", "--lossless", str(photos), "-o", str(out), *more]) == OutputError.exit_code
        assert "leads out of the folder" in capsys.readouterr().err
    assert [path.name for path in elsewhere.iterdir()] == ["kept"] and (
        elsewhere / "kept"
    ).read_bytes() == b"mine"
    # decompressing and recovering go the same way
    (out / "sub").unlink()
    (out / "a.obv").unlink()
    assert run(["compress", "--lossless", str(photos), "-o", str(out)]) == 0
    back = tmp_path / "back"
    back.mkdir()
    (back / "sub").symlink_to(elsewhere)
    for more in ([], ["--recover"]):
        assert run(["decompress", str(out), "-o", str(back), "--force", *more]) == OutputError.exit_code
    assert [path.name for path in elsewhere.iterdir()] == ["kept"]


def test_of_several_writers_of_one_output_one_wins_whole(tmp_path: Path) -> None:
    """Each writes a file of its own and puts it into place in one step."""
    target = tmp_path / "x.bin"
    contents = [bytes([number]) * 300_000 for number in range(8)]

    def write(number: int) -> bool:
        try:
            write_atomically(target, contents[number], overwrite=overwrite)
            return True
        except OutputExistsError:
            return False

    for overwrite in (True, False):
        target.unlink(missing_ok=True)
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, range(8)))
        assert target.read_bytes() in contents
        assert sum(won) == (8 if overwrite else 1)
        assert list(tmp_path.iterdir()) == [target]
