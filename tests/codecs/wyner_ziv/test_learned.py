"""The learned Wyner-Ziv codec: what the sender writes without y, a receiver with y reads; all else is an error."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from obverse.codecs.wyner_ziv.export_learned import train_model
from obverse.codecs.wyner_ziv.index import IndexModel, Match
from obverse.codecs.wyner_ziv.learned import WynerZivCodec
from obverse.codecs.wyner_ziv.recipe import WynerZivRecipe
from obverse.container import Container, Limits, read, write
from obverse.errors import (
    DamagedError,
    InputError,
    LimitError,
    ModelError,
    ObverseError,
    SideInformationError,
    UnrecoverableBlockError,
    UnsupportedInputError,
)
from obverse.zoo import StoredModel, load_model_from

QUICK = WynerZivRecipe(
    steps=300, nested_steps=200, refit_steps=60, refit_batch=1024, batch=256, hidden=32, features=32
)


def gaussian_pairs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return y + math.sqrt(0.1) * rng.normal(size=n), y


def trained(folder, x, y, **changes) -> WynerZivCodec:
    train_model(x, y, folder, replace(QUICK, **changes, block=4096, lists=8))
    return WynerZivCodec(load_model_from(folder))


@pytest.fixture(scope="module")
def marginal(tmp_path_factory) -> WynerZivCodec:
    return trained(
        tmp_path_factory.mktemp("m") / "marginal", *gaussian_pairs(40_000, 1), objective="marginal", indices=4
    )


@pytest.fixture(scope="module")
def conditional(tmp_path_factory) -> WynerZivCodec:
    return trained(
        tmp_path_factory.mktemp("c") / "conditional", *gaussian_pairs(40_000, 1), indices=8, lmbda=30.0
    )


def error_of(codec: WynerZivCodec, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean((codec.decode(read(write(codec.encode(x))), side_info=y) - x) ** 2))


def test_marginal_files_are_near_the_best_scalar_design(marginal):
    x, y = gaussian_pairs(30_000, 2)
    bits = len(write(marginal.encode(x))) * 8 / len(x)
    assert bits < 2.05
    assert error_of(marginal, x, y) == pytest.approx(0.0244, rel=0.15)  # point-to-point, 2 bits leave 0.129


def test_conditional_files_beat_coding_without_side_information(conditional):
    x, y = gaussian_pairs(32_768, 2)
    bits = len(write(conditional.encode(x))) * 8 / len(x)
    error = error_of(conditional, x, y)
    limit = 0.5 * math.log2(0.1 / error)
    assert limit < bits < limit + 0.65  # blocks of 4,096; experiments/ has the real figures
    assert bits < 0.5 * math.log2(1.1 / error)  # R_X(D)


@pytest.mark.parametrize("n", [1, 2, 5, 1023, 1024, 4097, 9000])
def test_every_length_comes_back(marginal, conditional, n):
    for codec in (marginal, conditional):
        x, y = gaussian_pairs(n, 10 + n)
        again = codec.decode(read(write(codec.encode(x))), side_info=y)
        assert again.shape == x.shape
        assert np.median(np.abs(again - x)) < 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(300,), (300, 1)])
def test_type_and_shape_come_back(marginal, dtype, shape):
    x, y = gaussian_pairs(300, 3)
    again = marginal.decode(marginal.encode(x.reshape(shape).astype(dtype)), side_info=y)
    assert again.dtype == dtype and again.shape == shape


def test_a_file_is_the_same_every_time_and_its_indices_come_back(marginal, conditional):
    x, y = gaussian_pairs(5000, 4)
    for codec in (marginal, conditional):
        container = codec.encode(x)
        assert write(codec.encode(x)) == write(container)
        columns = y[:, None]
        assert (codec._indices(container.sections["u"], columns) == codec.indices_of(x)).all()


def test_unrelated_side_information_is_an_error(marginal, conditional):
    x, _ = gaussian_pairs(8192, 5)
    _, other = gaussian_pairs(8192, 6)
    with pytest.raises(SideInformationError, match="does not belong"):
        marginal.decode(marginal.encode(x), side_info=other)
    with pytest.raises(UnrecoverableBlockError, match="block 0"):
        conditional.decode(conditional.encode(x), side_info=other)


def test_much_noisier_side_information_is_an_error_and_slightly_noisier_is_not(marginal, conditional):
    x, y = gaussian_pairs(8192, 7)
    noise = np.random.default_rng(8).normal(size=x.size)
    assert np.mean((marginal.decode(marginal.encode(x), side_info=y + 0.02 * noise) - x) ** 2) < 0.03
    with pytest.raises(SideInformationError):
        marginal.decode(marginal.encode(x), side_info=y + 1.5 * noise)
    with pytest.raises(UnrecoverableBlockError):
        conditional.decode(conditional.encode(x), side_info=y + noise)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        np.zeros(99),
        np.zeros(101),
        np.zeros((100, 2)),
        np.zeros((100, 1, 1)),
        np.full(100, np.nan),
        np.full(100, 1e6),
        np.array(["y"] * 100),
        np.zeros(100, complex),
        np.zeros(0),
    ],
    ids=lambda w: "none" if w is None else f"{w.dtype}{w.shape}",
)
def test_side_information_of_another_kind_is_refused(marginal, conditional, wrong):
    x, _ = gaussian_pairs(100, 9)
    for codec in (marginal, conditional):
        with pytest.raises(SideInformationError):
            codec.decode(codec.encode(x), side_info=wrong)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (np.zeros(0), InputError),
        (np.array([1.0, np.nan]), InputError),
        (np.array([np.inf]), InputError),
        (np.array([1e9]), InputError),
        (np.zeros((5, 2)), UnsupportedInputError),
        (np.zeros((5, 1, 1)), UnsupportedInputError),
        (np.zeros(5, complex), UnsupportedInputError),
        (np.array(["a"]), UnsupportedInputError),
        (np.array(None), UnsupportedInputError),
    ],
)
def test_what_cannot_be_coded_is_refused(marginal, data, error):
    with pytest.raises(error):
        marginal.encode(data)


def test_whole_numbers_are_coded_as_numbers(marginal):
    x = np.array([0, 1, -1, 2])
    assert np.abs(marginal.decode(marginal.encode(x), side_info=x.astype(float)) - x).max() < 1


def test_damage_is_noticed_or_harmless(marginal, conditional):
    x, y = gaussian_pairs(3000, 11)
    for codec in (marginal, conditional):
        good = codec.encode(x)
        rng = np.random.default_rng(12)
        for _ in range(60):
            raw = bytearray(good.sections["u"])
            raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
            with suppress(ObverseError):  # never another kind of error
                codec.decode(replace(good, sections={"u": bytes(raw)}), side_info=y)
        for cut in (0, 1, 4, len(good.sections["u"]) // 2):
            with pytest.raises(ObverseError):
                codec.decode(replace(good, sections={"u": good.sections["u"][:cut]}), side_info=y)


@pytest.mark.parametrize(
    "change",
    [
        {"config": {}},
        {"config": {0: 2}},
        {"config": {0: True}},
        {"config": {0: 0, 1: 0}},
        {"shape": ()},
        {"shape": (0,)},
        {"shape": (50, 2)},
        {"shape": (50, 1, 1)},
        {"sections": {}},
        {"sections": {"v": b""}},
        {"items": (b"",)},
    ],
    ids=str,
)
def test_a_header_of_another_kind_is_damage(marginal, change):
    x, y = gaussian_pairs(50, 13)
    with pytest.raises(DamagedError):
        marginal.decode(replace(marginal.encode(x), **change), side_info=y)


def test_a_hostile_length_is_refused_before_anything_is_allocated(marginal):
    container = Container(marginal.id, {0: 0}, (2**50,), {"u": b""}, marginal.fingerprint)
    with pytest.raises(LimitError):
        marginal.decode(container, side_info=np.zeros(10))
    with pytest.raises(SideInformationError):  # whatever the limits say, y is as long as x
        marginal.decode(container, side_info=np.zeros(10), limits=Limits.unlimited())


def test_vectors_of_a_nonlinear_source(tmp_path):
    rng = np.random.default_rng(14)
    y = rng.uniform(-2, 2, size=(30_000, 2))
    x = np.stack([np.sin(2 * y[:, 0]), y[:, 0] * y[:, 1]], axis=1) + 0.2 * rng.normal(size=(30_000, 2))
    codec = trained(
        tmp_path / "vectors", x[:25_000], y[:25_000], objective="marginal", indices=16, lmbda=60.0
    )
    again = codec.decode(codec.encode(x[25_000:]), side_info=y[25_000:])
    assert again.shape == (5000, 2)
    assert np.mean((again - x[25_000:]) ** 2) < 0.6 * 0.04  # the noise that y leaves
    with pytest.raises(UnsupportedInputError):
        codec.encode(x[:, 0])


def test_discrete_side_information(tmp_path):
    rng = np.random.default_rng(15)
    y = rng.integers(4, size=20_000)
    x = np.array([0.0, 3.0, 1.0, 7.0])[y] + 0.3 * rng.normal(size=y.size)
    codec = trained(tmp_path / "labels", x, y, objective="marginal", indices=4, steps=200)
    assert np.mean((codec.decode(codec.encode(x[:5000]), side_info=y[:5000]) - x[:5000]) ** 2) < 0.4 * 0.09
    with pytest.raises(SideInformationError, match="value 4"):
        codec.decode(codec.encode(x[:3]), side_info=np.array([0, 1, 4]))


def test_models_that_are_damaged_are_refused(marginal):
    stored = marginal.model

    def opened(**config) -> WynerZivCodec:
        return WynerZivCodec(StoredModel("broken", stored.weights, stored.config | config, b"\0" * 8))

    for config in (
        {"index_model": None},
        {"index_model": {}},
        {"index_model": stored.config["index_model"] | {"low": []}},
        {"index_model": stored.config["index_model"] | {"side": {"columns": 3}}},
        {"sizes": {}},
        {"sizes": stored.config["sizes"] | {"indices": 5}},
        {"sizes": stored.config["sizes"] | {"hidden": 8}},
    ):
        with pytest.raises(ModelError):
            opened(**config).encode(np.zeros(3))
    with pytest.raises(ModelError):
        WynerZivCodec(StoredModel("broken", stored.weights[:99], stored.config, b"\0" * 8)).encode(
            np.zeros(3)
        )


def test_index_model_round_trip(marginal):
    model = marginal.index_model
    assert IndexModel.from_dict(model.as_dict()) == model


def test_match_needs_evidence():
    match = Match(mean=-1.0, deviation=1.0, unrelated=-3.0)
    assert not match.refuses(-4.0, 1)  # one sample proves nothing
    assert match.refuses(-2.5, 1000)
    assert not match.refuses(-1.5, 10**6)  # a little worse than in training is not another source
