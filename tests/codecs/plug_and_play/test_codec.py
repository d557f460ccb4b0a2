"""PlugAndPlayCodec: what comes back, what it weighs, and what is refused."""

import io
import json
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from obverse.codec import decoded_file
from obverse.codecs.plug_and_play import interpreter
from obverse.codecs.plug_and_play.codec import AXIS, RUNG, SIZE, PlugAndPlayCodec, image_batch
from obverse.codecs.plug_and_play.export import exported
from obverse.codecs.plug_and_play.fit import METHODS, build_model, fit, posterior_of, save_model
from obverse.codecs.plug_and_play.generative_model import of_module
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.codecs.plug_and_play.rate_ladder import pack_ladder
from obverse.container import Container, Limits, read, write
from obverse.data.conversion import ConversionWarning
from obverse.errors import (
    DamagedError,
    InputError,
    LimitError,
    ModelError,
    ObverseError,
    OutputError,
    UnsupportedInputError,
)
from obverse.zoo import StoredModel, load_model_from
from tests.codecs.plug_and_play.models import Blocks, Linear
from tests.conftest import smooth_photo

ALONE = PlugAndPlayCodec()


def posterior(seed: int = 0, shape: tuple[int, ...] = (300, 8)) -> Posterior:
    rng = np.random.default_rng(seed)
    std = np.exp(rng.normal(-2, 1, shape))
    return Posterior.of(rng.standard_t(5, shape), std)


def excess(z: np.ndarray, p: Posterior) -> float:
    return float(np.square((z - p.mean) / p.std).mean() / 2)


def busy_and_calm(seed: int, count: int) -> Posterior:
    """Items that are busy in all 6 dimensions, or calm in all."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 1, (count, 6)) * np.where(rng.random((count, 1)) < 0.3, 3, 0.02)
    return Posterior.of(mean, np.full(mean.shape, 0.2))


# -- without a model ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_round_trip_with_tables_in_the_file(method, axis):
    p = posterior()
    container = ALONE.encode(p, ALONE.options(lmbda=0.5, method=method, axis=axis, metadata={"run": 7}))
    again = read(write(container))
    z = ALONE.decode(again)
    assert z.dtype == np.float32 and z.shape == p.shape
    assert again.metadata == {"run": 7} and again.model is None
    np.testing.assert_array_equal(z, ALONE.decode(again))
    # a table for each of 300 rows costs so much that zeros are the best buy
    assert excess(z, p) < 4 or (method == "vbq" and axis == 0)


@given(
    st.integers(0, 1000),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.sampled_from([1e-6, 0.1, 3.0, 1e6]),
    st.sampled_from(METHODS),
)
@settings(max_examples=30, deadline=None)
def test_any_shape_comes_back_in_that_shape(seed, shape, lmbda, method):
    p = posterior(seed, tuple(shape))
    axis = seed % len(shape)
    try:
        container = ALONE.encode(p, ALONE.options(lmbda=lmbda, method=method, axis=axis))
    except InputError as error:
        assert "too small" in str(error)
        return
    assert ALONE.decode(read(write(container))).shape == p.shape


def test_files_shrink_and_errors_grow_with_lmbda():
    p = posterior(shape=(3000, 8))
    files = [write(ALONE.encode(p, ALONE.options(lmbda=lmbda))) for lmbda in (0.01, 0.1, 1.0, 10.0, 100.0)]
    sizes, errors = [len(f) for f in files], [excess(ALONE.decode(read(f)), p) for f in files]
    assert sizes == sorted(sizes, reverse=True) and errors == sorted(errors)
    assert errors[0] < 0.02


def test_vbq_beats_uniform_where_certainty_differs():
    p = posterior(shape=(4000, 8))
    for lmbda in (1.0, 5.0):
        ours = write(ALONE.encode(p, ALONE.options(lmbda=lmbda)))
        e = excess(ALONE.decode(read(ours)), p)
        # the uniform file with the same error, by bisection of its lmbda
        low, high = 1e-4, 10.0
        for _ in range(15):
            middle = (low * high) ** 0.5
            theirs = write(ALONE.encode(p, ALONE.options(lmbda=middle, method="uniform")))
            low, high = (middle, high) if excess(ALONE.decode(read(theirs)), p) < e else (low, middle)
        assert len(ours) < 0.9 * len(theirs)


def test_the_posterior_may_be_a_pair_a_mapping_or_itself():
    p = posterior()
    files = [write(ALONE.encode(data)) for data in (p, (p.mean, p.std), {"mean": p.mean, "std": p.std})]
    assert files[0] == files[1] == files[2]


def test_files_of_the_command_line():
    buffer = io.BytesIO()
    p = posterior()
    np.savez(buffer, mean=p.mean, std=p.std)
    loaded = ALONE.kind.load(io.BytesIO(buffer.getvalue()))
    np.testing.assert_array_equal(loaded["mean"], p.mean)
    container = ALONE.encode(loaded)
    saved = np.load(io.BytesIO(decoded_file(ALONE, container, "z.npy")))
    np.testing.assert_array_equal(saved, ALONE.decode(container))
    with pytest.raises(OutputError, match=r"\.npy"):
        decoded_file(ALONE, container, "z.png")


@pytest.mark.parametrize("lmbda", [0, -2.0, float("nan"), float("inf"), "2"])
def test_no_price_is_refused(lmbda):
    with pytest.raises(InputError, match="lmbda"):
        ALONE.encode(posterior(), ALONE.options(lmbda=lmbda))
    with pytest.raises(InputError, match="lmbda"):
        PlugAndPlayCodec(model_of_posterior()).encode(posterior(), PlugAndPlayCodec.options(lmbda=lmbda))


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ((np.zeros(3), np.zeros(3)), {}, "zero or negative"),
        ((np.zeros(3), np.full(3, np.nan)), {}, "NaN"),
        ({"mean": np.zeros(3)}, {}, "mean and std"),
        (np.zeros((3, 4)), {}, "only posteriors"),
        ((np.zeros((1,) * 9), np.ones((1,) * 9)), {}, "at most 8 axes"),
        (posterior(), {"method": "best"}, "method must be one of vbq"),
        (posterior(), {"prior": "flat"}, "prior"),
        (posterior(), {"depth": 40}, "depth must be"),
        (posterior(), {"axis": 2}, "no axis"),
        (posterior(), {"axis": True}, "axis must be"),
    ],
)
def test_bad_input_is_refused(data, options, words):
    with pytest.raises(InputError, match=words):
        ALONE.encode(data, ALONE.options(**options))


# -- with a model -------------------------------------------------------------------------------------------------


def model_of_posterior() -> StoredModel:
    p = posterior(9, (2000, 8))
    return build_model(fit(p, 1, [0.1, 1.0, 10.0], depth=9), p.shape, axis=1)


def test_a_model_takes_the_tables_out_of_the_file():
    p = posterior(1, (400, 8))
    codec = PlugAndPlayCodec(model_of_posterior())
    with_model = codec.encode(p, codec.options(lmbda=0.7))
    assert with_model.model == codec.fingerprint and set(with_model.sections) == {"symbols"}
    blob = write(with_model)
    assert len(blob) < len(write(ALONE.encode(p, ALONE.options(lmbda=0.7, axis=1))))
    assert excess(codec.decode(read(blob)), p) < 3


def test_between_two_rungs_lmbda_still_counts():
    p = posterior(1, (2000, 8))
    codec = PlugAndPlayCodec(model_of_posterior())
    a, b = codec.encode(p, codec.options(lmbda=0.8)), codec.encode(p, codec.options(lmbda=2.0))
    assert a.config == b.config == {RUNG: 1}
    assert len(a.sections["symbols"]) > len(b.sections["symbols"])


def test_a_model_is_for_latents_of_its_shape():
    codec = PlugAndPlayCodec(model_of_posterior())
    with pytest.raises(UnsupportedInputError, match=r"\(any, 8\), not \(5, 7\)"):
        codec.encode(posterior(0, (5, 7)))
    with pytest.raises(UnsupportedInputError, match="no networks"):
        codec.encode(np.zeros((5, 8)))
    with pytest.raises(InputError, match="when it is fitted"):
        codec.encode(posterior(), codec.options(method="uniform"))


@pytest.fixture(scope="module")
def linear_model(tmp_path_factory) -> StoredModel:
    module = Linear()
    x = np.random.default_rng(0).normal(size=(3000, 6)).astype(np.float32)
    p = posterior_of(of_module(module).posterior, iter([x]))
    built = build_model(fit(p, 1), p.shape, axis=1, networks=exported(module, x[:4]))
    out = tmp_path_factory.mktemp("models") / "linear"
    stored = save_model(built, out)
    assert load_model_from(out) == stored and stored.fingerprint == built.fingerprint
    return stored


def test_data_goes_through_the_networks(linear_model):
    codec = PlugAndPlayCodec(linear_model)
    x = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32)
    # what four of six dimensions can hold: the ceiling of the model
    ceiling = np.square(of_module(Linear()).decode(of_module(Linear()).encode(x)[0]) - x).mean()
    errors, sizes = [], []
    for lmbda in (0.02, 0.5, 8.0):
        blob = write(codec.encode(x, codec.options(lmbda=lmbda)))
        y = codec.decode(read(blob))
        assert y.shape == x.shape and y.dtype == np.float32
        errors.append(np.square(y - x).mean())
        sizes.append(len(blob))
    assert sizes == sorted(sizes, reverse=True) and errors == sorted(errors)
    assert ceiling <= errors[0] < ceiling * 1.01 + 1e-3
    latents = codec.latents(codec.encode(x))
    assert latents.shape == (500, 4)


def test_another_process_reads_the_same(linear_model, tmp_path):
    codec = PlugAndPlayCodec(linear_model)
    x = np.random.default_rng(2).normal(size=(40, 6)).astype(np.float32)
    p = posterior(3)
    (tmp_path / "x.obv").write_bytes(write(codec.encode(x, codec.options(lmbda=0.3))))
    (tmp_path / "p.obv").write_bytes(write(ALONE.encode(p, ALONE.options(lmbda=0.3, prior="normal"))))
    save_model(linear_model, tmp_path / "model")
    code = """
import sys, numpy as np
from pathlib import Path
from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.container import read
from obverse.zoo import load_model_from
codec = PlugAndPlayCodec(load_model_from(Path("model")))
np.savez("there.npz", z=codec.latents(read(Path("x.obv"))), x=codec.decode(read(Path("x.obv"))),
         p=PlugAndPlayCodec().decode(read(Path("p.obv"))))
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True)
    with np.load(tmp_path / "there.npz") as there:
        np.testing.assert_array_equal(there["z"], codec.latents(codec.encode(x, codec.options(lmbda=0.3))))
        np.testing.assert_allclose(
            there["x"], codec.decode(codec.encode(x, codec.options(lmbda=0.3))), atol=1e-5
        )
        np.testing.assert_array_equal(
            there["p"], ALONE.decode(ALONE.encode(p, ALONE.options(lmbda=0.3, prior="normal")))
        )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.full((2, 6), np.nan), "NaN"),
        (np.zeros((0, 6)), "nothing to code"),
        (np.zeros((2, 9)), "cannot be run"),
        ("text", "no array"),
        (posterior(0, (5, 3)), r"\(any, 4\)"),
    ],
)
def test_data_that_the_networks_cannot_take(linear_model, data, words):
    with pytest.raises(InputError, match=words):
        PlugAndPlayCodec(linear_model).encode(data)


# -- images -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image_codec() -> PlugAndPlayCodec:
    module = Blocks()
    images = [image_batch(smooth_photo(60, 84, seed), 3, 4) for seed in range(3)]
    p = posterior_of(of_module(module).posterior, iter(images))
    networks = exported(module, images[0])
    return PlugAndPlayCodec(build_model(fit(p, 1), p.shape, axis=1, networks=networks, images=3, multiple=4))


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (64, 36), (61, 83)])
def test_images_of_any_size_come_back(image_codec, size):
    photo = smooth_photo(*size, seed=9)
    container = read(write(image_codec.encode(photo, image_codec.options(lmbda=0.05))))
    back = image_codec.decode(container)
    assert back.shape == photo.shape and back.dtype == np.uint8
    assert np.square(back.astype(float) - photo).mean() < 20
    png = Image.open(io.BytesIO(decoded_file(image_codec, container, "a.png")))
    np.testing.assert_array_equal(np.asarray(png), back)


def test_gray_images_become_colour_and_alpha_is_refused(image_codec):
    gray = smooth_photo(20, 20, channels=1)
    assert image_codec.decode(image_codec.encode(gray)).shape == (20, 20, 3)
    with pytest.raises(UnsupportedInputError, match="alpha"):
        image_codec.encode(np.dstack([smooth_photo(20, 20), gray]))
    with pytest.raises(UnsupportedInputError, match="grayscale"):
        image_batch(smooth_photo(20, 20), 1, 4)


def test_a_colour_profile_is_not_lost_in_silence(image_codec, tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(smooth_photo(20, 20)).save(tmp_path / "a.png", icc_profile=profile)
    with pytest.warns(ConversionWarning, match="profile"):
        image_codec.encode(image_codec.kind.load(tmp_path / "a.png"))


def test_a_file_of_another_image_size_is_damage(image_codec):
    container = image_codec.encode(smooth_photo(40, 40))
    for size in ([4000, 4000], [44, 40], [0, 40], [40], "4", [40, 2**40], [3, 3]):
        changed = Container(
            container.codec,
            container.config | {SIZE: size},
            container.shape,
            container.sections,
            container.model,
        )
        with pytest.raises((DamagedError, LimitError)):
            image_codec.decode(changed)


# -- damage -------------------------------------------------------------------------------------------------------


def test_every_change_of_a_header_is_told():
    container = ALONE.encode(posterior(), ALONE.options(axis=1))
    sections, config, shape = container.sections, container.config, container.shape
    two = pack_ladder(fit(posterior(), 1, [0.1, 1.0]))
    raw = zlib.decompress(sections["model"])
    for made in (
        Container(ALONE.id, {}, shape, sections),
        Container(ALONE.id, {AXIS: 2}, shape, sections),
        Container(ALONE.id, {AXIS: -2}, shape, sections),
        Container(ALONE.id, {AXIS: -1}, shape, sections),
        Container(ALONE.id, {AXIS: 1.0}, shape, sections),
        Container(ALONE.id, {AXIS: 1, RUNG: 0}, shape, sections),
        Container(ALONE.id, config, (), sections),
        Container(ALONE.id, config, (0, 8), sections),
        Container(ALONE.id, config, (300, 7), sections),
        Container(ALONE.id, config, (299, 8), sections),
        Container(ALONE.id, config, (301, 8), sections),
        Container(ALONE.id, config, shape, {"symbols": sections["symbols"]}),
        Container(ALONE.id, config, shape, sections | {"more": b""}),
        Container(ALONE.id, config, shape, sections | {"model": b""}),
        Container(ALONE.id, config, shape, sections | {"model": two}),
        *(
            Container(ALONE.id, config, shape, sections | {"model": zlib.compress(raw[:n])})
            for n in (10, 20, 30, 99, -1)
        ),
        *(
            Container(
                ALONE.id,
                config,
                shape,
                sections | {"model": zlib.compress(raw[:i] + b"\xff\xff\xff\x7f" + raw[i + 4 :])},
            )
            for i in range(0, 24, 4)
        ),
        Container(ALONE.id, config, shape, sections | {"symbols": b""}),
        Container(ALONE.id, config, shape, sections | {"symbols": sections["symbols"] + b"1234"}),
        Container(ALONE.id, config, shape, {}, None, {}, (b"",)),
    ):
        with pytest.raises(DamagedError):
            ALONE.decode(made)


def test_huge_claims_are_refused_before_memory_is_taken():
    container = ALONE.encode(posterior())
    for shape in ((2**40, 8), (2**28, 8), (2**60,)):
        with pytest.raises(LimitError):
            ALONE.decode(Container(ALONE.id, container.config, shape, container.sections))


def test_tables_are_held_to_the_memory_that_there_may_be():
    """Those in a file and those of a stored model, one for each context of each group."""
    calm = busy_and_calm(0, 4000)
    with_contexts = PlugAndPlayCodec(build_model(fit(calm, 1, [0.5]), calm.shape, axis=1))
    plug = with_contexts.plug
    assert plug is not None and plug.rungs[0].tables.contexts.count == 8
    of_file = ALONE.encode(posterior(), ALONE.options(axis=1, prior="normal", depth=9))
    with_model = PlugAndPlayCodec(model_of_posterior())
    for codec, container, tables in (
        (ALONE, of_file, 8),
        (with_model, with_model.encode(posterior()), 8),
        (with_contexts, with_contexts.encode(busy_and_calm(1, 100)), 6 * 8),
    ):
        with pytest.raises(LimitError, match="memory="):
            codec.decode(container, Limits(memory=tables * 2**13))
        points = tables * 24 * 2**12
        assert codec.decode(container, Limits(memory=tables * 2**14 + points)).shape == container.shape


class Spread(torch.nn.Module):
    """Its decode makes 2000 numbers of every four."""

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, :4], torch.ones_like(x[:, :4])

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z.repeat(1, 500)


def test_what_all_batches_decode_to_is_held_to_the_memory_that_there_may_be():
    """A batch takes little; many of them do not."""
    networks = exported(Spread(), np.zeros((4, 2000), np.float32))
    p = posterior(9, (1000, 4))
    codec = PlugAndPlayCodec(build_model(fit(p, 1, [1.0]), p.shape, axis=1, networks=networks))
    container = codec.encode(p)
    decoded = 1000 * 2000 * 4
    with pytest.raises(LimitError, match="bytes of memory"):
        codec.decode(container, Limits(memory=2 * decoded))
    assert codec.decode(container, Limits(memory=2 * decoded + 2**21)).shape == (1000, 2000)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_any_symbols_end_in_a_result_or_an_error_of_ours(seed):
    rng = np.random.default_rng(seed)
    container = ALONE.encode(posterior(shape=(20, 8)), ALONE.options(method=METHODS[seed % 4]))
    symbols = bytearray(container.sections["symbols"])
    for _ in range(3):
        symbols[rng.integers(len(symbols))] ^= int(rng.integers(1, 256))
    try:
        z = ALONE.decode(
            Container(ALONE.id, container.config, (20, 8), container.sections | {"symbols": bytes(symbols)})
        )
    except ObverseError:
        return
    assert z.shape == (20, 8) and np.isfinite(z).all()


@pytest.mark.parametrize(
    "change",
    [
        {"data": "video"}, {"latents": None}, {"latents": [None, 7]}, {"axis": 5}, {"axis": None}, {"multiple": 0},
        {"multiple": "4"}, {"channels": 2}, {"data": "array"},
        {"grid": 3}, {"grid": None}, {"grid": "x" * 10**6}, {"lmbdas": []}, {"lmbdas": None}, {"lmbdas": [-1.0]},
        {"lmbdas": [float("nan")]}, {"lmbdas": [2.0, 1.0]}, {"lmbdas": [1e300] * 10**6},
    ],
)  # fmt: skip
def test_a_damaged_model_is_told(change):
    good = model_of_posterior()
    bad = StoredModel("bad", good.weights, good.config | change, good.fingerprint)
    with pytest.raises(ModelError, match="damaged"):
        PlugAndPlayCodec(bad).encode(posterior())
    with pytest.raises(ModelError, match="damaged"):
        PlugAndPlayCodec(StoredModel("bad", good.weights[:-9], good.config, good.fingerprint)).encode(
            posterior()
        )


def test_the_configuration_is_plain_json():
    good = model_of_posterior()
    assert json.loads(json.dumps(good.config)) == good.config
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PlugAndPlayCodec(good).encode(posterior())


# -- contexts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_round_trip_with_contexts(method):
    fitted = busy_and_calm(0, 4000)
    ladder = fit(fitted, 1, [0.5], method)
    assert ladder.rungs[0].tables.contexts.count == 8
    codec = PlugAndPlayCodec(build_model(ladder, fitted.shape, axis=1))
    p = busy_and_calm(1, 700)
    container = codec.encode(p, codec.options(lmbda=0.5))
    symbols = ladder.rungs[0].quantise(p.grouped(1))
    z = codec.decode(read(write(container)))
    np.testing.assert_array_equal(z, ladder.rungs[0].grid.dequantise(symbols).reshape(p.shape))
    ideal = ladder.rungs[0].tables.bits(symbols).sum() / 8
    assert abs(len(container.sections["symbols"]) - ideal) < 0.01 * ideal + 16


@given(st.integers(0, 10_000), st.binary(max_size=40))
@settings(max_examples=40, deadline=None)
def test_damaged_latents_with_contexts_are_told(seed, junk):
    codec = PlugAndPlayCodec(CONTEXTS)
    container = codec.encode(busy_and_calm(2, 60))
    raw = bytearray(container.sections["symbols"])
    rng = np.random.default_rng(seed)
    raw[int(rng.integers(len(raw)))] ^= int(rng.integers(1, 256))
    data = bytes(raw[: int(rng.integers(1, len(raw) + 1))]) + junk
    changed = Container(
        container.codec, container.config, container.shape, {"symbols": data}, container.model, {}
    )
    try:
        z = codec.decode(changed)
    except DamagedError:
        return
    assert z.shape == (60, 6)


CONTEXTS = build_model(fit(busy_and_calm(0, 4000), 1, [1.0]), (4000, 6), axis=1)


def test_work_is_that_of_all_batches_together(monkeypatch):
    """Each is within what a network may take; together they are not."""
    networks = exported(Spread(), np.zeros((4, 2000), np.float32))
    p = posterior(9, (1000, 4))
    codec = PlugAndPlayCodec(build_model(fit(p, 1, [1.0]), p.shape, axis=1, networks=networks))
    container = codec.encode(p)
    needs = [codec.plug.networks.decode.needs((count, 4)).work for count in (64, 1000 % 64)]
    total = 1000 // 64 * needs[0] + needs[1]
    monkeypatch.setattr(interpreter, "WORK", 0)
    monkeypatch.setattr(interpreter, "BASE_WORK", total)
    assert codec.decode(container).shape == (1000, 2000)
    monkeypatch.setattr(interpreter, "BASE_WORK", total - 1)
    with pytest.raises(ModelError, match="multiplications"):
        codec.decode(container)
