"""`obverse train invariant`: a set of points or images in, a model that codes out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from obverse.cli.console import UsageError
from obverse.codecs.invariant.codec import InvariantCodec
from obverse.codecs.invariant.command import train_invariant
from obverse.errors import InputError, TrainingError
from obverse.zoo import load_model_from
from tests.codecs.invariant.models import IMAGES, items_of

QUICK = {"steps": 4, "batch": 8, "codes": 3, "width": 4, "device": "cpu"}


@pytest.mark.parametrize("objective", ["vic", "vc", "bince"])
def test_points(objective, tmp_path, capsys):
    points = np.random.default_rng(0).normal(size=(200, 2))
    np.save(tmp_path / "points.npy", points)
    threads = torch.get_num_threads()
    out = tmp_path / "run"
    arguments = QUICK | {"objective": objective, "beta": 0.5, "anneal": 0.1, "lr": 0.01, "seed": 7}
    assert train_invariant(data=[tmp_path / "points.npy"], out=out, threads=threads, **arguments) == 0
    model = load_model_from(out / "model")
    assert model.codec == "invariant" and model.config["objective"] == objective
    assert model.fingerprint.hex() in capsys.readouterr().err
    codec = InvariantCodec(model)
    assert codec.decode(codec.encode(points)).shape == (200, 3)
    (phase,) = json.loads((out / "recipe.json").read_text())["phases"]
    recipe = phase["recipe"]
    assert (recipe["beta"], recipe["anneal"], recipe["lr"], recipe["seed"]) == (0.5, 0.1, 0.01, 7)
    assert phase["data"] == {"points": 190, "rotated": True}


def test_images(tmp_path):
    np.save(tmp_path / "a.npy", items_of(IMAGES, 60))
    np.save(tmp_path / "b.npy", items_of(IMAGES, 60, seed=1))
    changes = {"degrees": 5.0, "shear": 2.0, "translate": 0.0, "scale": (0.9, 1.1), "flip": True}
    train_invariant(
        data=[tmp_path / "a.npy", tmp_path / "b.npy"], out=tmp_path / "run", upright=True, **QUICK, **changes
    )
    codec = InvariantCodec(load_model_from(tmp_path / "run" / "model"))
    assert codec.reconstruct(codec.encode(items_of(IMAGES, 5))).shape == (5, 9, 12)
    assert codec.config.clusters == 64
    (phase,) = json.loads((tmp_path / "run" / "recipe.json").read_text())["phases"]
    assert phase["data"] == {"images": 114, "affine": changes | {"scale": [0.9, 1.1]}, "upright": True}


def test_wrong_use_and_missing_data(tmp_path):
    for wrong in (
        {"steps": 0},
        {"seed": -1},
        {"threads": 0},
        {"codes": 0},
        {"batch": 1},
        {"beta": -1.0},
        {"anneal": 2.0},
        {"clusters": 0},
    ):
        with pytest.raises(UsageError, match=f"--{next(iter(wrong))}"):
            train_invariant(data=[tmp_path], out=tmp_path / "run", **wrong)
    with pytest.raises(InputError, match="empty"):
        train_invariant(data=[tmp_path], out=tmp_path / "run")
    np.save(tmp_path / "few.npy", np.zeros((5, 2)))
    with pytest.raises(TrainingError, match="too few"):
        train_invariant(data=[tmp_path / "few.npy"], out=tmp_path / "run")
    np.save(tmp_path / "images.npy", items_of(IMAGES, 120))
    with pytest.raises(TrainingError, match="shear"):
        train_invariant(data=[tmp_path / "images.npy"], out=tmp_path / "run", shear=89.0)
