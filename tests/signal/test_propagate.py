"""Propagation against closed forms, onnxruntime and torch."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from initlint.errors import Refusal
from initlint.model import open_model
from initlint.signal.propagate import Assumptions, propagate


def model_of(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """A model from onnx's text form with initializers."""
    graph = parser.parse_graph(text)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def mlp(depth: int, gain: float, *, bias: float = 0.0, seed: int = 0) -> onnx.ModelProto:
    """`depth` layers of width 64 with variance gain / fan_in and ReLU in between."""
    random = np.random.Generator(np.random.Philox(seed))
    weights: dict[str, np.ndarray] = {}
    lines = []
    last = "x"
    for layer in range(depth):
        weights[f"w{layer}"] = (random.standard_normal((64, 64)) * (gain / 64) ** 0.5).astype(np.float32)
        weights[f"b{layer}"] = (random.uniform(-1, 1, 64) * bias).astype(np.float32)
        lines.append(f"y{layer} = Gemm<transB=1>({last}, w{layer}, b{layer})")
        last = f"y{layer}"
        if layer < depth - 1:
            lines.append(f"r{layer} = Relu(y{layer})")
            last = f"r{layer}"
    body = "\n".join(lines)
    return model_of(f"g (float[batch, 64] x) => (float[batch, 64] {last}) {{ {body} }}", **weights)


def test_he_weights_keep_the_signal_and_others_change_it_by_their_factor() -> None:
    """Var[y_L] = Var[y_1] prod(1/2 n Var[w]) (He et al. 2015, eq. 10) holds for the network it was derived for."""
    for gain in (2.0, 0.5, 8.0):
        with open_model(mlp(10, gain)) as model:
            signals = propagate(model).signals
        expected = (gain / 2) ** 9
        got = (signals["y9"].std / signals["y0"].std) ** 2
        assert np.log2(got / expected) == pytest.approx(0, abs=1.5)


def test_biases_hide_a_signal_that_vanishes() -> None:
    """PyTorch's default keeps the total std of a deep ReLU network while the part that depends on the input dies."""
    with open_model(mlp(30, 1 / 3, bias=1 / 8)) as model:
        signals = propagate(model).signals
    assert signals["y29"].std > 0.02
    assert signals["y29"].signal_std < 1e-4 * signals["y29"].std


def test_two_propagations_agree_to_the_bit() -> None:
    """Nothing in the prediction depends on a clock or on chance."""
    with open_model(mlp(4, 2.0)) as model:
        first, second = propagate(model), propagate(model)
    assert first.signals == second.signals
    assert propagate_seeded(mlp(4, 2.0), 1) != first.signals


def propagate_seeded(proto: onnx.ModelProto, seed: int) -> object:
    """Signals under another seed."""
    with open_model(proto) as model:
        return propagate(model, Assumptions(seed=seed)).signals


def test_a_residual_join_of_equal_branches_doubles() -> None:
    """x + x has twice the std of x: joins are joint, not independent."""
    with open_model(model_of("g (float[n, 8] x) => (float[n, 8] y) { y = Add(x, x) }")) as model:
        signals = propagate(model).signals
    assert signals["y"].std == pytest.approx(2 * signals["x"].std, rel=1e-9)


def test_an_unknown_operator_makes_unknown_what_follows_and_nothing_else() -> None:
    """Unknown is never passed through; coverage counts it."""
    proto = model_of(
        "g (float[n, 8] x) => (float[n, 8] y) { a = Relu(x) b = my.op.Mystery(a) c = Relu(b) y = Add(x, x) }"
    )
    proto.opset_import.append(helper.make_opsetid("my.op", 1))
    with open_model(proto) as model:
        found = propagate(model)
    assert set(found.unknown) == {"b", "c"}
    assert found.coverage == pytest.approx(3 / 5)
    with open_model(proto) as model:
        told = propagate(model, Assumptions(operators={"my.op::Mystery": "relu"}))
    assert told.coverage == 1
    assert told.signals["b"].mean == told.signals["a"].mean


def test_reference_is_the_largest_root_and_states_are_none() -> None:
    """Roots are float inputs and embedding outputs; a constant has no reference."""
    table = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32) * 3
    proto = model_of(
        "g (int64[n, 6] ids, float[n, 6, 8] x) => (float[n, 6, 8] y) { e = Gather(table, ids) y = Add(e, x) }",
        table=table,
    )
    with open_model(proto) as model:
        found = propagate(model)
    assert found.reference_std["y"] == pytest.approx(max(found.signals["e"].signal_std, 1.0), rel=0.05)
    assert found.reference_std["x"] == pytest.approx(found.signals["x"].signal_std)


def test_own_normalisation_says_what_the_input_looks_like() -> None:
    """A graph that divides by 255 and subtracts 0.5 is fed what comes out with mean 0 and std 1."""
    weight = np.random.default_rng(2).standard_normal((4, 3, 3, 3)).astype(np.float32)
    proto = model_of(
        "g (float[n, 3, 16, 16] image) => (float[n, 4, 14, 14] y) { a = Div(image, s) b = Sub(a, h) y = Conv(b, w) }",
        s=np.float32(255), h=np.float32(0.5), w=weight,
    )  # fmt: skip
    with open_model(proto) as model:
        found = propagate(model)
        plain = propagate(model, Assumptions(plain=True))
    assert found.signals["b"].std == pytest.approx(1, rel=0.1)
    assert found.signals["b"].mean == pytest.approx(0, abs=0.1)
    assert found.reference_std["y"] == pytest.approx(1, rel=0.1)
    assert plain.signals["b"].signal_std == pytest.approx(1 / 255, rel=0.1)


def test_branches_and_loops_are_walked() -> None:
    """If, Loop and Scan carry the signal."""
    proto = model_of(
        """g (float[n, 8] x) => (float[n, 8] y, float[n, 8] z) {
            c = Constant<value = bool {1}>()
            y = If(c) <then_branch = t () => (float[n, 8] a) { a = Add(x, x) },
                       else_branch = e () => (float[n, 8] b) { b = Relu(x) }>
            k = Constant<value = int64 {3}>()
            z = Loop(k, c, x) <body = l (int64 i, bool go, float[n, 8] v) => (bool go2, float[n, 8] w) {
                go2 = Identity(go) w = Add(v, v) }>
        }"""
    )
    with open_model(proto) as model:
        found = propagate(model)
    assert found.signals["y"].std == pytest.approx(2 * found.signals["x"].std, rel=1e-9)
    assert found.signals["z"].std == pytest.approx(8 * found.signals["x"].std, rel=1e-9)


def test_an_endless_loop_is_given_up() -> None:
    """A trip count of 2^62 ends as unknown."""
    proto = model_of(
        """g (float[8] x) => (float[8] z) {
            c = Constant<value = bool {1}>()
            k = Constant<value = int64 {4611686018427387904}>()
            z = Loop(k, c, x) <body = l (int64 i, bool go, float[8] v) => (bool go2, float[8] w) {
                go2 = Identity(go) w = Relu(v) }>
        }"""
    )
    with open_model(proto) as model:
        assert "z" in propagate(model).unknown


def test_a_bomb_is_unknown_and_not_evaluated() -> None:
    """A tensor too large to hold is unknown, at once."""
    proto = model_of("g (float[1] x) => (float[a] y) { y = Expand(x, s) }", s=np.array([10**12], np.int64))
    with open_model(proto) as model:
        assert "y" in propagate(model).unknown


def test_weights_that_cannot_multiply_are_refused() -> None:
    """A graph that contradicts itself on constants alone is refused, with the node's name."""
    proto = model_of("g (float[2, 3] x) => (float[2, 3] y) { c = MatMul(a, b) y = Add(x, c) }",
                     a=np.ones((2, 5), np.float32), b=np.ones((4, 3), np.float32))  # fmt: skip
    with pytest.raises(Refusal), open_model(proto) as model:
        propagate(model)
