"""Sliding windows: kernel, strides, dilations and padding of convolutions and poolings, checked once."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import msgspec
import numpy as np
from numpy.lib.stride_tricks import as_strided

from initlint.graph import Node
from initlint.operators.arguments import invalid, numbers, text
from initlint.operators.table import Array, Run

__all__ = ["Window", "overlap_add", "padded", "spatial_numbers", "window_of", "windows"]

LARGEST = 1 << 31  # no size, stride or padding of a real model reaches this


class Window(msgspec.Struct, frozen=True):
    """One window sliding over the spatial axes; a tuple entry an axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    outputs: tuple[int, ...]  # positions of the window

    @property
    def span(self) -> tuple[int, ...]:
        """Extent of the dilated kernel."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def plain(self) -> bool:
        """Whether every window is one element and every element is a window: a 1x1 convolution."""
        ones = (1,) * len(self.kernel)
        return self.kernel == ones == self.strides and not any(self.before) and not any(self.after)


def spatial_numbers(node: Node, name: str, count: int, default: int, least: int) -> tuple[int, ...]:
    """A list attribute of `count` integers in [least, 2^31)."""
    values = numbers(node, name, [default] * count)
    if len(values) != count:
        raise invalid(f"{name} has {len(values)} entries, {count} are needed")
    if any(not least <= value < LARGEST for value in values):
        raise invalid(f"{name} {values[:8]} is out of range")
    return tuple(values)


def window_of(node: Node, kernel: Sequence[int], sizes: Sequence[int], *, ceil: bool = False) -> Window:
    """The window that a node's strides, dilations, pads and auto_pad describe on an input of these spatial sizes.

    With `ceil` a last window that hangs over the end counts if it starts inside the input or the padding before it.
    """
    rank = len(sizes)
    if len(kernel) != rank:
        raise invalid(f"kernel_shape has {len(kernel)} entries for {rank} spatial axes")
    if any(not 0 < extent < LARGEST for extent in kernel):
        raise invalid(f"kernel_shape {tuple(kernel)} is out of range")
    strides = spatial_numbers(node, "strides", rank, 1, 1)
    dilations = spatial_numbers(node, "dilations", rank, 1, 1)
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    auto_pad = text(node, "auto_pad", "NOTSET")
    before, after = [0] * rank, [0] * rank
    if auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        for axis, (size, stride, extent) in enumerate(zip(sizes, strides, span, strict=True)):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            before[axis] = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            after[axis] = total - before[axis]
    elif auto_pad in {"NOTSET", ""}:
        pads = spatial_numbers(node, "pads", 2 * rank, 0, 0)
        before, after = list(pads[:rank]), list(pads[rank:])
    elif auto_pad != "VALID":
        raise invalid(f"auto_pad {auto_pad!r} does not exist")
    outputs = []
    for axis, (size, stride, extent) in enumerate(zip(sizes, strides, span, strict=True)):
        room = size + before[axis] + after[axis] - extent
        if room < 0:
            raise invalid(f"a window of {extent} does not fit an axis of {size} with padding")
        positions = room // stride + 1
        if ceil and room % stride and positions * stride < size + before[axis]:
            positions += 1
        outputs.append(positions)
    return Window(tuple(kernel), strides, dilations, tuple(before), tuple(after), tuple(outputs))


def padded(run: Run, x: Array, before: Sequence[int], after: Sequence[int], value: float = 0) -> Array:
    """The array with its last axes padded by a constant; the array itself when nothing is padded."""
    if not any(before) and not any(after):
        return x
    lead = x.ndim - len(before)
    sizes = [b + size + a for b, size, a in zip(before, x.shape[lead:], after, strict=True)]
    run.claim(*x.shape[:lead], *sizes)
    out = np.full((*x.shape[:lead], *sizes), value, x.dtype)
    inside = (slice(b, b + size) for b, size in zip(before, x.shape[lead:], strict=True))
    out[(slice(None),) * lead + tuple(inside)] = x
    return out


def windows(x: Array, window: Window, outputs: Sequence[int]) -> Array:
    """View `[..., *kernel, *outputs]` of padded `x` whose last axes are spatial: each kernel tap over all positions."""
    rank = len(window.kernel)
    lead = x.ndim - rank
    steps = x.strides[lead:]
    taps = [step * d for step, d in zip(steps, window.dilations, strict=True)]
    moves = [step * stride for step, stride in zip(steps, window.strides, strict=True)]
    return as_strided(x, (*x.shape[:lead], *window.kernel, *outputs), (*x.strides[:lead], *taps, *moves))


def overlap_add(total: Array, columns: Array, window: Window, row: int = 0) -> None:
    """Add `columns [..., *kernel, *positions]` into padded `total [..., *sizes]`, each tap at its strided places.

    `row` is the position along the first spatial axis at which the columns begin.
    """
    rank = len(window.kernel)
    positions = columns.shape[columns.ndim - rank :]
    for tap in product(*(range(extent) for extent in window.kernel)):
        place: list[Any] = [...]
        for axis, (index, count) in enumerate(zip(tap, positions, strict=True)):
            start = index * window.dilations[axis] + (row * window.strides[0] if axis == 0 else 0)
            place.append(slice(start, start + (count - 1) * window.strides[axis] + 1, window.strides[axis]))
        which: list[Any] = [..., *tap, *(slice(None),) * rank]
        total[tuple(place)] += columns[tuple(which)]
