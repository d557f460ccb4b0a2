"""Sets that an invariant model does not code, and files that it did not write: a sentence and an exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obverse.cli import run
from obverse.zoo import store_model
from tests.codecs.invariant.models import IMAGES, POINTS, items_of, stored_model

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """points, images and others: three model folders."""
    monkeypatch.chdir(tmp_path)
    for name, config, seed in (("points", POINTS, 0), ("images", IMAGES, 0), ("others", POINTS, 1)):
        model = stored_model(config, seed)
        store_model(tmp_path / name, model.weights, model.config, "a small model")


@pytest.mark.parametrize(
    ("model", "name", "code", "sentence"),
    [
        ("points", "nan.npy", 3, "NaN or infinite"),
        ("points", "empty.npy", 3, "the set is empty"),
        ("points", "wide.npy", 4, "(n, 3), not (5, 4)"),
        ("points", "text.npy", 4, "codes numbers"),
        ("points", "ragged.npy", 3, "not a .npy array of numbers"),
        ("points", "folder", 3, "is a folder"),
        ("images", "floats.npy", 4, "float64"),
        ("images", "small.npy", 4, "(n, 9, 12), not (2, 9, 11)"),
        ("images", "none.npy", 3, "no image in it"),
        ("images", "folder", 4, "must have one size"),
        ("images", "gone.npy", 3, "gone.npy"),
    ],
)
def test_sets_that_are_not_coded(model: str, name: str, code: int, sentence: str, capsys: Capture) -> None:
    points, images = items_of(POINTS, 5), items_of(IMAGES, 2)
    bad = points.copy()
    bad[3, 1] = np.nan
    for file, array in (
        ("nan", bad), ("empty", points[:0]), ("wide", np.zeros((5, 4))), ("text", np.array([["a"] * 3])),
        ("floats", images.astype(float)), ("small", images[:, :, 1:]), ("none", images[:0]),
    ):  # fmt: skip
        np.save(f"{file}.npy", array)
    np.save("ragged.npy", np.array([[1.0], [1.0, 2.0]], object), allow_pickle=True)
    Path("folder").mkdir()
    for number, width in enumerate((12, 13)):
        Image.fromarray(np.zeros((9, width), np.uint8)).save(f"folder/{number}.png")
    assert run(["compress", "--codec", f"./{model}", name, "-o", "x.obv"]) == code
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not Path("x.obv").exists()


def test_files_of_other_models(capsys: Capture) -> None:
    np.save("x.npy", items_of(POINTS, 50))
    assert run(["compress", "--codec", "./points", "x.npy"]) == 0
    assert run(["decompress", "x.obv", "--model", "points", "-o", "codes.npy"]) == 0
    assert np.load("codes.npy").shape == (50, POINTS.codes)
    for words in (["--model", "others"], ["--model", "images"], []):
        assert run(["decompress", "x.obv", "-o", "y.npy", *words]) == 16, words
        assert "name the model that wrote it" in capsys.readouterr().err
    data = Path("x.obv").read_bytes()
    for cut, code in ((data[:-3], 13), (data[:-3] + b"abc", 14), (b"", 11)):
        Path("cut.obv").write_bytes(cut)
        assert run(["decompress", "cut.obv", "--model", "points", "-o", "y.npy"]) == code
    assert run(["decompress", "x.obv", "--model", "points", "-o", "y.zip"]) == 30  # points are no images
    assert not Path("y.npy").exists() and not Path("y.zip").exists()
