"""Training the pixel model on a few made-up photos: it learns, resumes, and what is exported codes as promised."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import obverse
from obverse.codecs.image_lossless import network as raster_network
from obverse.codecs.image_lossless.export import exact_networks, export_image_lossless, read_checkpoint
from obverse.codecs.image_lossless.raster import RasterModel
from obverse.codecs.image_lossless.recipe import RasterRecipe
from obverse.codecs.image_lossless.train import (
    KINDS,
    activate,
    collect_files,
    make_networks,
    rate_bits,
    train,
)
from obverse.coding.logistic_mixture import FRACTION, LogisticMixtures, nearest_scale, weights_of
from obverse.errors import InputError, TrainingError
from tests.conftest import smooth_photo

SMALL = RasterRecipe(
    steps=30, batch=256, hidden=16, hidden2=8, components=2, share=0.4, validate_every=15, warmup=5
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(4):
        noisy = smooth_photo(48, 64, seed=i) + rng.normal(0, 2, (48, 64, 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, train([photos], out, SMALL, "cpu")


def test_training_learns_and_writes_its_recipe(trained):
    out, checkpoint = trained
    lines = [json.loads(line) for line in (out / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [15, 30]
    assert lines[1]["green"] < lines[0]["green"]
    assert json.loads((out / "recipe.json").read_text())["phases"][0]["recipe"]["hidden"] == 16
    assert checkpoint.exists()


def test_a_finished_run_is_not_trained_again(trained, photos):
    out, checkpoint = trained
    before = torch.load(checkpoint, weights_only=True)["networks"]
    train([photos], out, SMALL, "cpu")
    after = torch.load(checkpoint, weights_only=True)["networks"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_exported_model_codes_at_the_rate_that_training_predicts(trained, photos, tmp_path):
    _, checkpoint = trained
    stored = export_image_lossless(checkpoint, [photos], tmp_path / "tiny")
    assert stored.codec == "image-lossless"
    pixels = np.asarray(Image.open(photos / "1.png"))
    data = obverse.compress(pixels, codec=str(tmp_path / "tiny"))
    np.testing.assert_array_equal(obverse.decompress(data, model=tmp_path / "tiny"), pixels)

    networks, _ = read_checkpoint(checkpoint)
    recipe = RasterRecipe(share=1.0, half_share=1e-9)
    samples = collect_files([photos / "1.png"], recipe, "test")
    predicted = 0.0
    with torch.inference_mode():
        for (name, channels, _), s in zip(KINDS, samples, strict=True):
            if channels == 3:
                x, p, unit, value = s.batch(slice(None), torch.device("cpu"))
                predicted += float(rate_bits(networks[name](x), p, unit, value).sum())
    model = RasterModel.load(stored)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    assert 8 * len(model.encode(planes)) == pytest.approx(predicted, rel=0.02)


def test_the_loss_is_the_code_length_of_the_integer_mixture():
    rng = np.random.default_rng(1)
    n, k = 200, 3
    p = rng.uniform(0, 255, n)
    outputs = np.concatenate(
        [rng.normal(0, 1, (n, k)), rng.normal(0, 2, (n, k)), rng.normal(1, 1, (n, k))], 1
    )
    unit = rng.uniform(0.5, 8, n)
    value = np.clip(np.round(p + 3 * unit * rng.normal(0, 1, n)), 0, 255).astype(int)
    bits = rate_bits(*(torch.from_numpy(a.astype(np.float32)) for a in (outputs, p, unit, value))).numpy()
    mixtures = LogisticMixtures(
        weights_of(np.round(outputs[:, :k] * 16).astype(int)),
        np.round((p[:, None] + outputs[:, k : 2 * k] * unit[:, None]) * FRACTION).astype(int),
        nearest_scale(np.maximum(unit[:, None] * 2 ** outputs[:, 2 * k :], 1 / 16)),
        0, 255,
    )  # fmt: skip
    np.testing.assert_allclose(mixtures.bits(value), bits, rtol=0.03, atol=0.1)
    assert mixtures.bits(value).mean() == pytest.approx(bits.mean(), abs=0.02)


def test_activations_are_those_of_the_coder():
    sums = np.random.default_rng(2).integers(-(2**19), 2**19, 64).astype(np.float32)
    here = activate(torch.from_numpy(sums / 2**15)).numpy() * raster_network.H_UNIT
    there = sums.copy()
    raster_network.activate.py_func(there, 64)
    assert np.abs(here - there).max() <= 1 and (here != there).mean() < 0.05  # halves round differently


def test_weights_that_grew_too_large_are_refused():
    networks = make_networks(SMALL)
    with torch.no_grad():
        networks["green"].two.weight.fill_(100)
    with pytest.raises(obverse.ObverseError, match="above 2\\*\\*24"):
        exact_networks(networks)


def test_what_cannot_be_trained_on(photos, tmp_path):
    with pytest.raises(InputError, match="no folder"):
        train([tmp_path / "nothing"], tmp_path / "out", SMALL, "cpu")
    with pytest.raises(TrainingError, match="device"):
        train([photos], tmp_path / "out", SMALL, "nonsense")
    with pytest.raises(TrainingError, match="steps must be a whole number from 1"):
        RasterRecipe(steps=0)
    for share in (0.0, -1.0, 7.0, float("nan")):
        with pytest.raises(TrainingError, match="share must be a number above 0 and at most 1"):
            RasterRecipe(steps=1, share=share)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train([photos], tmp_path / "broken", SMALL, "cpu")
    with pytest.raises(TrainingError, match="no checkpoint"):
        read_checkpoint(tmp_path / "broken" / "checkpoint.pt")
