"""Padding, blocks between space and depth, triangles."""

from collections.abc import Sequence

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axes_in, constant, integers, invalid, number, numbers, real, text
from initlint.operators.table import Array, Draws, Run, operator
from initlint.operators.windows import LARGEST


@operator("Pad")
def pad(
    node: Node, run: Run, x: Draws, pads: Draws | None = None, value: Draws | None = None, axes: Draws | None = None
) -> Array:
    """Elements added around the tensor, or with negative pads removed."""
    mode = text(node, "mode", "constant")
    rank = len(x.shape)
    if node.version < 11:
        amounts = numbers(node, "pads")
    elif pads is None:
        raise invalid("no pads")
    else:
        amounts = integers(pads, "the pads")
    along = list(range(rank)) if axes is None else axes_in(integers(axes, "the axes"), rank)
    if len(amounts) != 2 * len(along) or any(abs(amount) >= LARGEST for amount in amounts):
        raise invalid(f"pads {amounts[:16]} for {len(along)} axes")
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(along):
        before[axis], after[axis] = amounts[index], amounts[index + len(along)]
    if any(extent + b + a < 0 for extent, b, a in zip(x.shape, before, after, strict=True)):
        raise invalid(f"pads {amounts[:16]} remove more than shape {x.shape} has")
    if mode == "constant":
        fill = np.full(1, real(node, "value", 0.0), x.values.dtype) if node.version < 11 else None
        if value is not None and value.values.size:
            fill = value.values.reshape(value.values.shape[0], -1)[:, 0]
        return _constant_pad(run, x.values, before, after, fill)
    return _indexed_pad(run, x.values, before, after, mode)


def _constant_pad(run: Run, x: Array, before: Sequence[int], after: Sequence[int], fill: Array | None) -> Array:
    sizes = [extent + b + a for extent, b, a in zip(x.shape[1:], before, after, strict=True)]
    draws = max(x.shape[0], 1 if fill is None else fill.shape[0])
    run.claim(draws, *sizes)
    if fill is None or (fill.dtype.kind in "fiub" and not fill.any()):
        out = np.zeros((draws, *sizes), x.dtype)
    else:
        out = np.empty((draws, *sizes), x.dtype)
        out[...] = fill.reshape(-1, *(1,) * len(sizes))
    target = tuple(slice(max(b, 0), max(b, 0) + extent + min(b, 0) + min(a, 0))
                   for extent, b, a in zip(x.shape[1:], before, after, strict=True))  # fmt: skip
    source = tuple(slice(max(-b, 0), extent - max(-a, 0))
                   for extent, b, a in zip(x.shape[1:], before, after, strict=True))  # fmt: skip
    if all(part.stop > part.start for part in source):
        out[(slice(None), *target)] = x[(slice(None), *source)]
    return out


def _indexed_pad(run: Run, x: Array, before: Sequence[int], after: Sequence[int], mode: str) -> Array:
    """Edge, reflect and wrap: each padded position is a position of the input."""
    if mode not in {"edge", "reflect", "wrap"}:
        raise invalid(f"mode {mode!r} does not exist")
    run.claim(x.shape[0], *(extent + b + a for extent, b, a in zip(x.shape[1:], before, after, strict=True)))
    for axis, (b, a) in enumerate(zip(before, after, strict=True)):
        if not b and not a:
            continue
        extent = x.shape[axis + 1]
        if not extent:
            raise invalid(f"mode {mode} on an empty axis")
        # Removed elements are gone before the padding reads the rest.
        start, stop = max(-b, 0), extent - max(-a, 0)
        kept = stop - start
        if kept < 1:
            raise invalid("pads that remove a whole axis and pad it again")
        places = np.arange(-max(b, 0), kept + max(a, 0))
        if mode == "edge":
            places = np.clip(places, 0, kept - 1)
        elif mode == "wrap":
            places %= kept
        else:
            period = max(1, 2 * (kept - 1))
            places %= period
            places = np.where(places >= kept, period - places, places)
        x = np.take(x, places + start, axis + 1)
    return x


def _block(node: Node, rank: int) -> int:
    block = number(node, "blocksize")
    if not 1 <= block < LARGEST:
        raise invalid(f"blocksize {block}")
    if rank != 4:
        raise invalid(f"an input of rank {rank}")
    return block


@operator("SpaceToDepth")
def space_to_depth(node: Node, _: Run, x: Draws) -> Array:
    """Blocks of positions become channels, block first (DCR) or channel first (CRD)."""
    block = _block(node, len(x.shape))
    n, c, h, w = x.shape
    if h % block or w % block:
        raise invalid(f"shape {x.shape} does not split into blocks of {block}")
    y = x.values.reshape(-1, n, c, h // block, block, w // block, block)
    mode = text(node, "mode", "DCR")
    if mode == "DCR":
        y = y.transpose(0, 1, 4, 6, 2, 3, 5)
    elif mode == "CRD":
        y = y.transpose(0, 1, 2, 4, 6, 3, 5)
    else:
        raise invalid(f"mode {mode!r} does not exist")
    return y.reshape(-1, n, c * block * block, h // block, w // block)


@operator("DepthToSpace")
def depth_to_space(node: Node, _: Run, x: Draws) -> Array:
    """Channels become blocks of positions, depth first (DCR) or columns first (CRD)."""
    block = _block(node, len(x.shape))
    n, c, h, w = x.shape
    if c % (block * block):
        raise invalid(f"{c} channels do not make blocks of {block}")
    mode = text(node, "mode", "DCR")
    if mode == "DCR":
        y = x.values.reshape(-1, n, block, block, c // block**2, h, w).transpose(0, 1, 4, 5, 2, 6, 3)
    elif mode == "CRD":
        y = x.values.reshape(-1, n, c // block**2, block, block, h, w).transpose(0, 1, 2, 5, 3, 6, 4)
    else:
        raise invalid(f"mode {mode!r} does not exist")
    return y.reshape(-1, n, c // block**2, h * block, w * block)


@operator("Trilu")
def trilu(node: Node, _: Run, x: Draws, k: Draws | None = None) -> Array:
    """The upper or lower triangle of the last two axes, zero elsewhere."""
    if len(x.shape) < 2:
        raise invalid(f"a triangle of shape {x.shape}")
    diagonal = 0 if k is None else int(constant(k, "the diagonal").reshape(-1)[0])
    diagonal = min(max(diagonal, -x.shape[-2] - 1), x.shape[-1] + 1)
    return np.triu(x.values, diagonal) if number(node, "upper", 1) else np.tril(x.values, diagonal)
