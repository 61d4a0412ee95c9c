"""Gradient rules of quantised operators: straight through the rounding, but not where codes saturate (Bengio et al. 2013)."""

from collections.abc import Sequence

import numpy as np

from initlint.graph import Node
from initlint.operators.table import Array, Draws, NotComputed, Run, Values, evaluate
from initlint.signal.gradients import gradient
from initlint.signal.gradients_composed import composed, number, part

__all__: list[str] = []


def _along(item: Draws, rank: int, axis: int) -> Array:
    """A scale as it is broadcast over a tensor of that rank."""
    values = item.values
    return values.reshape(values.shape[0], *(-1 if place == axis and values.size > 1 else 1 for place in range(rank)))


@gradient("DequantizeLinear", "com.microsoft::DequantizeLinear")
def _dequantised(
    node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Of the codes: times the scale."""
    rank = len(inputs[0].shape)
    if len(inputs[1].shape) > 1:
        raise NotComputed("scales of blocks")
    axis = int(node.attributes.get("axis", 1)) % max(rank, 1)  # type: ignore[arg-type]
    return (gradients[0] * _along(inputs[1], rank, axis), *(None for _ in inputs[1:]))


@gradient("QuantizeLinear", "com.microsoft::QuantizeLinear")
def _quantised(
    node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Over the scale where the code is not at an end of its range."""
    rank = len(inputs[0].shape)
    if outputs[0].dtype.kind not in "iu" or len(inputs[1].shape) > 1:
        raise NotComputed("a floating format, or scales of blocks")
    limits = np.iinfo(outputs[0].dtype)
    axis = int(node.attributes.get("axis", 1)) % max(rank, 1)  # type: ignore[arg-type]
    inside = (outputs[0] > limits.min) & (outputs[0] < limits.max)
    return (gradients[0] * inside / _along(inputs[1], rank, axis), *(None for _ in inputs[1:]))


@composed("QLinearConv")
def _qlinear_conv(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    weight = inputs[3]
    if weight is None or len(inputs) < 8:
        raise NotComputed("no weight")
    # The bias moves no gradient.
    return [
        part("DequantizeLinear", "x0 x1 x2", "x"),
        part("DequantizeLinear", "x3 x4 x5", "w", {"axis": 0}),
        part("Conv", "x w", "conv", node.attributes),
        part("QuantizeLinear", "conv x6 x7", "y0"),
    ]


@composed("QLinearMatMul")
def _qlinear_matmul(_node: Node, _inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    return [
        part("DequantizeLinear", "x0 x1 x2", "a"),
        part("DequantizeLinear", "x3 x4 x5", "b"),
        part("MatMul", "a b", "product"),
        part("QuantizeLinear", "product x6 x7", "y0"),
    ]


@composed("com.microsoft::QLinearAdd", "com.microsoft::QLinearMul")
def _qlinear_binary(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    zero = "x7" if len(inputs) > 7 and inputs[7] is not None else "-"
    first, second = ("-" if inputs[place] is None else f"x{place}" for place in (2, 5))
    return [
        part("DequantizeLinear", f"x0 x1 {first}", "a"),
        part("DequantizeLinear", f"x3 x4 {second}", "b"),
        part(node.op.removeprefix("QLinear"), "a b", "y"),
        part("QuantizeLinear", f"y x6 {zero}", "y0"),
    ]


@composed("com.microsoft::QLinearSigmoid", "com.microsoft::QLinearLeakyRelu", "com.microsoft::QLinearAveragePool",
           "com.microsoft::QLinearGlobalAveragePool")  # fmt: skip
def _qlinear_unary(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    if node.attributes.get("channels_last"):
        raise NotComputed("channels last")
    zeros = ["x2" if inputs[2] is not None else "-", "x4" if len(inputs) > 4 and inputs[4] is not None else "-"]
    attributes = {key: value for key, value in node.attributes.items() if key != "channels_last"}
    return [
        part("DequantizeLinear", f"x0 x1 {zeros[0]}", "a"),
        part(node.op.removeprefix("QLinear"), "a", "y", attributes),
        part("QuantizeLinear", f"y x3 {zeros[1]}", "y0"),
    ]


@gradient("DynamicQuantizeLinear")
def _dynamically_quantised(
    _node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Over the scale; the range moves with the input, and so nothing saturates."""
    return (gradients[0] / outputs[1].reshape(-1, *(1,) * len(inputs[0].shape)),)


@composed("MatMulInteger", "ConvInteger")
def _integer_product(node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    constants["one"] = number(1.0)
    zeros = [f"x{place}" if len(inputs) > place and inputs[place] is not None else "-" for place in (2, 3)]
    axis = {"axis": 0 if node.op == "ConvInteger" else -1}
    return [
        part("DequantizeLinear", f"x0 one {zeros[0]}", "a"),
        part("DequantizeLinear", f"x1 one {zeros[1]}", "b", axis),
        part(node.op.removesuffix("Integer"), "a b", "y0", node.attributes),
    ]


@gradient("com.microsoft::MatMulNBits", "com.microsoft::DynamicQuantizeMatMul")
def _block_product(
    node: Node, run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Times the transposed weight, which is what the product makes of the unit matrix."""
    terms = inputs[0].shape[-1]
    run.claim(1, terms, terms)
    unit = Values(np.eye(terms, dtype=inputs[0].values.dtype)[np.newaxis], "float32")
    bias = 4 if node.op == "DynamicQuantizeMatMul" else 5
    weight = evaluate(
        node, run, [unit, *(None if index >= bias else item for index, item in enumerate(inputs[1:], 1))]
    )[0]
    if weight is None:
        raise NotComputed("no product")
    return (gradients[0] @ weight[0].T, *(None for _ in inputs[1:]))
