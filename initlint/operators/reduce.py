"""Reductions over axes, cumulative sums, extreme positions, the k largest."""

from collections.abc import Callable
from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axes_in, axis_in, constant, integers, invalid, number, numbers
from initlint.operators.table import OPERATORS, Array, Draws, Run, operator

Axes = tuple[int, ...]
Reduction = Callable[[Array, Axes, bool], Array]


def _sum(x: Array, axes: Axes, keep: bool) -> Array:  # noqa: FBT001 - numpy's own keepdims
    result: Array = np.sum(x, axes, x.dtype, keepdims=keep)
    return result


def _mean(x: Array, axes: Axes, keep: bool) -> Array:  # noqa: FBT001
    if x.dtype.kind == "f":
        result: Array = np.mean(x, axes, x.dtype, keepdims=keep)
        return result
    total = _sum(x, axes, keep)
    count = prod(x.shape[axis] for axis in axes)
    return np.trunc(total / count).astype(x.dtype)  # cut towards zero, as in onnxruntime


def _squares(x: Array, axes: Axes, keep: bool) -> Array:  # noqa: FBT001
    if axes and x.dtype.kind == "f" and axes == tuple(range(x.ndim - len(axes), x.ndim)) and x.flags.c_contiguous:
        lead = x.shape[: x.ndim - len(axes)]
        flat = x.reshape(*lead, -1)
        result: Array = np.vecdot(flat, flat)
        return result.reshape(*lead, *(1,) * len(axes)) if keep else result
    return _sum(np.square(x), axes, keep)


def _root_of_squares(x: Array, axes: Axes, keep: bool) -> Array:  # noqa: FBT001
    return np.sqrt(_squares(x, axes, keep)).astype(x.dtype, copy=False)


def _log_sum(x: Array, axes: Axes, keep: bool) -> Array:  # noqa: FBT001
    return np.log(_sum(x, axes, keep)).astype(x.dtype, copy=False)


def _log_sum_exp(x: Array, axes: Axes, keep: bool) -> Array:  # noqa: FBT001
    top = np.max(x, axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    total = np.log(_sum(np.exp(x - top), axes, keep=True)) + top
    return total if keep else np.squeeze(total, axes)


def _extreme(function: Callable[..., Array], *, largest: bool) -> Reduction:
    def reduce(x: Array, axes: Axes, keep: bool) -> Array:  # noqa: FBT001
        if any(x.shape[axis] == 0 for axis in axes):
            # The neutral element: what ONNX asks of an empty set.
            if x.dtype.kind == "b":
                first: object = not largest
            elif x.dtype.kind == "f":
                first = -np.inf if largest else np.inf
            else:
                first = np.iinfo(x.dtype).min if largest else np.iinfo(x.dtype).max
            return function(x, axes, keepdims=keep, initial=first)
        return function(x, axes, keepdims=keep)

    return reduce


REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes, keep: _sum(np.abs(x), axes, keep),
    "ReduceL2": _root_of_squares,
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _extreme(np.max, largest=True),
    "ReduceMean": _mean,
    "ReduceMin": _extreme(np.min, largest=False),
    "ReduceProd": lambda x, axes, keep: np.prod(x, axes, x.dtype, keepdims=keep),
    "ReduceSum": _sum,
    "ReduceSumSquare": _squares,
}


def _operator(reduction: Reduction) -> Callable[..., Array]:
    def apply(node: Node, _: Run, x: Draws, axes: Draws | None = None) -> Array:
        rank = len(x.shape)
        chosen = integers(axes, "the axes") if axes is not None else numbers(node, "axes", [])
        if not chosen and not number(node, "noop_with_empty_axes", 0):
            chosen = list(range(rank))
        over = tuple(sorted(axis + 1 for axis in axes_in(chosen, rank)))
        return reduction(x.values, over, bool(number(node, "keepdims", 1)))

    return apply


OPERATORS.update({kind: _operator(reduction) for kind, reduction in REDUCTIONS.items()})


def _position(node: Node, x: Draws, find: Callable[..., Array]) -> Array:
    axis = axis_in(number(node, "axis", 0), len(x.shape)) + 1
    values = x.values
    if not values.shape[axis]:
        raise invalid("the position of an extreme of nothing")
    keep = bool(number(node, "keepdims", 1))
    if number(node, "select_last_index", 0):
        found = values.shape[axis] - 1 - find(np.flip(values, axis), axis, keepdims=keep)
    else:
        found = find(values, axis, keepdims=keep)
    return found.astype(np.int64, copy=False)


@operator("ArgMax")
def arg_max(node: Node, _: Run, x: Draws) -> Array:
    """Position of the largest element along an axis."""
    return _position(node, x, np.argmax)


@operator("ArgMin")
def arg_min(node: Node, _: Run, x: Draws) -> Array:
    """Position of the smallest element along an axis."""
    return _position(node, x, np.argmin)


def _cumulated(node: Node, x: Draws, axis: Draws, function: Callable[..., Array], neutral: int) -> Array:
    along = axis_in(int(constant(axis, "the axis").reshape(-1)[0]), len(x.shape)) + 1
    values = x.values
    if number(node, "reverse", 0):
        values = np.flip(values, along)
    result = function(values, along, values.dtype)
    if number(node, "exclusive", 0):
        result = np.roll(result, 1, along)
        result[(slice(None),) * along + (slice(0, 1),)] = neutral
    return np.flip(result, along) if number(node, "reverse", 0) else result


@operator("CumSum")
def cum_sum(node: Node, _: Run, x: Draws, axis: Draws) -> Array:
    """Running sum along an axis."""
    return _cumulated(node, x, axis, np.cumsum, 0)


@operator("CumProd")
def cum_prod(node: Node, _: Run, x: Draws, axis: Draws) -> Array:
    """Running product along an axis."""
    return _cumulated(node, x, axis, np.cumprod, 1)


@operator("TopK")
def top_k(node: Node, _: Run, x: Draws, k: Draws | None = None) -> tuple[Array, Array]:
    """The k largest (or smallest) elements along an axis and where they are; of equal ones the first counts more."""
    if k is None:
        count = number(node, "k")
    else:
        counts = integers(k, "k")
        if len(counts) != 1:
            raise invalid(f"k has {len(counts)} entries")
        count = counts[0]
    axis = axis_in(number(node, "axis", -1), len(x.shape)) + 1
    values = x.values
    extent = values.shape[axis]
    if not 0 <= count <= extent:
        raise invalid(f"the {count} largest of {extent}")
    if number(node, "largest", 1):
        # Sorted backwards on the flipped axis, so that equal elements keep their order.
        order = extent - 1 - np.flip(np.argsort(np.flip(values, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(values, axis, kind="stable")
    places = order[(slice(None),) * axis + (slice(count),)].astype(np.int64, copy=False)
    return np.take_along_axis(values, places, axis), places
