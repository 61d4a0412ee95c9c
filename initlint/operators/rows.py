"""Large stored tables a block of rows at a time, so that memory stays bounded whatever their size."""

from collections.abc import Iterator
from math import prod

import numpy as np
import numpy.typing as npt

from initlint.operators.table import Array, Draws, Stored

__all__ = ["chosen_rows", "is_large", "row_blocks"]

LARGE = 1 << 26  # bytes from which a stored tensor is not read as a whole
BLOCK = 1 << 25  # bytes of one block in its stored type


def is_large(item: Draws) -> bool:
    """Whether a value is a stored tensor too large to be held in memory, whose rows are whole bytes."""
    return isinstance(item, Stored) and item.tensor.nbytes > LARGE and item.tensor.nbytes % item.tensor.shape[0] == 0


def row_blocks(item: Stored, most: int | None = None) -> Iterator[tuple[int, int, Array]]:
    """(start, stop, rows [start, stop) in the working type), over the first axis; at most `most` rows at once."""
    rows = item.shape[0]
    step = max(1, BLOCK // max(1, item.tensor.nbytes // rows))
    step = step if most is None else min(step, most)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        yield start, stop, _read(item, start, stop)


def _read(item: Stored, start: int, stop: int) -> Array:
    from initlint.elements import decode, to_working_type  # noqa: PLC0415 - decoding is needed only here

    tensor = item.tensor
    row = tensor.nbytes // tensor.shape[0]
    raw = tensor.read_bytes(start * row, stop * row)
    return to_working_type(decode(tensor.dtype, (stop - start, *tensor.shape[1:]), raw), tensor.dtype, item.float_type)


def chosen_rows(item: Stored, indices: npt.NDArray[np.integer]) -> Array:
    """Rows `[*indices.shape, *rest]` of the table; only the rows asked for are read. Indices are in range."""
    wanted, inverse = np.unique(indices, return_inverse=True)
    rest = item.shape[1:]
    found: Array = np.empty((len(wanted), *rest), _read(item, 0, 1).dtype)
    together = max(1, BLOCK // max(1, item.tensor.nbytes // item.shape[0]))
    start = 0
    while start < len(wanted):
        # A run of neighbouring rows is one read.
        stop = start + 1
        while stop < len(wanted) and stop - start < together and wanted[stop] == wanted[stop - 1] + 1:
            stop += 1
        found[start:stop] = _read(item, int(wanted[start]), int(wanted[stop - 1]) + 1)
        start = stop
    if prod(indices.shape) == len(wanted) and np.array_equal(inverse.reshape(-1), np.arange(len(wanted))):
        return found.reshape(*indices.shape, *rest)
    return found[inverse.reshape(indices.shape)]
