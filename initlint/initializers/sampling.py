"""A bounded, deterministic part of a weight matrix: what every test looks at, so that cost does not grow with size.

A part of a matrix of independent draws is again one, so no test loses its error rate; a trained matrix loses some of
its signal, which a matrix large enough to be cut can spare. Columns are kept in runs, so that neighbouring taps of a
convolution kernel stay neighbours: smooth kernels are the most visible trace of training there is.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Matrix", "distinct", "part_of", "rows_examined", "spread_levels", "spread_zeros", "values_of"]

Matrix: TypeAlias = npt.NDArray[np.float64]

SIDE = 256  # rows, or columns, of the smaller side that are looked at
ELEMENTS = 1 << 16  # elements looked at
RUN = 32  # neighbouring columns kept together
VALUES = 1 << 14  # values that are sorted for a goodness-of-fit test
GOLDEN = 0.6180339887498949  # fractional multiples of the golden ratio: an even, aperiodic sequence


def rows_examined(outputs: int, terms: int) -> npt.NDArray[np.int64]:
    """Choose the rows of a matrix that `part_of` looks at; the reader of a large file need not fetch the others."""
    kept = SIDE if outputs <= terms else ELEMENTS // max(min(terms, SIDE), 1)
    kept = min(outputs, kept)
    return (np.arange(kept) * outputs) // max(kept, 1)


def part_of(matrix: npt.NDArray[np.generic]) -> Matrix:
    """Cut at most `ELEMENTS` entries out of `[outputs, terms]`, as float64.

    Rows that are not finite, and rows and columns that are zero throughout, are left out (padding rows of an embedding,
    dead channels, pruned inputs): they are other rules' affair.
    """
    rows, columns = matrix.shape
    chosen = rows_examined(rows, columns)
    kept = min(columns, ELEMENTS // max(chosen.size, 1)) if rows <= columns else min(columns, SIDE)
    part = matrix
    if kept < columns:
        runs = kept // RUN
        starts = (np.arange(runs) * (columns - RUN)) // max(runs - 1, 1)
        # Both at once: whole rows of a matrix that is stored by columns would be the slowest read of all.
        part = matrix[np.ix_(chosen, (starts[:, None] + np.arange(RUN)).ravel())]
    elif chosen.size < rows:
        part = matrix[chosen]
    values = np.asarray(part, np.float64)
    values = values[np.isfinite(values).all(axis=1)]
    if not values.size:
        return values
    values = values[np.any(values != 0.0, axis=1)]
    return np.ascontiguousarray(values[:, np.any(values != 0.0, axis=0)])


def values_of(part: Matrix) -> npt.NDArray[np.float64]:
    """At most `VALUES` entries of a part, evenly spread and never in step with its rows."""
    flat = part.ravel()
    if flat.size <= VALUES:
        return flat
    spread = (np.arange(VALUES) + 0.5 * _golden(VALUES)) * (flat.size / VALUES)
    return flat[spread.astype(np.int64)]


def distinct(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give the distinct values, ascending, none of them NaN; `np.unique` does the same and imports masked arrays for it."""
    ordered = np.sort(values, axis=None)
    first = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def spread_levels(values: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Spread values that take a few `levels` (ascending, all of them) evenly over what was rounded to each.

    Goodness-of-fit tests take values to be continuous; 15 or 255 levels are not. A level's cell reaches halfway to its
    neighbours, so integer grids and small floating formats are served alike; the outermost levels are the extremes that
    set the scale, and nothing lies beyond. The spread is deterministic.
    """
    edges = np.concatenate([levels[:1], (levels[1:] + levels[:-1]) / 2.0, levels[-1:]])
    cell = np.searchsorted(levels, values)
    return np.asarray(edges[cell] + np.diff(edges)[cell] * _golden(values.size))


def spread_zeros(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """Spread the zeros of values on many grids at once (a scale for each output) over a typical step, and return it.

    About twice as many values as round to 0 round to one step, so the middle of that many smallest sizes is a step.
    The step is 0 where there are no zeros.
    """
    zeros = values == 0.0
    count = int(np.count_nonzero(zeros))
    sizes = np.abs(values[~zeros])
    if not count or sizes.size <= 2 * count:
        return values, 0.0
    step = float(np.partition(sizes, count)[count])
    spread = values.copy()
    spread[zeros] = step * (_golden(count) - 0.5)
    return spread, step


def _golden(count: int) -> npt.NDArray[np.float64]:
    """`count` values spread evenly in [0, 1), the same every time and uncorrelated with any regular layout."""
    order = np.arange(1, count + 1, dtype=np.uint64)
    mixed = (order ^ (order >> np.uint64(7))) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)
