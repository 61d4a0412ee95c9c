"""onnxruntime's operators on quantised tensors: the float operator between dequantising and quantising."""

from collections.abc import Sequence

import msgspec
import numpy as np

from initlint.graph import Attribute, Node
from initlint.operators.arguments import invalid, number
from initlint.operators.quantised import dequantise, quantise
from initlint.operators.table import OPERATORS, Array, Draws, NotComputed, Run, Values, operator

VERSION = 13  # of the float operators that these are made of


def _plain(kind: str, node: Node, run: Run, *inputs: Draws | Array | None, drop: Sequence[str] = ()) -> Array:
    """The float operator of that kind with the node's attributes, but for those it does not have."""
    attributes: dict[str, Attribute] = {key: value for key, value in node.attributes.items() if key not in drop}
    float_node = msgspec.structs.replace(node, op=kind, domain="", version=VERSION, attributes=attributes)
    held = [Values(item, "float32") if isinstance(item, np.ndarray) else item for item in inputs]
    result = OPERATORS[kind](float_node, run, *held)
    found = result[0] if isinstance(result, tuple) else result
    if found is None:
        raise NotComputed(f"{kind} gives nothing")
    return np.asarray(found)


def _real(run: Run, x: Draws, scale: Draws, zero: Draws | None) -> Array:
    return dequantise(run, x.values, scale, zero, 0)


def _back(run: Run, y: Array, scale: Draws, zero: Draws | None, like: Draws) -> Array:
    """Quantised as the output says; without a zero point in the input's type."""
    return quantise(run, y, scale, zero, 0, dtype=like.dtype)


@operator("com.microsoft::QLinearAdd", "com.microsoft::QLinearMul")
def qlinear_binary(
    node: Node, run: Run, a: Draws, a_scale: Draws, a_zero: Draws | None, b: Draws, b_scale: Draws,
    b_zero: Draws | None, y_scale: Draws, y_zero: Draws | None = None,
) -> Array:  # fmt: skip
    """A sum or product of two quantised tensors."""
    kind = node.op.removeprefix("QLinear")
    y = _plain(kind, node, run, _real(run, a, a_scale, a_zero), _real(run, b, b_scale, b_zero))
    return _back(run, y, y_scale, y_zero, a)


@operator("com.microsoft::QLinearSigmoid", "com.microsoft::QLinearLeakyRelu")
def qlinear_unary(
    node: Node, run: Run, x: Draws, x_scale: Draws, x_zero: Draws | None, y_scale: Draws, y_zero: Draws | None = None
) -> Array:
    """An activation of a quantised tensor."""
    y = _plain(node.op.removeprefix("QLinear"), node, run, _real(run, x, x_scale, x_zero))
    return _back(run, y, y_scale, y_zero, x)


@operator("com.microsoft::QLinearSoftmax")
def qlinear_softmax(
    node: Node, run: Run, x: Draws, x_scale: Draws, x_zero: Draws | None, y_scale: Draws, y_zero: Draws | None = None
) -> Array:
    """Softmax over one axis (from opset 13) or over all behind it."""
    kind = msgspec.structs.replace(node, version=number(node, "opset", VERSION))
    values = _real(run, x, x_scale, x_zero)
    result = OPERATORS["Softmax"](
        msgspec.structs.replace(kind, op="Softmax", domain=""), run, Values(values, "float32")
    )
    return _back(run, np.asarray(result), y_scale, y_zero, x)


@operator("com.microsoft::QLinearAveragePool", "com.microsoft::QLinearGlobalAveragePool")
def qlinear_pool(
    node: Node, run: Run, x: Draws, x_scale: Draws, x_zero: Draws | None, y_scale: Draws, y_zero: Draws | None = None
) -> Array:
    """A mean over windows, or over all positions, channels first or last."""
    last = bool(number(node, "channels_last", 0))
    values = _real(run, x, x_scale, x_zero)
    values = np.moveaxis(values, -1, 2) if last else values
    y = _plain(node.op.removeprefix("QLinear"), node, run, values, drop=("channels_last",))
    return _back(run, np.moveaxis(y, 2, -1) if last else y, y_scale, y_zero, x)


@operator("com.microsoft::QLinearReduceMean")
def qlinear_mean(
    node: Node, run: Run, x: Draws, x_scale: Draws, x_zero: Draws | None, y_scale: Draws, y_zero: Draws | None = None
) -> Array:
    """A mean over axes."""
    return _back(run, _plain("ReduceMean", node, run, _real(run, x, x_scale, x_zero)), y_scale, y_zero, x)


@operator("com.microsoft::QLinearConcat")
def qlinear_concat(node: Node, run: Run, y_scale: Draws, y_zero: Draws, *inputs: Draws | None) -> Array:
    """Tensors with scales of their own put together under one."""
    if not inputs or len(inputs) % 3 or any(item is None for item in inputs):
        raise invalid(f"{len(inputs)} tensors, scales and zero points")
    triples = [inputs[index : index + 3] for index in range(0, len(inputs), 3)]
    values = [_real(run, x, scale, zero) for x, scale, zero in triples if x is not None and scale is not None]
    return quantise(run, _plain("Concat", node, run, *values), y_scale, y_zero, 0)


@operator("com.microsoft::QLinearWhere")
def qlinear_where(
    node: Node, run: Run, condition: Draws, x: Draws, x_scale: Draws, x_zero: Draws, y: Draws, y_scale: Draws,
    y_zero: Draws, z_scale: Draws, z_zero: Draws,
) -> Array:  # fmt: skip
    """A choice between two quantised tensors."""
    chosen = _plain("Where", node, run, condition, _real(run, x, x_scale, x_zero), _real(run, y, y_scale, y_zero))
    return quantise(run, chosen, z_scale, z_zero, 0)
