"""Quantised weights in real units, computed where they are read: a tensor of any size is never held dequantised.

A weight is seen as rows of equal length, each with one scale or one scale an element: per tensor, along an axis, in blocks.
Codes of 4 bits go through a table of byte values, two numbers at a time.
"""

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from initlint.elements import BITS, FLOATS, decode, nbytes_of
from initlint.graph import StoredTensor

__all__ = ["Rows", "along_axis", "in_blocks", "per_tensor"]

Array: TypeAlias = npt.NDArray[np.generic]
Single: TypeAlias = npt.NDArray[np.float32]
Lookup: TypeAlias = Callable[[int, int], Single]  # first and last row -> what broadcasts against `[rows, length]`

PLAIN_ROW = 4096  # elements of a row where one scale holds for all


class Rows:
    """Float32 values of quantised codes: `(code - zero) * scale`, row by row. A source of bytes like a file."""

    def __init__(self, codes: StoredTensor, length: int, scale: Lookup, zero: Lookup | None) -> None:
        self.codes, self.length, self.scale, self.zero = codes, length, scale, zero

    @property
    def location(self) -> str:
        """Where the codes are."""
        return self.codes.source.location

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the values' bytes from `offset` on, both at whole values."""
        wanted = np.frombuffer(buffer, np.float32)
        begin = offset // 4
        first, last = begin // self.length, -(-(begin + wanted.size) // self.length)
        values = self._rows(first, last).reshape(-1)
        skipped = begin - first * self.length
        wanted[:] = values[skipped : skipped + wanted.size]

    def _rows(self, first: int, last: int) -> Single:
        start, stop = first * self.length, min(last * self.length, self.codes.count)
        wide = _decoded(self.codes, start, stop)
        if stop < last * self.length:  # the last row of a tensor whose rows mean nothing
            wide = np.concatenate([wide, np.zeros(last * self.length - stop, np.float32)])
        wide = wide.reshape(last - first, self.length)
        if self.zero is not None:
            np.subtract(wide, self.zero(first, last), out=wide)
        return np.multiply(wide, self.scale(first, last), out=wide)

    def tensor(self, shape: tuple[int, ...]) -> StoredTensor:
        """The values as a stored tensor."""
        return StoredTensor(self.codes.name, "float32", shape, self, 0, 4 * prod(shape))


def per_tensor(codes: StoredTensor, scale: Array, zero: Array | None) -> StoredTensor:
    """One scale and one zero point for all."""
    points = None if zero is None else _single(zero)
    return Rows(codes, PLAIN_ROW, _same(_single(scale)), None if points is None else _same(points)).tensor(codes.shape)


def along_axis(codes: StoredTensor, axis: int, scale: Array, zero: Array | None) -> StoredTensor:
    """A scale for each place along an axis; zero points likewise, or one for all."""
    extent, after = codes.shape[axis], prod(codes.shape[axis + 1 :])
    length = extent if after == 1 else after

    def lookup(values: Array) -> Lookup:
        single = _single(values)
        if single.size == 1:
            return _same(single)
        if after == 1:
            return _same(single.reshape(1, extent))
        return lambda first, last: single[np.arange(first, last) % extent].reshape(-1, 1)

    return Rows(codes, length, lookup(scale), None if zero is None else lookup(zero)).tensor(codes.shape)


def in_blocks(
    codes: StoredTensor, shape: tuple[int, ...], axis: int, block: int, scale: Array, zero: Array | None
) -> StoredTensor | None:
    """A scale for each block of `block` places along an axis of `shape`; None where the last block is not whole."""
    if shape[axis] % block:
        return None
    after = prod(shape[axis + 1 :])
    length = block if after == 1 else after

    def lookup(values: Array) -> Lookup:
        single = _single(values)
        if after == 1:
            column = single.reshape(-1, 1)
            return lambda first, last: column[first:last]
        rows = single.reshape(-1, after)
        return lambda first, last: rows[np.arange(first, last) // block]

    return Rows(codes, length, lookup(scale), None if zero is None else lookup(zero)).tensor(shape)


def _single(values: Array) -> Single:
    return np.asarray(values).astype(np.float32).reshape(-1)


def _same(values: Single) -> Lookup:
    return lambda _first, _last: values


def _decoded(codes: StoredTensor, start: int, stop: int) -> Single:
    """Codes [start, stop) as float32."""
    bits = BITS[codes.dtype]
    if bits == 4 and start % 2 == 0 and stop % 2 == 0:
        raw = codes.read_bytes(start // 2, stop // 2)
        return _pairs(codes.dtype).take(raw, mode="clip").view(np.float32)
    begin = start * bits // 8 // 3 * 3  # a whole number of elements of every width
    skipped = start - begin * 8 // bits
    raw = codes.read_bytes(begin, nbytes_of(codes.dtype, stop))
    values = decode(codes.dtype, (skipped + stop - start,), raw)[skipped:]
    if bits == 8 and codes.dtype in FLOATS:
        return _singles(codes.dtype).take(values.view(np.uint8), mode="clip")
    return values.astype(np.float32)


@lru_cache(maxsize=4)
def _pairs(dtype: str) -> npt.NDArray[np.float64]:
    """The two values that each byte holds, side by side in the place of one float64."""
    return decode(dtype, (512,), np.arange(256, dtype=np.uint8)).astype(np.float32).view(np.float64)


@lru_cache(maxsize=8)
def _singles(dtype: str) -> Single:
    """The value of each byte."""
    with np.errstate(invalid="ignore"):
        return decode(dtype, (256,), np.arange(256, dtype=np.uint8)).astype(np.float32)
