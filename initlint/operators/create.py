"""Tensors made from a shape or a few numbers: constants, ranges, identities, one-hot rows."""

from math import ceil, isfinite

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import constant, integers, invalid, number, tensor, working_type
from initlint.operators.table import Array, Draws, NotComputed, Run, operator


@operator("ConstantOfShape")
def constant_of_shape(node: Node, run: Run, shape: Draws) -> Array:
    """One value everywhere: a view of it."""
    extents = integers(shape, "the shape")
    if any(extent < 0 for extent in extents):
        raise NotComputed(f"a shape of {extents[:16]}")
    run.claim(1, *extents)
    value = tensor(node, "value", run)
    if value is not None and value.size != 1:
        raise invalid(f"a value of {value.size} elements")
    filled = np.zeros((), run.float_type) if value is None else value.reshape(())
    return np.broadcast_to(filled, (1, *extents))


@operator("Range")
def arange(_: Node, run: Run, start: Draws, limit: Draws, delta: Draws) -> Array:
    """Numbers from `start` by `delta` until `limit`, which is left out."""
    ends = [constant(item, "a bound of the range").reshape(-1) for item in (start, limit, delta)]
    if any(end.size != 1 or end.dtype.kind not in "iuf" for end in ends):
        raise invalid("a bound of the range is not one number")
    first, last, step = (end[0].item() for end in ends)
    if step == 0 or not all(isfinite(end) for end in (first, last, step)):
        raise invalid(f"a range from {first} to {last} by {step}")
    kind = ends[0].dtype
    count = (last - first) / step if kind.kind == "f" else -(-(last - first) // step)
    length = max(ceil(count), 0)
    run.claim(1, length)
    steps = np.arange(length, dtype=np.int64 if kind.kind != "f" else kind)
    return (steps * step + first).astype(kind, copy=False)[np.newaxis]


@operator("EyeLike")
def eye_like(node: Node, run: Run, x: Draws) -> Array:
    """Ones on a diagonal of a matrix of the input's shape."""
    if len(x.shape) != 2:
        raise invalid(f"an identity of shape {x.shape}")
    run.claim(1, *x.shape)
    kind = working_type(run, number(node, "dtype")) if "dtype" in node.attributes else x.values.dtype
    diagonal = min(max(number(node, "k", 0), -x.shape[0]), x.shape[1])
    return np.eye(*x.shape, diagonal, kind)[np.newaxis]


@operator("OneHot")
def one_hot(node: Node, run: Run, indices: Draws, depth: Draws, values: Draws) -> Array:
    """A new axis of `depth` entries that is `on` at the index and `off` elsewhere; indices out of range are all off."""
    extent = int(constant(depth, "the depth").reshape(-1)[0])
    if extent < 0 or values.shape != (2,):
        raise invalid(f"a depth of {extent} with values of shape {values.shape}")
    rank = len(indices.shape) + 1
    axis = number(node, "axis", -1)
    if not -rank <= axis < rank:
        raise invalid(f"axis {axis} is outside a tensor of rank {rank}")
    axis %= rank
    chosen, choices = indices.values, values.values
    draws = max(chosen.shape[0], choices.shape[0])
    run.claim(draws, *indices.shape, extent)
    chosen = np.expand_dims(chosen.astype(np.int64), axis + 1)
    steps = np.arange(extent).reshape(extent, *(1,) * (rank - axis - 1))
    hot = (chosen == steps) | (chosen + extent == steps)
    off, on = (choices[:, index].reshape(-1, *(1,) * rank) for index in (0, 1))
    return np.where(hot, on, off)
