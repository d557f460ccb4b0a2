"""The split codec: codes come back, rates are what files weigh, and nothing bad passes silently."""

from __future__ import annotations

import csv
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
from obverse.codecs.split.codec import SplitCodec
from obverse.codecs.split.halves import as_tensor
from obverse.codecs.split.networks import standardised
from obverse.container import Limits, read, write
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
from tests.codecs.split.models import CONFIGS, RECONSTRUCTS, SMALL, UPSAMPLED, images_of, stored_model
from tests.conftest import torch_setting

CODECS = {config: SplitCodec(stored_model(config)) for config in CONFIGS}
CODEC = CODECS[SMALL]
PLAIN = CODEC.encode(images_of(SMALL, 20))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("n", [1, 7, 600])
def test_round_trip(config, n):
    """What is decoded is what the encoder rounded to, exactly, plus the model's offset."""
    codec, images = CODECS[config], images_of(config, n, seed=n)
    data = write(codec.encode(images, codec.options(metadata={"from": "a test"})))
    latents = codec.decode(read(data))
    assert latents.dtype == np.float32 and latents.shape == (n, *config.latent_shape)
    with torch.no_grad():
        y = codec.device.encoder(standardised(as_tensor(images))).numpy()
    assert np.abs(latents - y).max() < 0.5 + 1e-3
    q = codec.device.symbols_of(images)
    np.testing.assert_array_equal(latents, (q + codec.device.code.offset).astype(np.float32))
    assert read(data).shape == images.shape and read(data).metadata == {"from": "a test"}
    assert len(np.unique(q)) > 5  # or else nothing was tested


@pytest.mark.parametrize("config", CONFIGS)
def test_one_image(config):
    """(S, S, 3) is coded without the axis of a set, to the same codes, in a small file."""
    codec, images = CODECS[config], images_of(config, 3)
    container = read(write(codec.encode(images[1])))
    assert container.shape == config.image_shape
    latents = codec.decode(container)
    assert latents.shape == config.latent_shape
    np.testing.assert_array_equal(latents, codec.decode(codec.encode(images[1:2]))[0])
    assert codec.predict(container).shape == (1, config.teacher.classes)
    assert len(write(container)) - len(container.sections["codes"]) < 64


@pytest.mark.parametrize("config", CONFIGS)
def test_a_set_weighs_what_the_model_says(config):
    """One stream for the whole set: within 2 % of the sum of its images' code lengths."""
    codec, images = CODECS[config], images_of(config, 1500, seed=9)
    predicted = codec.rate_bits(images)
    assert predicted.shape == (1500,) and predicted.min() >= codec.device.code.least_bits > 0
    assert 8 * len(write(codec.encode(images))) == pytest.approx(predicted.sum(), rel=0.02)
    for image, bits in zip(images[:50], predicted[:50], strict=True):  # and a bare payload, to some bytes
        assert bits / 8 < len(codec.device.encode(image)) < bits / 8 + 6


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_any_images_round_trip(seed, n):
    images = np.random.default_rng(seed).integers(0, 256, (n, *SMALL.image_shape), dtype=np.uint8)
    q = CODEC.device.symbols_of(images)
    np.testing.assert_array_equal(
        CODEC.decode(CODEC.encode(images)), (q + CODEC.device.code.offset).astype(np.float32)
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1e5))
def test_any_integers_round_trip(seed, size):
    """Also those far beyond the tables, which the escape codes; no payload is longer than the server may be sent."""
    q = np.rint(np.random.default_rng(seed).normal(size=(1, *SMALL.latent_shape)) * size).astype(np.int32)
    payload = CODEC.device.code.pack(q)
    assert len(payload) <= CODEC.device.code.most_bytes
    np.testing.assert_array_equal(CODEC.server.code.unpack(payload, 1), q)


def test_codes_do_not_depend_on_the_machine_that_decodes():
    """Decoding runs no network: threads and kernels are nothing to it."""
    model = CODECS[UPSAMPLED].model
    container = CODECS[UPSAMPLED].encode(images_of(UPSAMPLED, 30))
    with torch_setting(1, False):
        once = SplitCodec(model).decode(container)
    with torch_setting(2, True):
        again = SplitCodec(model).decode(container)
    np.testing.assert_array_equal(once, again)


def test_predictions_are_the_servers_of_the_codes():
    logits = CODEC.predict(PLAIN)
    with torch.no_grad():
        wanted = CODEC.server.server(torch.from_numpy(CODEC.decode(PLAIN))).numpy()
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)
    assert np.ptp(logits, axis=0).max() > 1e-3  # images differ in them


def test_reconstruction():
    codec, images = CODECS[RECONSTRUCTS], images_of(RECONSTRUCTS, 5)
    container = codec.encode(images)
    synthesised = codec.reconstruct(container)
    assert synthesised.shape == images.shape and synthesised.dtype == np.uint8
    with torch.no_grad():
        x = codec.server.synthesis(torch.from_numpy(codec.decode(container))).permute(0, 2, 3, 1).numpy()
    assert np.abs(synthesised - np.clip(x, 0, 1) * 255).max() <= 0.5 + 1e-2
    np.testing.assert_array_equal(codec.reconstruct(codec.encode(images[0])), synthesised[0])
    with pytest.raises(InputError, match="no synthesis"):
        CODEC.reconstruct(PLAIN)


@pytest.mark.parametrize(
    ("images", "error", "sentence"),
    [
        (np.zeros((2, 16, 16, 3)), UnsupportedInputError, "float64"),
        (np.full((2, 16, 16, 3), np.nan), UnsupportedInputError, "float64"),
        (np.zeros((0, 16, 16, 3), np.uint8), InputError, "empty"),
        (np.zeros((2, 16, 15, 3), np.uint8), UnsupportedInputError, r"16 x 16 pixels.*not \(2, 16, 15, 3\)"),
        (np.zeros((2, 32, 32, 3), np.uint8), UnsupportedInputError, r"not \(2, 32, 32, 3\)"),
        (np.zeros((2, 16, 16), np.uint8), UnsupportedInputError, r"not \(2, 16, 16\)"),
        (np.zeros((16, 16, 4), np.uint8), UnsupportedInputError, r"not \(16, 16, 4\)"),
        (np.zeros((16, 16), np.uint8), UnsupportedInputError, r"\(16, 16\)"),
        ("text", UnsupportedInputError, "<U4"),
        (None, UnsupportedInputError, "object"),
    ],
)
def test_images_that_the_model_does_not_code(images, error, sentence):
    for use in (CODEC.encode, CODEC.rate_bits, CODEC.device.encode):
        with pytest.raises(error, match=sentence):
            use(images)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (21, 16, 16, 3)}, {"shape": (19, 16, 16, 3)}, {"shape": (16, 16, 3)}, {"shape": (20, 16, 16)},
        {"shape": ()}, {"shape": (0, 16, 16, 3)}, {"shape": (10**6, 16, 16, 3)}, {"shape": (1, 20, 16, 16, 3)},
        {"config": {0: 1}}, {"sections": {}}, {"sections": {"codes": b""}}, {"sections": {"other": b"abc"}},
        {"sections": {"codes": b"\0" * 9}}, {"sections": {"codes": PLAIN.sections["codes"][:-4]}},
        {"sections": {"codes": PLAIN.sections["codes"] + b"a"}},
        {"sections": {"codes": PLAIN.sections["codes"], "x": b""}}, {"sections": {}, "items": (b"abc",)},
    ],
)  # fmt: skip
def test_damaged_parts_are_named(change):
    with pytest.raises(DamagedError):
        CODEC.decode(replace(PLAIN, **change))
    with pytest.raises(DamagedError):
        CODEC.predict(replace(PLAIN, **change))


@pytest.mark.parametrize("at", range(0, len(PLAIN.sections["codes"]), 37))
def test_changed_codes_are_noticed_or_other_codes(at):
    """Behind a valid checksum: never anything but codes of the right shape, or an error of ours."""
    content = bytearray(PLAIN.sections["codes"])
    content[at] ^= 0x41
    try:
        latents = CODEC.decode(replace(PLAIN, sections={"codes": bytes(content)}))
    except DecodeError:
        return
    assert latents.shape == (20, *SMALL.latent_shape) and np.isfinite(latents).all()


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
    with pytest.raises(DamagedError, match="cannot hold"):
        CODEC.decode(replace(PLAIN, shape=(2**40, 16, 16, 3)), limits=Limits.unlimited())


def test_limits_count_what_is_made_of_codes():
    """Codes take little: what they become is checked before it is made."""
    codec = CODECS[RECONSTRUCTS]
    container = codec.encode(images_of(RECONSTRUCTS, 400))
    limits = Limits(memory=400 * RECONSTRUCTS.symbols * 24)  # what decoding takes
    assert len(codec.decode(container, limits)) == 400
    for make in (codec.predict, codec.reconstruct):
        assert len(make(container, Limits(memory=8 << 20))) == 400
        with pytest.raises(LimitError):
            make(container, limits)
    with pytest.raises(LimitError):
        codec.server.predict(container.sections["codes"], 400, limits)


@pytest.mark.parametrize(
    "change", ["weights", "tables", "offset", "encoder", "server", "config", "more tables"]
)
def test_damaged_models(change):
    model = stored_model(SMALL)
    tensors = load_safetensors(model.weights)
    if change == "weights":
        model = replace(model, weights=model.weights[:100])
    elif change == "config":
        model = replace(model, config={"model": SMALL.as_dict() | {"codes": "2"}})
    elif change == "more tables":
        model = replace(model, config=model.config | {"model": SMALL.as_dict() | {"codes": 6}})
    else:
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(change)}
        model = replace(model, weights=save_safetensors(kept))
    codec = SplitCodec(model)
    with pytest.raises(ModelError):
        codec.predict(codec.encode(images_of(SMALL, 3)))


def test_files_to_load(tmp_path):
    images = images_of(SMALL, 3)
    np.save(tmp_path / "set.npy", images)
    np.testing.assert_array_equal(CODEC.kind.load(tmp_path / "set.npy"), images)
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    np.testing.assert_array_equal(CODEC.kind.load(folder), images)
    np.testing.assert_array_equal(CODEC.kind.load(folder / "1.png"), images[1])
    with open(folder / "2.png", "rb") as file:
        np.testing.assert_array_equal(CODEC.kind.load(file), images[2])
    Image.fromarray(images[0][..., 0]).save(tmp_path / "gray.png")
    assert CODEC.kind.load(tmp_path / "gray.png").shape == (16, 16, 3)
    Image.fromarray(images[0]).convert("RGBA").save(tmp_path / "alpha.png")
    with pytest.raises(UnsupportedInputError, match="alpha"):
        CODEC.kind.load(tmp_path / "alpha.png")
    (tmp_path / "text.png").write_text("no image")
    for name, sentence in (("text.png", "image"), ("absent.png", "no file .*absent.png")):
        with pytest.raises(InputError, match=sentence):
            CODEC.kind.load(tmp_path / name)


def test_files_to_save():
    codec = CODECS[RECONSTRUCTS]
    container = codec.encode(images_of(RECONSTRUCTS, 4))
    lines = list(csv.DictReader(io.StringIO(decoded_file(codec, container, "classes.csv").decode())))
    logits = codec.predict(container)
    assert [int(line["class"]) for line in lines] == logits.argmax(1).tolist()
    assert sum(float(lines[0][f"p{i}"]) for i in range(4)) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(
        np.load(io.BytesIO(decoded_file(codec, container, "codes.npy"))), codec.decode(container)
    )
    with zipfile.ZipFile(io.BytesIO(decoded_file(codec, container, "all.zip"))) as archive:
        first = np.asarray(Image.open(archive.open("00000.png")))
    np.testing.assert_array_equal(first, codec.reconstruct(container)[0])
    for name in ("classes.png", "classes"):
        with pytest.raises(OutputError, match="csv"):
            decoded_file(codec, container, name)
    with pytest.raises(InputError, match="no synthesis"):
        decoded_file(CODEC, PLAIN, "all.zip")


def test_probabilities_of_large_logits():
    lines = CODEC.kind.save(np.array([[1e4, 0.0], [-1e30, 1e30]], np.float32), "x.csv").decode().splitlines()
    assert lines == ["image,class,p0,p1", "0,0,1.000000,0.000000", "1,1,0.000000,1.000000"]
