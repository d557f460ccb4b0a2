"""`obverse evaluate DATA --task TASK`: what a classifier loses, and what is wrong where it cannot be told."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from obverse.cli import run
from obverse.zoo import store_model
from tests.codecs.invariant.models import IMAGES, items_of, stored_model

Capture = pytest.CaptureFixture[str]

TASK = """
import numpy as np
def brightness(items):
    means = np.array([np.mean(item) for item in items])
    return -np.abs(means[:, None] - np.array([40.0, 120.0, 200.0]))
def undecided(items):
    return np.full((len(items), 3), np.nan)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/: two of each of dark, light, medium, in folders; task.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_task_of_light.py").write_text(TASK)
    rng = np.random.default_rng(0)
    for name, level in (("a-dark", 40), ("b-medium", 120), ("c-light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.clip(level + rng.integers(-20, 21, (20, 24 + number, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path


def test_class_folders(capsys: Capture) -> None:
    words = [
        "evaluate",
        "photos",
        "--task",
        "my_task_of_light:brightness",
        "--qualities",
        "20,80",
        "--out",
        "report",
    ]
    assert run([*words, "--against", "jpeg,webp", "--json"]) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["rows"]
    assert [row["codec"] for row in rows] == ["original", "image", "image"] + ["jpeg"] * 10 + ["webp"] * 10
    assert all(row["accuracy"] == 1 and row["items"] == 6 for row in rows)
    assert rows[0]["bytes"] == sum(path.stat().st_size for path in Path("photos").rglob("*.png"))
    assert rows[1]["bytes"] < rows[2]["bytes"] and "0 is a-dark" in shown.err
    with open("report/task.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert Path("report/task.png").stat().st_size > 10_000
    assert run([*words, "--against", "", "--force"]) == 0
    assert "| image | quality 20 | each |" in capsys.readouterr().out


def test_sets_labels_and_probes(tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    model = stored_model(IMAGES)
    store_model(tmp_path / "codes", model.weights, model.config, "a small model")
    np.save("set.npy", items_of(IMAGES, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(108, 3))).save("c.pt")
        torch.jit.script(nn.Linear(IMAGES.codes, 3)).save("p.pt")
    words = [
        "evaluate",
        "set.npy",
        "--task",
        "c.pt",
        "--mean",
        "0",
        "--std",
        "1",
        "--against",
        "",
        "--force",
        "--json",
    ]
    assert run([*words, "--codec", "./codes"]) == 3
    assert "c.pt is a TorchScript program: loading it may run any code" in capsys.readouterr().err
    words.append("--trust")
    assert run([*words, "--codec", "./codes,image-lossless"]) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["rows"]
    assert [(row["codec"], row["files"]) for row in rows[1:]] == [
        ("image-lossless", "each"), ("./codes", "one"), ("./codes", "each"),
    ]  # fmt: skip
    assert rows[2]["accuracy"] is None and rows[1]["agreement"] == 1
    assert "no labels" in shown.err and rows[3]["bytes"] > rows[2]["bytes"]
    assert run([*words, "--codec", "./codes", "--probe", "p.pt"]) == 0
    np.save("features.npy", rng.normal(size=(500, IMAGES.codes)).astype(np.float32))
    np.save("labels.npy", rng.integers(3, size=500))
    capsys.readouterr()
    assert (
        run(["evaluate", "features.npy", "--task", "p.pt", "--trust", "--labels", "labels.npy", "--force"])
        == 0
    )
    assert "| features | loss 0.001 | one |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["photos", "--labels", "labels.npy"], 2, "give --task"),
        (["photos", "--trust"], 2, "give --task"),
        (["photos", "--task", "damaged.pt"], 3, "--trust"),
        (["photos", "photos", "--task", "T:brightness"], 2, "one set of items"),
        (["photos", "--task", "T:brightness", "--lossless"], 2, "give one of them"),
        (["photos", "--task", "T:brightness", "--qualities", "0"], 2, "from 1 to 100"),
        (["photos", "--task", "T:brightness", "--qualities", "high"], 2, "from 1 to 100"),
        (["photos", "--task", "T:brightness", "--batch", "0"], 2, "--batch must be at least 1"),
        (["photos", "--task", "gone.pt2"], 3, "no encoder gone.pt2"),
        (["photos", "--task", "damaged.pt", "--trust"], 3, "is not a TorchScript file"),
        (["photos", "--task", "T:missing"], 3, "cannot be imported"),
        (["photos", "--task", "T:undecided"], 3, "NaN or infinite"),
        (["photos", "--task", "T:brightness", "--labels", "few.npy"], 3, "6 items, but 5 labels"),
        (
            ["photos", "--task", "T:brightness", "--labels", "high.npy"],
            3,
            "label 7, but the task gives 3 scores",
        ),
        (["photos", "--task", "T:brightness", "--labels", "gone.npy"], 3, "no file gone.npy"),
        (["photos", "--task", "T:brightness", "--classes", "names.txt"], 3, "not among the 2 class names"),
        (["empty", "--task", "T:brightness"], 3, "is empty"),
        (["gone", "--task", "T:brightness"], 3, "no file gone"),
        (["none.npy", "--task", "T:brightness"], 3, "there is no image in it"),
        (["photos", "--task", "T:brightness", "--codec", "stereo"], 3, "side information"),
        (
            ["photos", "--task", "T:brightness", "--codec", "vae-mnist", "--against", ""],
            3,
            "images of one size",
        ),
        (["photos", "--task", "T:brightness", "--codec", "zip"], 8, "zip"),
        (["photos", "--task", "T:brightness", "--codec", "image:max_error=2"], 7, "leave it out"),
        (["photos", "--task", "T:brightness", "--against", "zip"], 8, "unknown peer"),
    ],
)
def test_what_is_wrong_is_told(words: list[str], code: int, sentence: str, capsys: Capture) -> None:
    np.save("few.npy", np.zeros(5, int))
    np.save("high.npy", np.full(6, 7))
    np.save("none.npy", np.zeros((0, 8, 8), np.uint8))
    Path("names.txt").write_text("a-dark\nb-medium\n")
    Path("damaged.pt").write_bytes(b"damaged")
    Path("empty").mkdir()
    words = [word.replace("T:", "my_task_of_light:") for word in words]
    assert run(["evaluate", *words, "--qualities", "20"] if "--task" in words and "--qualities" not in words else
               ["evaluate", *words]) == code  # fmt: skip
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not Path("report").exists()
