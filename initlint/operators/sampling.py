"""Reading an image at the places of a grid: GridSample and AffineGrid."""

from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import integers, invalid, number, same_draws, text
from initlint.operators.resize import MODES, cubic_kernel
from initlint.operators.table import Array, Draws, Run, operator

CUBIC = -0.75


def _reflected(at: Array, low: float, high: float) -> Array:
    """Places folded back into [low, high] at its ends."""
    span = high - low
    if span <= 0:
        return np.full_like(at, low)
    offset = np.mod(at - low, 2 * span)
    return low + np.where(offset > span, 2 * span - offset, offset)


def _pixel(at: Array, size: int, padding: str, *, aligned: bool) -> tuple[Array, Array | None]:
    """Integer places inside the axis, and with zero padding where they were outside."""
    if padding == "border":
        return np.clip(at, 0, size - 1).astype(np.int64), None
    if padding == "reflection":
        low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
        return np.clip(_reflected(at, low, high).astype(np.int64), 0, size - 1), None
    inside = (at >= 0) & (at <= size - 1)
    return np.where(inside, at, 0).astype(np.int64), inside


def _axis_taps(at: Array, mode: str) -> list[tuple[Array, Array | None]]:
    """(place, weight) of each tap along one axis; a weight of None is one."""
    if mode == "nearest":
        return [(np.rint(at), None)]
    low = np.floor(at)
    share = at - low
    if mode == "linear":
        return [(low, 1 - share), (low + 1, share)]
    return [(low + shift, cubic_kernel(share - shift, CUBIC)) for shift in (-1, 0, 1, 2)]


@operator("GridSample")
def grid_sample(node: Node, run: Run, x: Draws, grid: Draws) -> Array:
    """The image read at places of a grid, given from -1 to 1 over the image (Jaderberg et al. 2015)."""
    rank = len(x.shape) - 2
    if rank < 1 or len(grid.shape) != rank + 2 or grid.shape[-1] != rank or grid.shape[0] != x.shape[0]:
        raise invalid(f"a grid of shape {grid.shape} for an input of shape {x.shape}")
    mode = MODES.get(text(node, "mode", "linear"), "cubic" if text(node, "mode", "") == "bicubic" else None)
    padding = text(node, "padding_mode", "zeros")
    if mode is None or padding not in {"zeros", "border", "reflection"}:
        raise invalid(f"mode {text(node, 'mode', '')!r} with padding {padding!r} does not exist")
    if 0 in x.shape:
        raise invalid(f"an input of shape {x.shape}")
    aligned = bool(number(node, "align_corners", 0))
    values, places = same_draws(x.values, grid.values)
    draws, batch, channels = values.shape[:3]
    outputs = grid.shape[1:-1]
    points = prod(outputs)
    taps = {"nearest": 1, "linear": 2, "cubic": 4}[mode] ** rank
    run.claim(draws, batch, channels, *outputs, work=draws * batch * channels * points * taps)
    columns = []
    for axis in range(rank):  # the grid names the last axis first
        size = x.shape[2 + axis]
        at = places[..., rank - 1 - axis].reshape(draws, batch, points)
        at = (at + 1) / 2 * (size - 1) if aligned else ((at + 1) * size - 1) / 2
        at = np.where(np.isfinite(at), at, -1e9)
        columns.append(_placed(at, size, mode, padding, aligned=aligned))
    out = _gathered(values, columns, x.shape[2:], padding, aligned=aligned)
    return out.reshape(draws, batch, channels, *outputs)


def _placed(at: Array, size: int, mode: str, padding: str, *, aligned: bool) -> list[tuple[Array, Array | None]]:
    """Taps along one axis; places far outside are folded or cut first, as onnxruntime does."""
    low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
    if mode == "nearest":
        at = np.rint(at)
    beyond = (at < low) | (at > high)
    if padding == "border" and mode != "cubic":
        at = np.where(beyond, np.clip(at, 0, size - 1), at)
    elif padding == "reflection":
        at = np.where(beyond, _reflected(at, low, high), at)
    return _axis_taps(at, mode)


def _gathered(
    values: Array,
    columns: list[list[tuple[Array, Array | None]]],
    sizes: tuple[int, ...],
    padding: str,
    *,
    aligned: bool,
) -> Array:
    """Weighted sum of the image over all combinations of the axes' taps: `[s, N, C, points]`."""
    draws, batch, channels = values.shape[:3]
    flat = np.moveaxis(values.reshape(draws, batch, channels, -1), 2, 3)  # [s, N, places, C]
    which = np.arange(draws)[:, np.newaxis, np.newaxis]
    entry = np.arange(batch)[:, np.newaxis]
    combined: list[tuple[Array, Array | None]] = [(np.zeros((1, 1, 1), np.int64), None)]
    for size, taps in zip(sizes, columns, strict=True):
        extended = []
        for place, weight in combined:
            for at, share in taps:
                index, inside = _pixel(at, size, padding, aligned=aligned)
                factor = share if weight is None else weight if share is None else weight * share
                if inside is not None:
                    factor = inside.astype(values.dtype) if factor is None else np.where(inside, factor, 0)
                extended.append((place * size + index, factor))
        combined = extended
    total: Array | None = None
    for place, weight in combined:
        part = flat[which, entry, place]
        if weight is not None:
            part = part * weight[..., np.newaxis].astype(values.dtype)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return np.moveaxis(total, 3, 2)


@operator("AffineGrid")
def affine_grid(node: Node, run: Run, theta: Draws, size: Draws) -> Array:
    """The grid at which GridSample reads an affine image of its input."""
    extents = integers(size, "the size")
    rank = len(extents) - 2
    if rank not in {2, 3} or theta.shape != (extents[0], rank, rank + 1):
        raise invalid(f"theta of shape {theta.shape} for a size of {extents}")
    values = theta.values
    run.claim(values.shape[0], extents[0], *extents[2:], rank)
    aligned = bool(number(node, "align_corners", 0))
    axes = []
    for extent in reversed(extents[2:]):
        steps = np.linspace(-1, 1, extent) if aligned and extent > 1 else (2 * np.arange(extent) + 1) / extent - 1
        axes.append(steps.astype(values.dtype))
    mesh = np.meshgrid(*reversed(axes), indexing="ij")  # slowest axis first
    points = np.stack([item.reshape(-1) for item in (*reversed(mesh), np.ones_like(mesh[0]))], axis=-1)
    result = np.matmul(points, values.swapaxes(-1, -2))
    return result.reshape(values.shape[0], extents[0], *extents[2:], rank)
