"""Statistics of every element type at its extremes against exact rational arithmetic: whole tensors, channels, losses."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initlint import moments, weights
from initlint.elements import BITS, FLOATS, Format, decode, format_of, nbytes_of, numpy_type, pack6
from initlint.graph import StoredTensor
from initlint.source import BytesSource
from initlint.weights import ChannelLayout, WeightStatistics, statistics

ULP = Fraction(1, 2**52)
LARGEST = Fraction(float(np.finfo(np.float64).max))
TINIEST = Fraction(5e-324)
TYPES = sorted(set(BITS) - {"complex64", "complex128"})
WIDTHS = {"float32": 23, "float64": 52, "float16": 10, "bfloat16": 7}
TARGETS = ("float64", "float32", "bfloat16", "float16", "float8e5m2", "float8e4m3fn", "float6e2m3", "float4e2m1")

Values = list[Fraction | None]  # None: not finite


def exactly(array: "np.ndarray[Any, Any]") -> Values:
    """The elements as rational numbers; every format here is part of float64 or of the integers."""
    if array.dtype.kind in "iub":
        return [Fraction(int(item)) for item in array.reshape(-1)]
    wide = [float(item) for item in array.reshape(-1)]
    return [Fraction(item) if np.isfinite(item) else None for item in wide]


def stored(dtype: str, raw: bytes, shape: tuple[int, ...]) -> StoredTensor:
    return StoredTensor("w", dtype, shape, BytesSource(b"\7" + raw), 1, len(raw))


def packed(array: "np.ndarray[Any, Any]", dtype: str) -> bytes:
    """Bytes as a file holds them: types of less than 8 bits share bytes, the lowest bits first."""
    bits = BITS[dtype]
    if bits >= 8:
        return np.ascontiguousarray(array).tobytes()
    codes = array.reshape(-1).view(np.uint8) & ((1 << bits) - 1)
    if bits == 6:
        return pack6(codes).tobytes()
    whole = sum(int(code) << (bits * index) for index, code in enumerate(codes))
    return whole.to_bytes(nbytes_of(dtype, codes.size), "little")


def edges(dtype: str) -> "np.ndarray[Any, Any]":
    """The largest, the smallest of each kind and their neighbours, of either sign."""
    if dtype == "bool":
        return np.array([False, True])
    if dtype.startswith(("int", "uint")):
        bits, signed = BITS[dtype], dtype.startswith("int")
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        kind = (np.int8 if signed else np.uint8) if bits < 8 else numpy_type(dtype)
        return np.array([low, low + 1, 0, 1, high - 1, high], kind)
    kind = numpy_type(dtype)
    count = 1 << BITS[dtype]
    if BITS[dtype] <= 8:
        return np.arange(count, dtype=np.uint8).view(kind)  # every value there is
    limits = ml_dtypes.finfo(kind)
    named = [limits.max, limits.smallest_normal, limits.smallest_subnormal, 1, 1 + limits.eps, 0]
    positive = np.array([float(item) for item in named]).astype(kind)
    bits = positive.view(f"u{BITS[dtype] // 8}")
    near = np.concatenate([bits, bits - np.where(bits > 0, 1, 0).astype(bits.dtype)])
    return np.concatenate([near.view(kind), -near.view(kind)])


def check_whole(found: WeightStatistics, values: Values, dtype: str) -> None:
    """Extremes and counts exactly; moments to the rounding of sums in float64."""
    exact = [item for item in values if item is not None]
    assert (found.count, found.nans + found.infs) == (len(values), len(values) - len(exact))
    if not exact:
        assert (found.mean, found.variance, found.absmax, found.kurtosis, found.zeros) == (0.0, 0.0, 0.0, None, 0)
        assert (found.minimum, found.maximum, found.subnormals, found.overflows, found.flushes) == (0.0, 0.0, 0, 0, 0)
        return
    assert found.second_moment == found.variance + found.mean * found.mean
    largest = max(abs(item) for item in exact)
    mean = sum(exact, Fraction(0)) / len(exact)
    variance = sum((item - mean) ** 2 for item in exact) / len(exact)
    assert (found.minimum, found.maximum) == (float(min(exact)), float(max(exact)))
    assert found.absmax == float(largest)
    assert found.zeros == exact.count(Fraction(0))
    close(found.mean, mean, 64 * ULP * largest)
    close(
        found.variance,
        variance,
        variance * Fraction(1, 10**9) + 256 * ULP * min(largest**2, largest * abs(mean) + variance),
    )
    limits = format_of(dtype)
    normal = Fraction(limits.smallest_normal) if limits is not None else Fraction(0)
    assert found.subnormals == sum(0 < abs(item) < normal for item in exact)
    if variance == 0:
        assert (found.variance, found.kurtosis, found.constant) == (0.0, None, len(exact) == len(values) > 1)
    elif found.kurtosis is not None:
        fourth = sum((item - mean) ** 4 for item in exact) / len(exact)
        if variance > largest**2 / 10**6:
            close(found.kurtosis, fourth / variance**2 - 3, Fraction(1, 10**6) * (1 + fourth / variance**2))


def close(found: float, exact: Fraction, tolerance: Fraction) -> None:
    """Within the tolerance; what float64 cannot hold is its largest number, and near zero it has fewer digits."""
    assert np.isfinite(found)
    wanted = min(max(exact, -LARGEST), LARGEST)
    assert abs(Fraction(found) - wanted) <= tolerance + 16 * TINIEST, (found, float(wanted))


def check_channels(found: WeightStatistics, values: Values, rows: list[list[int]]) -> None:
    """Mean, mean square and largest magnitude of each output over its finite values.

    Where a tensor's values are so large that their squares leave float64, it is scaled: outputs that lie 160 powers of ten
    below its largest are then relative to that.
    """
    whole = max((abs(item) for item in values if item is not None), default=Fraction(0))
    lost = TINIEST * max(whole, 1) ** 2 if whole > 10**70 else Fraction(0)
    assert found.channel_mean is not None
    assert found.channel_second_moment is not None
    assert found.channel_absmax is not None
    assert len(found.channel_mean) == len(found.channel_second_moment) == len(found.channel_absmax) == len(rows)
    for output, row in enumerate(rows):
        exact = [item for index in row if (item := values[index]) is not None]
        largest = max((abs(item) for item in exact), default=Fraction(0))
        count = max(len(exact), 1)
        squares = sum((item * item for item in exact), Fraction(0)) / count
        assert found.channel_absmax[output] == float(largest)
        close(
            float(found.channel_mean[output]),
            sum(exact, Fraction(0)) / count,
            64 * ULP * largest + lost / max(whole, 1),
        )
        close(float(found.channel_second_moment[output]), squares, 64 * ULP * squares + lost)


def check_lost(found: WeightStatistics, values: Values, target: Format) -> None:
    """Finite values beyond the largest of the target format, and those that round to its zero."""
    exact = [abs(item) for item in values if item is not None]
    assert found.overflows == sum(item > Fraction(target.largest) for item in exact)
    half = Fraction(target.smallest_subnormal) / 2
    assert found.flushes == sum(0 < item < half for item in exact)


def check(array: "np.ndarray[Any, Any]", dtype: str, shape: tuple[int, ...], target: str = "float16") -> None:
    """The figures of the whole and of the channels along either axis."""
    values, raw = exactly(array), packed(array, dtype)
    limits = format_of(target)
    assert limits is not None
    places = np.arange(array.size).reshape(shape)
    for axis in range(-1, len(shape)):
        layout = ChannelLayout((axis,)) if axis >= 0 else None
        found = statistics(stored(dtype, raw, shape), layout, limits)
        check_whole(found, values, dtype)
        check_lost(found, values, limits)
        nothing = all(item is None for item in values)
        if layout is None or nothing or (BITS[dtype] <= 8 and None in values):
            assert found.channel_mean is None
        else:
            check_channels(found, values, np.moveaxis(places, axis, 0).reshape(shape[axis], -1).tolist())


def cases(dtype: str) -> Iterator["np.ndarray[Any, Any]"]:
    """Tensors of twelve: the edges, those that cancel, those whose squares overflow, those that are all one."""
    every = edges(dtype)
    random = np.random.default_rng(BITS[dtype])
    yield np.resize(every, (len(every) + 11) // 12 * 12)
    wide = every.astype(np.float64)
    finite = every[np.isfinite(wide)]
    ordered = finite[np.argsort(finite.astype(np.float64), kind="stable")]
    low, high = ordered[0], ordered[-1]
    nearest = ordered[ordered.astype(np.float64) > 0][0]
    for pattern in ((high,), (low,), (nearest,), (low, high), (high, nearest), (low, high, nearest), (high, high, low)):
        yield np.resize(np.array(pattern, every.dtype), 12)
    yield random.choice(finite, 12)
    if dtype in WIDTHS:
        one = np.array(1.0).astype(every.dtype)
        step = np.array(1 + 2.0 ** -WIDTHS[dtype]).astype(every.dtype)
        yield np.resize(np.array([one, step], every.dtype), 12)  # a mean that dwarfs the spread
        yield np.resize(np.array([high, -high, one], every.dtype), 12)


@pytest.mark.parametrize("dtype", TYPES)
def test_extreme_values(dtype: str) -> None:
    """Largest, smallest, subnormal and zero of either sign; sums that cancel; squares that no float64 holds."""
    for array in cases(dtype):
        for shape in ((array.size // 12, 12), (3, array.size // 12, 4)):
            check(array, dtype, shape)
        check(array[:12], dtype, (6, 2))
        check(array[:12], dtype, (2, 6))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_format_would_lose(dtype: str, target: str) -> None:
    """Counted value by value; half of the smallest number is a tie, which the format's zero gets and the count does not."""
    limits = format_of(target)
    assert limits is not None
    around = np.array(
        [limits.largest, limits.smallest_subnormal, limits.smallest_subnormal / 2, limits.smallest_normal]
    )
    extra = np.empty(0, edges(dtype).dtype)
    if dtype in WIDTHS:
        with np.errstate(all="ignore"):
            cast = around.astype(edges(dtype).dtype)
            bits = cast.view(f"u{BITS[dtype] // 8}")
            extra = np.concatenate([bits, bits + 1, bits - (bits > 0)]).astype(bits.dtype).view(cast.dtype)
    array = np.concatenate([edges(dtype), extra, -extra] if dtype in WIDTHS else [edges(dtype)])
    found = statistics(stored(dtype, packed(array, dtype), array.shape), target=limits)
    check_lost(found, exactly(array), limits)


@pytest.mark.parametrize("dtype", TYPES)
def test_empty_and_scalar_tensors(dtype: str) -> None:
    """No element, of any shape; one element, of any value, without axes or with several of one."""
    every = edges(dtype)
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 4)):
        check(every[:0], dtype, shape)
    for index in range(0, len(every), max(1, len(every) // 9)):
        one = every[index : index + 1]
        for shape in ((), (1,), (1, 1, 1)):
            check(one, dtype, shape)


@pytest.mark.parametrize("dtype", sorted(FLOATS))
def test_what_is_not_finite(dtype: str) -> None:
    """Alone, and among numbers: counted, and in no moment."""
    every = edges(dtype)
    wide = every.astype(np.float64)
    if BITS[dtype] > 8:
        every = np.concatenate([every, np.array([np.nan, np.inf, -np.inf]).astype(every.dtype)])
        wide = every.astype(np.float64)
    odd, numbers = every[~np.isfinite(wide)], every[np.isfinite(wide)]
    if not odd.size:
        assert dtype in {"float4e2m1", "float6e2m3", "float6e3m2"}  # the formats that have none
        return
    check(np.resize(odd, 6), dtype, (2, 3))
    mixed = np.array([numbers[0], odd[0], numbers[-1], odd[-1], numbers[1], numbers[2]], every.dtype)
    check(mixed, dtype, (2, 3))
    check(np.array([odd[0], odd[0], odd[0], *numbers[:3]], every.dtype), dtype, (2, 3))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers(dtype: str) -> None:
    """Their parts are the values, extremes of each, the counts those of parts; no channels."""
    part = "float32" if dtype == "complex64" else "float64"
    parts = np.concatenate([edges(part), edges(part)[::-1]])
    found = statistics(stored(dtype, parts.tobytes(), (parts.size // 2,)), ChannelLayout((0,)), format_of("float16"))
    check_whole(found, exactly(parts), part)
    assert found.channel_mean is None


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TYPES), st.integers(1, 4), st.integers(1, 9), st.binary(max_size=300), st.sampled_from(TARGETS))
def test_any_bits(dtype: str, rows: int, columns: int, bits: bytes, target: str) -> None:
    """Whatever a file holds: every NaN, infinity, subnormal and zero; channels along both axes."""
    count = rows * columns
    raw = np.resize(np.frombuffer(bits or b"\0", np.uint8), nbytes_of(dtype, count))
    if dtype == "bool":
        raw = raw & 1
    array = decode(dtype, (count,), raw)
    if BITS[dtype] < 8:
        array = np.array(array)
    with np.errstate(all="ignore"):
        check(array, dtype, (rows, columns), target)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("offset", [1.0, 100.0, 1000.0])
def test_a_mean_that_dwarfs_the_spread(dtype: str, offset: float) -> None:
    """Normalisation's gamma and biases: the textbook's E[x^2] - E[x]^2 would lose every digit."""
    drawn = np.random.default_rng(7).normal(offset, offset * 2.0 ** -(WIDTHS[dtype] - 2), 500)
    array = drawn.astype(numpy_type(dtype))
    values = [item for item in exactly(array) if item is not None]
    mean = sum(values, Fraction(0)) / len(values)
    variance = sum((item - mean) ** 2 for item in values) / len(values)
    found = statistics(stored(dtype, array.tobytes(), (500,)))
    assert abs(Fraction(found.variance) - variance) <= variance / 10**6
    assert abs(Fraction(found.mean) - mean) <= abs(mean) * 4 * ULP


# -- tensors of many chunks --------------------------------------------------------------------------------------------


def cut(monkeypatch: pytest.MonkeyPatch, chunk: int, widest: int) -> None:
    """Chunks, rows and blocks of a few elements, so that small tensors meet every border between them."""
    for name, value in (("CHUNK", chunk), ("WIDEST", widest), ("ROW", 5), ("SHORT", 3)):
        monkeypatch.setattr(moments, name, value)
    monkeypatch.setattr(weights, "CHUNK", chunk)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("chunk", "widest"), [(4, 8), (8, 8), (12, 96), (64, 512)])
def test_the_borders_of_chunks(monkeypatch: pytest.MonkeyPatch, dtype: str, chunk: int, widest: int) -> None:
    """However a tensor is cut, its figures are exact: by rows, by parts of a row, by several repeats at once."""
    cut(monkeypatch, chunk, widest)
    random = np.random.default_rng(chunk)
    every = edges(dtype)
    finite = every[np.isfinite(every.astype(np.float64))]
    for shape in ((2, 61), (61, 2), (7, 3, 5), (3, 2, 19), (130,), (5, 1, 4)):
        check(random.choice(finite, int(np.prod(shape))), dtype, shape)
    if dtype in FLOATS and BITS[dtype] > 8:
        odd = np.array([np.nan, np.inf, -np.inf]).astype(every.dtype)
        check(np.concatenate([odd, random.choice(finite, 33), odd, odd]), dtype, (6, 7))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mean_that_dwarfs_the_spread_beside_what_is_no_number(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """The sums are about the mean of the first chunk; what is left out of them is left out of that, too."""
    cut(monkeypatch, 8, 64)
    step = np.array(1 + 2.0 ** -WIDTHS[dtype]).astype(dtype)
    array = np.resize(np.array([1.0, step, np.nan, step, np.inf], dtype), 40)
    check(array, dtype, (8, 5))
    check(np.concatenate([np.full(8, np.nan, dtype), array[:32]]), dtype, (8, 5))


def test_the_fourth_moment_of_a_large_tensor_is_of_every_nth_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly spread over the file; a tensor of up to so many elements enters whole."""
    cut(monkeypatch, 8, 64)
    values = np.random.default_rng(3).standard_normal(64)

    def kurtosis(of: Any) -> float:
        centred = of - of.mean()
        return float((centred**4).mean() / (centred**2).mean() ** 2 - 3)

    for most, every in ((64, 1), (63, 2), (32, 2), (31, 3), (16, 4), (8, 8)):
        monkeypatch.setattr(moments, "FOURTH_ELEMENTS", most)
        found = statistics(stored("float64", values.tobytes(), (64,)))
        used = np.concatenate([values[start : start + 8] for start in range(0, 64, 8 * every)])
        assert found.kurtosis == pytest.approx(kurtosis(used), rel=1e-9)
        assert found.variance == pytest.approx(values.var(), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("target", TARGETS)
def test_losses_without_a_zero_in_sight(dtype: str, target: str) -> None:
    """The bits of a chunk's smallest number say whether any is flushed: each number around the border alone."""
    limits = format_of(target)
    assert limits is not None
    kind = edges(dtype).dtype
    with np.errstate(all="ignore"):
        border = np.array([limits.smallest_subnormal / 2, limits.smallest_subnormal, limits.largest]).astype(kind)
    bits = border.view(f"u{BITS[dtype] // 8}")
    near = np.concatenate(
        [bits, bits + 1, bits - (bits > 0), bits + (1 << WIDTHS[dtype]), bits - (bits > 1 << WIDTHS[dtype])]
    )
    for number in near.astype(bits.dtype).view(kind):
        if np.isfinite(float(number)):
            for array in (np.array([number, number], kind), np.array([-number, number * 1], kind)):
                found = statistics(stored(dtype, array.tobytes(), (2,)), target=limits)
                check_lost(found, exactly(array), limits)


AXES = [
    (2, 9, 1 << 17),
    (1, 3, (1 << 20) + 1),
    (5, 1 << 20, 1),
    (2, 1 << 19, 2),
    (1, 1 << 21, 1),
    (3, 1, 1 << 21),
    (1, 9, 1 << 18),
]


@pytest.mark.parametrize("shape", AXES)
def test_memory_is_bounded(shape: tuple[int, int, int]) -> None:
    """No chunk is of more than 2^20 elements, whatever the shape; every element is in one, in order."""
    position = 0
    for span in moments.spans(int(np.prod(shape)), moments.Axes(*shape)):
        assert span.start == position
        assert span.count == int(np.prod(span.shape)) <= 1 << 20
        position = span.stop
    assert position == int(np.prod(shape))
    assert max(span.count for span in moments.spans(position, None)) <= 1 << 17


def test_kurtosis_of_a_million_values_is_of_all_of_them() -> None:
    """Up to 2^20; of one more every second chunk is looked at."""
    values = np.resize(np.array([-1.0, 1.0, 0.5], np.float32), (1 << 20) + 1)
    values[1 << 17 : 1 << 18] *= 9  # the second chunk is unlike the others
    wide = values.astype(np.float64)
    fourth = [np.mean((part - part.mean()) ** 4) / part.var() ** 2 - 3 for part in (wide[:-1], wide[: 1 << 17])]
    assert statistics(stored("float32", values[:-1].tobytes(), (1 << 20,))).kurtosis == pytest.approx(
        fourth[0], rel=1e-6
    )
    sampled = statistics(stored("float32", values.tobytes(), ((1 << 20) + 1,)))
    assert sampled.kurtosis == pytest.approx(fourth[1], rel=1e-3)
    assert sampled.variance == pytest.approx(wide.var(), rel=1e-9)


@pytest.mark.parametrize("dtype", TYPES)
def test_two_equal_values_are_a_constant(dtype: str) -> None:
    """One value is none, two different ones are not; where a value is missing nothing is said."""
    every = edges(dtype)
    finite = every[np.isfinite(every.astype(np.float64))]
    for pair, constant in (([finite[1], finite[1]], True), ([finite[0], finite[-1]], False), ([finite[1]], False)):
        array = np.array(pair, every.dtype)
        assert statistics(stored(dtype, packed(array, dtype), array.shape)).constant is constant
        check(array, dtype, array.shape)
