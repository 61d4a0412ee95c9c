"""The function of one variable that a stretch of elementwise nodes computes, and the name the field has for it.

Exporters write an activation as one operator or as ten (GELU as Div, Erf, Add, Mul, Mul). Its shape in the graph varies
with the exporter; its values do not. So the stretch is evaluated, and the values are compared with the known functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from initlint.errors import Refusal
from initlint.graph import Node
from initlint.index import Index
from initlint.initializers.activations import ACTIVATIONS, REACH, gauss_legendre
from initlint.operators import load
from initlint.operators.table import Draws, NotComputed, Run, Values, evaluate

__all__ = ["POINTWISE", "Function", "function_of", "identify", "second_moment_of"]

Floats: TypeAlias = npt.NDArray[np.float64]

POINTWISE = frozenset(
    {"Abs", "Add", "And", "Atan", "BiasGelu", "Cast", "Celu", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp",
     "FastGelu", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less",
     "LessOrEqual", "Log", "Max", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "QuickGelu", "Reciprocal",
     "Relu", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh",
     "ThresholdedRelu", "Where"}
)  # fmt: skip
LARGEST_CONSTANT = 1 << 16  # elements of a per-channel parameter that is represented by its mean
SAME = 5e-5  # relative difference of two functions that are the same: constants written with five digits
PANELS_PER_UNIT = 16  # a function whose kinks are not known is integrated on panels this narrow
_GRID = np.concatenate([np.linspace(-9.0, 9.0, 145) + 1e-3, [-40.0, 40.0]])
# Tried in this order; the parameter is read off the function's values first.
_KNOWN = (
    "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh", "quick_gelu", "hard_swish", "mish",
    "elu", "selu", "celu", "softplus", "softsign", "hard_sigmoid", "hard_tanh", "log_sigmoid", "swish", "relu_squared",
    "erf", "exp", "abs", "square", "sin", "cos", "soft_shrink", "hard_shrink", "tanh_shrink",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Function:
    """A stretch of elementwise nodes as a function of one variable: equal where operators, constants and wiring are.

    A network repeats a few of them thousands of times, under other names each time.
    """

    steps: tuple[tuple[str, int, tuple[tuple[str, object], ...], tuple[int | None, ...], int], ...]
    constants: tuple[tuple[str, bytes], ...]
    output: int
    nodes: tuple[Node, ...] = field(compare=False, repr=False)  # with numbers for names


def function_of(nodes: Sequence[Node], source: str, output: str, index: Index) -> Function | None:
    """What `output` is as a function of `source`; constants of several elements count as their mean.

    None where the nodes hold what no such function has: subgraphs, tensors in attributes, large constants.
    """
    numbers, made = {source: 0}, 0
    constants: list[tuple[str, bytes]] = []
    steps, renamed = [], []
    for node in nodes:
        if not all(isinstance(value, int | float | str | bytes | tuple) for value in node.attributes.values()):
            return None
        inputs: list[int | None] = []
        for name in node.inputs:
            if name and name not in numbers:
                constant = _constant(name, index)
                if constant is None:
                    return None
                constants.append(constant)
                numbers[name] = -len(constants)
            inputs.append(numbers[name] if name else None)
        numbers.update((name, made + place) for place, name in enumerate(node.outputs, 1) if name)
        made += len(node.outputs)
        steps.append(
            (node.kind, node.version, tuple(sorted(node.attributes.items())), tuple(inputs), len(node.outputs))
        )
        renamed.append(
            msgspec.structs.replace(
                node,
                inputs=tuple("" if number is None else str(number) for number in inputs),
                outputs=tuple(str(numbers[name]) if name else "" for name in node.outputs),
            )
        )
    if output not in numbers:
        return None
    return Function(tuple(steps), tuple(constants), numbers[output], tuple(renamed))


def _constant(name: str, index: Index) -> tuple[str, bytes] | None:
    tensor = index.stored.get(name)
    if tensor is None or tensor.count > LARGEST_CONSTANT or tensor.count == 0:
        return None
    values = tensor.read()
    if tensor.dtype not in {"bool", "int64", "int32"}:
        values = values.astype(np.float64)
    if values.size > 1:
        values = np.asarray(values.astype(np.float64).mean())
    return f"{tensor.dtype} {values.dtype.name}", values.tobytes()


def _values(function: Function, points: Floats) -> Floats | None:
    """What the function is at the given points; None where an operator cannot be evaluated."""
    load()
    run = Run(draws=1, max_elements=max(points.size, 1))
    values: dict[str, Draws] = {"0": Values(points[np.newaxis], "float64")}
    for place, (kinds, content) in enumerate(function.constants, 1):
        dtype, stored = kinds.split()
        values[str(-place)] = Values(np.frombuffer(content, stored), dtype)
    with np.errstate(all="ignore"):
        for node in function.nodes:
            try:
                results = evaluate(node, run, [values[name] if name else None for name in node.inputs])
            except (NotComputed, Refusal, ValueError, TypeError, KeyError, IndexError, OverflowError):
                return None
            for name, value in zip(node.outputs, results, strict=False):
                if name and value is not None:
                    values[name] = Values(value.astype(np.float64) if value.dtype.kind == "f" else value, "float64")
    found = values.get(str(function.output))
    if found is None or found.values.dtype.kind != "f" or found.values.size not in (1, points.size):
        return None
    return np.broadcast_to(found.values.reshape(-1), points.shape).astype(np.float64)


@lru_cache(maxsize=1024)
def identify(function: Function) -> tuple[str, float | None] | None:
    """Name and parameter of the activation that the function is: `affine` for a x + b, `unknown` for none of the known.

    None where it cannot be evaluated.
    """
    y = _values(function, _GRID)
    if y is None:
        return None
    return ("affine", None) if _is_affine(y) else _named(y)


def _is_affine(y: Floats) -> bool:
    with np.errstate(all="ignore"):
        slope = (y[-1] - y[-2]) / (_GRID[-1] - _GRID[-2])
        line = y[0] + slope * (_GRID - _GRID[0])
        return bool(np.all(np.abs(y - line) <= SAME * (1e-6 + np.abs(y) + np.abs(slope) * 40.0)))


def _named(y: Floats) -> tuple[str, float | None]:
    if not np.all(np.isfinite(y[:-2])):
        return "unknown", None
    for name in _KNOWN:
        parameter = _parameter(name, y)
        entry = ACTIVATIONS[name]
        with np.errstate(all="ignore"):
            expected = entry.function(_GRID, entry.default if parameter is None else parameter)
            far = ~np.isfinite(y) & ~np.isfinite(expected)
            near = np.abs(y - expected) <= SAME * (0.1 + np.abs(expected))
        if np.all(near | far):
            return name, parameter
    return "unknown", None


def _parameter(name: str, y: Floats) -> float | None:
    """The activation's parameter, read off the ends of its graph; None where it has none."""
    match name:
        case "leaky_relu":
            return float(y[-2] / -40.0)
        case "elu" | "celu":
            return float(-y[-2])
        case "hard_tanh":
            return float(y[-1])
        case "hard_sigmoid":
            middle = int(np.argmin(np.abs(_GRID)))
            return float((y[middle + 1] - y[middle - 1]) / (_GRID[middle + 1] - _GRID[middle - 1]))
        case "swish":
            return _swish_slope(y)
        case "soft_shrink":
            return float(40.0 - y[-1])
        case _:
            return None


def _swish_slope(y: Floats) -> float:
    """beta of x sigmoid(beta x), from one point in its bend."""
    at = int(np.argmin(np.abs(_GRID - 1.0)))
    with np.errstate(all="ignore"):
        share = y[at] / _GRID[at]
        slope = np.log(share / (1.0 - share)) / _GRID[at]
    return float(slope) if np.isfinite(slope) else 1.0


@lru_cache(maxsize=1024)
def second_moment_of(function: Function) -> float | None:
    """`E[phi(z)^2]`, z ~ N(0, 1), of the function as it stands in the graph; None where it cannot be evaluated."""
    points, weights = _quadrature()
    y = _values(function, points)
    if y is None:
        return None
    with np.errstate(all="ignore"):
        moment = float(np.sum(np.minimum(y * y, 1e300) * weights))
    return moment if np.isfinite(moment) and moment > 0.0 else None


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes on narrow panels, and their weights times the normal density."""
    nodes, weights = gauss_legendre(4)
    edges = np.linspace(-REACH, REACH, int(2 * REACH) * PANELS_PER_UNIT + 1)
    half = np.diff(edges)[:, None] / 2.0
    z = ((edges[:-1, None] + edges[1:, None]) / 2.0 + half * nodes).reshape(-1)
    return z, (half * weights).reshape(-1) * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
