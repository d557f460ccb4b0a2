"""Exact layers give the same integers under every setting that changes the order of sums."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from obverse import exact_sums
from obverse.certain import certain_sums
from obverse.errors import ExportError
from obverse.transforms.exact import ExactConv, quantise_conv
from obverse.transforms.exact_bounds import FLOAT32_EXACT
from tests.conftest import torch_setting


def make(out=24, inside=48, kernel=3, top=255, weight=127, seed=0):
    g = torch.Generator().manual_seed(seed)
    w = torch.randint(-weight, weight + 1, (out, inside, kernel, kernel), generator=g).double()
    b = torch.randint(-5000, 5000, (out,), generator=g).double()
    m = torch.randint(1000, 60000, (out,), generator=g).double()
    return ExactConv(w, b, m, 24, torch.tensor(0.0), torch.tensor(255.0), top)


def integer_reference(layer, x):
    """The layer in int64, sums taken one kernel position at a time."""
    weight, bias = layer.weight.to(torch.int64).numpy(), layer.bias.to(torch.int64).numpy()
    a = np.pad(x.to(torch.int64).numpy(), ((0, 0), (0, 0), (layer.padding,) * 2, (layer.padding,) * 2))
    h, w = x.shape[2:]
    total = np.zeros((x.shape[0], weight.shape[0], h, w), np.int64)
    for dy, dx in itertools.product(range(weight.shape[2]), repeat=2):
        total += np.einsum("oi,bihw->bohw", weight[:, :, dy, dx], a[:, :, dy : dy + h, dx : dx + w])
    total = (total + bias[:, None, None]) * layer.multiplier.to(torch.int64).numpy() + (
        1 << (layer.shift - 1)
    )
    return np.clip(total >> layer.shift, 0, 255)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("top", [255, 1023])
def test_equals_int64_in_every_setting(kernel, top):
    layer = make(kernel=kernel, top=top)
    x = torch.randint(-top, top + 1, (8, 48, 10, 12), generator=torch.Generator().manual_seed(1)).float()
    expected = integer_reference(layer, x)
    for threads, onednn, channels_last, batch in itertools.product(
        (1, 2), (True, False), (True, False), (1, 8)
    ):
        inputs = x.to(memory_format=torch.channels_last) if channels_last else x
        with torch_setting(threads, onednn):
            result = torch.cat([layer(part) for part in inputs.split(batch)])
        assert np.array_equal(result.numpy().astype(np.int64), expected)


def test_float64_and_float32_agree():
    layer = make()
    assert layer.dtype == torch.float32 or layer.bound >= FLOAT32_EXACT
    x = torch.randint(0, 256, (2, 48, 9, 9), generator=torch.Generator().manual_seed(2)).float()
    double = F.conv2d(x.double(), layer.weight.double(), padding=1)
    assert torch.equal(layer.accumulate(x).double(), double + layer.bias.double().view(1, -1, 1, 1))


def test_the_dtype_follows_the_proven_bound():
    small, large = make(top=15, weight=15), make(inside=600, top=1023)
    assert small.dtype == torch.float32 and small.bound < FLOAT32_EXACT
    assert large.dtype == torch.float64 and large.bound >= FLOAT32_EXACT


def test_refuses_what_cannot_be_proven():
    with pytest.raises(ExportError, match="2\\*\\*53"):
        make(inside=600, top=2**40)


def test_float32_would_really_be_wrong_beyond_its_bound():
    """The proof is needed: sums of this size are not exact in float32."""
    layer = make(inside=600, top=1023)
    x = torch.full((1, 600, 6, 6), 1023.0)
    weight = layer.weight.abs()
    single = F.conv2d(x, weight.float(), padding=1).double()
    assert not torch.equal(single, F.conv2d(x.double(), weight, padding=1))


def test_extra_bias_is_added_to_the_sums():
    layer = make()
    x = torch.randint(0, 256, (1, 48, 5, 5), generator=torch.Generator().manual_seed(3)).float()
    extra = torch.arange(24.0).view(1, 24, 1, 1) * 1000
    shifted = make()
    shifted.bias += extra.flatten().to(shifted.dtype)
    assert torch.equal(layer(x, extra), shifted(x))


def test_quantised_layer_is_close_to_the_float_one():
    g = torch.Generator().manual_seed(4)
    weight = torch.randn(16, 32, 3, 3, generator=g) * 0.1
    bias = torch.randn(16, generator=g)
    x = torch.randint(0, 256, (1, 32, 16, 16), generator=g).float()
    scale_in = torch.rand(32, generator=g) * 0.02 + 0.001
    scale_out = torch.full((16,), 1 / 64)
    layer, _ = quantise_conv(
        weight, bias, scale_in, scale_out, torch.tensor(-(2.0**15)), torch.tensor(2.0**15), 255
    )
    exact = layer(x) / 64
    wanted = F.conv2d(x * scale_in.view(1, -1, 1, 1), weight, bias, padding=1)
    error = (exact - wanted).abs().mean() / wanted.abs().mean()
    assert error < 0.01


def test_export_round_trip():
    layer = make()
    again = ExactConv.from_state(layer.export_state())
    x = torch.randint(0, 256, (1, 48, 7, 7), generator=torch.Generator().manual_seed(5)).float()
    assert torch.equal(layer(x), again(x)) and again.dtype == layer.dtype


def test_the_path_of_other_devices_gives_the_same(monkeypatch):
    """Where kernels cannot be relied on, as on a GPU: unfold and a float64 product; or whole numbers."""
    x = torch.randint(0, 256, (2, 48, 6, 8), generator=torch.Generator().manual_seed(6)).double()
    for kernel in (1, 3):
        layer = make(kernel=kernel)
        here = layer(x)
        for exact in ({exact_sums._double}, set()):
            monkeypatch.setattr(exact_sums, "_is_exact", lambda kernel, *_, exact=exact: kernel in exact)
            assert torch.equal(layer(x), here)
            monkeypatch.undo()
        with certain_sums():
            assert torch.equal(layer(x), here)


def rounded(conv):
    """A kernel whose sums of floats are those of numbers with 8 bits."""

    def wrong(x, weight, *rest, **keywords):
        if not x.is_floating_point():
            return conv(x, weight, *rest, **keywords)
        return conv(x.bfloat16().to(x.dtype), weight.bfloat16().to(weight.dtype), *rest, **keywords)

    return wrong


@pytest.mark.parametrize("batch", [1, 3])
def test_a_kernel_that_rounds_is_noticed_and_not_used(monkeypatch, batch):
    x = torch.randint(0, 1024, (batch, 48, 6, 8), generator=torch.Generator().manual_seed(7)).double()
    layer = make(top=1023, weight=127)
    here = layer(x)
    exact_sums._is_exact.cache_clear()
    monkeypatch.setattr(F, "conv2d", rounded(F.conv2d))
    try:
        assert torch.equal(layer(x), here)
        monkeypatch.setattr(torch, "matmul", rounded(torch.matmul))
        exact_sums._is_exact.cache_clear()
        assert torch.equal(layer(x), here)  # in whole numbers
    finally:
        exact_sums._is_exact.cache_clear()
