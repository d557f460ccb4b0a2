"""The pixel model of image-lossless: round trips, least squares, exactness, what adversarial bytes do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from obverse.codecs.image_lossless import context
from obverse.codecs.image_lossless.network import Networks, checked
from obverse.codecs.image_lossless.raster import RasterModel, worth_seeing
from obverse.errors import DamagedError, ExportError, MessageEmptyError, ModelError
from obverse.zoo import StoredModel, load_model
from tests.conftest import smooth_photo


@pytest.fixture(scope="module")
def model():
    return RasterModel.load(load_model("image-lossless"))


def picture(kind, channels, height, width, depth, seed):
    rng = np.random.default_rng(seed)
    top = (1 << depth) - 1
    shape = (channels, height, width)
    values = {
        "noise": lambda: rng.integers(0, top + 1, shape),
        "black": lambda: np.zeros(shape),
        "white": lambda: np.full(shape, top),
        "walk": lambda: np.cumsum(rng.integers(-3, 4, shape), axis=2) + top // 2,
        "extremes": lambda: rng.integers(0, 2, shape) * top,
        "ramp": lambda: np.broadcast_to(np.arange(width) * top // max(width - 1, 1), shape),
        "few": lambda: rng.choice(rng.integers(0, top + 1, 4), shape),
    }[kind]()
    return np.clip(values, 0, top).astype(np.uint8 if depth == 8 else np.uint16)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["noise", "black", "white", "walk", "extremes", "ramp", "few"]),
    st.sampled_from([(1, 8), (3, 8), (1, 16)]),
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 9),
)  # fmt: skip
def test_round_trip(model, kind, form, height, width, seed):
    channels, depth = form
    planes = picture(kind, channels, height, width, depth, seed)
    data = model.encode(planes, depth)
    back = model.decode(data, channels, height, width, depth)
    np.testing.assert_array_equal(back, planes)
    assert back.dtype == planes.dtype


def test_noise_on_a_smooth_picture_takes_little_more_than_its_entropy(model):
    y, x = np.mgrid[:120, :160]
    smooth = np.stack([128 + 80 * np.sin(x / (20 + 5 * c)) * np.cos(y / 31) for c in range(3)])
    noisy = np.clip(smooth + np.random.default_rng(0).normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
    entropy = math.log2(4 * math.sqrt(2 * math.pi * math.e))
    # the learned model expects the noise of colours to be alike, as in photos; here it is not
    for planes, excess in ((noisy[:1], 0.4), (noisy, 0.7)):
        bits = 8 * len(model.encode(planes)) / planes.size
        assert entropy - 0.05 < bits < entropy + excess


def test_flat_pictures_cost_next_to_nothing(model):
    assert len(model.encode(np.full((3, 200, 300), 77, np.uint8))) < 600


def test_gaps_in_the_histogram_are_learned(model):
    """Values that a picture never uses cost nothing in the long run: every fourth value saves two bits."""
    rng = np.random.default_rng(1)
    coarse = (
        np.clip(128 + np.cumsum(rng.integers(-8, 9, (1, 200, 200)), axis=2), 0, 255).astype(np.uint8) // 4 * 4
    )
    assert worth_seeing(coarse.astype(np.int32)) == 1
    fine = np.clip(coarse + rng.integers(0, 4, coarse.shape), 0, 255).astype(np.uint8)
    assert worth_seeing(fine.astype(np.int32)) == 0
    saved = 8 * (len(model.encode(fine)) - len(model.encode(coarse))) / coarse.size
    assert saved > 1.6


@pytest.mark.parametrize("spread", [lambda v: v << 4, lambda v: (v << 4) | (v >> 8), lambda v: v])
def test_twelve_bits_that_come_as_sixteen_cost_what_twelve_do(model, spread):
    rng = np.random.default_rng(3)
    twelve = np.clip(2000 + np.cumsum(rng.integers(-9, 10, (1, 60, 80)), axis=2), 0, 4095).astype(np.uint16)
    values = spread(twelve).astype(np.uint16)
    data = model.encode(values, 16)
    np.testing.assert_array_equal(model.decode(data, 1, 60, 80, 16), values)
    assert len(data) < 1.08 * len(model.encode(twelve, 16)) + 60


def test_few_colours_are_learned(model):
    """A picture whose colours come from 8-bit YCbCr takes what it had there, not what RGB could be."""
    rng = np.random.default_rng(2)
    y = np.clip(smooth_photo(150, 200, seed=1)[..., 0] + rng.normal(0, 6, (150, 200)), 16, 235)
    chroma = [np.full((150, 200), c) + np.round(rng.normal(0, 0.6, (150, 200))) for c in (120, 140)]
    ycc = np.stack([y, *chroma], axis=2).round().astype(np.uint8)
    planes = np.ascontiguousarray(_rgb(ycc).transpose(2, 0, 1))
    assert worth_seeing(planes[[1, 0, 2]].astype(np.int32)) & 6 == 6
    with_memory = len(model.encode(planes))
    noise = np.clip(planes.astype(int) + rng.integers(-1, 2, planes.shape), 0, 255).astype(np.uint8)
    assert with_memory < 0.8 * len(model.encode(noise))


def _rgb(ycc):
    y, cb, cr = (ycc[..., i].astype(float) - (0, 128, 128)[i] for i in range(3))
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2)
    return np.clip(rgb.round(), 0, 255).astype(np.uint8)


def test_least_squares_finds_a_linear_rule():
    """`solve` against NumPy, to the last bit of its rounded weights."""
    rng = np.random.default_rng(4)
    n = 12
    x = rng.integers(-50, 50, (400, n)).astype(float)
    t = x @ rng.normal(0, 0.4, n) + rng.normal(0, 1, 400)
    full = np.column_stack([x, t])
    equations = np.zeros((16, 16))
    equations[: n + 1, : n + 1] = full.T @ full
    weights = np.zeros((1, 16), np.int64)
    context.solve(equations, np.zeros(16), np.zeros(16), n, weights, 0)
    wanted = np.linalg.lstsq(x, t, rcond=None)[0]
    np.testing.assert_allclose(weights[0, :n] / 2**context.WEIGHT_BITS, wanted, atol=1e-4)


def test_the_solution_is_computed_without_fused_operations():
    """A fused multiply-add rounds once where two operations round twice: encoder and decoder might differ."""
    exact = context.solve.py_func
    rng = np.random.default_rng(5)
    for _ in range(20):
        x = rng.integers(-200, 200, (60, 19)).astype(float)
        equations = np.zeros((20, 20))
        equations[:19, :19] = x.T @ x + 300 * np.eye(19)
        compiled, plain = equations.copy(), equations.copy()
        weights, wanted = np.zeros((2, 1, 20), np.int64)
        solution, solved = np.zeros((2, 20))
        context.solve(compiled, np.zeros(20), solution, 18, weights, 0)
        exact(plain, np.zeros(20), solved, 18, wanted, 0)
        np.testing.assert_array_equal(solution, solved)  # to the last bit
        np.testing.assert_array_equal(weights, wanted)


@settings(deadline=None, max_examples=80)
@given(
    st.binary(max_size=200), st.sampled_from([(1, 8), (3, 8), (1, 16)]), st.integers(1, 9), st.integers(1, 9)
)
def test_any_bytes_are_decoded_or_refused(model, data, form, height, width):
    channels, depth = form
    try:
        planes = model.decode(data, channels, height, width, depth)
    except (DamagedError, MessageEmptyError):
        return
    assert planes.shape == (channels, height, width)


def test_damage_is_noticed_or_gives_other_pixels_but_never_fails(model):
    planes = picture("walk", 3, 20, 30, 8, 0)
    data = bytearray(model.encode(planes))
    for i in range(0, len(data), 7):
        broken = data.copy()
        broken[i] ^= 0x55
        try:
            back = model.decode(bytes(broken), 3, 20, 30)
        except (DamagedError, MessageEmptyError):
            continue
        assert back.shape == planes.shape


@pytest.mark.parametrize("data", [b"\x80", b"\x80\x80", b"\x80\x05abc"])
def test_a_cut_list_of_values_is_noticed(model, data):
    with pytest.raises(DamagedError, match="list of values"):
        model.decode(data, 1, 4, 4, 16)


def test_a_cut_message_is_noticed(model):
    planes = picture("noise", 1, 30, 30, 8, 0)
    data = model.encode(planes)
    for length in (0, 1, 5, len(data) // 2):
        with pytest.raises((DamagedError, MessageEmptyError)):
            model.decode(data[:length], 1, 30, 30)


def test_networks_that_could_leave_the_exact_range_are_refused(model):
    grown = model.networks._replace(two=model.networks.two * np.float32(300))
    with pytest.raises(ExportError, match="2\\*\\*24"):
        checked(Networks(*grown))


def test_the_bound_is_not_rounded_down(model):
    """A sum of 2**24 - 1 is the last one that is let through."""
    networks = Networks(*(np.zeros_like(a) for a in model.networks))
    rows = networks.two.shape[1]
    networks.two[0, :, 0] = (2**24 - 1) // 255 // rows
    networks.two_bias[0, 0] = 2**24 - 1 - 255 * float(networks.two[0, :, 0].sum(dtype=np.float64))
    assert checked(networks) is networks
    networks.two_bias[0, 0] += 1
    with pytest.raises(ExportError, match="2\\*\\*24"):
        checked(networks)


@pytest.mark.parametrize("name", Networks._fields)
def test_weights_that_are_no_integers_are_refused(model, name):
    """Nothing is proven of their sums, so another machine could decode other pixels."""
    state = model.state() | {name: model.state()[name] + np.float32(0.25)}
    with pytest.raises(ModelError, match="no integers"):
        RasterModel.load(StoredModel("x", save(state), {}, b""))


def test_weights_of_any_size_survive_storing(model):
    networks = model.networks._replace(one=np.asfortranarray(model.networks.one))  # in any order, too
    networks.one[0, 0, 0] = 40_000
    stored = StoredModel("x", save(RasterModel(networks).state()), {}, b"")
    for kept, loaded in zip(networks, RasterModel.load(stored).networks, strict=True):
        np.testing.assert_array_equal(kept, loaded)


def test_other_models_are_refused():
    with pytest.raises(ModelError, match="image-lossless"):
        RasterModel.load(load_model("image"))
    with pytest.raises(ModelError):
        RasterModel.load(StoredModel("x", b"nothing", {}, b""))
