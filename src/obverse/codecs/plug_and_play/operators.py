"""The operators that a stored network may use: a white list of ATen operators, and what their arguments may be.

    "conv2d.default" ──► Operator: input: tensor, weight: tensor, bias: tensor?, stride: steps, ... ──► tensor

All are functions: none changes its arguments, draws random numbers, or touches anything but tensors. A graph that names
another operator, or gives an argument of another kind or out of its range, is refused when it is read (`graph.py`).
Ranges are narrower than torch's, so that no kernel is asked for what it was never tried with.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_ITEMS = 4096  # of a list of tensors
MOST_NUMBERS = 64  # of a list of numbers
LARGEST_SIZE = 2**31
LARGEST_NUMBER = 2**53  # that sizes and what is computed of them may reach
DTYPES = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
TENSOR, TENSORS, NUMBER = "tensor", "tensors", "number"  # what a value of a graph can be


@dataclass(frozen=True)
class Argument:
    """What an argument may be.

    Attributes:
        name: as torch calls it.
        takes: "tensor", "number", "flag", "dtype" or "word".
        optional: whether None will do.
        most: of a list, how many items it may have; 0 for a single one.
        low, high: of numbers, inclusive.
        floats: whether numbers may be floats.
        or_number: whether a number may be in place of a tensor.
        words: that a text may be.
    """

    name: str
    takes: str
    optional: bool = False
    most: int = 0
    low: float = -math.inf
    high: float = math.inf
    floats: bool = False
    or_number: bool = False
    words: tuple[str, ...] = ()

    def allows(self, number: Any) -> bool:
        """Whether it is a number of the right type and size."""
        if type(number) is float:
            return self.floats and (math.isnan(number) or self.low <= number <= self.high)
        if type(number) is bool:
            return self.floats
        return type(number) is int and max(self.low, -(2**63)) <= number <= min(self.high, 2**63 - 1)


@dataclass(frozen=True)
class Operator:
    """One of the white list.

    Attributes:
        name: as in `torch.ops.aten`, with its overload.
        arguments: in torch's order.
        makes: "tensor" or "tensors".
        needs_device: whether it makes a tensor of nothing, so that it must be told where.
    """

    name: str
    arguments: tuple[Argument, ...]
    makes: str = TENSOR
    needs_device: bool = False


def _kind(name: str, text: str) -> Argument:
    """An argument of a kind that is written as below; `?`: None will do."""
    optional, text = text.endswith("?"), text.rstrip("?")
    kind, _, words = text.partition("=")
    if kind == "word":
        return Argument(name, "word", optional, words=tuple(words.split("|")))
    if kind in ("flag", "dtype"):
        return Argument(name, kind, optional)
    if kind in ("tensor", "tensors", "operand"):
        most = MOST_ITEMS if kind == "tensors" else 0
        return Argument(name, TENSOR, optional, most, floats=kind == "operand", or_number=kind == "operand")
    low, high, most, floats = _NUMBERS[kind]
    return Argument(name, NUMBER, optional, most, low, high, floats)


_NUMBERS: dict[str, tuple[float, float, int, bool]] = {
    "number": (-math.inf, math.inf, 0, True),
    "numbers": (-math.inf, math.inf, MOST_NUMBERS, True),
    "factors": (2**-16, 2**16, 3, True),
    "fraction": (0, 1, 0, True),
    "axis": (-16, 15, 0, False),
    "axes": (-16, 15, 16, False),
    "index": (-(2**40), 2**40, 0, False),
    "indices": (-(2**40), 2**40, MOST_NUMBERS, False),
    "count": (1, LARGEST_SIZE, 0, False),
    "sizes": (-1, LARGEST_SIZE, 16, False),
    "parts": (0, LARGEST_SIZE, MOST_ITEMS, False),
    "extents": (1, 1024, 3, False),
    "extents_of_maps": (1, 1 << 20, 3, False),
    "few": (1, MOST_ITEMS, 0, False),
    "steps": (1, 1 << 16, 3, False),
    "margins": (0, 1 << 16, 3, False),
    "edges": (-(1 << 16), 1 << 16, 16, False),
    "factor": (1, 1 << 10, 0, False),
    "nothing": (0, 0, 0, True),
}


def _operators(names: str, arguments: str = "self: tensor", makes: str = TENSOR) -> dict[str, Operator]:
    """Operators of the same arguments; a name without an overload is the default one."""
    made = []
    for part in filter(None, arguments.split(", ")):
        name, _, kind = part.partition(": ")
        made.append(_kind(name, kind))
    full = (name if "." in name else f"{name}.default" for name in names.split())
    return {name: Operator(name, tuple(made), makes, name in _FACTORIES) for name in full}


_FACTORIES = {
    f"{name}.{overload}"
    for name, overload in (
        ("full", "default"), ("zeros", "default"), ("ones", "default"), ("arange", "default"), ("arange", "start"),
        ("arange", "start_step"), ("linspace", "default"), ("scalar_tensor", "default"),
    )
}  # fmt: skip

OPERATORS: dict[str, Operator] = {
    # element by element
    **_operators(
        "abs acos acosh asin asinh atan atanh ceil cos cosh erf erfc exp exp2 expm1 floor frac isfinite isinf isnan "
        "log log10 log1p log2 log_sigmoid logical_not bitwise_not mish neg reciprocal relu relu6 round rsqrt selu "
        "sigmoid sign silu sin sinh sqrt square tan tanh trunc hardsigmoid hardswish"
    ),
    **_operators("gelu", "self: tensor, approximate: word=none|tanh"),
    **_operators("leaky_relu", "self: tensor, negative_slope: number"),
    **_operators("elu", "self: tensor, alpha: number, scale: number, input_scale: number"),
    **_operators("celu", "self: tensor, alpha: number"),
    **_operators("softplus", "self: tensor, beta: number, threshold: number"),
    **_operators("softshrink hardshrink", "self: tensor, lambd: number"),
    **_operators("hardtanh", "self: tensor, min_val: number, max_val: number"),
    **_operators("threshold", "self: tensor, threshold: number, value: number"),
    **_operators("prelu", "self: tensor, weight: tensor"),
    **_operators("clamp", "self: tensor, min: number?, max: number?"),
    **_operators("clamp.Tensor", "self: tensor, min: tensor?, max: tensor?"),
    **_operators("clamp_min", "self: tensor, min: number"),
    **_operators("clamp_max", "self: tensor, max: number"),
    **_operators("add.Tensor sub.Tensor", "self: tensor, other: operand, alpha: number"),
    **_operators("add.Scalar sub.Scalar rsub.Scalar", "self: tensor, other: number, alpha: number"),
    **_operators(
        "mul.Tensor div.Tensor maximum minimum atan2 fmod.Tensor remainder.Tensor floor_divide logical_and logical_or "
        "logical_xor bitwise_and.Tensor bitwise_or.Tensor bitwise_xor.Tensor eq.Tensor ne.Tensor lt.Tensor le.Tensor "
        "gt.Tensor ge.Tensor",
        "self: tensor, other: operand",
    ),
    **_operators(
        "mul.Scalar div.Scalar fmod.Scalar remainder.Scalar eq.Scalar ne.Scalar lt.Scalar le.Scalar gt.Scalar "
        "ge.Scalar",
        "self: tensor, other: number",
    ),
    **_operators("div.Tensor_mode", "self: tensor, other: operand, rounding_mode: word=floor|trunc?"),
    **_operators("pow.Tensor_Scalar", "self: tensor, exponent: number"),
    **_operators("pow.Tensor_Tensor", "self: tensor, exponent: tensor"),
    **_operators("pow.Scalar", "self: number, exponent: tensor"),
    **_operators("where.self", "condition: tensor, self: tensor, other: tensor"),
    **_operators("where.ScalarOther", "condition: tensor, self: tensor, other: number"),
    **_operators("where.ScalarSelf", "condition: tensor, self: number, other: tensor"),
    **_operators("where.Scalar", "condition: tensor, self: number, other: number"),
    **_operators("masked_fill.Scalar", "self: tensor, mask: tensor, value: number"),
    **_operators("masked_fill.Tensor", "self: tensor, mask: tensor, value: tensor"),
    **_operators("lerp.Scalar", "self: tensor, end: tensor, weight: number"),
    **_operators("lerp.Tensor", "self: tensor, end: tensor, weight: tensor"),
    **_operators("addcmul addcdiv", "self: tensor, tensor1: tensor, tensor2: tensor, value: number"),
    **_operators("_to_copy", "self: tensor, dtype: dtype?"),
    **_operators("contiguous"),
    **_operators("copy", "self: tensor, src: tensor"),
    # over axes
    **_operators("sum mean prod", "self: tensor, dtype: dtype?"),
    **_operators("max min any all"),
    **_operators("sum.dim_IntList mean.dim", "self: tensor, dim: axes?, keepdim: flag, dtype: dtype?"),
    **_operators("prod.dim_int", "self: tensor, dim: axis, keepdim: flag, dtype: dtype?"),
    **_operators("amax amin logsumexp any.dims all.dims", "self: tensor, dim: axes, keepdim: flag"),
    **_operators("any.dim all.dim", "self: tensor, dim: axis, keepdim: flag"),
    **_operators("max.dim min.dim", "self: tensor, dim: axis, keepdim: flag", TENSORS),
    **_operators("argmax argmin", "self: tensor, dim: axis?, keepdim: flag"),
    **_operators("var.correction std.correction", "self: tensor, dim: axes?, correction: number?, keepdim: flag"),
    **_operators("var_mean.correction", "self: tensor, dim: axes?, correction: number?, keepdim: flag", TENSORS),
    **_operators("var.dim std.dim", "self: tensor, dim: axes?, unbiased: flag, keepdim: flag"),
    **_operators("linalg_vector_norm", "self: tensor, ord: number, dim: axes?, keepdim: flag, dtype: dtype?"),
    **_operators("softmax.int log_softmax.int cumsum", "self: tensor, dim: axis, dtype: dtype?"),
    **_operators("_softmax _log_softmax", "self: tensor, dim: axis, half_to_float: flag"),
    **_operators("glu", "self: tensor, dim: axis"),
    # products
    **_operators("linear", "input: tensor, weight: tensor, bias: tensor?"),
    **_operators("mm bmm", "self: tensor, mat2: tensor"),
    **_operators("matmul", "self: tensor, other: tensor"),
    **_operators("dot", "self: tensor, tensor: tensor"),
    **_operators("mv", "self: tensor, vec: tensor"),
    **_operators("addmm", "self: tensor, mat1: tensor, mat2: tensor, beta: number, alpha: number"),
    **_operators("baddbmm", "self: tensor, batch1: tensor, batch2: tensor, beta: number, alpha: number"),
    **_operators(
        "scaled_dot_product_attention",
        "query: tensor, key: tensor, value: tensor, attn_mask: tensor?, dropout_p: nothing, is_causal: flag, "
        "scale: number?, enable_gqa: flag",
    ),
    # convolutions
    **_operators(
        "conv1d conv2d conv3d",
        "input: tensor, weight: tensor, bias: tensor?, stride: steps, padding: margins, dilation: steps, "
        "groups: count",
    ),
    **_operators(
        "conv1d.padding conv2d.padding conv3d.padding",
        "input: tensor, weight: tensor, bias: tensor?, stride: steps, padding: word=valid|same, dilation: steps, "
        "groups: count",
    ),
    **_operators(
        "conv_transpose1d conv_transpose2d.input conv_transpose3d.input",
        "input: tensor, weight: tensor, bias: tensor?, stride: steps, padding: margins, output_padding: margins, "
        "groups: count, dilation: steps",
    ),
    **_operators(
        "convolution",
        "input: tensor, weight: tensor, bias: tensor?, stride: steps, padding: margins, dilation: steps, "
        "transposed: flag, output_padding: margins, groups: count",
    ),
    # norms
    **_operators(
        "layer_norm",
        "input: tensor, normalized_shape: sizes, weight: tensor?, bias: tensor?, eps: number, cudnn_enable: flag",
    ),
    **_operators(
        "native_layer_norm",
        "input: tensor, normalized_shape: sizes, weight: tensor?, bias: tensor?, eps: number",
        TENSORS,
    ),
    **_operators("rms_norm", "input: tensor, normalized_shape: sizes, weight: tensor?, eps: number?"),
    **_operators(
        "group_norm",
        "input: tensor, num_groups: count, weight: tensor?, bias: tensor?, eps: number, cudnn_enabled: flag",
    ),
    **_operators(
        "_native_batch_norm_legit_no_training",
        "input: tensor, weight: tensor?, bias: tensor?, running_mean: tensor, running_var: tensor, momentum: number, "
        "eps: number",
        TENSORS,
    ),
    **_operators(
        "_native_batch_norm_legit.no_stats",
        "input: tensor, weight: tensor?, bias: tensor?, training: flag, momentum: number, eps: number",
        TENSORS,
    ),
    # pools, and other sizes
    **_operators(
        "avg_pool1d", "self: tensor, kernel_size: extents, stride: steps, padding: margins, ceil_mode: flag, "
        "count_include_pad: flag",
    ),
    **_operators(
        "avg_pool2d avg_pool3d", "self: tensor, kernel_size: extents, stride: steps, padding: margins, "
        "ceil_mode: flag, count_include_pad: flag, divisor_override: count?",
    ),
    **_operators(
        "max_pool1d max_pool2d max_pool3d", "self: tensor, kernel_size: extents, stride: steps, padding: margins, "
        "dilation: steps, ceil_mode: flag",
    ),
    **_operators(
        "max_pool2d_with_indices", "self: tensor, kernel_size: extents, stride: steps, padding: margins, "
        "dilation: steps, ceil_mode: flag", TENSORS,
    ),
    **_operators("adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d", "self: tensor, output_size: extents"),
    **_operators(
        "upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest3d.vec _upsample_nearest_exact2d.vec",
        "input: tensor, output_size: extents_of_maps?, scale_factors: factors?",
    ),
    **_operators(
        "upsample_linear1d.vec upsample_bilinear2d.vec upsample_bicubic2d.vec upsample_trilinear3d.vec",
        "input: tensor, output_size: extents_of_maps?, align_corners: flag, scale_factors: factors?",
    ),
    **_operators("pixel_shuffle", "self: tensor, upscale_factor: factor"),
    **_operators("pixel_unshuffle", "self: tensor, downscale_factor: factor"),
    # shapes
    **_operators("reshape", "self: tensor, shape: sizes"),
    **_operators("expand", "self: tensor, size: sizes, implicit: flag"),
    **_operators("flatten.using_ints", "self: tensor, start_dim: axis, end_dim: axis"),
    **_operators("unflatten.int", "self: tensor, dim: axis, sizes: sizes"),
    **_operators("permute", "self: tensor, dims: axes"),
    **_operators("transpose.int", "self: tensor, dim0: axis, dim1: axis"),
    **_operators("t squeeze"),
    **_operators("squeeze.dim unsqueeze", "self: tensor, dim: axis"),
    **_operators("squeeze.dims", "self: tensor, dim: axes"),
    **_operators("select.int", "self: tensor, dim: axis, index: index"),
    **_operators("slice.Tensor", "self: tensor, dim: axis, start: index?, end: index?, step: count"),
    **_operators("slice_scatter", "self: tensor, src: tensor, dim: axis, start: index?, end: index?, step: count"),
    **_operators("select_scatter", "self: tensor, src: tensor, dim: axis, index: index"),
    **_operators("narrow", "self: tensor, dim: axis, start: index, length: index"),
    **_operators("cat stack", "tensors: tensors, dim: axis"),
    **_operators("split.Tensor", "self: tensor, split_size: count, dim: axis", TENSORS),
    **_operators("split_with_sizes", "self: tensor, split_sizes: parts, dim: axis", TENSORS),
    **_operators("chunk", "self: tensor, chunks: few, dim: axis", TENSORS),
    **_operators("unbind.int", "self: tensor, dim: axis", TENSORS),
    **_operators("repeat", "self: tensor, repeats: parts"),
    **_operators("repeat_interleave.self_int", "self: tensor, repeats: count, dim: axis?"),
    **_operators("flip", "self: tensor, dims: axes"),
    **_operators("roll", "self: tensor, shifts: indices, dims: axes"),
    **_operators("tril triu", "self: tensor, diagonal: index"),
    **_operators("constant_pad_nd", "self: tensor, pad: edges, value: number"),
    **_operators(
        "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d",
        "self: tensor, padding: edges",
    ),
    **_operators("pad", "self: tensor, pad: edges, mode: word=constant|reflect|replicate|circular, value: number?"),
    # entries by number
    **_operators("index_select", "self: tensor, dim: axis, index: tensor"),
    **_operators("gather", "self: tensor, dim: axis, index: tensor"),
    **_operators("embedding", "weight: tensor, indices: tensor, padding_idx: index"),
    **_operators("index.Tensor", "self: tensor, indices: tensors?"),
    # of nothing
    **_operators("full", "size: sizes, fill_value: number, dtype: dtype?"),
    **_operators("zeros ones", "size: sizes, dtype: dtype?"),
    **_operators("full_like", "self: tensor, fill_value: number, dtype: dtype?"),
    **_operators("zeros_like ones_like", "self: tensor, dtype: dtype?"),
    **_operators("new_zeros new_ones", "self: tensor, size: sizes, dtype: dtype?"),
    **_operators("new_full", "self: tensor, size: sizes, fill_value: number, dtype: dtype?"),
    **_operators("arange", "end: number, dtype: dtype?"),
    **_operators("arange.start", "start: number, end: number, dtype: dtype?"),
    **_operators("arange.start_step", "start: number, end: number, step: number, dtype: dtype?"),
    **_operators("linspace", "start: number, end: number, steps: count, dtype: dtype?"),
    **_operators("scalar_tensor", "s: number, dtype: dtype?"),
}  # fmt: skip


def _power(base: float, exponent: float) -> float:
    if type(exponent) is int and 0 <= exponent <= 4:
        return base**exponent
    if exponent == 0.5:
        return math.sqrt(base)
    raise ValueError("a size has the powers 0 to 4 and 1/2 only")


# What sizes are computed with: how many numbers it takes, and the function. Those that compare give 1 or 0.
ARITHMETIC: dict[str, tuple[int, Callable[..., Any]]] = {
    "add": (2, operator.add),
    "sub": (2, operator.sub),
    "mul": (2, operator.mul),
    "floordiv": (2, operator.floordiv),
    "truediv": (2, operator.truediv),
    "mod": (2, operator.mod),
    "pow": (2, _power),
    "min": (2, min),
    "max": (2, max),
    "neg": (1, operator.neg),
    "sqrt": (1, math.sqrt),
    "floor": (1, math.floor),
    "ceil": (1, math.ceil),
    "trunc": (1, math.trunc),
    "float": (1, float),
    "eq": (2, operator.eq),
    "ne": (2, operator.ne),
    "lt": (2, operator.lt),
    "le": (2, operator.le),
    "gt": (2, operator.gt),
    "ge": (2, operator.ge),
}
SIZE, ITEM, CHECK = "size", "item", "check"
