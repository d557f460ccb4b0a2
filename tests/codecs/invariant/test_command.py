"""`obverse train invariant`: a set of points or images in, a model that codes out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from obverse.cli import run
from obverse.codecs.invariant.codec import InvariantCodec
from obverse.errors import InputError, TrainingError
from obverse.zoo import load_model_from
from tests.codecs.invariant.models import IMAGES, items_of

QUICK = ["--steps", "4", "--batch", "8", "--codes", "3", "--width", "4", "--device", "cpu"]


def words_of(data, out, *more):
    return ["train", "invariant", *(f"--data={path}" for path in data), "--out", str(out), *more]


@pytest.mark.parametrize("objective", ["vic", "vc", "bince"])
def test_points(objective, tmp_path, capsys):
    points = np.random.default_rng(0).normal(size=(200, 2))
    np.save(tmp_path / "points.npy", points)
    out = tmp_path / "run"
    more = f"--objective {objective} --beta 0.5 --anneal 0.1 --lr 0.01 --seed 7 --threads {torch.get_num_threads()}"
    assert run(words_of([tmp_path / "points.npy"], out, *QUICK, *more.split())) == 0
    model = load_model_from(out / "model")
    assert model.codec == "invariant" and model.config["objective"] == objective
    assert model.config["model"]["clusters"] == 1
    told = capsys.readouterr().err
    assert model.fingerprint.hex() in told and f"{model.config['rate_bits']} bits an item" in told
    codec = InvariantCodec(model)
    assert codec.decode(codec.encode(points)).shape == (200, 3)
    (phase,) = json.loads((out / "recipe.json").read_text())["phases"]
    recipe = phase["recipe"]
    assert (recipe["beta"], recipe["anneal"], recipe["lr"], recipe["seed"]) == (0.5, 0.1, 0.01, 7)
    assert phase["data"] == {"points": 190, "rotated": True}


def test_images(tmp_path):
    np.save(tmp_path / "a.npy", items_of(IMAGES, 60))
    np.save(tmp_path / "b.npy", items_of(IMAGES, 60, seed=1))
    changes = [
        "--degrees",
        "5",
        "--shear",
        "2",
        "--translate",
        "0",
        "--scale",
        "0.9",
        "1.1",
        "--flip",
        "--upright",
    ]
    out = tmp_path / "run"
    assert run(words_of([tmp_path / "a.npy", tmp_path / "b.npy"], out, *QUICK, *changes)) == 0
    codec = InvariantCodec(load_model_from(out / "model"))
    assert codec.reconstruct(codec.encode(items_of(IMAGES, 5))).shape == (5, 9, 12)
    assert codec.config.clusters == 64
    (phase,) = json.loads((out / "recipe.json").read_text())["phases"]
    affine = {"degrees": 5.0, "shear": 2.0, "translate": 0.0, "scale": [0.9, 1.1], "flip": True}
    assert phase["data"] == {"images": 114, "affine": affine, "upright": True}
    assert run(["export", "invariant", str(out), "--out", str(tmp_path / "again")]) == 0
    assert load_model_from(tmp_path / "again").fingerprint == codec.fingerprint


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--steps", "0"), ("--seed", "-1"), ("--threads", "0"), ("--codes", "0"), ("--batch", "1"), ("--beta", "-1"),
     ("--anneal", "2"), ("--clusters", "0"), ("--shear", "89")],
)  # fmt: skip
def test_wrong_use(flag, value, tmp_path, capsys):
    assert run(words_of([tmp_path], tmp_path / "run", flag, value)) == 2
    assert f"{flag} must be" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_data(tmp_path, capsys):
    assert run(words_of([tmp_path], tmp_path / "run")) == InputError.exit_code
    assert "empty" in capsys.readouterr().err
    np.save(tmp_path / "few.npy", np.zeros((5, 2)))
    assert run(words_of([tmp_path / "few.npy"], tmp_path / "run")) == TrainingError.exit_code
    assert "too few" in capsys.readouterr().err
    np.save(tmp_path / "images.npy", items_of(IMAGES, 120))
    words = words_of([tmp_path / "images.npy"], tmp_path / "run", "--scale", "2", "1")
    assert run(words) == 2
    assert "scale must be two numbers" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
