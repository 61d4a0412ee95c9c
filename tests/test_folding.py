"""Weights computed in the graph: the value onnx's reference evaluator gives, within bounds that no graph talks it out of."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from initlint.folding import GROWTH, MOST_NODES, ancestors, fold
from initlint.index import Index, index_of
from initlint.model import open_model
from tests.graphs import model_of


def index_for(model: onnx.ModelProto) -> Index:
    with open_model(model.SerializeToString()) as opened:
        return index_of(opened)


V = np.random.Generator(np.random.Philox(8)).standard_normal((6, 4)).astype(np.float32)

COMPUTED = {
    "weight norm": "n = ReduceL2 <keepdims = 1> (v, ax) u = Div(v, n) w = Mul(u, g)",
    "standardisation": "m = ReduceMean <keepdims = 1> (v, ax) c = Sub(v, m) q = Mul(c, c) s = ReduceMean <keepdims = 1> (q, ax) "
    "r = Sqrt(s) w = Div(c, r)",
    "half precision": "h = Cast <to = 10> (v) w = Cast <to = 1> (h)",
    "low rank": "t = Transpose (v) p = MatMul(v, t) w = MatMul(p, v)",
    "masked": "z = Sub(v, v) b = Greater(v, z) w = Where(b, v, z)",
    "slices": "a = Slice(v, i0, i3) b = Slice(v, i3, i6) w = Concat <axis = 0> (b, a)",
}


@pytest.mark.parametrize("case", COMPUTED)
def test_the_value_is_the_graphs(case: str) -> None:
    """Every chain that real exporters leave in a file."""
    constants = {"v": V, "g": np.float32(2) * np.ones((1, 4), np.float32), "ax": np.array([0]),
                 "i0": np.array([0]), "i3": np.array([3]), "i6": np.array([6])}  # fmt: skip
    model = model_of(f"g (float[1,6] x) => (float[1,4] y, float w) {{ {COMPUTED[case]} y = MatMul(x, w) }}", constants)
    truth = ReferenceEvaluator(model).run(["w"], {"x": np.zeros((1, 6), np.float32)})[0]
    ours = fold("w", index_for(model))
    assert ours is not None
    # Casts to a narrower float keep the wider value, so that what would overflow shows; half precision rounds to 2^-11.
    tolerance = 2.0**-11 if case == "half precision" else 1e-6
    assert np.allclose(ours, truth, rtol=tolerance, atol=1e-7)


def test_what_enlarges_is_not_computed() -> None:
    """A constant that doubles forty times is given up, not allocated."""
    body = " ".join(f"v{i + 1} = Concat <axis = 0> (v{i}, v{i})" for i in range(40))
    model = model_of(f"g (float[1,4] x) => (float y) {{ {body} y = MatMul(x, v40) }}", {"v0": V.T.copy()})
    assert fold("v40", index_for(model)) is None
    assert fold("v2", index_for(model)) is not None
    tiled = model_of(
        "g (float[1] x) => (float y) { w = Expand(v, s) y = MatMul(x, w) }",
        {"v": V[:1, :1], "s": np.array([1000000, 1000000])},
    )
    assert fold("w", index_for(tiled)) is None
    assert GROWTH >= 1


def test_long_chains_are_not_computed() -> None:
    """Neither is a chain of more nodes than any weight needs, and a long one takes no recursion."""
    for length, known in ((MOST_NODES // 2, True), (MOST_NODES + 1, False), (20 * MOST_NODES, False)):
        body = " ".join(f"v{i + 1} = Identity(v{i})" for i in range(length))
        model = model_of(f"g (float[1,6] x) => (float y) {{ {body} y = MatMul(x, v{length}) }}", {"v0": V})
        assert (fold(f"v{length}", index_for(model)) is not None) is known


def test_random_numbers_are_no_constants() -> None:
    """What is drawn at every run is not a weight of the file."""
    model = model_of("g (float[1,6] x) => (float y) { r = RandomNormal <shape = [6, 4]> () y = MatMul(x, r) }")
    assert "r" not in index_for(model).constants


def test_ancestors_come_in_order_of_evaluation() -> None:
    """Each node after all that it reads, shared ones once."""
    model = model_of(
        "g (float[1,6] x) => (float y) { a = Neg(v) b = Abs(a) c = Mul(a, b) d = Add(c, a) y = MatMul(x, d) }", {"v": V}
    )
    order, stored = ancestors("d", index_for(model))
    assert [node.op for node in order] == ["Neg", "Abs", "Mul", "Add"]
    assert [tensor.name for tensor in stored] == ["v"]
