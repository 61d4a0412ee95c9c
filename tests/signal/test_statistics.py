"""The statistics of draws, against brute force in float64 and exact rational arithmetic."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from initlint.signal.statistics import measure

RANDOM = np.random.Generator(np.random.Philox(7))


def exact_signal_variance(values: np.ndarray) -> Fraction:
    """Mean over elements of the unbiased variance over draws, in rationals."""
    draws, elements = values.shape
    total = Fraction(0)
    for column in range(elements):
        items = [Fraction(float(item)) for item in values[:, column]]
        mean = sum(items) / draws
        total += sum((item - mean) ** 2 for item in items) / (draws - 1)
    return total / elements


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (100.0, 1e-3), (-1e4, 1e-2), (1e-12, 1e-20)])
def test_signal_survives_a_mean_that_dwarfs_it(dtype: type, mean: float, std: float) -> None:
    """The part that depends on the input is exact however large the part that does not."""
    values = (RANDOM.standard_normal((16, 40)) * std + mean).astype(dtype)
    expected = float(exact_signal_variance(values)) ** 0.5
    assert measure(values).signal_std == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e15, 1e30, 1e37])
def test_squares_that_leave_float32_do_not_leave_the_result(scale: float) -> None:
    """Neither overflow nor underflow of squares reaches the standard deviation."""
    values = (RANDOM.standard_normal((8, 100)) * scale).astype(np.float32)
    signal = measure(values)
    assert signal.std == pytest.approx(float(values.astype(np.float64).std()), rel=1e-5)
    assert signal.absmax == float(np.abs(values).max())


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.floats(-1e6, 1e6)))
def test_moments_agree_with_numpy(values: np.ndarray) -> None:
    """Mean, total std, extremes and zeros are numpy's own over all draws and elements."""
    signal = measure(values)
    scale = float(np.abs(values).max()) + 1e-300
    assert signal.mean == pytest.approx(float(values.mean()), abs=1e-12 * scale)
    # numpy's own squares vanish below 1e-162: it is given values near 1.
    assert signal.std == pytest.approx(float((values / scale).std()) * scale, abs=1e-7 * scale)
    assert signal.absmax == float(np.abs(values).max())
    assert signal.zero_fraction == np.mean(values == 0)


def test_position_constant_parts_are_no_signal() -> None:
    """What biases and positions create is in the total and not in the signal."""
    positions = RANDOM.standard_normal((1, 64))
    values = positions + 1e-3 * RANDOM.standard_normal((32, 64))
    signal = measure(values)
    assert signal.std == pytest.approx(float(positions.std()), rel=1e-3)
    assert signal.signal_std == pytest.approx(1e-3, rel=0.1)


def test_non_finite_values_are_counted_and_left_out() -> None:
    """NaN and Inf have shares of their own; the moments are over the rest."""
    values = np.ones((4, 10))
    values[0, 0], values[1, 1], values[2, 1] = np.nan, np.inf, -np.inf
    signal = measure(values)
    assert (signal.nan_fraction, signal.inf_fraction) == (1 / 40, 2 / 40)
    assert (signal.mean, signal.std, signal.absmax) == (1.0, 0.0, 1.0)


def test_non_finite_values_in_a_tensor_of_many_blocks() -> None:
    """Over the finite values mean, std and signal are numpy's own; the memory that it takes is a fraction of the tensor's."""
    values = RANDOM.standard_normal((4, 300_000)).astype(np.float32) + 3
    values[0, ::7], values[2, ::11], values[3, 5] = np.nan, np.inf, -np.inf
    kept = values[np.isfinite(values)].astype(np.float64)
    whole = values[:, np.isfinite(values).all(axis=0)].astype(np.float64)
    tracemalloc.start()
    signal = measure(values)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert signal.mean == pytest.approx(kept.mean(), rel=1e-12)
    assert signal.std == pytest.approx(kept.std(), rel=1e-12)
    assert signal.signal_std == pytest.approx(whole.var(axis=0, ddof=1).mean() ** 0.5, rel=1e-12)
    assert signal.absmax == np.abs(kept).max()
    assert (signal.nan_fraction, signal.inf_fraction) == (
        np.isnan(values).mean(), np.isinf(values).mean(),
    )  # fmt: skip
    assert taken < 3 * values.nbytes


def test_dead_units_are_those_active_in_fewer_than_one_percent() -> None:
    """A unit is a channel; it is dead when it is above zero in under 1 % of draws and positions."""
    values = np.maximum(RANDOM.standard_normal((16, 1, 4, 10, 10)), 0)
    values[:, :, :3] = 0
    values[0, 0, 0, 0, 0] = 1
    assert measure(values, "Relu", channel_axis=1).dead_fraction == 0.75
    assert measure(values[:1, :, :, :2, :2], "Relu", channel_axis=1).dead_fraction is None


def test_saturation_counts_values_near_either_asymptote() -> None:
    """|tanh| > .97 and a sigmoid outside [.015, .985] are saturated."""
    tanh = np.array([[-0.99, -0.96, 0.0, 0.96, 0.98]])
    assert measure(np.repeat(tanh, 2, axis=0), "Tanh").saturated_fraction == pytest.approx(0.4)
    sigmoid = np.array([[0.01, 0.02, 0.5, 0.98, 0.99]])
    assert measure(np.repeat(sigmoid, 2, axis=0), "Sigmoid").saturated_fraction == pytest.approx(0.4)


def test_softmax_rows_are_told_apart() -> None:
    """A row with one probability near one is one-hot, one with all equal is uniform."""
    one_hot, uniform, between = np.eye(4)[0], np.full(4, 0.25), np.array([0.6, 0.2, 0.1, 0.1])
    values = np.stack([np.stack([one_hot, uniform, uniform, between])] * 2)
    signal = measure(values, "Softmax", -1)
    assert (signal.onehot_fraction, signal.uniform_fraction) == (0.25, 0.5)
