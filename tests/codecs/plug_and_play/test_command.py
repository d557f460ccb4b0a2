"""`obverse plug-and-play fit` and `evaluate`: from a module or posteriors to a model, a table and a plot."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from obverse.cli.console import UsageError
from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.codecs.plug_and_play.command import evaluate, fit
from obverse.container import read, write
from obverse.errors import InputError, OutputExistsError
from obverse.zoo import load_model_from
from tests.conftest import smooth_photo

MODELS = "tests.codecs.plug_and_play.models"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vectors(n: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)


def posteriors(n: int = 2000, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"mean": rng.normal(size=(n, 5)), "std": np.exp(rng.normal(-2, 0.8, (n, 5)))}


def test_fit_a_module_and_compress_with_it(here, capsys):
    np.save("train.npy", vectors())
    assert (
        fit(
            f"{MODELS}:linear",
            data=[here / "train.npy"],
            out=here / "mine",
            json=True,
        )
        == 0
    )
    row = json.loads(capsys.readouterr().out)
    assert row["groups"] == 4 and row["rates"] == 21
    assert row["bytes"] == sum(path.stat().st_size for path in (here / "mine").iterdir())
    codec = PlugAndPlayCodec(load_model_from(here / "mine"))
    assert codec.fingerprint.hex() == row["fingerprint"]
    x = vectors(100, 1)
    back = codec.decode(read(write(codec.encode(x, codec.options(lmbda=0.05)))))
    assert back.shape == x.shape
    assert "plug-and-play" in (here / "mine" / "card.md").read_text()


MINE = """
import torch


class Mine(torch.nn.Module):
    def encode(self, x):
        return 2 * x, torch.full_like(x, 0.1)

    def decode(self, z):
        return z / 2

def load():
    return Mine()
"""


def test_modules_of_the_working_folder(here):
    """As an installed command sees them: without the working folder in its path."""
    (here / "mine_of_here.py").write_text(MINE)
    np.save("train.npy", vectors())
    code = "import sys; sys.path = [p for p in sys.path if p]; from obverse.cli import run; sys.exit(run(sys.argv[1:]))"
    words = ["plug-and-play", "fit", "mine_of_here:load", "--data", "train.npy", "--out", "mine"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    codec = PlugAndPlayCodec(load_model_from(here / "mine"))  # the module itself is not needed any more
    x = vectors(50, 1)
    assert np.abs(codec.decode(codec.encode(x, codec.options(lmbda=0.01))) - x).max() < 0.1


def test_fit_images_of_several_sizes(here, capsys):
    (here / "photos").mkdir()
    for i, size in enumerate(((30, 41), (41, 30), (25, 60))):
        Image.fromarray(smooth_photo(*size, seed=i)).save(here / "photos" / f"{i}.png")
    assert (
        fit(
            f"{MODELS}:Blocks",
            data=[here / "photos"],
            out=here / "mine",
            channels=3,
            multiple=4,
        )
        == 0
    )
    assert "48 grids" in capsys.readouterr().out
    codec = PlugAndPlayCodec(load_model_from(here / "mine"))
    photo = codec.kind.load(here / "photos" / "1.png")
    back = codec.decode(codec.encode(photo, codec.options(lmbda=0.01)))
    assert np.square(back.astype(float) - photo.pixels).mean() < 10


def test_fit_and_evaluate_posteriors(here, capsys):
    np.savez("p.npz", **posteriors())
    assert fit(data=[here / "p.npz"], out=here / "mine", method="uniform") == 0
    capsys.readouterr()
    assert evaluate(data=[here / "p.npz"], lmbda=[0.05, 0.2, 1.0, 4.0], out=here / "report", json=True) == 0
    found = json.loads(capsys.readouterr().out)
    methods = {"best", "vbq", "steps", "uniform", "scaled-uniform", "k-means"}
    assert {row["method"] for row in found["rows"]} == methods
    assert found["bd_rates_against_uniform"]["best"] < 0
    with (here / "report" / "rates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 and rows[0]["mse"] == ""
    first = next(row for row in found["rows"] if row["method"] == "best" and row["lmbda"] == 1.0)
    p = posteriors()
    assert first["bytes"] == len(
        write(PlugAndPlayCodec().encode((p["mean"], p["std"]), PlugAndPlayCodec.options(lmbda=1.0)))
    )
    with Image.open(here / "report" / "rates.png") as image:
        assert image.size[0] > 500


def test_evaluate_a_module(here, capsys):
    np.save("train.npy", vectors(1000))
    np.save("test.npy", vectors(300, 1))
    code = evaluate(
        f"{MODELS}:linear", data=[here / "test.npy"], fit_to=[here / "train.npy"], lmbda=[0.01, 0.1, 1.0, 10.0],
        method=["vbq", "uniform"], out=here / "report",
    )  # fmt: skip
    text = capsys.readouterr().out
    assert code == 0 and "| vbq | 0.1 |" in text and "BD-rate of vbq against uniform: " in text
    with (here / "report" / "rates.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "vbq"]
    assert sorted(float(row["mse"]) for row in rows) == [float(row["mse"]) for row in rows]


@pytest.mark.parametrize(
    ("model", "options", "error", "words"),
    [
        (None, {"data": "missing.npz"}, InputError, "no file"),
        (None, {"data": "x.npy"}, InputError, "mean and std"),
        (None, {"data": "bad.npz"}, InputError, "zero or negative"),
        (None, {"data": "nan.npz"}, InputError, "NaN"),
        (None, {"data": "p.npz", "channels": 3}, UsageError, "--channels"),
        ("nonsense", {"data": "x.npy"}, InputError, "module:name"),
        (f"{MODELS}:bad_std", {"data": "x.npy"}, InputError, "zero or negative"),
        (f"{MODELS}:bad_shape", {"data": "x.npy"}, InputError, "decode makes shape"),
        (f"{MODELS}:linear", {"data": "wide.npy"}, InputError, "cannot be run"),
        (f"{MODELS}:linear", {"data": "text.npy"}, InputError, "array"),
        (f"{MODELS}:linear", {"data": "."}, InputError, "--channels"),
        (
            f"{MODELS}:Blocks",
            {"data": ".", "channels": 3, "multiple": 4},
            InputError,
            "no images",
        ),
        (f"{MODELS}:linear", {"data": "x.npy", "depth": 3}, UsageError, "--depth"),
        (
            f"{MODELS}:linear",
            {"data": "x.npy", "multiple": 0},
            UsageError,
            "--multiple",
        ),
        (
            f"{MODELS}:linear",
            {"data": "x.npy", "shared": True, "axis": 1},
            UsageError,
            "--shared",
        ),
        (f"{MODELS}:linear", {"data": "x.npy", "axis": 4}, InputError, "no axis"),
    ],
)
def test_fit_refuses(here, model, options, error, words):
    np.save("x.npy", vectors(10))
    np.save("wide.npy", np.zeros((4, 9)))
    np.save("text.npy", np.array([["a", "b"]]))
    p = posteriors(10)
    np.savez("p.npz", **p)
    np.savez("bad.npz", mean=p["mean"], std=-p["std"])
    np.savez("nan.npz", mean=p["mean"], std=p["std"] * np.nan)
    with pytest.raises(error, match=words):
        fit(model, **(options | {"data": [here / options["data"]]}), out=here / "mine")
    assert not (here / "mine").exists()


@pytest.mark.parametrize("lmbda", [0.0, -1.0, float("nan"), float("inf")])
def test_evaluate_refuses_a_lmbda_that_is_no_price(here, lmbda):
    np.savez("p.npz", **posteriors(10))
    with pytest.raises(UsageError, match="lmbda"):
        evaluate(data=[here / "p.npz"], lmbda=[1.0, lmbda], out=here / "report")
    assert not (here / "report").exists()


def test_evaluate_wants_what_to_fit_to(here):
    np.save("x.npy", vectors(10))
    with pytest.raises(UsageError, match="--fit"):
        evaluate(f"{MODELS}:linear", data=[here / "x.npy"])
    with pytest.raises(UsageError, match="MODEL"):
        evaluate(data=[here / "x.npy"], fit_to=[here / "x.npy"])


def test_fit_keeps_a_model_that_is_there(here):
    (here / "models").mkdir()
    (here / "models" / "config.json").write_text("{}")
    with pytest.raises(OutputExistsError, match="holds a model"):  # before the data are looked at
        fit(data=[here / "gone.npz"], out=here / "models")
