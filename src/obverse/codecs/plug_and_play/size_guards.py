"""What torch.export found out that sizes must be like, from its own notation to nodes of a graph.

    "(L['x'].size()[2] % 4) == 0" ──► size, mod, eq, check

A module that branches on sizes was followed on one way only, and is right only for sizes that go that way. Read when a
model is made; the notation is parsed, not run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from obverse.codecs.plug_and_play.graph import Value
from obverse.codecs.plug_and_play.operators import CHECK, SIZE

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "floordiv", ast.Div: "truediv", ast.Mod: "mod",
    ast.Pow: "pow",
}  # fmt: skip
_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip
_CALLED = {"max": "max", "min": "min", "math.floor": "floor", "math.ceil": "ceil", "math.trunc": "trunc"}


def add_guards(guards: list[str], axes: int, add: Callable[[str, dict[str, Any]], Value]) -> None:
    """Add a check for each guard.

    Args:
        guards: as torch.export writes them.
        axes: of the input.
        add: takes the name of a node's operator and its arguments, and returns its value.

    Raises:
        ValueError: for one that cannot be said with the nodes of a graph.
    """
    for guard in guards:
        try:
            add(CHECK, {"a": _value(ast.parse(guard, mode="eval").body, axes, add)})
        except (SyntaxError, RecursionError, ValueError):
            raise ValueError(f"it branches on sizes in a way that cannot be kept: {guard}") from None


def _value(tree: ast.expr, axes: int, add: Callable[[str, dict[str, Any]], Value]) -> Any:
    """A value, or a number."""
    if isinstance(tree, ast.Constant) and type(tree.value) in (int, float):
        return tree.value
    if isinstance(tree, ast.BinOp) and type(tree.op) in _BINARY:
        return add(
            _BINARY[type(tree.op)], {"a": _value(tree.left, axes, add), "b": _value(tree.right, axes, add)}
        )
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return add("neg", {"a": _value(tree.operand, axes, add)})
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
        return add("eq", {"a": _value(tree.operand, axes, add), "b": 0})
    if isinstance(tree, ast.Compare):
        terms = [_value(one, axes, add) for one in (tree.left, *tree.comparators)]
        parts = [
            add(_COMPARED[type(op)], {"a": a, "b": b})
            for op, a, b in zip(tree.ops, terms[:-1], terms[1:], strict=True)
            if type(op) in _COMPARED
        ]
        if len(parts) == len(tree.ops):
            return _joined("min", parts, add)
    if isinstance(tree, ast.BoolOp):
        name = "min" if isinstance(tree.op, ast.And) else "max"
        return _joined(name, [_value(one, axes, add) for one in tree.values], add)
    if isinstance(tree, ast.Call) and not tree.keywords and ast.unparse(tree.func) in _CALLED:
        name = _CALLED[ast.unparse(tree.func)]
        terms = [_value(one, axes, add) for one in tree.args]
        return _joined(name, terms, add) if name in ("min", "max") else add(name, {"a": terms[0]})
    asked = _asked(tree)
    if asked == ("storage_offset", 0):
        return 0  # what runs a graph gives it arrays that lie in order, from the start
    if asked is not None and asked[0] == "size":
        return add(SIZE, {"of": Value(0), "axis": asked[1]})
    if asked is not None and asked[0] == "stride":
        inner = [add(SIZE, {"of": Value(0), "axis": axis}) for axis in range(asked[1] + 1, axes)]
        return _joined("mul", [1, *inner], add)
    raise ValueError(ast.unparse(tree))


def _joined(name: str, terms: list[Any], add: Callable[[str, dict[str, Any]], Value]) -> Any:
    first, *rest = terms
    for one in rest:
        first = add(name, {"a": first, "b": one})
    return first


def _asked(tree: ast.expr) -> tuple[str, int] | None:
    """Of `L['x'].size()[1]`, which is of the one input: ("size", 1); or of stride() and storage_offset()."""
    axis = 0
    if isinstance(tree, ast.Subscript) and isinstance(tree.slice, ast.Constant):
        tree, axis = tree.value, tree.slice.value  # type: ignore[assignment]
    if (
        isinstance(tree, ast.Call) and not tree.args and isinstance(tree.func, ast.Attribute)
        and isinstance(tree.func.value, ast.Subscript) and isinstance(tree.func.value.value, ast.Name)
        and tree.func.value.value.id == "L" and type(axis) is int
    ):  # fmt: skip
        return tree.func.attr, axis
    return None
