"""What the draws of one tensor say about its signal: moments, the part that depends on the input, extremes, dead units."""

from math import hypot, inf, isfinite, log, sqrt

import msgspec
import numpy as np
import numpy.typing as npt

from initlint.operators.table import Array

__all__ = ["Signal", "error_bits", "measure"]

BLOCK = 1 << 18  # elements worked on at a time: stays in the cache of one core
DEAD = 0.01  # a unit active with a probability below this is dead (SageMaker Debugger's dead_relu rule)
NEAR = 0.015  # share of an activation's range from an asymptote within which a value counts as saturated
ONE_HOT = 0.99  # largest probability of a row from which a softmax is one-hot
# What sampling does not explain, measured on the development networks (docs/accuracy.md): a factor, and bits beside it.
SPREAD, FLOOR = 1.3, 0.015
UNIFORM = 1.1  # a row is uniform while its largest probability is below this times 1/n

# Range and asymptotes of the activations that saturate: (lower, upper); nearness is counted at both ends.
ASYMPTOTES = {
    "Tanh": (-1.0, 1.0),
    "Sigmoid": (0.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
    "Softsign": (-1.0, 1.0),
}
RECTIFIERS = frozenset({"Relu", "ThresholdedRelu"})


class Signal(msgspec.Struct, frozen=True):
    """One tensor's distribution over inputs, positions and channels, in the tensor's own units.

    `std` is the total standard deviation; `signal_std` is `sqrt(mean over elements of the variance over input draws)`, the
    part that depends on the input. Shares are of elements (`dead_fraction`: of units). Moments are over finite values.
    None: does not apply.
    """

    elements: int
    draws: int
    mean: float
    std: float
    signal_std: float
    absmax: float
    zero_fraction: float
    nan_fraction: float
    inf_fraction: float
    dead_fraction: float | None = None
    saturated_fraction: float | None = None
    onehot_fraction: float | None = None
    uniform_fraction: float | None = None
    error_bits: float | None = None  # standard error of log2(signal_std) from the draws' own scatter


def measure(values: Array, op: str = "", axis: int = -1, channel_axis: int | None = None) -> Signal:
    """Statistics of the draws `[s, *shape]` of a floating tensor that operator `op` made.

    `axis` is a softmax's own axis, `channel_axis` tells a rectifier's units apart; both count without the axis of draws.
    """
    draws = values.shape[0]
    flat = values.reshape(draws, -1)
    elements = flat.shape[1]
    if elements == 0:
        return Signal(0, draws, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    moments = _moments(flat)
    if moments is None:
        return _with_non_finite(flat)
    within = float(moments.energies.sum()) / flat.size
    signal = within * draws / (draws - 1) if draws > 1 else 0.0
    return Signal(
        elements=elements,
        draws=draws,
        mean=moments.mean,
        std=sqrt(moments.between + within) * moments.scale,
        signal_std=sqrt(signal) * moments.scale,
        absmax=max(abs(moments.low), abs(moments.high)),
        zero_fraction=moments.zeros / flat.size,
        nan_fraction=0.0,
        inf_fraction=0.0,
        dead_fraction=_dead(values, channel_axis) if op in RECTIFIERS else None,
        saturated_fraction=_saturated(flat, *ASYMPTOTES[op]) if op in ASYMPTOTES else None,
        onehot_fraction=_rows(values, axis, one_hot=True) if op == "Softmax" else None,
        uniform_fraction=_rows(values, axis, one_hot=False) if op == "Softmax" else None,
        error_bits=error_bits(moments.energies),
    )


def error_bits(energies: npt.NDArray[np.float64]) -> float | None:
    """Standard error of log2 of the signal std: the scatter of the draws' energies about their mean.

    The estimate is a mean over draws, so its relative variance is that of one draw over their number, whatever the
    correlation between elements; half of it, in bits, is that of the std (delta method).
    """
    # Sums instead of numpy's mean and std, which cost ten times as much on arrays this short.
    draws = len(energies)
    mean = float(np.add.reduce(energies)) / draws
    if draws < 4 or mean <= 0:
        return None
    apart = energies - mean
    scatter = sqrt(float(np.dot(apart, apart)) / (draws - 1))
    return hypot(SPREAD * scatter / mean / sqrt(draws) / (2 * log(2)), FLOOR)


class Moments(msgspec.Struct, frozen=True):
    """Variance of element means and the energy of each draw about them, in units of `scale` squared; extremes and zeros."""

    mean: float
    between: float
    energies: npt.NDArray[np.float64]
    low: float
    high: float
    zeros: int
    scale: float = 1.0


def _moments(flat: Array) -> Moments | None:
    """Moments of `[draws, elements]`; None where not all is finite.

    Squares of float32 deviations overflow from 1e19 on and vanish below 1e-22: such tensors are taken again in float64,
    and in units of their largest value where that is not wide enough either.
    """
    with np.errstate(all="ignore"):
        found = _folded(flat)
        if found is None or found.low == found.high:
            return found
        largest = max(abs(found.low), abs(found.high))
        wide = flat.dtype != np.float64 and not 1e-15 < largest < 1e15
        scale = largest if largest > 1e150 or largest < 1e-150 else 1.0
        return _folded(flat, wide=wide, scale=scale) if wide or scale != 1.0 else found


def _folded(flat: Array, *, wide: bool = False, scale: float = 1.0) -> Moments | None:
    """The same in one pass: a block is in the cache while its extremes, zeros and sums are taken.

    Deviations are taken per element before anything is squared, so that a signal of 1e-6 of the mean survives float32.
    """
    draws, elements = flat.shape
    means, energies = np.empty(elements), np.zeros(draws)
    low, high, zeros = inf, -inf, 0
    width = max(1, BLOCK // draws)
    for start in range(0, elements, width):
        block = flat[:, start : start + width]
        least, most = float(block.min()), float(block.max())
        if not (isfinite(least) and isfinite(most)):
            return None
        low, high = min(low, least), max(high, most)
        if least <= 0 <= most:
            zeros += int(np.count_nonzero(block == 0))  # counting what compares equal is four times as fast
        if least == most:
            means[start : start + width] = least / scale
            continue
        if wide:
            block = block.astype(np.float64)
        if scale != 1.0:
            block = block / scale
        middle = np.add.reduce(block, axis=0) / block.dtype.type(draws)
        means[start : start + width] = middle
        if draws > 1:
            deviation = block - middle
            error = np.add.reduce(deviation, axis=0) / block.dtype.type(draws)  # rounding of `middle` itself
            means[start : start + width] += error
            deviation -= error
            energies += np.einsum("ij,ij->i", deviation, deviation)
    if low == high:
        return Moments(low, 0.0, energies, low, high, zeros)
    mean = float(np.add.reduce(means)) / elements
    means -= mean  # in place: of few draws they are as large as the tensor
    between = float(np.dot(means, means)) / elements
    return Moments(mean * scale, between, energies, low, high, zeros, scale)


def _with_non_finite(flat: Array) -> Signal:
    """The same over the finite values, with the shares of the others; shares of activations do not apply.

    Block by block, twice: a tensor of NaN may be as large as any.
    """
    draws, elements = flat.shape
    width = max(1, BLOCK // draws)
    starts = range(0, elements, width)
    count = nans = infs = zeros = whole = 0
    total = squares = within = absmax = 0.0
    for start in starts:
        block = flat[:, start : start + width]
        kept = block[np.isfinite(block)].astype(np.float64)
        nans += int(np.count_nonzero(np.isnan(block)))
        infs += int(np.count_nonzero(np.isinf(block)))
        count += kept.size
        zeros += int(np.count_nonzero(kept == 0))
        total += float(kept.sum())
        absmax = max(absmax, float(np.abs(kept).max(initial=0.0)))
    mean = total / count if count else 0.0
    for start in starts:
        block = flat[:, start : start + width]
        finite = np.isfinite(block)
        squares += float(np.square(block[finite].astype(np.float64) - mean).sum())
        complete = finite.all(axis=0)
        if draws > 1 and complete.any():
            whole += int(np.count_nonzero(complete))
            within += float(block[:, complete].astype(np.float64).var(axis=0, ddof=1).sum())
    return Signal(
        elements=elements,
        draws=draws,
        mean=mean,
        std=sqrt(squares / count) if count else 0.0,
        signal_std=sqrt(within / whole) if whole else 0.0,
        absmax=absmax,
        zero_fraction=zeros / flat.size,
        nan_fraction=nans / flat.size,
        inf_fraction=infs / flat.size,
    )


def _dead(values: Array, channel_axis: int | None) -> float | None:
    """Share of units active in fewer than 1 % of draws and positions; None where there are too few to tell."""
    shape = values.shape[1:]
    if not shape:
        return None
    axis = (channel_axis if channel_axis is not None else -1) % len(shape) + 1
    others = tuple(index for index in range(values.ndim) if index != axis)
    looks = values.size // values.shape[axis]
    if looks < 1 / DEAD:
        return None
    active = np.count_nonzero(values > 0, axis=others)
    return float(np.mean(active < DEAD * looks))


def _saturated(flat: Array, lower: float, upper: float) -> float:
    margin = NEAR * (upper - lower)
    near = np.count_nonzero(flat < lower + margin) + np.count_nonzero(flat > upper - margin)
    return near / flat.size


def _rows(values: Array, axis: int, *, one_hot: bool) -> float | None:
    """Share of softmax rows that are one-hot, or uniform; None for rows of one entry."""
    if values.ndim == 1:
        return None
    where = axis % (values.ndim - 1) + 1
    entries = values.shape[where]
    if entries < 2:
        return None
    largest: Array = values.max(axis=where)
    return float(np.mean(largest > ONE_HOT)) if one_hot else float(np.mean(largest < UNIFORM / entries))
