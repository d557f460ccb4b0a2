"""Training, resuming and exporting the stereo codec's network, on made pairs, small enough for seconds."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from obverse.codecs.stereo.crops import photo_files, synthetic_scenes
from obverse.codecs.stereo.export import export_stereo, load_checkpoint, match_samples
from obverse.codecs.stereo.fusion import StereoFusion
from obverse.codecs.stereo.pairs import shift_rows, synthetic_pair
from obverse.codecs.stereo.recipe import StereoConfig, StereoRecipe
from obverse.codecs.stereo.train import loss_of, matching_cost, prepare, to_unit, train, validate
from obverse.errors import ExportError, InputError, TrainingError
from obverse.zoo import load_model_from
from tests.conftest import smooth_photo

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = StereoConfig(
    disparities=8,
    features=8,
    match=8,
    cost=8,
    coarse_cost=8,
    context=4,
    refine=8,
    trunk=8,
    deep=8,
    deep_blocks=1,
)
RECIPE = StereoRecipe(
    steps=4, batch=2, height=64, width=64, margin=0, synthetic=2, warmup=2, validate_every=2, bf16=False
)


def decode(view, quality):
    """Stands for the image codec: blocks of 8x8 pixels lose their detail, all of it at quality 1."""
    height, width = view.shape[:2]
    rest = view.reshape(height // 8, 8, width // 8, 8, -1).astype(float)
    mean = rest.mean((1, 3), keepdims=True)
    keep = np.float32(quality / 100)
    return (mean + keep * (rest - mean)).reshape(view.shape).round().clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        left, right, _ = synthetic_pair(smooth_photo(70, 100, seed=i), 64, 64, 24, rng)
        Image.fromarray(left).save(data / f"{i}_left.png")
        Image.fromarray(right).save(data / f"{i}_right.png")
    Image.fromarray(smooth_photo(120, 320, seed=9)).save(data / "photo.png")
    return data


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def test_a_resumed_run_equals_one_that_was_not_stopped(folder, tmp_path):
    whole = train([folder], tmp_path / "whole", RECIPE, SMALL, decode, "cpu")

    class Stop(Exception):
        pass

    def stopping(view, quality):
        """Fails in the second validation, as a killed process would."""
        if (tmp_path / "parts" / "validation.jsonl").exists():
            raise Stop
        return decode(view, quality)

    changed = StereoRecipe(**{**vars(RECIPE), "checkpoint_seconds": 0.0})
    with pytest.raises(Stop):
        train([folder], tmp_path / "parts", changed, SMALL, stopping, "cpu")
    state = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert 0 < state["step"] < RECIPE.steps
    parts = train([folder], tmp_path / "parts", RECIPE, SMALL, decode, "cpu")
    resumed = weights(parts)
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed[name]), name
    lines = [json.loads(line) for line in (tmp_path / "whole" / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]


def test_training_finds_what_the_left_view_knows():
    """After some steps on one pair, a network is better with the left view than x, and better than with another."""
    torch.manual_seed(0)
    rng = np.random.default_rng(3)
    grain = np.asarray(Image.fromarray(rng.integers(0, 256, (32, 40), dtype=np.uint8)).resize((80, 64)))
    left = grain[:, :64]
    right = shift_rows(grain, np.full((64, 64), 8, np.float32)).astype(np.uint8)
    views = [
        torch.from_numpy(v.copy()).float().div(255).expand(1, 3, 64, 64)
        for v in (decode(right, 1), right, left)
    ]
    x, target, y = views
    network = StereoFusion(SMALL)
    optimiser = torch.optim.Adam(network.parameters(), lr=4e-3)
    t = torch.zeros(1)
    for _ in range(60):
        out = network(x, y, t)
        loss, _ = loss_of(out, x, target, y, RECIPE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        before = (x - target).pow(2).mean()
        assert (network(x, y, t).x - target).pow(2).mean() < 0.7 * before
        assert (network(x, y.flip(2), t).x - target).pow(2).mean() > (network(x, y, t).x - target).pow(
            2
        ).mean()


def test_matching_cost_is_least_at_the_true_disparity():
    photo = np.random.default_rng(0).random((32, 120)).astype(np.float32)
    photo = photo.reshape(32, 60, 2).mean(2).repeat(4, 1)[:, :120]
    left = torch.from_numpy(photo[:, :96].copy())[None, None].expand(1, 3, 32, 96)
    right = torch.from_numpy(photo[:, 12:76].copy())[None, None].expand(1, 3, 32, 64)
    cost = matching_cost(right, left, 6)
    assert cost.shape == (1, 6, 8, 16) and cost.min() >= 0
    assert (cost.argmin(1) == 3).all()  # 12 pixels are 3 cells


def test_the_loss_of_x_itself_is_one(folder):
    x, right = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    out = StereoFusion(SMALL)(x, right, torch.zeros(2))
    _, values = loss_of(out, x, right, right, RECIPE)
    assert values["main"] == pytest.approx(1) and values["gain"] == pytest.approx(0, abs=1e-5)
    assert to_unit(np.array([1.0, 100.0])).tolist() == [0, 1]


def correlation(network, right, left, quality):
    """Stands for the codec's match."""
    return float(np.corrcoef(right.ravel().astype(float), left.ravel())[0, 1])


def test_export_and_its_calibration(folder, tmp_path):
    checkpoint = train([folder], tmp_path / "run", RECIPE, SMALL, decode, "cpu")
    network, steps = load_checkpoint(checkpoint)
    assert steps == RECIPE.steps
    stored = export_stereo(checkpoint, [folder], tmp_path / "model", decode, correlation, bytes(8))
    model = load_model_from(tmp_path / "model")
    assert model.codec == "stereo" and model.fingerprint == stored.fingerprint
    assert model.config["image_model"] == bytes(8).hex() and model.config["steps"] == RECIPE.steps
    trained = network.state_dict()
    for name, value in load(model.weights).items():
        assert torch.equal(value.float(), trained[name].half().float()), name
    assert stored.fingerprint.hex() not in (tmp_path / "model" / "card.md").read_text()  # it would change it
    with pytest.raises(ExportError, match="train longer"):
        export_stereo(checkpoint, [folder], tmp_path / "other", decode, lambda *args: 0.5, bytes(8))


def test_photos_narrower_than_the_largest_disparity(tmp_path):
    for i, width in enumerate((80, 150, 224, 240, 300)):
        Image.fromarray(smooth_photo(70, width, seed=i)).save(tmp_path / f"{i}.png")
    scenes = synthetic_scenes(
        photo_files([tmp_path]), 30, (1.0,), lambda view, quality: view, np.random.default_rng(0)
    )
    assert {scene.right.shape[1] for scene in scenes} == {64, 80, 140}  # those of the first two are too small


def test_match_samples_are_right_and_wrong_views():
    rng = np.random.default_rng(0)
    pairs = [(view, view) for view in rng.integers(0, 256, (2, 64, 64), dtype=np.uint8)]
    good, wrong = match_samples(StereoFusion(SMALL), pairs, lambda v, q: v, correlation)
    assert len(good) == len(wrong) == 8 and min(good) > 0.85 and max(wrong) < 0.2


def test_validation_sees_the_codec_and_the_network(folder, tmp_path):
    from obverse.codecs.stereo.pairs import pair_files

    rows = validate(StereoFusion(SMALL), pair_files([folder])[:1], decode, torch.device("cpu"))
    assert all(row["before"] == pytest.approx(row["after"], abs=1e-4) for row in rows)
    assert [row["before"] for row in rows] == sorted(row["before"] for row in rows)


def test_scenes_are_made_again_where_the_data_are_others(folder, tmp_path):
    """Kept for the same files; not for files that were added, changed or taken away, nor for another recipe."""
    calls = []

    def counted(view, quality):
        calls.append(quality)
        return view

    def coded(recipe=RECIPE):
        calls.clear()
        prepare([folder], tmp_path, recipe, counted)
        return bool(calls)

    assert coded() and not coded()
    assert coded(replace(RECIPE, synthetic=1)) and coded() and not coded()
    os.utime(folder / "0_left.png", ns=(1, 1))
    assert coded() and not coded()
    for side in ("left", "right"):
        shutil.copy(folder / f"0_{side}.png", folder / f"4_{side}.png")
    assert coded() and not coded()
    (folder / "photo.png").unlink()
    assert coded() and not coded()


def test_what_cannot_be_trained_is_refused(folder, tmp_path):
    def attempt(error, match, data=None, device="cpu", **changes):
        with pytest.raises(error, match=match):
            recipe = StereoRecipe(**{**vars(RECIPE), **changes})
            train([data or folder], tmp_path / "run", recipe, SMALL, decode, device)

    attempt(TrainingError, "steps must be", steps=0)
    attempt(TrainingError, "multiples of 8", height=100)
    attempt(TrainingError, "no device", device="nowhere")
    attempt(InputError, "no folder", data=tmp_path / "nowhere")
    attempt(InputError, "two stereo pairs", keep_out=2)
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"damaged")
    attempt(TrainingError, "damaged")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path / "nowhere")
