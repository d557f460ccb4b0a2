"""No command writes over what it reads, by whatever name, nor takes for done what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obverse.cli import run
from obverse.errors import OutputError, OutputExistsError
from tests.conftest import smooth_photo

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((9, 8, 3), 90, np.uint8)).save("a.png")
    return tmp_path


def test_not_through_links(folder: Path, capsys: Capture) -> None:
    before = Path("a.png").read_bytes()
    Path("a.obv").symlink_to("a.png")
    Path("elsewhere").symlink_to(folder)
    for command in (
        ["compress", "--lossless", "a.png", "-o", "a.obv"],
        ["compress", "--lossless", "a.png", "-o", "elsewhere/a.png", "--force-suffix"],
        ["compress", "--lossless", "elsewhere/a.png", "-o", "a.png"],
    ):
        assert run([*command, "--force"]) == OutputError.exit_code
        assert "is an input and would be overwritten" in capsys.readouterr().err
    assert Path("a.png").read_bytes() == before


def test_not_an_input_of_the_same_folder(folder: Path) -> None:
    before = Path("a.png").read_bytes()
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save("b.png")
    Path("b.obv").symlink_to("a.png")
    run(["compress", "--lossless", ".", "--force"])
    assert Path("a.png").read_bytes() == before


def test_not_features(folder: Path, capsys: Capture) -> None:
    np.save("f.npy", np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32))
    Path("shards").mkdir()
    np.save("shards/s.npy", np.load("f.npy"))
    before = Path("f.npy").read_bytes()
    Path("f.obv").symlink_to("f.npy")
    for inputs, target in (
        (["f.npy"], "f.npy"),
        (["f.npy", "shards"], "f.obv"),
        (["shards"], "shards/s.npy"),
    ):
        assert run(["compress-features", *inputs, "-o", target, "--force"]) == OutputError.exit_code
        assert "is an input and would be overwritten" in capsys.readouterr().err
    assert Path("f.npy").read_bytes() == before
    assert run(["compress-features", "f.npy", "-o", "x.webp"]) == 2
    assert "nothing reads as .webp" in capsys.readouterr().err and not Path("x.webp").exists()


def test_what_exists_is_done_only_if_it_is_whole_and_of_the_same_codec(folder: Path, capsys: Capture) -> None:
    Image.fromarray(smooth_photo(40, 50)).save("a.png")
    command = ["compress", "--lossless", "a.png", "--skip-existing"]
    assert run(command) == 0 and run(command) == 0
    done = Path("a.obv").read_bytes()
    Path("a.obv").write_bytes(done[:-1] + bytes([done[-1] ^ 1]))
    assert run(command) == OutputExistsError.exit_code
    said = capsys.readouterr().err
    assert "no whole .obv file" in said
    # --force would do all the others again, and goes with no --skip-existing
    assert "remove it, and run the same command again" in said and "--force" not in said
    Path("a.obv").unlink()
    assert run(command) == 0 and Path("a.obv").read_bytes() == done
    assert run(["compress", "a.png", "--force"]) == 0
    assert run(command) == OutputExistsError.exit_code
    assert "written by codec 'image', not 'image-lossless'; remove it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (
            ["evaluate", "ph", "--against", "jpeg", "--metrics", "psnr", "--qualities", "50", "--out", "ph"],
            "rd.png",
        ),
        (["evaluate", "ph", "--lossless", "--against", "png", "--out", "ph"], "lossless.png"),
        (["evaluate", "ph", "--task", "os:getcwd", "--out", "ph"], "task.png"),
        (["limits", "--gaussian", "1", "--points", "ph/curve.csv", "--out", "ph"], "curve.csv"),
        (["limits", "--samples", "ph/curve.png", "--out", "elsewhere"], "curve.png"),
        (["plug-and-play", "evaluate", "m:load", "--data", "ph", "--fit", "ph", "--out", "ph"], "rates.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_not_by_a_report(words: list[str], name: str, folder: Path, capsys: Capture) -> None:
    Path("ph").mkdir()
    Path("elsewhere").symlink_to("ph")
    Image.open("a.png").save(f"ph/{name}", format="png")
    before = Path("ph", name).read_bytes()
    for force in ([], ["--force"]):
        assert run([*words, *force]) == OutputError.exit_code
        assert f"{name} is an input and would be overwritten" in capsys.readouterr().err
    assert Path("ph", name).read_bytes() == before and len(list(Path("ph").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["evaluate", "a.png", "--against", "jpeg", "--metrics", "psnr", "--qualities", "50"], "summary.csv"),
        (["evaluate", "a.png", "--lossless", "--against", "png"], "images.csv"),
        (["limits", "--gaussian", "1"], "curve.png"),
        (
            ["plug-and-play", "evaluate", "--data", "p.npz", "--lmbda", "1", "--method", "uniform"],
            "rates.csv",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_report_replaces_what_is_there_only_with_force(
    words: list[str], name: str, folder: Path, capsys: Capture
) -> None:
    rng = np.random.default_rng(0)
    np.savez("p.npz", mean=rng.normal(size=(50, 2)).astype(np.float32), std=np.full((50, 2), 0.1, np.float32))
    words = [*words, "--out", "report"]
    Path("report").mkdir()
    Path("report", "note.txt").write_text("of mine")
    Path("report", name).write_text("of mine")
    assert run(words) == OutputExistsError.exit_code
    assert f"report/{name} exists; use --force" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in Path("report").iterdir()} == {
        "note.txt": "of mine",
        name: "of mine",
    }
    assert run([*words, "--force"]) == 0
    assert run(words) == OutputExistsError.exit_code and run([*words, "--force"]) == 0
    assert Path("report", "note.txt").read_text() == "of mine"
    assert Path("report", name).read_bytes() != b"of mine"
