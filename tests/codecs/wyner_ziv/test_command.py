"""`obverse train wyner-ziv`, then compress and decompress with the model: all of it through the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from obverse.cli import run

ARGUMENTS = ["--objective", "marginal", "--indices", "4", "--threads", "1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    y = rng.normal(size=20_000)
    x = y + 0.3 * rng.normal(size=y.size)
    np.savez("pairs.npz", x=x, y=y)
    np.save("x.npy", x[:5000].astype(np.float32))
    np.save("y.npy", y[:5000])
    np.save("other.npy", y[5000:10_000])
    return tmp_path


def test_the_learned_codec_from_pairs_to_files_and_back(folder, capsys):
    words = [
        "train",
        "wyner-ziv",
        "--data",
        "pairs.npz",
        "--out",
        "mine",
        "--steps",
        "200",
        *ARGUMENTS,
        "--json",
    ]
    assert run(words) == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)["fingerprint"]) == 16
    assert "step 1500 of 1600" in shown.err  # progress
    assert {p.name for p in (folder / "mine").iterdir()} == {"model.safetensors.xz", "config.json", "card.md"}
    card = " ".join((folder / "mine" / "card.md").read_text().split())
    assert (
        "gap_bits" in card
        and "limit_bits: 1/2 log2(variance of x given y / mse), the Wyner-Ziv limit" in card
    )
    assert "limit_bits: 1/2 log2(variance of x given y / mse)" in shown.err
    said = float(re.search(r"file_bits: ([\d.]+)", shown.err)[1])
    np.save("long.npy", np.resize(np.load("pairs.npz")["x"], 65_536))
    assert run(["compress", "--codec", "./mine", "long.npy"]) == 0
    assert said == pytest.approx(8 * (folder / "long.obv").stat().st_size / 65_536, rel=0.01)
    assert run(["compress", "--codec", "./mine", "x.npy"]) == 0
    assert (folder / "x.obv").stat().st_size < 1400
    assert run(["decompress", "x.obv", "--side-info", "y.npy", "--model", "mine", "-o", "back.npy"]) == 0
    x, back = np.load("x.npy"), np.load("back.npy")
    assert back.dtype == np.float32 and np.mean((back - x) ** 2) < 0.03
    assert run(["decompress", "x.obv", "--side-info", "other.npy", "--model", "mine", "-o", "b.npy"]) == 5
    assert run(["decompress", "x.obv", "--model", "mine", "-o", "b.npy"]) == 5
    assert not (folder / "b.npy").exists()


def test_the_grid_design_too(folder, capsys):
    given = [
        "--data",
        "pairs.npz",
        "--out",
        "grid",
        "--objective",
        "marginal",
        "--indices",
        "4",
        "--starts",
        "1",
    ]
    assert run(["train", "wyner-ziv-grid", *given]) == 0
    assert run(["compress", "--codec", "./grid", "x.npy"]) == 0
    assert run(["decompress", "x.obv", "--side-info", "y.npy", "--model", "grid", "-o", "back.npy"]) == 0
    assert np.mean((np.load("back.npy") - np.load("x.npy")) ** 2) < 0.03


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--indices", "1"], 2, "--indices must be"),
        (["--objective", "joint"], 2, "--objective must be"),
        (["--distortion", "ssim"], 2, "distortion must be"),
        (["--lmbda", "-1"], 2, "--lmbda must be"),
    ],
)
def test_recipes_that_cannot_be_run_are_said_so(folder, capsys, arguments, code, word):
    assert run(["train", "wyner-ziv", "--data", "pairs.npz", "--out", "mine", *arguments]) == code
    assert word in capsys.readouterr().err
    assert not (folder / "mine").exists()


def test_more_indices_than_labels_have_are_refused_at_once(folder, capsys):
    assert run(["train", "wyner-ziv-grid", "--data", "none.npz", "--out", "mine", "--indices", "257"]) == 2
    assert "--indices must be a whole number from 2 to 256" in capsys.readouterr().err


def test_pairs_that_cannot_be_used_are_said_so(folder, capsys):
    np.savez("unequal.npz", x=np.arange(3000.0), y=np.arange(2999.0))
    np.savez("nan.npz", x=np.full(3000, np.nan), y=np.arange(3000.0))
    np.savez("constant.npz", x=np.ones(3000), y=np.arange(3000.0))
    for name, word in (("unequal", "2999"), ("nan", "NaN"), ("constant", "constant"), ("absent", "no file")):
        for codec in ("wyner-ziv", "wyner-ziv-grid"):
            assert run(["train", codec, "--data", f"{name}.npz", "--out", "mine"]) == 3
            assert word in capsys.readouterr().err


@pytest.mark.parametrize("codec", ["wyner-ziv", "wyner-ziv-grid", "wyner-ziv-trellis"])
def test_numbers_and_names_that_cannot_be_are_refused_before_anything_is_read(
    codec, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    missing = ["train", codec, "--data", "missing.npz"]
    for wrong in (
        ["--seed", "-1"],
        ["--lists", "0"],
        ["--threads", "0"],
    ):
        assert run([*missing, "--out", "m", *wrong]) == 2
        assert wrong[0] in capsys.readouterr().err
    assert (
        run(["train", codec, "--data", "wyner-ziv.npz"]) == 2
    )  # the shipped model would be used in its place
    assert "--out" in capsys.readouterr().err
    assert run([*missing, "--out", "m"]) == 3
    assert list(tmp_path.iterdir()) == []


def test_arrays_are_not_written_under_the_name_of_another_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros(100))
    assert run(["compress", "x.npy", "--codec", "wyner-ziv-trellis"]) == 0
    assert run(["decompress", "x.obv", "--side-info", "x.npy", "-o", "again.csv"]) == 30
    assert ".npy" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "x.obv"]


def test_a_folder_without_a_model_is_named(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros(100))
    assert run(["compress", str(tmp_path / "x.npy"), "--codec", str(tmp_path)]) == 8
    assert "holds no model" in capsys.readouterr().err
