"""Small files that ask for much memory in the values between the nodes (ids m..)."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.cases import FLOAT, INT64, case, graph_model, network, tensor

node = helper.make_node


def numbers(name: str, values: object, dtype: object = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)  # type: ignore[arg-type]


@case("m01", "partial")
def many_constants(_: Path) -> onnx.ModelProto:
    """A thousand constants of four million numbers, all of them alive until the last one is made."""
    nodes = [node("ConstantOfShape", ["n"], [f"c{i}"]) for i in range(1000)]
    join = [
        node("Sum", [f"c{i}" for i in range(1000)], ["s"]), node("ReduceMax", ["s"], ["m"], keepdims=0),
        node("Add", ["x", "m"], ["h"]),
    ]  # fmt: skip
    return graph_model(*nodes, *join, stored=[numbers("n", [2048, 2048])])


@case("m02", "partial")
def many_signals(_: Path) -> onnx.ModelProto:
    """A thousand copies of the signal, each of a million numbers, all of them alive until the last one is made."""
    nodes = [node("Expand", ["x", "n"], ["e"])]
    nodes += [node("Add", ["e", f"k{i}"], [f"c{i}"]) for i in range(1000)]
    join = [node("Sum", [f"c{i}" for i in range(1000)], ["s"]), node("ReduceMean", ["s"], ["h"], axes=[0], keepdims=0)]
    stored = [numbers("n", [131_072, 1, 8]), *(numbers(f"k{i}", float(i), np.float32) for i in range(1000))]
    return graph_model(*nodes, *join, stored=stored, shape=(1, 8))


@case("m03", "partial")
def collected(_: Path) -> onnx.ModelProto:
    """A loop of 4,000 rounds that collects a hundred thousand numbers in each."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Expand", ["v", "wide"], ["e"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("e", FLOAT, None)],
    )  # fmt: skip
    nodes = [
        node("ReduceMean", ["x"], ["v"], axes=[0, 1], keepdims=0), node("Loop", ["n", "yes"], ["all"], body=body),
        node("ReduceMean", ["all"], ["m"], axes=[0, 1], keepdims=0), node("Add", ["x", "m"], ["h"]),
    ]  # fmt: skip
    yes = numpy_helper.from_array(np.array(True), "yes")
    return graph_model(*nodes, stored=[numbers("n", 4000), yes, numbers("wide", [100_000])])


@case("m04", "partial")
def growing_sequence(_: Path) -> onnx.ModelProto:
    """A sequence that takes in a tensor of a million numbers a thousand times."""
    nodes = [node("ConstantOfShape", ["n"], ["c"]), node("SequenceEmpty", [], ["s0"], dtype=FLOAT)]
    for i in range(1000):
        nodes += [node("Add", ["c", f"k{i}"], [f"c{i}"]), node("SequenceInsert", [f"s{i}", f"c{i}"], [f"s{i + 1}"])]
    join = [
        node("ConcatFromSequence", ["s1000"], ["all"], axis=0), node("ReduceMax", ["all"], ["m"], keepdims=0),
        node("Add", ["x", "m"], ["h"]),
    ]  # fmt: skip
    return graph_model(
        *nodes, *join, stored=[numbers("n", [1 << 20]), *(numbers(f"k{i}", float(i), np.float32) for i in range(1000))]
    )


@case("m05", "analyse")
def softmax_of_much(_: Path) -> onnx.ModelProto:
    """Softmax and normalisation over a tensor as large as any may be."""
    nodes = [
        node("Expand", ["x", "n"], ["e"]), node("Softmax", ["e"], ["s"], axis=1), node("LayerNormalization", ["s", "g"], ["l"]),
        node("Erf", ["l"], ["f"]), node("ReduceMean", ["f"], ["h"], axes=[1], keepdims=0),
    ]  # fmt: skip
    stored = [numbers("n", [1, 1_000_000, 8]), numbers("g", [1.0] * 8, np.float32)]
    return graph_model(*nodes, stored=stored, shape=(1, 1, 8))


@case("m06", "analyse", slow=True)
def wide_convolution(_: Path) -> onnx.ModelProto:
    """A convolution of 7x7 from an image of 2,000 x 2,000 to 64 channels."""
    nodes = [
        node("Conv", ["x", "k"], ["c"], name="conv", pads=[3, 3, 3, 3]), node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]), node("Flatten", ["p"], ["f"]), node("MatMul", ["f", "w"], ["y"], name="fc"),
    ]  # fmt: skip
    kernel = numpy_helper.from_array(
        (np.random.Generator(np.random.Philox(1)).standard_normal((64, 3, 7, 7)) * 0.1).astype(np.float32), "k"
    )
    return network(nodes, [kernel, tensor("w", 64, 8)], shape=(1, 3, 2000, 2000))


@case("m07", "partial")
def outer_products(_: Path) -> onnx.ModelProto:
    """Outer products of constants, a hundred of them, each as large as a constant may be."""
    nodes = [node("MatMul", [f"a{i}", "b"], [f"c{i}"]) for i in range(100)]
    join = [
        node("Sum", [f"c{i}" for i in range(100)], ["s"]), node("ReduceMax", ["s"], ["m"], keepdims=0),
        node("Add", ["x", "m"], ["h"]),
    ]  # fmt: skip
    stored = [numbers(f"a{i}", np.full((4096, 1), float(i)), np.float32) for i in range(100)]
    return graph_model(*nodes, *join, stored=[*stored, numbers("b", np.ones((1, 4096)), np.float32)])
