"""Faults beside the main way of the signal, or behind what seems to take them away; onnxruntime shows that they are there."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import initlint
from initlint.report import exit_code
from tests.graphs import model_of

RANDOM = np.random.Generator(np.random.Philox(31))
WIDTH = 48
Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def normal(*shape: int, std: float | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Draws of std 1/sqrt(fan_in), or of the std given."""
    return (RANDOM.standard_normal(shape) * (std or shape[0] ** -0.5)).astype(np.float32)


ATTENTION = """g (float[1, 12, 48] x) => (float[1, 12, 10] y) {
    q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)
    t = Transpose<perm=[0, 2, 1]>(k) s = MatMul(q, t) z = Mul(s, scale) p = Softmax(z) a = MatMul(p, v)
    j = Add(x, a) y = MatMul(j, wo)
}"""
NORMALISED = """g (float[1, 12, 48] x) => (float[1, 12, 10] y) {
    e = MatMul(x, wq) b = Add(e, bias) n = LayerNormalization(b, one) h = MatMul(n, wk) r = Relu(h) y = MatMul(r, wo)
}"""
BRANCH = """g (float[8, 48] x) => (float[8, 10] y) {
    a = MatMul(x, wq) r = Relu(a) b = MatMul(r, wk) j = Add(x, b) y = MatMul(j, wo)
}"""
CLASSES = (
    """g (float[8, 48] x) => (float[8, 10] y) { h = MatMul(x, wq) r = Relu(h) o = Gemm(r, wo, bias) y = Softmax(o) }"""
)


def weights(**changed: np.ndarray[Any, np.dtype[np.float32]]) -> Weights:
    """Weights of all four graphs, some replaced."""
    return {
        "wq": normal(48, 48), "wk": normal(48, 48), "wv": normal(48, 48), "wo": normal(48, 10),
        "scale": np.float32(WIDTH**-0.5), "one": np.ones(48, np.float32), "bias": np.zeros(1, np.float32), **changed,
    }  # fmt: skip


def measured(text: str, stored: Weights, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A tensor over 32 draws of the input, as onnxruntime computes it."""
    model = model_of(text, {key: value for key, value in stored.items() if key in text})
    if name not in {output.name for output in model.graph.output}:
        model.graph.output.add().name = name
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = [extent.dim_value for extent in model.graph.input[0].type.tensor_type.shape.dim]
    draws = [session.run([name], {"x": RANDOM.standard_normal(shape).astype(np.float32)})[0] for _ in range(32)]
    return np.stack(draws).astype(np.float64)


def found(text: str, stored: Weights, **settings: object) -> tuple[int, list[tuple[str, str]]]:
    """Exit code and errors."""
    model = model_of(text, {key: value for key, value in stored.items() if key in text})
    report = initlint.check(model, **settings)
    return exit_code(report, "error"), [
        (item.code, item.place) for item in report.findings if item.severity == "error" and item.counts
    ]


@pytest.mark.parametrize("text", [ATTENTION, NORMALISED, BRANCH, CLASSES])
def test_the_sound_twins_pass(text: str) -> None:
    """Nothing of what follows is found without its fault."""
    assert found(text, weights(), phase="init") == (0, [])


def test_scores_that_explode_behind_a_residual_are_found() -> None:
    """The softmax bounds what is carried on; the scores themselves are 2^8 of the input and more."""
    stored = weights(wk=normal(48, 48, std=200.0))
    assert measured(ATTENTION, stored, "s").std() > 256
    assert measured(ATTENTION, stored, "y").std() < 4
    code, errors = found(ATTENTION, stored, phase="init")
    assert (code, errors[0][0]) == (1, "IL201")


@pytest.mark.parametrize("phase", ["init", "trained"])
def test_no_normalisation_brings_back_what_rounding_took(phase: str) -> None:
    """A bias of 1e9 leaves steps of 64 between float32 numbers: every unit is the same, and the norm sees zeros."""
    stored = weights(bias=np.full(1, 1e9, np.float32))
    assert not np.ptp(measured(NORMALISED, stored, "n"), axis=0).any()
    assert found(NORMALISED, stored, phase=phase) == (1, [("IL202", "b")])


def test_dead_units_behind_a_zero_layer_are_found_in_a_branch() -> None:
    """The zero layer is a note beside a residual join; that nothing behind it can learn is an error all the same."""
    stored = weights(wq=np.zeros((48, 48), np.float32))
    assert not measured(BRANCH, stored, "r").any()
    assert found(BRANCH, stored, phase="init") == (1, [("IL207", "r")])


def test_a_branch_that_ends_in_zeros_passes() -> None:
    """A branch whose last layer starts at zero learns: its other layers' outputs are alive."""
    assert found(BRANCH, weights(wk=np.zeros((48, 48), np.float32)), phase="init") == (0, [])


@pytest.mark.parametrize("moves", [True, False])
def test_a_final_softmax_that_never_moves_is_found(moves: bool) -> None:  # noqa: FBT001 - a parametrised truth
    """One class with certainty whatever comes in is no answer; a confident softmax that does move is one."""
    bias = np.zeros(10, np.float32)
    bias[3] = 6.0 if moves else 400.0
    stored = weights(bias=bias)
    assert np.ptp(measured(CLASSES, stored, "y"), axis=0).any() == moves
    code, errors = found(CLASSES, stored, phase="trained")
    assert (code, errors) == ((0, []) if moves else (1, [("IL202", "y")]))


def test_a_branch_that_training_closed_is_no_error() -> None:
    """Weight decay has taken a branch below float32's smallest normal; the way beside it works."""
    stored = weights(wv=normal(48, 48, std=1e-41), wk=normal(48, 48, std=1e-41))
    text = """g (float[8, 48] x) => (float[8, 10] y) {
        a = MatMul(x, wv) b = MatMul(a, wq) j = Add(x, b) r = Relu(j) y = MatMul(r, wo)
    }"""
    assert 0 < measured(text, stored, "a").std() < np.finfo(np.float32).smallest_normal
    assert measured(text, stored, "y").std() > 0.1
    assert found(text, stored, phase="trained") == (0, [])


def test_on_the_main_way_it_is_one() -> None:
    """The same layer where nothing stands beside it."""
    stored = weights(wv=normal(48, 48, std=1e-41))
    text = "g (float[8, 48] x) => (float[8, 10] y) { a = MatMul(x, wv) r = Relu(a) y = MatMul(r, wo) }"
    code, errors = found(text, stored, phase="trained")
    assert (code, errors[0][1]) == (1, "a")


def test_noise_outside_an_operators_domain_is_no_lost_signal() -> None:
    """The logarithm of what is negative under N(0, 1) is NaN; real inputs are positive, and nothing is said of them."""
    text = "g (float[8, 48] x) => (float[8, 10] y) { l = Log(x) h = MatMul(l, wq) r = Relu(h) y = MatMul(r, wo) }"
    assert np.isnan(measured(text, weights(), "y")).any()
    assert found(text, weights(), phase="trained") == (0, [])


def test_what_stands_for_missing_values_is_no_weight() -> None:
    """An imputer: a NaN put in place of far neighbours and taken out again, a matrix of counts cast from a condition."""
    text = """g (float[8, 48] x) => (float[8, 10] y) {
        n = IsNaN(table) o = Not(n) c = Cast<to=1>(o) known = Gemm<transB=1>(x, c) far = Greater(known, limit)
        w = Where(far, missing, known) m = IsNaN(w) z = Where(m, zero, known) y = MatMul(z, wo)
    }"""
    stored = weights(wo=normal(20, 10)) | {
        "table": normal(20, 48), "limit": np.float32(5), "missing": np.full(1, np.nan, np.float32), "zero": np.float32(0),
    }  # fmt: skip
    assert np.isfinite(measured(text, stored, "y")).all()
    assert found(text, stored, phase="trained") == (0, [])


def test_a_range_that_is_left_out_may_be_padded_and_gathered() -> None:
    """-inf outside a range of bins, padded with more of it, around the largest bin: a mask, whatever lies between."""
    text = """g (float[8, 48] x) => (float[8, 3] y) {
        l = MatMul(x, wo) w = Where(inside, l, low) a = ArgMax<axis=1, keepdims=1>(w) p = Pad(w, pads, low)
        near = Add(a, steps) c = GatherElements<axis=1>(p, near) y = Softmax(c)
    }"""
    stored = weights() | {
        "inside": np.arange(10) > 2, "low": np.float32(-np.inf), "pads": np.array([0, 1, 0, 1]), "steps": np.arange(3),
    }  # fmt: skip
    assert np.isfinite(measured(text, stored, "y")).all()
    assert found(text, stored, phase="trained") == (0, [])


def test_an_infinite_bound_is_no_weight() -> None:
    """Clip with no upper end, written as infinity."""
    text = "g (float[8, 48] x) => (float[8, 10] y) { h = MatMul(x, wo) y = Clip(h, zero, none) }"
    stored = weights() | {"zero": np.float32(0), "none": np.float32(np.inf)}
    assert np.isfinite(measured(text, stored, "y")).all()
    assert found(text, stored, phase="trained") == (0, [])


def test_a_mask_of_what_is_left_out_starts_empty() -> None:
    """A Boolean mask that is turned round before it multiplies: true everywhere would hide all there is."""
    text = """g (float[8, 48] x, bool[8, 1] padding_mask) => (float[8, 10] y) {
        h = MatMul(x, wq) n = Not(padding_mask) c = Cast<to=1>(n) k = Mul(h, c) y = MatMul(k, wo)
    }"""
    assert found(text, weights(), phase="trained") == (0, [])


def test_a_basis_made_of_its_frequencies_is_read() -> None:
    """A weight sixteen times larger than what it is computed from is a layer like any other, not an unread slot."""
    text = """g (float[8, 256] x) => (float[8, 10] y) {
        p = Mul(time, frequencies) w = Cos(p) h = MatMul(x, w) y = MatMul(h, wo)
    }"""
    stored = weights(wo=normal(512, 10)) | {
        "time": np.arange(256, dtype=np.float32)[:, None],
        "frequencies": np.linspace(0, 3, 512, dtype=np.float32)[None],
    }
    report = initlint.check(model_of(text, {key: value for key, value in stored.items() if key in text}))
    assert report.facts is not None
    assert report.facts.query("SELECT unread_slots FROM model")[0]["unread_slots"] == 0
    assert exit_code(report, "error") == 0


def test_an_attention_that_starts_at_zero_passes() -> None:
    """Zeros in the last layer of a branch that began far before the join: bias, join and norm stand behind it."""
    text = """g (float[1, 12, 48] x) => (float[1, 12, 10] y) {
        q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)
        t = Transpose<perm=[0, 2, 1]>(k) s = MatMul(q, t) z = Mul(s, scale) p = Softmax(z) a = MatMul(p, v)
        c = Tanh(a) d = Abs(c) e = Sqrt(d) f = Neg(e) g = Exp(f) i = Relu(g) l = Softplus(i) m = Sigmoid(l)
        u = Reshape(m, rows) r = Identity(u) o = MatMul(r, closed) b = Add(offset, o) j = Add(x, b)
        n = LayerNormalization(j, one) y = MatMul(n, wo)
    }"""
    stored = weights(closed=np.zeros((48, 48), np.float32), offset=normal(48, std=0.1)) | {
        "rows": np.array([1, 12, 48])
    }
    assert measured(text, stored, "y").std() > 0.1
    assert found(text, stored, phase="init") == (0, [])
    assert found(text.replace("j = Add(x, b)", "j = Identity(b)"), stored, phase="init")[0] == 1


def test_a_reciprocal_is_a_step_of_a_norm() -> None:
    """1 / rms of embeddings of std 0.003 is 300 and more: a factor of the norm, not the signal."""
    text = """g (float[1, 12, 48] x) => (float[1, 12, 10] y) {
        e = MatMul(x, wq) s = Mul(e, e) m = ReduceMean(s, last) f = Add(m, tiny) r = Sqrt(f) d = Div(unit, r)
        n = Mul(e, d) y = MatMul(n, wo)
    }"""
    stored = weights(wq=normal(48, 48, std=0.0008)) | {
        "last": np.array([-1]), "tiny": np.float32(1e-9), "unit": np.float32(1),
    }  # fmt: skip
    assert measured(text, stored, "d").std() > 10
    code, errors = found(text, stored, phase="init", rules={"IL201": {"max_gain": 16.0}, "IL202": {"min_gain": 1e-6}})
    assert (code, errors) == (0, [])


@pytest.mark.parametrize("lost", [True, False])
def test_one_output_alone_can_lose_the_signal(lost: bool) -> None:  # noqa: FBT001 - a parametrised truth
    """A regressor whose only answer is its bias, to the last bit."""
    text = "g (float[1, 48] x) => (float[1, 1] y) { h = MatMul(x, wq) r = Relu(h) y = Gemm(r, wo, bias) }"
    stored = weights(wo=normal(48, 1, std=1e-9 if lost else 1e-5), bias=np.full(1, 0.5, np.float32))
    assert (np.ptp(measured(text, stored, "y")) < 1e-7) == lost
    assert found(text, stored, phase="trained") == ((1, [("IL202", "y")]) if lost else (0, []))


def test_a_mask_of_a_computed_shape_is_one() -> None:
    """Minus infinity filled to the length that comes in, its upper triangle added to the scores."""
    text = """g (float[1, 12, 48] x) => (float[1, 12, 10] y) {
        q = MatMul(x, wq) k = MatMul(x, wk) t = Transpose<perm=[0, 2, 1]>(k) s = MatMul(q, t) z = Mul(s, scale)
        h = Shape(z) f = ConstantOfShape(h) u = Trilu<upper=1>(f, step) m = Add(z, u) p = Softmax(m) v = MatMul(x, wv)
        a = MatMul(p, v) j = Add(x, a) y = MatMul(j, wo)
    }"""
    stored = weights() | {"step": np.array(1)}
    model = model_of(text, {key: value for key, value in stored.items() if key in text})
    fill = next(node for node in model.graph.node if node.op_type == "ConstantOfShape")
    fill.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.full(1, -np.inf, np.float32))))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.isfinite(session.run(["y"], {"x": normal(1, 12, 48, std=1.0)})[0]).all()
    assert exit_code(initlint.check(model, phase="trained"), "error") == 0
