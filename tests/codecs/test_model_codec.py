"""What codecs with one trained model share."""

import resource
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from obverse.codecs.image.networks import ImageNetworks
from obverse.codecs.model_codec import ModelCodec, OptionalModelCodec
from obverse.container.header import Header
from obverse.errors import ModelError, WrongModelError
from obverse.method import Method
from obverse.registry import open_codec
from obverse.zoo import StoredModel, load_model


class Example(ModelCodec):
    method = Method(
        id="example", package=__name__, summary="", data="numbers", codec=":Example", models=("example",)
    )

    def encode(self, data: Any, options: Any = None) -> Any: ...
    def decode(self, container: Any, side_info: Any = None, limits: Any = None) -> Any: ...
    def load(self, source: Any) -> Any: ...
    def save(self, container: Any, target: str, limits: Any = None, **side: Any) -> bytes: ...


def stored(weights: bytes) -> StoredModel:
    return StoredModel("mine", weights, {}, b"12345678")


def test_a_part_is_the_tensors_under_its_name() -> None:
    weight, bias = torch.randn(2, 3), torch.randn(2)
    codec = Example(
        stored(
            save_safetensors(
                {"head.weight": weight, "head.bias": bias, "header.weight": weight.clone(), "z": bias.clone()}
            )
        )
    )
    assert set(codec.tensors("head")) == {"weight", "bias"}
    x = torch.randn(5, 3)
    torch.testing.assert_close(codec.network(lambda: nn.Linear(3, 2), "head")(x), x @ weight.T + bias)
    with pytest.raises(ModelError, match="mine has no whole head"):
        codec.network(lambda: nn.Linear(3, 4), "head")
    with pytest.raises(ModelError, match="mine has no whole tail"):
        codec.network(lambda: nn.Linear(3, 2), "tail")


def test_damaged_weights_are_named() -> None:
    with pytest.raises(ModelError, match="the model mine is damaged"):
        _ = Example(stored(b"\xff" * 20)).weights


def test_the_default_is_the_model_of_the_codecs_name() -> None:
    with pytest.raises(ModelError, match=r"no folder .*example"):
        _ = Example().model


@pytest.mark.parametrize(
    "codec, model", [("example", b"87654321"), ("other", b"12345678"), ("example", None)]
)
def test_files_of_others_are_refused(codec: str, model: bytes | None) -> None:
    with pytest.raises(WrongModelError, match="3132333435363738"):
        Example(stored(b"")).check_written_here(Header(codec, {}, (1,), (), model, None, {}))
    Example(stored(b"")).check_written_here(Header("example", {}, (1,), (), b"12345678", None, {}))


@pytest.mark.parametrize("name", ["features", "plug-and-play"])
def test_codecs_that_may_do_without_a_model(name):
    codec = type(open_codec(name))
    mine = StoredModel("mine", b"", {}, b"12345678")
    assert issubclass(codec, OptionalModelCodec)
    assert codec().model is None and codec().fingerprint is None
    assert codec(mine).model is mine and codec(mine).fingerprint == b"12345678"


def test_a_network_larger_than_its_tensors_is_not_made() -> None:
    """A configuration may ask for 40 GB; the tensors are what is there."""
    codec = Example(stored(save_safetensors({"head.weight": torch.zeros(2, 3)})))
    made = []

    def make() -> nn.Module:
        module = nn.Linear(100_000, 100_000, bias=False)
        made.append(module.weight.device.type)
        return module

    with pytest.raises(ModelError, match="of another size: weight"):
        codec.network(make, "head")
    assert made == ["meta"]


def test_tensors_of_no_part_are_refused() -> None:
    class Parts(Example):
        parts = frozenset({"head."})

    weights = {"head.weight": torch.zeros(1), "spare.weight": torch.zeros(1)}
    with pytest.raises(ModelError, match="should not have: spare"):
        Parts(stored(save_safetensors(weights))).tensors("head")


EVERY_PART = """
import sys
from functools import cached_property
import obverse
from obverse.registry import shipped_models
for model in sorted(shipped_models()):
    codec = obverse.open_codec(model)
    for name in dir(type(codec)):
        if isinstance(getattr(type(codec), name), cached_property):
            getattr(codec, name)
    print(model, *sorted({"torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_no_shipped_model_imports_compilers() -> None:
    """They take a second of every start, and fail where the folder for temporary files is full."""
    done = subprocess.run([sys.executable, "-c", EVERY_PART], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) >= 12 and all(" " not in line for line in lines), done.stdout


@pytest.mark.parametrize("size", ["latents", "fine", "coarse_hidden", "hyper", "analysis_fine"])
def test_a_hostile_image_model_takes_no_memory(size: str) -> None:
    """Sizes of the configuration that its tensors do not have: 4,096 channels squared are 600 MB a layer."""
    shipped = load_model("image")
    config = {**shipped.config, "model": {**shipped.config["model"], size: 4096}}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="image"):
        ImageNetworks.load(replace(shipped, config=config))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB; the tensors are 40 MB
