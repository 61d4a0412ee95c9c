"""Stretches of elementwise nodes as functions of one variable: told apart by what they compute, not by their names."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from initlint.index import Index, index_of
from initlint.model import open_model
from initlint.pointwise import Function, function_of, identify, second_moment_of


def stretch(*nodes: tuple[str, list[str], list[str], dict[str, object]], **constants: object) -> Function | None:
    """The function from `x` to the last node's last output."""
    names = [name for _, _, outputs, _ in nodes for name in outputs if name]
    graph = helper.make_graph(
        [helper.make_node(op, ins, outs, f"n{place}", **attributes) for place, (op, ins, outs, attributes) in enumerate(nodes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )  # fmt: skip
    with open_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()) as model:
        index: Index = index_of(model)
        return function_of(model.graph.nodes, "x", names[-1], index)


def test_names_do_not_tell_functions_apart_and_constants_do() -> None:
    """The same operators with another constant, another wiring or another attribute are another function."""
    one = stretch(("Sub", ["x", "c"], ["a"], {}), ("Relu", ["a"], ["b"], {}), c=1.0)
    same = stretch(("Sub", ["x", "other"], ["q"], {}), ("Relu", ["q"], ["r"], {}), other=1.0)
    assert one is not None
    assert one == same
    assert hash(one) == hash(same)
    assert one != stretch(("Sub", ["x", "c"], ["a"], {}), ("Relu", ["a"], ["b"], {}), c=2.0)
    assert one != stretch(("Sub", ["c", "x"], ["a"], {}), ("Relu", ["a"], ["b"], {}), c=1.0)
    leaky = [stretch(("LeakyRelu", ["x"], ["y"], {"alpha": slope})) for slope in (0.1, 0.2)]
    assert leaky[0] != leaky[1]


@pytest.mark.parametrize("place", [0, 1])
def test_of_two_values_the_one_that_is_read_counts(place: int) -> None:
    """A node further on reads the first or the second of two values made before it."""
    read = ("a", "b")[place]
    found = stretch(("Relu", ["x"], ["a"], {}), ("Tanh", ["x"], ["b"], {}), ("Identity", [read], ["y"], {}))
    assert found is not None
    assert identify(found) == (("relu", "tanh")[place], None)


def test_straight_lines_known_and_unknown_functions() -> None:
    affine = stretch(("Mul", ["x", "c"], ["a"], {}), ("Add", ["a", "c"], ["y"], {}), c=3.0)
    assert affine is not None
    assert identify(affine) == ("affine", None)
    silu = stretch(("Sigmoid", ["x"], ["a"], {}), ("Mul", ["a", "x"], ["y"], {}))
    assert silu is not None
    assert identify(silu) == ("silu", None)
    other = stretch(("Sin", ["x"], ["a"], {}), ("Mul", ["a", "a"], ["y"], {}))
    assert other is not None
    assert identify(other) == ("unknown", None)
    # E[sin(z)^4] = 3/8 - exp(-2)/2 + exp(-8)/8 for z ~ N(0, 1): sin^4 = 3/8 - cos(2z)/2 + cos(4z)/8.
    assert second_moment_of(other) == pytest.approx(3 / 8 - np.exp(-2) / 2 + np.exp(-8) / 8, rel=1e-9)


def test_constants_of_several_elements_count_as_their_mean_and_large_ones_make_no_function() -> None:
    several = stretch(("Mul", ["x", "c"], ["a"], {}), ("Relu", ["a"], ["y"], {}), c=[0.5, 1.0, 1.0, 1.5])
    assert several is not None
    assert identify(several) == ("relu", None)
    assert stretch(("Mul", ["x", "c"], ["y"], {}), c=np.ones(1 << 17)) is None
