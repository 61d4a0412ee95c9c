"""Quantised weights in real units as they are read, against onnxruntime's own dequantisation and plain arithmetic."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from initlint import effective
from initlint.index import index_of
from initlint.layers import Layer, find_layers
from initlint.model import open_model
from initlint.weights import ChannelLayout, statistics

GENERATOR = np.random.default_rng(11)
ROWS, COLUMNS = 96, 64


def model_of(nodes: list[Any], initializers: list[Any], path: Path, opset: int = 21) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


def run(path: Path, x: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # a fused product rounds
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def layer_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> "np.ndarray[Any, Any]":
    """The effective weight of the one layer, read in odd pieces, which must agree with the whole."""
    monkeypatch.setattr(effective, "HELD", 0)
    monkeypatch.setattr(effective, "fold", _small_only)
    with open_model(path) as model:
        (layer,) = find_layers(model, index_of(model))
        tensor = layer.tensor
        assert tensor is not None
        assert layer.quantised
        whole = np.asarray(tensor.read())
        for start, stop in ((0, 1), (1, 2), (7, 1000), (63, 65), (tensor.count - 3, tensor.count), (4095, 4097)):
            piece = tensor.read_bytes(4 * start, 4 * stop).view(np.float32)
            np.testing.assert_array_equal(piece, whole.reshape(-1)[start:stop])
        check_statistics(layer, whole)
    return whole


_fold = effective.fold


def _small_only(name: str, index: Any) -> Any:
    """Scales and zero points may be computed; whoever folds the weight has dequantised all of it."""
    found = _fold(name, index)
    assert found is None or found.size < ROWS * COLUMNS
    return found


def check_statistics(layer: Layer, whole: "np.ndarray[Any, Any]") -> None:
    assert layer.tensor is not None
    for layout in (None, ChannelLayout((0,)), ChannelLayout((1,))):
        assert statistics(layer.tensor, layout).variance == pytest.approx(
            float(whole.astype(np.float64).var()), rel=1e-9
        )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4", "float8e4m3fn"])
@pytest.mark.parametrize("form", ["tensor", "axis 0", "axis 1", "blocks 0", "blocks 1"])
@pytest.mark.parametrize("zero_points", [False, True])
def test_dequantize_linear(
    dtype: str,
    form: str,
    zero_points: bool,  # noqa: FBT001 - a case
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Times the identity matrix, a product gives the dequantised weight."""
    shapes = {"tensor": (), "axis 0": (ROWS,), "axis 1": (COLUMNS,), "blocks 0": (ROWS // 16, COLUMNS), "blocks 1": (ROWS, COLUMNS // 16)}  # fmt: skip
    shape = shapes[form]
    kind = getattr(TensorProto, dtype.upper() if dtype != "float8e4m3fn" else "FLOAT8E4M3FN")
    low, high = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}.get(dtype, (-9, 9))
    codes = GENERATOR.integers(low, high + 1, (ROWS, COLUMNS))
    points = GENERATOR.integers(low, high + 1, shape)
    if dtype == "float8e4m3fn":
        if zero_points:
            pytest.skip("onnxruntime wants them zero")
        points = np.zeros_like(points)

    def stored(values: "np.ndarray[Any, Any]", name: str) -> TensorProto:
        return helper.make_tensor(name, kind, values.shape, values.reshape(-1).tolist())

    scale = GENERATOR.uniform(0.01, 0.1, shape).astype(np.float32)
    initializers = [stored(codes, "w"), numpy_helper.from_array(np.asarray(scale), "s")]
    inputs = ["w", "s"]
    if zero_points:
        initializers.append(stored(np.asarray(points), "z"))
        inputs.append("z")
    attributes: dict[str, int] = {} if form == "tensor" else {"axis": int(form[-1])}
    if form.startswith("blocks"):
        attributes["block_size"] = 16
    nodes = [
        helper.make_node("DequantizeLinear", inputs, ["real"], **attributes),
        helper.make_node("MatMul", ["x", "real"], ["y"]),
    ]
    path = model_of(nodes, initializers, tmp_path / "m.onnx")
    expected = run(path, np.eye(ROWS, dtype=np.float32))
    np.testing.assert_allclose(layer_of(path, monkeypatch), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("zero_points", ["none", "packed", "float"])
@pytest.mark.parametrize("block", [16, 32, 64])
def test_four_bit_blocks(zero_points: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MatMulNBits keeps `[N, blocks, bytes]`; onnxruntime computes x W^T."""
    blocks = COLUMNS // block
    packed = GENERATOR.integers(0, 256, (ROWS, blocks, block // 2)).astype(np.uint8)
    initializers = [
        numpy_helper.from_array(packed, "w"),
        numpy_helper.from_array(GENERATOR.uniform(0.01, 0.1, ROWS * blocks).astype(np.float32), "s"),
    ]
    inputs = ["x", "w", "s"]
    if zero_points != "none":
        inputs.append("z")
        values: np.ndarray[Any, Any] = GENERATOR.integers(0, 256, (ROWS, (blocks + 1) // 2)).astype(np.uint8)
        if zero_points == "float":
            values = GENERATOR.uniform(0, 15, ROWS * blocks).astype(np.float32)
        initializers.append(numpy_helper.from_array(values.reshape(-1), "z"))
    node = helper.make_node(
        "MatMulNBits", inputs, ["y"], domain="com.microsoft", K=COLUMNS, N=ROWS, bits=4, block_size=block
    )
    path = model_of([node], initializers, tmp_path / "m.onnx")
    expected = run(path, np.eye(COLUMNS, dtype=np.float32)).T
    np.testing.assert_allclose(layer_of(path, monkeypatch), expected, rtol=2e-3, atol=2e-3)


def test_a_product_of_integers_finds_its_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QLinearMatMul: scale and zero point are inputs of the operator, one for each column."""
    codes = GENERATOR.integers(-128, 128, (ROWS, COLUMNS)).astype(np.int8)
    scale = GENERATOR.uniform(0.01, 0.1, COLUMNS).astype(np.float32)
    constants = {"as": np.float32(0.1), "az": np.uint8(128), "w": codes, "ws": scale, "wz": np.zeros(COLUMNS, np.int8),
                 "ys": np.float32(0.1), "yz": np.uint8(128)}  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "as", "az"], ["a"]),
        helper.make_node("QLinearMatMul", ["a", "as", "az", "w", "ws", "wz", "ys", "yz"], ["b"]),
        helper.make_node("DequantizeLinear", ["b", "ys", "yz"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    path = model_of(nodes, initializers, tmp_path / "m.onnx")
    np.testing.assert_allclose(layer_of(path, monkeypatch), codes * scale, rtol=1e-6)
