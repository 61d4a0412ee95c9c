"""TreeEnsemble of version 5 against onnxruntime on the same rows."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import initlint
from initlint.model import open_model
from initlint.operators import load
from initlint.report import exit_code
from initlint.signal.propagate import Assumptions, propagate

FEATURES, TREES, DEPTH = 4, 5, 3


def forest(seed: int, *, targets: int, modes: tuple[int, ...], aggregate: int, post: int) -> onnx.ModelProto:
    """Complete trees of a fixed depth with drawn features, thresholds and leaves."""
    random = np.random.Generator(np.random.Philox(seed))
    inner, leaves = 2**DEPTH - 1, 2**DEPTH
    yes, no, yes_leaf, no_leaf = [], [], [], []
    for tree in range(TREES):
        for place in range(inner):
            last = place >= inner // 2
            left, right = (2 * place + 1, 2 * place + 2) if not last else (2 * place + 1 - inner, 2 * place + 2 - inner)
            base = tree * (leaves if last else inner)
            yes.append(base + left)
            no.append(base + right)
            yes_leaf.append(int(last))
            no_leaf.append(int(last))
    count = TREES * inner
    node = helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=targets, aggregate_function=aggregate,
        post_transform=post, tree_roots=[tree * inner for tree in range(TREES)],
        nodes_featureids=[int(v) for v in random.integers(0, FEATURES, count)],
        nodes_modes=numpy_helper.from_array(random.choice(modes, count).astype(np.uint8)),
        nodes_splits=numpy_helper.from_array(random.standard_normal(count).astype(np.float32)),
        nodes_truenodeids=yes, nodes_falsenodeids=no, nodes_trueleafs=yes_leaf, nodes_falseleafs=no_leaf,
        leaf_targetids=[int(v) for v in random.integers(0, targets, TREES * leaves)],
        leaf_weights=numpy_helper.from_array(random.standard_normal(TREES * leaves).astype(np.float32)),
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, targets])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)])
    model.ir_version = 10
    return model


@pytest.mark.parametrize(
    ("targets", "modes", "aggregate", "post"),
    [(1, (0,), 1, 0), (3, (0, 1, 2, 3), 1, 0), (2, (0, 4, 5), 1, 0), (2, (1,), 0, 0)],
)
def test_a_forest_agrees_with_onnxruntime(targets: int, modes: tuple[int, ...], aggregate: int, post: int) -> None:
    """The prediction's statistics are those of onnxruntime on the very draws it was given."""
    load()
    proto = forest(11, targets=targets, modes=modes, aggregate=aggregate, post=post)
    rows = np.random.default_rng(2).standard_normal((40, 3, FEATURES)).astype(np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = np.stack([session.run(None, {"x": row})[0] for row in rows])
    with open_model(proto.SerializeToString()) as model:
        found = propagate(model, Assumptions(given={"x": rows}, draws=len(rows))).signals["y"]
    assert found.mean == pytest.approx(float(wanted.mean()), abs=1e-5)
    assert found.std == pytest.approx(float(wanted.std()), rel=1e-4)
    assert found.signal_std == pytest.approx(float(np.sqrt(wanted.var(axis=0, ddof=1).mean())), rel=1e-4)


@pytest.mark.parametrize("spoil", ["nodes_truenodeids", "tree_roots", "leaf_targetids"])
def test_a_forest_that_points_nowhere_is_no_pass(spoil: str) -> None:
    """An index beyond its list is a contradiction, no crash."""
    proto = forest(11, targets=1, modes=(0,), aggregate=1, post=0)
    (attribute,) = (item for item in proto.graph.node[0].attribute if item.name == spoil)
    attribute.ints[0] = 10_000
    assert exit_code(initlint.check(proto), "error") == 2


def test_a_forest_that_walks_for_ever_is_no_pass() -> None:
    """A node that is its own child never ends."""
    proto = forest(11, targets=1, modes=(0,), aggregate=1, post=0)
    for attribute in proto.graph.node[0].attribute:
        if attribute.name in {"nodes_truenodeids", "nodes_falsenodeids"}:
            attribute.ints[0] = 0
    assert exit_code(initlint.check(proto), "error") == 2
