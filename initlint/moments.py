"""Sums over a tensor's values, chunk by chunk: what moments, whole and per output channel, are made of.

Values are widened to float64, in which each chunk costs about as much as reading it and nothing is lost: float32 sums are
a percent off for a norm's gamma (mean 1, std 1e-3). Where the mean dwarfs the spread, sums are about the first chunk's mean.
Products go through `vecdot` over short rows, since one long BLAS product starts threads that wait for each other.
"""

from collections.abc import Iterator
from math import prod

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["CHUNK", "Axes", "Block", "ChannelSums", "Floats", "Moments", "Span", "spans"]

Floats = npt.NDArray[np.float64]
Block = npt.NDArray[np.generic]

CHUNK = 1 << 17  # elements: a megabyte of float64, which a core's own cache holds
WIDEST = 8 * CHUNK  # elements of a row that is still taken whole
ROW = 4096  # elements of one product; OpenBLAS starts threads from 10,000
SHORT = 64  # elements of a row below which a reduction along it is all overhead
DWARFED = 100.0  # mean square over variance from which sums are about the mean: two digits of sixteen are lost before
FOURTH_ELEMENTS = 1 << 20  # of larger tensors every n-th chunk enters the fourth moment


class Axes(msgspec.Struct, frozen=True):
    """A stored shape as (before, outputs, after)."""

    before: int
    outputs: int
    after: int


class Span(msgspec.Struct, frozen=True):
    """Elements [start, stop) of a tensor; with axes, the outputs from `first` on as a block (repeats, outputs, terms)."""

    start: int
    stop: int
    first: int = 0
    shape: tuple[int, int, int] = (0, 0, 0)

    @property
    def count(self) -> int:
        """Number of elements."""
        return self.stop - self.start


def spans(count: int, axes: Axes | None) -> Iterator[Span]:
    """Cut a tensor into chunks along the file, each a rectangular block of its axes."""
    if axes is None or not count:
        for start in range(0, count, CHUNK):
            yield Span(start, min(start + CHUNK, count))
        return
    unit = axes.outputs * axes.after
    if unit <= WIDEST and (axes.before > 1 or unit <= CHUNK):
        step = max(CHUNK // unit, 1) * unit
        for start in range(0, count, step):
            stop = min(start + step, count)
            yield Span(start, stop, 0, ((stop - start) // unit, axes.outputs, axes.after))
        return
    rows = max(CHUNK // axes.after, 1)  # rows of one repeat; a row too wide is cut
    for repeat in range(axes.before):
        for first in range(0, axes.outputs, rows):
            taken = min(rows, axes.outputs - first)
            begin = (repeat * axes.outputs + first) * axes.after
            step = taken * axes.after if axes.after <= WIDEST else CHUNK
            for start in range(begin, begin + taken * axes.after, step):
                stop = min(start + step, begin + taken * axes.after)
                yield Span(start, stop, first, (1, taken, (stop - start) // taken))


def product_sum(left: Floats, right: Floats) -> float:
    """Sum of products of two flat arrays."""
    head = left.size // ROW * ROW
    whole = np.vecdot(left[:head].reshape(-1, ROW), right[:head].reshape(-1, ROW)).sum()
    return float(whole + np.vecdot(left[head:], right[head:]))


class ChannelSums:
    """Sum, sum of squares and largest magnitude of each output; values that are not finite arrive as zeros."""

    def __init__(self, axes: Axes) -> None:
        self.sums = np.zeros(axes.outputs)
        self.squares = np.zeros(axes.outputs)
        self.highs = np.zeros(axes.outputs)

    def reach(self, span: Span, block: Block) -> tuple[Block, Block]:
        """Smallest and largest value of each output in a block as stored; NaN where there is one."""
        repeats, outputs, terms = span.shape
        high, low = _extremes_along_rows(block.reshape(repeats * outputs, terms))
        if repeats > 1:
            high, low = high.reshape(repeats, outputs).max(axis=0), low.reshape(repeats, outputs).min(axis=0)
        return low, high

    def add(self, span: Span, wide: Floats, reach: tuple[Block, Block]) -> tuple[float, float]:
        """Fold a block in float64 and how far it reaches; its sum and sum of squares."""
        repeats, outputs, terms = span.shape
        place = slice(span.first, span.first + outputs)
        sums, squares = _along_rows(wide.reshape(repeats * outputs, terms))
        if repeats > 1:
            table = sums.reshape(repeats, outputs)
            # Rows of one term are their own sums: their squares are summed without being written.
            squares = (
                np.einsum("ij,ij->j", table, table) if terms == 1 else squares.reshape(repeats, outputs).sum(axis=0)
            )
            sums = table.sum(axis=0)
        elif terms == 1:
            squares = sums * sums
        self.sums[place] += sums
        self.squares[place] += squares
        low, high = reach
        largest = np.maximum(high.astype(np.float64), -low.astype(np.float64))
        np.maximum(self.highs[place], largest, out=self.highs[place])
        return float(sums.sum()), float(squares.sum())


def _along_rows(rows: Floats) -> tuple[Floats, Floats]:
    """Sums and sums of squares of rows; of rows of one term, the terms themselves for both."""
    terms = rows.shape[1]
    if terms == 1:
        return rows[:, 0], rows[:, 0]
    if terms < SHORT:
        return np.einsum("ij->i", rows), np.einsum("ij,ij->i", rows, rows)
    return rows.sum(axis=1), np.vecdot(rows, rows) if terms <= ROW else np.einsum("ij,ij->i", rows, rows)


def _extremes_along_rows(rows: Block) -> tuple[Block, Block]:
    """Largest and smallest of each row."""
    terms = rows.shape[1]
    if terms == 1:
        return rows[:, 0], rows[:, 0]
    if terms < SHORT:
        columns = np.ascontiguousarray(rows.T)
        return columns.max(axis=0), columns.min(axis=0)
    return rows.max(axis=1), rows.min(axis=1)


class Moments:
    """Power sums of a tensor's finite values, times `scale`, about a shift that the first chunk decides."""

    def __init__(self, count: int, axes: Axes | None, scale: float) -> None:
        self.scale = scale
        self.channels = ChannelSums(axes) if axes is not None else None
        self.shift: float | None = None
        self.count = 0
        self.first = self.second = 0.0
        self.fourth_count = 0
        self.fourth_first = self.fourth_second = self.third = self.fourth = 0.0
        self._every = max(1, -(-count // FOURTH_ELEMENTS))
        self._chunk = 0
        self._wide = np.empty(0)
        self._squares = np.empty(0)

    def add(
        self, span: Span, block: Block, finite: npt.NDArray[np.bool_] | None, reach: tuple[Block, Block] | None
    ) -> None:
        """Fold a chunk; where `finite` is given, the block holds zeros for the values that are not.

        `reach` is that of each output (see `ChannelSums.reach`), None without channels.
        """
        count = span.count if finite is None else int(np.count_nonzero(finite))
        wide = self._widened(block)
        if self.channels is not None and reach is not None:
            first, second = self.channels.add(span, wide, reach)
        if self.shift is None and count:
            self.shift = _shift(wide, finite)
        shift = self.shift or 0.0
        if shift:
            np.subtract(wide, shift, out=wide)
            if finite is not None:
                wide[~finite] = 0.0
        if self.channels is None or shift:
            first, second = float(wide.sum()), product_sum(wide, wide)
        self.count += count
        self.first += first
        self.second += second
        if self._chunk % self._every == 0:
            squares = np.multiply(wide, wide, out=self._squares[: wide.size])
            self.fourth_count += count
            self.fourth_first += first
            self.fourth_second += second
            self.third += product_sum(squares, wide)
            self.fourth += product_sum(squares, squares)
        self._chunk += 1

    def _widened(self, block: Block) -> Floats:
        if block.size > self._wide.size:
            self._wide, self._squares = np.empty(block.size), np.empty(block.size)
        wide = self._wide[: block.size]
        np.copyto(wide, block)
        if self.scale != 1.0:
            wide *= self.scale
        return wide

    def mean_and_variance(self) -> tuple[float, float]:
        """Mean and population variance of the scaled values."""
        offset = self.first / self.count
        return (self.shift or 0.0) + offset, max(self.second / self.count - offset * offset, 0.0)

    def kurtosis(self) -> float | None:
        """Excess kurtosis, from the chunks that entered it; None where they do not vary."""
        if not self.fourth_count:
            return None
        a, b, c, d = (
            item / self.fourth_count for item in (self.fourth_first, self.fourth_second, self.third, self.fourth)
        )
        variance = b - a * a
        if variance <= 0:
            return None
        return float((d - 4 * a * c + 6 * a * a * b - 3 * a**4) / (variance * variance) - 3.0)


def _shift(wide: Floats, finite: npt.NDArray[np.bool_] | None) -> float:
    values = wide if finite is None else wide[finite]
    mean = float(values.mean())
    return mean if mean * mean > DWARFED * float(np.mean((values - mean) ** 2)) else 0.0


def axes_of(shape: tuple[int, ...], output_axes: tuple[int, ...]) -> Axes | None:
    """The stored shape with its output axes in the middle; None where they do not lie side by side, or hold nothing."""
    if not shape or not output_axes or not prod(shape):
        return None
    axes = sorted(axis % len(shape) for axis in output_axes)
    if axes != list(range(axes[0], axes[-1] + 1)):
        return None
    return Axes(prod(shape[: axes[0]]), prod(shape[axes[0] : axes[-1] + 1]), prod(shape[axes[-1] + 1 :]))
