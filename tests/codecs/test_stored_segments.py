"""Set codecs never expand in silence: what their model does not fit is stored without it, segment by segment."""

from __future__ import annotations

import json
import lzma
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.cli import run
from obverse.codecs.flow.codec import FlowCodec
from obverse.codecs.stored_segments import (
    FILTERED,
    MOST_AROUND,
    PLAIN,
    RAW,
    ModelFitWarning,
    Samples,
    shortest,
)
from obverse.codecs.vae.codec import VaeCodec
from obverse.coding import filtered_rows
from obverse.container import Limits, describe, read, write
from obverse.errors import DamagedError, DecodeError, LimitError
from obverse.registry import open_codec
from tests.codecs.flow.models import some_images, store_flow
from tests.codecs.vae.models import BINARY, TWO_LAYERS, drawn, stored_model, strokes

noticed = pytest.mark.filterwarnings("ignore::obverse.codecs.stored_segments.ModelFitWarning")
RNG = np.random.default_rng(3)


def noise(*shape: int, levels: int = 256) -> np.ndarray:
    return RNG.integers(0, levels, shape, dtype=np.uint8)


def beyond_front(data: bytes) -> int:
    return len(data) - describe(data)["header_bytes"]


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    return FlowCodec(store_flow(tmp_path_factory.mktemp("models") / "small"))


@noticed
@pytest.mark.parametrize("segment", [1, 3, 1000])
@pytest.mark.parametrize("kind", ["noise", "black", "white", "mixed"])
@pytest.mark.parametrize("which", ["vae", "binary", "flow"])
def test_never_more_than_raw_and_64_bytes(which, kind, segment, flow):
    codec = {
        "vae": VaeCodec(stored_model(TWO_LAYERS)), "binary": VaeCodec(stored_model(BINARY)), "flow": flow
    }[which]  # fmt: skip
    shape, levels = (
        ((12, 32, 32, 3), 256) if which == "flow" else ((40, 8, 12), 2 if which == "binary" else 256)
    )
    images = noise(*shape, levels=levels)
    if kind in ("black", "white"):
        images[:] = (levels - 1) * (kind == "white")
    if kind == "mixed":
        images[::2] = 0
    data = write(codec.encode(images, codec.options(segment=segment)))
    np.testing.assert_array_equal(codec.decode(read(data)), images)
    raw = images.size // 8 if which == "binary" else images.size
    assert beyond_front(data) <= raw + MOST_AROUND
    again, missing = codec.recover(data)
    assert not missing and np.array_equal(again, images)


@noticed
def test_the_shipped_models_on_what_they_do_not_fit():
    digits = strokes(60)
    for images in (255 - digits, noise(20, 28, 28), np.full((60, 28, 28), 128, np.uint8)):
        codec = open_codec("vae-mnist")
        with pytest.warns(ModelFitWarning, match=r"the model vae-mnist does not fit.*stored without it"):
            data = write(codec.encode(images))
        assert len(data) < 1.1 * len(lzma.compress(images.tobytes(), preset=9)) + 64
        assert len(data) <= images.size + 150
        np.testing.assert_array_equal(codec.decode(read(data)), images)


def chess(count: int, *shape: int, high: int = 255) -> np.ndarray:
    """Patterns of two values, which a model of photos codes badly though in fewer bits than they have."""
    inside = np.indices(shape[:2]).sum(0)[None] // 4 % 2 ^ (np.arange(count) % 2)[:, None, None]
    images = (high * inside).astype(np.uint8)
    return images if len(shape) == 2 else np.repeat(images[..., None], shape[2], 3)


@noticed
@pytest.mark.parametrize("name", ["vae-mnist", "vae-mnist-binary", "flow"])
@pytest.mark.parametrize("kind", ["digits of two values", "chess", "black", "one image again and again"])
def test_never_much_longer_than_lzma(name, kind):
    """Also where the model's message is far below the samples as they are."""
    high = 1 if name == "vae-mnist-binary" else 255
    shape = (32, 32, 3) if name == "flow" else (28, 28)
    images = chess(60, *shape, high=high)
    if kind == "black":
        images[:] = 0
    elif kind != "chess":
        digits = np.where(strokes(60, seed=3) > 127, high, 0).astype(np.uint8)
        if name == "flow":
            digits = np.repeat(
                np.pad(high - digits, ((0, 0), (2, 2), (2, 2)), constant_values=high)[..., None], 3, 3
            )
        images = digits if kind == "digits of two values" else np.concatenate([digits[:2]] * 30)
    codec = open_codec(name)
    data = write(codec.encode(images))
    samples = np.packbits(images) if high == 1 else images
    other = min(len(lzma.compress(plain.tobytes(), preset=9)) for plain in (samples, images))
    assert beyond_front(data) < 1.05 * other + MOST_AROUND
    np.testing.assert_array_equal(codec.decode(read(data)), images)
    assert codec.rate_bits(images).sum() / 8 == pytest.approx(len(data), rel=0.1, abs=200)


def test_an_estimate_says_where_lzma_is_of_no_use(monkeypatch):
    """What a model fits is not compressed as a whole to find out."""
    rows = RNG.integers(0, 256, (5000, 28), dtype=np.uint8)
    monkeypatch.setattr(filtered_rows, "encode", None)
    assert Samples(28).shorter(rows.size / 2, rows) is None


@pytest.mark.parametrize("step, width", [(1, 28), (3, 96), (1, 1), (3, 3)])
def test_the_estimate_is_near(step, width):
    """Of rows that differ; those that are there again count once, wherever they are."""
    rows = np.cumsum(RNG.integers(-2, 3, (20_000, width)), axis=1).astype(np.uint8)
    long = len(filtered_rows.encode(rows, step, 10**9))
    plain = len(filtered_rows.pack(rows.tobytes(), step))
    estimates = filtered_rows.estimate(rows, step)
    assert min(estimates) <= 1.15 * min(long, plain)
    if width > 3:
        assert estimates == pytest.approx((long, plain), rel=0.15)
        assert min(filtered_rows.estimate(np.concatenate([rows] * 5), step)) < 1.3 * long


def test_what_the_model_fits_is_written_as_before():
    """No key, no numbers before the items, no warning."""
    codec = open_codec("vae-mnist")
    images = drawn(codec, 40)
    container = codec.encode(images)
    assert set(container.config) == {0, 1, 2}
    assert container.items == codec.encode(images, codec.options(model_only=True)).items


@noticed
def test_each_segment_is_read_without_the_others(flow):
    """Some by the model, some stored: a cut file and a damaged one give back the others."""
    fits = open_codec("flow")
    photos = np.clip(some_images(2, 11) + RNG.integers(-9, 10, (2, 32, 32, 3)), 0, 255).astype(np.uint8)
    images = np.concatenate([photos, noise(2, 32, 32, 3), np.zeros((2, 32, 32, 3), np.uint8)])
    container = fits.encode(images, fits.options(segment=2))
    assert [item[0] for item in container.items[:2]] == [0, RAW] and container.config[1] == 2
    data = write(container)
    for number in range(3):
        items = [*container.items]
        items[number] = items[number][:1] + b"\0\1" + items[number][3:]
        kept, missing = fits.recover(write(replace(container, items=tuple(items))))
        if number == 1:
            assert len(kept) == 6  # raw pixels: whatever they are
        else:
            assert len(kept) == 4 and len(missing) == 1
    kept, missing = fits.recover(data[: -len(container.items[2]) // 2 - 3])
    np.testing.assert_array_equal(kept, images[:4])
    assert missing[0].startswith("images 4 to 5 are missing")


@noticed
@pytest.mark.parametrize("codec_id", ["vae", "flow"])
def test_hostile_numbers_and_lengths(codec_id, flow):
    codec = flow if codec_id == "flow" else VaeCodec(stored_model(TWO_LAYERS))
    images = noise(6, 32, 32, 3) if codec_id == "flow" else noise(6, 8, 12)
    good = codec.encode(images, codec.options(segment=2))
    key = max(good.config)
    assert good.config[key] == 3 and {item[0] for item in good.items} == {RAW}
    for count in (0, 2, 4, -1, True, "3", 2**40, 1.0, None):
        with pytest.raises(DamagedError):
            codec.decode(replace(good, config=good.config | {key: count}))
    with pytest.raises(DamagedError):  # a version that has no such key
        codec.decode(replace(good, version=1, samples=None))
    for item in (
        b"", b"\x01", b"\x02", bytes([4]) + good.items[0][1:], good.items[0] + b"x", good.items[0][:-1], b"\xff" * 9,
        bytes([FILTERED]) + good.items[0][1:], bytes([FILTERED, 4]),
        bytes([PLAIN]) + good.items[0][1:], bytes([PLAIN, 4]), bytes([0]) + good.items[0][1:],
    ):  # fmt: skip
        with pytest.raises(DecodeError):
            codec.decode(replace(good, items=(item, *good.items[1:])))
    zeros = np.zeros((2**12, 96), np.uint8)  # unpack to more than their segment
    for item in (
        bytes([FILTERED]) + filtered_rows.encode(zeros, 1, 10**9),
        bytes([PLAIN]) + filtered_rows.pack(zeros.tobytes(), 1),
    ):
        with pytest.raises(DecodeError):
            codec.decode(replace(good, items=(item, *good.items[1:])))
    with pytest.raises((DamagedError, LimitError)):
        codec.decode(replace(good, config=good.config | {min(good.config, key=abs): 2**30}))
    with pytest.raises(LimitError):
        codec.decode(good, Limits(memory=100))


@noticed
def test_a_stored_segment_has_no_values_that_its_model_does_not_have():
    codec = VaeCodec(stored_model(BINARY))
    good = codec.encode(np.zeros((4, 8, 12), np.uint8))
    sevens = np.full((32, 12), 7, np.uint8)
    for item in (
        bytes([FILTERED]) + filtered_rows.encode(sevens, 1, 10**9),
        bytes([PLAIN]) + filtered_rows.pack(sevens.tobytes(), 1),
    ):
        with pytest.raises(DamagedError, match="values that its model does not have"):
            codec.decode(replace(good, items=(item,), config=good.config | {3: 1}, version=2, samples=None))


@given(st.integers(1, 40), st.integers(1, 9), st.sampled_from([2, 3, 16, 100, 256]), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_samples_come_back(count, width, levels, seed):
    rows = np.random.default_rng(seed).integers(0, levels, (count, width), dtype=np.uint8)
    rows[:, : width // 2] = 0
    samples = Samples(width, levels=levels)
    assert len(samples.packed(rows)) == samples.raw_bytes(rows.size)
    for payload in (samples.shorter(10**9, rows), bytes([RAW]) + samples.packed(rows)):
        np.testing.assert_array_equal(samples.restore(payload[0], payload[1:], count), rows)


def test_many_segments_that_save_nothing_become_few():
    images = noise(50, 8, 12)
    stored = shortest(Samples(12), [b"x" * 96] * 50, images, 1)
    assert stored.segment == 17 and len(stored.items) == stored.stored == 3


def test_the_command_says_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("inverted.npy", 255 - strokes(30))
    np.save("digits.npy", drawn(open_codec("vae-mnist"), 40))
    assert run(["compress", "inverted.npy", "--codec", "vae-mnist", "--json"]) == 0
    said = capsys.readouterr()
    (row,) = json.loads(said.out)
    assert "does not fit" in row["warnings"][0] and "warning: the model vae-mnist does not fit" in said.err
    assert run(["compress", "digits.npy", "--codec", "vae-mnist", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["warnings"] == [] and "does not fit" not in said.err
    assert run(["info", "inverted.obv"]) == 0
    assert "1 of 1 segments without the model" in capsys.readouterr().out
    assert run(["compress", "inverted.npy", "-o", "only.obv", "--codec", "vae-mnist", "--model-only"]) == 0
    assert (tmp_path / "only.obv").stat().st_size > 2 * (tmp_path / "inverted.obv").stat().st_size
