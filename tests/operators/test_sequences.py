"""Sequences of tensors, through a whole graph against onnxruntime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from initlint.model import open_model
from initlint.signal.backward import backpropagate
from initlint.signal.propagate import Assumptions, propagate

X = np.random.default_rng(3).standard_normal((5, 2, 6)).astype(np.float32)  # five draws


def model_of(body: str, **weights: object) -> onnx.ModelProto:
    """A graph from x [2, 6] to y."""
    graph = parser.parse_graph(f"g (float[2, 6] x) => (float[k, l] y) {{ {body} }}")
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


CASES = {
    "split evenly": (
        """s = SplitToSequence<axis=1>(x, two)
           a = SequenceAt(s, one)
           b = SequenceAt(s, last)
           y = Add(a, b)""",
        {"two": np.int64(2), "one": np.int64(1), "last": np.int64(-1)},
    ),
    "split unevenly and joined": (
        "s = SplitToSequence<axis=1>(x, parts) t = SequenceErase(s, one) y = ConcatFromSequence<axis=1>(t)",
        {"parts": np.array([1, 2, 3]), "one": np.int64(1)},
    ),
    "construct, insert, stack": (
        """n = Neg(x)
           r = Relu(x)
           s = SequenceConstruct(x, n)
           t = SequenceInsert(s, r, one)
           u = ConcatFromSequence<axis=1, new_axis=1>(t)
           c = SequenceLength(t)
           shape = Concat<axis=0>(minus, six)
           f = Reshape(u, shape)
           p = Cast<to=1>(c)
           y = Mul(f, p)""",
        {"one": np.int64(1), "minus": np.array([-1]), "six": np.array([6])},
    ),
    "empty, then one": (
        "e = SequenceEmpty<dtype=1>() s = SequenceInsert(e, x) y = SequenceAt(s, zero)",
        {"zero": np.int64(0)},
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sequences_agree_with_onnxruntime(case: str) -> None:
    """Draw by draw, through the whole evaluation."""
    body, weights = CASES[case]
    proto = model_of(body, **weights)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = np.stack([session.run(["y"], {"x": draw})[0] for draw in X])
    with open_model(proto) as model:
        signal = propagate(model, Assumptions(given={"x": X})).signals["y"]
    assert signal.std == pytest.approx(wanted.std(), rel=1e-5)
    assert signal.absmax == pytest.approx(np.abs(wanted).max(), rel=1e-5)


def test_no_gradient_is_reported_through_a_sequence() -> None:
    """What comes back through it is not followed: unknown, not too small."""
    body, weights = CASES["split evenly"]
    with open_model(model_of(f"h = Relu(x) {body.replace('(x,', '(h,')}", **weights)) as model:
        found = backpropagate(model, propagate(model), Assumptions())
    assert "h" not in found.gradient_std
    assert "y" in found.gradient_std
