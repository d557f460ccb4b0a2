"""What one step of a graph takes, told by the shapes of what it reads and makes: memory, and multiplications."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from obverse.codecs.plug_and_play.operators import LARGEST_NUMBER

PART_WORK = 2**14  # that a tensor takes to be made, however small it is
PART_BYTES = 512  # and of memory, each of several
ALWAYS_ORDERED = 20480  # numbers of an input, above which torch convolves float32 without patches
_AS_THEY_ARE = (
    "_to_copy", "copy", "gather", "index", "index_select", "embedding", "argmax", "argmin", "full_like", "zeros_like",
    "ones_like", "new_zeros", "new_ones", "new_full",
)  # fmt: skip


def tensors_of(made: Any) -> Iterator[Any]:
    """Those of a tensor, or of several."""
    if isinstance(made, tuple | list):
        yield from made
    elif hasattr(made, "untyped_storage"):
        yield made


def parts_memory(made: Any) -> int:
    """Bytes of several tensors without their numbers."""
    return PART_BYTES * len(made) if isinstance(made, tuple | list) else 0


def _flat(arguments: Mapping[str, Any]) -> list[Any]:
    """All arguments, those of lists one by one."""
    return [one for given in arguments.values() for one in (given if isinstance(given, list) else [given])]


def parts(name: str, arguments: Mapping[str, Any]) -> int:
    """How many tensors an operator makes that takes one apart."""
    if name == "split_with_sizes.default":
        return len(arguments["split_sizes"])
    if name == "chunk.default":
        return int(arguments["chunks"])
    if name not in ("split.Tensor", "unbind.int"):
        return 2  # or three: values and indices, means and variances
    length = int(arguments["self"].shape[arguments.get("dim", 0)])
    return -(-length // int(arguments.get("split_size", 1)))


def scratch(name: str, arguments: Mapping[str, Any], made: Any) -> int:
    """Bytes that a step may take for itself: copies of what was expanded, broadcast or is of another type, patches that
    a convolution multiplies, and what attention compares."""
    base = name.partition(".")[0]
    taken = _casts(base, arguments, made)
    for tensor in _flat(arguments):
        if hasattr(tensor, "untyped_storage"):
            size = math.prod(tensor.shape) * tensor.itemsize
            taken += size if size > tensor.untyped_storage().nbytes() else 0
    if name == "scaled_dot_product_attention.default":
        query, key = arguments["query"].shape, arguments["key"].shape
        taken += 4 * math.prod(query[:-1]) * int(key[-2])
    if base == "matmul":
        taken += sum(_broadcast(arguments[one], made) for one in ("self", "other"))
    if base == "logsumexp":
        taken += _bytes(arguments["self"])
    return taken + (_convolution_scratch(base, arguments, made) if base.startswith("conv") else 0)


def _bytes(tensor: Any) -> int:
    return int(math.prod(tensor.shape) * tensor.itemsize)


def _casts(base: str, arguments: Mapping[str, Any], made: Any) -> int:
    """Bytes of tensors that are first converted to the type in which a step computes."""
    if base in _AS_THEY_ARE:
        return 0
    given = _flat(arguments)
    tensors = [one for one in given if hasattr(one, "untyped_storage")]
    widest = max([*tensors, *list(tensors_of(made))[:1]], key=lambda one: one.itemsize, default=None)
    if widest is None:
        return 0
    taken = sum(math.prod(one.shape) * widest.itemsize for one in tensors if one.dtype != widest.dtype)
    if not widest.is_floating_point() and any(type(one) is float for one in given):  # compared as floats
        taken += sum(math.prod(one.shape) * 4 for one in tensors)
    return taken


def _broadcast(factor: Any, product: Any) -> int:
    """Bytes of a factor of a batch of products that is repeated for each of them."""
    whole = math.prod(product.shape[:-2]) * math.prod(factor.shape[-2:])
    return whole * factor.itemsize if factor.ndim > 2 and whole > math.prod(factor.shape) else 0


def _convolution_scratch(base: str, arguments: Mapping[str, Any], made: Any) -> int:
    """Bytes beside input and output: both in another order, as oneDNN takes float32, else a matrix of all patches.

    Where torch chooses between them for float32 is not for us to say: the larger one, where it may take either.
    """
    import torch

    x, weight, groups = arguments["input"], arguments["weight"], int(arguments.get("groups", 1))
    transposed = "transpose" in base or arguments.get("transposed", False)
    axes = weight.ndim - 2
    batch = int(x.shape[0]) if x.ndim == weight.ndim else 1
    places = batch * math.prod((x if transposed else made).shape[-axes:])
    patches = places * math.prod(weight.shape[1:]) * groups * x.itemsize
    ordered = _bytes(x) + _bytes(made) + _bytes(weight)
    if x.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return patches
    large = batch > 1 or groups > 1 or math.prod(x.shape) > ALWAYS_ORDERED
    pointwise = math.prod(weight.shape[2:]) == 1
    return ordered if large and not pointwise else max(ordered, patches)


def work(name: str, arguments: Mapping[str, Any], made: Any) -> int:
    """Multiplications of one step, about; what goes element by element counts 8 for each that is read or written.

    Raises ValueError for more elements than there are numbers for.
    """
    read = _flat(arguments)
    inputs = [math.prod(one.shape) for one in read if hasattr(one, "untyped_storage")]
    outputs = [math.prod(one.shape) for one in tensors_of(made)]
    if max(inputs + outputs, default=0) > LARGEST_NUMBER:
        raise ValueError("it makes more numbers than there are bytes in any machine")
    plain = 8 * (sum(inputs) + sum(outputs)) + PART_WORK * len(outputs)
    base = name.partition(".")[0]
    if base in ("linear", "mm", "bmm", "matmul", "mv", "dot"):
        return plain + sum(outputs) * int(read[0].shape[-1] if read[0].ndim else 1)
    if base in ("addmm", "baddbmm"):
        return plain + sum(outputs) * int(read[1].shape[-1])
    if base.startswith("conv"):
        transposed = "transpose" in base or arguments.get("transposed", False)
        return plain + (inputs[0] if transposed else sum(outputs)) * math.prod(read[1].shape[1:])
    if base == "scaled_dot_product_attention":
        return plain + 4 * inputs[0] * int(arguments["key"].shape[-2])
    if "pool" in base:
        window = arguments.get("kernel_size", ())
        return plain + 8 * sum(outputs) * max(1, math.prod(window) ** (1 if len(window) > 1 else _rank(base)))
    return plain + (256 * sum(outputs) if base.startswith("upsample") else 0)


def _rank(name: str) -> int:
    return next((int(letter) for letter in name if letter.isdigit()), 1)
