"""A weight as a matrix with one row an output, and outputs that repeat each other."""

from math import prod

import numpy as np
import numpy.typing as npt

from initlint.elements import BITS, numpy_type
from initlint.graph import StoredTensor
from initlint.weights import ChannelLayout, WeightStatistics, axes_in

__all__ = ["duplicated_channels", "matrix_of"]


def matrix_of(tensor: StoredTensor, layout: ChannelLayout, most: int = 1 << 22) -> npt.NDArray[np.generic]:
    """The weight as `[outputs, terms]`; of a tensor with more than `most` elements a part read evenly from the file.

    The part keeps whole outputs where outputs come first, whole inputs where they come last.
    """
    axes = axes_in(tensor, layout)
    shape = tensor.shape
    if axes is None or tensor.count <= most or BITS[tensor.dtype] < 8:
        values = tensor.read()
        order = [axis % len(shape) for axis in layout.output_axes]
        others = [axis for axis in range(len(shape)) if axis not in order]
        outputs = prod(shape[axis] for axis in order)
        return values.transpose(*order, *others).reshape(outputs, -1)  # a view of it, for a matrix
    before, outputs, after = axes.before, axes.outputs, axes.after
    row = outputs * after if before > 1 else after
    rows = before if before > 1 else outputs
    take = max(1, most // max(row, 1))
    picked = np.linspace(0, rows - 1, min(take, rows)).astype(np.int64)
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
    near = np.zeros(len(means), np.bool_)
    near[order[1:][close]] = near[order[:-1][close]] = True
    candidates = np.flatnonzero(near)
    if candidates.size == 0:
        return 0
    rows = matrix_of(tensor, layout, most)[candidates]
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(len(candidates), -1)
    # A set of bytes: numpy's unique rows compare field by field, a hundred times slower on long rows.
    return len(candidates) - len({row.tobytes() for row in raw})
