"""A user's module as functions of arrays, and as graphs that do the same."""

import numpy as np
import pytest
import torch

from obverse.codecs.plug_and_play.export import exported
from obverse.codecs.plug_and_play.generative_model import model_of, of_module
from obverse.errors import ExportError, InputError
from tests.codecs.plug_and_play.models import BadShape, BadStd, Blocks, Linear, OneThing

MODELS = "tests.codecs.plug_and_play.models"


@pytest.fixture(scope="module")
def networks():
    return exported(Linear(), np.zeros((3, 6), np.float32))


def data(n: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)


def test_a_module_is_found_by_name():
    assert isinstance(model_of(f"{MODELS}:linear"), Linear)
    assert isinstance(model_of(f"{MODELS}:make_linear"), Linear)
    assert isinstance(model_of(f"{MODELS}:Linear"), Linear)
    assert isinstance(model_of(Linear()), Linear)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (MODELS, "module:name"),
        (f"{MODELS}:nothing", "cannot be imported"),
        ("no_such_module:x", "cannot be imported"),
        (f"{MODELS}:no_model", "cannot be made"),
        ("math:sqrt", "cannot be made"),
        (np.zeros(3), "no torch module"),
        (Linear, "no torch module"),
        (torch.nn.Linear(2, 2), "no torch module"),
    ],
)
def test_what_is_no_model_is_refused(source, words):
    with pytest.raises(InputError, match=words):
        model_of(source)


def test_the_graphs_do_what_the_module_does(networks):
    encode, decode = networks.encode, networks.decode
    module = of_module(Linear())
    for n in (1, 2, 7):
        x = data(n)
        mean, std = encode(x)
        np.testing.assert_allclose(mean, module.encode(x)[0], atol=1e-6)
        np.testing.assert_allclose(std, module.encode(x)[1], atol=1e-6)
        np.testing.assert_allclose(decode(mean), module.decode(mean), atol=1e-6)


def test_weights_are_stored_once_and_only_where_they_are_used(networks):
    assert set(networks.encode.weights) == {"basis", "scales", "only_encode"}
    assert set(networks.decode.weights) == {"basis", "scales", "only_decode"}
    assert sorted(networks.arrays()) == [
        "graph.decode", "graph.encode", "network.both.basis", "network.both.scales", "network.decode.only_decode",
        "network.encode.only_encode",
    ]  # fmt: skip


def test_images_of_any_size():
    encode = exported(Blocks(), np.zeros((1, 3, 16, 24), np.float32)).encode
    assert encode(np.zeros((2, 3, 40, 8), np.float32))[0].shape == (2, 48, 10, 2)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (BadStd(), "std values are zero or negative"),
        (BadShape(), r"decode makes shape \(2, 5\) of latents of shape \(2, 4\).*\(2, 6\)"),
        (OneThing(), "mean and std, two tensors"),
    ],
)
def test_models_that_do_not_fit_are_refused_with_the_reason(module, words):
    with pytest.raises(InputError, match=words):
        exported(module, data(4))


def test_data_that_the_model_cannot_take_is_named():
    with pytest.raises(InputError, match=r"encode cannot be run on an array of shape \(2, 9\)"):
        of_module(Linear()).posterior(np.zeros((2, 9)))


def test_a_model_that_is_not_deterministic_cannot_be_exported():
    class Random(Linear):
        def decode(self, z):
            return super().decode(z) + torch.randn(z.shape[0], 6)

    with pytest.raises(ExportError, match="deterministic"):
        exported(Random(), data(4))
