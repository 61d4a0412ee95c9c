"""Messages to records: names, scopes, functions, attributes and declared types, each limit at its edge."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from initlint import convert, functions
from initlint.errors import Reason, Refusal
from initlint.graph import Graph, Model, Node, StoredTensor
from initlint.model import external_locations, open_model
from initlint.source import BytesSource
from initlint.tensors import ExternalFiles, TensorReader
from tests.graphs import model_of

PLAIN = "g (float[1,4] x) => (float[1,4] y) { y = Relu(x) }"
W = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")


@contextmanager
def opened(model: onnx.ModelProto) -> Iterator[Model]:
    with open_model(model.SerializeToString()) as found:
        yield found


def refused(model: onnx.ModelProto, words: str, reason: Reason = Reason.GRAPH) -> None:
    with pytest.raises(Refusal, match=words) as refusal, opened(model):
        pass
    assert refusal.value.reason == reason


def nodes_of(text: str, weights: Any = None, **more: Any) -> list[Node]:
    with opened(model_of(text, weights, **more)) as model:
        return list(model.nodes())


def info(name: str, kind: int = TensorProto.FLOAT, shape: Any = (1, 4)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model_with(
    nodes: Any, *, inputs: Any = None, outputs: Any = ("y",), stored: Any = (), **more: Any
) -> onnx.ModelProto:
    """A model of these nodes; outputs are names."""
    fed = [info("x")] if inputs is None else inputs
    made = helper.make_graph(nodes, "g", fed, [onnx.ValueInfoProto(name=name) for name in outputs], list(stored))
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("d", 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=9, **more)


def node(op: str, inputs: Any, outputs: Any, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, **attributes)


def branch(nodes: Any, output: str, name: str = "b") -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [onnx.ValueInfoProto(name=output)])


# -- names -------------------------------------------------------------------------------------------------------------


def test_names_that_are_one_are_refused() -> None:
    """Two nodes, a node and an input, a node and a weight, two weights, a subgraph and what is around it."""
    twice = [node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])]
    refused(model_with(twice), "'y' is defined twice")
    refused(model_with([node("Relu", ["x"], ["x"])], outputs=("x",)), "'x' is defined twice")
    refused(model_with([node("Relu", ["x"], ["w"])], outputs=("w",), stored=[W]), "'w' is defined twice")
    refused(model_with([node("Relu", ["x"], ["y"])], stored=[W, W]), "two initializers", Reason.TENSOR)
    refused(model_with([node("Relu", ["x"], ["y"])], inputs=[info("x"), info("x")]), "'x' is defined twice")
    inner = branch([node("Neg", ["x"], ["h"])], "h")
    nodes = [node("Abs", ["x"], ["h"]), node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    refused(model_with(nodes, inputs=[info("x"), info("c", TensorProto.BOOL, ())]), "a subgraph defines 'h' again")


def test_names_that_are_missing_are_refused() -> None:
    """An input, an output of the graph, a weight without a name, a node without an operator."""
    refused(model_with([node("Relu", ["z"], ["y"])]), "input 'z' is not defined")
    refused(model_with([node("Relu", ["x"], ["y"])], outputs=("z",)), "graph output 'z' is not defined")
    refused(model_with([node("Relu", ["x"], ["y"])], inputs=[info("x"), info("")]), "a graph input has no name")
    unnamed = numpy_helper.from_array(np.ones(1, np.float32))
    refused(model_with([node("Relu", ["x"], ["y"])], stored=[unnamed]), "an initializer has no name", Reason.TENSOR)
    refused(model_with([node("", ["x"], ["y"])]), "a node has no operator")


def test_an_output_left_out_has_no_name() -> None:
    """Left out in the middle, it keeps its place."""
    (found,) = nodes_of("g (float[1,4] x) => (float[1,4] y) { y, m = Dropout(x) }")
    assert found.outputs == ("y", "m")
    with opened(model_with([node("LSTM", ["x", "x", "x"], ["", "y", ""])])) as model:
        assert next(model.nodes()).outputs == ("", "y", "")
    with opened(model_with([node("Clip", ["x", "", "w"], ["y"])], stored=[W])) as model:
        assert next(model.nodes()).inputs == ("x", "", "w")


def test_long_names_are_kept_short_and_apart() -> None:
    """Up to a length as they are; beyond it by their two ends, with a number where these are the same."""
    for length, same in ((4096, True), (4097, False)):
        name = "a" * length
        with opened(model_with([node("Relu", ["x"], [name])], outputs=(name,))) as model:
            found = model.graph.outputs[0].name
        assert (found == name) is same
        assert len(found) <= 4100
    first, second = ("a" * 3000 + letter + "b" * 3000 for letter in "xy")
    with opened(model_with([node("Relu", ["x"], [first]), node("Neg", [first], [second])], outputs=(second,))) as model:
        one, two = (item.outputs[0] for item in model.nodes())
        assert two == f"{one}#2"
        assert one == "a" * 2048 + "..." + "b" * 2048
        assert [item.inputs for item in model.nodes()] == [("x",), (one,)]


def test_values_of_three_branches_are_three() -> None:
    """One name written in several scopes is numbered from 2."""
    first, second = (branch([node(op, ["x"], ["t"])], "t") for op in ("Neg", "Abs"))
    nodes = [
        node("If", ["c"], ["h"], then_branch=first, else_branch=second),
        node("If", ["c"], ["g"], then_branch=first, else_branch=second),
        node("Add", ["h", "g"], ["y"]),
    ]
    with opened(model_with(nodes, inputs=[info("x"), info("c", TensorProto.BOOL, ())])) as model:
        names = sorted(item.outputs[0] for item in model.nodes() if item.op in {"Neg", "Abs"})
    assert names == ["t", "t#2", "t#3", "t#4"]


def test_nodes_have_names_of_their_own() -> None:
    """As in the file; without one after the first output that has one, else after the operator; numbered from 2."""
    nodes = [
        node("Relu", ["x"], ["a"], name="n"), node("Relu", ["a"], ["b"], name="n"), node("Relu", ["b"], ["n"]),
        node("Relu", ["n"], ["y"]), node("LSTM", ["x"], ["", "z"]), node("Print", ["y"], []),
    ]  # fmt: skip
    with opened(model_with(nodes)) as model:
        assert [item.name for item in model.nodes()] == ["n", "n#2", "n#3", "y", "z", "Print"]
        assert [item.index for item in model.nodes()] == [1, 2, 3, 4, 5, 6]


# -- order -------------------------------------------------------------------------------------------------------------


def test_nodes_are_sorted_by_what_they_read() -> None:
    """Also by what their subgraphs read; those that may stand in either order keep that of the file."""
    inner = branch([node("Add", ["late", "x"], ["t"])], "t")
    deep = branch([node("If", ["c"], ["u"], then_branch=inner, else_branch=inner)], "u", "d")
    nodes = [
        node("If", ["c"], ["y"], then_branch=deep, else_branch=inner, name="if"), node("Neg", ["x"], ["late"], name="late"),
        node("Abs", ["x"], ["side"], name="side"),
    ]  # fmt: skip
    made = model_with(nodes, inputs=[info("x"), info("c", TensorProto.BOOL, ())])
    with opened(made) as model:
        assert [item.name for item in model.graph.nodes] == ["late", "side", "if"]
    echo = branch([], "late")  # reads it as its own output
    nodes[0] = node("If", ["c"], ["y"], then_branch=echo, else_branch=inner, name="if")
    with opened(model_with(nodes, inputs=made.graph.input)) as model:
        assert [item.name for item in model.graph.nodes] == ["late", "side", "if"]


def test_what_needs_itself_is_refused() -> None:
    """At once, or by way of others, by name."""
    refused(model_with([node("Add", ["x", "y"], ["y"], name="n")]), "node 'n' needs its own output")
    circle = [
        node("Relu", ["x"], ["a"]),
        node("Add", ["a", "y"], ["h"], name="n"),
        node("Relu", ["h"], ["y"], name="m"),
    ]
    refused(model_with(circle), "a cycle through node 'n'")


# -- functions ---------------------------------------------------------------------------------------------------------


def function(name: str, inputs: Any, outputs: Any, nodes: Any, **more: Any) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("d", 1)]
    return helper.make_function("d", name, inputs, outputs, nodes, imports, **more)


def call(called: str, inputs: Any, outputs: Any, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(called, inputs, outputs, domain="d", **attributes)


def test_calls_are_inlined_as_onnx_does() -> None:
    """Inside functions, inside branches, with inputs left out, outputs not wanted and inputs handed through."""
    leaf = function("Leaf", ["a", "b"], ["c", "d"], [node("Clip", ["a", "b"], ["c"]), node("Neg", ["c"], ["d"])])
    middle = function("Middle", ["a"], ["e", "a"], [call("Leaf", ["a"], ["e"])])
    inner = branch([call("Leaf", ["y"], ["", "t"])], "t")
    nodes = [
        call("Middle", ["x"], ["y", "z"], name="m"),
        node("If", ["c"], ["v"], then_branch=inner, else_branch=inner),
    ]
    made = model_with(
        nodes, inputs=[info("x"), info("c", TensorProto.BOOL, ())], outputs=("y", "z", "v"), functions=[leaf, middle]
    )
    with opened(made) as model:
        found = list(model.nodes())
        assert [item.op for item in model.graph.nodes] == ["Clip", "Neg", "Identity", "If"]
        assert found[0].inputs == ("x", "")
        assert found[2].inputs == ("x",)
        assert found[2].outputs == ("z",)
        assert found[0].name.startswith("m/")
        assert len({item.name for item in found}) == len(found)
        assert len({name for item in found for name in item.outputs}) == len(found)
    made.functions[1].output.pop()  # onnx's own does not hand an input through
    made.graph.node[0].output.pop()
    made.graph.output.remove(made.graph.output[1])
    with opened(onnx.inliner.inline_local_functions(made)) as twin, opened(made) as model:
        assert sorted(item.op for item in twin.nodes()) == sorted(item.op for item in model.nodes())


def test_attributes_of_a_call() -> None:
    """The call's word, else the function's default, else none at all."""
    inner = node("LeakyRelu", ["a"], ["b"])
    inner.attribute.append(AttributeProto(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT))
    bare = function("Bare", ["a"], ["b"], [inner], attributes=["slope"])
    full = function("Full", ["a"], ["b"], [inner], attribute_protos=[helper.make_attribute("slope", 0.25)])
    outer = call("Full", ["a"], ["b"])
    outer.attribute.append(AttributeProto(name="slope", ref_attr_name="given", type=AttributeProto.FLOAT))
    around = function("Around", ["a"], ["b"], [outer], attributes=["given"])
    nodes = [
        call("Bare", ["x"], ["p"]), call("Bare", ["p"], ["q"], slope=0.5), call("Full", ["q"], ["r"]),
        call("Full", ["r"], ["s"], slope=0.75), call("Around", ["s"], ["y"], given=0.125),
    ]  # fmt: skip
    with opened(model_with(nodes, functions=[bare, full, around])) as model:
        assert [item.attributes.get("alpha") for item in model.nodes()] == [None, 0.5, 0.25, 0.75, 0.125]


def test_functions_that_contradict_themselves() -> None:
    """Defined twice, calling themselves, given too much, giving what they never compute, computing it twice."""
    relu = [node("Relu", ["a"], ["b"])]
    good = function("F", ["a"], ["b"], relu)
    once = [call("F", ["x"], ["y"])]
    refused(model_with(once, functions=[good, good]), "defines the function 'd::F' twice")
    refused(model_with(once, functions=[function("F", ["a"], ["b"], [call("F", ["a"], ["b"])])]), "calls itself")
    refused(
        model_with(once, functions=[
            function("F", ["a"], ["b"], [call("G", ["a"], ["b"])]), function("G", ["a"], ["b"], [call("F", ["a"], ["b"])]),
        ]), "calls itself",
    )  # fmt: skip
    behind = [
        function(name, ["a"], ["b"], [call(to, ["a"], ["b"])]) for name, to in (("F", "G"), ("G", "H"), ("H", "G"))
    ]
    refused(model_with(once, functions=behind), "calls itself")
    inner = branch([call("F", ["a"], ["t"])], "t")
    looped = [node("If", ["a"], ["b"], then_branch=inner, else_branch=inner)]
    refused(model_with(once, functions=[function("F", ["a"], ["b"], looped)]), "calls itself")
    refused(model_with([call("F", ["x", "x"], ["y"])], functions=[good]), "gives more than it takes")
    refused(model_with([call("F", ["x"], ["y", "z"])], functions=[good]), "gives more than it takes")
    refused(model_with(once, functions=[function("F", ["a"], ["c"], relu)]), "never computes its output 'c'")
    refused(model_with(once, functions=[function("F", ["a"], ["b"], relu + relu)]), "defines 'b' twice")
    refused(
        model_with(once, functions=[function("F", ["a"], ["b"], [node("Relu", ["z"], ["b"])])]), "'z' is not defined"
    )
    over = function("F", ["a"], ["b"], [node("Relu", ["a"], ["a"])])
    refused(model_with(once, functions=[over]), "defines 'a' twice")


def test_a_function_that_is_called_twice_calls_not_itself() -> None:
    """A diamond of calls is no circle: F calls G twice, and H, which calls G."""
    leaf = function("G", ["a"], ["b"], [node("Relu", ["a"], ["b"])])
    side = function("H", ["a"], ["b"], [call("G", ["a"], ["b"])])
    nodes = [call("G", ["a"], ["c"]), call("H", ["c"], ["d"]), call("G", ["d"], ["b"])]
    for order in ([leaf, side], [side, leaf]):
        made = model_with([call("F", ["x"], ["y"])], functions=[function("F", ["a"], ["b"], nodes), *order])
        with opened(made) as model:
            assert [item.op for item in model.nodes()] == ["Relu"] * 3


def test_an_unwanted_output_of_a_function_need_not_be_computed() -> None:
    """Only what the call asks for has to be there."""
    made = function("F", ["a"], ["b", "c"], [node("Relu", ["a"], ["b"])])
    with opened(model_with([call("F", ["x"], ["y", ""])], functions=[made])) as model:
        assert [item.op for item in model.nodes()] == ["Relu"]


def test_an_output_left_out_inside_a_function() -> None:
    """Has no name there either."""
    inner = [node("LSTM", ["a", "a", "a"], ["", "b", ""])]
    with opened(model_with([call("F", ["x"], ["y"])], functions=[function("F", ["a"], ["b"], inner)])) as model:
        assert next(model.nodes()).outputs == ("", "y", "")


def test_calls_that_multiply_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of a function are counted with those of the functions it calls, and itself the call; so are a model's."""
    leaf = function("G", ["a"], ["b"], [node("Relu", ["a"], ["c"]), node("Neg", ["c"], ["b"])])
    outer = function("F", ["a"], ["b"], [call("G", ["a"], ["c"]), call("G", ["c"], ["b"])])
    made = model_with([call("F", ["x"], ["y"])], functions=[outer, leaf])
    for most, words in ((6, None), (5, "becomes more than 5 nodes")):  # two calls and four nodes
        monkeypatch.setattr(functions, "MOST_INLINED", most)
        if words is None:
            with opened(made) as model:
                assert len(list(model.nodes())) == 4
        else:
            refused(made, words, Reason.TOO_LARGE)
    monkeypatch.setattr(functions, "MOST_INLINED", 6)
    for most in (7, 6):  # the calls and the nodes that they become
        monkeypatch.setattr(convert, "MOST_INLINED", most)
        if most == 7:
            with opened(made) as model:
                assert len(list(model.nodes())) == 4
        else:
            refused(made, "has more than 6 nodes", Reason.TOO_LARGE)


# -- attributes --------------------------------------------------------------------------------------------------------

ATTRIBUTES: dict[str, tuple[Any, Any]] = {
    "float": (2.5, 2.5), "int": (7, 7), "text": ("abc", "abc"), "floats": ([1.0, 2.0], (1.0, 2.0)), "ints": ([1, 2], (1, 2)),
    "texts": (["a", "b"], ("a", "b")),
}  # fmt: skip


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name: str, *, typed: bool) -> None:
    """Of every kind; files of the first versions did not say which it is."""
    given, expected = ATTRIBUTES[name]
    made = model_with([node("Foo", ["x"], ["y"], domain="d", a=given)])
    if not typed:
        made.graph.node[0].attribute[0].ClearField("type")
    with opened(made) as model:
        found = next(model.nodes()).attributes["a"]
        assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("typed", [True, False])
def test_attributes_that_hold_tensors_and_graphs(*, typed: bool) -> None:
    """A tensor, a graph, and lists of either."""
    graph = branch([node("Neg", ["x"], ["t"])], "t")
    other = branch([node("Abs", ["x"], ["t"])], "t")
    made = model_with([node("Foo", ["x"], ["y"], domain="d", t=W, g=graph, ts=[W, W], gs=[graph, other])])
    if not typed:
        for attribute in made.graph.node[0].attribute:
            if attribute.name in {"t", "g"}:
                attribute.ClearField("type")
    with opened(made) as model:
        found = next(model.nodes()).attributes
        assert isinstance(found["t"], StoredTensor)
        assert found["t"].read().tolist() == np.eye(4).tolist()
        assert isinstance(found["g"], Graph)
        assert [item.shape for item in found["ts"]] == [(4, 4)] * 2  # type: ignore[union-attr]
        assert [item.nodes[0].op for item in found["gs"]] == ["Neg", "Abs"]  # type: ignore[union-attr]
        assert sorted(item.op for item in model.nodes()) == ["Abs", "Foo", "Neg", "Neg"]


def test_sparse_and_typed_attributes() -> None:
    """A sparse tensor is written out; types and lists of types say nothing about numbers."""
    values = numpy_helper.from_array(np.array([5.0], np.float32), "v")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1], np.int64)), [3])
    kind = helper.make_tensor_type_proto(1, [1])
    made = model_with([node("Foo", ["x"], ["y"], domain="d", s=sparse, p=kind, q=[kind])])
    made.graph.node[0].attribute.add(name="r", type=AttributeProto.SPARSE_TENSORS).sparse_tensors.append(sparse)
    with opened(made) as model:
        found = next(model.nodes()).attributes
        assert found["s"].read().tolist() == [0, 5, 0]  # type: ignore[union-attr]
        assert (found["p"], found["q"], found["r"]) == ("", "", "")


def test_attributes_that_are_no_attributes() -> None:
    """Given twice, without a name, of no type, referring to a function that is not there."""
    made = model_with([node("Foo", ["x"], ["y"], domain="d", a=1)])
    twice, unnamed, nothing, loose = (onnx.ModelProto.FromString(made.SerializeToString()) for _ in range(4))
    twice.graph.node[0].attribute.add(name="a", i=2, type=AttributeProto.INT)
    refused(twice, "has attribute 'a' twice")
    unnamed.graph.node[0].attribute[0].name = ""
    refused(unnamed, "has attribute '' twice")
    nothing.graph.node[0].attribute[0].Clear()
    nothing.graph.node[0].attribute[0].name = "a"
    refused(nothing, "has no type")
    loose.graph.node[0].attribute[0].ref_attr_name = "b"
    refused(loose, "outside any function")


def test_lists_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many integers as anything needs."""
    made = model_with([node("Foo", ["x"], ["y"], domain="d", a=[1, 2, 3])])
    monkeypatch.setattr(convert, "MOST_INTS", 3)
    with opened(made):
        pass
    monkeypatch.setattr(convert, "MOST_INTS", 2)
    refused(made, "has 3 entries", Reason.TOO_LARGE)


def nest(levels: int, hang: str) -> onnx.ModelProto:
    inner = branch([node("Neg", ["x"], ["t0"])], "t0")
    for level in range(1, levels):
        more = {"gs": [inner]} if hang == "gs" else {"g": inner}
        inner = branch([node("Foo", ["x"], [f"t{level}"], domain="d", **more)], f"t{level}")
    more = {"gs": [inner]} if hang == "gs" else {"g": inner}
    return model_with([node("Foo", ["x"], ["y"], domain="d", **more)])


@pytest.mark.parametrize("hang", ["g", "gs"])
def test_subgraphs_nest_to_a_depth(monkeypatch: pytest.MonkeyPatch, hang: str) -> None:
    """The main graph is level 0."""
    monkeypatch.setattr(convert, "DEEPEST", 3)
    with opened(nest(3, hang)) as model:
        assert len(list(model.graphs())) == 4
    refused(nest(4, hang), "more than 3 deep", Reason.TOO_DEEP)


# -- constants ---------------------------------------------------------------------------------------------------------


def test_constants_that_are_none() -> None:
    """Without a value, with two, with two outputs; one of text stays a node; another domain's stays one."""
    for made in (
        node("Constant", [], ["y"]), node("Constant", [], ["y"], value_int=1, value_float=1.0),
        node("Constant", [], ["y", "z"], value_int=1),
    ):  # fmt: skip
        refused(model_with([made]), "needs one output and one value")
    with opened(model_with([node("Constant", [], ["y"], value_string="a")])) as model:
        assert [item.op for item in model.nodes()] == ["Constant"]
    with opened(model_with([node("Constant", [], ["y"], domain="d", value=W)])) as model:
        assert [item.op for item in model.nodes()] == ["Constant"]
        assert list(model.initializers()) == []
    with opened(model_with([node("Constant", [], ["y"], domain="ai.onnx", value=W)])) as model:
        (stored,) = model.initializers()
        assert (stored.name, stored.shape) == ("y", (4, 4))


# -- what is declared --------------------------------------------------------------------------------------------------


def test_what_is_declared_of_a_value() -> None:
    """Numbers, names, nothing; a negative extent says nothing either; a value that is no tensor has no shape."""
    shapes = [info("a", shape=(1, "N", None)), info("b", shape=None), info("c", TensorProto.FLOAT16, (-1, 0))]
    sequence = helper.make_tensor_sequence_value_info("d", TensorProto.FLOAT, (1,))
    untyped = onnx.ValueInfoProto(name="e")
    untyped.type.tensor_type.shape.dim.add(dim_value=2)
    made = model_with([node("Relu", ["a"], ["y"])], inputs=[*shapes, sequence, untyped])
    made.graph.value_info.add().CopyFrom(info("y", shape=(3,)))
    made.graph.value_info.add().CopyFrom(info("nowhere", shape=(3,)))
    with opened(made) as model:
        found = [(item.name, item.dtype, item.shape) for item in model.graph.inputs]
        assert found == [
            ("a", "float32", (1, "N", None)), ("b", "float32", None), ("c", "float16", (None, 0)), ("d", None, None),
            ("e", None, (2,)),
        ]  # fmt: skip
        assert {name: item.shape for name, item in model.graph.declared.items()} == {"y": (3,)}


@pytest.mark.parametrize(
    ("shape", "kind", "fits"),
    [
        ((4, 4), TensorProto.FLOAT, True), (("N", 4), TensorProto.FLOAT, True), (None, TensorProto.FLOAT, True),
        ((-1, 4), TensorProto.FLOAT, True), ((4, 5), TensorProto.FLOAT, False), ((5, 4), TensorProto.FLOAT, False),
        ((4,), TensorProto.FLOAT, False), ((4, 4, 1), TensorProto.FLOAT, False), ((4, 4), TensorProto.DOUBLE, False),
        ((4, 4), TensorProto.UNDEFINED, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["input", "value_info"])
def test_what_is_declared_of_a_weight(shape: Any, kind: int, place: str, *, fits: bool) -> None:
    """As an input with a default, or among the declared values: it must be what is stored."""
    made = model_with([node("MatMul", ["x", "w"], ["y"])], stored=[W])
    getattr(made.graph, place).add().CopyFrom(info("w", kind, shape))
    if fits:
        with opened(made) as model:
            assert [item.name for item in model.graph.inputs] == ["x"]
    else:
        refused(made, "'w' is declared", Reason.TENSOR)


def test_a_sparse_weight_is_a_default_too() -> None:
    """And its name is taken as any other's."""
    values = numpy_helper.from_array(np.array([5.0], np.float32), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1], np.int64)), [4, 4])
    made = model_with([node("MatMul", ["x", "w"], ["y"])], inputs=[info("x"), info("w", shape=(4, 4))])
    made.graph.sparse_initializer.append(sparse)
    with opened(made) as model:
        assert [item.name for item in model.graph.inputs] == ["x"]
    made.graph.sparse_initializer.append(sparse)
    refused(made, "two initializers", Reason.TENSOR)


def test_element_types_that_are_not_known() -> None:
    """A number beyond the format's is no undeclared type."""
    made = model_with([node("Relu", ["x"], ["y"])], inputs=[info("x", 99)])
    refused(made, "element type 99", Reason.TENSOR)


def nested(levels: int, kind: str) -> onnx.ModelProto:
    made = model_with([node("Relu", ["x"], ["y"])], inputs=[info("x"), onnx.ValueInfoProto(name="s")])
    proto = made.graph.input[1].type
    for _ in range(levels):
        if kind == "map":
            proto.map_type.key_type = TensorProto.INT64
            proto = proto.map_type.value_type
        else:
            proto = getattr(proto, f"{kind}_type").elem_type
    proto.tensor_type.elem_type = TensorProto.FLOAT
    return made


@pytest.mark.parametrize("kind", ["sequence", "optional", "map"])
def test_types_nest_to_a_depth(kind: str) -> None:
    """Eight levels."""
    with opened(nested(8, kind)) as model:
        assert [item.dtype for item in model.graph.inputs] == ["float32", None]
    refused(nested(9, kind), "nests more than 8 levels", Reason.TOO_DEEP)


# -- the model around it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "valid"), [(0, False), (1, True), (20, True), (21, False), (-1, False)])
def test_versions_of_the_format(version: int, *, valid: bool) -> None:
    """A number that no version of ONNX has is noise."""
    made = model_of(PLAIN)
    made.ir_version = version
    if valid:
        with opened(made) as model:
            assert model.ir_version == version
    else:
        refused(made, f"IR version {version}", Reason.MALFORMED)


def test_versions_of_operators() -> None:
    """One for each domain, both of its names being one; an operator of a domain without one has version 1."""
    made = model_of(PLAIN, domains={"d": 3})
    made.graph.node.add().CopyFrom(node("Foo", ["x"], ["z"], domain="d"))
    made.graph.node.add().CopyFrom(node("Bar", ["x"], ["v"], domain="e"))
    made.opset_import.add(domain="ai.onnx", version=18)  # the same again
    made.opset_import.add(domain="d", version=3)
    with opened(made) as model:
        assert [item.version for item in model.nodes()] == [18, 3, 1]
        assert (model.opset, model.opsets) == (18, {"": 18, "d": 3})
    made.opset_import.add(domain="d", version=4)
    refused(made, "imports the operators of 'd' twice")
    none = model_of(PLAIN)
    del none.opset_import[:]
    with opened(none) as model:
        assert (model.opset, next(model.nodes()).version) == (1, 1)
    for version, words in ((0, "version 0 of 'ai.onnx'"), (-3, "version -3")):
        bad = model_of(PLAIN)
        bad.opset_import[0].version = version
        refused(bad, words)


def test_who_made_a_model() -> None:
    """Name and version in one, each cut to a length."""
    made = model_of(PLAIN)
    made.producer_name, made.producer_version = "pytorch", "2.5"
    with opened(made) as model:
        assert model.producer == "pytorch 2.5"
    made.producer_name, made.producer_version = "p" * 2000, ""
    with opened(made) as model:
        assert model.producer == "p" * 1000
    assert (model.path, model.size) == ("<memory>", made.ByteSize())


def test_what_is_no_model() -> None:
    """Nothing, no graph, what protobuf cannot read, and what is no source of a model at all."""
    with pytest.raises(Refusal) as refusal, open_model(b""):
        pass
    assert refusal.value.reason == Reason.EMPTY
    bare = model_of(PLAIN)
    bare.ClearField("graph")
    refused(bare, "holds no graph", Reason.MALFORMED)
    with pytest.raises(Refusal) as refusal, open_model(b"\x08\x09\x3a\x03\x0a\x05a"):
        pass
    assert refusal.value.reason == Reason.MALFORMED
    for odd in (3, None, W, object()):
        with pytest.raises(Refusal) as refusal, open_model(odd):
            pass
        assert refusal.value.reason == Reason.USAGE


@pytest.mark.parametrize("length", [1, 12, 127, 128, 200, 4000])
def test_locations_of_data_files_are_found_without_reading_a_model(length: int) -> None:
    """Those of every tensor, each once, sorted, however long; none of a file that is no model, none without."""
    names = ["b" * length, "a.bin", "b" * length]
    tensors = []
    for index, name in enumerate(names):
        made = TensorProto(name=f"w{index}", data_type=1, dims=[1], data_location=1)
        made.external_data.add(key="location", value=name)
        made.external_data.add(key="offset", value="location")
        tensors.append(made)
    model = model_with([node("Relu", ["x"], ["y"])], stored=tensors)
    assert external_locations(BytesSource(model.SerializeToString())) == sorted({"b" * length, "a.bin"})
    assert external_locations(BytesSource(b"\x08\x09\x0a")) == []
    assert external_locations(BytesSource(model_of(PLAIN).SerializeToString())) == []


def test_text_that_is_no_utf8_is_refused() -> None:
    """In the name of anything: no library could use it."""
    for place in ("node", "operator", "graph", "output", "operator set", "attribute", "reference"):
        made = model_with([node("Relu", ["x"], ["QQQQ" if place == "output" else "y"], name="QQQQ" if place == "node" else "n")],
                          outputs=("QQQQ" if place == "output" else "y",))  # fmt: skip
        if place == "operator":
            made.graph.node[0].op_type = "QQQQ"
        if place == "graph":
            made.graph.name = "QQQQ"
        if place in {"attribute", "reference"}:
            made.graph.node[0].attribute.add(name="QQQQ" if place == "attribute" else "a", i=1, type=AttributeProto.INT)
        if place == "reference":
            made.graph.node[0].attribute[0].ref_attr_name = "QQQQ"
        if place == "operator set":
            made.opset_import.add(domain="QQQQ", version=1)
        with pytest.raises(Refusal) as refusal, open_model(made.SerializeToString().replace(b"QQQQ", b"Q\xff\xfeQ")):
            pass
        assert refusal.value.reason == Reason.MALFORMED


@pytest.mark.parametrize("place", ["name", "input", "output", "domain"])
def test_names_of_functions_are_text(place: str) -> None:
    """Also of one that nobody calls."""
    parts = {name: "QQQQ" if name == place else name for name in ("name", "input", "output")}
    made = function(
        parts["name"], [parts["input"]], [parts["output"]], [node("Relu", [parts["input"]], [parts["output"]])]
    )
    made.domain = "QQQQ" if place == "domain" else "d"
    data = model_with([node("Relu", ["x"], ["y"])], functions=[made]).SerializeToString()
    with pytest.raises(Refusal) as refusal, open_model(data.replace(b"QQQQ", b"Q\xff\xfeQ")):
        pass
    assert refusal.value.reason == Reason.MALFORMED


def test_files_are_counted_and_closed(tmp_path: Path) -> None:
    """The model's and those of its data, by their bytes; none stays open."""
    made = TensorProto(name="w", data_type=1, dims=[4], data_location=1)
    made.external_data.add(key="location", value="w.bin")
    (tmp_path / "w.bin").write_bytes(b"\0" * 16 + b"rest")
    (tmp_path / "m.onnx").write_bytes(model_with([node("Mul", ["x", "w"], ["y"])], stored=[made]).SerializeToString())
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.is_dir() else 0
    with open_model(tmp_path / "m.onnx") as model:
        assert (model.path, model.size) == (str(tmp_path / "m.onnx"), (tmp_path / "m.onnx").stat().st_size + 20)
        assert next(model.initializers()).read().tolist() == [0, 0, 0, 0]
    assert (len(list(descriptors.iterdir())) if descriptors.is_dir() else 0) == before


def test_what_only_looks_like_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that has one part of a model; a message that protobuf's own recursion does not reach the end of."""
    for odd in (SimpleNamespace(graph=1), SimpleNamespace(opset_import=[])):
        with pytest.raises(Refusal) as refusal, open_model(odd):
            pass
        assert refusal.value.reason == Reason.USAGE

    class Deep:
        def ParseFromString(self, _: bytes) -> None:  # noqa: N802 - protobuf's name
            raise RecursionError

    monkeypatch.setattr("initlint.model.ModelProto", Deep)
    with pytest.raises(Refusal) as refusal, open_model(model_of(PLAIN).SerializeToString()):
        pass
    assert refusal.value.reason == Reason.TOO_DEEP


def test_a_model_in_memory_has_no_files() -> None:
    """What it says lies in a file beside it cannot be had."""
    made = TensorProto(name="w", data_type=1, dims=[1], data_location=1)
    made.external_data.add(key="location", value="w.bin")
    reader = TensorReader(BytesSource(b""), ExternalFiles(None), lambda _: None)
    with pytest.raises(Refusal, match="in memory"):
        reader.tensor(made, "w")
