"""Memory of an evaluation: what is held at once is bounded, and what does not fit is not known rather than fatal."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from initlint.graph import StoredTensor
from initlint.model import open_model
from initlint.operators.table import Bundle, NotComputed, Run, Stored, Values
from initlint.signal.holding import Holding, most_bytes
from initlint.signal.propagate import propagate
from initlint.source import BytesSource


def test_what_is_taken_and_dropped() -> None:
    """Values count while they are held, those of the input apart from constants, a view by what it looks at."""
    run = Run(draws=4, max_bytes=1000)
    holding = Holding(run)
    signal, constant = np.zeros((4, 10)), np.zeros((1, 10))
    assert holding.take("a", Values(signal, "float64"))
    assert holding.take("b", Values(constant, "float64"))
    assert holding.take("c", Values(np.broadcast_to(constant, (4, 10)), "float64"))
    assert (run.held, run.varying, run.most_fixed) == (320 + 80 + 80, 400, 80)
    assert not holding.take("d", Bundle((Values(signal, "float64"), Values(signal, "float64"))))
    assert holding.take("a", Values(constant, "float64"))
    assert (run.held, run.most_varying) == (240, 400)
    for name in "abcd":
        holding.drop(name)
    assert (run.held, run.varying) == (0, 0)


def test_a_stored_tensor_is_not_held() -> None:
    """A weight stays in its file."""
    run = Run(draws=2, max_bytes=10)
    stored = StoredTensor("w", "float32", (100,), BytesSource(bytes(400)), 0, 400)
    assert Holding(run).take("w", Stored(stored, np.float32))
    assert run.held == 0


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 101), "101 elements"), ((2, 301), "602 elements"), ((2, 200), "held at a time")],
)
def test_claims(shape: tuple[int, ...], words: str) -> None:
    """A constant, a tensor and all that is held have a limit each; what is within them is allowed."""
    run = Run(draws=2, max_constant=100, max_elements=600, max_bytes=8 * 500, held=8 * 200)
    run.claim(1, 100)
    run.claim(2, 150)
    with pytest.raises(NotComputed, match=words):
        run.claim(*shape)


def test_constants_in_all() -> None:
    """However small each is, all constants that a graph computes have a limit together."""
    run = Run(draws=2, max_constants=1000)
    for _ in range(10):
        run.claim(1, 100)
    with pytest.raises(NotComputed, match="in all"):
        run.claim(1, 100)


def test_as_many_draws_as_fit() -> None:
    """Of a network that holds much at once fewer draws are made; every tensor stays known, and no limit is met."""
    nodes = [helper.make_node("Mul", ["x", f"k{index}"], [f"m{index}"]) for index in range(60)]
    nodes.append(helper.make_node("Sum", [f"m{index}" for index in range(60)], ["y"]))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 64, 64, 64])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(np.float32(index), f"k{index}") for index in range(60)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with open_model(model.SerializeToString()) as opened:
        found = propagate(opened)
        room = most_bytes(opened)
    assert found.coverage == 1.0
    held = 60 * 64**3 * np.dtype(found.float_type).itemsize
    assert held * found.draws <= room < held * 16
