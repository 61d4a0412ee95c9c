"""Graphs that contradict themselves, or are only unusual (ids g..)."""

from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.hostile.cases import FLOAT, case, field, graph_model, mlp, network, tensor

node = helper.make_node


def floats(name: str, *values: float) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def conv(shape: tuple[int, ...] = (4, 3, 3, 3), **attributes: object) -> onnx.ModelProto:
    """One convolution of an image by a 3x3 weight."""
    weight = numpy_helper.from_array(np.full(shape, 0.2, np.float32), "k")
    return network([node("Conv", ["x", "k"], ["y"], name="conv", **attributes)], [weight], shape=(1, 3, 8, 8))


@case("g01", "refuse")
def cycle(_: Path) -> onnx.ModelProto:
    """Two nodes that need each other."""
    return graph_model(node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Identity", ["b"], ["h"]))


@case("g03", "analyse")
def unsorted(_: Path) -> onnx.ModelProto:
    """Nodes in reverse order."""
    model = mlp()
    nodes = list(reversed(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@case("g04", "refuse")
def written_twice(_: Path) -> onnx.ModelProto:
    """Two nodes write one value."""
    return graph_model(node("Relu", ["x"], ["h"]), node("Tanh", ["x"], ["h"]))


@case("g05", "analyse")
def named_twice(_: Path) -> onnx.ModelProto:
    """Two nodes of one name."""
    model = mlp()
    for item in model.graph.node:
        item.name = "same"
    return model


@case("g06", "refuse")
def undefined(_: Path) -> onnx.ModelProto:
    """A value that nobody makes."""
    return graph_model(node("Add", ["x", "ghost"], ["h"]))


@case("g09", "refuse")
def no_operator(_: Path) -> onnx.ModelProto:
    """A node without an operator."""
    return graph_model(node("", ["x"], ["h"]))


@case("g10", "partial")
def unknown_operator(_: Path) -> onnx.ModelProto:
    """An operator that ONNX does not have."""
    return graph_model(node("Frobnicate", ["x"], ["h"]))


@case("g15", "refuse")
def two_opsets(_: Path) -> onnx.ModelProto:
    """Two versions of one operator set."""
    model = mlp()
    model.opset_import.append(helper.make_opsetid("", 7))
    return model


@case("g16b", "refuse")
def attribute_type(_: Path) -> bytes:
    """An attribute of type 99."""
    model = graph_model(node("LeakyRelu", ["x"], ["h"]))
    model.graph.node[0].attribute.add(name="alpha")
    odd = model.graph.node[0].attribute[0].SerializeToString() + field(20, 99)
    model.graph.node[0].attribute[0].ParseFromString(odd)
    return model.SerializeToString()


@case("g16c", "refuse")
def loose_reference(_: Path) -> onnx.ModelProto:
    """An attribute that refers to a function's, outside any function."""
    model = graph_model(node("LeakyRelu", ["x"], ["h"]))
    model.graph.node[0].attribute.add(name="alpha", ref_attr_name="alpha", type=AttributeProto.FLOAT)
    return model


def branch(name: str, source: str, extra: list[onnx.NodeProto] | None = None) -> onnx.GraphProto:
    output = helper.make_tensor_value_info(name, FLOAT, None)
    return helper.make_graph([*(extra or []), node("Identity", [source], [name])], name, [], [output])


YES = numpy_helper.from_array(np.array(True), "yes")


@case("g17", "refuse")
def one_branch(_: Path) -> onnx.ModelProto:
    """An If with one branch."""
    return graph_model(node("If", ["yes"], ["h"], then_branch=branch("t", "x")), stored=[YES])


def function(name: str, body: list[onnx.NodeProto]) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["a"], ["b"], body, opsets)


def with_functions(*functions: onnx.FunctionProto, call: str = "F") -> onnx.ModelProto:
    model = graph_model(node(call, ["x"], ["h"], domain="local"), domains=("local",))
    model.functions.extend(functions)
    return model


@case("g18", "refuse")
def doubling_calls(_: Path) -> onnx.ModelProto:
    """Thirty functions, each calling the one before twice."""
    functions = [function("F0", [node("Relu", ["a"], ["b"])])]
    for i in range(1, 31):
        calls = [
            node(f"F{i - 1}", ["a"], ["m"], domain="local"), node(f"F{i - 1}", ["m"], ["b"], domain="local")
        ]  # fmt: skip
        functions.append(function(f"F{i}", calls))
    return with_functions(*functions, call="F30")


@case("g19", "refuse")
def calls_itself(_: Path) -> onnx.ModelProto:
    """A function that calls itself."""
    return with_functions(function("F", [node("F", ["a"], ["b"], domain="local")]))


@case("g19b", "refuse")
def call_each_other(_: Path) -> onnx.ModelProto:
    """Two functions that call each other."""
    return with_functions(
        function("F", [node("G", ["a"], ["b"], domain="local")]),
        function("G", [node("F", ["a"], ["b"], domain="local")]),
    )


@case("g20b", "refuse")
def two_bodies(_: Path) -> onnx.ModelProto:
    """One function, two bodies."""
    return with_functions(function("F", [node("Relu", ["a"], ["b"])]), function("F", [node("Tanh", ["a"], ["b"])]))


case("g21", "refuse")(lambda _: conv(group=0))
case("g21b", "refuse")(lambda _: conv(group=-1))
case("g21e", "refuse")(lambda _: conv(pads=[2**62] * 4))
case("g21f", "refuse")(lambda _: conv(kernel_shape=[3, 3, 3]))
case("g21g", "refuse")(lambda _: conv(pads=[1]))
case("g21h", "refuse")(lambda _: conv((4, 3)))
case("g21i", "refuse")(lambda _: conv((0, 3, 3, 3)))
case("g21j", "refuse")(lambda _: conv(strides=[0, 0]))
case("g21k", "refuse")(lambda _: conv(dilations=[-1, 1]))
case("g21l", "refuse")(lambda _: conv(kernel_shape=[5, 5]))
case("g21m", "refuse")(lambda _: conv(auto_pad="SIDEWAYS"))


@case("g22", "refuse")
def two_unknowns(_: Path) -> onnx.ModelProto:
    """A shape with two extents to be found."""
    shape = numpy_helper.from_array(np.array([-1, -1], np.int64), "s")
    return graph_model(node("Reshape", ["x", "s"], ["h"]), stored=[shape])


@case("g23", "refuse")
def deep_gemm(_: Path) -> onnx.ModelProto:
    """A Gemm with a weight of three axes."""
    return network([node("Gemm", ["x", "w"], ["y"], name="fc")], [tensor("w", 8, 8, 2)])


@case("g24", "analyse", slow=True)
def long_chain(_: Path) -> onnx.ModelProto:
    """100 000 activations in a row."""
    names = ["x", *(f"r{i}" for i in range(99_999)), "h"]
    return graph_model(*(node("Relu", [a], [b]) for a, b in zip(names, names[1:], strict=False)))


@case("g26", "refuse")
def redefined(_: Path) -> onnx.ModelProto:
    """A branch that gives an outer name another value."""
    then = branch("t", "m", [node("Relu", ["x"], ["m"])])
    return graph_model(
        node("Tanh", ["x"], ["m"]),
        node("If", ["yes"], ["i"], then_branch=then, else_branch=branch("e", "x")),
        node("Add", ["m", "i"], ["h"]),
        stored=[YES],
    )


@case("g27", "analyse", slow=True)
def million_inputs(_: Path) -> onnx.ModelProto:
    """One node with a million inputs."""
    return graph_model(node("Max", ["x"] * 1_000_000, ["h"]))


@case("g28", "refuse")
def million_numbers(_: Path) -> onnx.ModelProto:
    """An attribute of five million numbers."""
    attribute = AttributeProto(name="axes", type=AttributeProto.INTS, ints=[1] * 5_000_000)
    item = node("Squeeze", ["x"], ["h"])
    item.attribute.append(attribute)
    return graph_model(item, opset=11)


@case("g30", "partial")
def map_input(_: Path) -> bytes:
    """A graph input that is a sequence of maps."""
    element = field(1, field(1, 1))
    kind = field(4, field(1, field(5, field(1, 8) + field(2, element))))
    model = graph_model(node("DictVectorizer", ["maps"], ["v"], domain="ai.onnx.ml"), node("Add", ["x", "v"], ["h"]))
    model.graph.input.append(onnx.ValueInfoProto.FromString(field(1, b"maps") + field(2, kind)))
    return model.SerializeToString()


@case("g33", "refuse")
def wrong_lstm(_: Path) -> onnx.ModelProto:
    """An LSTM whose weight does not fit its hidden size."""
    stored = [tensor("W", 1, 13, 8), tensor("R", 1, 16, 4)]
    return network([node("LSTM", ["x", "W", "R"], ["y"], hidden_size=4)], stored, shape=(5, 1, 8))


def dequantise(*scales: float, **attributes: int) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.arange(-32, 32, dtype=np.int8).reshape(8, 8), "q")
    scale = numpy_helper.from_array(np.asarray(scales if len(scales) > 1 else scales[0], np.float32), "s")
    nodes = [node("DequantizeLinear", ["q", "s"], ["w"], **attributes), node("MatMul", ["x", "w"], ["y"], name="fc")]
    return network(nodes, [weight, scale])


case("g35", "analyse")(lambda _: dequantise(0.0, np.nan, -1.0, 0.1, 0.1, 0.1, 0.1, 0.1, axis=1))
case("g35b", "refuse")(lambda _: dequantise(0.1, 0.2, 0.3, axis=99))
case("g35c", "refuse")(lambda _: dequantise(0.1, 0.2, 0.3, axis=1))


@case("g37", "analyse")
def overridable(_: Path) -> onnx.ModelProto:
    """A weight that is a graph input, too."""
    model = mlp()
    model.graph.input.append(helper.make_tensor_value_info("w1", FLOAT, [8, 16]))
    return model


@case("g38", "refuse")
def contradicted(_: Path) -> onnx.ModelProto:
    """A declared shape that the weights contradict."""
    model = mlp()
    model.graph.value_info.append(helper.make_tensor_value_info("h", FLOAT, [1, 99]))
    return model


@case("g40", "analyse", slow=True)
def many_outputs(_: Path) -> onnx.ModelProto:
    """100 000 outputs of the graph."""
    nodes = [node("Relu", ["x"], [f"o{i}"]) for i in range(100_000)]
    model = graph_model(*nodes, node("Identity", ["x"], ["h"]))
    model.graph.output.extend(helper.make_tensor_value_info(f"o{i}", FLOAT, None) for i in range(100_000))
    return model


@case("g41", "analyse")
def honest_nest(_: Path) -> onnx.ModelProto:
    """A valid nest of 26 Ifs."""
    inner = branch("t26", "x")
    for level in reversed(range(26)):
        item = node("If", ["yes"], [f"i{level}"], then_branch=inner, else_branch=branch(f"e{level}", "x"))
        inner = branch(f"t{level}", f"i{level}", [item])
    nodes = list(inner.node[:-1])
    return graph_model(*nodes, node("Identity", ["i0"], ["h"]), stored=[YES])


@case("g44", "analyse")
def odd_numbers(_: Path) -> onnx.ModelProto:
    """Attributes that are no numbers."""
    nodes = [
        node("Gemm", ["x", "w1"], ["h"], name="fc1", alpha=float("inf")),
        node("LeakyRelu", ["h"], ["a"], alpha=float("nan")),
        node("Gemm", ["a", "w2"], ["y"], name="fc2"),
    ]
    return network(nodes, [tensor("w1", 8, 8), tensor("w2", 8, 8, seed=1)])


@case("g45", "partial")
def all_custom(_: Path) -> onnx.ModelProto:
    """Every weight belongs to an operator that nobody knows."""
    nodes = [node("Dense", ["x", "w1"], ["a"], domain="my.ops"), node("Dense", ["a", "w2"], ["y"], domain="my.ops")]
    return network(nodes, [tensor("w1", 8, 8), tensor("w2", 8, 8)], domains=("my.ops",))


# -- of the same kinds ------------------------------------------------------------------------------------------------


@case("g46", "refuse")
def self_cycle(_: Path) -> onnx.ModelProto:
    """A node that needs its own output."""
    return graph_model(node("Add", ["x", "h"], ["h"]))


@case("g47", "refuse")
def branch_cycle(_: Path) -> onnx.ModelProto:
    """A cycle through what a branch captures."""
    item = node("If", ["yes"], ["i"], then_branch=branch("t", "m"), else_branch=branch("e", "x"))
    return graph_model(item, node("Relu", ["i"], ["m"]), node("Identity", ["m"], ["h"]), stored=[YES])


@case("g48", "refuse")
def attribute_twice(_: Path) -> onnx.ModelProto:
    """One attribute twice with two values."""
    item = node("LeakyRelu", ["x"], ["h"], alpha=0.1)
    item.attribute.append(helper.make_attribute("alpha", 100.0))
    return graph_model(item)


@case("g49", "refuse")
def wrong_matmul(_: Path) -> onnx.ModelProto:
    """A weight that does not fit what comes in."""
    return network([node("MatMul", ["x", "w"], ["y"], name="fc")], [tensor("w", 9, 8)])


@case("g50", "refuse")
def no_output(_: Path) -> onnx.ModelProto:
    """A graph output that nobody makes."""
    model = mlp()
    model.graph.output.append(helper.make_tensor_value_info("ghost", FLOAT, None))
    return model


@case("g51", "refuse")
def wrong_norm(_: Path) -> onnx.ModelProto:
    """A normalisation whose parameters have different lengths."""
    stored = [floats("s", 1, 1, 1), floats("b", 0, 0, 0), floats("m", 0, 0), floats("v", 1, 1, 1)]
    norm = node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], name="norm")
    return network([norm], stored, shape=(1, 3, 8, 8))


@case("g52", "refuse")
def missing_input(_: Path) -> onnx.ModelProto:
    """An operator without its second input."""
    return network([node("MatMul", ["x"], ["y"], name="fc")], [])


@case("g53", "refuse")
def wrong_attribute_kind(_: Path) -> onnx.ModelProto:
    """A number where a list of numbers belongs."""
    return conv(pads=1)


@case("g54", "refuse")
def training_graph_cycle(_: Path) -> onnx.ModelProto:
    """A function with an output that it never makes."""
    return with_functions(function("F", [node("Relu", ["a"], ["elsewhere"])]))


@case("g55", "refuse")
def declared_output(_: Path) -> onnx.ModelProto:
    """A graph output whose declared shape the weights contradict."""
    model = mlp()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["batch", 5]))
    return model


@case("g56", "analyse")
def nothing_given(_: Path) -> onnx.ModelProto:
    """A product whose result nobody takes."""
    model = mlp()
    model.graph.node.append(node("MatMul", ["x", "w1"], []))
    return model
