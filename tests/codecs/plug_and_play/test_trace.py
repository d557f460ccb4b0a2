"""From modules to graphs: what they do is what the module does, for every size; what a graph cannot hold is named."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from obverse.codecs.plug_and_play.export import exported
from obverse.codecs.plug_and_play.graph import Graph
from obverse.codecs.plug_and_play.interpreter import GraphFunction
from obverse.codecs.plug_and_play.trace import traced
from obverse.errors import ExportError, InputError
from tests.codecs.plug_and_play.models import Mlp, ResNet, Transformer

SIZES = {
    Mlp: [(2, 1, 7, 7), (1, 1, 7, 7), (5, 1, 7, 7)],
    ResNet: [(2, 3, 16, 24), (1, 3, 40, 32), (3, 3, 8, 8)],
    Transformer: [(2, 3, 16, 24), (1, 3, 40, 32), (3, 3, 8, 8)],
}


@pytest.mark.parametrize("kind", SIZES)
def test_graphs_are_equal_to_the_module_for_every_size(kind):
    torch.manual_seed(0)
    module = kind().eval()
    made = exported(module, torch.rand(SIZES[kind][0]).numpy())
    for shape in SIZES[kind]:
        x = torch.rand(shape)
        with torch.no_grad():
            mean, std = module.encode(x)
            decoded = module.decode(mean.contiguous())
        for wanted, found in zip((mean, std), made.encode(x.numpy()), strict=True):
            np.testing.assert_array_equal(found, wanted.numpy())
        found = made.decode(mean.contiguous().numpy())
        np.testing.assert_allclose(found, decoded.numpy(), rtol=0, atol=1e-6)


class Part(nn.Module):
    """decode is a function; further arguments are its parameters."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, torch.Tensor) else part)

    def decode(self, x):
        return self.function(self, x)


def in_place(self, x):
    y = x.clone()
    y[:, 0] = 0
    y[:, 1:] += 1
    y[..., 1].mul_(3)
    return y


def causal(self, x):
    n = x.shape[2]
    query = x[:, :, :, :8]
    seen = torch.tril(torch.ones(n, n)).bool()
    return (query @ query.transpose(-1, -2)).masked_fill(~seen, float("-inf")).softmax(-1) @ query


def windows(self, x):
    n, c, h, w = x.shape
    return x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c).mean(1)


def nearest_entry(self, x):
    rows = x.permute(0, 2, 3, 1).reshape(-1, 3)
    distance = (rows**2).sum(1, keepdim=True) - 2 * rows @ self.book.t() + (self.book**2).sum(1)
    found = functional.embedding(distance.argmin(1), self.book)
    return found.view(x.shape[0], x.shape[2], x.shape[3], 3).permute(0, 3, 1, 2)


def without_gradient(self, x):
    with torch.no_grad():
        return x * 2


def waves(self, x):
    t = torch.arange(x.shape[2], dtype=torch.float32)[:, None] * torch.exp(
        torch.arange(0, 8, 2).float() * -1.2
    )
    return x + torch.cat([t.sin(), t.cos()], 1).sum(1)[None, None, :, None]


def padded(self, x):
    x = functional.pad(functional.pad(x, (1, 1, 2, 2), mode="reflect"), (1, 0, 0, 1))
    return functional.pad(x, (1, 1, 1, 1), mode="circular")


PARTS = {
    "in place": Part(in_place),
    "causal": Part(causal),
    "windows": Part(windows),
    "nearest entry": Part(nearest_entry, book=torch.randn(16, 3)),
    "without gradient": Part(without_gradient),
    "waves": Part(waves),
    "padded": Part(padded),
    "share of the area": Part(lambda self, x: x.sum((2, 3)) / (x.shape[2] * x.shape[3] ** 0.5)),
    "einsum": Part(lambda self, x: torch.einsum("nchw,dc->ndhw", x, self.w), w=torch.randn(5, 3)),
    "resized": Part(lambda self, x: functional.interpolate(x, scale_factor=1.5, mode="bicubic")),
    "instance norm": Part(lambda self, x: self.norm(x), norm=nn.InstanceNorm2d(3, affine=True)),
    "pools": Part(lambda self, x: self.pool(x), pool=nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1))),
    "gates": Part(lambda self, x: functional.glu(torch.cat([x, x], 1), 1) + functional.mish(x).roll(1, 2).flip(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_what_people_write_is_kept(name):
    torch.manual_seed(0)
    module = PARTS[name].eval()
    function = GraphFunction(*traced(module, "decode", torch.rand(2, 3, 16, 16)), "decode")
    for shape in ((2, 3, 16, 16), (1, 3, 8, 16), (3, 3, 12, 20)):
        x = torch.rand(shape)
        with torch.no_grad():
            wanted = module.decode(x).numpy()
        np.testing.assert_allclose(function(x.numpy()), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda self, x: torch.fft.fft2(x).real, r"cannot hold: aten\._fft_c2c\.default"),
        (lambda self, x: x.sort(2)[0], r"cannot hold: aten\.sort\.default"),
        (lambda self, x: x + torch.randn_like(x), r"random numbers \(aten\.randn_like\.default\)"),
        (lambda self, x: functional.dropout(x, 0.5, training=True), "deterministic"),
        (lambda self, x: x if x.sum() > 0 else -x, "data-dependent"),
        (lambda self, x: x * self.w, "bfloat16"),
    ],
)
def test_what_a_graph_cannot_hold_is_named(function, words):
    module = Part(function, w=torch.ones(1, dtype=torch.bfloat16))
    with pytest.raises(ExportError, match=words):
        traced(module, "decode", torch.rand(2, 3, 8, 8))


def test_torch_says_nothing_beside_our_sentence(tmp_path):
    """In a process of its own, whose handlers of logs have its stderr."""
    (tmp_path / "m.py").write_text(
        "import torch\n"
        "class M(torch.nn.Module):\n"
        "    def encode(self, x): return x[:, :1] if x.sum() > 0 else -x[:, :1], x[:, :1] * 0 + 1\n"
        "    def decode(self, z): return z.expand(-1, 3, -1, -1)\n"
        "load = M\n"
    )
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32))
    words = ["plug-and-play", "fit", "m:load", "--data", "x.npy", "--out", "out"]
    command = [sys.executable, "-c", "from obverse.cli import main; main()", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == ExportError.exit_code, done.stderr
    assert done.stderr.startswith("error: torch.export cannot write the model's encode: ")
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_sizes_that_go_another_way_through_the_module_are_refused():
    module = Part(lambda self, x: functional.pad(x, (0, x.shape[3] % 2)) if x.shape[3] % 2 else x * 2)
    function = GraphFunction(*traced(module, "decode", torch.rand(2, 3, 8, 8)), "decode")
    x = np.ones((1, 3, 8, 6), np.float32)
    np.testing.assert_array_equal(function(x), 2 * x)
    with pytest.raises(InputError, match=r"the sizes do not go.*it takes \(1, 3, 8, 8\)"):
        function(np.ones((1, 3, 8, 7), np.float32))


def test_a_graph_is_the_same_after_json():
    graph, weights = traced(Transformer().eval(), "encode", torch.rand(2, 3, 16, 24))
    text = graph.to_json()
    assert Graph.from_json(text, weights) == graph
    assert graph.weights == set(weights)
    assert b"Infinity" not in text and b"NaN" not in text
