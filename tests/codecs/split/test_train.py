"""Teachers and students of split computing: losses against closed forms; training, resuming, exporting, in seconds."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

import obverse.codecs.split.teacher as teaching
import obverse.codecs.split.train as training
from obverse.codecs.split.codec import SplitCodec
from obverse.codecs.split.export import export_split
from obverse.codecs.split.images import LabelledImages, cut_and_mixed, split_off
from obverse.codecs.split.objectives import objective_of
from obverse.codecs.split.recipe import SplitRecipe, TeacherRecipe
from obverse.codecs.split.resnet import ResNet, folded
from obverse.codecs.split.student import SplitNetworks
from obverse.codecs.split.teacher import accuracy, load_network, load_teacher, one_cycle, train_teacher
from obverse.codecs.split.train import learning_rate, load_checkpoint, step_loss, train, validate
from obverse.errors import ExportError, InputError, TrainingError, UnsupportedInputError
from obverse.zoo import load_model_from
from tests.codecs.split.models import RECONSTRUCTS, SMALL, TEACHER, images_of

pytestmark = pytest.mark.usefixtures("one_thread")


def coloured(n: int, seed: int = 0) -> LabelledImages:
    """Four classes that their colours tell apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [190, 190, 190]])
    images = colours[labels][:, None, None] + rng.normal(0, 30, (n, 16, 16, 3))
    return LabelledImages(images.clip(0, 255).astype(np.uint8), labels)


DATA, HELD = coloured(200), coloured(80, seed=1)
RECIPE = SplitRecipe(beta=1e-3, steps=10, batch=8, warmup=2, validate_every=5, checkpoint_seconds=0)


def a_teacher(seed: int = 0) -> ResNet:
    torch.manual_seed(seed)
    return folded(ResNet(TEACHER).eval())


# -- images --------------------------------------------------------------------------------------------


def test_views_are_shifted_mirrored_images():
    """Without jitter every pixel of a view is one of its image's, and labels go with images."""
    images = np.arange(5 * 256 * 3).reshape(5, 16, 16, 3) % 251
    data = LabelledImages(images.astype(np.uint8), np.arange(5), jitter=0.0)
    x, labels = data.draw(64, np.random.default_rng(0))
    assert x.shape == (64, 3, 16, 16) and set(labels.tolist()) == set(range(5))
    whole, moved = 0, 0
    for view, label in zip(x, labels, strict=True):
        pixels = {tuple(p) for p in (view * 255).round().byte().permute(1, 2, 0).reshape(-1, 3).tolist()}
        assert pixels <= {tuple(p) for p in data.images[label].permute(1, 2, 0).reshape(-1, 3).tolist()}
        same = torch.equal((view * 255).round().byte(), data.images[label])
        whole, moved = whole + same, moved + (not same)
    assert moved > whole


@pytest.mark.parametrize("side", [1, 2, 3, 4, 9])
def test_views_of_the_smallest_images(side):
    images = np.random.default_rng(0).integers(0, 256, (6, side, side, 3), dtype=np.uint8)
    x, _ = LabelledImages(images, np.arange(6)).draw(8, np.random.default_rng(0))
    assert x.shape == (8, 3, side, side) and torch.isfinite(x).all()


def test_draws_are_those_of_the_generator():
    one, two = (DATA.draw(9, np.random.default_rng(3))[0] for _ in range(2))
    assert torch.equal(one, two) and not torch.equal(one, DATA.draw(9, np.random.default_rng(4))[0])
    assert float(one.min()) >= 0 and float(one.max()) <= 1


def test_a_rectangle_of_each_image_is_anothers():
    x = torch.arange(6.0)[:, None, None, None].expand(6, 3, 20, 20)
    for seed in range(20):
        mixed, other, kept = cut_and_mixed(x, np.random.default_rng(seed))
        own = (mixed == x).float().mean((1, 2, 3))
        for i, j in enumerate(other.tolist()):
            assert set(mixed[i].unique().tolist()) <= {float(i), float(j)}
            if i != j:
                assert own[i].item() == pytest.approx(kept)


@pytest.mark.parametrize(
    ("images", "labels", "error", "sentence"),
    [
        (np.zeros((4, 16, 16), np.uint8), np.zeros(4, int), UnsupportedInputError, "square colour"),
        (np.zeros((4, 16, 12, 3), np.uint8), np.zeros(4, int), UnsupportedInputError, "square colour"),
        (np.zeros((4, 16, 16, 3)), np.zeros(4, int), UnsupportedInputError, "uint8"),
        (np.zeros((0, 16, 16, 3), np.uint8), np.zeros(0, int), InputError, "empty"),
        (np.zeros((4, 16, 16, 3), np.uint8), np.zeros(3, int), InputError, "4 images need as many labels"),
        (np.zeros((4, 16, 16, 3), np.uint8), np.zeros(4), InputError, "whole numbers"),
        (np.zeros((4, 16, 16, 3), np.uint8), np.array([0, 1, 2, -1]), InputError, "negative"),
    ],
)
def test_images_that_cannot_be_learned_from(images, labels, error, sentence):
    with pytest.raises(error, match=sentence):
        LabelledImages(images, labels)


def test_some_images_are_kept_out():
    learned, held = split_off(DATA)
    assert (len(learned), len(held)) == (190, 10) and torch.equal(held.images, DATA.images[190:])
    with pytest.raises(TrainingError, match="too few"):
        split_off(coloured(49))


# -- the teacher ---------------------------------------------------------------------------------------


def test_the_learning_rate_of_the_teacher():
    rates = [one_cycle(step, 100, 0.2) for step in range(100)]
    assert max(rates) == 1 and rates[19] == 1 and rates[0] == pytest.approx(0.05) and rates[-1] < 1e-3


def test_a_teacher_learns(tmp_path):
    recipe = TeacherRecipe(60, 32, 0.1, validate_every=30)
    checkpoint = train_teacher(DATA, HELD, tmp_path, recipe, TEACHER)
    assert accuracy(load_teacher(checkpoint), HELD) > 0.9
    rows = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [30, 60] and rows[1]["accuracy"] > 0.9


def test_a_stopped_teacher_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    recipe = TeacherRecipe(8, 8, 0.05, validate_every=4, checkpoint_seconds=0)
    whole = train_teacher(DATA, HELD, tmp_path / "whole", recipe, TEACHER)
    stop_in_step(monkeypatch, teaching, "teacher_loss", 5)
    with pytest.raises(KeyboardInterrupt):
        train_teacher(DATA, HELD, tmp_path / "cut", recipe, TEACHER)
    monkeypatch.undo()
    cut = train_teacher(DATA, HELD, tmp_path / "cut", recipe, TEACHER)
    for mine, its in zip(
        load_network(whole).state_dict().values(), load_network(cut).state_dict().values(), strict=True
    ):
        assert torch.equal(mine, its)


def test_a_teacher_may_begin_with_anothers_layers(tmp_path):
    """With a learning rate of next to nothing, all but the stem is still the other's."""
    torch.manual_seed(5)
    start = ResNet(TEACHER)
    recipe = TeacherRecipe(1, 8, 1e-12, validate_every=1)
    network = load_network(train_teacher(DATA, HELD, tmp_path, recipe, TEACHER, start=start))
    for (name, mine), its in zip(network.named_parameters(), start.parameters(), strict=True):
        assert torch.allclose(mine, its, atol=1e-6) == (not name.startswith("stem.conv")), name
    with pytest.raises(TrainingError, match="other layers"):
        train_teacher(
            DATA, HELD, tmp_path / "b", recipe, TEACHER, start=ResNet(replace(TEACHER, widths=(4, 6, 9)))
        )


@pytest.mark.parametrize(
    ("recipe", "config", "device", "sentence"),
    [
        ({}, TEACHER, "tpu", "no device"),
        ({"steps": 0}, TEACHER, "cpu", "steps must be"), ({"batch": 1}, TEACHER, "cpu", "from 2"),
        ({"lr": 0.0}, TEACHER, "cpu", "above 0"),
        ({}, replace(TEACHER, side=20), "cpu", "20 pixels"),
        ({}, replace(TEACHER, classes=3), "cpu", "3 classes"),
    ],
)  # fmt: skip
def test_teachers_that_cannot_be(recipe, config, device, sentence, tmp_path):
    with pytest.raises(TrainingError, match=sentence):
        train_teacher(DATA, HELD, tmp_path, TeacherRecipe(**{"steps": 1} | recipe), config, device)


def test_a_teacher_that_diverges(tmp_path):
    with pytest.raises(TrainingError, match="not finite"):
        train_teacher(DATA, HELD, tmp_path, TeacherRecipe(50, 8, 1e20), TEACHER)


# -- objectives ----------------------------------------------------------------------------------------


def test_a_student_with_the_teachers_features_has_no_distortion(monkeypatch):
    teacher, networks = a_teacher(), SplitNetworks(SMALL)
    x, labels = HELD.plain(0, 8)
    networks.start(x, teacher)
    wanted = teacher.features(x)[SMALL.after :]
    monkeypatch.setattr(networks.server, "features", lambda codes: wanted)
    codes = torch.zeros(8, *SMALL.latent_shape)
    distil = objective_of("distil")
    assert distil.distortion(networks, teacher, x, labels, codes).item() == pytest.approx(0, abs=1e-6)
    # and then the tuned loss is half the cross-entropy of the teacher's own answers
    monkeypatch.setattr(networks.server, "forward", lambda codes: teacher(x))
    wanted_loss = 0.5 * functional.cross_entropy(teacher(x), labels)
    assert distil.tuning(networks, teacher, x, labels, codes).item() == pytest.approx(
        wanted_loss.item(), rel=1e-5
    )


def test_the_weights_of_layers(monkeypatch):
    """Features that are the mean of the teacher's have error 1 in each layer: 1 + 1/2 + 1/4 in all."""
    teacher, networks = a_teacher(), SplitNetworks(SMALL)
    x, labels = HELD.plain(0, 40)
    features = teacher.features(x)[SMALL.after :]
    means = [f.mean().expand_as(f) for f in features]
    monkeypatch.setattr(networks.server, "features", lambda codes: means)
    monkeypatch.setattr(networks.server, "logits_of", lambda last: teacher(x).mean().expand(40, 4))
    loss = objective_of("distil").distortion(
        networks, teacher, x, labels, torch.zeros(40, *SMALL.latent_shape)
    )
    assert loss.item() == pytest.approx(1.75, rel=0.02)


def test_end_to_end_asks_the_labels_alone():
    teacher, networks = a_teacher(), SplitNetworks(SMALL).eval()
    x, labels = HELD.plain(0, 8)
    codes = torch.randn(8, *SMALL.latent_shape)
    objective = objective_of("end-to-end")
    wanted = functional.cross_entropy(networks.server(codes), labels).item()
    assert objective.distortion(networks, teacher, x, labels, codes).item() == pytest.approx(wanted, rel=1e-5)
    assert objective.tuning(networks, teacher, x, labels, codes).item() == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(TrainingError, match="no objective"):
        objective_of("none")


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_encoder_hears_of_the_picture_as_much_as_the_recipe_says(weight):
    """With weight 0 the synthesis learns and the encoder's gradient is what it is without one."""
    torch.manual_seed(0)
    teacher, networks = a_teacher(), SplitNetworks(RECONSTRUCTS)
    x, labels = DATA.plain(0, 8)
    networks.start(x, teacher)
    gradients = []
    for synthesis in (networks.synthesis, None):
        torch.manual_seed(1)
        kept, networks.synthesis = networks.synthesis, synthesis
        networks.zero_grad()
        step_loss(networks, teacher, x, labels, replace(RECIPE, reconstruct=weight), 0)[0].backward()
        networks.synthesis = kept
        gradients.append(networks.encoder[0].weight.grad.clone())
        if synthesis is not None:
            assert synthesis.linear.weight.grad.abs().max().item() > 0
    assert torch.allclose(*gradients, atol=1e-7) == (weight == 0)


def test_learning_rates_of_both_stages():
    recipe = SplitRecipe(steps=1000, warmup=10, lr=1e-3, tune=0.3, tune_lr=5e-4)
    assert recipe.tune_from == 700
    assert learning_rate(recipe, 9) == pytest.approx(1e-3, rel=0.01)
    assert learning_rate(recipe, 699) < 2e-5
    assert learning_rate(recipe, 700) == pytest.approx(5e-4, rel=0.01)


# -- training ------------------------------------------------------------------------------------------


def stop_in_step(monkeypatch: pytest.MonkeyPatch, module: object, name: str, step: int) -> None:
    """Interrupt a run when its loss is asked for this many times."""
    real, calls = getattr(module, name), iter(range(1, 10**6))

    def interrupted(*arguments: object) -> object:
        if next(calls) == step:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module, name, interrupted)


@pytest.mark.parametrize("objective", ["distil", "end-to-end"])
@pytest.mark.parametrize("config", [SMALL, RECONSTRUCTS])
def test_training_exports_a_model_that_codes(objective, config, tmp_path):
    teacher = a_teacher()
    recipe = replace(RECIPE, objective=objective, reconstruct=0.5 if config.reconstructs else 0.0)
    checkpoint = train(DATA, HELD, teacher, tmp_path, recipe, config)
    model = export_split(checkpoint, HELD, tmp_path / "model")
    codec = SplitCodec(load_model_from(tmp_path / "model"))
    assert codec.fingerprint == model.fingerprint and codec.config == config
    images = HELD.images.permute(0, 2, 3, 1).numpy()
    container = codec.encode(images)
    # the exported halves compute what the networks did in training, but for weights of 16 bits
    networks, _, steps = load_checkpoint(checkpoint)
    assert steps == 10
    with torch.no_grad():
        wanted = networks.server(torch.from_numpy(codec.decode(container)))
    np.testing.assert_allclose(codec.predict(container), wanted.numpy(), rtol=0.05, atol=0.02)
    assert model.config["rate_bits"] == pytest.approx(validate(networks, HELD)["rate_bits"], abs=1e-3)
    assert codec.rate_bits(images).mean() == pytest.approx(model.config["rate_bits"], rel=0.05)
    assert "## Recipe" in (tmp_path / "model" / "card.md").read_text()
    rows = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 10 and ("psnr" in rows[-1]) == config.reconstructs


def test_stage_two_leaves_encoder_and_tail_of_stage_one(tmp_path):
    """The encoder does not move in stage 2; the tail moves in stage 2 alone."""
    teacher = a_teacher()
    first = train(DATA, HELD, teacher, tmp_path / "a", replace(RECIPE, steps=5, tune=0.0), SMALL)
    networks, _, _ = load_checkpoint(first)
    tail = teacher.tail_after(SMALL.after).state_dict()
    assert all(torch.equal(v, tail[k]) for k, v in networks.server.tail.state_dict().items())
    tuned = train(
        DATA, HELD, teacher, tmp_path / "b", replace(RECIPE, steps=5, tune=1.0, warmup=1), SMALL, start=first
    )
    after, _, _ = load_checkpoint(tuned)
    assert all(
        torch.equal(v, networks.encoder.state_dict()[k]) for k, v in after.encoder.state_dict().items()
    )
    assert not all(torch.equal(v, tail[k]) for k, v in after.server.tail.state_dict().items())


@pytest.mark.parametrize("config", [SMALL, RECONSTRUCTS])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(config, tmp_path, monkeypatch):
    teacher = a_teacher()
    whole = train(DATA, HELD, teacher, tmp_path / "whole", RECIPE, config)
    stop_in_step(monkeypatch, training, "step_loss", 4)
    with pytest.raises(KeyboardInterrupt):
        train(DATA, HELD, teacher, tmp_path / "cut", RECIPE, config)
    monkeypatch.undo()
    cut = train(DATA, HELD, teacher, tmp_path / "cut", RECIPE, config)
    states = [load_checkpoint(path)[0].state_dict() for path in (whole, cut)]
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_a_student_may_begin_with_another(tmp_path):
    teacher = a_teacher()
    first = train(DATA, HELD, teacher, tmp_path / "a", RECIPE, SMALL)
    idle = replace(RECIPE, steps=1, lr=1e-12, tune=0.0, settle=0.0)
    second = train(
        DATA, HELD, teacher, tmp_path / "b", idle, RECONSTRUCTS, start=first
    )  # its synthesis is new
    states = [load_checkpoint(path)[0].encoder.state_dict() for path in (first, second)]
    assert all(torch.allclose(v, states[1][k], atol=1e-6) for k, v in states[0].items())
    with pytest.raises(TrainingError, match="other sizes"):
        train(DATA, HELD, teacher, tmp_path / "c", idle, replace(SMALL, codes=4), start=first)
    with pytest.raises(InputError, match="no checkpoint"):
        train(DATA, HELD, teacher, tmp_path / "d", idle, SMALL, start=tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps must be"), ({"batch": 1}, "from 2"), ({"lr": 0.0}, "above 0"),
        ({"beta": -1.0}, "beta"), ({"beta": math.inf}, "beta"), ({"tune": 1.5}, "from 0 to 1"),
        ({"objective": "none"}, "one of distil"), ({"reconstruct": 1.0}, "second head"),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be(change, sentence, tmp_path):
    with pytest.raises(TrainingError, match=sentence):
        train(DATA, HELD, a_teacher(), tmp_path, replace(RECIPE, **change), SMALL)


def test_teachers_and_images_of_other_sizes(tmp_path):
    other = folded(ResNet(replace(TEACHER, classes=5)).eval())
    with pytest.raises(TrainingError, match="teacher has other sizes"):
        train(DATA, HELD, other, tmp_path, RECIPE, SMALL)
    large = LabelledImages(
        images_of(replace(SMALL, teacher=replace(TEACHER, side=20)), 60), np.arange(60) % 4
    )
    with pytest.raises(TrainingError, match="20 pixels a side"):
        train(large, HELD, a_teacher(), tmp_path, RECIPE, SMALL)


def test_damaged_checkpoints_and_exports(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        load_teacher(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"no checkpoint")
    for load in (load_teacher, load_checkpoint):
        with pytest.raises(InputError, match="is not a checkpoint"):
            load(tmp_path / "bad")
    checkpoint = train(DATA, HELD, a_teacher(), tmp_path / "run", replace(RECIPE, steps=2), SMALL)
    with pytest.raises(ExportError, match="narrower"):
        export_split(checkpoint, HELD, tmp_path / "model", largest=1000)
    (tmp_path / "run" / "recipe.json").write_text("{")
    with pytest.raises(InputError, match="not the recipe"):
        export_split(checkpoint, HELD, tmp_path / "model")
    checkpoint.write_bytes(b"damaged")
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train(DATA, HELD, a_teacher(), tmp_path / "run", RECIPE, SMALL)
