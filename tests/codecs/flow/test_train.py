"""Training the flow: it learns, it resumes exactly, and what it exports is what was trained."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.codecs.flow import export as flow_export
from obverse.codecs.flow import train as training
from obverse.codecs.flow.codec import FlowCodec
from obverse.codecs.flow.export import Calibration, export_flow, load_checkpoint, quantise_flow, step_of
from obverse.codecs.flow.recipe import FlowRecipe
from obverse.codecs.flow.train import Batches, bits_per_dimension, photo_crops, train
from obverse.container import read, write
from obverse.errors import ExportError, InputError, OutputError, TrainingError
from obverse.zoo import load_model_from
from tests.codecs.flow.models import CONFIG, float_flow, some_images
from tests.conftest import smooth_photo

RECIPE = FlowRecipe(
    steps=6,
    batch=4,
    warmup=2,
    validation=2,
    photo_share=0.0,
    checkpoint_seconds=0.0,
    validate_every=3,
    bf16=False,
)


def weights_of_checkpoint(path):
    return torch.load(path, weights_only=True)["average"]


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    images = some_images(12)
    whole = weights_of_checkpoint(train(images, [], tmp_path / "whole", RECIPE, CONFIG))
    original = training.warm_up_stay_fall

    def killed(recipe, step):
        if step == 4:
            raise KeyboardInterrupt
        return original(recipe, step)

    monkeypatch.setattr(training, "warm_up_stay_fall", killed)
    with pytest.raises(KeyboardInterrupt):
        train(images, [], tmp_path / "killed", RECIPE, CONFIG)
    monkeypatch.setattr(training, "warm_up_stay_fall", original)
    resumed = weights_of_checkpoint(train(images, [], tmp_path / "killed", RECIPE, CONFIG))
    assert all(torch.allclose(whole[key], resumed[key], rtol=1e-4, atol=1e-6) for key in whole)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "killed" / "validation.jsonl").read_text().splitlines()
    ]
    assert steps == [3, 6]


def test_it_learns(tmp_path):
    images = some_images(40)
    recipe = replace(RECIPE, steps=40, batch=4, warmup=5, checkpoint_seconds=100.0, validate_every=40)
    path = train(images, [], tmp_path, recipe, CONFIG)
    torch.manual_seed(recipe.seed)
    before = bits_per_dimension(training.IntegerFlow(CONFIG), images[-2:], torch.device("cpu"))
    model, steps = load_checkpoint(path)
    assert steps == 40
    assert bits_per_dimension(model, images[-2:], torch.device("cpu")) < before - 0.2
    phases = json.loads((tmp_path / "recipe.json").read_text())["phases"]
    assert [phase["data"] for phase in phases] == [{"images": 38, "photo_crops": 0}]


@pytest.mark.parametrize(
    ("change", "images", "device", "error", "words"),
    [
        ({"steps": 0}, some_images(4), "cpu", TrainingError, "steps must be"),
        ({"decay": 1.5}, some_images(4), "cpu", TrainingError, "decay"),
        ({"validation": 4}, some_images(4), "cpu", TrainingError, "too few"),
        ({"validation": 0}, some_images(4), "cpu", TrainingError, "validation must be"),
        ({}, some_images(4), "tpu", TrainingError, "no device"),
        ({}, np.zeros((4, 28, 28), np.uint8), "cpu", InputError, "32, 32, 3"),
        ({}, some_images(4).astype(float), "cpu", InputError, "float64"),
    ],
)
def test_what_cannot_be_trained(tmp_path, change, images, device, error, words):
    with pytest.raises(error, match=words):
        train(images, [], tmp_path / "run", replace(RECIPE, **change), CONFIG, device)


def test_a_checkpoint_that_cannot_be_resumed(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train(some_images(4), [], tmp_path, RECIPE, CONFIG)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        train(some_images(4), [], tmp_path / "file" / "run", RECIPE, CONFIG)


def test_crops_of_photos(tmp_path):
    sizes = [(200, 300), (90, 40), (20, 20)]  # the last is smaller than a crop, and scaled up
    for i, (height, width) in enumerate(sizes):
        Image.fromarray(smooth_photo(height, width, i)).save(tmp_path / f"{i}.png")
    files = sorted(tmp_path.iterdir())
    crops = photo_crops(files, 10, 3)
    assert crops.shape == (30, 32, 32, 3)
    assert crops.dtype == np.uint8
    assert np.array_equal(crops, photo_crops(files, 10, 3))
    assert len({crop.tobytes() for crop in crops[:10]}) == 10
    assert photo_crops([], 10, 3).shape == (0, 32, 32, 3)
    (tmp_path / "broken.png").write_bytes(b"text")
    with pytest.raises(InputError, match="broken"):
        photo_crops(sorted(tmp_path.iterdir()), 10, 3)


def test_batches_mirror_mix_and_resume():
    images = np.zeros((10, 32, 32, 3), np.uint8)
    images[:, :, 0] = (
        np.arange(10)[:, None, None] + 1
    )  # a number at the left edge: the right one when mirrored
    photos = np.full((5, 32, 32, 3), 77, np.uint8)
    recipe = FlowRecipe(steps=100, batch=10, photo_share=0.5)
    batches = Batches(images, photos, recipe)
    early = np.concatenate([batches.draw(0) for _ in range(40)])
    from_photos = (early[:, 0, 5, 0] == 77).mean()
    assert 0.4 < from_photos < 0.6
    mirrored = (early[:, 0, 0, 0] == 0) & (early[:, 0, 5, 0] != 77)
    assert 0.15 < mirrored.mean() < 0.35
    state = batches.state_dict()
    wanted = batches.draw(50)
    again = Batches(images, photos, recipe)
    again.load_state_dict(state)
    assert np.array_equal(again.draw(50), wanted)
    fresh = Batches(images, photos, recipe)
    last = fresh.draw(100)  # at the end no photos, and every image once
    assert sorted(int(i[0, [0, -1], 0].max()) for i in last) == list(range(1, 11))


def test_quantised_rate_is_the_float_rate():
    """Exactness costs little, also for a model that no training has made gentle."""
    images = some_images(24, 2)
    model = float_flow(4, 0.02)
    exact = quantise_flow(model, images[:16])
    noted = []
    values = iter(exact(images[16:]))

    def coder(mixtures):
        symbols = next(values)
        noted.append(mixtures.bits(symbols).sum())
        return symbols

    exact.run(8, 32, coder)
    wanted = 8 * 3072 * bits_per_dimension(model, images[16:], torch.device("cpu"))
    assert sum(noted) == pytest.approx(wanted, rel=0.01)


def test_calibration_sees_every_layer():
    model = float_flow()
    seen = Calibration(model, some_images(3))
    names = {
        name for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d) and ("hidden" in name or "spatial" in name)
    }  # fmt: skip
    assert set(seen.top) == names
    assert set(seen.features) == {0, 1}
    assert not any(module._forward_hooks for module in model.modules())


def test_step_of_silent_channels():
    steps = step_of(torch.tensor([0.0, 5.11]), 511)
    assert steps[1] == pytest.approx(0.01)
    assert steps[0] == pytest.approx(0.01 / 256, rel=1e-3)
    assert (step_of(torch.zeros(2), 511) > 0).all()


def test_export(tmp_path, monkeypatch):
    images = some_images(12)
    checkpoint = train(images, [], tmp_path / "run", RECIPE, CONFIG)
    facts = export_flow(checkpoint, images, tmp_path / "model", validation=2)
    assert facts["steps"] == 6
    assert facts["exact_rate"] == pytest.approx(facts["float_rate"], rel=0.02)
    model = load_model_from(tmp_path / "model")
    assert model.fingerprint.hex() == facts["fingerprint"]
    assert "bits per dimension" in (tmp_path / "model" / "card.md").read_text()
    codec = FlowCodec(model)
    assert np.array_equal(
        codec.decode(read(write(codec.encode(images, codec.options(model_only=True))))), images
    )
    assert codec.rate_bits(images[-2:], codec.options(model_only=True)).sum() / images[
        -2:
    ].size == pytest.approx(facts["exact_rate"])
    monkeypatch.setattr(flow_export, "MAX_BYTES", 100)
    with pytest.raises(ExportError, match="more than the 100"):
        export_flow(checkpoint, images, tmp_path / "other", validation=2)


def test_no_checkpoint_or_not_one_of_a_flow(tmp_path):
    with pytest.raises(InputError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "text.pt")
