"""The bits-back codec: every bit comes back, rates are what the ELBO says, and nothing bad passes silently."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import obverse
from obverse.codec import codec_of, decoded_file
from obverse.codecs.vae.codec import BIN_BITS, VaeCodec, initial_message
from obverse.codecs.vae.recipe import VaeConfig
from obverse.codecs.vae.train import binarise
from obverse.container import Container, Limits, read, write
from obverse.data.image_sets import read_image_set
from obverse.errors import (
    DamagedError,
    DecodeError,
    InputError,
    LimitError,
    ModelError,
    ObverseError,
    OutputError,
    TruncatedError,
    UnsupportedInputError,
    WrongModelError,
)
from obverse.registry import open_codec
from obverse.zoo import WEIGHTS, load_model, model_folder
from tests.codecs.vae.models import BINARY, CONFIGS, TWO_LAYERS, images_of, stored_model, strokes

CODECS = {config: VaeCodec(stored_model(config)) for config in CONFIGS}
CODEC = CODECS[TWO_LAYERS]
IMAGES = images_of(TWO_LAYERS, 25)
PLAIN = CODEC.encode(IMAGES, CODEC.options(model_only=True, segment=10))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("segment", [1, 7, 1000])
def test_round_trip(config, segment):
    images = images_of(config, 15, seed=3)
    container = CODECS[config].encode(
        images, CODECS[config].options(model_only=True, segment=segment, seed=5)
    )
    data = write(container)
    again = CODECS[config].decode(read(data))
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, images)
    assert len(read(data).items) == -(-15 // segment)
    assert data == write(
        CODECS[config].encode(images, CODECS[config].options(model_only=True, segment=segment, seed=5))
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(["noise", "black", "white", "mixed"]))
def test_any_images_round_trip(seed, n, kind):
    """Also those that no model would expect."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 8, 12), dtype=np.uint8)
    if kind != "noise":
        images = np.where(rng.random(images.shape) < 0.5, images, 0) if kind == "mixed" else images * 0
        images = images.astype(np.uint8) + np.uint8(255 * (kind == "white"))
    np.testing.assert_array_equal(
        CODEC.decode(CODEC.encode(images, CODEC.options(model_only=True, segment=4))), images
    )


def test_chains_together_give_what_each_gives_alone():
    """The networks run on batches, and batches do not change their numbers."""
    for number in range(2):
        part = IMAGES[10 * number : 10 * (number + 1)]
        alone = CODEC.encode(part, CODEC.options(model_only=True, segment=10, initial=PLAIN.config[0]))
        if number == 0:  # the initial bits of others depend on their number
            assert alone.items[0] == PLAIN.items[0]
        assert len(alone.items[0]) == pytest.approx(len(PLAIN.items[number]), abs=40)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_net_rate_of_real_streams_is_the_negative_elbo(config):
    """Within 1 %, of a set large enough that the choice of z averages out."""
    codec = CODECS[config]
    images = images_of(config, 500, seed=4)
    report = codec.report(images, codec.options(segment=250))
    elbo = codec.elbo(images)
    assert report.net_bits.shape == elbo.shape == (500,)
    assert report.net_bits.sum() == pytest.approx(elbo.sum(), rel=0.01)
    assert np.corrcoef(report.net_bits, elbo)[0, 1] > 0.8  # and image by image, up to the choice of z


def test_the_report_is_what_the_file_weighs():
    report = CODEC.report(IMAGES, CODEC.options(model_only=True, segment=10))
    data = write(PLAIN)
    assert report.file_bytes == len(data) and report.pixels == IMAGES.size
    assert report.initial_bits == 3 * PLAIN.config[0] * BIN_BITS
    content = report.net_bits.sum() + report.initial_bits
    assert 0 <= 8 * len(data) - content < 8 * (60 + 3 * 12)  # header, lengths, checksums, whole bytes
    assert report.net_rate_bits < report.file_rate_bits
    single = CODEC.report(IMAGES[24:], CODEC.options(model_only=True, initial=PLAIN.config[0]))
    assert single.alone_bits == pytest.approx(single.initial_bits + single.net_bits[0])
    assert report.alone_bits > report.net_bits.mean() + 10 * BIN_BITS


def test_the_receiver_gets_the_initial_bits_back(monkeypatch):
    """Exactly: the message that is left equals the one that the sender began with, and anything else is refused."""
    compared = []
    original = type(initial_message(1, 0, 0)).__eq__

    def spy(self, other):
        compared.append((self.copy(), other))
        return original(self, other)

    monkeypatch.setattr(type(initial_message(1, 0, 0)), "__eq__", spy)
    CODEC.decode(PLAIN)
    monkeypatch.undo()
    assert len(compared) == 3
    for number, (left, _) in enumerate(compared):
        assert left == initial_message(PLAIN.config[0], 0, number)
        assert left.bits == pytest.approx(PLAIN.config[0] * BIN_BITS)


def test_other_initial_bits_than_announced_are_damage():
    for config in ({0: PLAIN.config[0] + 1}, {1: 77}):
        with pytest.raises(DamagedError, match="initial bits of images 0 to 9"):
            CODEC.decode(replace(PLAIN, config=PLAIN.config | config))


def test_not_enough_initial_bits():
    with pytest.raises(InputError, match="not enough initial bits: 3 symbols"):
        CODEC.encode(IMAGES, CODEC.options(model_only=True, initial=3))
    enough = CODEC.encode(IMAGES, CODEC.options(model_only=True, initial=500))
    np.testing.assert_array_equal(CODEC.decode(enough), IMAGES)


@pytest.mark.parametrize(
    ("images", "error", "sentence"),
    [
        (IMAGES / 255, UnsupportedInputError, "float64"),
        (IMAGES.astype(np.int32), UnsupportedInputError, "int32"),
        (IMAGES[0], UnsupportedInputError, r"\(8, 12\)"),
        (IMAGES[:, :7], UnsupportedInputError, r"codes sets of shape \(n, 8, 12\)"),
        (np.stack([IMAGES] * 3, -1), UnsupportedInputError, r"codes sets of shape \(n, 8, 12\)"),
        (IMAGES[:0], InputError, "empty"),
        ("text", InputError, "U4"),
        (None, InputError, "object"),
    ],
)
def test_images_that_the_model_does_not_code(images, error, sentence):
    with pytest.raises(error, match=sentence):
        CODEC.encode(images)


def test_a_binary_model_refuses_gray_images():
    images = images_of(BINARY, 5)
    images[3, 2, 1] = 2
    with pytest.raises(UnsupportedInputError, match=r"0 to 1, the images reach 2.*binarise"):
        CODECS[BINARY].encode(images)


@pytest.mark.parametrize("options", [{"seed": -1}, {"seed": 0.5}, {"segment": 0}, {"segment": True},
                                     {"initial": -1}, {"initial": 2**20}])  # fmt: skip
def test_bad_options(options):
    with pytest.raises(InputError):
        CODEC.encode(IMAGES, CODEC.options(model_only=True, **options))


def test_a_file_cut_anywhere_gives_every_whole_segment():
    data = write(PLAIN)
    seen = set()
    for cut in range(0, len(data), 67):
        with pytest.raises(DecodeError):
            CODEC.decode(read(data[:cut]))
        try:
            images, missing = CODEC.recover(data[:cut])
        except TruncatedError:
            assert cut < 80
            continue
        except DecodeError:
            assert cut == 0
            continue
        whole = len(images) // 10
        seen.add(whole)
        np.testing.assert_array_equal(images, IMAGES[: 10 * whole])
        assert len(missing) == 3 - whole
        assert all("cut off" in sentence for sentence in missing)
        assert "images 20 to 24 are missing" in missing[-1]
    assert seen == {0, 1, 2}
    images, missing = CODEC.recover(data)
    np.testing.assert_array_equal(images, IMAGES)
    assert missing == []


def test_a_damaged_segment_is_named_and_the_others_are_kept():
    data = bytearray(write(PLAIN))
    at = len(data) - len(PLAIN.items[2]) - 6 - len(PLAIN.items[1]) // 2
    data[at] ^= 1
    with pytest.raises(DamagedError, match="item 1"):
        CODEC.decode(read(bytes(data)))
    images, missing = CODEC.recover(bytes(data))
    np.testing.assert_array_equal(images, np.concatenate([IMAGES[:10], IMAGES[20:]]))
    assert missing == ["images 10 to 19 are missing: segment 1 is cut off or damaged"]


def test_segments_that_pass_their_checksum_but_are_not_chains():
    items = (PLAIN.items[0], PLAIN.items[2], PLAIN.items[2])  # the second is shorter than it should be
    swapped = replace(PLAIN, items=items)
    with pytest.raises(DamagedError):
        CODEC.decode(swapped)
    images, missing = CODEC.recover(write(swapped))
    np.testing.assert_array_equal(images, np.concatenate([IMAGES[:10], IMAGES[20:]]))
    assert len(missing) == 1 and missing[0].startswith("images 10 to 19 are missing")
    for payload in (b"", b"\0" * 40, b"\xff" * 41, PLAIN.items[0][:-4], PLAIN.items[0] + b"\1"):
        with pytest.raises(DamagedError):
            CODEC.decode(replace(PLAIN, items=(payload, *PLAIN.items[1:])))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_altered_chains_are_errors_never_other_pixels(data):
    """A changed chain that still has a valid checksum: the initial bits tell."""
    item = bytearray(PLAIN.items[1])
    at = data.draw(st.integers(0, len(item) - 1))
    item[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecodeError):
        CODEC.decode(replace(PLAIN, items=(PLAIN.items[0], bytes(item), PLAIN.items[2])))


def test_damaged_headers():
    good = PLAIN.config
    for config in ({}, good | {3: 1}, good | {0: "9"}, good | {0: -1}, good | {0: 2**40}, good | {1: -5},
                   good | {2: 0}, good | {2: 25}, good | {2: True}, good | {2: 2**40}):  # fmt: skip
        with pytest.raises(DamagedError):
            CODEC.decode(replace(PLAIN, config=config))
    for shape in ((), (25,), (25, 8, 12, 1), (0, 8, 12), (25, 12, 8), (31, 8, 12), (2**50, 8, 12)):
        with pytest.raises((DamagedError, LimitError)):
            CODEC.decode(replace(PLAIN, shape=shape))
    with pytest.raises(DamagedError):
        CODEC.decode(Container("vae", good, PLAIN.shape, {"a": b""}, CODEC.fingerprint))
    with pytest.raises(LimitError):
        CODEC.decode(PLAIN, limits=Limits(memory=1000))


@pytest.mark.parametrize(
    ("size", "measured"),
    [({}, 869), ({"components": 512}, 17_409), ({"features": 512}, 11_306), ({"phase": 512}, 11_263)],
)
def test_wider_networks_count_as_wider(size, measured):
    """Bytes a pixel that decoding took: models come from others, and their sizes decide it."""
    sizes = {"height": 32, "width": 32, "components": 4, "local": 6, "top": 32, "channels": 64, "features": 40,
             "phase": 40, "hidden": 64}  # fmt: skip
    codec = VaeCodec(stored_model(VaeConfig(**(sizes | size))))
    assert measured < codec.networks.image_bytes() / 32**2 < 2 * measured


def test_components_count_in_what_a_file_may_take():
    few, many = (VaeCodec(stored_model(replace(TWO_LAYERS, components=count))) for count in (3, 256))
    limits = Limits(memory=images_of(TWO_LAYERS, 4).size + few.networks.image_bytes())
    images = images_of(TWO_LAYERS, 4)
    file = few.encode(images, few.options(model_only=True))
    assert np.array_equal(few.decode(file, limits), images)
    with pytest.raises(LimitError):
        many.decode(replace(file, model=many.fingerprint), limits)


def test_another_models_file_is_refused():
    other = VaeCodec(stored_model(TWO_LAYERS, seed=1))
    assert other.fingerprint != CODEC.fingerprint
    with pytest.raises(WrongModelError, match=CODEC.fingerprint.hex()):
        other.recover(write(PLAIN))
    with pytest.raises(WrongModelError):
        codec_of(PLAIN)  # neither shipped nor installed


def test_a_damaged_model_is_an_error_of_ours():
    model = stored_model(TWO_LAYERS)
    for damaged in (
        replace(model, weights=model.weights[:50]),
        replace(model, weights=model.weights[:-9]),
        replace(model, config={}),
        replace(model, config={"model": model.config["model"] | {"top": 5}}),
    ):
        with pytest.raises(ModelError):
            VaeCodec(damaged).encode(IMAGES)


def test_folders_and_archives(tmp_path):
    for number, image in enumerate(IMAGES[:12]):
        Image.fromarray(image).save(tmp_path / f"{number:02}.png")
    images = CODEC.kind.load(tmp_path)
    np.testing.assert_array_equal(images, IMAGES[:12])
    container = CODEC.encode(images, CODEC.options(model_only=True))
    np.testing.assert_array_equal(np.load(io.BytesIO(decoded_file(CODEC, container, "out.npy"))), images)
    zipfile.ZipFile(io.BytesIO(decoded_file(CODEC, container, "out.ZIP"))).extractall(tmp_path / "again")
    np.testing.assert_array_equal(read_image_set(tmp_path / "again"), images)
    with pytest.raises(OutputError, match="png"):
        decoded_file(CODEC, container, "out.png")


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=120), st.integers(0, 400))
def test_recovering_arbitrary_bytes_is_an_error_of_ours_or_true(noise, keep):
    try:
        images, _ = CODEC.recover(write(PLAIN)[:keep] + noise)
    except ObverseError:
        return
    np.testing.assert_array_equal(images, IMAGES[: len(images)])


@pytest.mark.parametrize(
    ("model", "images", "most"),
    [
        ("vae-mnist", "mnist", 1.29),
        ("vae-mnist-binary", "mnist", 0.20),
        ("vae-fashion", "fashion-mnist", 3.2),
    ],
)
def test_shipped_models_on_real_images(model, images, most, data_folder):
    """A chain of test images: the rate, the ELBO, and what comes back."""
    codec = open_codec(model)
    x = read_image_set(data_folder / images / "t10k-images-idx3-ubyte.gz")[:400]
    if model == "vae-mnist-binary":
        x = binarise(x, np.random.default_rng(0))
    container = codec.encode(x, codec.options(segment=50))
    np.testing.assert_array_equal(codec.decode(read(write(container))), x)
    report = codec.report(x, codec.options(segment=50))
    assert report.net_rate_bits < most
    assert report.net_bits.sum() == pytest.approx(codec.elbo(x).sum(), rel=0.01)


@pytest.mark.parametrize("model", ["vae-mnist", "vae-mnist-binary", "vae-fashion"])
def test_shipped_models_by_name(model, tmp_path):
    """Without real data: drawn strokes, through the functions that everybody uses."""
    images = strokes(9) if model != "vae-mnist-binary" else (strokes(9) > 127).astype(np.uint8)
    data = obverse.compress(images, codec=model, model_only=True)
    np.testing.assert_array_equal(obverse.decompress(data), images)
    assert len(load_model(model).weights) > 100_000
    assert (model_folder(model) / WEIGHTS).stat().st_size <= 4_000_000
    with pytest.raises(DecodeError):
        obverse.decompress(data[:-30])
