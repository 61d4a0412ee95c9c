"""Weights as matrices of outputs, and outputs that repeat each other, against brute force."""

import numpy as np
import pytest

from initlint.channels import duplicated_channels, matrix_of
from initlint.graph import StoredTensor
from initlint.source import BytesSource
from initlint.weights import ChannelLayout, statistics


def stored(values: np.ndarray) -> StoredTensor:
    return StoredTensor("w", values.dtype.name, values.shape, BytesSource(values.tobytes()), 0, values.nbytes)


@pytest.mark.parametrize(("shape", "axis"), [((8, 30), 0), ((30, 8), 1), ((8, 5, 3, 3), 0), ((5, 8, 3, 3), 1)])
def test_repeated_outputs_are_counted(shape: tuple[int, ...], axis: int) -> None:
    """Two copies of one output, one of another, two dead ones, and one that differs in its last place only."""
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    rows = np.moveaxis(values, axis, 0)
    rows[3] = rows[0]
    rows[5] = rows[0]
    rows[6] = rows[1]
    rows[2] = rows[7] = 0.0
    rows[4] = rows[1]
    last = (-1,) * (rows.ndim - 1)
    rows[(4, *last)] = np.nextafter(rows[(1, *last)], np.float32(9))
    tensor, layout = stored(values), ChannelLayout((axis,))
    alive = {row.tobytes() for row in rows if row.any()}
    assert duplicated_channels(tensor, layout, statistics(tensor, layout)) == 6 - len(alive) == 3


@pytest.mark.parametrize(("shape", "axis"), [((40, 300), 0), ((300, 40), 1), ((40, 20, 3, 5), 0), ((20, 40, 15), 1)])
def test_a_part_of_a_large_weight_is_whole_rows_or_columns_of_it(shape: tuple[int, ...], axis: int) -> None:
    values = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    whole = np.moveaxis(values, axis, 0).reshape(shape[axis], -1)
    np.testing.assert_array_equal(matrix_of(stored(values), ChannelLayout((axis,))), whole)
    part = matrix_of(stored(values), ChannelLayout((axis,)), most=3000)
    assert part.size <= 3000
    known = {row.tobytes() for row in whole} | {np.ascontiguousarray(column).tobytes() for column in whole.T}
    pieces = [row.tobytes() for row in part] + [np.ascontiguousarray(column).tobytes() for column in part.T]
    assert any(piece in known for piece in pieces) or len(shape) > 2
