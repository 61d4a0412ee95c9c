"""Tensors inside If, Loop and Scan: measured as if the body stood in the main graph."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from initlint.inputs import generator_for
from initlint.model import open_model
from initlint.probe.feeds import pairs
from initlint.probe.measure import Probe, ProbeOptions, measure_model
from initlint.signal.propagate import Assumptions, propagate
from tests.probe.models import built, normal, saved

W = normal(8, 8)
BRANCHES = """g (float[4, 8] x) => (float[4, 8] y) {
    s = ReduceSum<keepdims = 0>(x) z = Constant<value_float = 1e9>() c = Less(s, z)
    y = If(c) <
        then_branch = t () => (float[4, 8] ty) {
            a = MatMul(x, w) inner = If(c) <
                then_branch = tt () => (float[4, 8] tty) { deep = Tanh(a) tty = Abs(deep) },
                else_branch = te () => (float[4, 8] tey) { other = Sin(a) tey = Identity(other) }>
            ty = Relu(inner) },
        else_branch = e () => (float[4, 8] ey) { b = MatMul(x, w) ey = Tanh(b) }> }"""
LOOP = """g (float[4, 8] x) => (float[4, 8] y, float[n, 4, 8] all) {
    n = Constant<value = int64 {3}>() c = Constant<value = bool {1}>()
    y, all = Loop(n, c, x) <body = b (int64 i, bool k, float[4, 8] h) => (bool ko, float[4, 8] ho, float[4, 8] t) {
        ko = Identity(k) q = MatMul(h, w) ho = Relu(q) t = Tanh(q) }> }"""
SCAN = """g (float[5, 8] x, float[8] start) => (float[8] y, float[5, 8] all) {
    y, all = Scan<num_scan_inputs = 1, body = b (float[8] h, float[8] v) => (float[8] ho, float[8] r) {
        q = MatMul(h, w) p = Add(q, v) ho = Tanh(p) r = Relu(p) }>(start, x) }"""


def measured(path: Path, names: list[str]) -> tuple[Probe, list[dict[str, np.ndarray]]]:
    """The probe of a model and the feeds it was given, both copies' in a row."""
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True))
        assert set(names) <= set(prediction.signals)
        probe = measure_model(model, prediction.inputs, prediction, [], ProbeOptions(samples=3))
        given = pairs(prediction.inputs, generator_for(model, 2), 3)
        return probe, [feed for pair in given for feed in pair]


def reference(
    text: str, names: list[str], feeds: list[dict[str, np.ndarray]], **weights: np.ndarray
) -> list[np.ndarray]:
    """The same tensors from onnxruntime on a graph whose bodies were written out by hand."""
    proto = built(text, **weights)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run(names, feed) for feed in feeds]
    return [np.stack([values[index] for values in runs]).astype(np.float64) for index in range(len(names))]


def agree(probe: Probe, names: list[str], values: list[np.ndarray]) -> None:
    for name, value in zip(names, values, strict=True):
        item = probe.measured[name]
        assert item.mean == pytest.approx(value.mean(), rel=1e-5, abs=1e-6), name
        assert item.std == pytest.approx(value.std(), rel=1e-5), name
        signal = np.sqrt(np.mean((value[::2] - value[1::2]) ** 2) / 2)
        assert item.signal_std == pytest.approx(signal, rel=1e-5), name
        assert item.absmax == pytest.approx(np.abs(value).max(), rel=1e-6), name


def test_the_branch_taken_is_measured_nested_ones_too(tmp_path: Path) -> None:
    """Also a tensor that is nothing but the output of two branches around it."""
    probe, feeds = measured(saved(tmp_path, BRANCHES, w=W), ["a", "deep", "tty", "inner", "ty", "y"])
    flat = """g (float[4, 8] x) => (float[4, 8] a, float[4, 8] deep, float[4, 8] inner, float[4, 8] ty) {
        a = MatMul(x, w) deep = Tanh(a) inner = Abs(deep) ty = Relu(inner) }"""
    values = reference(flat, ["a", "deep", "inner", "ty"], feeds, w=W)
    agree(probe, ["a", "deep", "inner", "ty"], values)
    agree(probe, ["tty", "y"], values[2:])
    assert "b" not in probe.measured
    assert probe.left_out == ()


def test_of_a_loop_the_last_round_is_measured(tmp_path: Path) -> None:
    """Carried, collected and inner values of a Loop's body."""
    probe, feeds = measured(saved(tmp_path, LOOP, w=W), ["q", "ho", "t", "y", "all"])
    flat = """g (float[4, 8] x) => (float[4, 8] q, float[4, 8] ho, float[4, 8] t) {
        q1 = MatMul(x, w) h1 = Relu(q1) q2 = MatMul(h1, w) h2 = Relu(q2) q = MatMul(h2, w) ho = Relu(q) t = Tanh(q) }"""
    agree(probe, ["q", "ho", "t"], reference(flat, ["q", "ho", "t"], feeds, w=W))


def test_of_a_scan_the_last_step_is_measured(tmp_path: Path) -> None:
    """States and collected values of a Scan's body."""
    probe, feeds = measured(saved(tmp_path, SCAN, w=W), ["q", "p", "ho", "r", "y", "all"])
    steps = " ".join(
        f"i{step} = Constant<value = int64 {{{step}}}>() v{step} = Gather(x, i{step}) q{step} = MatMul(h{step}, w) "
        f"p{step} = Add(q{step}, v{step}) h{step + 1} = Tanh(p{step})"
        for step in range(5)
    )
    flat = f"g (float[5, 8] x, float[8] start) => (float[8] q4, float[8] p4, float[8] h5) {{ h0 = Identity(start) {steps} }}"
    agree(probe, ["q", "p", "ho"], reference(flat, ["q4", "p4", "h5"], feeds, w=W))
