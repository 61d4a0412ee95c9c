"""Element by element: arithmetic, comparison, logic, bits and choice."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import invalid, number, real, text
from initlint.operators.special import erf
from initlint.operators.table import OPERATORS, Array, Draws, Run, align, operator

Function = Callable[..., Any]

UNARY: dict[str, Function] = {
    "Abs": np.abs,
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "BitwiseNot": np.invert,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Erf": erf,
    "Exp": np.exp,
    "Floor": np.floor,
    "IsNaN": np.isnan,
    "Log": np.log,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Reciprocal": np.reciprocal,
    "Round": np.rint,
    "Sign": np.sign,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Sqrt": np.sqrt,
    "Tan": np.tan,
    "Tanh": np.tanh,
}
BINARY: dict[str, Function] = {
    "Add": np.add,
    "And": np.logical_and,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Mul": np.multiply,
    "Or": np.logical_or,
    "Sub": np.subtract,
    "Xor": np.logical_xor,
}
VARIADIC: dict[str, Function] = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}


def _unary(function: Function) -> Function:
    def apply(_: Node, __: Run, x: Draws) -> Array:
        result: Array = function(x.values)
        return result

    return apply


def _binary(function: Function) -> Function:
    def apply(_: Node, run: Run, a: Draws, b: Draws) -> Array:
        result: Array = function(*align(run, a, b))
        return result

    return apply


def _variadic(function: Function) -> Function:
    def apply(_: Node, run: Run, first: Draws, *others: Draws | None) -> Array:
        return _fold(function, run, first, *others)

    return apply


OPERATORS.update({kind: _unary(function) for kind, function in UNARY.items()})
OPERATORS.update({kind: _binary(function) for kind, function in BINARY.items()})
OPERATORS.update({kind: _variadic(function) for kind, function in VARIADIC.items()})


def _fold(function: Function, run: Run, *inputs: Draws | None) -> Array:
    if not inputs or any(item is None for item in inputs):
        raise invalid("an input is missing")
    if len(inputs) == 1:
        return inputs[0].values  # type: ignore[union-attr]

    def step(left: Draws | Array, right: Draws | None) -> Array:
        assert right is not None
        result: Array = function(*align(run, left, right))
        return result

    return reduce(step, inputs)  # type: ignore[arg-type]


@operator("Mean")
def mean(_: Node, run: Run, *inputs: Draws | None) -> Array:
    """The mean of the inputs."""
    return _fold(np.add, run, *inputs) / len(inputs)


def _check_integer_division(a: Array, b: Array) -> None:
    if not b.all():
        raise invalid("integer division by zero")
    if a.dtype.kind == "i" and (b == -1).any() and (a == np.iinfo(a.dtype).min).any():
        raise invalid("the smallest integer is divided by -1")


@operator("Div")
def div(_: Node, run: Run, a: Draws, b: Draws) -> Array:
    """Quotient; that of integers is cut towards zero, as in onnxruntime."""
    x, y = align(run, a, b)
    result: Array
    if x.dtype.kind == "f":
        result = np.divide(x, y)
        return result
    _check_integer_division(x, y)
    result = np.floor_divide(x, y)
    if x.dtype.kind == "i":
        result += (result * y != x) & ((x < 0) != (y < 0))
    return result


@operator("Mod")
def mod(node: Node, run: Run, a: Draws, b: Draws) -> Array:
    """Remainder with the divisor's sign, or with `fmod` the dividend's."""
    x, y = align(run, a, b)
    if x.dtype.kind in "iu":
        _check_integer_division(x, y)
    result: Array = np.fmod(x, y) if number(node, "fmod", 0) else np.mod(x, y)
    return result


@operator("Pow")
def power(_: Node, run: Run, a: Draws, b: Draws) -> Array:
    """Power in the base's type; the usual exponents without a call to pow for each element."""
    x, y = align(run, a, b)
    if x.dtype.kind == "f" and y.size == 1:
        short = _short_power(x, float(y.reshape(-1)[0]))
        if short is not None:
            return short if y.ndim <= x.ndim else short.reshape(np.broadcast_shapes(x.shape, y.shape))
    result: Array
    if x.dtype.kind in "iu":
        # Through float64 like onnxruntime: a negative exponent of an integer is no error there.
        if y.dtype.kind in "iu" and (y >= 0).all():
            result = np.power(x, y.astype(x.dtype))
            return result
        return np.power(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)
    result = np.power(x, y.astype(x.dtype, copy=False))
    return result


def _short_power(x: Array, exponent: float) -> Array | None:
    match exponent:
        case 2.0:
            return np.multiply(x, x)
        case 3.0:
            result = np.multiply(x, x)
            result *= x
            return result
        case 0.5:
            return np.sqrt(x)
        case 1.0:
            return x
        case -1.0:
            return np.reciprocal(x)
        case _:
            return None


@operator("BitShift")
def bit_shift(node: Node, run: Run, a: Draws, b: Draws) -> Array:
    """Shift by the second input; shifting by all bits or more leaves what the sign's extension gives."""
    x, y = align(run, a, b)
    if x.dtype.kind not in "iu":
        raise invalid("BitShift of a type that is no integer")
    direction = text(node, "direction")
    if direction not in {"LEFT", "RIGHT"}:
        raise invalid(f"direction {direction!r} is neither LEFT nor RIGHT")
    bits = 8 * x.dtype.itemsize
    outside = (y < 0) | (y >= bits)
    shift = np.where(outside, 0, y).astype(x.dtype)
    if direction == "LEFT":
        return np.where(outside, x.dtype.type(0), np.left_shift(x, shift))
    return np.where(outside, np.where(x < 0, x.dtype.type(-1 if x.dtype.kind == "i" else 0), x.dtype.type(0)),
                    np.right_shift(x, shift))  # fmt: skip


@operator("IsInf")
def is_inf(node: Node, _: Run, x: Draws) -> Array:
    """Whether a value is infinite, of the signs asked for."""
    values = x.values
    result = np.isinf(values)
    if not number(node, "detect_negative", 1):
        result &= values > 0
    if not number(node, "detect_positive", 1):
        result &= values < 0
    return result


@operator("Where")
def where(_: Node, run: Run, condition: Draws, x: Draws, y: Draws) -> Array:
    """The second input where the condition holds, else the third."""
    return np.where(*align(run, condition, x, y))


@operator("Clip")
def clip(node: Node, run: Run, x: Draws, low: Draws | None = None, high: Draws | None = None) -> Array:
    """Values cut to an interval; with crossed bounds the upper one wins."""
    if node.version < 11:
        values = np.maximum(x.values, real(node, "min", -np.inf)) if "min" in node.attributes else x.values
        return np.minimum(values, real(node, "max", np.inf)) if "max" in node.attributes else values
    result = x.values
    for bound, choose in ((low, np.maximum), (high, np.minimum)):
        if bound is None:
            continue
        if bound.shape not in {(), (1,)}:
            raise invalid(f"a bound of shape {bound.shape} is not one number")
        limit = bound.values.reshape(-1, *(1,) * len(x.shape))
        if limit.dtype != result.dtype:
            raise invalid(f"a bound of type {bound.dtype} for values of type {x.dtype}")
        run.claim(max(result.shape[0], limit.shape[0]), *x.shape)
        result = choose(result, limit)
    return result
