"""The float flow: invertible layers, couplings that round, and a likelihood that is the coder's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.flow.networks import (
    NEIGHBOURS_BC,
    NEIGHBOURS_D,
    PREDICT_BOUND,
    VALUE_STEP,
    Coupling,
    FlowLevel,
    IntegerFlow,
    from_colour,
    lifting_weights,
    mixture_bits,
    squeeze,
    to_colour,
    unsqueeze,
)
from obverse.codecs.flow.recipe import FlowConfig
from obverse.coding.logistic_mixture import FRACTION, LOGIT, LogisticMixtures, scale_of, weights_of
from obverse.errors import InputError
from tests.codecs.flow.models import CONFIG, float_flow, some_images


def tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def test_colour_of_every_cube_corner_and_of_noise_comes_back():
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0, 127.0, 128.0, 254.0, 255.0])] * 3)
    noise = torch.randint(0, 256, (5000, 3), generator=torch.Generator().manual_seed(0)).float()
    x = torch.cat([corners, noise])[:, :, None, None]
    z = to_colour(x)
    assert torch.equal(from_colour(z), x)
    assert z[:, 0].abs().max() <= 128
    assert z[:, 1:].abs().max() <= 255


def test_gray_has_no_chroma():
    x = torch.arange(256.0)[:, None, None, None].expand(-1, 3, 1, 1)
    z = to_colour(x)
    assert torch.equal(z[:, 0, 0, 0], torch.arange(256.0) - 128)
    assert not z[:, 1:].any()


def test_squeeze_names_the_pixels_of_a_block():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    a, b, c, d = squeeze(x)
    assert a.flatten().tolist() == [0, 2, 8, 10]
    assert b.flatten().tolist() == [1, 3, 9, 11]
    assert c.flatten().tolist() == [4, 6, 12, 14]
    assert d.flatten().tolist() == [5, 7, 13, 15]
    assert torch.equal(unsqueeze(a, b, c, d), x)


@pytest.mark.parametrize("neighbours", [NEIGHBOURS_BC, NEIGHBOURS_D])
def test_a_constant_is_predicted_exactly(neighbours):
    blocks = 2 if neighbours is NEIGHBOURS_BC else 1
    coupling = Coupling(blocks, blocks, 4, lifting_weights(blocks, blocks, neighbours, -0.25), PREDICT_BOUND)
    coupling.output.weight.data.zero_()
    t = coupling(torch.full((1, 3 * blocks, 4, 5), 44.0))
    assert torch.equal(t, torch.full_like(t, -44.0))


def test_neighbours_are_those_beside_the_pixel():
    """A linear ramp is predicted without error away from the border, whatever its slope."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    x = (4 * rows - 6 * columns).expand(1, 3, 16, 16)
    level = FlowLevel(4)
    for module in level.modules():
        if isinstance(module, Coupling):
            module.output.weight.data.zero_()
    a, kept, b, c, d = level(x)
    for detail in (b, c, d):
        assert not detail[..., 1:-1, 1:-1].any()
    assert torch.equal(torch.cat([a, squeeze(x)[3]], 1), kept)


def test_t_is_whole_bounded_and_has_a_gradient():
    coupling = Coupling(1, 1, 8, lifting_weights(1, 1, NEIGHBOURS_D, -3.0), PREDICT_BOUND)
    z1 = torch.randint(-128, 128, (4, 3, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    t = coupling(z1)
    assert torch.equal(t, t.round())
    assert (t.abs().amax(dim=(0, 2, 3)) <= torch.tensor(PREDICT_BOUND)).all()
    assert (t.abs() == PREDICT_BOUND[0]).any()
    coupling(z1 / 64).sum().backward()
    inside = 4 * 8 * 8
    assert coupling.linear.bias.grad.tolist() == [inside] * 3  # as if there were no rounding


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_rate_is_the_coders(seed, components):
    """`mixture_bits` of parameters on the coder's grid is what LogisticMixtures charges."""
    rng = np.random.default_rng(seed)
    shape = (2, 3, components, 4, 4)
    logits = rng.integers(-30, 30, shape)
    means = rng.integers(-40 * FRACTION, 40 * FRACTION, shape)
    scales = rng.integers(30, 90, shape)
    symbols = rng.integers(-60, 61, (2, 3, 4, 4))
    parts = [logits / LOGIT, means / (FRACTION * VALUE_STEP), np.log2(scale_of(scales))]
    parameters = torch.from_numpy(np.concatenate(parts, 2)).float()
    found = float(mixture_bits(parameters, torch.from_numpy(symbols).float()))
    last = [np.moveaxis(part, 2, -1) for part in (logits, means, scales)]
    coder = LogisticMixtures(weights_of(last[0]), last[1], last[2], -700, 700)
    assert found == pytest.approx(float(coder.bits(symbols).sum()), rel=1e-2)


def test_forward_adds_up_the_batch():
    model = float_flow()
    x = tensor(some_images(4))
    with torch.no_grad():
        apart = sum(float(model(x[i : i + 1])) for i in range(4))
        assert float(model(x)) == pytest.approx(apart, rel=1e-4)
        assert float(model.bits_per_dimension(x)) == pytest.approx(apart / (4 * 3072), rel=1e-4)


def test_every_parameter_learns():
    model = float_flow()
    model.bits_per_dimension(tensor(some_images(4))).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert not silent


def test_config_round_trip_and_damage():
    values = CONFIG.as_dict()
    assert FlowConfig.from_dict(values) == CONFIG
    assert IntegerFlow(FlowConfig.from_dict(values)).config == CONFIG
    for change in (
        {"levels": 0}, {"levels": 9}, {"width": "8"}, {"blocks": [1, 1]}, {"blocks": 3}, {"extra": 1},
        {"hidden": True},
    ):  # fmt: skip
        with pytest.raises(InputError, match="damaged"):
            FlowConfig.from_dict(values | change)
    with pytest.raises(InputError, match="damaged"):
        FlowConfig.from_dict(None)
