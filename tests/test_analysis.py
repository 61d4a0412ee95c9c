"""One model from file to report: the facts a user reads, the textbook's product among them."""

from typing import Any

import numpy as np
import onnx
import pytest

import initlint
from initlint.report import Report
from tests.graphs import mlp, model_of

HE = (2 / 64) ** 0.5


def rows(report: Report, sql: str) -> list[dict[str, Any]]:
    assert report.facts is not None
    return report.facts.query(sql)


def test_a_model_that_takes_strings_is_analysed_as_far_as_it_has_numbers() -> None:
    """No layer, no float tensor: nothing to judge, and no traceback."""
    model = model_of("g (string[2] x) => (string[2] y) { y = StringNormalizer <is_case_sensitive = 0> (x) }")
    report = initlint.check(model, phase="init")
    (record,) = report.models
    assert record.layers == 0
    assert record.coverage is None
    assert [finding.code for finding in report.findings if finding.severity == "error"] == []


def test_the_product_of_the_textbook() -> None:
    """`he_product` is prod(1/2 n_l Var[w_l]) over the weights as they stand, whatever else the graph does."""
    model = mlp(HE * 1.1, depth=6)
    report = initlint.check(model)
    weights = [onnx.numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer]
    expected = np.cumprod([0.5 * 64 * weight.var() for weight in weights])
    found = [row["he_product"] for row in rows(report, "SELECT he_product FROM layer ORDER BY position")]
    assert found == pytest.approx(expected.tolist(), rel=1e-6)


def test_signal_and_total_are_two_things() -> None:
    """Biases keep the total std of a dying network flat; the part that depends on the input is what dies."""
    rng = np.random.Generator(np.random.Philox(1))
    lines, weights, before = [], {}, "x"
    for index in range(20):
        bound = 64**-0.5
        weights[f"w{index}"] = rng.uniform(-bound, bound, (64, 64)).astype(np.float32)
        weights[f"b{index}"] = rng.uniform(-bound, bound, 64).astype(np.float32)
        lines.append(f"h{index} = Gemm({before}, w{index}, b{index})\n a{index} = Relu(h{index})")
        before = f"a{index}"
    report = initlint.check(model_of(f"g (float[4,64] x) => (float[4,64] {before}) {{ {' '.join(lines)} }}", weights))
    last = rows(report, "SELECT std, signal_std FROM tensor WHERE name = 'h19'")[0]
    assert last["std"] > 0.03
    assert last["signal_std"] < 1e-5
    assert "IL202" in {finding.code for finding in report.findings if finding.severity == "error"}


def test_the_phase_is_detected_and_can_be_set() -> None:
    """Drawn weights are at initialisation; `phase` overrides, and the report says which it was."""
    assert initlint.check(mlp(HE)).models[0].phase == "init"
    record = initlint.check(mlp(HE), phase="trained").models[0]
    assert (record.phase, record.phase_detected) == ("trained", "trained")


def test_a_norm_absorbs_what_lies_before_it() -> None:
    """Before a LayerNormalization, written as one node or as ten, a scale is no fault; behind it, it is."""
    composed = """
        m = ReduceMean <axes = [-1]> (h) c = Sub(h, m) q = Mul(c, c) v = ReduceMean <axes = [-1]> (q)
        e = Add(v, eps) r = Sqrt(e) n = Div(c, r)"""
    single = "n = LayerNormalization(h, g)"
    rng = np.random.Generator(np.random.Philox(2))
    wide = (rng.standard_normal((64, 64)) * 100).astype(np.float32)
    fit = (rng.standard_normal((64, 64)) * 0.125).astype(np.float32)
    for norm, more in ((single, {"g": np.ones(64, np.float32)}), (composed, {"eps": np.float32(1e-5)})):
        text = f"g (float[4,64] x) => (float[4,64] y) {{ h = MatMul(x, a) {norm} y = MatMul(n, b) }}"
        opset = 17
        healthy = initlint.check(model_of(text, {"a": wide, "b": fit, **more}, opset=opset), phase="init")
        assert healthy.ok
        state = {row["name"]: row["absorbed"] for row in rows(healthy, "SELECT name, absorbed FROM tensor")}
        assert (state["h"], state["y"]) == (1, 0)
        broken = initlint.check(model_of(text, {"a": fit, "b": wide, **more}, opset=opset), phase="init")
        assert (
            not broken.ok
            or max(
                row["cumulative_gain"] for row in rows(broken, "SELECT cumulative_gain FROM tensor WHERE name = 'y'")
            )
            > 256
        )


def test_squares_that_leave_their_normalisation_are_judged() -> None:
    """The squares of a written-out normalisation are its own affair only while nobody else reads them."""
    rng = np.random.Generator(np.random.Philox(2))
    weights = {
        "a": (rng.standard_normal((64, 64)) * 100).astype(np.float32),
        "b": (rng.standard_normal((64, 64)) * 0.125).astype(np.float32),
        "eps": np.float32(1e-5),
    }
    text = """g (float[4,64] x) => (float[4,64] y) {
        h = MatMul(x, a) m = ReduceMean <axes = [-1]> (h) c = Sub(h, m) q = Mul(c, c) v = ReduceMean <axes = [-1]> (q)
        e = Add(v, eps) r = Sqrt(e) n = Div(c, r) k = MatMul(n, b) y = Add(k, q) }"""
    report = initlint.check(model_of(text, weights, opset=17), phase="init")
    absorbed = {row["name"]: row["absorbed"] for row in report.facts.query("SELECT name, absorbed FROM tensor")}
    assert (absorbed["q"], absorbed["v"], absorbed["r"]) == (0, 1, 1)
    assert not report.ok


def test_a_mask_is_no_signal() -> None:
    """Minus infinity that reaches only a softmax is left out of every scale and format rule."""
    mask = np.triu(np.full((8, 8), -np.inf, np.float32), 1)
    rng = np.random.Generator(np.random.Philox(2))
    text = """g (float[1,8,64] x) => (float[1,8,64] y) {
        q = MatMul(x, a) k = MatMul(x, b) t = Transpose <perm = [0, 2, 1]> (k) s = MatMul(q, t) d = Mul(s, c)
        e = Add(d, mask) p = Softmax(e) y = MatMul(p, x) }"""
    fit = {name: (rng.standard_normal((64, 64)) * 0.125).astype(np.float32) for name in "ab"}
    report = initlint.check(model_of(text, {**fit, "mask": mask, "c": np.float32(0.125)}), phase="init")
    assert report.ok
    assert rows(report, "SELECT mask FROM tensor WHERE name = 'e'") == [{"mask": 1}]


def test_an_unknown_operator_is_counted_and_never_clean() -> None:
    """What lies behind it is unknown; below the floor the answer is exit 2, above it a note."""
    text = "g (float[1,4] x) => (float[1,4] y) { h = acme.Foo(x) k = MatMul(h, w) y = Relu(k) }"
    weights = {"w": np.eye(4, dtype=np.float32)}
    report = initlint.check(model_of(text, weights, domains={"acme": 1}))
    assert [finding.exit for finding in report.findings if finding.code == "IL001"] == [2]
    assert report.models[0].coverage == pytest.approx(1 / 4)
    known = initlint.check(model_of(text, weights, domains={"acme": 1}), op={"acme::Foo": {"as": "identity"}})
    assert known.models[0].coverage == 1.0


def test_the_same_model_twice_gives_the_same_bytes() -> None:
    """But for what varies between runs, which is all inside `run`."""
    import msgspec  # noqa: PLC0415 - only here

    one, two = (
        msgspec.json.encode(msgspec.structs.replace(initlint.check(mlp(HE)), run=initlint.Report().run))
        for _ in range(2)
    )
    assert one == two
