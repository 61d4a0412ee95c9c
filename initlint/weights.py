"""One streaming pass over a stored tensor: counts, moments and extremes, whole and per output channel, in bounded memory.

Values are read in chunks of half a megabyte and widened to float64, which costs little beside reading them (3-4 GB/s a core)
and is exact where float32 accumulation is not: moments are taken about the first chunk's mean, so that a tensor whose mean
dwarfs its std (a norm's gamma) loses nothing. Chunks are folded in file order: results do not depend on who computes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import frexp, prod

import numpy as np
import numpy.typing as npt

from initlint.elements import BITS, decode, format_of, numpy_type
from initlint.graph import StoredTensor

__all__ = ["ChannelLayout", "WeightStatistics", "duplicated_channels", "matrix_of", "statistics"]

Floats = npt.NDArray[np.float64]
CHUNK = 1 << 17  # elements
LARGEST = 1e70  # magnitude whose fourth power, summed, stays in float64
BEYOND = float(np.finfo(np.float64).max)  # stands for a variance that float64 cannot hold
KURTOSIS_ELEMENTS = 1 << 20  # of larger tensors every n-th chunk enters the fourth moment


@dataclass(frozen=True, slots=True)
class ChannelLayout:
    """Which axes of the stored shape index outputs; along the others lie the terms of one output."""

    output_axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WeightStatistics:
    """A stored tensor's values. Moments are over finite values, in the stored units; counts are of elements.

    `variance` is the population variance, `kurtosis` the excess (0 for a normal, None where the variance is 0). Channel
    arrays hold one entry an output: mean, mean square and largest magnitude. Shares `flushed` and `overflowed` are the
    parts of the finite values that another format would lose, by format name.
    """

    count: int
    mean: float
    variance: float
    minimum: float
    maximum: float
    absmax: float
    zeros: int
    nans: int
    infs: int
    subnormals: int
    kurtosis: float | None
    channel_mean: Floats | None = None
    channel_second_moment: Floats | None = None
    channel_absmax: Floats | None = None

    @property
    def second_moment(self) -> float:
        """Mean square."""
        return self.variance + self.mean * self.mean

    @property
    def constant(self) -> bool:
        """Whether all values are equal and finite."""
        return self.count > 1 and self.minimum == self.maximum and not self.nans and not self.infs


def statistics(tensor: StoredTensor, layout: ChannelLayout | None = None) -> WeightStatistics:
    """Statistics of a numeric tensor, with channel figures where a layout is given and its axes lie side by side.

    A complex tensor counts real and imaginary parts; strings have no statistics (ValueError).
    """
    if tensor.dtype == "string":
        raise ValueError("strings have no statistics")
    fold = _Fold(tensor, _axes(tensor, layout))
    for start, block in _chunks(tensor, fold.multiple):
        fold.add(start, block)
    return fold.result()


def _axes(tensor: StoredTensor, layout: ChannelLayout | None) -> tuple[int, int, int] | None:
    """The stored shape as (before, outputs, after); None without a layout or where its axes are apart."""
    if layout is None or not tensor.shape or not layout.output_axes or tensor.dtype.startswith("complex"):
        return None
    axes = sorted(axis % len(tensor.shape) for axis in layout.output_axes)
    if axes != list(range(axes[0], axes[-1] + 1)):
        return None
    shape = tensor.shape
    return prod(shape[: axes[0]]), prod(shape[axes[0] : axes[-1] + 1]), prod(shape[axes[-1] + 1 :])


def _chunks(tensor: StoredTensor, multiple: int) -> Iterator[tuple[int, npt.NDArray[np.generic]]]:
    """(first element, values in their own type) along the file; chunks are multiples of `multiple` where that is small."""
    count, dtype = tensor.count, tensor.dtype
    if dtype.startswith("complex"):
        count, dtype = 2 * count, "float32" if dtype == "complex64" else "float64"
    bits = BITS[dtype]
    size = max(CHUNK // multiple, 1) * multiple if multiple <= 8 * CHUNK else CHUNK
    size = -(-size // 8) * 8 if bits < 8 else size
    buffer = np.empty(-(-min(size, max(count, 1)) * bits // 8), np.uint8)
    for start in range(0, count, size):
        stop = min(start + size, count)
        raw = tensor.read_bytes(start * bits // 8, -(-stop * bits // 8), buffer)
        yield start, decode(dtype, (stop - start,), raw)


def _widen(block: npt.NDArray[np.generic]) -> Floats:
    """The values as float64; half precision through its bits, which numpy converts one by one."""
    if block.dtype == np.float16:
        bits = block.view(np.int16)
        if not np.any((bits & 0x7C00) == 0x7C00):
            wide = (bits.astype(np.int32) << 13) & np.int32(-0x70002000)
            return wide.view(np.float32).astype(np.float64) * 2.0**112
    if block.dtype.name == "bfloat16":
        return (block.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return block.astype(np.float64)


class _Fold:
    """Sums so far, about a provisional mean."""

    def __init__(self, tensor: StoredTensor, axes: tuple[int, int, int] | None) -> None:
        self.axes = axes
        # Chunks of whole rows (or of whole blocks of rows) make channel sums a reshape.
        self.multiple = 1 if axes is None else (axes[1] * axes[2] if axes[0] > 1 or axes[2] == 1 else axes[2])
        self.format = format_of(tensor.dtype)
        self.count = self.zeros = self.nans = self.infs = self.subnormals = 0
        self.low, self.high = np.inf, -np.inf
        self.shift: float | None = None
        self.first = self.second = 0.0
        self.fourth_count, self.third = 0, 0.0
        self.fourth = self.fourth_first = self.fourth_second = 0.0
        self.total = tensor.count
        self.every = max(1, -(-tensor.count // KURTOSIS_ELEMENTS))
        self.chunk = 0
        outputs = axes[1] if axes is not None else 0
        self.channels = np.zeros((2, outputs)) if axes is not None else None
        self.channel_high = np.zeros(outputs) if axes is not None else None
        self.scale = 1.0

    def add(self, start: int, block: npt.NDArray[np.generic]) -> None:
        """Fold one chunk."""
        self.count += block.size
        with np.errstate(all="ignore"):  # signalling NaNs, and infinities on their way to being counted
            wide = _widen(block)
            low, high = float(wide.min()), float(wide.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            wide = self._set_aside(wide)
            finite = wide[np.isfinite(wide)]
            if finite.size == 0:
                self.chunk += 1
                return
            low, high = float(finite.min()), float(finite.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        if low <= 0.0 <= high:
            self.zeros += int(wide.size - np.count_nonzero(wide))
        self._count_subnormals(wide, low, high)
        largest = max(abs(low), abs(high))
        if largest * self.scale > LARGEST:
            self._rescale(0.5 ** (frexp(largest * self.scale)[1]))
        scaled = wide * self.scale if self.scale != 1.0 else wide
        self._sums(scaled)
        if self.channels is not None:
            self._channel_sums(start, scaled)
        self.chunk += 1

    def _set_aside(self, wide: Floats) -> Floats:
        """Count what is not finite; such values become NaN, which the sums leave out."""
        self.nans += int(np.count_nonzero(np.isnan(wide)))
        infinite = np.isinf(wide)
        self.infs += int(np.count_nonzero(infinite))
        return np.where(infinite, np.nan, wide)

    def _count_subnormals(self, wide: Floats, low: float, high: float) -> None:
        if self.format is None:
            return
        smallest = self.format.smallest_normal
        if low >= smallest or high <= -smallest:
            return
        magnitude = np.abs(wide)
        self.subnormals += int(np.count_nonzero((magnitude < smallest) & (magnitude > 0)))

    def _rescale(self, factor: float) -> None:
        """Take everything so far to a smaller unit, so that fourth powers stay in float64."""
        self.scale *= factor
        self.first *= factor
        self.second *= factor * factor
        self.third *= factor * factor * factor
        self.fourth *= factor * factor * factor * factor
        self.fourth_first *= factor
        self.fourth_second *= factor * factor
        self.shift = None if self.shift is None else self.shift * factor
        if self.channels is not None and self.channel_high is not None:
            self.channels *= np.array([[factor], [factor * factor]])
            self.channel_high *= factor

    def _sums(self, scaled: Floats) -> None:
        finite = scaled[~np.isnan(scaled)] if self.nans or self.infs else scaled
        if self.shift is None:
            self.shift = float(finite.mean())
        centred = finite - self.shift
        first, second = float(centred.sum()), float(np.dot(centred, centred))
        self.first += first
        self.second += second
        if self.chunk % self.every == 0:
            squares = centred * centred
            self.fourth_count += centred.size
            self.fourth_first += first
            self.fourth_second += second
            self.third += float(np.dot(squares, centred))
            self.fourth += float(np.dot(squares, squares))

    def _channel_sums(self, start: int, scaled: Floats) -> None:
        """Sums, squares and extremes by output of one chunk."""
        assert self.axes is not None
        assert self.channels is not None
        assert self.channel_high is not None
        _before, outputs, after = self.axes
        if self.nans or self.infs:
            scaled = np.nan_to_num(scaled, nan=0.0)
        if scaled.size % (outputs * after) == 0 and start % (outputs * after) == 0:
            block = scaled.reshape(-1, outputs, after)
            self.channels[0] += block.sum(axis=(0, 2))
            self.channels[1] += np.einsum("aoi,aoi->o", block, block)
            np.maximum(self.channel_high, np.abs(block).max(axis=(0, 2)), out=self.channel_high)
            return
        if scaled.size % after == 0 and start % after == 0:
            rows = scaled.reshape(-1, after)
            where = (start // after + np.arange(len(rows))) % outputs
            np.add.at(self.channels[0], where, rows.sum(axis=1))
            np.add.at(self.channels[1], where, np.einsum("ij,ij->i", rows, rows))
            np.maximum.at(self.channel_high, where, np.abs(rows).max(axis=1))
            return
        where = (start + np.arange(scaled.size)) // after % outputs
        np.add.at(self.channels[0], where, scaled)
        np.add.at(self.channels[1], where, scaled * scaled)
        np.maximum.at(self.channel_high, where, np.abs(scaled))

    def result(self) -> WeightStatistics:
        """The figures in the tensor's own units."""
        finite = self.count - self.nans - self.infs
        if finite == 0 or self.shift is None:
            return WeightStatistics(self.count, 0.0, 0.0, 0.0, 0.0, 0.0, 0, self.nans, self.infs, 0, None)
        offset = self.first / finite
        variance = max(self.second / finite - offset * offset, 0.0)
        unit = 1.0 / self.scale
        if self.low == self.high:
            variance = 0.0
        means = squares = highs = None
        if self.channels is not None and self.channel_high is not None:
            terms = max(self.count // max(len(self.channel_high), 1), 1)
            with np.errstate(over="ignore"):
                means = self.channels[0] / terms * unit
                squares = np.minimum(self.channels[1] / terms * unit * unit, BEYOND)
            highs = self.channel_high * unit
        return WeightStatistics(
            count=self.count,
            mean=(self.shift + offset) * unit,
            variance=min(variance * unit * unit, BEYOND),
            minimum=self.low,
            maximum=self.high,
            absmax=max(abs(self.low), abs(self.high)),
            zeros=self.zeros,
            nans=self.nans,
            infs=self.infs,
            subnormals=self.subnormals,
            kurtosis=self._kurtosis(),
            channel_mean=means,
            channel_second_moment=squares,
            channel_absmax=highs,
        )

    def _kurtosis(self) -> float | None:
        """Excess kurtosis from the power sums of the chunks that entered it."""
        count = self.fourth_count
        if count == 0 or self.low == self.high:
            return None
        a, b, c, d = (item / count for item in (self.fourth_first, self.fourth_second, self.third, self.fourth))
        variance = b - a * a
        if variance <= 0:
            return None
        return float((d - 4 * a * c + 6 * a * a * b - 3 * a**4) / (variance * variance) - 3.0)


def matrix_of(tensor: StoredTensor, layout: ChannelLayout, most: int = 1 << 22) -> npt.NDArray[np.generic]:
    """The weight as `[outputs, terms]`; of a tensor with more than `most` elements a part read evenly from the file.

    The part keeps whole outputs where outputs come first, whole inputs where they come last.
    """
    axes = _axes(tensor, layout)
    shape = tensor.shape
    if axes is None or tensor.count <= most or BITS[tensor.dtype] < 8:
        values = tensor.read()
        order = [axis % len(shape) for axis in layout.output_axes]
        others = [axis for axis in range(len(shape)) if axis not in order]
        outputs = prod(shape[axis] for axis in order)
        return np.ascontiguousarray(values.transpose(*order, *others)).reshape(outputs, -1)
    before, outputs, after = axes
    row = outputs * after if before > 1 else after
    rows = before if before > 1 else outputs
    take = max(1, most // max(row, 1))
    picked = np.unique(np.linspace(0, rows - 1, min(take, rows)).astype(np.int64))
    size = BITS[tensor.dtype] // 8
    kept = np.empty((len(picked), min(row, most)), numpy_type(tensor.dtype))
    for index, position in enumerate(picked):
        begin = int(position) * row * size
        kept[index] = tensor.read_bytes(begin, begin + kept.shape[1] * size).view(kept.dtype)
    if before == 1:
        return kept
    if kept.shape[1] != row:
        return kept.T
    return np.ascontiguousarray(kept.reshape(-1, outputs, after).transpose(1, 0, 2)).reshape(outputs, -1)


def duplicated_channels(
    tensor: StoredTensor, layout: ChannelLayout, found: WeightStatistics, most: int = 1 << 24
) -> int:
    """How many output channels repeat an earlier one exactly; dead channels (all zero) do not count.

    Channels with equal moments are the candidates; only those are compared. 0 for tensors beyond `most` elements.
    """
    means, squares = found.channel_mean, found.channel_second_moment
    if means is None or squares is None or len(means) < 2 or tensor.count > most:
        return 0
    alive = squares > 0
    order = np.lexsort((means, squares))
    close = (np.abs(np.diff(squares[order])) <= 1e-9 * squares[order][1:]) & alive[order][1:]
    candidates = np.unique(np.concatenate([order[1:][close], order[:-1][close]]))
    if candidates.size == 0:
        return 0
    rows = matrix_of(tensor, layout, most)[candidates]
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(len(candidates), -1)
    return len(candidates) - len(np.unique(raw, axis=0))
