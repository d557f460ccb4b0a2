"""A network as a graph: which operator takes what, in the order in which they run. Data, of which nothing is evaluated.

    {"input": [null, 3, null, null],                                  sizes of the input, null where any will do
     "nodes": [{"op": "size", "args": {"of": {"value": 0}, "axis": 0}},                              value 1
               {"op": "conv2d.default",                                                              value 2
                "args": {"input": {"value": 0}, "weight": {"weight": "encoder.0.weight"}, "stride": [2, 2]}}],
     "output": [{"value": 2}]}

Value 0 is the input, value i is what node i - 1 makes. Operators are those of `operators.py`, and four kinds of nodes
besides: `size`, of an axis of a tensor; `item`, of what makes several tensors; the arithmetic of sizes; and `check`,
which lets only inputs through for which a number is not 0. Whoever wrote the JSON, a `Graph` that was read of it is of
known operators, with arguments of the right kinds, that refer back only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from obverse.codecs.plug_and_play.operators import (
    ARITHMETIC,
    CHECK,
    DTYPES,
    ITEM,
    LARGEST_NUMBER,
    LARGEST_SIZE,
    MOST_ITEMS,
    NUMBER,
    OPERATORS,
    SIZE,
    TENSOR,
    TENSORS,
    Argument,
)
from obverse.errors import ModelError

MOST_BYTES = 1 << 24  # of the JSON
MOST_NODES = 1 << 14
MOST_AXES = 8
_SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}  # JSON has no such numbers
_OF = Argument("of", TENSOR)
_SIZE = {"of": _OF, "axis": Argument("axis", NUMBER, low=-MOST_AXES, high=MOST_AXES - 1)}
_TERM = Argument("term", NUMBER, low=-LARGEST_NUMBER, high=LARGEST_NUMBER, floats=True)


@dataclass(frozen=True)
class Value:
    """What a node made, by its number; 0 is the input."""

    number: int


@dataclass(frozen=True)
class Weight:
    """A stored tensor, by its name."""

    name: str


@dataclass(frozen=True)
class Node:
    """One step: an operator of the white list, "size", "item", "check", or one of the arithmetic of sizes.

    Attributes:
        operator: its name.
        arguments: by name; a `Value`, a `Weight`, a plain value, or a list of these.
    """

    operator: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Graph:
    """What a network does.

    Attributes:
        input: the sizes of its input, None where any will do.
        nodes: in the order in which they run.
        output: what it returns.
    """

    input: tuple[int | None, ...]
    nodes: tuple[Node, ...]
    output: tuple[Value | Weight, ...]

    @property
    def weights(self) -> set[str]:
        """Names of the tensors that it needs."""
        leaves = [leaf for node in self.nodes for leaf in leaves_of(node.arguments)] + list(self.output)
        return {leaf.name for leaf in leaves if isinstance(leaf, Weight)}

    def to_json(self) -> bytes:
        """What `from_json` reads."""
        nodes = [{"op": node.operator, "args": _plain(node.arguments)} for node in self.nodes]
        made = {"input": list(self.input), "nodes": nodes, "output": _plain(list(self.output))}
        return json.dumps(made, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes, weights: Collection[str]) -> Graph:
        """Read and check.

        Args:
            text: of anybody's.
            weights: names of the tensors that there are.

        Raises:
            ModelError: for what is no graph; it names the node.
        """
        if len(text) > MOST_BYTES:
            raise ModelError(f"the graph has {len(text):,} bytes, more than {MOST_BYTES:,}")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"the graph is no JSON: {error}") from None
        if type(found) is not dict or set(found) != {"input", "nodes", "output"}:
            raise ModelError("the graph has not the keys input, nodes and output")
        shape, listed, output = found["input"], found["nodes"], found["output"]
        if (
            type(shape) is not list or not 1 <= len(shape) <= MOST_AXES
            or not all(size is None or (type(size) is int and 1 <= size <= LARGEST_SIZE) for size in shape)
        ):  # fmt: skip
            raise ModelError(f"the graph's input is no list of 1 to {MOST_AXES} sizes")
        if type(listed) is not list or len(listed) > MOST_NODES:
            raise ModelError(f"the graph's nodes are no list of at most {MOST_NODES:,}")
        if type(output) is not list or not 1 <= len(output) <= MOST_AXES:
            raise ModelError("the graph's output is no list of values")
        scope = _Scope([TENSOR], weights)
        nodes = []
        for number, one in enumerate(listed):
            try:
                nodes.append(scope.node(one))
            except ValueError as error:
                name = one.get("op") if type(one) is dict else None
                told = f" ({name})" if type(name) is str and len(name) <= 64 else ""
                raise ModelError(f"node {number}{told} of the graph is not right: {error}") from None
        try:
            outputs = tuple(scope.tensor(one) for one in output)
        except ValueError as error:
            raise ModelError(f"the output of the graph is not right: {error}") from None
        return cls(tuple(shape), tuple(nodes), outputs)


def leaves_of(arguments: Mapping[str, Any]) -> list[Any]:
    """What the arguments of a node are, those of lists one by one."""
    found: list[Any] = []
    for given in arguments.values():
        found += given if isinstance(given, list) else [given]
    return found


@dataclass(frozen=True)
class _Scope:
    """What the next node may refer to.

    kinds: of the values so far. weights: names of the tensors.
    """

    kinds: list[str]
    weights: Collection[str]

    def node(self, found: Any) -> Node:
        """Raises ValueError."""
        if type(found) is not dict or set(found) != {"op", "args"}:
            raise ValueError("it has not the keys op and args")
        name, given = found["op"], found["args"]
        if type(name) is not str or type(given) is not dict:
            raise ValueError("op is no text, or args is no map")
        if name in OPERATORS:
            operator = OPERATORS[name]
            arguments = self._arguments(given, {one.name: one for one in operator.arguments})
            self.kinds.append(operator.makes)
        elif name == SIZE:
            arguments = self._arguments(given, _SIZE, all_of_them=True)
            self.kinds.append(NUMBER)
        elif name in ARITHMETIC or name == CHECK:
            wanted = dict.fromkeys(("a", "b")[: ARITHMETIC[name][0] if name != CHECK else 1], _TERM)
            arguments = self._arguments(given, wanted, all_of_them=True)
            self.kinds.append(NUMBER)
        elif name == ITEM:
            arguments = self._item(given)
            self.kinds.append(TENSOR)
        else:
            raise ValueError(f"there is no operator {name[:64]!r}")
        return Node(name, arguments)

    def _arguments(
        self, given: dict[str, Any], wanted: Mapping[str, Argument], all_of_them: bool = False
    ) -> dict[str, Any]:
        if not set(given) <= set(wanted) or (all_of_them and set(given) != set(wanted)):
            raise ValueError(f"its arguments are {', '.join(wanted)}")
        # torch has defaults for what can be left out, and says so where it has none
        return {name: self._argument(given[name], wanted[name]) for name in wanted if name in given}

    def _item(self, given: dict[str, Any]) -> dict[str, Any]:
        if set(given) != {"of", "index"}:
            raise ValueError("its arguments are of, index")
        index = given["index"]
        if type(index) is not int or not 0 <= index < MOST_ITEMS:
            raise ValueError("its index is no number of an item")
        return {"of": self._value(given["of"], TENSORS), "index": index}

    def _argument(self, given: Any, wanted: Argument) -> Any:
        """What JSON says of an argument, checked."""
        several = wanted.most > 0
        if given is None:
            if not wanted.optional or (several and wanted.takes == TENSOR):
                raise ValueError(f"{wanted.name} is missing")
            return None
        if not several:
            return self._one(given, wanted)
        if type(given) is not list or len(given) > wanted.most:
            raise ValueError(f"{wanted.name} is no list of at most {wanted.most}")
        holes = wanted.optional and wanted.takes == TENSOR
        return [None if one is None and holes else self._one(one, wanted) for one in given]

    def _one(self, given: Any, wanted: Argument) -> Any:
        if wanted.takes == TENSOR and not (wanted.or_number and not _names_tensor(given, self.kinds)):
            return self.tensor(given)
        if wanted.takes in (TENSOR, NUMBER):
            if type(given) is dict and "value" in given:
                return self._value(given, NUMBER)
            number = _number(given)
            if not wanted.allows(number):
                raise ValueError(f"{wanted.name} is no number that it may be")
            return number
        if wanted.takes == "flag":
            if type(given) is not bool:
                raise ValueError(f"{wanted.name} is neither true nor false")
            return given
        words = DTYPES if wanted.takes == "dtype" else wanted.words
        if type(given) is not str or given not in words:
            raise ValueError(f"{wanted.name} is none of {', '.join(words)}")
        return given

    def tensor(self, given: Any) -> Value | Weight:
        """Raises ValueError."""
        if type(given) is dict and set(given) == {"weight"}:
            name = given["weight"]
            if type(name) is not str or name not in self.weights:
                raise ValueError("a weight that it needs is not there")
            return Weight(name)
        return self._value(given, TENSOR)

    def _value(self, given: Any, kind: str) -> Value:
        if type(given) is not dict or set(given) != {"value"}:
            raise ValueError(f"where {kind} is wanted, something else is given")
        number = given["value"]
        if type(number) is not int or not 0 <= number < len(self.kinds):
            raise ValueError("it refers to a value that is not made before")
        if self.kinds[number] != kind:
            raise ValueError(f"value {number} is {self.kinds[number]}, not {kind}")
        return Value(number)


def _names_tensor(given: Any, kinds: list[str]) -> bool:
    """Whether JSON refers to a tensor, not to a number."""
    if type(given) is not dict:
        return False
    number = given.get("value")
    return "weight" in given or (type(number) is int and 0 <= number < len(kinds) and kinds[number] != NUMBER)


def _number(given: Any) -> Any:
    if type(given) is dict and set(given) == {"number"} and type(given["number"]) is str:
        return _SPECIAL.get(given["number"])
    return given


def _plain(given: Any) -> Any:
    """As JSON says it."""
    if isinstance(given, Value):
        return {"value": given.number}
    if isinstance(given, Weight):
        return {"weight": given.name}
    if isinstance(given, dict):
        return {name: _plain(one) for name, one in given.items()}
    if isinstance(given, list):
        return [_plain(one) for one in given]
    if type(given) is float and not math.isfinite(given):
        return {"number": next(name for name, value in _SPECIAL.items() if repr(value) == repr(given))}
    return given
