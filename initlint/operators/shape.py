"""Shapes and their rearrangement without arithmetic: reshape, transpose, join, cut, repeat. Views where possible."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axes_in, axis_in, constant, integers, invalid, number, numbers, real, reshaped
from initlint.operators.table import Array, Draws, NotComputed, Run, operator


@operator("Identity")
def identity(_: Node, __: Run, x: Draws) -> Array:
    """The input."""
    return x.values


@operator("Shape")
def shape_of(node: Node, _: Run, x: Draws) -> Array:
    """The shape, or a part of it; a constant whatever the input."""
    start, end = number(node, "start", 0), number(node, "end", len(x.shape))
    return np.array([x.shape[start:end]], np.int64)


@operator("Size")
def size_of(_: Node, __: Run, x: Draws) -> Array:
    """The number of elements."""
    return np.array([prod(x.shape)], np.int64)


@operator("Reshape")
def reshape(node: Node, _: Run, x: Draws, shape: Draws) -> Array:
    """Another shape; 0 keeps an extent (unless `allowzero`), -1 is what remains."""
    wanted = integers(shape, "the shape")
    if not number(node, "allowzero", 0):
        if any(extent == 0 and index >= len(x.shape) for index, extent in enumerate(wanted)):
            raise invalid(f"shape {wanted} keeps an axis that an input of rank {len(x.shape)} lacks")
        wanted = [x.shape[index] if extent == 0 else extent for index, extent in enumerate(wanted)]
    if wanted.count(-1) > 1 or any(extent < -1 for extent in wanted):
        raise invalid(f"shape {wanted} is not one")
    if -1 in wanted:
        known = prod(extent for extent in wanted if extent != -1)
        if not known or prod(x.shape) % known:
            raise invalid(f"shape {x.shape} cannot become {wanted}")
        wanted[wanted.index(-1)] = prod(x.shape) // known
    return reshaped(x.values, wanted)


@operator("Flatten")
def flatten(node: Node, _: Run, x: Draws) -> Array:
    """A matrix: the axes before `axis` and those from it on."""
    axis = number(node, "axis", 1)
    rank = len(x.shape)
    if not -rank <= axis <= rank:
        raise invalid(f"axis {axis} is outside a tensor of rank {rank}")
    axis = axis + rank if axis < 0 else axis
    return reshaped(x.values, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def _axes(node: Node, axes: Draws | None) -> list[int] | None:
    """Axes from the attribute (before opset 13) or the input; None when not given."""
    if axes is not None:
        return integers(axes, "the axes")
    return numbers(node, "axes") if "axes" in node.attributes else None


@operator("Squeeze")
def squeeze(node: Node, _: Run, x: Draws, axes: Draws | None = None) -> Array:
    """Axes of one element removed."""
    given = _axes(node, axes)
    rank = len(x.shape)
    gone = [axis for axis in range(rank) if x.shape[axis] == 1] if given is None else axes_in(given, rank)
    if any(x.shape[axis] != 1 for axis in gone):
        raise invalid(f"axes {gone} of shape {x.shape} are not of one element")
    return reshaped(x.values, [extent for axis, extent in enumerate(x.shape) if axis not in gone])


@operator("Unsqueeze")
def unsqueeze(node: Node, _: Run, x: Draws, axes: Draws | None = None) -> Array:
    """Axes of one element inserted; they count in the output."""
    given = _axes(node, axes)
    if given is None:
        raise invalid("no axes")
    return np.expand_dims(x.values, tuple(axis + 1 for axis in axes_in(given, len(x.shape) + len(given))))


@operator("Transpose")
def transpose(node: Node, _: Run, x: Draws) -> Array:
    """The axes in another order: a view."""
    rank = len(x.shape)
    order = numbers(node, "perm", range(rank - 1, -1, -1))
    if sorted(order) != list(range(rank)):
        raise invalid(f"perm {order[:16]} is no order of {rank} axes")
    return x.values.transpose(0, *(axis + 1 for axis in order))


@operator("Expand")
def expand(_: Node, run: Run, x: Draws, shape: Draws) -> Array:
    """Broadcast to a shape in both directions: a view."""
    values = x.values
    wanted = integers(shape, "the shape")
    if any(extent < 0 for extent in wanted):
        raise invalid(f"shape {wanted} is not one")
    rank = max(len(wanted), len(x.shape))
    values = values.reshape(values.shape[0], *(1,) * (rank - len(x.shape)), *x.shape)
    try:
        target = np.broadcast_shapes(values.shape[1:], tuple(wanted))
    except ValueError:
        raise invalid(f"shape {x.shape} does not broadcast to {tuple(wanted)}") from None
    run.claim(values.shape[0], *target)
    return np.broadcast_to(values, (values.shape[0], *target))


@operator("Tile")
def tile(_: Node, run: Run, x: Draws, repeats: Draws) -> Array:
    """The tensor repeated along each axis."""
    times = integers(repeats, "repeats")
    if len(times) != len(x.shape) or any(time < 0 for time in times):
        raise invalid(f"repeats {times} for an input of rank {len(x.shape)}")
    values = x.values
    run.claim(values.shape[0], *(extent * time for extent, time in zip(x.shape, times, strict=True)))
    return np.tile(values, (1, *times))


@operator("Concat")
def concat(node: Node, run: Run, *inputs: Draws | None) -> Array:
    """The inputs one after the other along an axis."""
    tensors = [item for item in inputs if item is not None]
    if not tensors or len(tensors) != len(inputs):
        raise invalid("an input is missing")
    rank = len(tensors[0].shape)
    axis = axis_in(number(node, "axis"), rank)
    first = tensors[0].shape
    for item in tensors:
        if len(item.shape) != rank or item.shape[:axis] + item.shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise invalid(f"shapes {first} and {item.shape} do not join along axis {axis}")
    return _joined(run, [item.values for item in tensors], axis)


def _joined(run: Run, arrays: Sequence[Array], axis: int) -> Array:
    draws = max(array.shape[0] for array in arrays)
    shape = [draws, *arrays[0].shape[1:]]
    shape[axis + 1] = sum(array.shape[axis + 1] for array in arrays)
    run.claim(*shape)
    if all(array.shape[0] == draws for array in arrays):
        return np.concatenate(arrays, axis + 1)
    out = np.empty(shape, arrays[0].dtype)
    start = 0
    for array in arrays:
        stop = start + array.shape[axis + 1]
        out[(slice(None),) * (axis + 1) + (slice(start, stop),)] = array
        start = stop
    return out


@operator("Split")
def split(node: Node, _: Run, x: Draws, parts: Draws | None = None) -> tuple[Array, ...]:
    """Pieces along an axis: of given lengths, or as equal as they come."""
    axis = axis_in(number(node, "axis", 0), len(x.shape))
    extent = x.shape[axis]
    if parts is not None:
        lengths = integers(parts, "the lengths", most=1 << 20)
    elif "split" in node.attributes:
        lengths = numbers(node, "split")
    else:
        count = number(node, "num_outputs", len(node.outputs))
        if count < 1:
            raise invalid(f"a split into {count} parts")
        each = -(-extent // count)
        lengths = [max(0, min(each, extent - index * each)) for index in range(min(count, len(node.outputs)))]
        if "num_outputs" not in node.attributes and extent % count:
            raise invalid(f"an axis of {extent} does not split into {count} equal parts")
    if sum(lengths) != extent or any(length < 0 for length in lengths) or len(lengths) < len(node.outputs):
        raise invalid(f"lengths {lengths[:16]} for an axis of {extent} and {len(node.outputs)} outputs")
    values, lead = x.values, (slice(None),) * (axis + 1)
    return tuple(values[(*lead, slice(start, stop))] for start, stop in pairwise(accumulate(lengths, initial=0)))


@operator("Slice")
def slice_operator(
    node: Node,
    _: Run,
    x: Draws,
    starts: Draws | None = None,
    ends: Draws | None = None,
    axes: Draws | None = None,
    steps: Draws | None = None,
) -> Array:
    """A range with a step along each axis, cut to the tensor: a view."""
    if node.version < 10:
        begin, end = numbers(node, "starts"), numbers(node, "ends")
    elif starts is None or ends is None:
        raise invalid("starts or ends are missing")
    else:
        begin, end = integers(starts, "starts"), integers(ends, "ends")
    rank = len(x.shape)
    given = _axes(node, axes)
    along = axes_in(range(len(begin)) if given is None else given, rank)
    step = [1] * len(along) if steps is None else integers(steps, "steps")
    if not len(begin) == len(end) == len(along) == len(step):
        raise invalid("starts, ends, axes and steps differ in length")
    if 0 in step:
        raise invalid("a step of 0")
    index = [slice(None)] * (rank + 1)
    for axis, first, last, move in zip(along, begin, end, step, strict=True):
        # Python reads -1 as the last element, and so does ONNX; what lies further before the start is "none left".
        index[axis + 1] = slice(first, last, move) if move > 0 or last >= -x.shape[axis] else slice(first, None, move)
    return x.values[tuple(index)]


@operator("Dropout")
def dropout(
    node: Node, run: Run, x: Draws, ratio: Draws | None = None, training: Draws | None = None
) -> tuple[Array, ...]:
    """The input, as at inference, unless the file asks for training mode."""
    values = x.values
    if training is not None and bool(constant(training, "training_mode").reshape(-1)[:1].any()):
        share = 0.5 if ratio is None else float(constant(ratio, "the ratio").reshape(-1)[0])
        if not 0 <= share < 1:
            raise invalid(f"a dropout ratio of {share}")
        if share:
            run.claim(run.draws, *x.shape)
            kept = run.generator.random((run.draws, *x.shape), np.float32) >= share
            return np.where(kept, values / (1 - share), values.dtype.type(0)), kept
    real(node, "ratio", 0.5)
    if len(node.outputs) == 1:
        return (values,)
    return values, np.broadcast_to(np.ones((), bool), (1, *x.shape))


@operator("CenterCropPad")
def center_crop_pad(node: Node, run: Run, x: Draws, shape: Draws) -> Array:
    """The middle of each axis, cut or padded with zeros to the extents wanted."""
    wanted = integers(shape, "the shape")
    rank = len(x.shape)
    axes = axes_in(numbers(node, "axes", range(rank)), rank)
    if len(axes) != len(wanted) or any(extent < 0 for extent in wanted):
        raise invalid(f"shape {wanted} for axes {axes}")
    source, target = [slice(None)] * (rank + 1), [slice(None)] * (rank + 1)
    full = list(x.values.shape)
    for axis, extent in zip(axes, wanted, strict=True):
        spare = x.shape[axis] - extent
        full[axis + 1] = extent
        if spare > 0:
            source[axis + 1] = slice(spare // 2, spare // 2 + extent)
        else:
            target[axis + 1] = slice(-spare // 2, -spare // 2 + x.shape[axis])
    run.claim(*full)
    out = np.zeros(full, x.values.dtype)
    out[tuple(target)] = x.values[tuple(source)]
    return out


@operator("ReverseSequence")
def reverse_sequence(node: Node, _: Run, x: Draws, lengths: Draws) -> Array:
    """The first `lengths[b]` time steps of each batch entry in reverse order."""
    batch, time = number(node, "batch_axis", 1), number(node, "time_axis", 0)
    if len(x.shape) < 2 or {batch, time} != {0, 1}:
        raise invalid(f"batch axis {batch} and time axis {time} of shape {x.shape}")
    if lengths.shape != (x.shape[batch],):
        raise invalid(f"lengths of shape {lengths.shape} for {x.shape[batch]} sequences")
    counts = lengths.values[:, :, np.newaxis]
    if ((counts < 0) | (counts > x.shape[time])).any():
        raise invalid("a length outside its sequence")
    steps = np.arange(x.shape[time])
    index = np.where(steps < counts, counts - 1 - steps, steps)  # [s, batch, time]
    index = index if batch == 0 else index.swapaxes(1, 2)
    values = x.values
    draws = max(values.shape[0], index.shape[0])
    index = index.reshape(*index.shape, *(1,) * (values.ndim - 3))
    if draws > values.shape[0]:
        values = np.broadcast_to(values, (draws, *values.shape[1:]))
    if not index.shape[0]:
        raise NotComputed("no draws")
    index = np.broadcast_to(index, (draws, *index.shape[1:]))
    return np.take_along_axis(values, index, time + 1)
