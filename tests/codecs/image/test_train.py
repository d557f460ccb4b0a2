"""Training, resuming and exporting, with a model small enough to run in seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import obverse
from obverse.codecs.image.codec import ImageCodec
from obverse.codecs.image.export import export_image
from obverse.codecs.image.model import LMBDA_MAX, LMBDA_MIN, ImageModel, lmbda_of
from obverse.codecs.image.recipe import ImageModelConfig, ImageRecipe
from obverse.codecs.image.train import loss_of, sample_quality, train, validation_crops
from obverse.errors import InputError, TrainingError
from obverse.training.schedule import warm_up_stay_fall
from obverse.zoo import load_model, load_model_from
from tests.conftest import smooth_photo

SMALL = ImageModelConfig(
    latents=32, fine=1, coarse=1, fine_hidden=8, coarse_hidden=8, hyper=8, features=16, context=16, hidden=16
)
RECIPE = ImageRecipe(steps=6, batch=2, patch=64, warmup=2, validate_every=3, bf16=False)


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for i in range(4):
        Image.fromarray(smooth_photo(150, 140, seed=i)).save(data / f"{i}.png")
    return data


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def test_resuming_gives_the_very_same_weights(folder, tmp_path, one_thread, monkeypatch):
    straight = train([folder], tmp_path / "a", RECIPE, SMALL, "cpu")

    class Stop(Exception):
        pass

    def stop_after_three(recipe, step, real=warm_up_stay_fall):
        if step == 3:
            raise Stop
        return real(recipe, step)

    eager = ImageRecipe(**(vars(RECIPE) | {"checkpoint_seconds": 0.0}))
    monkeypatch.setattr("obverse.codecs.image.train.warm_up_stay_fall", stop_after_three)
    with pytest.raises(Stop):
        train([folder], tmp_path / "b", eager, SMALL, "cpu")
    monkeypatch.undo()
    resumed = train([folder], tmp_path / "b", eager, SMALL, "cpu")
    a, b = weights(straight), weights(resumed)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert (tmp_path / "a" / "recipe.json").exists() and (tmp_path / "a" / "validation.png").exists()


def test_training_lowers_the_loss(folder, tmp_path, one_thread):
    recipe = ImageRecipe(**(vars(RECIPE) | {"steps": 60, "validate_every": 30, "ema": 0.5}))
    train([folder], tmp_path / "run", recipe, SMALL, "cpu")
    losses = [
        np.mean([row["loss"] for row in json.loads(line)["rows"]])
        for line in (tmp_path / "run" / "validation.jsonl").read_text().splitlines()
    ]
    assert losses[1] < losses[0]


def test_an_exported_model_is_a_codec(folder, tmp_path, one_thread, monkeypatch):
    train([folder], tmp_path / "run", RECIPE, SMALL, "cpu")
    facts = export_image(tmp_path / "run" / "checkpoint.pt", [folder], tmp_path / "zoo" / "image")
    assert (tmp_path / "zoo" / "image" / "card.md").read_text().startswith("# image")
    shipped = obverse.open_codec("image").fingerprint.hex()
    monkeypatch.setenv("OBVERSE_ZOO", str(tmp_path / "zoo"))
    codec = ImageCodec()
    assert codec.fingerprint.hex() == facts["fingerprint"] != shipped
    photo = smooth_photo(100, 90, seed=9)
    container = codec.encode(photo, codec.options(quality=80))
    assert codec.decode(container).shape == photo.shape


def test_an_analysis_of_its_own_sizes_is_trained_and_exported(folder, tmp_path, one_thread, monkeypatch):
    larger = replace(SMALL, analysis_fine=2, analysis_coarse=3, analysis_fine_hidden=12)
    train([folder], tmp_path / "run", RECIPE, larger, "cpu")
    export_image(tmp_path / "run" / "checkpoint.pt", [folder], tmp_path / "zoo" / "image")
    monkeypatch.setenv("OBVERSE_ZOO", str(tmp_path / "zoo"))
    networks = ImageCodec().networks
    blocks = [
        len(part) for part in (networks.analysis.fine, networks.analysis.coarse, networks.synthesis.fine)
    ]
    assert blocks == [2, 3, 1]
    assert networks.analysis.fine[1].spatial.out_channels == 12
    assert (
        networks.analysis.coarse[2].spatial.out_channels
        == networks.synthesis.coarse[0].spatial.out_channels
        == 8
    )


def test_a_run_may_begin_with_the_weights_of_another(folder, tmp_path, one_thread):
    train([folder], tmp_path / "run", RECIPE, SMALL, "cpu")
    export_image(tmp_path / "run" / "checkpoint.pt", [folder], tmp_path / "zoo" / "image")
    stored = load_model_from(tmp_path / "zoo" / "image")
    other = tmp_path / "other"
    other.mkdir()
    for i in range(3):
        Image.fromarray(smooth_photo(140, 150, seed=10 + i)).save(other / f"{i}.png")
    recipe = replace(RECIPE, by_set=True, scale_low=0.6, hold_out=3, lr=1e-6)
    larger = replace(SMALL, analysis_fine=2)
    train([folder], tmp_path / "next", recipe, larger, "cpu", validation=[folder, other], start=stored)
    lines = (tmp_path / "next" / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 3, 6]
    phase = json.loads((tmp_path / "next" / "recipe.json").read_text())["phases"][0]
    assert phase["validation"] == ["data/1.png", "other/1.png"]
    assert phase["warm_start"] == stored.fingerprint.hex()
    facts = export_image(
        tmp_path / "next" / "checkpoint.pt", [folder], tmp_path / "x", validation=[folder, other]
    )
    assert facts["phases"] == [phase] and facts["exactness_cost"]
    first, last = weights(tmp_path / "run" / "checkpoint.pt"), weights(tmp_path / "next" / "checkpoint.pt")
    name = "synthesis.idct.weight"
    assert torch.allclose(first[name], last[name], atol=1e-2) and "analysis.fine.1.reduce.weight" in last


def test_models_of_one_size_are_described_as_they_always_were():
    stored = load_model("image").config["model"]
    config = ImageModelConfig(**stored)
    assert config.as_dict() == stored == ImageModelConfig().as_dict()
    assert config.analysis_sizes == config.synthesis_sizes == (320, 4, 2, 112, 160)


def test_bad_recipes_and_folders(folder, tmp_path):
    for changes in (
        {"patch": 100},
        {"steps": 0},
        {"batch": 0},
        {"lr": 0.0},
        {"scale_low": 2.0},
        {"hold_out": 0},
    ):
        with pytest.raises(TrainingError):
            train([folder], tmp_path / "x", ImageRecipe(**(vars(RECIPE) | changes)), SMALL, "cpu")
    with pytest.raises(TrainingError, match="no device"):
        train([folder], tmp_path / "x", RECIPE, SMALL, "tpu")
    with pytest.raises(InputError, match="no folder"):
        train([tmp_path / "nowhere"], tmp_path / "x", RECIPE, SMALL, "cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images"):
        train([tmp_path / "empty"], tmp_path / "x", RECIPE, SMALL, "cpu")
    (tmp_path / "x").mkdir(exist_ok=True)
    (tmp_path / "x" / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="resumed"):
        train([folder], tmp_path / "x", RECIPE, SMALL, "cpu")
    with pytest.raises(InputError, match="not a checkpoint"):
        export_image(tmp_path / "x" / "checkpoint.pt", [folder], tmp_path / "y")


def test_images_too_small_to_validate_on_are_noticed_at_the_start(tmp_path, capsys):
    for i, size in enumerate([(30, 200), (63, 63), (64, 90)]):
        Image.fromarray(smooth_photo(*size, seed=i)).save(tmp_path / f"{i}.png")
    small, large = [tmp_path / "0.png", tmp_path / "1.png"], tmp_path / "2.png"
    with pytest.raises(InputError, match=r"no image that is kept for validation has 64 pixels.*--validation"):
        validation_crops(small)
    assert [crop.shape for crop in validation_crops([*small, large])] == [(64, 64, 3)]
    assert "2 images of less than 64 pixels" in capsys.readouterr().err


def test_qualities_are_spread_over_each_batch():
    t = sample_quality(8, np.random.default_rng(0)).numpy()
    assert sorted((t * 8).astype(int)) == list(range(8))


def test_the_loss_is_rate_plus_lambda_distortion():
    x = torch.zeros(1, 3, 8, 8)
    t = torch.tensor([0.5])
    out = {"x_hat": x + 0.1, "y_bits": torch.tensor([64.0]), "z_bits": torch.tensor([32.0])}
    loss, values = loss_of(out, x, t)
    lmbda = (LMBDA_MIN * LMBDA_MAX) ** 0.5
    assert loss.item() == pytest.approx(96 / 64 + lmbda * 255**2 * 0.01, rel=1e-4)
    assert values["psnr"] == pytest.approx(20, abs=1e-3)
    assert lmbda_of(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([LMBDA_MIN, LMBDA_MAX])


def test_evaluation_rounds_and_training_adds_noise():
    torch.manual_seed(0)
    model = ImageModel(SMALL)
    x = torch.rand(1, 3, 64, 64)
    t = torch.tensor([0.5])
    model.eval()
    assert torch.equal(model(x, t)["y_bits"], model(x, t)["y_bits"])
    model.train()
    assert not torch.equal(model(x, t)["y_bits"], model(x, t)["y_bits"])
