"""Weights as matrices of outputs, and outputs that repeat each other, against brute force."""

import msgspec
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


def whole(values: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


@pytest.mark.parametrize(
    ("shape", "axis", "most", "expected"),
    [
        ((40, 300), 0, 12000, (40, 300)), ((40, 300), 0, 11999, (39, 300)), ((40, 300), 0, 3000, (10, 300)),
        ((40, 300), 0, 300, (1, 300)), ((40, 300), 0, 599, (1, 300)), ((40, 300), 0, 600, (2, 300)),
        ((40, 300), 0, 299, (1, 299)), ((300, 40), 1, 3000, (40, 75)), ((300, 40), 1, 40, (40, 1)), ((300, 40), -1, 80, (40, 2)),
        ((20, 40, 15), 1, 3000, (40, 75)), ((20, 40, 15), 1, 600, (40, 15)), ((2, 50), 1, 49, (49, 1)), ((2, 50, 3), 1, 149, (149, 1)),
        ((4, 6), 0, 1, (1, 1)),
    ],
)  # fmt: skip
def test_a_part_is_evenly_spread(shape: tuple[int, ...], axis: int, most: int, expected: tuple[int, int]) -> None:
    """As many whole outputs, or whole inputs, as the limit takes, the first and the last of two or more among them."""
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    part, full = matrix_of(stored(values), ChannelLayout((axis,)), most), whole(values, axis)
    assert part.shape == expected
    if part.shape[1] == full.shape[1]:
        rows = [int(np.flatnonzero((full == row).all(axis=1))[0]) for row in part]
        ends, steps = full.shape[0], np.diff(rows)
        assert (rows[0], rows[-1]) == (0, ends - 1 if len(rows) > 1 else 0)
        assert len(steps) == 0 or np.ptp(steps) <= 1
    elif part.shape[0] == full.shape[0]:
        after = int(np.prod(shape[axis % len(shape) + 1 :]))
        blocks = full.reshape(full.shape[0], -1, after)
        found = [int(np.flatnonzero((blocks == piece[:, np.newaxis]).all(axis=(0, 2)))[0])
                 for piece in part.reshape(full.shape[0], -1, after).transpose(1, 0, 2)]  # fmt: skip
        assert (found[0], found[-1]) == (0, shape[0] - 1 if len(found) > 1 else 0)
        assert len(found) == 1 or np.ptp(np.diff(found)) <= 1
    else:  # not even one row is taken whole
        assert part.reshape(-1).tolist() == values.reshape(-1)[: part.size].tolist()


def test_types_that_share_bytes_and_axes_that_lie_apart_are_read_whole() -> None:
    """A part of them would not be cheaper."""
    packed = StoredTensor("w", "int4", (6, 4), BytesSource(bytes(range(12))), 0, 12)
    np.testing.assert_array_equal(matrix_of(packed, ChannelLayout((0,)), 3), packed.read().reshape(6, 4))
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    apart = matrix_of(stored(values), ChannelLayout((0, 2)), 3)
    np.testing.assert_array_equal(apart, values.transpose(0, 2, 1).reshape(8, 3))
    beside = matrix_of(stored(values), ChannelLayout((-3, -2)))
    np.testing.assert_array_equal(beside, values.reshape(6, 4))
    byte = np.arange(24, dtype=np.int8).reshape(6, 4)
    assert matrix_of(stored(byte), ChannelLayout((0,)), 8).shape == (2, 4)


@pytest.mark.parametrize(
    ("rows", "repeated"),
    [
        ([[1, 2], [1, 2]], 1), ([[1, 2], [1, 2], [1, 2]], 2), ([[1, 2], [2, 1]], 0), ([[0, 0], [0, 0]], 0),
        ([[1, 2], [3, 4], [1, 2], [3, 4], [5, 6]], 2), ([[1, 2]], 0), ([[1, -1], [-1, 1], [1, -1]], 1),
        ([[0, 0], [0, 0], [1, 1], [1, 1]], 1), ([[1, 2], [3, 4]], 0),
    ],
)  # fmt: skip
def test_repeats_of_small_matrices(rows: list[list[float]], repeated: int) -> None:
    """The same numbers in another order are no repeat; dead outputs are none; one output has nobody to repeat."""
    values = np.array(rows, np.float32)
    tensor, layout = stored(values), ChannelLayout((0,))
    found = statistics(tensor, layout)
    assert duplicated_channels(tensor, layout, found) == repeated
    assert duplicated_channels(tensor, layout, found, most=values.size) == repeated
    assert duplicated_channels(tensor, layout, found, most=values.size - 1) == 0
    assert duplicated_channels(tensor, layout, statistics(tensor)) == 0  # without figures by output


def test_figures_that_agree_to_rounding_are_candidates() -> None:
    """Sums of one output's numbers taken in another order, or of another part of a chunk, may differ in their last place."""
    values = np.array([[1, 2], [3, 4], [1, 2]], np.float32)
    tensor, layout = stored(values), ChannelLayout((0,))
    found = statistics(tensor, layout)
    assert found.channel_second_moment is not None
    for nudge, repeated in ((5e-10, 1), (2e-9, 0)):
        moved = found.channel_second_moment * np.array([1, 1, 1 + nudge])
        assert (
            duplicated_channels(tensor, layout, msgspec.structs.replace(found, channel_second_moment=moved)) == repeated
        )
