"""Small models for tests: a graph in onnx's own text format, weights as arrays, bytes out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

__all__ = ["mlp", "model_of", "tensor_of"]

HEAD = '<ir_version: 9, opset_import: ["" : {opset}{domains}]>\n'


def model_of(
    text: str,
    weights: Mapping[str, Any] | None = None,
    *,
    opset: int = 18,
    domains: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model from `name (inputs) => (outputs) { nodes }`; weights are arrays or TensorProtos, by name."""
    more = "".join(f', "{domain}" : {version}' for domain, version in (domains or {}).items())
    model = parser.parse_model(HEAD.format(opset=opset, domains=more) + text)
    for name, value in (weights or {}).items():
        proto = onnx.TensorProto()
        if isinstance(value, onnx.TensorProto):
            proto.CopyFrom(value)
        else:
            proto.CopyFrom(numpy_helper.from_array(np.asarray(value)))
        proto.name = name
        model.graph.initializer.append(proto)
    return model


def tensor_of(array: Any, dtype: int, *, raw: bool = True) -> onnx.TensorProto:
    """An array in any ONNX element type, in raw_data or in the field that the type has of its own."""
    values = np.asarray(array)
    typed = helper.make_tensor("t", dtype, values.shape, values.reshape(-1))
    return numpy_helper.from_array(numpy_helper.to_array(typed), "t") if raw else typed


def mlp(
    std: float,
    *,
    depth: int = 20,
    width: int = 64,
    activation: str = "Relu",
    seed: int = 7,
    scale_one: tuple[int, float] | None = None,
) -> onnx.ModelProto:
    """A plain network of square layers with normal weights of this std; `scale_one` multiplies one of them."""
    rng = np.random.Generator(np.random.Philox(seed))
    weights = {}
    lines = []
    before = "x"
    for index in range(depth):
        factor = scale_one[1] if scale_one is not None and scale_one[0] == index else 1.0
        weights[f"w{index + 1}"] = (rng.standard_normal((width, width)) * std * factor).astype(np.float32)
        lines.append(f"[fc{index + 1}] h{index + 1} = MatMul({before}, w{index + 1})")
        before = f"h{index + 1}"
        if index < depth - 1:
            lines.append(f"[act{index + 1}] a{index + 1} = {activation}({before})")
            before = f"a{index + 1}"
    body = "\n".join(lines)
    return model_of(f"g (float[8,{width}] x) => (float[8,{width}] {before}) {{\n{body}\n}}", weights)
