"""One streaming pass over a stored tensor: counts, moments and extremes, whole and per output channel, in bounded memory.

Values are read in chunks and folded in file order, so results do not depend on who computes them. What is rare (zeros,
subnormals, NaN, infinities, values that another format would lose) is looked for with the extremes of a chunk's bits and
counted only where these say that it is there. Types of up to 8 bits need no arithmetic: a histogram of their bytes is exact.
"""

from collections.abc import Callable, Iterator
from functools import cache
from math import frexp, isfinite

import msgspec
import numpy as np
import numpy.typing as npt

from initlint.elements import BITS, Format, decode, format_of, nbytes_of, pack6
from initlint.graph import StoredTensor
from initlint.moments import CHUNK, Axes, Block, ChannelSums, Floats, Moments, Span, axes_of, spans

__all__ = ["ChannelLayout", "WeightStatistics", "axes_in", "statistics"]

SAFE = (1e-70, 1e70)  # magnitudes whose fourth powers, summed, stay in float64
BEYOND = float(np.finfo(np.float64).max)  # stands for a variance that float64 cannot hold
FARTHEST = 1000  # exponent of a scale whose inverse is a normal float64, too
MANTISSA = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
HALF_SCALE = np.float32(2.0**112)  # from float16's exponents, in float32's place, to the values they stand for


class ChannelLayout(msgspec.Struct, frozen=True):
    """Which axes of the stored shape index outputs; along the others lie the terms of one output."""

    output_axes: tuple[int, ...]


class WeightStatistics(msgspec.Struct, frozen=True):
    """A stored tensor's values. Moments are over finite values, in the stored units; counts are of elements.

    `variance` is the population variance, `kurtosis` the excess (0 for a normal, None where the variance is 0). Channel
    arrays hold one entry an output: mean, mean square and largest magnitude. `overflows` and `flushes` count the finite
    values that the target format would turn into infinities and zeros.
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
    overflows: int = 0
    flushes: int = 0

    @property
    def second_moment(self) -> float:
        """Mean square."""
        return self.variance + self.mean * self.mean

    @property
    def constant(self) -> bool:
        """Whether all values are equal and finite."""
        return self.count > 1 and self.minimum == self.maximum and not self.nans and not self.infs


def statistics(
    tensor: StoredTensor, layout: ChannelLayout | None = None, target: Format | None = None
) -> WeightStatistics:
    """Statistics of a numeric tensor, with channel figures where a layout is given and its axes lie side by side.

    A complex tensor counts real and imaginary parts; strings have no statistics (ValueError).
    """
    if tensor.dtype == "string":
        raise ValueError("strings have no statistics")
    if tensor.dtype.startswith("complex"):
        part = "float32" if tensor.dtype == "complex64" else "float64"
        return statistics(msgspec.structs.replace(tensor, dtype=part, shape=(*tensor.shape, 2)), None, target)
    axes = axes_in(tensor, layout)
    if BITS[tensor.dtype] <= 8:
        return _of_codes(tensor, axes, target)
    fold = _Fold(tensor, axes, target)
    for span, raw in _chunks(tensor, axes):
        fold.add(span, raw)
    return fold.result()


def axes_in(tensor: StoredTensor, layout: ChannelLayout | None) -> Axes | None:
    """The tensor's axes under a layout; None without one, or where its axes lie apart."""
    return None if layout is None else axes_of(tensor.shape, layout.output_axes)


def _chunks(tensor: StoredTensor, axes: Axes | None) -> Iterator[tuple[Span, npt.NDArray[np.uint8]]]:
    """Chunks along the file with their bytes, which lie in a buffer that the next chunk overwrites."""
    size = BITS[tensor.dtype] // 8
    buffer = np.empty(0, np.uint8)
    for span in spans(tensor.count, axes):
        if span.count * size > buffer.size:
            buffer = np.empty(span.count * size, np.uint8)
        yield span, tensor.read_bytes(span.start * size, span.stop * size, buffer)


class _Fold:
    """Figures so far of a tensor of 16 bits or more an element."""

    def __init__(self, tensor: StoredTensor, axes: Axes | None, target: Format | None) -> None:
        self.tensor, self.axes, self.target = tensor, axes, target
        self.rare = _Rare(tensor.dtype)
        self.values = _reader_of(tensor.dtype)
        self.moments = Moments(tensor.count, axes, _scale(tensor) if tensor.dtype == "float64" else 1.0)
        self.count = self.nans = self.infs = self.overflows = self.flushes = 0
        self.low, self.high = np.inf, -np.inf
        self.lost: ChannelSums | None = None  # of values that are not finite, as ones

    def add(self, span: Span, raw: npt.NDArray[np.uint8]) -> None:
        """Fold one chunk."""
        self.count += span.count
        with np.errstate(all="ignore"):  # signalling NaNs, and infinities on their way to being counted
            block = self.values(raw)
            low, high, reach = self._reach(span, block)
        finite = None
        if not (isfinite(low) and isfinite(high)):
            block, finite = self._set_aside(span, block)
            some = block[finite]
            low, high = (float(some.min()), float(some.max())) if some.size else (np.inf, -np.inf)
            _, _, reach = self._reach(span, block)
        self.low, self.high = min(self.low, low), max(self.high, high)
        smallest = self.rare.add(raw, block, low, high)
        if self.target is not None:
            self._count_lost(block, smallest, max(-low, high), self.target)
        self.moments.add(span, block, finite, reach)

    def _reach(self, span: Span, block: Block) -> tuple[float, float, tuple[Block, Block] | None]:
        """Smallest and largest value of a chunk (NaN where there is one), and those of each output in it."""
        if self.moments.channels is None:
            return float(block.min()), float(block.max()), None
        lows, highs = self.moments.channels.reach(span, block)
        return float(lows.min()), float(highs.max()), (lows, highs)

    def _set_aside(self, span: Span, block: Block) -> tuple[Block, npt.NDArray[np.bool_]]:
        """Count what is not finite; such values become zeros, which the sums do not see."""
        finite = np.isfinite(block)
        nans = int(np.count_nonzero(np.isnan(block)))
        self.nans += nans
        self.infs += int(finite.size - np.count_nonzero(finite)) - nans
        if self.axes is not None:
            self.lost = self.lost or ChannelSums(self.axes)
            gone = (~finite).astype(np.float64)
            self.lost.add(span, gone, self.lost.reach(span, gone))
        return np.where(finite, block, block.dtype.type(0)), finite

    def _count_lost(self, block: Block, smallest: float, largest: float, target: Format) -> None:
        """Count finite values beyond the target's range, where the chunk's extremes say that there are any."""
        half = target.smallest_subnormal / 2
        if largest > target.largest:  # two comparisons: the magnitude of the least integer is none of its type
            self.overflows += int(np.count_nonzero(np.greater(block, target.largest) | np.less(block, -target.largest)))
        if smallest < half and block.dtype.kind == "f":  # an integer is 0 or large enough for every format
            tiny = np.abs(block) < block.dtype.type(half)
            self.flushes += int(np.count_nonzero(tiny & (block != 0)))

    def result(self) -> WeightStatistics:
        """The figures in the tensor's own units."""
        sums = self.moments
        if not sums.count:
            return WeightStatistics(self.count, 0.0, 0.0, 0.0, 0.0, 0.0, 0, self.nans, self.infs, 0, None)
        unit = 1.0 / sums.scale
        mean, variance = sums.mean_and_variance()
        constant = self.low == self.high
        means = squares = highs = None
        if sums.channels is not None:
            terms: Floats | int = max(self.count // max(sums.channels.sums.size, 1), 1)
            if self.lost is not None:
                terms = np.maximum(terms - self.lost.sums, 1.0)
            with np.errstate(over="ignore"):
                means = sums.channels.sums / terms * unit
                squares = np.minimum(sums.channels.squares / terms * unit * unit, BEYOND)
            highs = sums.channels.highs
        return WeightStatistics(
            count=self.count,
            mean=self.low if constant else mean * unit,
            variance=0.0 if constant else min(variance * unit * unit, BEYOND),
            minimum=self.low,
            maximum=self.high,
            absmax=max(abs(self.low), abs(self.high)),
            zeros=self.rare.zeros,
            nans=self.nans,
            infs=self.infs,
            subnormals=self.rare.subnormals,
            kurtosis=None if constant else sums.kurtosis(),
            channel_mean=means,
            channel_second_moment=squares,
            channel_absmax=highs,
            overflows=self.overflows,
            flushes=self.flushes,
        )


class _Rare:
    """Zeros and subnormals of a tensor, by the bits: magnitudes are ordered as their bits are."""

    def __init__(self, dtype: str) -> None:
        self.zeros = self.subnormals = 0
        self.bits = BITS[dtype]
        self.normal = 1 << MANTISSA[dtype] if dtype in MANTISSA else 0  # bits of the smallest normal magnitude

    def add(self, raw: npt.NDArray[np.uint8], block: Block, low: float, high: float) -> float:
        """Count in one chunk; a lower bound of its smallest magnitude (0 where that is zero or subnormal)."""
        if not self.normal:
            if low <= 0 <= high:
                self.zeros += int(np.count_nonzero(block == 0))
            return 0.0
        whole, signed = raw.view(f"u{self.bits // 8}"), raw.view(f"i{self.bits // 8}")
        sign = 1 << (self.bits - 1)
        least, negative = int(whole.min()), int(signed.min())
        if negative < 0:
            least = min(least, negative + sign)
        if least < self.normal:
            magnitude = whole & whole.dtype.type(sign - 1)
            zeros = int(magnitude.size - np.count_nonzero(magnitude))
            self.zeros += zeros
            self.subnormals += int(np.count_nonzero(magnitude < self.normal)) - zeros
            return 0.0
        # The exponent alone, biased: a bound within a factor of two.
        mantissa = self.normal.bit_length() - 1
        bias = (1 << (self.bits - 2 - mantissa)) - 1
        return float(2.0 ** ((least >> mantissa) - bias)) if least >> mantissa < 2 * bias + 1 else np.inf


def _reader_of(dtype: str) -> Callable[[npt.NDArray[np.uint8]], Block]:
    """How bytes become values that numpy computes with at full speed, exactly."""
    if dtype == "float16":
        return _halves
    if dtype == "bfloat16":
        return lambda raw: decode(dtype, (raw.size // 2,), raw).astype(np.float32)
    return lambda raw: decode(dtype, (raw.size * 8 // BITS[dtype],), raw)


def _halves(raw: npt.NDArray[np.uint8]) -> Block:
    """float16 as float32 by its bits, subnormals included; numpy converts one by one, which infinities and NaN are left to."""
    bits = raw.view(np.int16)
    if max(int(bits.max()), int(raw.view(np.uint16).max()) - 0x8000) >= 0x7C00:
        return raw.view(np.float16).astype(np.float32)
    wide = bits.astype(np.int32)
    np.left_shift(wide, 13, out=wide)
    np.bitwise_and(wide, np.int32(-0x70002000), out=wide)
    values = wide.view(np.float32)
    return np.multiply(values, HALF_SCALE, out=values)


def _scale(tensor: StoredTensor) -> float:
    """A power of two that brings a float64 tensor to the order of 1, where its fourth powers would leave float64."""
    largest = 0.0
    for _, raw in _chunks(tensor, None):
        values = np.abs(raw.view(np.float64))
        largest = max(largest, float(np.max(values, where=np.isfinite(values), initial=0.0)))
    if largest == 0 or SAFE[0] < largest < SAFE[1]:
        return 1.0
    return float(0.5 ** min(max(frexp(largest)[1], -FARTHEST), FARTHEST))


def _of_codes(tensor: StoredTensor, axes: Axes | None, target: Format | None) -> WeightStatistics:
    """Statistics of a type of up to 8 bits from how often each byte occurs."""
    values, weights = _counted(tensor)
    values, weights = values[weights > 0], weights[weights > 0]
    finite = np.isfinite(values)
    nans = int(weights[np.isnan(values)].sum())
    infs = int(weights[~finite].sum()) - nans
    values, weights = values[finite], weights[finite]
    total = int(weights.sum())
    if not total:
        return WeightStatistics(tensor.count, 0.0, 0.0, 0.0, 0.0, 0.0, 0, nans, infs, 0, None)
    mean = float(values @ weights) / total
    centred = values - mean
    variance = float(centred**2 @ weights) / total
    low, high = float(values.min()), float(values.max())
    sizes = np.abs(values)
    limits = format_of(tensor.dtype)
    subnormal = (sizes > 0) & (sizes < limits.smallest_normal) if limits is not None else np.zeros(sizes.shape, bool)
    tiny = (sizes > 0) & (sizes < target.smallest_subnormal / 2) if target is not None else np.zeros(sizes.shape, bool)
    beyond = sizes > target.largest if target is not None else np.zeros(sizes.shape, bool)
    channels = _channels_of_codes(tensor, axes) if axes is not None and not nans and not infs else None
    terms = tensor.count // axes.outputs if axes is not None else 1
    return WeightStatistics(
        count=tensor.count,
        mean=mean,
        variance=0.0 if low == high else variance,
        minimum=low,
        maximum=high,
        absmax=max(abs(low), abs(high)),
        zeros=int(weights[values == 0].sum()),
        nans=nans,
        infs=infs,
        subnormals=int(weights[subnormal].sum()),
        kurtosis=None if low == high else float(centred**4 @ weights) / total / variance**2 - 3.0,
        channel_mean=channels.sums / terms if channels is not None else None,
        channel_second_moment=channels.squares / terms if channels is not None else None,
        channel_absmax=channels.highs if channels is not None else None,
        overflows=int(weights[beyond].sum()),
        flushes=int(weights[tiny].sum()),
    )


def _counted(tensor: StoredTensor) -> tuple[Floats, Floats]:
    """Values of all codes and how often each occurs (a value may be listed more than once)."""
    dtype, bits = tensor.dtype, BITS[tensor.dtype]
    if bits == 6:
        codes = np.zeros(64)
        buffer = np.empty(CHUNK // 4 * 3, np.uint8)
        for start in range(0, tensor.count, CHUNK):
            count = min(CHUNK, tensor.count - start)
            raw = tensor.read_bytes(start // 4 * 3, start // 4 * 3 + nbytes_of(dtype, count), buffer)
            codes += np.bincount(decode(dtype, (count,), raw).view(np.uint8) & 0x3F, minlength=64)
        return decode(dtype, (64,), pack6(np.arange(64, dtype=np.uint8))).astype(np.float64), codes
    per_byte = 8 // bits
    whole = tensor.count // per_byte  # bytes without padding
    # Pairs of bytes are counted: half the counting, and the table still fits a core's cache.
    pairs = np.zeros(1 << 16, np.int64)
    buffer = np.empty(min(2 * CHUNK, tensor.nbytes), np.uint8)
    for start in range(0, whole // 2 * 2, buffer.size or 1):
        raw = tensor.read_bytes(start, min(start + buffer.size, whole // 2 * 2), buffer)
        pairs += np.bincount(raw.view(np.uint16), minlength=1 << 16)
    table = pairs.reshape(256, 256)
    byte_counts = (table.sum(axis=0) + table.sum(axis=1)).astype(np.float64)
    values = [_bytes_as_values(dtype).reshape(-1)]
    weights = [np.repeat(byte_counts, per_byte)]
    rest = tensor.count - whole // 2 * 2 * per_byte
    tail = tensor.read_bytes(whole // 2 * 2, tensor.nbytes)
    values.append(decode(dtype, (rest,), tail).astype(np.float64))
    weights.append(np.ones(rest))
    return np.concatenate(values), np.concatenate(weights)


def _channels_of_codes(tensor: StoredTensor, axes: Axes) -> ChannelSums:
    channels = ChannelSums(axes)
    bits = BITS[tensor.dtype]
    for span in spans(tensor.count, axes):
        begin = span.start * bits // 8 // 3 * 3  # a whole number of elements of every width
        skipped = span.start - begin * 8 // bits
        raw = tensor.read_bytes(begin, nbytes_of(tensor.dtype, span.stop))
        values = _decoded(tensor.dtype, raw, skipped, span.count)
        channels.add(span, values, channels.reach(span, values))
    return channels


def _decoded(dtype: str, raw: npt.NDArray[np.uint8], skipped: int, count: int) -> Floats:
    """`count` values of a type of up to 8 bits, after `skipped` ones, by a table of what each byte holds."""
    if BITS[dtype] == 6 or dtype in {"int8", "uint8", "bool"}:  # numpy widens whole bytes faster than a table does
        return decode(dtype, (skipped + count,), raw)[skipped:].astype(np.float64)
    table = _bytes_as_values(dtype)
    values = table.reshape(-1).take(raw) if table.shape[1] == 1 else table.take(raw, axis=0).reshape(-1)
    return values[skipped : skipped + count]


@cache
def _bytes_as_values(dtype: str) -> Floats:
    """What each of 256 bytes holds, `[256, values a byte]`."""
    held = 8 // BITS[dtype]
    values = decode(dtype, (256 * held,), np.arange(256, dtype=np.uint8)).astype(np.float64)
    return values.reshape(256, held)
