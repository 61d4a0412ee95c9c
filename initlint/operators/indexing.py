"""Reading and writing at indices, which may be constants or draws, of tensors that may be either."""

from collections.abc import Sequence
from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axis_in, invalid, number, same_draws, text
from initlint.operators.rows import chosen_rows, is_large
from initlint.operators.table import Array, Draws, Run, Stored, operator

WORTH = 1 << 20  # bytes of a stored table from which reading only the rows asked for pays


def checked(indices: Array, extent: int) -> Array:
    """Indices counted from the front; refuses one outside [-extent, extent)."""
    if indices.dtype.kind not in "iu":
        raise invalid("indices that are no integers")
    if not indices.size:
        return indices.astype(np.int64)
    low, high = int(indices.min()), int(indices.max())
    if low < -extent or high >= extent:
        raise invalid(f"index {low if low < -extent else high} is outside an axis of {extent}")
    if low >= 0:
        return indices.astype(np.int64, copy=False)
    return np.where(indices < 0, indices + extent, indices).astype(np.int64, copy=False)


@operator("Gather")
def gather(node: Node, run: Run, data: Draws, indices: Draws) -> Array:
    """Slices of the data along an axis: `[*before, *indices, *after]`."""
    axis = axis_in(number(node, "axis", 0), len(data.shape))
    places = checked(indices.values, data.shape[axis])
    draws = 1 if data.constant and indices.constant else max(places.shape[0], 1 if data.constant else run.draws)
    shape = (*data.shape[:axis], *places.shape[1:], *data.shape[axis + 1 :])
    run.claim(draws, *shape)
    if isinstance(data, Stored) and axis == 0 and _by_rows(data, places.size):
        return chosen_rows(data, places)
    values = data.values
    if places.shape[0] == 1:
        if places.ndim == 1:
            return values[(slice(None),) * (axis + 1) + (int(places[0]),)]
        return np.take(values, places[0], axis + 1)
    if values.shape[0] == 1:
        return np.moveaxis(np.take(values[0], places, axis), axis, 0)
    out = np.empty((places.shape[0], *shape), values.dtype)
    for draw in range(places.shape[0]):
        out[draw] = np.take(values[draw], places[draw], axis)
    return out


def _by_rows(data: Stored, count: int) -> bool:
    if not data.shape[0] or data.tensor.nbytes % data.shape[0] or data.dtype == "string":
        return False
    return is_large(data) or (data.tensor.nbytes > WORTH and 2 * count < data.shape[0])


@operator("GatherElements")
def gather_elements(node: Node, run: Run, data: Draws, indices: Draws) -> Array:
    """For each index the element of the data at the same place but for one axis."""
    rank = len(data.shape)
    axis = axis_in(number(node, "axis", 0), rank)
    values, places = _elementwise_operands(run, data.values, indices.values, axis)
    return np.take_along_axis(values, places, axis + 1)


def _elementwise_operands(run: Run, values: Array, indices: Array, axis: int) -> tuple[Array, Array]:
    """Data cut to the indices' extents (but on the axis) and checked indices, with equal draws."""
    if indices.ndim != values.ndim:
        raise invalid(f"indices of shape {indices.shape[1:]} for data of shape {values.shape[1:]}")
    places = checked(indices, values.shape[axis + 1])
    cut: list[slice] = [slice(None)]
    for index in range(1, values.ndim):
        if index != axis + 1 and places.shape[index] > values.shape[index]:
            raise invalid(f"indices of shape {indices.shape[1:]} for data of shape {values.shape[1:]}")
        cut.append(slice(None) if index == axis + 1 else slice(places.shape[index]))
    values, places = same_draws(values[tuple(cut)], places)
    run.claim(*places.shape)
    return values, places


def _linear(indices: Array, extents: Sequence[int]) -> Array:
    """Index tuples `[..., k]` into axes of these extents as positions in the flattened axes."""
    position: Array = np.zeros(indices.shape[:-1], np.int64)
    for column, extent in enumerate(extents):
        position = position * extent + checked(indices[..., column], extent)
    return position


@operator("GatherND")
def gather_nd(node: Node, run: Run, data: Draws, indices: Draws) -> Array:
    """The slices of the data that tuples of indices name, behind `batch_dims` shared axes."""
    batch = number(node, "batch_dims", 0)
    count = _tuple_length(data, indices, batch)
    values, tuples = data.values, indices.values
    if indices.shape[:batch] != data.shape[:batch]:
        raise invalid(f"batches of shapes {indices.shape[:batch]} and {data.shape[:batch]}")
    chosen = data.shape[batch : batch + count]
    rest = data.shape[batch + count :]
    shape = (*indices.shape[:-1], *rest)
    draws = max(values.shape[0], tuples.shape[0])
    run.claim(draws, *shape)
    batches = prod(data.shape[:batch])
    places = _linear(tuples, chosen).reshape(tuples.shape[0], batches, -1)
    flat = values.reshape(values.shape[0], batches, prod(chosen), *rest)
    which = np.arange(values.shape[0])[:, np.newaxis, np.newaxis]
    return flat[which, np.arange(batches)[:, np.newaxis], places].reshape(draws, *shape)


def _tuple_length(data: Draws, indices: Draws, batch: int) -> int:
    if not indices.shape or batch < 0 or batch >= min(len(data.shape), len(indices.shape)) + 1:
        raise invalid(f"{batch} batch axes for data {data.shape} and indices {indices.shape}")
    count = indices.shape[-1]
    if batch + count > len(data.shape):
        raise invalid(f"index tuples of {count} for data of shape {data.shape}")
    return count


REDUCTIONS: dict[str, np.ufunc] = {
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def _written(run: Run, values: Array, draws: int) -> Array:
    """A copy of the data with that many draws, to write into."""
    run.claim(draws, *values.shape[1:])
    return np.array(np.broadcast_to(values, (draws, *values.shape[1:])))


def _write(node: Node, out: Array, places: tuple[Array, ...], updates: Array) -> None:
    reduction = text(node, "reduction", "none")
    if reduction == "none":
        out[places] = updates
    elif reduction in REDUCTIONS:
        REDUCTIONS[reduction].at(out, places, updates)
    else:
        raise invalid(f"reduction {reduction!r} does not exist")


@operator("Scatter", "ScatterElements")
def scatter_elements(node: Node, run: Run, data: Draws, indices: Draws, updates: Draws) -> Array:
    """The data with updates written (or reduced) at the places that GatherElements would read."""
    axis = axis_in(number(node, "axis", 0), len(data.shape))
    if indices.shape != updates.shape:
        raise invalid(f"updates of shape {updates.shape} for indices of shape {indices.shape}")
    if len(indices.shape) != len(data.shape):
        raise invalid(f"indices of shape {indices.shape} for data of shape {data.shape}")
    places = checked(indices.values, data.shape[axis])
    if any(extent > own for at, (extent, own) in enumerate(zip(indices.shape, data.shape, strict=True)) if at != axis):
        raise invalid(f"indices of shape {indices.shape} for data of shape {data.shape}")
    draws = max(data.values.shape[0], places.shape[0], updates.values.shape[0])
    out = _written(run, data.values, draws)
    where: list[Array] = list(np.ogrid[tuple(slice(extent) for extent in (draws, *indices.shape))])
    where[axis + 1] = places
    _write(node, out, tuple(where), updates.values)
    return out


@operator("ScatterND")
def scatter_nd(node: Node, run: Run, data: Draws, indices: Draws, updates: Draws) -> Array:
    """The data with updates written (or reduced) at the slices that tuples of indices name."""
    count = _tuple_length(data, indices, 0)
    rest = data.shape[count:]
    if updates.shape != (*indices.shape[:-1], *rest):
        raise invalid(f"updates of shape {updates.shape} for indices of shape {indices.shape}")
    values, changes = data.values, updates.values
    places = _linear(indices.values, data.shape[:count]).reshape(indices.values.shape[0], -1)
    draws = max(values.shape[0], places.shape[0], changes.shape[0])
    out = _written(run, values, draws)
    flat = out.reshape(draws, prod(data.shape[:count]), *rest)
    which = np.arange(draws)[:, np.newaxis]
    _write(node, flat, (which, places), changes.reshape(changes.shape[0], -1, *rest))
    return out


@operator("TensorScatter")
def tensor_scatter(node: Node, run: Run, past: Draws, update: Draws, start: Draws | None = None) -> Array:
    """A cache with an update written from each batch entry's own position on, round the end if circular."""
    rank = len(past.shape)
    axis = axis_in(number(node, "axis", -2), rank)
    if axis == 0 or len(update.shape) != rank:
        raise invalid(f"an update of shape {update.shape} along axis {axis} of {past.shape}")
    length, room = update.shape[axis], past.shape[axis]
    if update.shape[:axis] + update.shape[axis + 1 :] != past.shape[:axis] + past.shape[axis + 1 :]:
        raise invalid(f"an update of shape {update.shape} for a cache of shape {past.shape}")
    begin = np.zeros((1, past.shape[0]), np.int64) if start is None else start.values
    if begin.shape[1:] != (past.shape[0],):
        raise invalid(f"write_indices of shape {begin.shape[1:]} for a batch of {past.shape[0]}")
    places = begin[:, :, np.newaxis] + np.arange(length)  # [s, batch, length]
    mode = text(node, "mode", "linear")
    if mode == "circular":
        places %= room
    elif mode != "linear":
        raise invalid(f"mode {mode!r} does not exist")
    places = checked(places, room)
    shape = [places.shape[0], places.shape[1], *(1,) * (rank - 1)]
    shape[axis + 1] = length
    draws = max(past.values.shape[0], places.shape[0], update.values.shape[0])
    out = _written(run, past.values, draws)
    where: list[Array] = list(np.ogrid[tuple(slice(extent) for extent in (draws, *update.shape))])
    where[axis + 1] = places.reshape(shape)
    out[tuple(where)] = update.values
    return out
