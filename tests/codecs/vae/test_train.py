"""Training, resuming and exporting the bits-back codec, on made images, small enough for seconds."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import obverse.codecs.vae.train as training
from obverse.codecs.vae.codec import VaeCodec
from obverse.codecs.vae.export import export_vae, load_checkpoint
from obverse.codecs.vae.images import read_gray_sets
from obverse.codecs.vae.recipe import AS_IS, STOCHASTIC, VaeConfig, VaeRecipe
from obverse.codecs.vae.train import binarise, draw, kl_weights, learning_rate, split, train
from obverse.errors import ExportError, InputError, OutputError, TrainingError, UnsupportedInputError
from obverse.zoo import load_model_from
from tests.codecs.vae.models import BINARY, SIZES, TWO_LAYERS, images_of

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = VaeRecipe(steps=6, batch=8, warmup=2, kl_steps=3, upper_kl_steps=4, validate_every=2, bf16=False)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "set.npy"
    np.save(path, images_of(TWO_LAYERS, 200))
    return [path]


def test_a_resumed_run_equals_one_that_was_not_stopped(data, tmp_path, monkeypatch):
    whole = train(data, tmp_path / "whole", RECIPE, TWO_LAYERS, "cpu")
    validate, calls = training.validate, []

    class Stop(Exception):
        pass

    def stopping(*arguments):
        """Fails in the second validation, as a killed process would."""
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        return validate(*arguments)

    monkeypatch.setattr(training, "validate", stopping)
    eager = VaeRecipe(**(vars(RECIPE) | {"checkpoint_seconds": 0.0}))
    with pytest.raises(Stop):
        train(data, tmp_path / "parts", eager, TWO_LAYERS, "cpu")
    monkeypatch.undo()
    state = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert 0 < state["step"] < RECIPE.steps
    parts = train(data, tmp_path / "parts", eager, TWO_LAYERS, "cpu")
    wanted = torch.load(whole, weights_only=True)["average"]
    resumed = torch.load(parts, weights_only=True)["average"]
    assert all(torch.equal(value, resumed[name]) for name, value in wanted.items())
    lines = [json.loads(line) for line in (tmp_path / "whole" / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(line["elbo_bits"] == pytest.approx(line["pixels"] + line["z1"] + line["z2"]) for line in lines)
    recipe = json.loads((tmp_path / "parts" / "recipe.json").read_text())
    assert [phase["from_step"] for phase in recipe["phases"]] == [0]


@pytest.mark.parametrize(("config", "kind"), [(TWO_LAYERS, AS_IS), (BINARY, STOCHASTIC)])
def test_a_trained_model_codes_better_than_an_untrained_one(config, kind, tmp_path):
    """From the images to files, through the checkpoint, the export and the codec."""
    path = tmp_path / "set.npy"
    np.save(path, images_of(VaeConfig(**SIZES), 400))
    recipe = VaeRecipe(
        **(vars(RECIPE) | {"steps": 120, "batch": 32, "lr": 5e-3, "ema": 0.9, "binarise": kind})
    )
    checkpoint = train([path], tmp_path / "run", recipe, config, "cpu")
    facts = export_vae(checkpoint, [path], tmp_path / "run" / "mine")
    test = images_of(VaeConfig(**SIZES), 60, seed=7)
    if kind == STOCHASTIC:
        test = binarise(test, np.random.default_rng(1))
    codec = VaeCodec(load_model_from(tmp_path / "run" / "mine"))
    np.testing.assert_array_equal(codec.decode(codec.encode(test)), test)
    rate = codec.report(test).net_rate_bits
    assert rate < (7.0 if kind == AS_IS else 0.95)  # uniform would be 8 and 1
    assert facts["net rate"] == pytest.approx(facts["exact ELBO"], rel=0.05)
    assert facts["exact ELBO"] == pytest.approx(facts["float ELBO"], rel=0.05)
    assert (tmp_path / "run" / "mine" / "card.md").read_text().startswith("# mine")
    with pytest.raises(ExportError, match="more than"):
        export_vae(checkpoint, [path], tmp_path / "other", largest=100)


def test_binary_pixels_have_their_value_as_probability():
    gray = np.full((2000, 4, 4), 51, np.uint8)
    gray[:, 0] = 0
    gray[:, 1] = 255
    drawn = binarise(gray, np.random.default_rng(0))
    assert set(np.unique(drawn)) == {0, 1}
    assert drawn[:, 0].max() == 0 and drawn[:, 1].min() == 1
    assert drawn[:, 2:].mean() == pytest.approx(0.2, abs=0.01)


def test_images_are_moved_whole():
    images = np.zeros((1, 9, 9), np.uint8)
    images[0, 4, 4] = 200
    recipe = VaeRecipe(shift=2, batch=3)
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(400):
        batch = draw(images, recipe, rng)
        assert (batch.sum(axis=(1, 2)) == 200).all()
        places.add(tuple(np.argwhere(batch[0])[0]))
    assert places == {(y, x) for y in range(2, 7) for x in range(2, 7)}


def test_schedules():
    recipe = VaeRecipe()
    assert learning_rate(recipe, 0) < learning_rate(recipe, 500) == recipe.lr
    assert learning_rate(recipe, recipe.steps - 1) < 1e-4 * recipe.lr
    first, upper = kl_weights(recipe, 0, 2).tolist()
    assert upper < first < 1 and kl_weights(recipe, 5000, 2).tolist() == [1, 1]


def test_runs_that_cannot_be(data, tmp_path):
    def fails(error, recipe=RECIPE, config=TWO_LAYERS, sets=data, device="cpu", **changes):
        with pytest.raises(error):
            train(sets, tmp_path / "run", VaeRecipe(**(vars(recipe) | changes)), config, device)

    fails(TrainingError, steps=0)
    fails(TrainingError, lr=-1.0)
    fails(TrainingError, binarise="sometimes")
    fails(TrainingError, binarise=STOCHASTIC)  # with 256 levels
    fails(TrainingError, shift=50)
    fails(TrainingError, device="cuda:99")
    fails(UnsupportedInputError, config=BINARY)  # gray images as they are
    fails(UnsupportedInputError, config=VaeConfig(**(SIZES | {"height": 12})))
    few = tmp_path / "few.npy"
    np.save(few, images_of(TWO_LAYERS, 20))
    fails(TrainingError, sets=[few])
    colour = tmp_path / "colour.npy"
    np.save(colour, np.zeros((200, 8, 12, 3), np.uint8))
    fails(UnsupportedInputError, sets=[*data, colour])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        train(data, tmp_path / "file" / "run", RECIPE, TWO_LAYERS, "cpu")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train(data, tmp_path / "bad", RECIPE, TWO_LAYERS, "cpu")


def test_several_sets_are_one(data, tmp_path):
    more = tmp_path / "more.npy"
    np.save(more, images_of(TWO_LAYERS, 30, seed=1))
    assert read_gray_sets([*data, more]).shape == (230, 8, 12)
    kept, held = split(read_gray_sets(data))
    assert (len(kept), len(held)) == (190, 10)


def test_what_cannot_be_exported(tmp_path, data):
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "checkpoint.pt").write_bytes(b"x")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    checkpoint = train(data, tmp_path / "run", RECIPE, TWO_LAYERS, "cpu")
    (tmp_path / "run" / "recipe.json").write_text("{}")
    with pytest.raises(InputError, match="recipe"):
        export_vae(checkpoint, data, tmp_path / "model")
