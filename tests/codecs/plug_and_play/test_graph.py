"""Graphs of anybody's: nothing is evaluated, and what is damaged or hostile is refused before it takes anything."""

import copy
import json
import random

import numpy as np
import pytest
import torch

from obverse.codecs.plug_and_play.graph import MOST_NODES, Graph
from obverse.codecs.plug_and_play.interpreter import MOST_PARTS, GraphFunction
from obverse.codecs.plug_and_play.operators import OPERATORS, TENSORS
from obverse.codecs.plug_and_play.step_costs import ALWAYS_ORDERED, PART_BYTES, PART_WORK
from obverse.codecs.plug_and_play.trace import traced
from obverse.container import Limits
from obverse.errors import InputError, LimitError, ModelError, ObverseError
from tests.codecs.plug_and_play.models import ResNet, Transformer

X = {"value": 0}
WEIGHTS = {"w": np.ones((4, 3, 3, 3), np.float32), "square": np.ones((64, 64), np.float32)}
WEIGHTS |= {"row": np.ones((1, 64), np.float32), "one": np.ones(1, np.float32)}


def text(*nodes, output=None, shape=(None, 3, None, None)) -> bytes:
    nodes = [{"op": name, "args": arguments} for name, arguments in nodes]
    return json.dumps({
        "input": list(shape), "nodes": nodes, "output": output or [{"value": len(nodes)}],
    }).encode()  # fmt: skip


def run(*nodes, limits=None, shape=(1, 3, 8, 8), **more):
    function = GraphFunction(Graph.from_json(text(*nodes, **more), WEIGHTS), WEIGHTS, "decode")
    return function(np.ones(shape, np.float32), limits)


def test_every_operator_is_torch_s_with_its_arguments():
    for name, operator in OPERATORS.items():
        packet, _, overload = name.partition(".")
        schema = getattr(getattr(torch.ops.aten, packet), overload)._schema
        named = [argument.name for argument in operator.arguments]
        assert [argument.name for argument in schema.arguments][: len(named)] == named, name
        several = len(schema.returns) > 1 or "List" in str(schema.returns[0].type)
        assert several == (operator.makes == TENSORS), name
        assert not schema.is_mutable, name


def test_a_graph_runs():
    conv = ("conv2d.default", {"input": X, "weight": {"weight": "w"}, "padding": [1, 1]})
    assert run(conv).shape == (1, 4, 8, 8)
    size = ("size", {"of": X, "axis": 2})
    halved = ("floordiv", {"a": {"value": 1}, "b": 2})
    reshaped = ("reshape.default", {"self": X, "shape": [-1, {"value": 2}]})
    assert run(size, halved, reshaped).shape == (48, 4)


CODE = "__import__('pathlib').Path('owned').touch()"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (("reshape.default", {"self": X, "shape": [CODE]}), "no number"),
        (("reshape.default", {"self": X, "shape": CODE}), "no list"),
        (("reshape.default", {"self": X, "shape": [{"number": CODE}]}), "no number"),
        (("size", {"of": X, "axis": CODE}), "no number"),
        (("add", {"a": CODE, "b": 1}), "no number"),
        ((CODE, {"self": X}), "no operator"),
        (("relu.default", {"self": {"weight": CODE}}), "a weight that it needs is not there"),
        (("relu.default", {"self": CODE}), "where tensor is wanted"),
        (("_to_copy.default", {"self": X, "dtype": CODE}), "none of float16"),
        (("gelu.default", {"self": X, "approximate": CODE}), "none of none, tanh"),
        (("relu.default", {"self": X, CODE: 1}), "its arguments are self"),
    ],
)
def test_texts_are_never_evaluated(node, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=words):
        run(node)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (("relu_.default", {"self": X}), "no operator"),
        (("__class__", {"self": X}), "no operator"),
        (("as_strided.default", {"self": X, "size": [2**20], "stride": [1]}), "no operator"),
        (("from_file.default", {"filename": "x"}), "no operator"),
        (("resize_.default", {"self": X, "size": [9]}), "no operator"),
        (("relu.default", {"self": {"value": 1}}), "not made before"),
        (("relu.default", {"self": {"value": -1}}), "not made before"),
        (("relu.default", {"self": {"value": True}}), "not made before"),
        (("relu.default", {"self": {"value": 0.0}}), "not made before"),
        (("relu.default", {"self": [X]}), "where tensor is wanted"),
        (("relu.default", {"self": None}), "self is missing"),
        (("relu.default", []), "args is no map"),
        (("conv2d.default", {"input": X, "weight": {"weight": "w"}, "stride": [0, 0]}), "stride is no number"),
        (("conv2d.default", {"input": X, "weight": {"weight": "w"}, "groups": 0}), "groups is no number"),
        (("conv2d.default", {"input": X, "weight": {"weight": "w"}, "dilation": [2**40]}), "dilation is no"),
        (("avg_pool2d.default", {"self": X, "kernel_size": [0, 0]}), "kernel_size is no number"),
        (("pixel_shuffle.default", {"self": X, "upscale_factor": 0}), "upscale_factor is no number"),
        (("add.Tensor", {"self": X, "other": 10**400}), "no number that it may be"),
        (("item", {"of": X, "index": 0}), "value 0 is tensor, not tensors"),
        (("split.Tensor", {"self": X, "split_size": 0}), "split_size is no number"),
        (("scaled_dot_product_attention.default", {"query": X, "key": X, "value": X, "dropout_p": 0.5}), "dropout_p"),
    ],
)  # fmt: skip
def test_nodes_that_are_not_right_are_told(node, words):
    with pytest.raises(ModelError, match=words):
        run(node)


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"input":[3],"nodes":[],"output":[]}',
        b'{"input":[],"nodes":[],"output":[{"value":0}]}', b'{"input":[0],"nodes":[],"output":[{"value":0}]}',
        b'{"input":["3"],"nodes":[],"output":[{"value":0}]}', b'{"input":[3],"nodes":{},"output":[{"value":0}]}',
        b'{"input":[3],"nodes":[],"output":[{"value":1}]}', b'{"input":[3],"nodes":[7],"output":[{"value":0}]}',
        b'{"input":[3],"nodes":[],"output":[{"value":0}],"more":1}',
        b'{"input":[3],"nodes":[],"output":[{"value":' + b"9" * 10_000 + b"}]}",
    ],
)  # fmt: skip
def test_what_is_no_graph_is_told(damage):
    with pytest.raises(ModelError):
        Graph.from_json(damage, WEIGHTS)


def test_graphs_that_are_too_long_are_refused():
    with pytest.raises(ModelError, match="at most"):
        Graph.from_json(text(*[("relu.default", {"self": X})] * (MOST_NODES + 1)), WEIGHTS)
    with pytest.raises(ModelError, match="bytes"):
        Graph.from_json(b" " * (1 << 24) + text(), WEIGHTS)


def chain(name, count, **arguments):
    """So many of one operator, each of what the one before made."""
    return [(name, {"self": {"value": number}} | arguments) for number in range(count)]


@pytest.mark.parametrize(
    "nodes",
    [
        [("full.default", {"size": [2**31], "fill_value": 1.0})],
        [("full.default", {"size": [2**31, 2**31, 2**31, 2**31], "fill_value": 1.0})],
        [("repeat.default", {"self": X, "repeats": [2**31, 1, 1, 1]})],
        [("repeat.default", {"self": X, "repeats": [2**31, 2**31, 2**31, 1]})],
        [("constant_pad_nd.default", {"self": X, "pad": [2**16, 2**16, 2**16, 2**16], "value": 0})],
        [("arange.default", {"end": 1e15})],
        [("linspace.default", {"start": 0, "end": 1, "steps": 2**31})],
        chain("repeat.default", 12, repeats=[1, 1, 8, 8]),
        [("expand.default", {"self": {"weight": "square"}, "size": [2**31, 2**20, 64, 64]}),
         ("exp.default", {"self": {"value": 1}})],
        [("expand.default", {"self": {"weight": "square"}, "size": [2**31, 2**8, 64, 64]})],
        [("expand.default", {"self": {"weight": "square"}, "size": [2**20, 64, 64]}),
         ("linear.default", {"input": {"value": 1}, "weight": {"weight": "row"}})],
        [("expand.default", {"self": {"weight": "one"}, "size": [2**30]}),
         ("unbind.int", {"self": {"value": 1}}), ("item", {"of": {"value": 2}, "index": 0})],
        [("expand.default", {"self": {"weight": "one"}, "size": [2**30]}),
         ("split.Tensor", {"self": {"value": 1}, "split_size": 2}), ("item", {"of": {"value": 2}, "index": 0})],
        [("upsample_nearest2d.vec", {"input": X, "output_size": [2**20, 2**20], "scale_factors": None})],
    ],
)  # fmt: skip
def test_memory_is_refused_before_it_is_taken(nodes):
    with pytest.raises((LimitError, InputError, ModelError)):
        run(*nodes)
    with pytest.raises((LimitError, InputError, ModelError)):
        run(*nodes, limits=Limits(memory=2**20))


def test_what_is_held_at_once_counts_not_what_is_made():
    x = (1, 3, 64, 64)  # 49,152 bytes
    assert run(*chain("exp.default", 50), limits=Limits(memory=200_000), shape=x).shape == x
    with pytest.raises(LimitError, match=r"limits=Limits\(memory="):
        run(*chain("exp.default", 2), limits=Limits(memory=50_000), shape=x)
    views = [("transpose.int", {"self": {"value": n}, "dim0": 2, "dim1": 3}) for n in range(50)]
    assert run(*views, limits=Limits(memory=60_000), shape=x).shape == x


def test_endless_work_is_refused_before_it_begins():
    many = [("expand.default", {"self": {"weight": "square"}, "size": [2**12, 64, 64]})]
    many += [("matmul.default", {"self": {"value": 1}, "other": {"weight": "square"}}) for _ in range(2000)]
    with pytest.raises(ModelError, match="multiplications"):
        run(*many)


ZEROS = ("zeros.default", {"size": [4096]})
APART = {
    "split.Tensor": {"split_size": 1},
    "unbind.int": {},
    "chunk.default": {"chunks": 4096},
    "split_with_sizes.default": {"split_sizes": [1] * 4096},
}


@pytest.mark.parametrize("name", APART)
def test_tensors_are_not_taken_apart_without_end(name):
    apart = (name, {"self": {"value": 1}, "dim": 0} | APART[name])
    most = MOST_PARTS // 4096
    assert run(ZEROS, *[apart] * 2, output=[X]).shape == (1, 3, 8, 8)
    with pytest.raises(ModelError, match="takes tensors apart"):
        run(ZEROS, *[apart] * (most + 1), output=[X])


def test_each_part_counts_as_work_and_memory():
    apart = ("unbind.int", {"self": {"value": 1}, "dim": 0})
    function = GraphFunction(Graph.from_json(text(ZEROS, apart, output=[X]), WEIGHTS), WEIGHTS, "decode")
    needs = function.needs((1, 3, 8, 8))
    assert needs.work >= 4096 * PART_WORK and 4096 * PART_BYTES <= needs.memory < 4100 * PART_BYTES + 2**16
    with pytest.raises(LimitError, match="memory="):
        run(ZEROS, apart, output=[X], limits=Limits(memory=2**20))


def zeros(*size, dtype="float32"):
    return ("zeros.default", {"size": list(size), "dtype": dtype})


def memory_of(*nodes):
    """Bytes at once of a graph that returns its input, without that."""
    function = GraphFunction(Graph.from_json(text(*nodes, output=[X]), WEIGHTS), WEIGHTS, "decode")
    return function.needs((1, 3, 8, 8)).memory


V1, V2 = {"value": 1}, {"value": 2}


@pytest.mark.parametrize(
    ("made", "node", "held", "scratch"),
    [
        # what torch 2 was seen to take: a matrix of patches, of every type but float32
        ([zeros(1, 8, 60, 60, dtype="float64"), zeros(8, 8, 5, 5, dtype="float64")],
         ("conv2d.default", {"input": V1, "weight": V2}),
         8 * (8 * 60 * 60 + 8 * 8 * 25 + 8 * 56 * 56), 8 * 8 * 25 * 56 * 56),
        ([zeros(2, 8, 60, 60, dtype="float16"), zeros(8, 1, 5, 5, dtype="float16")],
         ("conv2d.default", {"input": V1, "weight": V2, "groups": 8}),
         2 * (2 * 8 * 60 * 60 + 8 * 25 + 2 * 8 * 56 * 56), 2 * 2 * 8 * 25 * 56 * 56),
        ([zeros(1, 8, 60, 60, dtype="float64"), zeros(8, 4, 5, 5, dtype="float64")],
         ("conv_transpose2d.input", {"input": V1, "weight": V2}),
         8 * (8 * 60 * 60 + 8 * 4 * 25 + 4 * 64 * 64), 8 * 4 * 25 * 60 * 60),
        ([zeros(1, 4, 20, 20, 20, dtype="float64"), zeros(2, 4, 3, 3, 3, dtype="float64")],
         ("conv3d.default", {"input": V1, "weight": V2}),
         8 * (4 * 20**3 + 2 * 4 * 27 + 2 * 18**3), 8 * 4 * 27 * 18**3),
        # float32 of few numbers, and wide margins
        ([zeros(1, 1, 20, 100), zeros(4, 1, 3, 20)],
         ("conv2d.default", {"input": V1, "weight": V2, "padding": [50, 50]}),
         4 * (2000 + 240 + 4 * 118 * 181), 4 * 60 * 118 * 181),
        # sums are made of what was converted whole
        ([zeros(500, 500, dtype="uint8")], ("sum.default", {"self": V1}), 500 * 500 + 8, 8 * 500 * 500),
        ([zeros(500, 500, dtype="bool")], ("prod.default", {"self": V1, "dtype": "float64"}), 500 * 500 + 8,
         8 * 500 * 500),
        ([zeros(500, 500, dtype="bool")], ("sum.dim_IntList", {"self": V1, "dim": [0], "dtype": "float64"}),
         500 * 500 + 8 * 500, 8 * 500 * 500),
        ([zeros(500, 500, dtype="uint8"), zeros(1, 1, dtype="float64")], ("lt.Tensor", {"self": V1, "other": V2}),
         2 * 500 * 500 + 8, 8 * 500 * 500),
        ([zeros(500, 500, dtype="uint8")], ("lt.Scalar", {"self": V1, "other": 0.5}), 2 * 500 * 500, 4 * 500 * 500),
        ([zeros(500, 500)], ("logsumexp.default", {"self": V1, "dim": [0]}), 4 * (500 * 500 + 500), 4 * 500 * 500),
        ([zeros(500, 500)], ("sum.default", {"self": V1}), 4 * 500 * 500 + 4, 0),
        ([zeros(30, 1, 20, 20), zeros(1, 30, 20, 20)], ("matmul.default", {"self": V1, "other": V2}),
         4 * (2 * 30 + 900) * 400, 2 * 4 * 900 * 400),
    ],
)  # fmt: skip
def test_what_a_step_takes_for_itself_counts(made, node, held, scratch):
    assert memory_of(*made, node) == held + scratch


def test_large_float32_convolutions_are_not_charged_for_patches():
    """What torch does not make, or photos would be refused that decode within the limit."""
    x, weight, out = 64 * 64 * 64, 64 * 64 * 25, 64 * 60 * 60
    assert x > ALWAYS_ORDERED
    needed = memory_of(
        zeros(1, 64, 64, 64), zeros(64, 64, 5, 5), ("conv2d.default", {"input": V1, "weight": V2})
    )
    if torch.backends.mkldnn.is_available():
        assert needed == 2 * 4 * (x + weight + out)
    else:
        assert needed == 4 * (x + weight + out) + 4 * 64 * 25 * 3600


def test_sizes_are_computed_within_bounds():
    doubled = [("size", {"of": X, "axis": 0})]
    doubled += [("mul", {"a": {"value": number}, "b": 2**40}) for number in range(1, 5)]
    with pytest.raises(InputError, match="a size is computed"):
        run(*doubled, output=[X])
    with pytest.raises(InputError, match="cannot be run"):
        run(("size", {"of": X, "axis": 0}), ("floordiv", {"a": 1, "b": 0}), output=[X])
    low = [("size", {"of": X, "axis": 1}), ("neg", {"a": {"value": 1}})]
    with pytest.raises(InputError, match="which it cannot be"):
        run(*low, ("conv2d.default", {"input": X, "weight": {"weight": "w"}, "groups": {"value": 2}}))


def test_sizes_that_fit_are_told():
    """Multiples of 8 here, in plain words; nothing where no size fits."""
    size = [("size", {"of": X, "axis": 3}), ("mod", {"a": {"value": 1}, "b": 8})]
    with pytest.raises(
        InputError, match=r"shape \(1, 3, 6, 9\): the sizes do not.*it takes \(1, 3, 8, 16\)$"
    ):
        run(
            *size,
            ("eq", {"a": {"value": 2}, "b": 0}),
            ("check", {"a": {"value": 3}}),
            output=[X],
            shape=(1, 3, 6, 9),
        )
    with pytest.raises(InputError, match=r"do not go through its layers$"):
        run(*size, ("eq", {"a": {"value": 2}, "b": 9}), ("check", {"a": {"value": 3}}), output=[X])


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 4, 8, 8), (1, 3, 8, 0)])
def test_an_array_of_another_shape_is_told(shape):
    with pytest.raises(InputError, match=r"it takes \(any, 3, any, any\)"):
        run(("relu.default", {"self": X}), shape=shape)


@pytest.fixture(scope="module")
def real():
    """Graphs of real networks, whose pieces fit."""
    torch.manual_seed(0)
    resnet, transformer = ResNet().eval(), Transformer().eval()
    z = torch.rand(2, 8, 4, 6)
    return [
        traced(resnet, "encode", torch.rand(2, 3, 16, 24)), traced(resnet, "decode", z),
        traced(transformer, "encode", torch.rand(2, 3, 16, 24)), traced(transformer, "decode", z),
    ]  # fmt: skip


NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    64,
    255,
    2**16,
    2**31,
    2**40,
    2**53,
    -(2**31),
    0.5,
    1e30,
    True,
    None,
    "x",
    {"value": 3},
)


def change(rng, tree):
    """One leaf of a graph becomes something else, or an argument goes, or a node is doubled."""
    node = rng.choice(tree["nodes"])
    key = rng.choice(sorted(node["args"]))
    kind = rng.random()
    if kind < 0.1:
        del node["args"][key]
    elif kind < 0.2:
        node["op"] = rng.choice([*OPERATORS, "size", "item", "add"])
    elif kind < 0.3:
        rng.shuffle(tree["nodes"])
    elif kind < 0.4:
        tree["nodes"].insert(rng.randrange(len(tree["nodes"])), copy.deepcopy(node))
    elif isinstance(node["args"][key], list) and node["args"][key] and rng.random() < 0.8:
        node["args"][key][rng.randrange(len(node["args"][key]))] = rng.choice(NUMBERS)
    elif isinstance(node["args"][key], dict) and "value" in node["args"][key]:
        node["args"][key] = {"value": rng.randrange(len(tree["nodes"]))}
    else:
        node["args"][key] = rng.choice(NUMBERS)


@pytest.mark.parametrize("seed", range(40))
def test_any_change_ends_in_numbers_or_an_error_of_ours(real, seed):
    rng = random.Random(seed)
    for _ in range(15):
        graph, weights = rng.choice(real)
        tree = json.loads(graph.to_json())
        for _ in range(rng.choice((1, 1, 2, 4))):
            change(rng, tree)
        shape = tuple(size or rng.choice((1, 2, 4, 8)) for size in graph.input)
        try:
            function = GraphFunction(Graph.from_json(json.dumps(tree).encode(), weights), weights, "decode")
            function(np.zeros(shape, np.float32), Limits(memory=2**26))
        except ObverseError:
            continue
