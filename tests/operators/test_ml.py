"""Classical models against onnxruntime on the same rows."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from initlint.graph import Node
from initlint.operators import load
from initlint.operators.table import Run, Values, evaluate

RANDOM = np.random.Generator(np.random.Philox(3))
TREE = {
    "nodes_treeids": [0, 0, 0, 1, 1, 1, 1, 1],
    "nodes_nodeids": [0, 1, 2, 0, 1, 2, 3, 4],
    "nodes_featureids": [0, 0, 0, 2, 1, 0, 0, 0],
    "nodes_values": [0.1, 0.0, 0.0, -0.2, 0.3, 0.0, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LEQ", "BRANCH_GT", "LEAF", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0, 1, 3, 0, 0, 0],
    "nodes_falsenodeids": [2, 0, 0, 2, 4, 0, 0, 0],
}
LEAVES = [(0, 1), (0, 2), (1, 2), (1, 3), (1, 4)]
CASES: dict[str, tuple[str, dict[str, object], int]] = {
    "regressor": (
        "TreeEnsembleRegressor",
        {**TREE, "n_targets": 1, "target_treeids": [a for a, _ in LEAVES], "target_nodeids": [b for _, b in LEAVES],
         "target_ids": [0] * 5, "target_weights": [1.0, -2.0, 0.5, 3.0, 4.0]},
        1,
    ),
    "classifier": (
        "TreeEnsembleClassifier",
        {**TREE, "classlabels_int64s": [0, 1, 2], "class_treeids": [a for a, _ in LEAVES],
         "class_nodeids": [b for _, b in LEAVES], "class_ids": [0, 1, 2, 0, 1], "class_weights": [1.0, 2.0, 0.5, 3.0, 4.0],
         "post_transform": "SOFTMAX"},
        2,
    ),
    "linear": (
        "LinearClassifier",
        {"coefficients": [float(v) for v in RANDOM.standard_normal(9)], "intercepts": [0.1, 0.2, 0.3],
         "classlabels_ints": [0, 1, 2], "post_transform": "SOFTMAX"},
        2,
    ),
    "linear regressor": (
        "LinearRegressor", {"coefficients": [1.0, 2.0, -3.0], "intercepts": [0.5], "targets": 1}, 1,
    ),
    "scaler": ("Scaler", {"offset": [0.5, 0.0, -1.0], "scale": [2.0, 1.0, 0.5]}, 1),
    "normalizer": ("Normalizer", {"norm": "L2"}, 1),
    "binarizer": ("Binarizer", {"threshold": 0.2}, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_classical_operators_agree_with_onnxruntime(name: str) -> None:
    """Labels and scores of every draw equal those of a run of its own."""
    load()
    kind, attributes, outputs = CASES[name]
    rows = RANDOM.standard_normal((4, 5, 3)).astype(np.float32)
    names = [f"y{index}" for index in range(outputs)]
    proto = helper.make_node(kind, ["x"], names, domain="ai.onnx.ml", **attributes)
    graph = helper.make_graph(
        [proto],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 3])],
        [onnx.ValueInfoProto(name=item) for item in names],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    record = {key: tuple(value) if isinstance(value, list) else value for key, value in attributes.items()}
    node = Node(kind, "ai.onnx.ml", 3, "n", ("x",), tuple(names), record, 0)  # type: ignore[arg-type]
    results = evaluate(node, Run(4, np.float64), [Values(rows, "float32")])
    for draw in range(4):
        for result, want in zip(results, session.run(None, {"x": rows[draw]}), strict=True):
            assert result is not None
            assert np.allclose(result[draw].reshape(np.shape(want)), want, rtol=1e-5, atol=1e-6)


def test_a_tree_that_points_at_itself_is_refused() -> None:
    """A walk that does not end is a contradiction of the file."""
    load()
    attributes = {key: tuple(value) for key, value in TREE.items()}
    attributes |= {"nodes_truenodeids": (0,) * 8, "nodes_falsenodeids": (0,) * 8, "n_targets": 1}  # type: ignore[dict-item]
    attributes |= {"target_treeids": (0,), "target_nodeids": (1,), "target_ids": (0,), "target_weights": (1.0,)}  # type: ignore[dict-item]
    node = Node("TreeEnsembleRegressor", "ai.onnx.ml", 3, "n", ("x",), ("y",), attributes, 0)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="itself"):
        evaluate(node, Run(1, np.float64), [Values(np.zeros((1, 5, 3)), "float32")])
