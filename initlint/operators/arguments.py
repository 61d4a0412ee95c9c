"""Reading an operator's attributes and shape-giving inputs: typed, with one-line refusals."""

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from initlint.errors import Reason, Refusal
from initlint.graph import Node, StoredTensor
from initlint.operators.table import Array, Draws, NotComputed, Run

__all__ = [
    "ELEMENT_TYPES",
    "axes_in",
    "axis_in",
    "constant",
    "integers",
    "invalid",
    "number",
    "numbers",
    "real",
    "reals",
    "reshaped",
    "same_draws",
    "tensor",
    "text",
    "working_type",
]

# Element types by their number in onnx.proto: the numpy type that carries them, None where that is the working float.
ELEMENT_TYPES: dict[int, npt.DTypeLike | None] = {
    **dict.fromkeys((1, 10, 11, 16, 17, 18, 19, 20, 23, 24)),
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    8: np.object_,
    9: np.bool_,
    12: np.uint32,
    13: np.uint64,
    21: np.uint8,
    22: np.int8,
    25: np.uint8,
    26: np.int8,
}


def invalid(message: str) -> Refusal:
    """The refusal of a node whose attributes or shapes contradict its operator."""
    return Refusal(Reason.GRAPH, message)


def number(node: Node, name: str, default: int | None = None) -> int:
    """An integer attribute; without a default it is required."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise invalid(f"attribute {name} is not one integer")
    return value


def numbers(node: Node, name: str, default: Sequence[int] | None = None) -> list[int]:
    """A list-of-integers attribute; without a default it is required."""
    value = node.attributes.get(name, default)
    if not isinstance(value, Sequence) or not all(isinstance(item, int) for item in value):
        raise invalid(f"attribute {name} is not a list of integers")
    return list(value)  # type: ignore[arg-type]


def real(node: Node, name: str, default: float | None = None) -> float:
    """A float attribute; without a default it is required."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int | float):
        raise invalid(f"attribute {name} is not one number")
    return float(value)


def reals(node: Node, name: str) -> list[float]:
    """A required list-of-floats attribute."""
    value = node.attributes.get(name)
    if not isinstance(value, tuple) or not all(isinstance(item, int | float) for item in value):
        raise invalid(f"attribute {name} is not a list of numbers")
    return [float(item) for item in value]  # type: ignore[arg-type]


def text(node: Node, name: str, default: str | None = None) -> str:
    """A string attribute; without a default it is required."""
    value = node.attributes.get(name, default)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise invalid(f"attribute {name} is not a string")
    return value


def tensor(node: Node, name: str, run: Run) -> Array | None:
    """A tensor attribute in working types, without an axis of draws; None when absent."""
    value = node.attributes.get(name)
    if value is None:
        return None
    if not isinstance(value, StoredTensor):
        raise invalid(f"attribute {name} is not a tensor")
    run.claim(*value.shape)
    from initlint.elements import to_working_type  # noqa: PLC0415 - needed for the few tensor attributes only

    return to_working_type(value.read(), value.dtype, run.float_type)


def constant(item: Draws, what: str) -> Array:
    """The value of an input that must not depend on the network's input, without its axis of draws."""
    if not item.constant:
        raise NotComputed(f"{what} depends on the input")
    values: Array = item.values[0]
    return values


def integers(item: Draws, what: str, most: int = 4096) -> list[int]:
    """A constant input of rank 0 or 1 as Python integers (shapes, axes, pads)."""
    if prod(item.shape) > most:
        raise invalid(f"{what} has {prod(item.shape)} entries")
    values = constant(item, what)
    if values.ndim > 1 or values.dtype.kind not in "iu":
        raise invalid(f"{what} is not a list of integers")
    return [int(value) for value in values.reshape(-1)]


def axis_in(axis: int, rank: int) -> int:
    """A tensor axis that may count from the end, as an index from the front (draws not counted)."""
    if not -rank <= axis < rank:
        raise invalid(f"axis {axis} is outside a tensor of rank {rank}")
    return axis % rank


def axes_in(axes: Iterable[int], rank: int) -> list[int]:
    """Tensor axes as indices from the front; refuses one that is named twice."""
    found = [axis_in(axis, rank) for axis in axes]
    if len(set(found)) != len(found):
        raise invalid(f"axes {found} name one axis twice")
    return found


def working_type(run: Run, element_type: int) -> npt.DTypeLike:
    """The numpy type that carries an ONNX element type in this run."""
    if element_type not in ELEMENT_TYPES:
        if element_type in {14, 15}:
            raise NotComputed("complex numbers")
        raise invalid(f"element type {element_type} does not exist")
    found = ELEMENT_TYPES[element_type]
    return run.float_type if found is None else found


def same_draws(*arrays: Array) -> list[Array]:
    """The arrays with their axes of draws broadcast to one length (views)."""
    draws = max(array.shape[0] for array in arrays)
    return [array if array.shape[0] == draws else np.broadcast_to(array, (draws, *array.shape[1:])) for array in arrays]


def reshaped(values: Array, shape: Sequence[int]) -> Array:
    """The draws with another tensor shape of the same size."""
    if prod(shape) != prod(values.shape[1:]):
        raise invalid(f"shape {values.shape[1:]} cannot become {tuple(shape)}")
    return values.reshape(values.shape[0], *shape)
