"""Statistics of stored tensors against exact rational arithmetic, for every element type and every layout."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initlint import moments
from initlint.elements import BITS, FLOATS, decode, format_of, nbytes_of, numpy_type
from initlint.graph import StoredTensor
from initlint.source import BytesSource
from initlint.weights import ChannelLayout, WeightStatistics, statistics

EXACT = 1e-7
SMALLEST = Fraction(5e-324)  # the rounding of float64 itself near zero
NUMERIC = sorted(set(BITS) - {"complex64", "complex128"})


def stored(dtype: str, raw: bytes, shape: Sequence[int]) -> StoredTensor:
    """A tensor whose bytes lie at an odd place of their source, as inline weights do."""
    return StoredTensor("w", dtype, tuple(shape), BytesSource(b"\7" + raw), 1, len(raw))


def tensor_of(values: "np.ndarray[Any, Any]", dtype: str) -> StoredTensor:
    return stored(dtype, np.ascontiguousarray(values).tobytes(), values.shape)


def fractions_of(values: "np.ndarray[Any, Any]") -> list[Fraction]:
    """Finite values, exactly."""
    if values.dtype.kind in "iub":
        return [Fraction(int(item)) for item in values.reshape(-1)]
    wide = values.reshape(-1).astype(np.float64)  # every format here is part of float64
    return [Fraction(float(item)) for item in wide if math.isfinite(item)]


def check(found: WeightStatistics, values: "np.ndarray[Any, Any]", dtype: str) -> None:
    """Compare with the definitions, computed in exact rational arithmetic."""
    exact = fractions_of(values)
    wide = values.reshape(-1).astype(np.float64)
    assert found.count == values.size
    assert found.nans == int(np.isnan(wide).sum())
    assert found.infs == int(np.isinf(wide).sum())
    if not exact:
        assert (found.mean, found.variance, found.kurtosis) == (0.0, 0.0, None)
        return
    mean = sum(exact) / len(exact)
    centred = [item - mean for item in exact]
    variance = sum(item * item for item in centred) / len(exact)
    largest = max(abs(item) for item in exact)
    assert found.minimum == float(min(exact))
    assert found.maximum == float(max(exact))
    assert found.absmax == float(largest)
    assert found.zeros == exact.count(0)
    assert abs(Fraction(found.mean) - mean) <= Fraction(EXACT) * max(abs(mean), largest * Fraction(1, 10**6)) + SMALLEST
    assert_close(found.variance, variance)
    limits = format_of(dtype)
    normal = Fraction(limits.smallest_normal) if limits is not None else Fraction(0)
    assert found.subnormals == sum(0 < abs(item) < normal for item in exact)
    if variance == 0:
        assert found.kurtosis is None
    elif found.kurtosis is not None:
        fourth = sum(item**4 for item in centred) / len(exact)
        assert found.kurtosis == pytest.approx(float(fourth / variance**2 - 3), rel=1e-6, abs=1e-6)


def assert_close(found: float, exact: Fraction) -> None:
    if exact > Fraction(np.finfo(np.float64).max):
        assert found == np.finfo(np.float64).max
    elif exact < Fraction(5e-308):  # float64 itself has fewer digits there
        assert found <= 5e-308
    else:
        assert abs(Fraction(found) - exact) <= Fraction(EXACT) * exact


def random_bytes(dtype: str, count: int, seed: int = 0) -> bytes:
    raw = np.random.default_rng(seed).integers(0, 256, nbytes_of(dtype, count), np.uint8)
    return (raw & 1).tobytes() if dtype == "bool" else raw.tobytes()


@pytest.mark.parametrize("dtype", NUMERIC)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 1000])
def test_any_bits_of_any_type_are_counted_and_summed(dtype: str, count: int) -> None:
    """Random bits hold every NaN, infinity, subnormal and zero that a format has."""
    raw = random_bytes(dtype, count, count)
    values = decode(dtype, (count,), np.frombuffer(raw, np.uint8))
    with np.errstate(all="ignore"):
        check(statistics(stored(dtype, raw, (count,))), values, dtype)


@pytest.mark.parametrize("dtype", NUMERIC)
def test_a_scalar_is_a_constant_of_one(dtype: str) -> None:
    raw = np.ones((), numpy_type(dtype)).tobytes() if BITS[dtype] >= 8 else b"\x01"
    found = statistics(stored(dtype, raw, ()))
    assert (found.count, found.variance, found.kurtosis, found.constant) == (1, 0.0, None, False)
    assert found.minimum == found.maximum == found.mean


@pytest.mark.parametrize("dtype", sorted(FLOATS - {"float8e8m0"}))
@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_values_of_a_layer(dtype: str, mean: float) -> None:
    drawn = np.random.default_rng(3).normal(mean, 0.5, 3001)
    kind = numpy_type(dtype)
    values = drawn.astype(kind)
    if BITS[dtype] >= 8:
        check(statistics(tensor_of(values, dtype)), values, dtype)


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-160, 1e-40, 1.0, 1e20, 1e38, 1e160, 1e300])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_no_magnitude_overflows_or_vanishes(scale: float, dtype: str) -> None:
    """Squares and fourth powers leave float64 long before the values do."""
    if dtype != "float64" and not 1e-40 <= scale <= 1e38:
        pytest.skip("beyond the format")
    drawn = np.random.default_rng(4).uniform(-1, 1, 2000) * scale
    values = drawn.astype(numpy_type(dtype))
    found = statistics(tensor_of(values, dtype), ChannelLayout((0,)))
    check(found, values, dtype)
    if scale > 1e-300:
        assert found.kurtosis == pytest.approx(-1.2, abs=0.1)


@pytest.mark.parametrize("ratio", [1e1, 1e3, 1e5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mean_that_dwarfs_the_std(ratio: float, dtype: str) -> None:
    values = np.random.default_rng(5).normal(1.0, 1 / ratio, 200_000).astype(dtype)
    found = statistics(tensor_of(values, dtype))
    exact = values.astype(np.longdouble)
    assert found.variance == pytest.approx(float(exact.var()), rel=EXACT)
    assert found.mean == pytest.approx(float(exact.mean()), rel=1e-12)


def test_a_tensor_whose_later_chunks_have_another_mean() -> None:
    values = np.concatenate([np.full(300_000, 1000.0), np.linspace(-1, 1, 300_000)]).astype(np.float32)
    found = statistics(tensor_of(values, "float32"))
    assert found.variance == pytest.approx(float(values.astype(np.longdouble).var()), rel=EXACT)


FEWER = ("float16", "bfloat16", "float64", "int8", "float8e4m3fn")
LAYOUTS = [
    ((3000,), (0,)), ((70, 50), (0,)), ((70, 50), (1,)), ((2, 3, 40, 5), (0, 1)), ((40, 30, 3, 3), (0,)),
    ((40, 30, 3, 3), (1,)), ((3, 200_001), (0,)), ((200_001, 3), (1,)), ((2, 150_000), (1,)), ((1, 1_100_000), (0,)),
    ((2, 1_100_000), (1,)), ((700, 257), (0,)), ((700, 257), (-1,)), ((2, 4, 150_000), (1,)), ((20, 100, 600), (1,)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "axes", "dtype"),
    [
        *((shape, axes, "float32") for shape, axes in LAYOUTS),
        *((*LAYOUTS[index], dtype) for index in (1, 2, 3, 4, 5) for dtype in FEWER),
    ],
)
def test_channels_of_every_layout(shape: tuple[int, ...], axes: tuple[int, ...], dtype: str) -> None:
    """Against numpy's own reductions over the other axes, and against the figures of the whole tensor."""
    drawn = np.random.default_rng(6).normal(0.2, 3.0, shape)
    values = (np.rint(drawn * 10).clip(-127, 127) if dtype == "int8" else drawn).astype(numpy_type(dtype))
    tensor = tensor_of(values, dtype)
    found, plain = statistics(tensor, ChannelLayout(axes)), statistics(tensor)
    wide = values.astype(np.float64)
    others = tuple(axis for axis in range(len(shape)) if axis not in {item % len(shape) for item in axes})
    assert found.channel_mean is not None
    assert found.channel_second_moment is not None
    assert found.channel_absmax is not None
    np.testing.assert_allclose(found.channel_mean, wide.mean(axis=others).reshape(-1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.channel_second_moment, (wide**2).mean(axis=others).reshape(-1), rtol=1e-9)
    np.testing.assert_array_equal(found.channel_absmax, np.abs(wide).max(axis=others).reshape(-1))
    assert found.variance == pytest.approx(plain.variance, rel=1e-12)
    assert found.mean == pytest.approx(plain.mean, rel=1e-9, abs=1e-12)
    assert (found.zeros, found.count) == (plain.zeros, plain.count)


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int2", "float6e2m3", "float4e2m1"])
def test_channels_of_packed_types(dtype: str) -> None:
    raw = random_bytes(dtype, 12 * 35)
    values = decode(dtype, (12, 35), np.frombuffer(raw, np.uint8)).astype(np.float64)
    for axis in (0, 1):
        found = statistics(stored(dtype, raw, (12, 35)), ChannelLayout((axis,)))
        assert found.channel_mean is not None
        np.testing.assert_allclose(found.channel_mean, values.mean(axis=1 - axis), rtol=1e-12, atol=1e-15)


def test_axes_that_lie_apart_have_no_channels() -> None:
    values = np.ones((2, 3, 4), np.float32)
    assert statistics(tensor_of(values, "float32"), ChannelLayout((0, 2))).channel_mean is None
    assert statistics(tensor_of(np.ones((0, 3), np.float32), "float32"), ChannelLayout((1,))).channel_mean is None


def test_channels_leave_out_what_is_not_finite() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    values[1, 2], values[2] = np.nan, np.inf
    found = statistics(tensor_of(values, "float32"), ChannelLayout((0,)))
    assert (found.nans, found.infs) == (1, 4)
    assert found.channel_mean is not None
    assert found.channel_absmax is not None
    np.testing.assert_allclose(found.channel_mean, [1.5, (4 + 5 + 7) / 3, 0.0])
    np.testing.assert_array_equal(found.channel_absmax, [3, 7, 0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_values_that_float16_would_lose(dtype: str) -> None:
    target = format_of("float16")
    drawn = np.array([0.0, -0.0, 1e-9, -1e-9, 2.0**-25, 2.0**-24, 1e-3, 1.0, 65504.0, -66000.0, 1e30, np.nan, np.inf])
    values = drawn.astype(numpy_type(dtype))
    found = statistics(tensor_of(values, dtype), target=target)
    with np.errstate(over="ignore", invalid="ignore"):
        halves = values.astype(np.float64).astype(np.float16)
    finite = np.isfinite(values.astype(np.float64))
    # Half of the smallest subnormal itself is a tie, which rounds to zero; it is left out of the count.
    flushed = finite & (halves == 0) & (values != 0) & (np.abs(values.astype(np.float64)) != 2.0**-25)
    assert found.flushes == int(flushed.sum()) == 2
    assert found.overflows == int((finite & (np.abs(values.astype(np.float64)) > 65504.0)).sum())


def test_complex_numbers_count_both_parts() -> None:
    values = np.array([1 + 2j, 3 - 4j], np.complex64)
    found = statistics(tensor_of(values, "complex64"))
    assert (found.count, found.mean, found.minimum, found.maximum) == (4, 0.5, -4.0, 3.0)


def test_strings_have_no_statistics() -> None:
    with pytest.raises(ValueError, match="strings"):
        statistics(stored("string", b"", (0,)))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(st.floats(width=32), st.floats(-0.125, 0.125, width=32), st.sampled_from([0.0, -0.0, 1e-45, 3e38])),
        max_size=40,
    ),
    st.sampled_from(["float32", "float64", "float16", "bfloat16"]),
)
def test_any_values(values: list[float], dtype: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.array(values, np.float32).astype(numpy_type(dtype))
        check(statistics(tensor_of(array, dtype)), array, dtype)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40))
def test_spans_cover_a_tensor_once(before: int, outputs: int, after: int, most: int) -> None:
    """Every element in one chunk, in order, and its output's number with it."""
    shape = (max(before, 1), outputs, after)
    old = moments.CHUNK, moments.WIDEST
    moments.CHUNK, moments.WIDEST = most, 2 * most
    try:
        cut = list(moments.spans(math.prod(shape), moments.Axes(*shape)))
    finally:
        moments.CHUNK, moments.WIDEST = old
    owner = np.broadcast_to(np.arange(outputs)[:, np.newaxis], shape).reshape(-1)
    position = 0
    for span in cut:
        assert span.start == position
        position = span.stop
        assert math.prod(span.shape) == span.count
        expected = np.broadcast_to(np.arange(span.shape[1])[:, np.newaxis] + span.first, span.shape)
        np.testing.assert_array_equal(owner[span.start : span.stop], expected.reshape(-1))
    assert position == math.prod(shape)


def test_the_figures_do_not_depend_on_how_a_tensor_is_cut() -> None:
    values = np.random.default_rng(8).standard_normal((513, 700)).astype(np.float32)
    tensor = tensor_of(values, "float32")
    first, second = statistics(tensor, ChannelLayout((0,))), statistics(tensor, ChannelLayout((1,)))
    assert first.variance == pytest.approx(second.variance, rel=1e-12)
    assert first.kurtosis == pytest.approx(second.kurtosis, rel=1e-9)


def test_ml_dtypes_agrees_that_half_precision_is_read_exactly() -> None:
    """All 65,536 bit patterns of both 16-bit formats."""
    for dtype, kind in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):
        every = np.arange(1 << 16, dtype=np.uint16).view(kind)
        finite = every[np.isfinite(every.astype(np.float32))]
        for values in (every, finite):
            found = statistics(tensor_of(values, dtype))
            wide = values.astype(np.float64)
            wide = wide[np.isfinite(wide)]
            assert found.variance == pytest.approx(float(wide.var()), rel=1e-12)
            assert found.zeros == 2
            assert found.subnormals == int(((np.abs(wide) < format_of(dtype).smallest_normal) & (wide != 0)).sum())  # type: ignore[union-attr]
