"""Normalisations and softmax, a block of rows at a time so that intermediate results stay in the cache."""

from collections.abc import Callable
from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axes_in, axis_in, invalid, number, numbers, real
from initlint.operators.table import Array, Draws, Run, operator

__all__ = ["channels", "normalise_rows", "rms_rows", "softmax_rows", "to_rank"]

BLOCK = 1 << 16  # elements: with its temporaries a block fits the second-level cache
MEAN_VARIANCE_EPSILON = 1e-9  # ONNX's definition of MeanVarianceNormalization


def by_rows(x: Array, function: Callable[[Array], Array]) -> Array:
    """Apply a function of whole rows `[rows, n]` to the last axis, in blocks of rows."""
    extent = x.shape[-1]
    flat = x.reshape(-1, extent) if extent else x.reshape(prod(x.shape[:-1]), 0)
    step = max(1, BLOCK // max(1, extent))
    if flat.shape[0] <= step:
        return function(flat).reshape(x.shape)
    out = np.empty(flat.shape, x.dtype)
    for start in range(0, flat.shape[0], step):
        out[start : start + step] = function(flat[start : start + step])
    return out.reshape(x.shape)


def to_rank(item: Draws, rank: int) -> Array:
    """Values with axes of one inserted behind the draws up to a tensor rank."""
    values = item.values
    if len(item.shape) > rank:
        raise invalid(f"a parameter of shape {item.shape} for an input of rank {rank}")
    return values.reshape(values.shape[0], *(1,) * (rank - len(item.shape)), *item.shape)


def channels(item: Draws, count: int, rank: int) -> Array:
    """A parameter `[C]` as `[s, 1, C, 1, ...]` for inputs `[N, C, ...]`."""
    if item.shape != (count,):
        raise invalid(f"a parameter of shape {item.shape} for {count} channels")
    return item.values.reshape(-1, 1, count, *(1,) * (rank - 2))


def centred(epsilon: float) -> Callable[[Array], Array]:
    """Rows minus their mean, over their standard deviation."""

    def apply(rows: Array) -> Array:
        deviation = rows - rows.mean(axis=-1, keepdims=True, dtype=rows.dtype)
        variance = np.vecdot(deviation, deviation)[..., np.newaxis]
        variance /= max(1, rows.shape[-1])
        variance += epsilon
        deviation /= np.sqrt(variance)
        return deviation

    return apply


def normalise_rows(x: Array, epsilon: float) -> Array:
    """The last axis brought to mean 0 and variance 1."""
    return by_rows(x, centred(epsilon))


def rms_rows(x: Array, epsilon: float) -> Array:
    """The last axis divided by the root of its mean square."""

    def apply(rows: Array) -> Array:
        square = np.vecdot(rows, rows)[..., np.newaxis]
        square /= max(1, rows.shape[-1])
        square += epsilon
        result: Array = rows / np.sqrt(square)
        return result

    return by_rows(x, apply)


def _scaled(run: Run, y: Array, scale: Array, bias: Array | None = None) -> Array:
    """`y scale + bias`, in place where `y`, which belongs to the caller, has the draws for it."""
    for parameter, function in ((scale, np.multiply), (bias, np.add)):
        if parameter is None:
            continue
        if any(extent not in {1, own} for extent, own in zip(parameter.shape[1:], y.shape[1:], strict=True)):
            raise invalid(f"a parameter of shape {parameter.shape[1:]} for an input of shape {y.shape[1:]}")
        if parameter.shape[0] > y.shape[0]:
            run.claim(parameter.shape[0], *y.shape[1:])
            y = function(y, parameter)
        else:
            function(y, parameter, out=y)
    return y


@operator("BatchNormalization")
def batch_normalization(
    node: Node, run: Run, x: Draws, scale: Draws, bias: Draws, mean: Draws, variance: Draws
) -> Array | tuple[Array, ...]:
    """The affine map that recorded statistics give; in training mode those of the batch itself."""
    if len(x.shape) < 2:
        raise invalid(f"an input of shape {x.shape}")
    rank, count = len(x.shape), x.shape[1]
    gain, offset, centre, spread = (channels(item, count, rank) for item in (scale, bias, mean, variance))
    epsilon = real(node, "epsilon", 1e-5)
    values = x.values
    if number(node, "training_mode", 0):
        over = (1, *range(3, rank + 1))
        momentum = real(node, "momentum", 0.9)
        own_mean = values.mean(axis=over, keepdims=True, dtype=values.dtype)
        own_variance = values.var(axis=over, keepdims=True, dtype=values.dtype)
        y = _affine(run, values, own_mean, own_variance, gain, offset, epsilon)
        running = (
            centre * momentum + own_mean * (1 - momentum),
            spread * momentum + own_variance * (1 - momentum),
        )
        return y, *(item.reshape(-1, count) for item in running)
    return _affine(run, values, centre, spread, gain, offset, epsilon)


def _affine(run: Run, x: Array, mean: Array, variance: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    factor = scale / np.sqrt(variance + epsilon)
    shift = bias - mean * factor
    draws = max(x.shape[0], factor.shape[0], shift.shape[0])
    run.claim(draws, *x.shape[1:])
    out = np.empty((draws, *x.shape[1:]), x.dtype)
    for draw in range(draws):
        factors, shifts = factor[draw % factor.shape[0], 0], shift[draw % shift.shape[0], 0]
        for image, target in zip(x[draw % x.shape[0]], out[draw], strict=True):
            np.multiply(image, factors, out=target)
            np.add(target, shifts, out=target)
    return out


def _rows_from(x: Draws, axis: int) -> tuple[Array, tuple[int, ...]]:
    """The draws with the axes from `axis` on merged into one, and the shape before that."""
    values = x.values
    return values.reshape(values.shape[0], *x.shape[:axis], prod(x.shape[axis:])), values.shape


@operator("LayerNormalization")
def layer_normalization(
    node: Node, run: Run, x: Draws, scale: Draws, bias: Draws | None = None
) -> Array | tuple[Array, ...]:
    """Each sample brought to mean 0 and variance 1 over the last axes (Ba et al. 2016)."""
    axis = axis_in(number(node, "axis", -1), len(x.shape))
    epsilon = real(node, "epsilon", 1e-5)
    rows, shape = _rows_from(x, axis)
    y = normalise_rows(rows, epsilon).reshape(shape)
    y = _scaled(run, y, to_rank(scale, len(x.shape)), None if bias is None else to_rank(bias, len(x.shape)))
    if len(node.outputs) == 1:
        return y
    kept = (rows.shape[0], *x.shape[:axis], *(1,) * (len(x.shape) - axis))
    mean = rows.mean(axis=-1, dtype=rows.dtype)
    deviation = 1 / np.sqrt(rows.var(axis=-1, dtype=rows.dtype) + epsilon)
    return y, mean.reshape(kept), deviation.reshape(kept)


@operator("RMSNormalization")
def rms_normalization(node: Node, run: Run, x: Draws, scale: Draws) -> Array:
    """Each sample divided by its root mean square over the last axes (Zhang and Sennrich 2019)."""
    axis = axis_in(number(node, "axis", -1), len(x.shape))
    rows, shape = _rows_from(x, axis)
    y = rms_rows(rows, real(node, "epsilon", 1e-5)).reshape(shape)
    return _scaled(run, y, to_rank(scale, len(x.shape)))


@operator("InstanceNormalization")
def instance_normalization(node: Node, run: Run, x: Draws, scale: Draws, bias: Draws) -> Array:
    """Each channel of each sample brought to mean 0 and variance 1 (Ulyanov et al. 2016)."""
    if len(x.shape) < 3:
        raise invalid(f"an input of shape {x.shape}")
    rows, shape = _rows_from(x, 2)
    y = normalise_rows(rows, real(node, "epsilon", 1e-5)).reshape(shape)
    gain, offset = (channels(item, x.shape[1], len(x.shape)) for item in (scale, bias))
    return _scaled(run, y, gain, offset)


@operator("GroupNormalization")
def group_normalization(node: Node, run: Run, x: Draws, scale: Draws, bias: Draws) -> Array:
    """Groups of channels brought to mean 0 and variance 1 (Wu and He 2018); before opset 21 one scale a group."""
    groups = number(node, "num_groups")
    if len(x.shape) < 2 or groups < 1 or x.shape[1] % groups:
        raise invalid(f"{groups} groups of an input of shape {x.shape}")
    values = x.values
    rows = values.reshape(values.shape[0], x.shape[0], groups, -1)
    y = normalise_rows(rows, real(node, "epsilon", 1e-5))
    if node.version < 21:
        y = y.reshape(values.shape[0], x.shape[0], groups, -1)
        gain, offset = (channels(item, groups, 3) for item in (scale, bias))
        return _scaled(run, y, gain, offset).reshape(-1, *x.shape)
    gain, offset = (channels(item, x.shape[1], len(x.shape)) for item in (scale, bias))
    return _scaled(run, y.reshape(values.shape), gain, offset)


@operator("LpNormalization")
def lp_normalization(node: Node, _: Run, x: Draws) -> Array:
    """The tensor divided by its norm along an axis; zero where the norm is."""
    axis, p = axis_in(number(node, "axis", -1), len(x.shape)) + 1, number(node, "p", 2)
    values = x.values
    if p == 1:
        norm = np.abs(values).sum(axis=axis, keepdims=True, dtype=values.dtype)
    elif p == 2:
        norm = np.sqrt(np.square(values).sum(axis=axis, keepdims=True, dtype=values.dtype))
    else:
        raise invalid(f"a norm of order {p}")
    result: Array = values / np.where(norm == 0, values.dtype.type(1), norm)
    return result


@operator("LRN")
def local_response_normalization(node: Node, run: Run, x: Draws) -> Array:
    """Each element divided by a power of the squares of its neighbours across channels (Krizhevsky et al. 2012)."""
    size = number(node, "size")
    if size < 1 or len(x.shape) < 2:
        raise invalid(f"a window of {size} channels for an input of shape {x.shape}")
    values, count = x.values, x.shape[1]
    squares = np.square(values)
    total = np.zeros_like(values)
    low, high = (size - 1) // 2, size // 2  # channels before and after
    run.claim(*values.shape, work=values.size * min(size, 2 * count))
    for shift in range(-min(low, count - 1), min(high, count - 1) + 1):
        target, source = slice(max(0, -shift), count - max(0, shift)), slice(max(0, shift), count + min(0, shift))
        total[:, :, target] += squares[:, :, source]
    total *= real(node, "alpha", 1e-4) / size
    total += real(node, "bias", 1.0)
    result: Array = values * total ** -real(node, "beta", 0.75)
    return result


@operator("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, _: Run, x: Draws) -> Array:
    """The tensor brought to mean 0 and variance 1 over axes."""
    over = tuple(axis + 1 for axis in axes_in(numbers(node, "axes", (0, 2, 3)), len(x.shape)))
    values = x.values
    deviation = values - values.mean(axis=over, keepdims=True, dtype=values.dtype)
    spread = np.sqrt(np.square(deviation).mean(axis=over, keepdims=True, dtype=values.dtype))
    deviation /= spread + MEAN_VARIANCE_EPSILON
    return deviation


def _softmax(rows: Array) -> Array:
    result = rows - rows.max(axis=-1, keepdims=True)
    np.exp(result, out=result)
    result /= result.sum(axis=-1, keepdims=True, dtype=rows.dtype)
    return result


def _log_softmax(rows: Array) -> Array:
    shifted = rows - rows.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True, dtype=rows.dtype))
    return shifted


def _hardmax(rows: Array) -> Array:
    result = np.zeros_like(rows)
    np.put_along_axis(result, rows.argmax(axis=-1)[:, np.newaxis], 1, axis=-1)
    return result


def softmax_rows(x: Array) -> Array:
    """Softmax over the last axis."""
    return by_rows(x, _softmax)


def _over_axis(function: Callable[[Array], Array]) -> Callable[[Node, Run, Draws], Array]:
    """From opset 13 on along one axis; before, over all axes from `axis` on together."""

    def apply(node: Node, _: Run, x: Draws) -> Array:
        if not x.values.size:
            return x.values
        rank = len(x.shape)
        if node.version < 13:
            axis = number(node, "axis", 1)
            rows, shape = _rows_from(x, rank if axis == rank else axis_in(axis, rank))
            return by_rows(rows, function).reshape(shape)
        axis = axis_in(number(node, "axis", -1), max(rank, 1)) + 1
        values = x.values if rank else x.values[:, np.newaxis]
        if axis == values.ndim - 1:
            result = by_rows(values, function)
        else:
            result = np.moveaxis(by_rows(np.moveaxis(values, axis, -1), function), -1, axis)
        return result if rank else result[:, 0]

    return apply


operator("Softmax")(_over_axis(_softmax))
operator("LogSoftmax")(_over_axis(_log_softmax))
operator("Hardmax")(_over_axis(_hardmax))
