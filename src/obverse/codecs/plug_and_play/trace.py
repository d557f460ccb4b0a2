"""From a module, or a program of torch.export, to a graph of our own: at the encoder only, from what its user trusts.

    method of the module ──► torch.export ──► program of ATen operators ──► Graph + tensors

Operators that are not of the white list are taken apart by torch where it can; those that are left are named in the
error. Asserts, and copies that change nothing, are left out.
"""

from __future__ import annotations

import copy
import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.graph import Graph, Node, Value, Weight
from obverse.codecs.plug_and_play.operators import ARITHMETIC, DTYPES, ITEM, OPERATORS, SIZE
from obverse.codecs.plug_and_play.size_guards import add_guards
from obverse.errors import ExportError, ModelError

Array = npt.NDArray[Any]
_END = 2**63 - 1  # of a slice that goes to the end
_PASSES = 4
_SAME = {  # what makes of its first argument the same
    "clone.default", "alias.default", "detach.default", "detach_.default", "lift_fresh_copy.default", "lift.default",
    "dropout.default", "feature_dropout.default", "alpha_dropout.default", "to.device",
}  # fmt: skip
_RENAMED = {
    "view.default": "reshape.default",
    "_unsafe_view.default": "reshape.default",
    "to.dtype": "_to_copy.default",
    "to.dtype_layout": "_to_copy.default",
    "relu_.default": "relu.default",
}
# arguments that say where and how a tensor lies, not what is in it
_PLACE = {"device", "layout", "pin_memory", "memory_format", "non_blocking", "copy", "generator"}


def traced(module: Any, name: str, example: Any) -> tuple[Graph, dict[str, Array]]:
    """One method of a module as a graph and the tensors that it names.

    Batches may have any length, and images or maps any size, unless the module fixes it.

    Args:
        module: with the method, a function of one tensor.
        name: of the method: "encode" or "decode".
        example: a tensor that it takes.

    Raises:
        ExportError: for what torch.export cannot write, and for operators that are not of the white list.
    """
    import torch
    from torch import nn

    class Part(nn.Module):
        """One method of the model as a module."""

        def __init__(self) -> None:
            super().__init__()
            self.model = copy.deepcopy(module).eval().requires_grad_(False)

        def forward(self, x: torch.Tensor) -> Any:
            made = getattr(self.model, name)(x)
            return tuple(made) if isinstance(made, list) else made

    free = {axis: torch.export.Dim.AUTO for axis in (0, *range(2, example.ndim))}
    try:
        with _silence(), torch.no_grad():
            program = torch.export.export(Part().eval(), (example,), dynamic_shapes=({**free},))
    except Exception as error:  # of torch.export, of many kinds
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"torch.export cannot write the model's {name}: {why}; keep data-dependent Python out of it"
        ) from error
    return of_program(program, name, "model.")


@contextmanager
def _silence() -> Iterator[None]:
    """Without what torch.export tells programmers: warnings, its log, and the graph that it could not finish.

    What is wrong is in what it raises.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def of_program(program: Any, name: str, prefix: str = "") -> tuple[Graph, dict[str, Array]]:
    """An exported program of one input as a graph and the tensors that it names.

    Args:
        program: a torch.export.ExportedProgram.
        name: "encode" or "decode", as errors call it.
        prefix: what the names of its tensors lose.

    Raises:
        ExportError: where it is no function of one tensor, and for operators that are not of the white list.
    """
    import torch

    guards = list(getattr(program, "_guards_code", None) or [])
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = _taken_apart(program)
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"the model's {name} cannot be taken apart: {why}") from error
    needed = _needed(program.graph)
    unknown = _unknown(needed)
    if unknown:
        random = [one for one in unknown if _is_random(one)]
        if random:
            raise ExportError(
                f"the model's {name} draws random numbers ({', '.join(map(str, random))}): make it deterministic"
            )
        raise ExportError(
            f"the model's {name} uses what a stored model cannot hold: {', '.join(sorted(map(str, unknown)))}; put "
            "operators in their place that it can (docs/how-to/plug-and-play.md)"
        )
    translation = _Translation(program, guards, prefix)
    try:
        graph = translation.graph(needed)
        # what cannot be read again is found out here, not when somebody decodes
        graph = Graph.from_json(graph.to_json(), translation.weights)
    except (ValueError, KeyError, AttributeError, ModelError) as error:
        raise ExportError(f"the model's {name} cannot be stored: {error}") from error
    return graph, translation.weights


def _taken_apart(program: Any) -> Any:
    """Without operators that change their arguments; those that are not of the white list as those they are made of."""
    import torch

    program = program.run_decompositions({})
    table = torch.export.default_decompositions()
    for _ in range(_PASSES):
        chosen = {}
        for operator in _unknown(_needed(program.graph)):
            if operator in table:
                chosen[operator] = table[operator]
        if not chosen:
            break
        program = program.run_decompositions(chosen)
    return program


def _needed(graph: Any) -> list[Any]:
    """The nodes that the output needs, in their order, the output last."""
    wanted = {next(node for node in graph.nodes if node.op == "output")}
    for node in reversed(list(graph.nodes)):
        if node in wanted:
            wanted.update(node.all_input_nodes)
    return [node for node in graph.nodes if node in wanted]


def _unknown(nodes: list[Any]) -> set[Any]:
    """What they call that is not of the white list."""
    return {
        node.target
        for node in nodes
        if node.op not in ("placeholder", "output")
        and (node.op != "call_function" or _name(node.target) is None)
    }


def _name(target: Any) -> str | None:
    """What a graph calls it; None for what it cannot hold."""
    import torch

    if isinstance(target, torch._ops.OpOverload):
        if target.namespace != "aten":
            return None
        name = f"{target._schema.name.partition('::')[2]}.{target._schema.overload_name or 'default'}"
        if name == "sym_size.int":
            return SIZE
        name = _RENAMED.get(name, name)
        return name if name in OPERATORS or name in _SAME else None
    return _arithmetic().get(target)


def _arithmetic() -> dict[Any, str]:
    """What torch.export computes sizes with, by the names of a graph."""
    import operator

    import torch

    return {
        operator.getitem: ITEM, operator.add: "add", operator.sub: "sub", operator.mul: "mul",
        operator.floordiv: "floordiv", operator.truediv: "truediv", operator.mod: "mod", operator.pow: "pow",
        operator.neg: "neg", torch.sym_min: "min", torch.sym_max: "max", torch.sym_float: "float",
        math.floor: "floor", math.ceil: "ceil", math.trunc: "trunc", torch.sym_int: "trunc",
        getattr(torch, "_sym_sqrt", math.sqrt): "sqrt", getattr(torch, "sym_sum", None): "sum",
    }  # fmt: skip


def _is_random(target: Any) -> bool:
    import torch

    return torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())


@dataclass
class _Translation:
    """The nodes of a program as those of a graph. guards: what sizes must be like. weights: the tensors that it names,
    as far as it is done."""

    program: Any
    guards: list[str]
    prefix: str
    weights: dict[str, Array] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    made: dict[Any, Value | Weight] = field(default_factory=dict)

    def graph(self, needed: list[Any]) -> Graph:
        """Raises ValueError."""
        shape = self._placeholders()
        add_guards(self.guards, len(shape), self._add)
        for node in needed:
            if node.op == "call_function":
                self.made[node] = self._call(node)
        outputs = needed[-1].args[0]
        given = outputs if isinstance(outputs, tuple | list) else [outputs]
        if any(one not in self.made for one in given):
            raise ValueError("it returns something that is no tensor")
        return Graph(shape, tuple(self.nodes), tuple(self.made[one] for one in given))

    def _placeholders(self) -> tuple[int | None, ...]:
        """The sizes of the one input."""
        from torch.export.graph_signature import InputKind

        shape: tuple[int | None, ...] | None = None
        placeholders = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        for node, spec in zip(placeholders, self.program.graph_signature.input_specs, strict=True):
            if spec.kind == InputKind.USER_INPUT:
                if shape is not None or "val" not in node.meta or not hasattr(node.meta["val"], "shape"):
                    raise ValueError("it takes more than one tensor")
                shape = tuple(size if type(size) is int else None for size in node.meta["val"].shape)
                self.made[node] = Value(0)
            elif node.users:
                self.made[node] = self._weight(spec.target)
        if shape is None:
            raise ValueError("it takes no tensor")
        return shape

    def _weight(self, target: str) -> Weight:
        found = self.program.state_dict.get(target)
        tensor = (self.program.constants[target] if found is None else found).detach().cpu()
        name = target.removeprefix(self.prefix)
        if str(tensor.dtype).removeprefix("torch.") not in DTYPES:
            raise ValueError(f"the tensor {name} is {tensor.dtype}: convert it to float32")
        self.weights[name] = np.array(tensor.contiguous().numpy())
        return Weight(name)

    def _call(self, node: Any) -> Value | Weight:
        name = _name(node.target) or ""
        if name in _SAME:
            if "dropout" in name and len(node.args) > 2 and node.args[2]:
                raise ValueError("it drops numbers at random: make it deterministic")
            return self.made[node.args[0]]
        if name == SIZE:
            return self._add(SIZE, {"of": self.made[node.args[0]], "axis": node.args[1]})
        if name == ITEM:
            return self._add(ITEM, {"of": self.made[node.args[0]], "index": node.args[1]})
        if name == "sum":
            first, *rest = (self._plain(one) for one in node.args[0])
            for one in rest:
                first = self._add("add", {"a": first, "b": one})
            return first if isinstance(first, Value) else self._add("float", {"a": first})
        if name in ARITHMETIC:
            return self._add(name, dict(zip(("a", "b"), map(self._plain, node.args), strict=False)))
        return self._add(name, self._arguments(name, node))

    def _arguments(self, name: str, node: Any) -> dict[str, Any]:
        """By name, without those that are what torch takes anyway. Raises ValueError."""
        known = {argument.name: argument for argument in OPERATORS[name].arguments}
        schema = node.target._schema.arguments
        given = {one.name: value for one, value in zip(schema, node.args, strict=False)} | dict(node.kwargs)
        defaults = {one.name: one.default_value for one in schema if one.has_default_value()}
        if name == "reshape.default":
            given["shape"] = given.pop("size", None) or given.pop("shape")
        arguments = {}
        for key, value in given.items():
            if key in _PLACE or (key in defaults and key not in known and value == defaults[key]):
                continue
            if key not in known:
                raise ValueError(f"{name} with {key}={value} is not stored")
            if (
                key in defaults
                and not isinstance(value, type(node))
                and value == defaults[key]
                and type(value) is type(defaults[key])
            ):
                continue
            if key in ("end", "start") and value == _END:
                value = None
            arguments[key] = self._plain(value)
        return {key: arguments[key] for key in known if key in arguments}

    def _plain(self, value: Any) -> Any:
        """An argument as a graph says it. Raises ValueError."""
        import torch

        if isinstance(value, torch.fx.Node):
            return self.made[value]
        if isinstance(value, tuple | list):
            return [self._plain(one) for one in value]
        if isinstance(value, torch.dtype):
            return str(value).removeprefix("torch.")
        if value is None or type(value) in (bool, int, float, str):
            return value
        raise ValueError(f"{value!r} is not stored")

    def _add(self, name: str, arguments: dict[str, Any]) -> Value:
        self.nodes.append(Node(name, arguments))
        return Value(len(self.nodes))
