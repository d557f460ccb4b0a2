"""The exact flow: an inverse for every image, ranges that hold, and the same integers everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.flow.exact_networks import (
    ExactIntegerFlow,
    bc_range,
    coarse_range,
    d_range,
    kept_range,
)
from obverse.errors import DamagedError, ExportError
from tests.codecs.flow.models import CONFIG, exact_flow, hard_images, some_images
from tests.conftest import torch_setting

LEVELS = CONFIG.levels


def replay(flow, images, batch=16):
    """Run with the values of `forward`: the image that comes out, and all mixtures."""
    values = iter(flow(images, batch))
    noted = []

    def coder(mixtures):
        symbols = next(values)
        noted.append((symbols, mixtures))
        return symbols

    return flow.run(len(images), 32, coder, batch), noted


@pytest.mark.parametrize("strength", [0.0, 0.3, 5.0])
def test_inverse_of_hard_images(strength):
    """At strength 5 the couplings are noise that lies at its bounds."""
    images = hard_images()
    decoded, noted = replay(exact_flow(1, strength), images)
    assert np.array_equal(decoded, images)
    for symbols, mixtures in noted:
        assert mixtures.low <= symbols.min() <= symbols.max() <= mixtures.high
        assert np.isfinite(mixtures.bits(symbols)).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 20, 256]), st.booleans())
def test_inverse_of_noise(seed, levels, gray):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, levels, (2, 32, 32, 1 if gray else 3)) * (255 // (levels - 1))
    images = np.ascontiguousarray(np.broadcast_to(images, (2, 32, 32, 3)).astype(np.uint8))
    decoded, _ = replay(exact_flow(2), images)
    assert np.array_equal(decoded, images)


def test_bounds_are_reached_but_not_passed():
    """With wild couplings values come close to the proven ranges, so the proof is not idle."""
    _, noted = replay(exact_flow(1, 5.0), hard_images())
    used = max(np.abs(symbols).max() / mixtures.high for symbols, mixtures in noted)
    assert 0.8 < used <= 1


def test_ranges_follow_from_the_bounds():
    assert coarse_range(0) == (128, 255, 255)
    assert coarse_range(1) == (192, 319, 319)  # two updates of at most 32
    assert kept_range(0) == (160, 287, 287)
    assert d_range(0) == (320, 575, 575)
    assert bc_range(0) == (288, 543, 543)


def test_values_are_those_of_the_image():
    """One value for each of 3072, coarse first."""
    values = exact_flow()(some_images(2))
    assert sum(v.size for v in values) == 2 * 3072
    side = 32 >> LEVELS
    assert [v.shape for v in values[:3]] == [(2, side, side)] * 3
    assert len(values) == 3 + 9 * LEVELS


@pytest.mark.parametrize(
    ("threads", "onednn", "batch"), [(1, True, 16), (2, True, 5), (2, False, 1), (1, False, 3)]
)
def test_bit_exact_on_every_setting(threads, onednn, batch):
    images = np.concatenate([hard_images()[1:4], some_images(2)])
    _, wanted = replay(exact_flow(), images)
    with torch_setting(threads, onednn):
        decoded, found = replay(exact_flow(), images, batch)
    assert np.array_equal(decoded, images)
    for (symbols, mixtures), (wanted_symbols, wanted_mixtures) in zip(found, wanted, strict=True):
        assert np.array_equal(symbols, wanted_symbols)
        for name in ("weights", "means", "scales"):
            assert np.array_equal(getattr(mixtures, name), getattr(wanted_mixtures, name))


def test_state_round_trip():
    flow = exact_flow()
    again = ExactIntegerFlow.from_state(CONFIG, flow.export_state())
    images = some_images(3)
    _, wanted = replay(flow, images)
    _, found = replay(again, images)
    for (a, m), (b, n) in zip(wanted, found, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(m.means, n.means)


def test_missing_layer_and_unproven_input():
    state = exact_flow().export_state()
    with pytest.raises(ExportError, match=r"lacks the layer priors\.0\.1\.embed"):
        ExactIntegerFlow.from_state(
            CONFIG, {k: v for k, v in state.items() if not k.startswith("priors.0.1.embed")}
        )
    name = "levels.1.predict_d.hidden.limits"
    smaller = state | {name: state[name] - torch.tensor([0, 40, 0])}
    with pytest.raises(ExportError, match="proven for inputs within"):
        ExactIntegerFlow.from_state(CONFIG, smaller)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["extremes", "uniform", "near zero"]))
def test_any_symbols_give_their_image_or_an_error(seed, kind):
    """A hostile file may hold any values within the mixtures' ranges."""
    rng = np.random.default_rng(seed)
    flow = exact_flow(3, 0.0)
    drawn = []

    def coder(mixtures):
        if kind == "extremes":
            symbols = rng.choice([mixtures.low, mixtures.high], mixtures.shape)
        else:
            reach = mixtures.high if kind == "uniform" else 2
            symbols = rng.integers(-reach, reach + 1, mixtures.shape)
        drawn.append(symbols.astype(np.int32))
        return drawn[-1]

    try:
        images = flow.run(2, 32, coder)
    except DamagedError:
        assert kind != "near zero"  # small details around gray are an image
        return
    assert kind == "near zero"
    for symbols, value in zip(drawn, flow(images), strict=True):
        assert np.array_equal(symbols, value)
