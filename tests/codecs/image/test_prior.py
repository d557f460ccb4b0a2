"""The trained prior, its slices, and the exact prior that is made of it."""

import itertools

import pytest
import torch

from obverse.codecs.image.exact_prior import ExactFourStep, export_exact, interpolate_level
from obverse.codecs.image.latents import FRACTION, LEVELS
from obverse.codecs.image.prior import FourStepHyperprior, from_slices, gaussian_bits, take_slice, to_slices
from obverse.codecs.image.scales import SCALES, scale
from obverse.coding import TableFamily
from tests.conftest import torch_setting


@pytest.fixture(scope="module")
def prior():
    """A small prior with random weights, and its exact version."""
    torch.manual_seed(0)
    model = FourStepHyperprior(latents=16, hyper=8, features=24, context=16, hidden=32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.mul_(2)
    samples = [(torch.randn(1, 16, 16, 16) * 4, torch.tensor([t])) for t in (0.1, 0.5, 0.9)]
    return model, export_exact(model, samples)


def test_slices_hold_every_latent_once():
    y = torch.arange(2 * 8 * 4 * 6, dtype=torch.float32).reshape(2, 8, 4, 6)
    slices = to_slices(y)
    assert all(s.shape == (2, 8, 2, 3) for s in slices)
    assert torch.equal(torch.cat(slices).flatten().sort().values, y.flatten())
    assert torch.equal(from_slices(slices), y)
    # slice 1 at the cell's first position holds the second quarter of the channels
    assert torch.equal(slices[1][:, 0:2], y[:, 2:4, 0::2, 0::2])


def test_gaussian_bits_agree_with_the_tables():
    tables = TableFamily.gaussian([scale(i) for i in range(SCALES)], precision=24)
    index = torch.arange(20, 60)
    symbols = torch.arange(40) % 7 - 3
    ours = gaussian_bits(symbols.double(), index.double())
    wanted = tables.bits(symbols.numpy(), index.numpy())
    assert ours.numpy() == pytest.approx(wanted, rel=1e-2, abs=1e-2)


def residual_coder(y):
    def coder(k, mean, index):
        return (take_slice(y, k)[0] - mean / FRACTION).round().to(torch.int32)

    return coder


def run(exact, y, level):
    """All means and indices, and ŷ, as the encoder sees them."""
    seen = []
    z = torch.ones(1, 8, y.shape[2] // 4, y.shape[3] // 4)

    def coder(k, mean, index):
        residual = residual_coder(y)(k, mean, index)
        seen.append((mean.clone(), index.clone()))
        return residual

    with torch.no_grad():
        y_hat = exact.join(exact.run(z, level, coder))
    return seen, y_hat


def test_exact_prior_follows_the_float_one(prior):
    model, exact = prior
    torch.manual_seed(1)
    y = torch.randn(1, 16, 16, 16) * 4
    level = LEVELS // 2
    seen, y_hat = run(exact, y, level)
    t = torch.tensor([level / LEVELS])
    with torch.no_grad():
        features = model.synthesis(torch.ones(1, 8, 4, 4), t)
        decoded = []
        for k, part in enumerate(to_slices(y)):
            mean, index = model.slices[k](features, decoded)
            error = (seen[k][0] / FRACTION - mean[0]).abs().mean()
            assert error < 0.1
            assert (seen[k][1].float() - index[0].clamp(0, SCALES - 1)).abs().mean() < 1.0
            decoded.append((part - seen[k][0] / FRACTION).round() + seen[k][0] / FRACTION)
    assert (y_hat - y).abs().max() <= 0.5 + 1e-4


def test_exact_prior_is_the_same_under_every_setting(prior):
    _, exact = prior
    torch.manual_seed(2)
    y = torch.randn(1, 16, 16, 24) * 6
    first, y_hat = run(exact, y, 700)
    for threads, onednn in itertools.product((1, 2), (True, False)):
        with torch_setting(threads, onednn):
            again, y_again = run(exact, y, 700)
        assert torch.equal(y_hat, y_again)
        for (mean, index), (mean2, index2) in zip(first, again, strict=True):
            assert torch.equal(mean, mean2) and torch.equal(index, index2)


def test_windows_do_not_change_the_result(prior, monkeypatch):
    _, exact = prior
    torch.manual_seed(3)
    y = torch.randn(1, 16, 24, 32) * 3
    whole, y_hat = run(exact, y, 300)
    monkeypatch.setattr("obverse.codecs.image.exact_prior.WINDOW", 6)
    parts, y_parts = run(exact, y, 300)
    assert torch.equal(y_hat, y_parts)
    assert all(
        torch.equal(a, b)
        for pair, other in zip(whole, parts, strict=True)
        for a, b in zip(pair, other, strict=True)
    )


def test_export_state_round_trip(prior):
    _, exact = prior
    again = ExactFourStep.from_state(exact.export_state())
    torch.manual_seed(4)
    y = torch.randn(1, 16, 8, 8)
    assert torch.equal(run(exact, y, 100)[1], run(again, y, 100)[1])
    assert torch.equal(exact.z_tables(1234), again.z_tables(1234))


def test_interpolation_is_in_integers_and_hits_the_anchors():
    anchors = torch.tensor([[0, 100], [80, -100], [160, 7]])
    assert interpolate_level(anchors, 0).tolist() == [0, 100]
    assert interpolate_level(anchors, LEVELS // 2).tolist() == [80, -100]
    assert interpolate_level(anchors, LEVELS).tolist() == [160, 7]
    assert interpolate_level(anchors, LEVELS // 4).tolist() == [40, 0]
