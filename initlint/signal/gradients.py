"""Vector-Jacobian products: what each operator does to the gradient of its outputs, on draws.

Three general rules cover most operators, and none of them knows a formula:

* operators that act on each element alone are differenced centrally with a relative step in float64;
* operators that only move elements are run once on element numbers, which says where each output came from;
* the rest (weighted, reducing, normalising) have their own rule here or in `gradients_weighted`.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from initlint.graph import Node
from initlint.operators.table import Array, Draws, NotComputed, Run, Values, evaluate

__all__ = ["CODES", "GRADIENTS", "NO_GRADIENT", "Gradient", "gradient", "sum_to"]

Gradient: TypeAlias = Callable[..., tuple[Array | None, ...]]

GRADIENTS: dict[str, Gradient] = {}

STEP = (
    1e-5  # relative to |x|, with a floor from the tensor's own scale; the error of a central difference is its square
)

ELEMENTWISE = (
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "com.microsoft::Gelu", "com.microsoft::FastGelu",
    "com.microsoft::QuickGelu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSigmoid", "HardSwish", "Mish", "Swish",
    "ThresholdedRelu", "Shrink", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Abs", "Clip", "Sin", "Cos", "Tan",
    "Sinh", "Cosh", "Asin", "Acos", "Atan", "Asinh", "Acosh", "Atanh", "PRelu",
)  # fmt: skip
MOVING = (
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout", "Slice", "Gather", "GatherElements",
    "GatherND", "Split", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "ReverseSequence", "Trilu",
)  # fmt: skip
# Steps: their gradient is zero wherever it exists.
NO_GRADIENT = frozenset(
    {
        "Sign", "Floor", "Ceil", "Round", "ArgMax", "ArgMin", "Shape", "Size", "Equal", "Less", "LessOrEqual", "Greater",
        "GreaterOrEqual", "RandomNormalLike", "RandomUniformLike", "Not", "And", "Or", "Xor", "IsNaN", "IsInf", "NonZero", "OneHot", "NonMaxSuppression",
    }
)  # fmt: skip
# Operators that quantised codes go through, and the gradient of a code with them.
CODES = frozenset(
    {
        "DequantizeLinear", "MatMulInteger", "ConvInteger", "Cast", "QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul", "QLinearSigmoid",
        "QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool", "MaxPool", "Reshape", "Flatten", "Transpose",
        "Squeeze", "Unsqueeze", "Concat",
    }
)  # fmt: skip


def gradient(*kinds: str) -> Callable[[Gradient], Gradient]:
    """Register a rule `(node, run, inputs, outputs, gradients) -> one gradient or None an input`."""

    def register(function: Gradient) -> Gradient:
        for kind in kinds:
            GRADIENTS[kind] = function
        return function

    return register


def sum_to(values: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: sum the draws' array over the axes along which a tensor of `shape` was repeated."""
    extra = values.ndim - 1 - len(shape)
    if extra:
        values = values.sum(axis=tuple(range(1, 1 + extra)))
    axes = tuple(axis + 1 for axis, extent in enumerate(shape) if extent == 1 and values.shape[axis + 1] != 1)
    return values.sum(axis=axes, keepdims=True) if axes else values


@gradient(*ELEMENTWISE)
def _elementwise(
    node: Node, run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    first = inputs[0]
    if first is None:
        raise NotComputed("no input")
    values = first.values.astype(np.float64)
    step = STEP * (np.abs(values) + 1e-3 * max(float(np.abs(values).max(initial=0.0)), 1e-30))
    exact = Run(run.draws, np.float64, run.max_elements)
    rest = inputs[1:]

    def at(point: Array) -> Array:
        result = evaluate(node, exact, [Values(point, "float64"), *(_in_float64(item) for item in rest)])[0]
        if result is None:
            raise NotComputed("no output")
        return result

    slope = (at(values + step) - at(values - step)) / (2 * step)
    return (gradients[0] * slope.astype(gradients[0].dtype), *(None for _ in rest))


def _in_float64(item: Draws | None) -> Draws | None:
    if item is None or item.values.dtype.kind != "f":
        return item
    return Values(item.values.astype(np.float64), "float64")


@gradient(*MOVING)
def _moving(
    node: Node, run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    first = inputs[0]
    if first is None:
        raise NotComputed("no input")
    shape = first.shape
    if node.op in {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}:
        return (gradients[0].reshape(gradients[0].shape[0], *shape), *(None for _ in inputs[1:]))
    return (_moved(node, run, inputs, 0, gradients), *(None for _ in inputs[1:]))


def _moved(node: Node, run: Run, inputs: Sequence[Draws | None], position: int, gradients: Sequence[Array]) -> Array:
    """Gradient of one input of an operator that moves elements: run it on element numbers, 0 standing for none."""
    item = inputs[position]
    if item is None:
        raise NotComputed("no input")
    count = int(np.prod(item.shape, dtype=np.int64))
    numbers = np.arange(1, count + 1, dtype=np.int64).reshape(1, *item.shape)
    marked = [
        Values(numbers, "int64") if index == position else _zeros_like(other, node, index)
        for index, other in enumerate(inputs)
    ]
    sources = evaluate(node, Run(1, run.float_type, run.max_elements), marked)
    draws = max(value.shape[0] for value in gradients)
    total = np.zeros((draws, count + 1), gradients[0].dtype)
    for source, value in zip(sources, gradients, strict=False):
        if source is None:
            continue
        where = source.reshape(-1).astype(np.int64)
        if source.shape[0] != 1:
            raise NotComputed("elements move differently in each draw")
        flat = value.reshape(value.shape[0], -1)
        for draw in range(flat.shape[0]):
            total[draw] += np.bincount(where, flat[draw], minlength=count + 1)
    return total[:, 1:].reshape(draws, *item.shape)


def _zeros_like(other: Draws | None, node: Node, index: int) -> Draws | None:
    """Stand-in for another input: a shape-giving one as it is, data as zeros."""
    if other is None or node.op != "Concat":
        return other
    return Values(np.zeros((1, *other.shape), np.int64), "int64") if index >= 0 else other


@gradient("Concat")
def _concat(
    node: Node, _run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    shapes = [item.shape for item in inputs if item is not None]
    axis = int(node.attributes.get("axis", 0)) % len(shapes[0]) + 1  # type: ignore[arg-type]
    cuts = np.cumsum([shape[axis - 1] for shape in shapes])[:-1]
    return tuple(np.split(gradients[0], cuts, axis=axis))


@gradient("Pad")
def _pad(
    node: Node, run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    return (_moved(node, run, [*inputs[:2]], 0, gradients), *(None for _ in inputs[1:]))


@gradient("Cast", "CastLike")
def _cast(
    _node: Node, _run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    return (gradients[0], *(None for _ in inputs[1:]))


@gradient("Add", "Sum")
def _add(
    _node: Node, _run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    return tuple(None if item is None else sum_to(gradients[0], item.shape) for item in inputs)


@gradient("Sub")
def _sub(
    _node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    return sum_to(gradients[0], inputs[0].shape), -sum_to(gradients[0], inputs[1].shape)


def _expanded(item: Draws, rank: int) -> Array:
    values = item.values
    return values.reshape(values.shape[0], *(1,) * (rank - len(item.shape)), *item.shape)


@gradient("Mul")
def _mul(
    _node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = gradients[0].ndim - 1
    left, right = (_expanded(item, rank) for item in inputs)
    return sum_to(gradients[0] * right, inputs[0].shape), sum_to(gradients[0] * left, inputs[1].shape)


@gradient("Div")
def _div(
    _node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = gradients[0].ndim - 1
    below = _expanded(inputs[1], rank)
    quotient = gradients[0] / below
    return sum_to(quotient, inputs[0].shape), sum_to(-quotient * outputs[0], inputs[1].shape)


@gradient("Pow")
def _pow(
    _node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = gradients[0].ndim - 1
    base, power = (_expanded(item, rank) for item in inputs)
    slope = power * np.power(base, power - 1)
    return sum_to(gradients[0] * slope.astype(gradients[0].dtype), inputs[0].shape), None


@gradient("Max", "Min")
def _extreme(
    _node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = gradients[0].ndim - 1
    return tuple(sum_to(gradients[0] * (_expanded(item, rank) == outputs[0]), item.shape) for item in inputs)


@gradient("Where")
def _where(
    _node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    chosen = _expanded(inputs[0], gradients[0].ndim - 1).astype(bool)
    return (
        None,
        sum_to(np.where(chosen, gradients[0], 0), inputs[1].shape),
        sum_to(np.where(chosen, 0, gradients[0]), inputs[2].shape),
    )
