"""Number formats: headroom in the tensor's own format and in the one asked for, against a forward pass and ml_dtypes."""

from functools import cache
from math import log2

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import initlint
from initlint.report import Finding

WIDTH, DEPTH = 32, 4
TARGETS = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8e5m2": ml_dtypes.float8_e5m2,
}


def network(scale: float, outlier: float = 0.0, tiny: float = 0.0) -> onnx.ModelProto:
    """A He network whose second layer is scaled and its third scaled back; one weight, and a share of them, set apart."""
    random = np.random.Generator(np.random.Philox(21))
    nodes, weights, last = [], [], "x"
    for layer in range(DEPTH):
        values = random.standard_normal((WIDTH, WIDTH)) * (2 / WIDTH) ** 0.5 * {1: scale, 2: 1 / scale}.get(layer, 1.0)
        if layer == 3 and outlier:
            values[0, 0] = outlier
        if layer == 3 and tiny:
            values[:, :2] = tiny
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}"], [f"g{layer}"], name=f"fc{layer}", transB=1))
        nodes.append(helper.make_node("Relu", [f"g{layer}"], [f"r{layer}"], name=f"act{layer}"))
        last = f"r{layer}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, WIDTH])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model


@cache
def measured(scale: float) -> tuple[float, float]:
    """(largest magnitude, std) of the second layer's output, by onnxruntime on 2,000 draws."""
    model = network(scale)
    model.graph.output.append(onnx.ValueInfoProto(name="g1"))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    draws = np.random.default_rng(3).standard_normal((2000, 1, WIDTH)).astype(np.float32)
    values = np.stack([session.run(["g1"], {"x": draw})[0] for draw in draws])
    return float(np.abs(values).max()), float(values.astype(np.float64).std(axis=0).mean())


def findings(model: onnx.ModelProto, code: str, **settings: object) -> list[Finding]:
    report = initlint.check(model, phase="trained", **settings)
    return [item for item in report.findings if item.code == code]


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1.0, 40.0, 1e4, 1e38 / 30])
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_the_signal_leaves_is_an_error(target: str, scale: float) -> None:
    """Half the format's largest value and its smallest normal are the limits, in a forward pass as in the prediction."""
    limits = ml_dtypes.finfo(TARGETS[target])
    absmax, std = measured(scale)
    if not 0.5 < absmax / (0.5 * float(limits.max)) < 2:  # extremes of other draws differ
        found = findings(network(scale), "IL403", target=target)
        assert [item.severity for item in found] == ["error"] * (absmax > 0.5 * float(limits.max))
    if not 0.8 < std / float(limits.smallest_normal) < 1.25:
        found = findings(network(scale), "IL404", target=target)
        assert [item.severity for item in found] == ["error"] * (std < float(limits.smallest_normal))


def test_without_a_target_float16_is_a_note() -> None:
    """What nobody asked about is told and gates nothing."""
    report = initlint.check(network(1e4), phase="trained")
    assert report.ok
    assert {item.severity for item in report.findings if item.code in {"IL403", "IL404"}} == {"note"}


def test_headroom_is_the_bits_left_to_the_largest_value() -> None:
    """log2 of largest over absmax, of each tensor in its own format."""
    report = initlint.check(network(40.0), all_tensors=True)
    absmax, _ = measured(40.0)
    (row,) = (row for row in report.tensors if row["name"] == "g1")
    assert row["headroom"] == pytest.approx(log2(float(np.finfo(np.float32).max) / absmax), abs=0.7)
    assert row["headroom"] == pytest.approx(log2(float(np.finfo(np.float32).max) / row["absmax"]), abs=1e-3)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("outlier", "tiny"), [(0.0, 0.0), (7e4, 0.0), (1e30, 0.0), (0.0, 1e-9), (0.0, 1e-3)])
def test_weights_that_the_target_cannot_hold(target: str, outlier: float, tiny: float) -> None:
    """A weight that overflows, or a percent of them that become zero, is a warning: counted by ml_dtypes."""
    model = network(1.0, outlier, tiny)
    lost = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            cast = values.astype(TARGETS[target]).astype(np.float64)
        if (~np.isfinite(cast)).any() or np.mean((cast == 0) & (values != 0)) > 0.01:
            lost.append(tensor.name)
    found = findings(model, "IL406", target=target)
    assert [item.place for item in found] == lost
    assert {item.severity for item in found} <= {"warning"}
