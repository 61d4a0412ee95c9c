"""The word for a distribution's shape says what numpy's histogram says."""

import numpy as np
import pytest

from initlint.bins import BINS, LEVELS, heights
from initlint.histogram import SAMPLE, histogram


@pytest.mark.parametrize("draw", ["normal", "uniform", "ramp"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_as_numpy_counts(draw: str, order: str) -> None:
    """Small matrices are counted whole: each digit is numpy's count, rounded up to the next level."""
    random = np.random.default_rng(0)
    matrix = {
        "normal": random.normal(size=(64, 100)), "uniform": random.uniform(-1, 1, (64, 100)),
        "ramp": np.linspace(-1, 3, 6400).reshape(64, 100),
    }[draw]  # fmt: skip
    largest = float(np.abs(matrix).max())
    counts, _ = np.histogram(matrix, BINS, (-largest, largest))
    expected = "".join(LEVELS[int(np.ceil(35 * count / counts.max()))] for count in counts)
    assert histogram(np.asarray(matrix, order=order), largest) == expected


def test_large_matrices_are_sampled() -> None:
    """A sample shows the shape of the whole, whatever the rows hold in turn."""
    rows = np.repeat(np.linspace(-1, 1, 1024)[:, None], 1024, axis=1)  # each row another value
    for matrix in (rows, rows.T):
        shape = heights(histogram(matrix, 1.0) or "")
        assert min(shape) > 0.8
    assert rows.size > 16 * SAMPLE


def test_what_has_no_shape() -> None:
    """Zeros have none; a constant stands in one bin; a text that is none is not drawn."""
    assert histogram(np.zeros((3, 3)), 0.0) is None
    assert histogram(np.empty((0, 3)), 1.0) is None
    assert histogram(np.full((3, 3), 2.0, np.float16), 2.0) == "0" * (BINS - 1) + "z"
    assert heights("") == ()
    assert heights("0<z") == ()
