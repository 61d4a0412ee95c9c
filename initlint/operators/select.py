"""Operators whose output shape depends on values: computed where every draw agrees."""

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axis_in, constant, invalid, number
from initlint.operators.table import Array, Draws, NotComputed, Run, operator


def _agreed(mask: Array, what: str) -> Array:
    """A mask `[s, ...]` that is the same in every draw, without its axis of draws."""
    if mask.shape[0] > 1 and not (mask == mask[:1]).all():
        raise NotComputed(f"{what} depends on the input")
    first: Array = mask[0]
    return first


@operator("NonZero")
def non_zero(_: Node, run: Run, x: Draws) -> Array:
    """Indices of the elements that are not zero, one column each."""
    mask = _agreed(x.values != 0, "the number of elements that are not zero")
    run.claim(1, max(mask.ndim, 1), int(np.count_nonzero(mask)))
    return np.array(np.nonzero(np.atleast_1d(mask)), np.int64)[np.newaxis]


@operator("Compress")
def compress(node: Node, _: Run, x: Draws, condition: Draws) -> Array:
    """The slices along an axis, or the elements, at which the condition holds."""
    if len(condition.shape) != 1:
        raise invalid(f"a condition of shape {condition.shape}")
    kept = np.flatnonzero(_agreed(condition.values, "the condition"))
    if "axis" in node.attributes:
        axis, values = axis_in(number(node, "axis"), len(x.shape)) + 1, x.values
    else:
        axis, values = 1, x.values.reshape(x.values.shape[0], -1)
    if kept.size and kept[-1] >= values.shape[axis]:
        raise invalid(f"a condition longer than its axis of {values.shape[axis]}")
    return np.take(values, kept, axis)


@operator("Unique")
def unique(node: Node, _: Run, x: Draws) -> tuple[Array, ...]:
    """Distinct elements or slices, where they first are, which one each was, and how many."""
    values = constant(x, "the number of distinct elements")
    axis = axis_in(number(node, "axis"), values.ndim) if "axis" in node.attributes else None
    found, first, inverse, counts = np.unique(
        values, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not number(node, "sorted", 1):
        order = np.argsort(first, kind="stable")
        found = np.take(found, order, 0 if axis is None else axis)
        first, counts = first[order], counts[order]
        place = np.empty_like(order)
        place[order] = np.arange(order.size)
        inverse = place[inverse]
    return found[np.newaxis], *(item.astype(np.int64)[np.newaxis] for item in (first, inverse, counts))
