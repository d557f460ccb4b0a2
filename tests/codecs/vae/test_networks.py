"""The latent-variable models: likelihoods that sum to one, and exact networks that agree with the float ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from obverse.codecs.vae.exact_networks import BINS, CENTRE, UNIT, ExactVae, logistic_bins, quantise_vae
from obverse.codecs.vae.networks import (
    PHASES,
    latent_parameters,
    log_logistic,
    log_pixels,
    network_ops,
    split_pixels,
)
from obverse.codecs.vae.recipe import VaeConfig
from obverse.coding import LogisticMixtures
from obverse.errors import InputError
from tests.codecs.vae.models import CONFIGS, SIZES, as_tensor, images_of, networks_of
from tests.conftest import torch_setting


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_the_likelihood_of_a_pixel_sums_to_one(levels):
    torch.manual_seed(0)
    out = torch.randn(1, 1 if levels == 2 else 9, 2, 2).double()
    total = sum(
        float(log_pixels(torch.full((1, 1, 2, 2), float(x)), out, levels).exp().mean()) for x in range(levels)
    )
    assert total == pytest.approx(1, abs=1e-5)


def test_the_likelihood_has_gradients_far_away():
    out = torch.tensor([0.0, 0.9, -0.6]).view(1, 3, 1, 1).requires_grad_()
    log_pixels(torch.zeros(1, 1, 1, 1) + 3, out, 256).sum().backward()
    assert torch.isfinite(out.grad).all() and float(out.grad[0, 1]) < -1  # a smaller mean is likelier


def test_the_density_of_a_logistic_integrates_to_one():
    z = torch.linspace(-60, 60, 200_001)
    density = log_logistic(z, torch.tensor(0.7), torch.tensor(1.2)).exp()
    assert float(torch.trapezoid(density, z)) == pytest.approx(1, abs=1e-4)


def test_phases_are_a_partition():
    assert sorted(sum(PHASES, ())) == [0, 1, 2, 3]
    x = torch.arange(96.0).view(1, 1, 8, 12)
    phases = split_pixels(x)
    assert sorted(torch.cat([p.flatten() for p in phases]).tolist()) == list(range(96))
    assert phases[0][0, 0, 1, 1] == x[0, 0, 2, 2] and phases[1][0, 0, 0, 0] == x[0, 0, 1, 1]


@pytest.mark.parametrize("config", CONFIGS)
def test_later_pixels_do_not_reach_earlier_phases(config):
    """Else the receiver could not compute them."""
    exact = quantise_vae(networks_of(config), as_tensor(images_of(config)))
    x = images_of(config, 3)
    bins = np.random.default_rng(0).integers(0, BINS, (3, int(np.prod(config.latents[0]))))
    features = exact.features(bins)
    parts = exact.split(x)
    np.testing.assert_array_equal(exact.join([p.flatten(1).numpy().astype(int) for p in parts]), x)
    for number in range(len(PHASES)):
        weights, means, scales = exact.phase(number, features, parts[:number])
        pixels = len(PHASES[number]) * config.height * config.width // 4
        assert weights.shape == means.shape == scales.shape == (3, pixels, config.components)
        np.testing.assert_array_equal(exact.as_phase(number, parts[number].flatten(1).numpy()), parts[number])


@pytest.mark.parametrize("config", CONFIGS)
def test_exact_networks_agree_with_the_float_ones(config):
    """The same latents: nearly the same distributions, in bits."""
    networks = networks_of(config)
    images = images_of(config, 300)
    exact = quantise_vae(networks, as_tensor(images))
    x = images[:16]
    for layer in range(len(config.latents)):
        rng = np.random.default_rng(layer)
        if layer == 0:
            below, float_below = x, as_tensor(x) / (config.levels - 1)
        else:
            below = rng.integers(100, BINS - 100, (16, int(np.prod(config.latents[layer - 1]))))
            float_below = (exact.latent(layer - 1, below) / CENTRE).float()
        means, scales = exact.posterior(layer, below)
        wanted = latent_parameters(networks.nets[f"posterior{layer}"](float_below))
        np.testing.assert_allclose(means / UNIT, wanted[0].flatten(1), atol=0.06)
        np.testing.assert_allclose((scales - 40) / 8 - 5, wanted[1].flatten(1), atol=0.15)
    bins = np.random.default_rng(9).integers(100, BINS - 100, (16, int(np.prod(config.latents[0]))))
    features = networks.nets["features"]((exact.latent(0, bins) / CENTRE).float())
    known = [p / (config.levels - 1) for p in split_pixels(as_tensor(x))]
    for number, (values, pixels) in enumerate(zip(split_pixels(as_tensor(x)), exact.split(x), strict=True)):
        out = networks.nets[f"phase{number}"](torch.cat([features, *known[:number]], 1))
        float_bits = -log_pixels(values, out, config.levels).flatten(1) / math.log(2)
        parameters = exact.phase(number, exact.features(bins), exact.split(x)[:number])
        mixtures = LogisticMixtures(*parameters, 0, config.levels - 1)
        bits = mixtures.bits(pixels.flatten(1).numpy().astype(int))
        # random latents reach further than the posterior samples that the ranges come from
        assert float(bits.mean()) == pytest.approx(float(float_bits.mean()), rel=0.05)


@pytest.mark.parametrize("config", CONFIGS)
def test_batches_threads_and_kernels_give_the_same_integers(config):
    exact = quantise_vae(networks_of(config), as_tensor(images_of(config)))
    x = images_of(config, 5, seed=2)
    bins = np.random.default_rng(1).integers(0, BINS, (5, int(np.prod(config.latents[0]))))

    def everything(rows: slice) -> list[np.ndarray]:
        features = exact.features(bins[rows])
        parts = exact.split(x[rows])
        found = [*exact.posterior(0, x[rows])]
        if config.local:
            found += [*exact.posterior(1, bins[rows]), *exact.prior(bins[rows, : config.top])]
        for number in range(len(PHASES)):
            found += exact.phase(number, features, parts[:number])
        return found

    whole = everything(slice(None))
    for threads, onednn in ((1, True), (2, True), (2, False)):
        with torch_setting(threads, onednn):
            singles = [everything(slice(i, i + 1)) for i in range(5)]
        for i, parts in enumerate(zip(*singles, strict=True)):
            np.testing.assert_array_equal(np.concatenate(parts), whole[i])


@pytest.mark.parametrize("config", CONFIGS)
def test_a_stored_model_is_the_same_model(config):
    exact = quantise_vae(networks_of(config), as_tensor(images_of(config)))
    again = ExactVae.from_state(VaeConfig.from_dict(config.as_dict()), exact.export_state())
    x = images_of(config, 4)
    for a, b in zip(exact.posterior(0, x), again.posterior(0, x), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(exact.edges, again.edges)
    assert torch.equal(exact.centres, again.centres)


def test_bins_have_equal_mass():
    edges, centres = (table.numpy() for table in logistic_bins(1.0))
    mass = np.diff(np.concatenate([[0], 1 / (1 + np.exp(-edges[1:-1] / UNIT)), [1]]))
    np.testing.assert_allclose(mass * BINS, 1, atol=0.13)  # edges are rounded to 1/2048, bins 8 wide
    assert (np.diff(edges) > 0).all() and (np.diff(centres) >= 0).all()
    np.testing.assert_allclose(centres[1:-1] / CENTRE, (edges[1:-2] + edges[2:-1]) / 2 / UNIT, atol=0.11)


def test_sizes_that_no_model_has():
    for wrong in (
        {"height": 30}, {"levels": 1}, {"levels": 257}, {"levels": 2, "components": 4}, {"top": 0}, {"local": -1},
        {"channels": 1.5}, {"hidden": 5000},
    ):  # fmt: skip
        with pytest.raises(InputError):
            VaeConfig(**wrong)
    for wrong in ({"color": 3}, None, [1]):
        with pytest.raises(InputError):
            VaeConfig.from_dict(wrong)


def test_another_models_weights_are_refused():
    config = CONFIGS[0]
    state = quantise_vae(networks_of(config), as_tensor(images_of(config))).export_state()
    with pytest.raises(InputError):
        ExactVae.from_state(VaeConfig(**(SIZES | {"channels": 20})), state)
    with pytest.raises(InputError):
        ExactVae.from_state(config, {key: value for key, value in state.items() if key != "centres"})
    with pytest.raises(InputError):
        ExactVae.from_state(config, state | {"edges": state["edges"][:, 1:]})
    assert set(network_ops(CONFIGS[1])) < set(network_ops(config))
