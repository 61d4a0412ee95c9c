"""Small files that would take for ever, or all memory, or the process itself, to compute (ids b..)."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.cases import FLOAT, INT64, Want, case, graph_model, network, tensor

Nodes = list[onnx.NodeProto]
Array = np.ndarray
node = helper.make_node


def constant(name: str, values: object, dtype: object = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)  # type: ignore[arg-type]


def on_signal(identity: str, want: Want, nodes: Nodes, *stored: TensorProto, **more: object) -> None:
    """A case whose nodes lead from `x` to `h`."""
    case(identity, want)(lambda _: graph_model(*nodes, stored=list(stored), **more))


def on_constant(identity: str, want: Want, nodes: Nodes, *stored: TensorProto, **more: object) -> None:
    """A case whose nodes make a constant `c`, of which one number is added to the signal."""
    join = [
        node("Cast", ["c"], ["cast"], to=FLOAT),
        node("ReduceMax", ["cast"], ["most"], keepdims=0),
        node("Add", ["x", "most"], ["h"]),
    ]
    on_signal(identity, want, [*nodes, *join], *stored, **more)


million = constant("n", [10**6, 10**6])
seven = constant("k", np.arange(7), np.float32)

on_constant("b02b", "partial", [node("ConstantOfShape", ["n"], ["c"])], constant("n", [-1]))
on_signal(
    "b07", "partial", [node("Resize", ["x", "", "s"], ["h"], mode="nearest")],
    constant("s", [1, 10**6, 10**6, 1], np.float32), shape=(1, 3, 8, 8),
)  # fmt: skip
on_constant(
    "b08", "partial", [node("OneHot", ["i", "n", "v"], ["c"])],
    constant("i", [1, 2]), constant("n", 10**12), constant("v", [0, 1], np.float32),
)  # fmt: skip
on_constant("b09", "partial", [node("RandomNormal", [], ["c"], shape=[10**6, 10**6])])
on_constant("b11", "partial", [node("ConstantOfShape", ["n"], ["z"]), node("EyeLike", ["z"], ["c"])], million)
on_constant(
    "b12", "partial",
    [
        node("Expand", ["one", "tall"], ["a"]), node("Expand", ["one", "wide"], ["b"]),
        node("MatMul", ["a", "b"], ["c"]),
    ],
    constant("one", [[1]], np.float32), constant("tall", [10**6, 1]), constant("wide", [1, 10**6]),
)  # fmt: skip
on_constant("b13", "refuse", [node("Gather", ["k", "i"], ["c"])], seven, constant("i", [7]))
on_constant("b14", "refuse", [node("Div", ["a", "b"], ["c"])], constant("a", [4]), constant("b", [0]))
on_constant("b14b", "refuse", [node("Mod", ["a", "b"], ["c"])], constant("a", [4]), constant("b", [0]))
on_constant("b15b", "refuse", [node("Mod", ["a", "b"], ["c"])], constant("a", [-(2**63)]), constant("b", [-1]))
on_constant("b15c", "refuse", [node("Div", ["a", "b"], ["c"])], constant("a", [-(2**63)]), constant("b", [-1]))
on_signal("b16", "refuse", [node("SpaceToDepth", ["x"], ["h"], blocksize=0)], shape=(1, 3, 8, 8))
on_signal(
    "b17", "refuse", [node("MaxPool", ["x"], ["h"], kernel_shape=[0, 0], strides=[0, 0])], shape=(1, 3, 8, 8)
)  # fmt: skip
on_signal(
    "b17b", "refuse", [node("AveragePool", ["x"], ["h"], kernel_shape=[2**40, 2**40], dilations=[0, 0])],
    shape=(1, 3, 8, 8), opset=19,
)  # fmt: skip
on_signal(
    "b18", "refuse", [node("GroupNormalization", ["x", "g", "b"], ["h"], num_groups=0)],
    constant("g", [1] * 4, np.float32), constant("b", [0] * 4, np.float32), shape=(1, 4, 8, 8), opset=21,
)  # fmt: skip
on_signal(
    "b20", "refuse", [node("Slice", ["x", "i", "j", "k", "s"], ["h"])],
    constant("i", [0]), constant("j", [8]), constant("k", [1]), constant("s", [0]),
)  # fmt: skip
on_constant("b21", "partial", [node("BlackmanWindow", ["n"], ["c"])], constant("n", 10**12))
on_signal("b25", "refuse", [node("TopK", ["x", "n"], ["h", "at"], axis=1)], constant("n", [10**12]))
on_signal("b28", "refuse", [node("Einsum", ["x"], ["h"], equation="ab->abcdefgh" + "q" * 60)])
on_signal("b28b", "refuse", [node("Einsum", ["x"], ["h"], equation="ab->,,->")])
on_signal("b51", "refuse", [node("Max", ["x", ""], ["h"])])
on_signal("b51b", "refuse", [node("Sum", ["x", "", "x"], ["h"])])
on_signal(
    "b38", "refuse",
    [
        node("RoiAlign", ["x", "r", "i"], ["p"], output_height=8, output_width=8),
        node("ReduceMean", ["p"], ["h"], axes=[1], keepdims=0),
    ],
    constant("r", [[0, 0, 4, 4]], np.float32), constant("i", [10**9]), shape=(1, 3, 8, 8), opset=16,
)  # fmt: skip
on_constant(
    "b50", "partial",
    [node("Expand", ["one", "n"], ["e"]), node("Transpose", ["e"], ["t"]), node("Reshape", ["t", "f"], ["c"])],
    constant("one", [[1]], np.float32), constant("n", [10**5, 10**4]), constant("f", [-1]),
)  # fmt: skip
on_constant(
    "b49", "refuse", [node("Gather", ["k", "i"], ["c"], domain="com.microsoft")],
    constant("k", [1, 2, 3], np.uint8), constant("i", [-(2**63)]), domains=("com.microsoft",),
)  # fmt: skip
on_constant(
    "b49b", "refuse", [node("Gather", ["k", "i"], ["c"])],
    constant("k", [1, 2, 3], np.uint8), constant("i", [-(2**63)]),
)  # fmt: skip


@case("b10", "partial")
def doubling(_: Path) -> onnx.ModelProto:
    """Concat with itself, forty times: 2^40 elements."""
    nodes = [node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(40)]
    join = [node("ReduceMax", ["c40"], ["most"], keepdims=0), node("Add", ["x", "most"], ["h"])]
    return graph_model(*nodes, *join, stored=[constant("c0", [1.0, 2.0], np.float32)])


@case("b23", "partial")
def endless_loop(_: Path) -> onnx.ModelProto:
    """A loop of 2^62 rounds."""
    return loop_model(2**62)


def loop_model(trips: int) -> onnx.ModelProto:
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Mul", ["v", "one"], ["u"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, None),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("u", FLOAT, None)],
    )
    stored = [
        constant("n", trips), numpy_helper.from_array(np.array(True), "yes"), constant("one", 1.0, np.float32),
    ]  # fmt: skip
    return graph_model(node("Loop", ["n", "yes", "x"], ["h"], body=body), stored=stored)


@case("b23b", "partial", slow=True)
def loop_in_loop(_: Path) -> onnx.ModelProto:
    """Loops in loops: 4 000 rounds each."""
    inner = loop_model(4000).graph.node[0]
    inner.input[2] = "v0"
    inner.output[0] = "u0"
    body = helper.make_graph(
        [node("Identity", ["go0"], ["on0"]), inner],
        "outer",
        [
            helper.make_tensor_value_info("i0", INT64, []),
            helper.make_tensor_value_info("go0", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v0", FLOAT, None),
        ],
        [helper.make_tensor_value_info("on0", TensorProto.BOOL, []), helper.make_tensor_value_info("u0", FLOAT, None)],
    )
    stored = [constant("n", 4000), numpy_helper.from_array(np.array(True), "yes"), constant("one", 1.0, np.float32)]
    return graph_model(node("Loop", ["n", "yes", "x"], ["h"], body=body), stored=stored)


@case("b29", "partial")
def string_doubling(_: Path) -> onnx.ModelProto:
    """A text joined to itself thirty-four times."""
    nodes = [node("StringConcat", [f"c{i}", f"c{i}"], [f"c{i + 1}"]) for i in range(34)]
    join = [node("Cast", ["c34"], ["most"], to=FLOAT), node("Add", ["x", "most"], ["h"])]
    text = helper.make_tensor("c0", TensorProto.STRING, [], [b"1"])
    return graph_model(*nodes, *join, stored=[text], opset=20)


@case("b30", "partial")
def heavy_convolution(_: Path) -> onnx.ModelProto:
    """512 channels of 3x3 over a constant image of 10^4 x 10^4."""
    nodes = [
        node("ConstantOfShape", ["n"], ["image"]),
        node("Conv", ["image", "k"], ["c"], name="conv"),
        node("ReduceMax", ["c"], ["most"], keepdims=0),
        node("Add", ["x", "most"], ["h"]),
    ]
    kernel = constant("k", np.full((512, 1, 3, 3), 0.1), np.float32)
    return graph_model(*nodes, stored=[constant("n", [1, 1, 10**4, 10**4]), kernel])


ML = "ai.onnx.ml"


@case("b31", "refuse")
def endless_tree(_: Path) -> onnx.ModelProto:
    """A tree whose root is its own child."""
    tree = node(
        "TreeEnsembleRegressor", ["x"], ["h"], domain=ML, n_targets=8,
        nodes_treeids=[0], nodes_nodeids=[0], nodes_featureids=[0], nodes_modes=["BRANCH_LEQ"], nodes_values=[0.5],
        nodes_truenodeids=[0], nodes_falsenodeids=[0], nodes_missing_value_tracks_true=[0], nodes_hitrates=[1.0],
        target_ids=[0], target_nodeids=[0], target_treeids=[0], target_weights=[1.0],
    )  # fmt: skip
    return graph_model(tree, domains=(ML,))


@case("b33", "refuse")
def wrong_vectors(_: Path) -> onnx.ModelProto:
    """A support vector machine whose counts contradict each other."""
    svm = node(
        "SVMClassifier", ["x"], ["label", "h"], domain=ML, classlabels_ints=[0, 1], kernel_type="LINEAR",
        coefficients=[1.0] * 3, support_vectors=[1.0] * 7, vectors_per_class=[100, 200], rho=[0.1],
        kernel_params=[0.0, 0.0, 3.0],
    )  # fmt: skip
    return graph_model(svm, domains=(ML,))


@case("b34", "refuse")
def few_coefficients(_: Path) -> onnx.ModelProto:
    """A linear classifier with too few numbers for its features."""
    linear = node(
        "LinearClassifier", ["x"], ["label", "h"], domain=ML, classlabels_ints=list(range(8)),
        coefficients=[1.0] * 3, intercepts=[0.0] * 8,
    )  # fmt: skip
    return graph_model(linear, domains=(ML,))


@case("b36", "refuse")
def headless_attention(_: Path) -> onnx.ModelProto:
    """Attention with no heads."""
    attention = node("Attention", ["x", "q", "b"], ["h"], domain="com.microsoft", num_heads=0)
    stored = [tensor("q", 8, 24), constant("b", [0] * 24, np.float32)]
    return graph_model(attention, stored=stored, shape=(1, 4, 8), domains=("com.microsoft",))


@case("b40", "partial")
def named_library(_: Path) -> onnx.ModelProto:
    """An operator of its own, and metadata that names the library to load for it."""
    model = graph_model(node("Custom", ["x"], ["h"], domain="my.ops"), domains=("my.ops",))
    helper.set_model_props(model, {"ort_custom_op_library": "./other/evil.so", "custom_ops": "./evil.so"})
    return model


# -- of the same kinds ------------------------------------------------------------------------------------------------

on_constant(
    "b52", "partial", [node("Range", ["zero", "n", "one"], ["c"])],
    constant("zero", 0), constant("n", 10**13), constant("one", 1),
)  # fmt: skip
on_constant("b53", "partial", [node("Tile", ["k", "n"], ["c"])], seven, constant("n", [10**12]))
on_constant(
    "b54", "refuse", [node("Pad", ["k", "n"], ["c"])], seven, constant("n", [10**12, 10**12])
)  # fmt: skip
on_signal("b55", "refuse", [node("Split", ["x"], ["h", "r"], axis=1, num_outputs=0)], opset=18)
on_signal("b56", "refuse", [node("DepthToSpace", ["x"], ["h"], blocksize=0)], shape=(1, 4, 8, 8))
on_signal("b57", "refuse", [node("Transpose", ["x"], ["h"], perm=[0, 0])])
on_signal("b58", "refuse", [node("Softmax", ["x"], ["h"], axis=9)])
on_signal("b59", "refuse", [node("LRN", ["x"], ["h"], size=0)], shape=(1, 4, 8, 8))


for _identity, _shape in (("b62", (4_194_306, 8)), ("b62b", (10**6, 10**6, 8)), ("b62c", (2**62, 2**62, 8))):
    on_signal(_identity, "partial", [node("Relu", ["x"], ["h"])], shape=_shape)


@case("b60", "analyse")
def diamonds(_: Path) -> onnx.ModelProto:
    """2^60 paths through sixty additions of a value to itself."""
    nodes = []
    last = "x"
    for i in range(60):
        nodes += [node("Mul", [last, "half"], [f"m{i}"]), node("Add", [f"m{i}", f"m{i}"], [f"a{i}"])]
        last = f"a{i}"
    nodes.append(node("Identity", [last], ["h"]))
    return graph_model(*nodes, stored=[constant("half", 0.5, np.float32)])


@case("b61", "analyse")
def network_of_constants(_: Path) -> onnx.ModelProto:
    """A chain of ten thousand operators on one constant number."""
    nodes = [node("Add", [f"c{i}", "one"], [f"c{i + 1}"]) for i in range(10_000)]
    join = [node("Mul", ["c10000", "tiny"], ["t"]), node("Add", ["x", "t"], ["h"])]
    stored = [constant("c0", 0, np.float32), constant("one", 1, np.float32), constant("tiny", 1e-5, np.float32)]
    return network([*nodes, *join, node("MatMul", ["h", "w"], ["y"], name="fc")], [*stored, tensor("w", 8, 8)])
