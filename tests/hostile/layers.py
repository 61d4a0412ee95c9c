"""Weights and layers that contradict themselves where a reader might not look (ids l..)."""

from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from tests.hostile.cases import FLOAT, INT64, Want, case, field, graph_model, mlp, network, tensor, varint

node = helper.make_node
MS = "com.microsoft"


def array(name: str, values: object, dtype: object = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)  # type: ignore[arg-type]


# -- quantised weights ------------------------------------------------------------------------------------------------


def dequantised(
    identity: str, want: Want, scale: object, zero: object, *, dtype: object = np.int8, **more: int
) -> None:
    """A case of one layer whose weight is dequantised from 8 x 8 codes."""
    stored = [array("q", np.arange(-32, 32).reshape(8, 8), np.int8), array("s", scale)]
    inputs = ["q", "s"]
    if zero is not None:
        stored.append(array("z", zero, dtype))
        inputs.append("z")
    nodes = [node("DequantizeLinear", inputs, ["w"], **more), node("MatMul", ["x", "w"], ["y"], name="fc")]
    case(identity, want)(lambda _: network(nodes, stored, opset=21))


dequantised("l01", "analyse", float("nan"), None)
dequantised("l01b", "analyse", float("inf"), None)
dequantised("l01c", "analyse", -0.01, None)
dequantised("l01d", "analyse", 0.0, None)
dequantised("l01e", "analyse", 3e38, 0)
dequantised("l02", "partial", [0.1] * 8, [0] * 7, axis=1)
dequantised("l02b", "refuse", [0.1] * 8, [0] * 8, dtype=np.uint8, axis=1)
dequantised("l02c", "partial", [[0.1] * 8] * 3, [[0] * 8] * 3, axis=0, block_size=2)
dequantised("l02d", "partial", [[0.1] * 8] * 4, None, axis=0, block_size=-2)
dequantised("l02e", "refuse", [], None)


@case("l02f", "partial")
def two_zero_points(_: Path) -> onnx.ModelProto:
    """A signal that is quantised to one type and read back as another."""
    nodes = [node("QuantizeLinear", ["x", "s", "u"], ["q"]), node("DequantizeLinear", ["q", "s", "i"], ["h"])]
    return graph_model(*nodes, stored=[array("s", 0.05), array("u", 0, np.uint8), array("i", 0, np.int8)])


def bits(identity: str, want: Want, codes: tuple[int, ...], scales: int, **changed: int) -> None:
    """A case of one MatMulNBits of 32 inputs and 8 outputs."""
    attributes = {"K": 32, "N": 8, "bits": 4, "block_size": 32} | changed
    item = node("MatMulNBits", ["x", "q", "s"], ["y"], name="fc", domain=MS, **attributes)
    stored = [array("q", np.full(codes, 0x87), np.uint8), array("s", np.full(scales, 0.05))]
    case(identity, want)(lambda _: network([item], stored, shape=("n", 32), domains=(MS,)))


bits("l03", "analyse", (8, 1, 16), 8)
bits("l03b", "partial", (8, 2, 16), 8)
bits("l03c", "partial", (8, 1, 16), 7)
bits("l03d", "refuse", (8, 1, 16), 8, K=-32)
bits("l03e", "partial", (8, 1, 16), 8, N=2**62)
bits("l03f", "refuse", (8, 1, 16), 8, block_size=0)
bits("l03g", "partial", (8, 1, 16), 8, bits=0)
bits("l03h", "partial", (8, 1, 16), 8, bits=65)

# -- bodies -----------------------------------------------------------------------------------------------------------

YES = numpy_helper.from_array(np.array(True), "yes")


def info(name: str, kind: int = FLOAT, shape: list[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def loop(identity: str, want: Want, body: onnx.GraphProto, *, trips: object = 3, kind: object = np.int64) -> None:
    """A case of one loop around `x`."""
    item = node("Loop", ["n", "yes", "x"], ["h"], body=body)
    case(identity, want)(lambda _: graph_model(item, stored=[array("n", trips, kind), YES]))


def body(nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto], **more: object) -> onnx.GraphProto:
    inputs = [info("i", INT64, []), info("go", TensorProto.BOOL, []), info("v")]
    return helper.make_graph([node("Identity", ["go"], ["on"]), *nodes], "body", inputs, outputs, **more)


ON = info("on", TensorProto.BOOL, [])
loop("l04", "refuse", body([node("Relu", ["v"], ["u"])], [ON]))
loop("l04b", "refuse", body([node("Relu", ["v"], ["x"])], [ON, info("x")]))
loop("l04c", "refuse", body([node("Relu", ["later"], ["u"])], [ON, info("u")]))
loop("l04d", "analyse", body([node("Relu", ["v"], ["u"])], [ON, info("u")]), trips=-5)
loop("l04e", "partial", body([node("Concat", ["v", "v"], ["u"], axis=0)], [ON, info("u")]), trips=60)
loop("l04f", "partial", body([node("MatMul", ["v", "wl"], ["u"])], [ON, info("u")], initializer=[tensor("wl", 9, 8)]))


@case("l05", "partial")
def scan_of_nothing(_: Path) -> onnx.ModelProto:
    """A Scan that says it scans more inputs than it has."""
    inner = helper.make_graph([node("Relu", ["v"], ["u"])], "body", [info("v")], [info("u")])
    return graph_model(node("Scan", ["x"], ["h"], body=inner, num_scan_inputs=10**12))


@case("l06", "refuse")
def shadowed(_: Path) -> onnx.ModelProto:
    """A branch whose weight has the name of an outer one, with other numbers."""
    inner = helper.make_graph(
        [node("MatMul", ["x", "w"], ["t"])], "then", [], [info("t")], [tensor("w", 8, 8, std=1e9)]
    )
    other = helper.make_graph([node("Relu", ["x"], ["e"])], "else", [], [info("e")])
    return graph_model(node("If", ["yes"], ["h"], then_branch=inner, else_branch=other), stored=[YES])


@case("l07", "analyse")
def function_reference(_: Path) -> onnx.ModelProto:
    """A function that refers to an attribute which it does not have: the operator's default holds, as in onnxruntime."""
    item = node("LeakyRelu", ["a"], ["b"])
    item.attribute.add(name="alpha", ref_attr_name="missing", type=AttributeProto.FLOAT)
    model = graph_model(node("F", ["x"], ["h"], domain="local"), domains=("local",))
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], [item], opsets, ["alpha"]))
    return model


@case("l07b", "partial")
def function_reference_of_another_kind(_: Path) -> onnx.ModelProto:
    """A call that hands a text to a function whose body wants a number."""
    item = node("LeakyRelu", ["a"], ["b"])
    item.attribute.add(name="alpha", ref_attr_name="alpha", type=AttributeProto.FLOAT)
    model = graph_model(node("F", ["x"], ["h"], domain="local", alpha="much"), domains=("local",))
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], [item], opsets, ["alpha"]))
    return model


@case("l07c", "partial")
def function_of_another_opset(_: Path) -> onnx.ModelProto:
    """A function whose body calls an operator set that nobody imports."""
    model = graph_model(node("F", ["x"], ["h"], domain="local"), domains=("local",))
    inner = [node("G", ["a"], ["b"], domain="nowhere")]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], inner, opsets))
    return model


# -- types, sparse and text -------------------------------------------------------------------------------------------


@case("l08", "partial")
def optional_input(_: Path) -> bytes:
    """A graph input that is optional, and taken out of its box."""
    model = graph_model(node("OptionalGetElement", ["maybe"], ["o"]), node("Add", ["x", "o"], ["h"]), opset=18)
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [1, 8]))
    model.graph.input.append(helper.make_value_info("maybe", kind))
    return model.SerializeToString()


@case("l08b", "partial")
def sequence_input(_: Path) -> onnx.ModelProto:
    """A graph input that is a sequence, of which an element at 2^62 is taken."""
    model = graph_model(
        node("SequenceAt", ["many", "n"], ["o"]), node("Add", ["x", "o"], ["h"]), stored=[array("n", 2**62, np.int64)]
    )
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [1, 8]))
    model.graph.input.append(helper.make_value_info("many", kind))
    return model


def sparse(indices: list[int], values: list[float]) -> onnx.ModelProto:
    model = graph_model(node("Relu", ["x"], ["h"]))
    del model.graph.initializer[:]
    entry = SparseTensorProto(dims=[8, 8])
    entry.values.CopyFrom(helper.make_tensor("w", FLOAT, [len(values)], values))
    entry.indices.CopyFrom(helper.make_tensor("", INT64, [len(indices)], indices))
    model.graph.sparse_initializer.append(entry)
    return model


case("l09", "refuse")(lambda _: sparse([3, 3], [1.0, -1.0]))
case("l09b", "analyse")(lambda _: sparse([9, 3], [1.0, -1.0]))  # out of order, and onnxruntime runs it
case("l09c", "refuse")(lambda _: sparse([-1, 3], [1.0, -1.0]))
case("l09d", "refuse")(lambda _: sparse([1, 2, 3], [1.0, -1.0]))


@case("l10", "analyse")
def many_texts(_: Path) -> onnx.ModelProto:
    """A stored tensor of a million texts that nobody reads."""
    model = mlp()
    model.graph.initializer.append(
        TensorProto(name="t", data_type=TensorProto.STRING, dims=[10**6], string_data=[b"a"] * 10**6)
    )
    return model


@case("l10b", "refuse")
def text_that_is_short(_: Path) -> onnx.ModelProto:
    """A stored tensor of texts, fewer than it says."""
    model = mlp()
    model.graph.initializer.append(
        TensorProto(name="t", data_type=TensorProto.STRING, dims=[3], string_data=[b"a"] * 2)
    )
    return model


@case("l11", "refuse")
def two_gigabytes_inside(_: Path) -> bytes:
    """A tensor inside an attribute inside a node that claims two gigabytes."""
    claim = varint(5 << 3 | 2) + varint(2**31 - 1)
    attribute = field(1, b"value") + field(20, 4) + claim
    inner = field(2, b"c") + field(4, b"Constant") + field(5, attribute)
    return field(1, 8) + field(7, field(1, inner) + field(2, b"g")) + field(8, field(2, 17))


@case("l11b", "refuse")
def wrapped_extents(_: Path) -> onnx.ModelProto:
    """Extents whose product is 2^64 + 64: 64 where it wraps."""
    model = mlp()
    weight = model.graph.initializer[0]
    weight.dims[:] = [2**32 + 1, 2**32 - 1, 1]
    return model


@case("l12", "analyse")
def confusable(_: Path) -> onnx.ModelProto:
    """Names that look alike and are not: Latin and Cyrillic, composed and decomposed."""
    names = ("a\u0061", "a\u0430", "\u00e9", "e\u0301")
    nodes, last = [], "x"
    for index, name in enumerate(names):
        nodes.append(node("MatMul", [last, f"{name}w"], [name], name=name))
        last = name
        del index
    return network(nodes, [tensor(f"{name}w", 8, 8, seed=seed) for seed, name in enumerate(names)], output=last)


# -- one bad layer in a good model ------------------------------------------------------------------------------------


def behind(identity: str, want: Want, item: onnx.NodeProto, *stored: TensorProto, **more: object) -> None:
    """A case of a good layer, the node from `h` to `b`, and a good layer behind it."""
    nodes = [node("MatMul", ["x", "w1"], ["h"], name="first"), item, node("MatMul", ["b", "w2"], ["y"], name="last")]
    weights = [tensor("w1", 8, 8), tensor("w2", 8, 8, seed=1)]
    case(identity, want)(lambda _: network(nodes, [*weights, *stored], **more))  # type: ignore[arg-type]


behind("l13", "partial", node("Reshape", ["h", "s"], ["b"]), array("s", [3, 7], np.int64))
behind("l13b", "partial", node("Gather", ["h", "i"], ["b"], axis=1), array("i", [99] * 8, np.int64))
behind("l13c", "partial", node("Concat", ["h", "k"], ["b"], axis=5), array("k", np.zeros((1, 8))))
behind("l13d", "partial", node("Tile", ["h", "r"], ["b"]), array("r", [-1, 1], np.int64))
behind(
    "l13e",
    "partial",
    node("Mystery", ["h", "k"], ["b"], domain="my.ops"),
    array("k", np.ones((8, 8))),
    domains=("my.ops",),
)
behind("l13f", "partial", node("CumSum", ["h", "k"], ["b"]), array("k", 7, np.int64))
