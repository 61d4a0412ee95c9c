"""Nodes that contradict themselves, each beside its nearest neighbour that does not; onnxruntime loads what is accepted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from initlint.errors import Reason, Refusal
from initlint.model import open_model

ML, MS = "ai.onnx.ml", "com.microsoft"
I32, U8 = np.int32, np.uint8


def zeros(*shape: int, dtype: type[np.generic] = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def ints(*values: int, dtype: type[np.generic] = np.int64) -> np.ndarray:
    return np.array(values, dtype)


@dataclass(frozen=True)
class Case:
    """One node: an input is `x` (fed), an array (stored), or left out; `loads` is whether onnxruntime is asked, too."""

    op: str
    inputs: Sequence[Any] = ("x",)
    outputs: Sequence[str] = ("y",)
    domain: str = ""
    loads: bool = True
    fed: int = TensorProto.FLOAT
    shape: tuple[int, ...] | None = None  # declared of x
    given: tuple[int | str, ...] | None = None  # declared of y
    opset: int = 18
    attributes: dict[str, Any] = field(default_factory=dict)

    def model(self) -> bytes:
        """A model of this node alone."""
        names, stored = [], []
        for index, item in enumerate(self.inputs):
            if isinstance(item, np.ndarray):
                stored.append(numpy_helper.from_array(item, f"w{index}"))
                names.append(f"w{index}")
            else:
                names.append(item or "")
        node = helper.make_node(self.op, names, self.outputs, name="n", domain=self.domain, **self.attributes)
        fed = [helper.make_tensor_value_info("x", self.fed, self.shape)] if "x" in names else []
        results = [onnx.ValueInfoProto(name=name) for name in self.outputs if name]
        if self.given is not None:
            results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, self.given)]
        graph = helper.make_graph([node], "g", fed, results, stored)
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid(ML, 3), helper.make_opsetid(MS, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


def said(case: Case) -> str | None:
    """What is said of a node; None where nothing is."""
    try:
        with open_model(case.model()):
            return None
    except Refusal as refusal:
        found = refusal
    assert found.reason == Reason.GRAPH
    assert found.message.startswith(("node 'n' (", "node 'n/n' ("))
    return found.message


def make(op: str, *inputs: Any, domain: str = "", loads: bool = True, **more: Any) -> Case:
    known = {name: more.pop(name) for name in ("outputs", "fed", "shape", "given", "opset") if name in more}
    return Case(op, inputs, domain=domain, loads=loads, attributes=more, **known)


def convolution(*weight: int, **more: Any) -> Case:
    return make("Conv", "x", zeros(*(weight or (4, 2, 3, 3))), **more)


TREE = {
    "nodes_treeids": [0, 0, 0, 1], "nodes_nodeids": [0, 1, 2, 0], "nodes_featureids": [0, 0, 0, 0],
    "nodes_values": [0.5, 0.0, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "LEAF"], "nodes_truenodeids": [1, 0, 0, 0],
    "nodes_falsenodeids": [2, 0, 0, 0], "target_treeids": [0, 0, 1], "target_nodeids": [1, 2, 0], "target_ids": [0, 0, 0],
    "target_weights": [1.0, 2.0, 3.0], "n_targets": 1,
}  # fmt: skip
SVM = {
    "support_vectors": [0.0] * 6, "coefficients": [1.0] * 3, "n_supports": 3, "rho": [0.0], "kernel_type": "LINEAR",
    "kernel_params": [0.0, 0.0, 0.0],
}  # fmt: skip
CLASSES = {
    "vectors_per_class": [1, 1, 1], "support_vectors": [0.0] * 6, "coefficients": [1.0] * 6, "rho": [0.0] * 3,
    "kernel_type": "LINEAR", "kernel_params": [0.0] * 3, "classlabels_ints": [0, 1, 2],
}  # fmt: skip
LABELS = {"coefficients": [1.0] * 4, "intercepts": [0.0, 0.0], "classlabels_ints": [0, 1]}


def tree(**change: Any) -> Case:
    kept = {name: value for name, value in {**TREE, **change}.items() if value is not None}
    return Case("TreeEnsembleRegressor", domain=ML, attributes=kept)


def svm(**change: Any) -> Case:
    kept = {name: value for name, value in {**SVM, **change}.items() if value is not None}
    return Case("SVMRegressor", domain=ML, attributes=kept)


def classes(**change: Any) -> Case:
    return Case("SVMClassifier", outputs=("y", "z"), domain=ML, attributes={**CLASSES, **change})


def linear(**change: Any) -> Case:
    kept = {name: value for name, value in {**LABELS, **change}.items() if value is not None}
    return Case("LinearClassifier", outputs=("y", "z"), domain=ML, attributes=kept)


def recurrent(op: str, gates: int, hidden: int = 4, *, w: Any = None, r: Any = None, **more: Any) -> Case:
    weight = zeros(1, gates * hidden, 3) if w is None else w
    again = zeros(1, gates * hidden, hidden) if r is None else r
    return make(op, "x", weight, again, hidden_size=hidden, **more)


def norm(*shapes: tuple[int, ...]) -> Case:
    return make("BatchNormalization", "x", *(zeros(*shape) for shape in shapes))


def dequantised(values: Any, scale: Any, **more: Any) -> Case:
    return make("DequantizeLinear", values, scale, **more)


ACCEPTED: dict[str, Case] = {
    "one group": make("GroupNormalization", "x", zeros(1), zeros(1), num_groups=1),
    "block size 1": make("DepthToSpace", "x", blocksize=1),
    "a concatenation": make("Concat", "x", zeros(2), axis=0),
    "convolution": convolution(),
    "convolution with all that it may say": convolution(
        kernel_shape=[3, 3], strides=[1, 2], dilations=[1, 1], pads=[0, 1, 0, 1], group=2, auto_pad="NOTSET"
    ),
    "groups that divide": convolution(group=4),
    "in one dimension": convolution(4, 2, 3, kernel_shape=[3], pads=[1, 1]),
    "a large pad": make("MaxPool", "x", kernel_shape=[3], pads=[2**30, 0], loads=False),
    "the largest stride": make("MaxPool", "x", kernel_shape=[3], strides=[2**31 - 1]),
    "pooling": make("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0], auto_pad="NOTSET"),
    "pooling the same": make("AveragePool", "x", kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    **{f"padding {kind or 'of no kind'}": convolution(auto_pad=kind, loads=kind != "") for kind in ("SAME_UPPER", "VALID", "")},
    "quantised convolution": make(
        "QLinearConv", "x", zeros(), zeros(dtype=U8), zeros(4, 2, 3, 3, dtype=U8), zeros(), zeros(dtype=U8), zeros(),
        zeros(dtype=U8), fed=TensorProto.UINT8,
    ),
    "permutation": make("Transpose", "x", perm=[2, 0, 1]),
    "no permutation given": make("Transpose", "x"),
    "reshape": make("Reshape", "x", ints(2, -1, 0)),
    "reshape to a scalar": make("Reshape", "x", ints()),
    "a step of -1": make("Slice", "x", ints(0), ints(9), ints(0), ints(-1)),
    "sum over a label": make("Einsum", "x", zeros(3, 4), equation="ij, jk -> ik", loads=False),
    "labels left to the sum": make("Einsum", "x", zeros(3), equation="ij,j", loads=False),
    "an ellipsis": make("Einsum", "x", zeros(3, 3), equation="...i,ij->...j", loads=False),
    "first index": make("Gather", zeros(5, 3), ints(-5, 4), axis=0),
    "last axis": make("Gather", zeros(5, 3), ints(-3, 2), axis=-1),
    "first axis from behind": make("Gather", zeros(5, 3), ints(4), axis=-2),
    "no index": make("Gather", zeros(5, 3), ints()),
    "indices of 32 bits": make("Gather", zeros(5, 3), ints(4, dtype=I32)),
    "an index that is fed": make("Gather", zeros(5, 3), "x", fed=TensorProto.INT64),
    "statistics": norm((3,), (3,), (3,), (3,)),
    "LSTM": recurrent("LSTM", 4),
    "GRU": recurrent("GRU", 3),
    "RNN": recurrent("RNN", 1),
    "both directions": recurrent("GRU", 3, w=zeros(2, 12, 3), r=zeros(2, 12, 4), direction="bidirectional"),
    "one scale": dequantised(zeros(3, 4, dtype=U8), zeros()),
    "one scale in a list": dequantised(zeros(3, 4, dtype=U8), zeros(1)),
    "a scale a column": dequantised(zeros(3, 4, dtype=U8), zeros(4)),
    "a scale a row": dequantised(zeros(3, 4, dtype=U8), zeros(3), axis=0),
    "a scale a row, from behind": dequantised(zeros(3, 4, dtype=U8), zeros(3), axis=-2),
    "a scale a block": dequantised(zeros(4, 4, dtype=U8), zeros(2, 4), axis=0, block_size=2, opset=21, loads=False),
    "Gemm": make("Gemm", "x", zeros(3, 4), zeros(4)),
    "Gemm from the left": make("Gemm", zeros(3, 4), "x"),
    "tree": tree(),
    "one child for both": tree(nodes_truenodeids=[2, 0, 0, 0]),
    "support vectors": svm(),
    "support vectors of classes": classes(),
    "no support vectors": Case("SVMRegressor", domain=ML, loads=False, attributes={"coefficients": [1.0] * 3}),
    "linear": linear(),
    "linear of names": linear(classlabels_ints=None, classlabels_strings=["a", "b"]),
    "declared as the weight says": make("MatMul", "x", zeros(8, 4), shape=(2, 8), given=(2, 4)),
    "declared as the weight says, transposed": make("Gemm", "x", zeros(8, 4), transB=1, shape=(2, 4), given=(2, 8)),
    "declared of a transposed input": make("Gemm", "x", zeros(8, 4), transA=1, shape=(8, 2), given=(2, 4)),
    "declared of a convolution": convolution(shape=(1, 2, 9, 9), given=(1, 4, 7, 7)),
    "declared of a grouped convolution": convolution(group=2, shape=(1, 4, 9, 9), given=(1, 4, 7, 7)),
    "declared of no number": make("MatMul", "x", zeros(8, 4), shape=(2, 8), given=(2, "N")),
    "declared of one axis": make("MatMul", "x", zeros(8, 4), shape=(8,), given=(4,)),
    "a matrix of one axis": make("MatMul", "x", zeros(8), shape=(2, 8), given=(2,)),
}  # fmt: skip

BRANCH = helper.make_graph(
    [helper.make_node("Constant", [], ["b"], value_float=1.0)], "b", [], [onnx.ValueInfoProto(name="b")]
)
BODY = helper.make_graph(
    [helper.make_node("Identity", ["k"], ["l"]), helper.make_node("Identity", ["v"], ["u"])],
    "b",
    [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("k", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
    ],
    [onnx.ValueInfoProto(name="l"), onnx.ValueInfoProto(name="u")],
)
YES = np.array(True)
ACCEPTED |= {
    "branches": make("If", YES, then_branch=BRANCH, else_branch=BRANCH, loads=False),
    "a body": make("Loop", ints(3).reshape(()), YES, "x", body=BODY, loads=False),
}

REFUSED: dict[str, tuple[Case, str]] = {
    "no group": (make("GroupNormalization", "x", zeros(1), zeros(1), num_groups=0), "num_groups 0"),
    "fewer than no block": (make("DepthToSpace", "x", blocksize=-1), "blocksize -1"),
    **{
        f"{op} {name} 0": (make(op, "x", domain=domain, **{name: 0}), f"{name} 0 is less than 1")
        for domain, op, name in (
            ("", "SpaceToDepth", "blocksize"), ("", "LRN", "size"), ("", "Split", "num_outputs"), ("", "LSTM", "hidden_size"),
            ("", "GRU", "hidden_size"), ("", "RNN", "hidden_size"), (MS, "GroupNorm", "groups"), (MS, "Attention", "num_heads"),
            (MS, "MultiHeadAttention", "num_heads"), (MS, "DecoderAttention", "num_heads"), ("", "Attention", "q_num_heads"),
            (MS, "GroupQueryAttention", "num_heads"), (MS, "GroupQueryAttention", "kv_num_heads"),
            (MS, "PackedAttention", "num_heads"), (MS, "QAttention", "num_heads"), (MS, "MatMulNBits", "K"),
            (MS, "MatMulNBits", "N"), (MS, "MatMulNBits", "block_size"), ("", "Attention", "kv_num_heads"),
        )
    },
    **{
        f"{op} of something left out": (make(op, "x", "", zeros(2)), "an input is left out")
        for op in ("Max", "Min", "Sum", "Mean", "Concat")
    },
    "the maximum of nothing": (make("Max"), "an input is left out"),
    "no else": (make("If", YES, then_branch=BRANCH), "has no else_branch"),
    "no then": (make("If", YES, else_branch=BRANCH), "has no then_branch"),
    "a branch that is a number": (make("If", YES, then_branch=BRANCH, else_branch=1), "has no else_branch"),
    "no loop's body": (make("Loop", ints(3), YES, "x"), "has no body"),
    "no scan's body": (make("Scan", "x", num_scan_inputs=1), "has no body"),
    "more outputs than a branch gives": (
        make("If", YES, then_branch=BRANCH, else_branch=BRANCH, outputs=("y", "z")), "gives 1 values",
    ),
    "more outputs than a body gives": (make("Loop", ints(3), YES, "x", body=BODY, outputs=("y", "z")), "gives 2 values"),
    "strides of text": (make("MaxPool", "x", kernel_shape=[2], strides=["a"]), "strides is no list"),
    "a stride that is a number": (make("MaxPool", "x", kernel_shape=[2], strides=2), "strides is no list"),
    "an odd number of pads": (convolution(pads=[1, 1, 1]), "3 pads"),
    "a pad beyond reason": (make("MaxPool", "x", kernel_shape=[3], pads=[2**31, 0]), "beyond reason"),
    "a pad beyond reason, the other way": (make("MaxPool", "x", kernel_shape=[3], pads=[-(2**31), 0]), "beyond reason"),
    "a kernel beyond reason": (make("AveragePool", "x", kernel_shape=[2**40]), "beyond reason"),
    "a kernel of 0": (make("MaxPool", "x", kernel_shape=[0]), "kernel_shape [0] is less than 1"),
    "a stride of 0": (convolution(strides=[1, 0]), "strides [1, 0] is less than 1"),
    "a dilation of -1": (make("LpPool", "x", kernel_shape=[2], dilations=[-1]), "dilations [-1] is less than 1"),
    "padding of no kind": (convolution(auto_pad="SAME"), "auto_pad"),
    "pools of different axes": (make("MaxPool", "x", kernel_shape=[2, 2], strides=[2]), "different numbers of axes"),
    "pads of other axes": (make("MaxPool", "x", kernel_shape=[2, 2], pads=[1, 1]), "different numbers of axes"),
    "convolution of different axes": (make("Conv", "x", "x", kernel_shape=[3, 3], strides=[1]), "different numbers"),
    "strides of more axes than the weight": (convolution(strides=[1, 1, 1]), "different numbers of axes"),
    "group 0": (convolution(group=0), "group 0"),
    "group of text": (convolution(group="two"), "group 'two'"),
    "groups that do not divide": (convolution(group=3), "4 channels do not divide into 3"),
    "a weight of two axes": (convolution(4, 2), "the weight has shape [4, 2]"),
    "a weight of nothing": (convolution(4, 0, 3, 3), "has no elements"),
    "another kernel": (convolution(kernel_shape=[3, 5]), "kernel_shape [3, 5]"),
    "a quantised kernel": (
        make(
            "QLinearConv", "x", zeros(), zeros(dtype=U8), zeros(4, 2, 3, 3, dtype=U8), zeros(), zeros(dtype=U8), zeros(),
            zeros(dtype=U8), kernel_shape=[5, 5], fed=TensorProto.UINT8,
        ), "kernel_shape [5, 5]",
    ),
    **{
        f"{op} without a group": (make(op, "x", zeros(4, 2, 3, 3), domain=domain, group=0), "group 0")
        for domain, op in (("", "ConvTranspose"), ("", "QLinearConv"), ("", "ConvInteger"), (MS, "FusedConv"))
    },
    "no permutation": (make("Transpose", "x", perm=[0, 2]), "perm [0, 2] is no permutation"),
    "an axis twice": (make("Transpose", "x", perm=[0, 0, 1]), "is no permutation"),
    "two unknown extents": (make("Reshape", "x", ints(-1, -1)), "a shape of [-1, -1]"),
    "an extent of -2": (make("Reshape", "x", ints(2, -2)), "a shape of [2, -2]"),
    "a step of 0": (make("Slice", "x", ints(0, 0), ints(9, 9), ints(0, 1), ints(1, 0)), "a step of 0"),
    "no equation": (make("Einsum", "x"), "has no equation"),
    "an equation that is a number": (make("Einsum", "x", equation=3), "has no equation"),
    "an equation of digits": (make("Einsum", "x", equation="i1->i"), "cannot be read"),
    "an equation of two dots": (make("Einsum", "x", equation="..i->i"), "cannot be read"),
    "two arrows": (make("Einsum", "x", equation="i->j->k"), "cannot be read"),
    "an operand too many": (make("Einsum", "x", equation="i,i->i"), "an equation of 2 operands for 1 inputs"),
    "an operand too few": (make("Einsum", "x", "x", equation="i->i"), "an equation of 1 operands for 2 inputs"),
    "a label twice": (make("Einsum", "x", equation="ij->ii"), "gives what it is not given"),
    "a label from nowhere": (make("Einsum", "x", equation="ij->k"), "gives what it is not given"),
    "an index too large": (make("Gather", zeros(5, 3), ints(5)), "an index outside an axis of 5"),
    "an index too small": (make("Gather", zeros(5, 3), ints(-6)), "an index outside an axis of 5"),
    "an index outside another axis": (make("Gather", zeros(5, 3), ints(3), axis=1), "an index outside an axis of 3"),
    "an index too large, of onnxruntime's": (make("Gather", zeros(5, 3), ints(5), domain=MS), "outside an axis"),
    "an axis too large": (make("Gather", zeros(5, 3), ints(0), axis=2), "axis 2 of a tensor"),
    "an axis too small": (make("Gather", zeros(5, 3), ints(0), axis=-3), "axis -3 of a tensor"),
    "statistics of another size": (norm((3,), (3,), (4,), (3,)), "parameters of shapes [[3], [4]]"),
    "statistics of the last input": (norm((3,), (3,), (3,), (2,)), "parameters of shapes"),
    "statistics of the first input": (norm((4,), (3,), (3,), (3,)), "parameters of shapes"),
    "statistics of two axes": (norm(*[(3, 1)] * 4), "parameters of shapes"),
    "a recurrent weight of two axes": (recurrent("LSTM", 4, w=zeros(16, 3)), "W has shape [16, 3]"),
    "a recurrent R of two axes": (recurrent("LSTM", 4, r=zeros(16, 4)), "R has shape [16, 4]"),
    "another hidden size": (recurrent("GRU", 3, w=zeros(1, 15, 3)), "hidden_size is 4"),
    "another hidden size in R": (recurrent("RNN", 1, r=zeros(1, 5, 5)), "hidden_size is 4"),
    "an R that is not square": (recurrent("GRU", 3, r=zeros(1, 12, 5)), "R has shape [1, 12, 5]"),
    "an R alone": (make("LSTM", "x", "x", zeros(1, 16, 5)), "R has shape [1, 16, 5]"),
    "scales too few": (dequantised(zeros(3, 4, dtype=U8), zeros(3)), "3 scales for 4 positions"),
    "scales too many": (dequantised(zeros(3, 4, dtype=U8), zeros(4), axis=0), "4 scales for 3 positions"),
    "an axis of no values": (dequantised(zeros(3, 4, dtype=U8), zeros(4), axis=2), "axis 2 of a tensor"),
    "an axis before all": (dequantised(zeros(3, 4, dtype=U8), zeros(4), axis=-3), "axis -3 of a tensor"),
    "an axis of text": (dequantised(zeros(3, 4, dtype=U8), zeros(4), axis="a"), "axis 'a' of a tensor"),
    "Gemm of a vector": (make("Gemm", "x", zeros(3)), "input 1 has shape [3]"),
    "Gemm of three axes": (make("Gemm", zeros(2, 3, 4), "x"), "input 0 has shape [2, 3, 4]"),
    "trees of different lengths": (tree(nodes_featureids=[0, 0, 0]), "different lengths"),
    "modes of another length": (tree(nodes_modes=["LEAF"]), "different lengths"),
    "no children": (tree(nodes_truenodeids=None), "different lengths"),
    "no modes": (tree(nodes_modes=None), "different lengths"),
    "modes that are a number": (tree(nodes_modes=3), "different lengths"),
    "a node twice": (tree(nodes_nodeids=[0, 1, 1, 0]), "given twice"),
    "a child that is not there": (tree(nodes_truenodeids=[3, 0, 0, 0]), "a child that does not exist"),
    "a child of another tree": (tree(nodes_falsenodeids=[9, 0, 0, 0]), "a child that does not exist"),
    "its own child": (tree(nodes_truenodeids=[0, 0, 0, 0]), "a tree whose root is a child"),
    "a child of two": (tree(
        nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 2, 0, 0],
        nodes_falsenodeids=[2, 2, 0, 0],
    ), "has two parents"),
    "numbers that do not divide": (svm(support_vectors=[0.0] * 7), "7 numbers for 3"),
    "fewer than no vectors": (svm(n_supports=-3), "6 numbers for -3"),
    "coefficients too few": (svm(coefficients=[1.0] * 2), "2 coefficients for 3"),
    "coefficients of classes": (classes(coefficients=[1.0] * 3), "3 coefficients for 3"),
    "vectors of classes": (classes(vectors_per_class=[1, 1, 2]), "6 numbers for 4"),
    "no coefficients": (linear(coefficients=None), "0 coefficients"),
    "coefficients that do not divide": (linear(coefficients=[1.0] * 3), "3 coefficients for 2 outputs"),
    "coefficients of labels alone": (linear(coefficients=[1.0] * 3, intercepts=None), "3 coefficients for 2 outputs"),
    "coefficients of names": (linear(
        coefficients=[1.0] * 5, intercepts=None, classlabels_ints=None, classlabels_strings=["a", "b"],
    ), "5 coefficients for 2 outputs"),
    "declared otherwise": (make("MatMul", "x", zeros(8, 4), shape=(2, 7)), "is declared [2, 7], the weight [8, 4] says 8"),
    "given otherwise": (make("MatMul", "x", zeros(8, 4), given=(2, 5)), "is declared [2, 5], the weight [8, 4] says 4"),
    "declared otherwise, transposed": (make("Gemm", "x", zeros(8, 4), transB=1, shape=(2, 8)), "says 4"),
    "given otherwise, transposed": (make("Gemm", "x", zeros(8, 4), transB=1, given=(2, 4)), "says 8"),
    "given otherwise of a transposed input": (make("Gemm", "x", zeros(8, 4), transA=1, given=(2, 5)), "says 4"),
    "given otherwise by a convolution": (convolution(given=(1, 5, 7, 7)), "says 4"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_makes_sense_is_accepted(name: str) -> None:
    """And by onnxruntime, which is no stricter than the specification."""
    case = ACCEPTED[name]
    assert said(case) is None
    if case.loads:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        onnxruntime.InferenceSession(case.model(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_input_could_make_valid_is_refused(name: str) -> None:
    """With the node and what is wrong with it."""
    case, words = REFUSED[name]
    message = said(case)
    assert message is not None
    assert words in message


@pytest.mark.parametrize("domain", [MS, "acme"])
@pytest.mark.parametrize("op", ["If", "Max", "Transpose", "Split"])
def test_an_operator_of_another_domain_is_another_operator(domain: str, op: str) -> None:
    """What ONNX's own may not say, somebody else's may."""
    made = make(op, "x", "", domain=domain, perm=[0, 0], num_outputs=0)
    model = onnx.ModelProto.FromString(made.model())
    model.opset_import.append(helper.make_opsetid("acme", 1))
    with open_model(model.SerializeToString()) as opened:
        assert [node.op for node in opened.nodes()] == [op]


def test_a_contradiction_in_a_branch_is_found() -> None:
    """Also in one that no run would enter."""
    nodes = [*BRANCH.node, helper.make_node("Transpose", ["b"], ["t"], name="n", perm=[0, 0])]
    bad = helper.make_graph(nodes, "b", [], [onnx.ValueInfoProto(name="t")])
    assert "is no permutation" in (said(make("If", YES, then_branch=BRANCH, else_branch=bad)) or "")
