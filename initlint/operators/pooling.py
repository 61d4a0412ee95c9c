"""Pooling over windows: a maximum or a sum over a box is one over each axis in turn."""

from collections.abc import Sequence
from functools import reduce
from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import integers, invalid, number, numbers
from initlint.operators.table import Array, Draws, NotComputed, Run, operator
from initlint.operators.windows import Window, overlap_add, padded, spatial_numbers, window_of, windows

BLOCK = 1 << 16  # elements of the padded buffer
MOST_TAPS = 1 << 16  # along one axis: each is a pass over the input


def _pool_window(node: Node, x: Draws) -> Window:
    if len(x.shape) < 3:
        raise invalid(f"an input of shape {x.shape}")
    ceil = bool(number(node, "ceil_mode", 0))
    window = window_of(node, numbers(node, "kernel_shape"), x.shape[2:], ceil=ceil)
    if max(window.kernel) > MOST_TAPS:
        raise NotComputed(f"a window of {max(window.kernel)}")
    return window


def _lowest(x: Array) -> float:
    return -np.inf if x.dtype.kind == "f" else int(np.iinfo(x.dtype).min)


def _pooled(run: Run, x: Array, window: Window, fold: np.ufunc, neutral: float) -> Array:
    """`fold` (maximum or add) over each window of the last axes; padding counts as `neutral`.

    A few planes at a time are copied into a padded buffer that stays in the cache and folded axis by axis. Along the
    last axis, where strided reads are slow, all positions are folded by shifts of the flat buffer and those that the
    stride names are kept: 2 to 4 times as quick on the poolings of ResNet and YOLO as strided reads of whole arrays.
    """
    rank = len(window.kernel)
    lead, sizes = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
    run.claim(*lead, *window.outputs, work=prod(lead) * prod(window.outputs) * sum(window.kernel))
    full = [
        max((outputs - 1) * stride + span, before + size)
        for outputs, stride, span, before, size in zip(
            window.outputs, window.strides, window.span, window.before, sizes, strict=True
        )
    ]
    planes = x.reshape(-1, *sizes)
    out = np.empty((len(planes), *window.outputs), x.dtype)
    together = max(1, min(len(planes), BLOCK // prod(full)))
    run.claim(together, *full)
    buffer = np.full((together, *full), neutral, x.dtype)
    inside = tuple(slice(b, b + size) for b, size in zip(window.before, sizes, strict=True))
    for first in range(0, len(planes), together):
        count = min(together, len(planes) - first)
        buffer[(slice(count), *inside)] = planes[first : first + count]
        y = buffer[:count]
        for axis in range(rank - 1):
            y = _folded(y, window, axis, fold)
        out[first : first + count] = _folded_rows(y, window, fold)
    return out.reshape(*lead, *window.outputs)


def _folded(y: Array, window: Window, axis: int, fold: np.ufunc) -> Array:
    """One axis but the last folded by strided reads, whole rows at a time."""
    reach = (window.outputs[axis] - 1) * window.strides[axis] + 1
    parts = []
    for tap in range(window.kernel[axis]):
        start = tap * window.dilations[axis]
        parts.append(y[(slice(None),) * (axis + 1) + (slice(start, start + reach, window.strides[axis]),)])
    if len(parts) == 1:
        return parts[0]
    result: Array = fold(parts[0], parts[1])
    for part in parts[2:]:
        fold(result, part, out=result)
    return result


def _folded_rows(y: Array, window: Window, fold: np.ufunc) -> Array:
    """The last axis folded by shifts of the flat array; what a shift brings over from the next row is not kept."""
    kernel, dilation, stride = window.kernel[-1], window.dilations[-1], window.strides[-1]
    if kernel > 1:
        flat = np.ascontiguousarray(y).reshape(-1)
        length = flat.size - (kernel - 1) * dilation
        result = np.empty_like(flat)
        kept = result[:length]
        fold(flat[:length], flat[dilation : dilation + length], out=kept)
        for tap in range(2, kernel):
            fold(kept, flat[tap * dilation : tap * dilation + length], out=kept)
        y = result.reshape(y.shape)
    return y[..., : (window.outputs[-1] - 1) * stride + 1 : stride]


@operator("MaxPool")
def max_pool(node: Node, run: Run, x: Draws) -> Array | tuple[Array, Array]:
    """The largest element of each window; where it lies, if that output is wanted."""
    window = _pool_window(node, x)
    if len(node.outputs) == 1:
        return _pooled(run, x.values, window, np.maximum, _lowest(x.values))
    return _max_with_places(node, run, x.values, window)


def _max_with_places(node: Node, run: Run, x: Array, window: Window) -> tuple[Array, Array]:
    rank = len(window.kernel)
    sizes = x.shape[-rank:]
    after = [
        max(0, (outputs - 1) * stride + span - before - size)
        for outputs, stride, span, before, size in zip(
            window.outputs, window.strides, window.span, window.before, sizes, strict=True
        )
    ]
    lead = x.shape[: x.ndim - rank]
    run.claim(*lead, *window.kernel, *window.outputs)
    view = windows(padded(run, x, window.before, after, _lowest(x)), window, window.outputs)
    columns = view.reshape(*lead, prod(window.kernel), *window.outputs)
    best = np.argmax(columns, axis=len(lead))
    values = np.take_along_axis(columns, np.expand_dims(best, len(lead)), len(lead)).squeeze(len(lead))
    tap = np.unravel_index(best, window.kernel)
    place: Array = np.zeros(best.shape, np.int64)
    column_major = bool(number(node, "storage_order", 0))
    order = range(rank - 1, -1, -1) if column_major else range(rank)
    for axis in order:
        starts = np.arange(window.outputs[axis]) * window.strides[axis] - window.before[axis]
        starts = starts.reshape(-1, *(1,) * (rank - axis - 1))
        place = place * sizes[axis] + tap[axis] * window.dilations[axis] + starts
    planes = np.arange(prod(lead[1:])).reshape(1, *lead[1:], *(1,) * rank)
    return values, place + planes * prod(sizes)


def _counts(window: Window, sizes: Sequence[int], *, include_pad: bool) -> Array:
    """How many elements each window averages: those inside the input, or inside the input and its padding."""
    each = []
    for axis, size in enumerate(sizes):
        starts = np.arange(window.outputs[axis])[:, np.newaxis] * window.strides[axis] - window.before[axis]
        taps = starts + np.arange(window.kernel[axis]) * window.dilations[axis]
        low, high = (-window.before[axis], size + window.after[axis]) if include_pad else (0, size)
        each.append(((taps >= low) & (taps < high)).sum(axis=1))
    return reduce(np.multiply.outer, each)


@operator("AveragePool")
def average_pool(node: Node, run: Run, x: Draws) -> Array:
    """The mean of each window, padding counted or not."""
    window = _pool_window(node, x)
    total = _pooled(run, x.values, window, np.add, 0)
    counts = _counts(window, x.shape[2:], include_pad=bool(number(node, "count_include_pad", 0)))
    total /= np.maximum(counts, 1).astype(total.dtype)
    return total


def _power_sum(x: Array, p: int) -> Array:
    return np.square(x) if p == 2 else np.abs(x) if p == 1 else np.abs(x) ** p


def _root(x: Array, p: int) -> Array:
    return np.sqrt(x) if p == 2 else x if p == 1 else x ** (1 / p)


def _norm_order(node: Node) -> int:
    p = number(node, "p", 2)
    if p < 1:
        raise invalid(f"a norm of order {p}")
    return p


@operator("LpPool")
def lp_pool(node: Node, run: Run, x: Draws) -> Array:
    """The p-norm of each window."""
    p = _norm_order(node)
    return _root(_pooled(run, _power_sum(x.values, p), _pool_window(node, x), np.add, 0), p)


def _spatial(x: Draws) -> tuple[int, ...]:
    if len(x.shape) < 2 or 0 in x.shape[2:]:
        raise invalid(f"an input of shape {x.shape}")
    return tuple(range(3, len(x.shape) + 1))


@operator("GlobalAveragePool")
def global_average_pool(_: Node, __: Run, x: Draws) -> Array:
    """The mean of each channel."""
    values = x.values
    result: Array = values.mean(axis=_spatial(x), keepdims=True, dtype=values.dtype)
    return result


@operator("GlobalMaxPool")
def global_max_pool(_: Node, __: Run, x: Draws) -> Array:
    """The largest element of each channel."""
    result: Array = x.values.max(axis=_spatial(x), keepdims=True)
    return result


@operator("GlobalLpPool")
def global_lp_pool(node: Node, _: Run, x: Draws) -> Array:
    """The p-norm of each channel."""
    p = _norm_order(node)
    return _root(_power_sum(x.values, p).sum(axis=_spatial(x), keepdims=True, dtype=x.values.dtype), p)


@operator("MaxUnpool")
def max_unpool(node: Node, run: Run, x: Draws, places: Draws, output_shape: Draws | None = None) -> Array:
    """Elements put back where MaxPool found them, zero elsewhere."""
    kernel = numbers(node, "kernel_shape")
    rank = len(kernel)
    if len(x.shape) != rank + 2 or places.shape != x.shape:
        raise invalid(f"indices of shape {places.shape} for an input of shape {x.shape}")
    strides = spatial_numbers(node, "strides", rank, 1, 1)
    pads = spatial_numbers(node, "pads", 2 * rank, 0, 0)
    shape = [
        (size - 1) * stride + extent - before - after
        for size, stride, extent, before, after in zip(
            x.shape[2:], strides, kernel, pads[:rank], pads[rank:], strict=True
        )
    ]
    full = [*x.shape[:2], *shape] if output_shape is None else integers(output_shape, "the output's shape")
    if len(full) != rank + 2:
        raise invalid(f"an output of shape {full}")
    index = places.values.reshape(places.values.shape[0], -1)
    if index.size and (index.min() < 0 or index.max() >= prod(full)):
        raise invalid("an index outside the output")
    values = x.values
    draws = max(values.shape[0], index.shape[0])
    run.claim(draws, *full)
    out = np.zeros((draws, prod(full)), values.dtype)
    out[np.arange(draws)[:, np.newaxis], index] = values.reshape(values.shape[0], -1)
    return out.reshape(draws, *full)


@operator("Col2Im")
def col2im(node: Node, run: Run, x: Draws, image: Draws, block: Draws) -> Array:
    """Columns of blocks added up into the image they were cut from."""
    sizes, kernel = integers(image, "the image's shape"), integers(block, "the block's shape")
    if len(x.shape) != 3 or len(sizes) != len(kernel):
        raise invalid(f"columns of shape {x.shape} for an image of shape {sizes}")
    window = window_of(node, kernel, sizes)
    channels, spare = divmod(x.shape[1], prod(kernel))
    if spare or x.shape[2] != prod(window.outputs):
        raise invalid(f"columns of shape {x.shape} for blocks {kernel} at {window.outputs}")
    values = x.values
    full = [b + size + a for b, size, a in zip(window.before, sizes, window.after, strict=True)]
    lead = (values.shape[0], x.shape[0], channels)
    run.claim(*lead, *full)
    total = np.zeros((*lead, *full), values.dtype)
    overlap_add(total, values.reshape(*lead, *kernel, *window.outputs), window)
    inside = (slice(b, b + size) for b, size in zip(window.before, sizes, strict=True))
    return total[(slice(None),) * 3 + tuple(inside)]
