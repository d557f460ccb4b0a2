"""Runs a graph: first on shapes alone, which says what it takes, then on numbers.

    shape ──► plan, on tensors without numbers ──► bytes at once, multiplications ──► within the limits?
    array ──► node after node ──► arrays

What a graph asks for is known before anything of it is allocated, so that a damaged or hostile one ends in an error,
not in a full memory or a long wait. What is let through is in proportion to the data: `BASE_WORK + WORK * numbers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.graph import Graph, Node, Value, Weight, leaves_of
from obverse.codecs.plug_and_play.operators import (
    ARITHMETIC,
    CHECK,
    DTYPES,
    ITEM,
    LARGEST_NUMBER,
    MOST_ITEMS,
    OPERATORS,
    SIZE,
    TENSORS,
    Argument,
)
from obverse.codecs.plug_and_play.step_costs import parts, parts_memory, scratch, tensors_of, work
from obverse.container import Limits
from obverse.errors import InputError, LimitError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]
BASE_WORK = 2**36  # multiplications that any network may take, and for each number of its input
WORK = 2**27
NUMBER_BYTES = 4096  # that a number of the data may take at the encoder, where no limits are given
MOST_PARTS = 1 << 17  # tensors that operators of several make, all nodes together
_PLANS = 64  # shapes whose plans are kept
LARGEST_STEP = 256  # of sizes, that are looked for where those of an input do not fit
_ERRORS = (
    RuntimeError, ValueError, TypeError, AssertionError, LookupError, AttributeError, ArithmeticError,
)  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """What a graph takes for an input of one shape.

    Attributes:
        memory: bytes of tensors at once, without the weights.
        work: multiplications, about.
        output: bytes of what it returns.
    """

    memory: int
    work: int
    output: int


@dataclass(frozen=True)
class GraphFunction:
    """A stored network as a function of an array.

    Attributes:
        graph: what it does.
        weights: the tensors that it names.
        name: "encode" or "decode", as errors call it.
    """

    graph: Graph
    weights: Mapping[str, Array]
    name: str
    _plans: dict[tuple[int, ...], Needs] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        import torch

        return {name: torch.from_numpy(array) for name, array in self.weights.items()}

    @cached_property
    def _shapes(self) -> dict[str, Tensor]:
        return {name: tensor.to("meta") for name, tensor in self._tensors.items()}

    def __call__(self, array: Array, limits: Limits | None = None) -> Any:
        """What the network makes: float32, a tuple where it is several.

        Args:
            array: float32, of the shape that the graph takes.
            limits: on memory; by default in proportion to the data.

        Raises:
            InputError: for an array of another shape, and one that the network cannot be run on.
            LimitError: where that takes more memory than there may be.
            ModelError: where it takes more work than any network of such data.
        """
        import torch

        given = np.ascontiguousarray(array, np.float32)
        self._check_shape(given.shape)
        self._check_needs(given, limits)
        x = torch.from_numpy(given if given.flags.writeable else given.copy())
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            try:
                made = _Run(self.graph, self._tensors).of(x)
            except (*_ERRORS, MemoryError) as error:
                raise self._cannot_run(given.shape, error) from None
            arrays = tuple(part.to("cpu", torch.float32).numpy() for part in made)
        return arrays if len(arrays) > 1 else arrays[0]

    def needs(self, shape: tuple[int, ...]) -> Needs:
        """What an input of this shape takes, found without any numbers.

        Raises:
            InputError: where the network does not take it.
        """
        self._check_shape(shape)
        if shape not in self._plans:
            import torch

            try:
                with torch.inference_mode(), torch.autocast("cpu", enabled=False):
                    plan = _Plan(self.graph, self._shapes)
                    plan.of(torch.empty(shape, dtype=torch.float32, device="meta"))
            except _ERRORS as error:
                raise self._cannot_run(shape, error) from None
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[shape] = Needs(plan.peak, plan.work, plan.output)
        return self._plans[shape]

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        wanted = self.graph.input
        if len(shape) != len(wanted) or any(
            size < 1 or fixed not in (None, size) for size, fixed in zip(shape, wanted, strict=True)
        ):
            pattern = ", ".join("any" if size is None else str(size) for size in wanted)
            raise InputError(
                f"the model's {self.name} cannot be run on an array of shape {shape}: it takes ({pattern})"
            )

    def _check_needs(self, given: Array, limits: Limits | None) -> None:
        needs = self.needs(given.shape)
        default = Limits().memory
        memory = limits.memory if limits else default + NUMBER_BYTES * given.size
        if needs.memory > memory:
            raise LimitError(
                f"the model's {self.name} takes {needs.memory:,} bytes of memory for an array of shape {given.shape}, "
                f"more than the limit of {memory:,}; if you trust the model and the data, raise the limit with "
                f"limits=Limits(memory={needs.memory}), or compress smaller data"
            )
        self.check_work(needs.work, given.shape, memory)

    def check_work(self, work: int, shape: tuple[int, ...], memory: int) -> None:
        """Check the work on an array, which may be done in several parts.

        Args:
            work: multiplications, of all parts.
            shape: of the whole array.
            memory: limit in bytes; who allows more of it than by default allows more work.

        Raises:
            ModelError: where it is more than any network of such data takes.
        """
        most = (BASE_WORK + WORK * math.prod(shape)) * max(1, memory // Limits().memory)
        if work > most:
            raise ModelError(
                f"the model's {self.name} takes {work:.2g} multiplications for an array of shape {shape}, "
                f"more than the {most:.2g} that it may take; if you trust it, decode without limits (--unlimited)"
            )

    def _cannot_run(self, shape: tuple[int, ...], error: BaseException) -> InputError:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        fits = self._fitting(shape)
        remedy = f"; it takes {fits}" if fits else ""
        return InputError(
            f"the model's {self.name} cannot be run on an array of shape {shape}: {why}{remedy}"
        )

    def _fitting(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape with those sizes that may be any, all but the first, raised to multiples of the least power of two
        with which the network can be run; None where there is none up to LARGEST_STEP."""
        import torch

        step = 2
        while step <= LARGEST_STEP:
            fits = tuple(
                size if i == 0 or fixed is not None else -(-size // step) * step
                for i, (size, fixed) in enumerate(zip(shape, self.graph.input, strict=True))
            )
            with suppress(*_ERRORS), torch.inference_mode(), torch.autocast("cpu", enabled=False):
                if fits != shape:
                    _Plan(self.graph, self._shapes).of(torch.empty(fits, dtype=torch.float32, device="meta"))
                    return fits
            step *= 2
        return None


class _Run:
    """A graph, run once.

    Values are let go where they are used last.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, Tensor]):
        self.graph, self.weights = graph, weights
        self.values: dict[int, Any] = {}
        self.parts = 0
        self.last = {0: -1}
        for number, node in enumerate(graph.nodes):
            self.last[number + 1] = number
            for leaf in leaves_of(node.arguments):
                if isinstance(leaf, Value):
                    self.last[leaf.number] = number
        for leaf in graph.output:
            if isinstance(leaf, Value):
                self.last[leaf.number] = len(graph.nodes)
        self.freed: dict[int, list[int]] = {}
        for value, number in self.last.items():
            self.freed.setdefault(number, []).append(value)

    def of(self, x: Tensor) -> list[Tensor]:
        """What it returns for this input."""
        self.values[0] = x
        for number, node in enumerate(self.graph.nodes):
            arguments = {name: self._argument(given, node, name) for name, given in node.arguments.items()}
            self.values[number + 1] = made = self.step(node, arguments, x)
            self.account(node, arguments, made)
            for value in self.freed.get(number, ()):
                self.free(value)
        made = [self._leaf(leaf) for leaf in self.graph.output]
        self.account_output(made)
        return made

    def account_output(self, made: list[Tensor]) -> None:
        """Told of what is returned."""

    def step(self, node: Node, arguments: dict[str, Any], x: Tensor) -> Any:
        """What one node makes."""
        name = node.operator
        if name == SIZE:
            return int(arguments["of"].shape[arguments["axis"]])
        if name == ITEM:
            return arguments["of"][arguments["index"]]
        if name == CHECK:
            if not arguments["a"]:
                raise ValueError("the sizes do not go through its layers")
            return 1
        if name in ARITHMETIC:
            return _in_range(ARITHMETIC[name][1](*arguments.values()))
        operator = OPERATORS[name]
        if operator.makes == TENSORS:
            count = parts(name, arguments)
            if count > MOST_ITEMS:
                raise ValueError(f"{name} makes more than {MOST_ITEMS} tensors")
            self.parts += count
            if self.parts > MOST_PARTS:
                raise ModelError(f"the network takes tensors apart into more than {MOST_PARTS:,}")
        if operator.needs_device:
            arguments = arguments | {"device": x.device}
        first = operator.arguments[0].name
        positional = [arguments[first]] if first in arguments else []
        named = {key: given for key, given in arguments.items() if key != first}
        return _functions()[name](*positional, **named)

    def account(self, node: Node, arguments: dict[str, Any], made: Any) -> None:
        """Told of every step."""

    def free(self, value: int) -> None:
        """A value is not needed any more."""
        del self.values[value]

    def _leaf(self, given: Any) -> Any:
        if isinstance(given, Value):
            return self.values[given.number]
        return self.weights[given.name] if isinstance(given, Weight) else given

    def _argument(self, given: Any, node: Node, name: str) -> Any:
        wanted = _ARGUMENTS.get((node.operator, name))
        if wanted is not None and wanted.takes == "dtype":
            return _dtypes()[given] if given is not None else None
        found = [self._leaf(one) for one in given] if isinstance(given, list) else self._leaf(given)
        if wanted is not None:
            for one in found if isinstance(found, list) else [found]:
                # a number that was computed of sizes is known only now
                if type(one) in (int, float) and not wanted.allows(one):
                    raise ValueError(f"{node.operator} is given {one} for {name}, which it cannot be")
        return found


class _Plan(_Run):
    """A graph, run on tensors without numbers: counts what it takes."""

    def __init__(self, graph: Graph, weights: Mapping[str, Tensor]):
        super().__init__(graph, weights)
        self.peak = self.held = self.work = self.output = 0
        self.owners: dict[int, int] = {}  # of each storage, how many values are in it
        self.stored = {one.untyped_storage()._cdata for one in weights.values()}

    def account(self, node: Node, arguments: dict[str, Any], made: Any) -> None:
        """Counts what is held now, with what the step may copy of expanded tensors, and its work."""
        new = False
        self.held += parts_memory(made)
        for tensor in tensors_of(made):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.stored:
                if storage._cdata not in self.owners:
                    self.held += storage.nbytes()
                    new = True
                self.owners[storage._cdata] = self.owners.get(storage._cdata, 0) + 1
        self.peak = max(self.peak, self.held + (scratch(node.operator, arguments, made) if new else 0))
        self.work += work(node.operator, arguments, made)

    def account_output(self, made: list[Tensor]) -> None:
        """Counts what is made of it: float32, of the whole shape."""
        self.output = sum(4 * math.prod(tensor.shape) for tensor in made)
        self.peak = max(self.peak, self.held + self.output)

    def free(self, value: int) -> None:
        """And counts what is held without it."""
        self.held -= parts_memory(self.values[value])
        for tensor in tensors_of(self.values[value]):
            storage = tensor.untyped_storage()
            if storage._cdata in self.owners:
                self.owners[storage._cdata] -= 1
                if not self.owners[storage._cdata]:
                    del self.owners[storage._cdata]
                    self.held -= storage.nbytes()
        super().free(value)


def _in_range(number: Any) -> Any:
    """Raises ValueError."""
    number = int(number) if type(number) is bool else number
    if type(number) not in (int, float) or not abs(number) <= LARGEST_NUMBER:
        raise ValueError(f"a size is computed to {str(number)[:40]}")
    return number


_ARGUMENTS: dict[tuple[str, str], Argument] = {
    (operator.name, argument.name): argument
    for operator in OPERATORS.values()
    for argument in operator.arguments
}


@cache
def _functions() -> dict[str, Callable[..., Any]]:
    """The operators of the white list, as torch has them."""
    import torch

    found = {}
    for name in OPERATORS:
        packet, _, overload = name.partition(".")
        found[name] = getattr(getattr(torch.ops.aten, packet), overload)
    return found


@cache
def _dtypes() -> dict[str, Any]:
    import torch

    return {name: getattr(torch, name) for name in DTYPES}
