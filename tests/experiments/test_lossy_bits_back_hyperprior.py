"""The hyperprior of whole numbers: exact twins agree, both kinds of z come back, and rates are what the tables say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_hyperprior import (
    DifferentiableHyperprior,
    ExactHyperprior,
    pop_drawn,
    pop_rounded,
    push_drawn,
    push_rounded,
    quantise_hyperprior,
)
from hyperprior import (
    Y_MAX,
    Z_MAX,
    HyperpriorConfig,
    IntegerHyperprior,
    Ints,
    logistic_bits,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from obverse.coding import Message
from obverse.errors import DamagedError, InputError, MessageEmptyError
from tests.conftest import REPOSITORY, torch_setting

FOLDER = REPOSITORY / "experiments" / "lossy_bits_back"

CHANNELS, SIDE, RATES = 6, 16, 2


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with torch_setting(1, True):
        yield


def latents(count: int, seed: int) -> torch.Tensor:
    """Laplacian y whose scale varies from place to place, by up to 30 times: something for z to tell."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, SIDE // 8, SIDE // 8, generator=generator)
    scale = torch.nn.functional.interpolate(torch.exp(5 * coarse - 2), scale_factor=8.0)
    u = torch.rand(count, CHANNELS, SIDE, SIDE, generator=generator) - 0.5
    y = -scale * u.sign() * torch.log1p(-2 * u.abs().clamp(max=0.4999))
    return (y * torch.linspace(0.5, 2, CHANNELS).view(1, -1, 1, 1)).clamp(-Y_MAX, Y_MAX)


def fit(model: IntegerHyperprior, steps: int, lr: float) -> None:
    y, rate = latents(16, 1), torch.arange(16) % RATES
    optimiser = torch.optim.Adam(model.train().parameters(), lr)
    for _ in range(steps):
        loss = torch.stack(model(y, rate)).sum() / y.numel()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()


def fitted(halvings: int = 2) -> dict[bool, tuple[IntegerHyperprior, ExactHyperprior]]:
    """By whether z is drawn, a model and its exact twin; z is drawn by a copy of the other that learned as long."""
    torch.manual_seed(0)
    models = {
        drawn: IntegerHyperprior(HyperpriorConfig(CHANNELS, 3, 16, RATES, halvings, drawn))
        for drawn in (False, True)
    }
    models[False].initialise(latents(16, 1).std((0, 2, 3)).expand(RATES, -1))
    fit(models[False], 80, 5e-3)
    models[True].start_from(models[False])
    for model in models.values():
        fit(model, 40, 2e-4)
    y, rate = latents(16, 1), torch.arange(16) % RATES
    return {drawn: (model, quantise_hyperprior(model, y, rate)) for drawn, model in models.items()}


@pytest.fixture(scope="module")
def both():
    return fitted()


@pytest.fixture(scope="module")
def drawn(both):
    return both[True]


@pytest.fixture(scope="module")
def rounded(both):
    return both[False]


def as_ints(y: torch.Tensor) -> Ints:
    return y.round().to(torch.int32).numpy()


def test_bits_of_a_logistic_are_those_of_its_masses():
    x = torch.arange(-3000, 3001, dtype=torch.float64)
    for log2_scale in (-5.0, 0.0, 5.0):
        bits = logistic_bits(x, 0.3, torch.tensor(log2_scale, dtype=torch.float64))
        assert float(torch.exp2(-bits).sum()) == pytest.approx(1, abs=1e-9)
    one = logistic_bits(torch.tensor(1.0), 0.0, torch.tensor(0.0))
    s = torch.sigmoid(torch.tensor([1.5, 0.5]))
    assert float(one) == pytest.approx(float(-torch.log2(s[0] - s[1])), rel=1e-5)


@pytest.mark.parametrize("halvings", [1, 2])
@pytest.mark.parametrize("is_drawn", [True, False])
def test_a_set_comes_back_and_so_do_the_initial_bits(is_drawn, halvings):
    _, exact = fitted(halvings)[is_drawn]
    images = [as_ints(y) for y in latents(5, 2)]
    message = Message.random(500, seed=3)
    for i, y in enumerate(images):
        if is_drawn:
            push_drawn(message, y, exact, i % RATES)
        else:
            push_rounded(
                message,
                y,
                DifferentiableHyperprior(exact).guess(torch.from_numpy(y), i % RATES),
                exact,
                i % RATES,
            )
    message = Message.from_bytes(message.to_bytes(), interleave=False)
    again = ExactHyperprior.from_state(exact.config, exact.export_state())
    pop = pop_drawn if is_drawn else pop_rounded
    for i in reversed(range(5)):
        assert np.array_equal(pop(message, again, (SIDE, SIDE), i % RATES), images[i])
    assert message == Message.random(500, seed=3)


def test_an_image_with_rounded_z_is_the_initial_bits_of_the_others(drawn, rounded):
    images = [as_ints(y) for y in latents(4, 4)]
    message = Message(interleave=False)
    push_rounded(
        message,
        images[0],
        DifferentiableHyperprior(rounded[1]).guess(torch.from_numpy(images[0]), 0),
        rounded[1],
        0,
    )
    for y in images[1:]:
        push_drawn(message, y, drawn[1], 0)
    for y in images[:0:-1]:
        assert np.array_equal(pop_drawn(message, drawn[1], (SIDE, SIDE), 0), y)
    assert np.array_equal(pop_rounded(message, rounded[1], (SIDE, SIDE), 0), images[0])
    assert message.empty


def test_a_chain_needs_a_beginning(drawn):
    with pytest.raises(MessageEmptyError):
        push_drawn(Message(interleave=False), as_ints(latents(1, 0)[0]), drawn[1], 0)


def test_messages_grow_by_the_negative_elbo(drawn):
    """Mean over images, within 1 % of the tables' for other draws of z."""
    exact, images = drawn[1], [as_ints(y) for y in latents(60, 5)]
    message = Message.random(500, seed=1)
    before = message.bits
    bound = 0.0
    for i, y in enumerate(images):
        push_drawn(message, y, exact, i % RATES)
        z = Message.random(500, seed=2 + i).pop_mixtures(exact.posterior(y, i % RATES))
        bound += sum(exact.bits(y, z, i % RATES))
    assert message.bits - before == pytest.approx(bound, rel=0.01)


def test_messages_of_rounded_z_are_as_long_as_the_tables_say(rounded):
    exact = rounded[1]
    for i, y in enumerate(latents(6, 6)):
        whole, rate = as_ints(y), i % RATES
        z = DifferentiableHyperprior(exact).guess(y, rate)
        message = Message(interleave=False)
        push_rounded(message, whole, z, exact, rate)
        bits = sum(exact.bits(whole, z, rate))
        assert message.bits == pytest.approx(bits, abs=1)
        smooth, known = DifferentiableHyperprior(exact), torch.from_numpy(z)[None].float()
        of_y = logistic_bits(torch.from_numpy(whole)[None], *smooth.likelihood(known, torch.tensor([rate])))
        tables = exact.likelihood(z, rate).bits(whole)
        assert float(of_y.clamp(max=24).sum()) == pytest.approx(
            float(tables.sum()), rel=1e-3
        )  # tails end there


def test_drawing_costs_less_than_rounding(both):
    """On average over images that neither was fitted to; and both learn from z."""
    y = latents(100, 7)
    bits = {False: 0.0, True: 0.0}
    blind = 0.0
    for i in range(100):
        whole, rate = as_ints(y[i]), i % RATES
        for kind, (_, exact) in both.items():
            z = DifferentiableHyperprior(exact).guess(y[i], rate)
            if kind:
                z = Message.random(500, seed=i).pop_mixtures(exact.posterior(whole, rate))
            bits[kind] += sum(exact.bits(whole, z, rate))
        blind += float(both[True][1].likelihood(np.zeros_like(z), rate).bits(whole).sum())
    assert bits[True] < bits[False] < blind


def test_gradients_lead_downhill(drawn):
    """A step against the gradient of the twin's bits lowers the bits of the tables."""
    exact = drawn[1]
    smooth = DifferentiableHyperprior(exact)
    y = latents(1, 8).round().requires_grad_()
    rate = torch.tensor([0])
    torch.stack(smooth.drawn_bits(y, y, rate, torch.Generator().manual_seed(0))).sum().backward()
    z = Message.random(2000, 0).pop_mixtures(exact.posterior(as_ints(y.detach()[0]), 0))
    moved = (y.detach() - (y.grad.abs() > 0.1) * y.grad.sign())[0]
    assert (
        exact.likelihood(z, 0).bits(as_ints(moved)).sum()
        < exact.likelihood(z, 0).bits(as_ints(y.detach()[0])).sum()
    )


@pytest.mark.parametrize(("threads", "onednn"), [(1, False), (2, True)])
def test_exact_networks_do_not_depend_on_kernels(drawn, threads, onednn):
    exact, y = drawn[1], as_ints(latents(1, 9)[0])
    z = np.random.default_rng(0).integers(-Z_MAX, Z_MAX, (3, SIDE // 4, SIDE // 4), np.int32)
    wanted = [exact.posterior(y, 1), exact.likelihood(z, 1)]
    with torch_setting(threads, onednn):
        got = [exact.posterior(y, 1), exact.likelihood(z, 1)]
    for a, b in zip(wanted, got, strict=True):
        assert np.array_equal(a.means, b.means)
        assert np.array_equal(a.scales, b.scales)


@settings(deadline=None, max_examples=30)
@given(data=st.binary(max_size=200), first=st.sampled_from([1, 255, 4000]))
def test_any_bytes_are_refused_or_give_latents_in_range(drawn, data, first):
    try:
        message = Message.from_bytes(data * first, interleave=False)
        y = pop_drawn(message, drawn[1], (SIDE, SIDE), 0)
    except (DamagedError, MessageEmptyError):
        return
    assert y.shape == (CHANNELS, SIDE, SIDE)
    assert int(np.abs(y).max()) <= Y_MAX


def test_another_process_finds_the_same_latents(drawn, tmp_path: Path):
    exact, images = drawn[1], [as_ints(y) for y in latents(3, 10)]
    message = Message.random(500, seed=5)
    for y in images:
        push_drawn(message, y, exact, 1)
    (tmp_path / "message").write_bytes(message.to_bytes())
    save_file(exact.export_state(), tmp_path / "model")
    code = f"""
import sys
import numpy as np
from safetensors.torch import load_file
from obverse.coding import Message
from exact_hyperprior import ExactHyperprior, pop_drawn
from hyperprior import HyperpriorConfig
config = HyperpriorConfig(**{exact.config.as_dict()!r})
exact = ExactHyperprior.from_state(config, load_file(sys.argv[1] + "/model"))
message = Message.from_bytes(open(sys.argv[1] + "/message", "rb").read(), interleave=False)
images = [pop_drawn(message, exact, ({SIDE}, {SIDE}), 1) for _ in range(3)]
assert message == Message.random(500, seed=5)
np.save(sys.argv[1] + "/images.npy", images)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=FOLDER)
    assert np.array_equal(np.load(tmp_path / "images.npy"), images[::-1])


def test_damaged_weights_and_sizes_are_refused(drawn):
    exact = drawn[1]
    state = exact.export_state()
    for name in ("posterior.0.weight", "z_index"):
        with pytest.raises(InputError):
            ExactHyperprior.from_state(exact.config, {k: v for k, v in state.items() if k != name})
    with pytest.raises(InputError):
        ExactHyperprior.from_state(exact.config, state | {"y_index": state["y_index"][:, 1:]})
    for sizes in ({"latents": 0}, {"halvings": 3}, {"features": 2.0}, {"drawn": 1}):
        with pytest.raises(InputError):
            HyperpriorConfig(**sizes)
