"""The flow codec: every bit comes back, files weigh what the model says, damage is named."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import obverse
from obverse.codec import decoded_file
from obverse.codecs.flow.codec import IMAGE_BYTES, FlowCodec, image_bytes
from obverse.codecs.flow.recipe import FlowConfig
from obverse.container import Container, Limits, read, write
from obverse.errors import (
    DamagedError,
    DecodeError,
    InputError,
    LimitError,
    ModelError,
    ObverseError,
    OutputError,
    SideInformationError,
    TruncatedError,
    UnsupportedInputError,
    WrongModelError,
)
from obverse.zoo import StoredModel
from tests.codecs.flow.models import CONFIG, hard_images, some_images, store_flow
from tests.conftest import torch_setting

# the small model is untrained and fits nothing
pytestmark = pytest.mark.filterwarnings("ignore::obverse.codecs.stored_segments.ModelFitWarning")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return FlowCodec(store_flow(tmp_path_factory.mktemp("models") / "small"))


@pytest.fixture(scope="module")
def shipped():
    return FlowCodec()


def cifar_test(data_folder, count):
    sheet = np.asarray(Image.open(data_folder / "cifar10" / "test_00.png"))
    return sheet.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)[:count]


def test_hard_images_with_the_shipped_model(shipped):
    images = hard_images()
    data = write(shipped.encode(images))
    assert np.array_equal(shipped.decode(read(data)), images)
    assert len(data) < 2 * images.size  # even what the model finds absurd has a finite code


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
def test_round_trip_of_any_count_and_segment(small, seed, count, segment):
    images = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    container = small.encode(images, small.options(model_only=True, segment=segment))
    assert container.items is not None
    assert len(container.items) == -(-count // segment)
    assert np.array_equal(small.decode(read(write(container))), images)


def test_same_bytes_on_every_setting(shipped):
    images = np.concatenate([some_images(1), hard_images()[2:3]])
    with torch_setting(1, True):
        wanted = write(shipped.encode(images))
    with torch_setting(2, False):
        assert write(shipped.encode(images)) == wanted
        assert np.array_equal(shipped.decode(read(wanted)), images)


def test_file_weighs_what_the_model_says(shipped):
    images = some_images(60)
    rate_bits = shipped.rate_bits(images)
    assert rate_bits.shape == (60,)
    data = write(shipped.encode(images))
    assert len(data) > 10_000
    assert 8 * len(data) == pytest.approx(rate_bits.sum(), rel=0.01)


def test_rate_of_an_image_does_not_depend_on_the_others(shipped):
    images = some_images(7)
    together = shipped.rate_bits(images, shipped.options(model_only=True))
    alone = shipped.rate_bits(images[3:4], shipped.options(model_only=True))
    assert together[3] == pytest.approx(float(alone[0]))


def test_overhead_of_one_image(shipped):
    image = some_images(1)
    # the checksum of the samples takes 6 bytes
    assert len(write(shipped.encode(image))) < shipped.rate_bits(image)[0] / 8 + 64 + 6


def test_real_images_take_less_than_webp(shipped, data_folder):
    """As one file each and as one sheet; bits per dimension of 100 CIFAR test images."""
    images = cifar_test(data_folder, 100)
    size = len(write(shipped.encode(images)))

    def webp(pixels):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=80, method=4)
        return len(buffer.getvalue())

    sheet = images.reshape(5, 20, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(160, 640, 3)
    assert size < 0.9 * webp(sheet)
    assert size < 0.8 * sum(webp(image) for image in images)
    assert 8 * size / images.size < 3.8


def test_by_name_and_by_fingerprint(shipped, tmp_path):
    images = some_images(2)
    data = obverse.compress(images, codec="flow")
    assert data == obverse.compress(images, codec="flow-cifar")
    assert np.array_equal(obverse.decompress(data), images)


def test_folder_of_pngs_and_zip(small, tmp_path):
    images = some_images(3)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    loaded = small.kind.load(tmp_path)
    assert np.array_equal(loaded, images)
    container = small.encode(loaded)
    archive = zipfile.ZipFile(io.BytesIO(decoded_file(small, container, "out.zip")))
    unpacked = [np.asarray(Image.open(archive.open(name))) for name in sorted(archive.namelist())]
    assert np.array_equal(np.stack(unpacked), images)
    assert np.array_equal(np.load(io.BytesIO(decoded_file(small, container, "out.npy"))), images)
    with pytest.raises(OutputError, match="name it so"):
        decoded_file(small, container, "out.png")


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (np.zeros((2, 32, 32, 3)), UnsupportedInputError, "float64"),
        (np.zeros((2, 32, 32, 3), np.uint16), UnsupportedInputError, "uint16"),
        (np.zeros((2, 32, 32), np.uint8), UnsupportedInputError, "32, 32, 3"),
        (np.zeros((32, 32, 3), np.uint8), UnsupportedInputError, "32, 32, 3"),
        (np.zeros((2, 32, 31, 3), np.uint8), UnsupportedInputError, "32, 32, 3"),
        (np.zeros((2, 64, 64, 3), np.uint8), UnsupportedInputError, "image-lossless"),
        (np.zeros((2, 3, 32, 32), np.uint8), UnsupportedInputError, "3"),
        (np.zeros((0, 32, 32, 3), np.uint8), InputError, "empty"),
        ("text", UnsupportedInputError, "uint8"),
    ],
)
def test_what_is_not_coded(small, data, error, words):
    with pytest.raises(error, match=words):
        small.encode(data)
    with pytest.raises(error, match=words):
        small.rate_bits(data)


@pytest.mark.parametrize("segment", [0, -1, 1001, 2.0, True, None])
def test_bad_segment(small, segment):
    with pytest.raises(InputError, match="1 to 1000"):
        small.encode(some_images(1), small.options(model_only=True, segment=segment))


def test_cut_file_gives_back_whole_segments(small):
    images = some_images(9)
    data = write(small.encode(images, small.options(model_only=True, segment=2)))
    kept, missing = small.recover(data)
    assert np.array_equal(kept, images)
    assert missing == []
    cut = data[: len(data) * 2 // 3]
    with pytest.raises(TruncatedError):
        obverse.container.read(cut)
    kept, missing = small.recover(cut)
    assert 0 < len(kept) < 9
    assert np.array_equal(kept, images[: len(kept)])
    assert missing[0].startswith(f"images {len(kept)} to {len(kept) + 1} are missing")
    assert "cut off" in missing[0]
    assert missing[-1].startswith("images 8 to 8 are missing: segment 4 ")


def test_damaged_segment_is_named_and_the_others_come_back(small):
    images = some_images(6)
    container = small.encode(images, small.options(model_only=True, segment=2))
    data = bytearray(write(container))
    at = bytes(data).index(container.items[1]) + 20
    data[at] ^= 1
    with pytest.raises(DamagedError):
        obverse.container.read(bytes(data))
    kept, missing = small.recover(bytes(data))
    assert np.array_equal(kept, images[[0, 1, 4, 5]])
    assert len(missing) == 1
    assert missing[0].startswith("images 2 to 3 are missing: segment 1 ")


def test_recover_refuses_other_models_and_codecs(small, shipped):
    data = write(small.encode(some_images(1)))
    with pytest.raises(WrongModelError, match="with model"):
        shipped.recover(data)


def test_wrong_model(small, shipped):
    data = write(small.encode(some_images(1)))
    with pytest.raises(WrongModelError):
        obverse.decompress(data)


def test_no_use_for_side_information(small, tmp_path):
    data = write(small.encode(some_images(1)))
    with pytest.raises(SideInformationError):
        obverse.decompress(data, side_info=np.zeros(3), model=None)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (3, 32, 32)}, {"shape": (3, 32, 31, 3)}, {"shape": (0, 32, 32, 3)}, {"shape": (5, 32, 32, 3)},
        {"shape": (2**60, 32, 32, 3)}, {"config": {}}, {"config": {0: 0}}, {"config": {0: 1001}},
        {"config": {0: 2.0}}, {"config": {0: True}}, {"config": {0: 2, 2: 1}}, {"config": {0: 1}},
        {"items": ()}, {"items": None, "sections": {"x": b"abc"}},
    ],
)  # fmt: skip
def test_damaged_header(small, change):
    good = small.encode(some_images(3), small.options(model_only=True, segment=2))
    fields = {"config": good.config, "shape": good.shape, "sections": {}, "items": good.items} | change
    container = Container(
        "flow", fields["config"], fields["shape"], fields["sections"], small.fingerprint, {}, fields["items"]
    )
    with pytest.raises(DamagedError, match="not the header"):
        small.decode(container)


def test_segments_that_hold_too_little_or_too_much(small):
    good = small.encode(some_images(2), small.options(model_only=True, segment=1))
    first, second = good.items

    def decode(*items):
        return small.decode(Container("flow", good.config, good.shape, {}, good.model, {}, items))

    assert np.array_equal(decode(first, second), some_images(2))
    with pytest.raises(DecodeError):
        decode(first, b"")
    with pytest.raises(DecodeError):
        decode(first, second[:4] + second)
    with pytest.raises(DecodeError):
        decode(first, second[8:])


@settings(deadline=None, max_examples=25)
@given(st.binary(max_size=3000))
def test_any_bytes_of_a_segment(small, payload):
    container = Container("flow", {0: 1}, (1, 32, 32, 3), {}, small.fingerprint, {}, (payload,))
    try:
        decoded = small.decode(container)
    except ObverseError:
        return
    assert small.encode(decoded, small.options(model_only=True, segment=1)).items == (payload,)


def test_limits(small):
    data = write(small.encode(some_images(4), small.options(model_only=True)))
    with pytest.raises(LimitError):
        small.decode(read(data), limits=Limits(pixels=4000))
    with pytest.raises(LimitError):
        small.decode(read(data), limits=Limits(memory=100_000))


def test_wider_networks_count_for_more_memory():
    usual = FlowConfig()
    assert image_bytes(usual) == image_bytes(CONFIG) == IMAGE_BYTES  # smaller ones for no less
    for name in ("width", "hidden", "components", "coupling"):
        wide = replace(usual, **{name: 10 * getattr(usual, name)})
        assert image_bytes(wide) == 10 * IMAGE_BYTES


def test_damaged_model(small):
    model = small.model
    for damaged in (
        StoredModel("x", model.weights, {"codec": "flow"}, bytes(8)),
        StoredModel("x", model.weights[:1000], model.config, bytes(8)),
        StoredModel("x", model.weights, model.config | {"model": model.config["model"] | {"levels": 3}}, bytes(8)),
        StoredModel("x", model.weights, model.config | {"model": model.config["model"] | {"width": 9}}, bytes(8)),
        StoredModel("x", model.weights, model.config | {"model": model.config["model"] | {"components": 3}}, bytes(8)),
    ):  # fmt: skip
        with pytest.raises(ModelError, match="damaged"):
            _ = FlowCodec(damaged).networks
