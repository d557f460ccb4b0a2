"""The networks of split computing: sizes, gradients, and configurations that do not hold together."""

from __future__ import annotations

import pytest
import torch

from obverse.codecs.split.networks import (
    Server,
    Synthesis,
    by_channel,
    make_encoder,
    relative_error,
    rounded_by_channel,
    scaled_gradient,
    standardised,
)
from obverse.codecs.split.resnet import ResNet, folded
from obverse.codecs.split.sizes import SplitConfig
from obverse.errors import InputError
from tests.codecs.split.models import RECONSTRUCTS, SMALL, UPSAMPLED


@pytest.mark.parametrize("config", [SMALL, RECONSTRUCTS, UPSAMPLED])
def test_shapes(config):
    x = torch.rand(2, 3, config.teacher.side, config.teacher.side)
    y = make_encoder(config)(standardised(x))
    assert y.shape == (2, *config.latent_shape) and config.symbols == y[0].numel()
    server, teacher = Server(config), folded(ResNet(config.teacher).eval())
    assert server(y).shape == (2, config.teacher.classes)
    given, wanted = server.features(y), teacher.features(x)[config.after :]
    assert [g.shape for g in given] == [w.shape for w in wanted]
    server.tail.load_state_dict(teacher.tail_after(config.after).state_dict())  # one takes the other's place
    assert torch.allclose(server.logits_of(wanted[-1]), teacher(x), atol=1e-5)
    if config.reconstructs:
        assert Synthesis(config)(y).shape == x.shape


def test_the_encoder_of_the_paper_has_a_tenth_of_a_million_parameters():
    count = sum(p.numel() for p in make_encoder(SplitConfig()).parameters())
    assert 90_000 < count < 130_000


def test_rounding():
    y, offset = torch.randn(4, 3, 2, 2) * 5, torch.tensor([0.25, -0.4, 0.0])
    y.requires_grad_()
    rounded = rounded_by_channel(y, offset)
    steps = rounded - offset[:, None, None]
    assert torch.allclose(steps, steps.round(), atol=1e-5) and (rounded - y).abs().max().item() <= 0.5 + 1e-5
    rounded.sum().backward()
    assert torch.equal(y.grad, torch.ones_like(y))


def test_rows_of_a_density_are_places():
    y = torch.arange(24.0).reshape(2, 3, 2, 2)
    rows = by_channel(y)
    assert rows.shape == (8, 3) and torch.equal(rows[5], y[1, :, 0, 1])


@pytest.mark.parametrize("scale", [0.0, 0.3, 2.0])
def test_gradients_that_are_heeded_in_part(scale):
    x = torch.randn(5, requires_grad=True)
    y = scaled_gradient(x, scale)
    assert torch.allclose(y, x)
    y.square().sum().backward()
    assert torch.allclose(x.grad, scale * 2 * x, atol=1e-6)


def test_relative_error():
    wanted = torch.randn(1000) * 7 + 3
    assert relative_error(wanted, wanted) == 0
    assert float(relative_error(wanted.mean().expand(1000), wanted)) == pytest.approx(1, rel=0.01)
    assert float(relative_error(wanted * 10, wanted * 10 + 10)) == pytest.approx(100 / 4900, rel=0.2)


@pytest.mark.parametrize("config", [SMALL, RECONSTRUCTS, UPSAMPLED, SplitConfig()])
def test_configurations_come_back(config):
    assert SplitConfig.from_dict(config.as_dict()) == config


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"after": 5}, "no layer 5"), ({"after": -1}, "after must be"), ({"after": 1.0}, "above zero"),
        ({"codes": 0}, "above zero"),
        ({"codes": 1.5}, "above zero"), ({"codes": 10**7}, "codes must be"), ({"kernels": [4, 3, 3]}, "odd kernels"),
        ({"kernels": [3, 3]}, "not that of"), ({"kernels": [3, 3, 99]}, "kernels"), ({"strides": [1, 1, 1]}, "places"),
        ({"strides": [2, 2, 99]}, "strides"), ({"strides": [0, 2, 2]}, "above zero"), ({"widths": [8]}, "not that of"),
        ({"reconstructs": 1}, "not that of"), ({"teacher": None}, "residual"), ({"more": 1}, "not that of"),
        ({"decoder_blocks": True}, "above zero"), ({"decoder_blocks": 99}, "from 1 to 16"),
    ],
)  # fmt: skip
def test_configurations_that_cannot_be(change, sentence):
    with pytest.raises(InputError, match=sentence):
        SplitConfig.from_dict(SMALL.as_dict() | change)


@pytest.mark.parametrize("values", [None, [], {}, "split"])
def test_no_configurations(values):
    with pytest.raises(InputError, match="not that of a split model"):
        SplitConfig.from_dict(values)
