"""Exact layers: networks whose output is the same integers on every machine.

Floating-point sums depend on their order, so a float network differs in the last bits between thread
counts, kernels and devices; a decoder that chooses probability tables by such a network turns a file to
noise. Here weights and activations are integers held in floats, and every partial sum stays where
floats represent integers exactly: below 2**24 in float32, below 2**53 in float64. Then any order gives the
same sum, and ordinary fast convolutions can be used (compare Balle, Johnston and Minnen, "Integer
networks for data compression with latent-variable models", ICLR 2019).

    x ──► conv, integer weight ──► + bias ──► floor((a * m + 2**(s - 1)) / 2**s) ──► clip [low, high] ──► integers

The bound is proven per output channel when a layer is made: max|x| * sum|w| + |b|. Where float32 does not
hold it float64 is used, and where that does not either the layer refuses to exist (ExportError).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from obverse.exact_sums import integer_sums
from obverse.transforms.exact_bounds import FLOAT32_EXACT, layer_of, proven_bound


class ExactConv(nn.Module):
    """A convolution of integers, rescaled to integers. Zero padding of k // 2, stride 1.

    Args:
        weight: (out, in, k, k) integers.
        bias: (out,) integers.
        multiplier: (out,) integers of at least 1.
        shift: rescaling by multiplier / 2**shift.
        low: the least that outputs are clipped to, a number or (out,) integers.
        high: the most that outputs are clipped to, a number or (out,) integers.
        max_input: the largest |x| that it will be given (inputs are the caller's to clip).
        max_extra: the largest |extra_bias| that `forward` will be given.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        multiplier: Tensor,
        shift: int,
        low: Tensor,
        high: Tensor,
        max_input: int,
        max_extra: int = 0,
    ):
        super().__init__()
        out = weight.shape[0]
        w = weight.to(torch.float64).round()
        self.max_input, self.shift, self.max_extra = int(max_input), int(shift), int(max_extra)
        numbers = [part.detach().cpu().numpy() for part in (w, bias, multiplier, low, high)]
        bound = proven_bound(*numbers[:3], self.shift, *numbers[3:], self.max_input, self.max_extra)
        self.bound = bound
        self.dtype = torch.float32 if bound < FLOAT32_EXACT else torch.float64
        self.padding = weight.shape[2] // 2
        self.weight = nn.Buffer(w.to(self.dtype))
        self.bias = nn.Buffer(bias.double().round().to(self.dtype))
        self.multiplier = nn.Buffer(multiplier.double().round().view(1, out, 1, 1))
        self.low = nn.Buffer(low.double().expand(out).reshape(1, out, 1, 1).clone())
        self.high = nn.Buffer(high.double().expand(out).reshape(1, out, 1, 1).clone())

    def accumulate(self, x: Tensor) -> Tensor:
        """The integer sums with bias, in the layer's dtype."""
        return integer_sums(x.to(self.dtype), self.weight, self.bias)

    def forward(self, x: Tensor, extra_bias: Tensor | None = None) -> Tensor:
        """(B, out, H, W) integers in float64.

        Args:
            x: (B, in, H, W) integers, |x| <= max_input.
            extra_bias: (1, out, 1, 1) integers within max_extra, added to the sums.
        """
        a = self.accumulate(x).double()
        if extra_bias is not None:
            a = a + extra_bias
        # floor((a m + 2**(s - 1)) / 2**s): powers of two scale exactly, so half may be added after the division
        a.mul_(self.multiplier * 2.0**-self.shift).add_(0.5).floor_()
        return a.clamp_(self.low, self.high)

    def export_state(self) -> dict[str, Tensor]:
        """Integer tensors that `from_state` builds the same layer from."""
        return {
            "weight": self.weight.to(torch.int8 if self.weight.abs().max() <= 127 else torch.int16),
            "bias": self.bias.flatten().to(torch.int64),
            "multiplier": self.multiplier.flatten().to(torch.int64),
            "low": self.low.flatten().to(torch.int32),
            "high": self.high.flatten().to(torch.int32),
            "limits": torch.tensor([self.shift, self.max_input, self.max_extra]),
        }

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> ExactConv:
        """The layer that `export_state` described; its bound is proven again.

        Raises:
            ExportError: where it cannot be, or for other tensors.
        """
        shift, max_input, max_extra = layer_of(state)
        tensors = (state["weight"], state["bias"], state["multiplier"])
        return cls(*tensors, shift, state["low"], state["high"], max_input, max_extra)


def quantise_conv(
    weight: Tensor,
    bias: Tensor,
    input_scale: Tensor,
    output_scale: Tensor,
    low: Tensor,
    high: Tensor,
    max_input: int,
    extra_bias: Tensor | None = None,
    bits: int = 8,
) -> tuple[ExactConv, Tensor]:
    """An exact layer that approximates a float one.

    Args:
        weight: (out, in, k, k) of the float layer.
        bias: (out,) of the float layer.
        input_scale: input channel c holds integers n that mean n * input_scale[c].
        output_scale: output channel o is to hold integers that mean n * output_scale[o].
        low: as `ExactConv` takes it.
        high: as `ExactConv` takes it.
        max_input: as `ExactConv` takes it.
        extra_bias: (K, out) floats, other biases to be added at run time.
        bits: those of the weights, with one step per output channel.

    Returns:
        The layer.
        extra_bias in units of its integer sums, (K, out) integers (empty without).
    """
    folded = weight.double() * input_scale.double().view(1, -1, 1, 1)
    top = 2 ** (bits - 1) - 1
    step = folded.abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / top
    integers = (folded / step.view(-1, 1, 1, 1)).round().clamp(-top, top)
    ratio = step / output_scale.double()
    # as many bits for the multiplier as leave room for the sums, so that it is as fine as can be
    shift = 1
    while shift < 40 and float(ratio.max()) * 2 ** (shift + 1) < 2**20:
        shift += 1
    multiplier = (ratio * 2.0**shift).round().clamp(min=1)
    in_sums = (bias.double() / step).round()
    extra = torch.empty(0) if extra_bias is None else (extra_bias.double() / step).round()
    max_extra = int(extra.abs().max()) if extra.numel() else 0
    return ExactConv(integers, in_sums, multiplier, shift, low, high, max_input, max_extra), extra
