"""Objectives of invariant compressors against closed forms; training, resuming and exporting, in seconds."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import obverse.codecs.invariant.train as training
from obverse.codecs.invariant.codec import InvariantCodec
from obverse.codecs.invariant.export import export_invariant, load_checkpoint
from obverse.codecs.invariant.networks import InvariantNetworks, reconstruction_loss
from obverse.codecs.invariant.objectives import Bince, Vc, Vic, info_nce, objective_of
from obverse.codecs.invariant.recipe import Affine, InvariantConfig, InvariantRecipe
from obverse.codecs.invariant.sources import (
    RotatedPoints,
    TransformedImages,
    Views,
    read_sources,
    rotated,
    transformed,
    transformed_set,
    upright,
)
from obverse.codecs.invariant.train import beta_at, learning_rate, train
from obverse.errors import ExportError, InputError, OutputError, TrainingError, UnsupportedInputError
from obverse.quantization.rounding import straight_through
from obverse.zoo import load_model_from
from tests.codecs.invariant.models import IMAGES, POINTS, TASKS_ONLY, items_of

pytestmark = pytest.mark.usefixtures("one_thread")

PLANE = InvariantConfig((2,), codes=1, width=16)
RECIPE = InvariantRecipe(
    "vic", 0.1, steps=8, batch=16, warmup=2, anneal=0, validate_every=4, checkpoint_seconds=0
)


def a_banana(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2)) * (3.0, 0.5)
    return np.stack([z[:, 0] - 1, z[:, 1] + 0.1 * z[:, 0] ** 2 - 2], 1).astype(np.float32)


SOURCE = RotatedPoints(a_banana(2000))


# -- what is asked for ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 40), st.integers(2, 10**6), st.floats(-20, 20))
def test_codes_that_all_look_alike_tell_nothing(m, population, similarity):
    """InfoNCE is then log(population), whatever the size of the batch."""
    loss = info_nce(
        torch.full((3, m), similarity, dtype=torch.float64), torch.tensor([0, m - 1, 1]), population
    )
    wanted = math.log(max(population, m))  # the candidates of a batch count for no less than they are
    np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classes", [1, 2, 4, 16])
def test_codes_that_tell_the_class_alone(classes):
    """16 items in classes of one size, similar within a class only: log(population) - loss is log(classes), what a
    class says; the bound on the information is met."""
    items = torch.arange(16)
    same = (items[:, None] % classes == items % classes).double()
    loss = info_nce(same * 60, items, 16)
    np.testing.assert_allclose((math.log(16) - loss).numpy(), math.log(classes), atol=1e-9)


def test_information_is_never_more_than_the_population_has():
    torch.manual_seed(0)
    loss = info_nce(torch.randn(50, 50) * 30, torch.arange(50), 1000)
    assert float(loss.min()) >= 0


def test_a_code_is_not_compared_with_itself():
    """Two items far apart, both views alike: the partner is found, whose own similarity of 1 would have won."""
    networks = InvariantNetworks(TASKS_ONLY).eval()
    networks.head = torch.nn.Identity()
    codes = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.1], [-1.0, 0.1]])
    loss = Bince().distortion(networks, codes, SOURCE.draw(2, np.random.default_rng(0), True), 2)
    assert loss.shape == (4,) and float(loss.detach().max()) < 1e-3
    swapped = Bince().distortion(
        networks, codes[[0, 1, 3, 2]], SOURCE.draw(2, np.random.default_rng(0), True), 2
    )
    assert float(swapped.detach().min()) > 5


def test_the_temperature_has_a_floor():
    networks = InvariantNetworks(TASKS_ONLY).eval()
    networks.head = torch.nn.Identity()
    codes = torch.randn(8, 2)
    with torch.no_grad():
        networks.log_scale.fill_(math.log(100))
        at_floor = Bince().distortion(networks, codes, SOURCE.draw(4, np.random.default_rng(0), True), 9)
        networks.log_scale.fill_(20.0)
        below = Bince().distortion(networks, codes, SOURCE.draw(4, np.random.default_rng(0), True), 9)
    torch.testing.assert_close(at_floor, below)


def test_what_vc_and_vic_compare_with():
    networks = InvariantNetworks(InvariantConfig((2,), codes=2, width=4)).eval()
    networks.head = torch.nn.Identity()
    views = Views(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, 9.0]]))
    codes = torch.tensor([[1.0, 3.0]])
    assert Vc().distortion(networks, codes, views, 1).tolist() == [1.0]
    assert Vic().distortion(networks, codes, views, 1).tolist() == [10.0]


def test_distortion_of_images_is_in_nats():
    half = reconstruction_loss(IMAGES, torch.zeros(2, 1, 9, 12), torch.rand(2, 1, 9, 12))
    np.testing.assert_allclose(half.numpy(), 9 * 12 * math.log(2), rtol=1e-5)


# -- what items are and how they are changed -------------------------------------------------------------


def test_rotated_points_keep_their_radius_and_share_their_representative():
    views = SOURCE.draw(200, np.random.default_rng(1), True)
    for points in views:
        torch.testing.assert_close(points.norm(dim=1), views.x.norm(dim=1))
    assert float((views.x - views.positive).norm(dim=1).mean()) > 1
    angles = torch.atan2(views.representative[:, 1], views.representative[:, 0])
    torch.testing.assert_close(angles, torch.full((200,), -0.75 * math.pi))
    torch.testing.assert_close(
        rotated(torch.tensor([[1.0, 0.0]]), [math.pi / 2]), torch.tensor([[0.0, 1.0]]), atol=1e-6, rtol=0
    )
    still = RotatedPoints(a_banana(50), augment=False)
    drawn = still.draw(20, np.random.default_rng(0), False)
    assert {tuple(p) for p in drawn.x.tolist()} <= {tuple(p) for p in still.points.tolist()}


def test_no_change_is_none():
    images = torch.rand(3, 1, 9, 12)
    still = Affine(degrees=0, shear=0, translate=0, scale=(1, 1))
    torch.testing.assert_close(
        transformed(images, still, np.random.default_rng(0)), images, atol=1e-5, rtol=0
    )


def test_a_flip_mirrors_half_of_the_images():
    images = torch.rand(40, 1, 6, 7)
    flip = Affine(degrees=0, shear=0, translate=0, scale=(1, 1), flip=True)
    changed = transformed(images, flip, np.random.default_rng(0))
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(changed, images, strict=True)]
    kept = [torch.allclose(a, b, atol=1e-5) for a, b in zip(changed, images, strict=True)]
    assert 10 < sum(mirrored) < 30 and sum(mirrored) + sum(kept) == 40


def moments(image: torch.Tensor) -> np.ndarray:
    """Covariance (2, 2) of a picture's mass over rows and columns, in pixels."""
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in image.shape), indexing="ij")
    places = torch.stack([rows.ravel(), columns.ravel()]).numpy()
    return np.cov(places, aweights=image.ravel().numpy(), bias=True)


def test_turning_a_picture_that_is_not_square_does_not_stretch_it():
    """A bar stays as long and as thin, and scaling scales it."""
    image = torch.zeros(1, 1, 60, 90)
    image[0, 0, 28:32, 30:60] = 1
    before = np.sort(np.linalg.eigvalsh(moments(image[0, 0])))
    turn = Affine(degrees=90, shear=0, translate=0, scale=(1, 1))
    for seed in range(5):
        after = np.linalg.eigvalsh(moments(transformed(image, turn, np.random.default_rng(seed))[0, 0]))
        np.testing.assert_allclose(np.sort(after), before, rtol=0.06, atol=0.3)
    half = Affine(degrees=30, shear=0, translate=0, scale=(0.5, 0.5))
    after = np.linalg.eigvalsh(moments(transformed(image, half, np.random.default_rng(0))[0, 0]))
    np.testing.assert_allclose(np.sort(after)[1], before[1] / 4, rtol=0.06)


def blobs(n: int, height: int = 80, width: int = 72, seed: int = 0) -> torch.Tensor:
    """(n, 1, height, width): six soft spots each, inside."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    centres = rng.uniform(0.25, 0.75, (n, 6, 2)) * (height, width)
    squares = (y - centres[..., 0, None, None]) ** 2 + (x - centres[..., 1, None, None]) ** 2
    return torch.from_numpy(np.exp(-squares / 20).max(1)[:, None]).float()


def test_upright_images_lie_as_one_another():
    """Mass in the middle, x and y without covariance, RMS distance a quarter of the height."""
    for image in upright(blobs(20))[:, 0]:
        rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in image.shape), indexing="ij")
        middle = [float((image * places).sum() / image.sum()) for places in (rows, columns)]
        np.testing.assert_allclose(middle, (39.5, 35.5), atol=0.3)
        covariance = moments(image)
        assert abs(covariance[0, 1]) < 0.05 * np.trace(covariance)
        np.testing.assert_allclose(np.sqrt(np.trace(covariance)), 20, rtol=0.05)


def test_how_an_image_leans_and_where_it_is_does_not_change_it_upright():
    images = blobs(20)
    change = Affine(degrees=0, shear=10, translate=0.1, scale=(0.9, 1.2))
    changed = transformed(images, change, np.random.default_rng(1))
    apart = (changed - images).abs().mean()
    assert float((upright(changed) - upright(images)).abs().mean()) < 0.15 * float(apart)


def test_images_without_mass_stay_black_and_single_pixels_finite():
    images = torch.zeros(3, 1, 9, 12)
    images[1, 0, 0, 11] = 1
    images[2] = 1
    result = upright(images)
    assert float(result[0].abs().max()) == 0 and bool(torch.isfinite(result).all())
    assert float(result[1].sum()) > 0


def test_what_stands_for_an_image():
    images = items_of(IMAGES, 30)
    for as_upright in (False, True):
        source = TransformedImages(images, upright=as_upright)
        views = source.draw(40, np.random.default_rng(0), True)
        chosen = np.random.default_rng(0).integers(0, 30, 40)
        wanted = torch.from_numpy(images[chosen]).unsqueeze(1).float() / 255
        if as_upright:
            wanted = (upright(wanted) * 255).round() / 255
        torch.testing.assert_close(views.representative, wanted)
        assert source.facts()["upright"] is as_upright


def test_a_set_is_changed_the_same_way_each_time():
    images = items_of(IMAGES, 30)
    once = transformed_set(images, Affine(), seed=3)
    np.testing.assert_array_equal(once, transformed_set(images, Affine(), seed=3))
    assert once.dtype == np.uint8 and once.shape == images.shape
    assert (once != transformed_set(images, Affine(), seed=4)).any() and (once != images).any()


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: RotatedPoints(np.zeros((4, 3))), UnsupportedInputError, r"\(4, 3\)"),
        (lambda: RotatedPoints(np.zeros((0, 2))), UnsupportedInputError, r"\(0, 2\)"),
        (lambda: RotatedPoints([[np.nan, 0.0]]), InputError, "NaN"),
        (lambda: TransformedImages(np.zeros((2, 8, 8, 3), np.uint8)), UnsupportedInputError, "gray"),
        (lambda: TransformedImages(np.zeros((2, 8, 8))), UnsupportedInputError, "float64"),
        (lambda: TransformedImages(np.zeros((2, 8, 8), np.uint8), Affine(shear=90)), TrainingError, "shear"),
        (
            lambda: TransformedImages(np.zeros((2, 8, 8), np.uint8), Affine(scale=(2, 1))),
            TrainingError,
            "scale must",
        ),
    ],
)
def test_sources_that_cannot_be(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


def test_sources_from_files(tmp_path):
    np.save(tmp_path / "points.npy", a_banana(400))
    np.save(tmp_path / "images.npy", items_of(IMAGES, 200))
    source, held_out = read_sources([tmp_path / "points.npy"] * 2, Affine())
    assert isinstance(source, RotatedPoints) and (len(source), len(held_out)) == (760, 40)
    source, held_out = read_sources([tmp_path / "images.npy"], Affine(flip=True))
    assert isinstance(source, TransformedImages) and source.affine.flip and source.shape == (9, 12)
    assert (len(source), len(held_out)) == (190, 10)
    with pytest.raises(UnsupportedInputError, match="codes one"):
        read_sources([tmp_path / "points.npy", tmp_path / "images.npy"], Affine())
    np.save(tmp_path / "few.npy", a_banana(30))
    with pytest.raises(TrainingError, match="30 items are too few"):
        read_sources([tmp_path / "few.npy"], Affine())
    with pytest.raises(InputError, match="no file"):
        read_sources([tmp_path / "none.npy"], Affine())


# -- the loop -------------------------------------------------------------------------------------------


def test_schedules():
    recipe = InvariantRecipe(beta=0.4, steps=100, lr=1.0, warmup=4, anneal=0.5, refit=0.2)
    assert [beta_at(recipe, step) for step in (0, 24, 49, 99)] == pytest.approx([0.008, 0.2, 0.4, 0.4])
    assert beta_at(InvariantRecipe(beta=0.4, anneal=0.0), 0) == 0.4
    rates = [learning_rate(recipe, step) for step in (0, 40, 80, 90, 100)]
    assert rates == pytest.approx([0.25, 0.505, 0.3, 0.3 * 0.505, 0.003])
    assert max(learning_rate(recipe, step) for step in range(70, 80)) < 0.1
    assert recipe.refit_from == 80


@pytest.mark.parametrize(
    ("objective", "clusters", "place"), [("vic", 1, 0.4), ("vc", 3, 0.4), ("vc", 3, 1.0), ("bince", 3, 0.4)]
)
def test_a_resumed_run_equals_one_that_was_not_stopped(objective, clusters, place, tmp_path, monkeypatch):
    """Stopped before its clusters are placed, or after."""
    recipe = InvariantRecipe(**(vars(RECIPE) | {"objective": objective, "place": place, "refit": 0.0}))
    config = InvariantConfig((2,), 2, 8, objective_of(objective).decodes, clusters)
    whole = train(SOURCE, SOURCE, tmp_path / "whole", recipe, config)
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
    with pytest.raises(Stop):
        train(SOURCE, SOURCE, tmp_path / "cut", recipe, config)
    monkeypatch.undo()
    assert torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["step"] == 7
    resumed = train(SOURCE, SOURCE, tmp_path / "cut", recipe, config)
    states = [torch.load(path, weights_only=True)["networks"] for path in (whole, resumed)]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    rows = [json.loads(line) for line in (tmp_path / "whole" / "validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8] and all(row["rate_bits"] > 0 for row in rows)


def test_fitting_leaves_the_encoder_as_it_is(tmp_path):
    recipe = InvariantRecipe(**(vars(RECIPE) | {"refit": 1.0}))
    checkpoint = train(SOURCE, SOURCE, tmp_path, recipe, PLANE)
    torch.manual_seed(recipe.seed)
    untrained = InvariantNetworks(PLANE)
    untrained.start(SOURCE.draw(2000, np.random.default_rng(0), False).x, Vic.spread)
    before = untrained.state_dict()
    after = torch.load(checkpoint, weights_only=True)["networks"]
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert not any(name.startswith(("encoder", "offset")) for name in changed)
    assert {"density.biases.0", "head.4.bias"} <= changed


def test_clusters_are_placed_when_the_recipe_says(tmp_path):
    """Before, each dimension has its density; then the clusters have, which are where the codes are."""
    recipe = InvariantRecipe(**(vars(RECIPE) | {"refit": 0.25, "place": 0.5, "steps": 80}))
    assert recipe.place_at == 30 and InvariantRecipe(steps=4, place=1.0, refit=0.0).place_at == 3
    checkpoint = train(SOURCE, SOURCE, tmp_path, recipe, InvariantConfig((2,), 2, 16, clusters=4))
    networks, _, _ = load_checkpoint(checkpoint)
    assert bool(networks.placed)
    x = SOURCE.draw(2000, np.random.default_rng(3), False).x
    codes = straight_through(networks.encoder(x), networks.offset)
    torch.testing.assert_close(networks.rate_nats(codes), networks.clustered.rate_nats(codes))
    nearest = torch.cdist(networks.clustered.means, codes).min(1).values
    assert float(nearest.max()) < 1
    never = InvariantNetworks(networks.config)
    torch.testing.assert_close(never.rate_nats(codes), never.density.rate_nats(codes))
    with pytest.raises(ExportError, match="not placed"):
        never.tables()


def test_matrices_trained_in_bfloat16_are_kept_in_it(tmp_path):
    recipe = InvariantRecipe(**(vars(RECIPE) | {"bf16": True}))
    checkpoint = train(SOURCE, SOURCE, tmp_path, recipe, PLANE)
    codec = InvariantCodec(export_invariant(checkpoint, SOURCE, tmp_path / "model"))
    trained, _, _ = load_checkpoint(checkpoint)
    for network, stored in ((trained.encoder, codec.encoder), (trained.head, codec.decoder)):
        for before, after in zip(network.parameters(), stored.parameters(), strict=True):
            assert torch.equal(after, before.bfloat16().float() if before.dim() > 1 else before)


@pytest.mark.parametrize("config", [PLANE, IMAGES])
def test_codes_start_as_spread_as_asked(config):
    source = TransformedImages(items_of(IMAGES, 50)) if config.images else SOURCE
    x = source.draw(500, np.random.default_rng(0), False).x
    networks = InvariantNetworks(config)
    networks.start(x, 3.0)
    with torch.no_grad():
        z = networks.encoder(x)
    torch.testing.assert_close(z.std(0), torch.full((config.codes,), 3.0), atol=0.01, rtol=0)
    torch.testing.assert_close(z.mean(0), torch.zeros(config.codes), atol=0.01, rtol=0)


def test_vic_learns_what_vc_cannot(tmp_path):
    """On turned points: VIC's code of a point is that of all points of its radius, and takes fewer bits."""
    test = a_banana(3000, seed=5)
    turned = rotated(torch.from_numpy(test), np.random.default_rng(0).uniform(0, 6.28, 3000)).numpy()
    shared = {"steps": 400, "batch": 256, "lr": 1e-2, "validate_every": 400}
    found = {}
    for objective in ("vic", "vc"):
        recipe = InvariantRecipe(objective, 0.3, **shared)
        checkpoint = train(SOURCE, SOURCE, tmp_path / objective, recipe, InvariantConfig((2,), 2, 32))
        codec = InvariantCodec(export_invariant(checkpoint, SOURCE, tmp_path / objective / "model"))
        bits = 8 * len(codec.encode(turned).sections["codes"]) / 3000
        shift = np.abs(codec.decode(codec.encode(turned)) - codec.decode(codec.encode(test))).mean()
        found[objective] = (bits, shift)
        assert bits == pytest.approx(codec.rate_bits(turned).mean(), rel=0.02)
    assert found["vic"][0] < 0.75 * found["vc"][0]
    assert found["vic"][1] < 0.5 * found["vc"][1]
    codec = InvariantCodec(load_model_from(tmp_path / "vic" / "model"))
    decoded = codec.reconstruct(codec.encode(turned))
    error = np.square(np.hypot(*decoded.T) - np.hypot(*test.T)).mean()
    assert error < 0.5 * np.hypot(*test.T).var()


@pytest.mark.parametrize("objective", ["vic", "vc", "bince"])
def test_images_train_too(objective, tmp_path):
    source = TransformedImages(items_of(IMAGES, 60))
    config = InvariantConfig((9, 12), 3, 4, objective_of(objective).decodes, 2)
    recipe = InvariantRecipe(**(vars(RECIPE) | {"objective": objective, "bf16": True}))
    model = export_invariant(train(source, source, tmp_path, recipe, config), source, tmp_path / "model")
    codec = InvariantCodec(model)
    assert codec.decode(codec.encode(items_of(IMAGES, 4))).shape == (4, 3)
    text = (tmp_path / "model" / "card.md").read_text()
    assert f"{model.config['rate_bits']} bits an item" in text and '"affine"' in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps must be"), ({"batch": 1}, "from 2"), ({"lr": 0.0}, "above 0"),
        ({"beta": -1.0}, "from 0"), ({"beta": float("nan")}, "from 0"), ({"refit": 1.5}, "from 0 to 1"),
        ({"noise": -0.1}, "from 0 to 1"), ({"place": 2.0}, "from 0 to 1"),
        ({"objective": "vae"}, "one of vic, vc, bince"), ({"objective": "bince"}, "head"),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be_run(change, sentence, tmp_path):
    with pytest.raises(TrainingError, match=sentence):
        train(SOURCE, SOURCE, tmp_path, InvariantRecipe(**(vars(RECIPE) | change)), PLANE)


def test_runs_that_cannot_start(tmp_path):
    with pytest.raises(TrainingError, match=r"shape \(2,\)"):
        train(SOURCE, SOURCE, tmp_path, RECIPE, POINTS)
    with pytest.raises(TrainingError, match="no device"):
        train(SOURCE, SOURCE, tmp_path, RECIPE, PLANE, "tpu")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        train(SOURCE, SOURCE, tmp_path / "file" / "below", RECIPE, PLANE)
    (tmp_path / "checkpoint.pt").write_bytes(b"damage")
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train(SOURCE, SOURCE, tmp_path, RECIPE, PLANE)


def test_exports_that_cannot_be_made(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        export_invariant(tmp_path / "checkpoint.pt", SOURCE, tmp_path / "model")
    (tmp_path / "checkpoint.pt").write_bytes(b"damage")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    checkpoint = train(SOURCE, SOURCE, tmp_path / "run", RECIPE, PLANE)
    with pytest.raises(ExportError, match="narrower"):
        export_invariant(checkpoint, SOURCE, tmp_path / "model", largest=100)
    (tmp_path / "run" / "recipe.json").unlink()
    with pytest.raises(InputError, match="recipe of this run"):
        export_invariant(checkpoint, SOURCE, tmp_path / "model")
    assert not (tmp_path / "model").exists()
