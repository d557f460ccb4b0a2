"""The teacher: sizes, folding, and configurations that do not hold together."""

from __future__ import annotations

import pytest
import torch

from obverse.codecs.split.resnet import ResNet, folded
from obverse.codecs.split.sizes import ResNetConfig
from obverse.errors import InputError

SMALL = ResNetConfig(16, 4, 1, (4, 6, 8), (1, 2))


@pytest.mark.parametrize(
    ("config", "sides"),
    [
        (SMALL, [16, 8, 4]),
        (ResNetConfig(30, 3, 3, (4, 5), (1,)), [10, 5]),
        (ResNetConfig(17, 2, 2, (4, 5, 6), (1, 1)), [9, 5, 3]),
    ],
)
def test_shapes(config, sides):
    network = ResNet(config).eval()
    features = network.features(torch.rand(2, 3, config.side, config.side))
    assert [f.shape for f in features] == [(2, w, s, s) for w, s in zip(config.widths, sides, strict=True)]
    assert [config.side_after(i) for i in range(len(sides))] == sides
    assert network(torch.rand(2, 3, config.side, config.side)).shape == (2, config.classes)


def test_folding_changes_nothing():
    torch.manual_seed(0)
    network = ResNet(SMALL)
    with torch.no_grad():
        for _ in range(3):  # statistics of batches, other than those it starts with
            network(torch.rand(32, 3, 16, 16) * 2)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2)
                module.bias.uniform_(-1, 1)
    network.eval()
    plain = folded(network)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in plain.modules())
    x = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        wanted = network(x)
        assert torch.allclose(plain(x), wanted, atol=1e-4)
    assert float(wanted.std()) > 0.01


@pytest.mark.parametrize("after", [0, 1, 2])
def test_the_tail_goes_on_where_a_layer_stopped(after):
    plain = folded(ResNet(SMALL).eval())
    x = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        features = plain.features(x)
        assert torch.equal(plain.tail_after(after)(features[after]), plain(x))


def test_configurations_come_back():
    assert ResNetConfig.from_dict(SMALL.as_dict()) == SMALL


@pytest.mark.parametrize(
    "change",
    [
        {"side": 0}, {"side": 1000}, {"side": 32.0}, {"side": True}, {"classes": 0}, {"stem_stride": 9},
        {"widths": [4, 6]}, {"widths": "4"}, {"widths": [4, 6, 10**6]}, {"blocks": []}, {"blocks": [1, 99]},
        {"blocks": [1, -1]}, {"more": 1},
    ],
)  # fmt: skip
def test_configurations_that_cannot_be(change):
    with pytest.raises(InputError):
        ResNetConfig.from_dict(SMALL.as_dict() | change)


@pytest.mark.parametrize("values", [None, [], {}, "resnet"])
def test_no_configurations(values):
    with pytest.raises(InputError, match="not that of a residual network"):
        ResNetConfig.from_dict(values)
