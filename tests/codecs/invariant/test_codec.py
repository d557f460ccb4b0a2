"""The codec of invariant codes: codes come back, rates are what files weigh, and nothing bad passes silently."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from obverse.codec import decoded_file
from obverse.codecs.invariant.codec import InvariantCodec
from obverse.codecs.invariant.recipe import InvariantConfig
from obverse.coding import TableFamily
from obverse.container import Container, Limits, read, write
from obverse.errors import (
    DamagedError,
    DecodeError,
    InputError,
    LimitError,
    ModelError,
    OutputError,
    TruncatedError,
    UnsupportedInputError,
)
from tests.codecs.invariant.models import (
    CLUSTERED,
    CONFIGS,
    IMAGES,
    POINTS,
    TASKS_ONLY,
    items_of,
    stored_model,
)
from tests.conftest import torch_setting

CODECS = {config: InvariantCodec(stored_model(config)) for config in CONFIGS}
CODEC = CODECS[POINTS]
PLAIN = CODEC.encode(items_of(POINTS, 50))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("n", [1, 7, 2500])
def test_round_trip(config, n):
    """What is decoded is what the encoder rounded to, exactly, plus the model's offset."""
    codec, items = CODECS[config], items_of(config, n, seed=n)
    data = write(codec.encode(items, codec.options(metadata={"from": "a test"})))
    codes = codec.decode(read(data))
    assert codes.dtype == np.float32 and codes.shape == (n, config.codes)
    with torch.no_grad():
        x = torch.from_numpy(items)
        z = codec.encoder(x.unsqueeze(1).float() / 255 if config.images else x).numpy()
    assert np.abs(codes - z).max() < 0.5 + 1e-4
    np.testing.assert_array_equal(codes, (codec.symbols_of(items) + codec.offset).astype(np.float32))
    assert read(data).shape == items.shape and read(data).metadata == {"from": "a test"}
    assert len(np.unique(codec.symbols_of(items))) > min(n, 5)  # or else nothing was tested


@pytest.mark.parametrize("config", CONFIGS)
def test_a_set_weighs_what_the_model_says(config):
    """One stream for the whole set: within 1 % of the sum of its items' code lengths, where files alone are far off."""
    codec, items = CODECS[config], items_of(config, 6000, seed=9)
    predicted = codec.rate_bits(items)
    assert predicted.shape == (6000,) and predicted.min() >= codec.least_bits > 0
    size = len(write(codec.encode(items)))
    assert 8 * size == pytest.approx(predicted.sum(), rel=0.01)
    alone = sum(len(write(codec.encode(items[i : i + 1]))) for i in range(20))
    assert 8 * alone > 10 * predicted[:20].sum()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 30), st.floats(0.01, 1000))
def test_any_points_round_trip(seed, n, size):
    """Also those far beyond the tables, which the escape codes."""
    points = np.random.default_rng(seed).normal(size=(n, 3)) * size
    q = CODEC.symbols_of(points.astype(np.float32))
    np.testing.assert_array_equal(CODEC.decode(CODEC.encode(points)), (q + CODEC.offset).astype(np.float32))


def test_codes_do_not_depend_on_the_machine_that_decodes():
    """Decoding runs no network: threads and kernels are nothing to it."""
    items = items_of(IMAGES, 300)
    container = CODECS[IMAGES].encode(items)
    with torch_setting(1, False):
        once = InvariantCodec(stored_model(IMAGES)).decode(container)
    with torch_setting(2, True):
        again = InvariantCodec(stored_model(IMAGES)).decode(container)
    np.testing.assert_array_equal(once, again)


def test_reconstruction():
    points = CODEC.reconstruct(PLAIN)
    assert points.shape == (50, 3) and points.dtype == np.float32 and np.isfinite(points).all()
    codec, items = CODECS[IMAGES], items_of(IMAGES, 5)
    images = codec.reconstruct(codec.encode(items))
    assert images.shape == items.shape and images.dtype == np.uint8
    # it is the decoder's picture of the codes, nothing of the input
    with torch.no_grad():
        logits = codec.decoder(torch.from_numpy(codec.decode(codec.encode(items))))
    wanted = torch.sigmoid(logits[:, 0]) * 255
    assert np.abs(images - wanted.numpy()).max() <= 0.5 + 1e-3


def test_codes_for_tasks_only_have_no_reconstruction():
    codec = CODECS[TASKS_ONLY]
    with pytest.raises(InputError, match="no decoder"):
        codec.reconstruct(codec.encode(items_of(TASKS_ONLY, 3)))


@pytest.mark.parametrize(
    ("items", "error", "sentence"),
    [
        (np.zeros((0, 3)), InputError, "empty"),
        (np.zeros((4, 2)), UnsupportedInputError, r"\(n, 3\), not \(4, 2\)"),
        (np.zeros(3), UnsupportedInputError, r"not \(3,\)"),
        (np.full((2, 3), np.nan), InputError, "NaN or infinite"),
        (np.full((2, 3), np.inf), InputError, "NaN or infinite"),
        (np.full((2, 3), 1e300), InputError, "NaN or infinite"),
        (np.full((2, 3), 1e30), InputError, "far outside"),
        (np.zeros((2, 3), complex), UnsupportedInputError, "complex"),
        ("text", UnsupportedInputError, "<U4"),
        (None, UnsupportedInputError, "object"),
        ([[1.0, 2.0, 3.0], [1.0]], InputError, "no array of one shape"),
    ],
)
def test_points_that_the_model_does_not_code(items, error, sentence):
    with pytest.raises(error, match=sentence):
        CODEC.encode(items)
    with pytest.raises(error, match=sentence):
        CODEC.rate_bits(items)


@pytest.mark.parametrize(
    ("items", "error", "sentence"),
    [
        (np.zeros((2, 9, 12)), UnsupportedInputError, "float64"),
        (np.zeros((0, 9, 12), np.uint8), InputError, "empty"),
        (np.zeros((2, 9, 11), np.uint8), UnsupportedInputError, r"\(n, 9, 12\), not \(2, 9, 11\)"),
        (np.zeros((2, 9, 12, 3), np.uint8), UnsupportedInputError, r"not \(2, 9, 12, 3\)"),
        (np.zeros((9, 12), np.uint8), UnsupportedInputError, r"\(9, 12\)"),
        (np.full((2, 9, 12), np.nan), UnsupportedInputError, "float64"),
        ([np.zeros((9, 12), np.uint8), np.zeros((9, 11), np.uint8)], InputError, "one size"),
        (None, UnsupportedInputError, "object"),
    ],
)
def test_images_that_the_model_does_not_code(items, error, sentence):
    with pytest.raises(error, match=sentence):
        CODECS[IMAGES].encode(items)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (51, 3)}, {"shape": (49, 3)}, {"shape": (50, 2)}, {"shape": (50,)}, {"shape": ()}, {"shape": (0, 3)},
        {"shape": (10_000, 3)}, {"config": {0: 1}}, {"sections": {}}, {"sections": {"codes": b""}},
        {"sections": {"other": b"abc"}}, {"sections": {"codes": b"\0" * 9}},
        {"sections": {"codes": PLAIN.sections["codes"][:-4]}}, {"sections": {"codes": PLAIN.sections["codes"] + b"a"}},
        {"sections": {"codes": PLAIN.sections["codes"], "x": b""}}, {"sections": {}, "items": (b"abc",)},
    ],
)  # fmt: skip
def test_damaged_parts_are_named(change):
    with pytest.raises(DamagedError):
        CODEC.decode(replace(PLAIN, **change))


@pytest.mark.parametrize("at", range(0, len(PLAIN.sections["codes"]), 3))
def test_changed_codes_are_noticed_or_other_codes(at):
    """Behind a valid checksum: never anything but codes of the right shape, or an error of ours."""
    content = bytearray(PLAIN.sections["codes"])
    content[at] ^= 0x41
    try:
        codes = CODEC.decode(replace(PLAIN, sections={"codes": bytes(content)}))
    except DecodeError:
        return
    assert codes.shape == (50, 2) and np.isfinite(codes).all()


def test_a_file_that_was_cut_or_changed():
    data = write(PLAIN)
    with pytest.raises(TruncatedError):
        CODEC.decode(read(data[:-5]))
    changed = bytearray(data)
    changed[-9] ^= 1
    with pytest.raises(DecodeError):
        CODEC.decode(read(bytes(changed)))


def test_limits():
    with pytest.raises(LimitError):
        CODEC.decode(PLAIN, limits=Limits(items=10))
    with pytest.raises(LimitError):
        CODEC.decode(PLAIN, limits=Limits(memory=100))


@pytest.mark.parametrize("config", [POINTS, IMAGES])
def test_limits_count_what_is_made_of_codes(config):
    """Codes take little: what they become is checked before it is made."""
    codec = CODECS[config]
    container = codec.encode(items_of(config, 400))
    limits = Limits(memory=400 * config.codes * 24)  # what decoding takes
    assert len(codec.decode(container, limits)) == 400
    assert len(codec.reconstruct(container, Limits(memory=1 << 20))) == 400
    with pytest.raises(LimitError):
        codec.reconstruct(container, limits)


def test_a_header_cannot_ask_for_more_items_than_its_bytes_hold():
    with pytest.raises(DamagedError, match="cannot hold"):
        CODEC.decode(replace(PLAIN, shape=(2**40, 3)), limits=Limits.unlimited())


def test_other_models_have_other_fingerprints():
    other = InvariantCodec(stored_model(POINTS, seed=1))
    assert other.fingerprint != CODEC.fingerprint and PLAIN.model == CODEC.fingerprint


@pytest.mark.parametrize(
    "change", ["weights", "tables", "offset", "encoder", "decoder", "config", "more tables"]
)
def test_damaged_models(change):
    model = stored_model(POINTS)
    tensors = load_safetensors(model.weights)
    if change == "weights":
        model = replace(model, weights=model.weights[:100])
    elif change == "config":
        model = replace(model, config={"model": POINTS.as_dict() | {"codes": "2"}})
    elif change == "more tables":
        model = replace(model, config=model.config | {"model": POINTS.as_dict() | {"codes": 3}})
    else:
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(change)}
        model = replace(model, weights=save_safetensors(kept))
    codec = InvariantCodec(model)
    with pytest.raises(ModelError):
        codec.reconstruct(codec.encode(items_of(POINTS, 3)))


def test_any_cluster_decodes_and_the_cheapest_is_told():
    codec, items = CODECS[CLUSTERED], items_of(CLUSTERED, 400)
    q = codec.symbols_of(items)
    h = codec.clusters_of(q)
    assert len(np.unique(h)) > 1
    costs = np.stack([
        codec.clusters.bits(np.full(400, g), np.zeros(400, int))
        + codec.tables.bits(q, np.broadcast_to(g * 4 + np.arange(4), q.shape)).sum(1)
        for g in range(5)
    ])  # fmt: skip
    np.testing.assert_array_equal(h, costs.argmin(0))
    np.testing.assert_allclose(codec.rate_bits(items), costs.min(0))
    assert codec.least_bits <= costs.min()
    codec = InvariantCodec(stored_model(CLUSTERED))
    codec.clusters_of = lambda q: np.arange(len(q), dtype=np.int32) % 5
    np.testing.assert_array_equal(codec.decode(codec.encode(items)), (q + codec.offset).astype(np.float32))


def test_changed_clusters_are_noticed_or_other_codes():
    """The clusters are read first: a wrong one sends what follows through other tables."""
    codec, plain = CODECS[CLUSTERED], CODECS[CLUSTERED].encode(items_of(CLUSTERED, 40))
    content, noticed = plain.sections["codes"], 0
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 0x55
        try:
            codes = codec.decode(replace(plain, sections={"codes": bytes(changed)}))
        except DamagedError:
            noticed += 1
        else:
            assert codes.shape == (40, 4) and np.isfinite(codes).all()
    assert noticed > len(content) // 2


@pytest.mark.parametrize("change", ["none", "another number", "tables of one cluster"])
def test_damaged_clusters(change):
    model = stored_model(CLUSTERED)
    tensors = load_safetensors(model.weights)
    if change == "none":
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("clusters")}
    elif change == "another number":
        three = TableFamily.categorical([0.5, 0.25, 0.25]).state().items()
        tensors |= {f"clusters.{name}": torch.from_numpy(array.astype(np.int32)) for name, array in three}
    else:
        single = TableFamily.gaussian([1.0] * 4).state().items()
        tensors |= {f"tables.{name}": torch.from_numpy(array.astype(np.int32)) for name, array in single}
    codec = InvariantCodec(replace(model, weights=save_safetensors(tensors)))
    with pytest.raises(ModelError, match=r"clusters|tables"):
        codec.encode(items_of(CLUSTERED, 3))


@pytest.mark.parametrize("clusters", [0, 1025, "3", True])
def test_configurations_with_impossible_clusters(clusters):
    with pytest.raises(InputError):
        InvariantConfig.from_dict(CLUSTERED.as_dict() | {"clusters": clusters})


def test_files_to_load_and_save(tmp_path):
    points = items_of(POINTS, 4)
    np.save(tmp_path / "points.npy", points)
    np.testing.assert_array_equal(CODEC.kind.load(tmp_path / "points.npy"), points)
    with pytest.raises(InputError, match="folder"):
        CODEC.kind.load(tmp_path)
    codes = np.load(io.BytesIO(decoded_file(CODEC, PLAIN, "codes.npy")))
    np.testing.assert_array_equal(codes, CODEC.decode(PLAIN))
    for name in ("codes.png", "codes", "codes.zip"):
        with pytest.raises(OutputError, match="npy"):
            decoded_file(CODEC, PLAIN, name)


def test_image_sets_to_load_and_save(tmp_path):
    codec, images = CODECS[IMAGES], items_of(IMAGES, 3)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    np.testing.assert_array_equal(codec.kind.load(tmp_path), images)
    container = codec.encode(codec.kind.load(tmp_path))
    with zipfile.ZipFile(io.BytesIO(decoded_file(codec, container, "all.zip"))) as archive:
        first = np.asarray(Image.open(archive.open("00000.png")))
    np.testing.assert_array_equal(first, codec.reconstruct(container)[0])


def test_the_container_is_the_codecs():
    assert isinstance(PLAIN, Container) and PLAIN.codec == "invariant" and PLAIN.items is None
    assert len(write(PLAIN)) - len(PLAIN.sections["codes"]) < 64
