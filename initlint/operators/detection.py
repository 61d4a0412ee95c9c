"""Boxes and regions: non-maximum suppression, pooling of regions, deformable convolution."""

from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import constant, invalid, number, numbers, real, same_draws
from initlint.operators.convolution import add_channel_bias, grouped_weight
from initlint.operators.table import Array, Draws, NotComputed, Run, operator
from initlint.operators.windows import window_of

MOST_BOXES = 1 << 16  # candidates of one class


def _corners(boxes: Array, *, centred: bool) -> Array:
    """`[N, 4]` as (y1, x1, y2, x2) with the smaller corner first."""
    if centred:
        x, y, width, height = boxes.T
        return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=1)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    return np.concatenate([low, high], axis=1)


def _kept(corners: Array, scores: Array, most: int, overlap: float) -> list[int]:
    """Greedy choice by score of boxes that overlap none chosen before by more than `overlap`."""
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    left = np.argsort(-scores, kind="stable")
    chosen: list[int] = []
    while left.size and len(chosen) < most:
        best, left = left[0], left[1:]
        chosen.append(int(best))
        sides = np.minimum(corners[left, 2:], corners[best, 2:]) - np.maximum(corners[left, :2], corners[best, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        union = areas[left] + areas[best] - shared
        left = left[shared <= overlap * np.where(union > 0, union, 1)]
    return chosen


@operator("NonMaxSuppression")
def non_max_suppression(
    node: Node, run: Run, boxes: Draws, scores: Draws, most: Draws | None = None, overlap: Draws | None = None,
    threshold: Draws | None = None,
) -> Array:  # fmt: skip
    """The boxes kept, `[n, 3]` of (image, class, box); where draws keep different numbers, the fewest of any."""
    if len(boxes.shape) != 3 or len(scores.shape) != 3 or boxes.shape[1] != scores.shape[2]:
        raise invalid(f"boxes of shape {boxes.shape} and scores of shape {scores.shape}")
    limit = 0 if most is None else int(constant(most, "the number of boxes").reshape(-1)[0])
    allowed = 0.0 if overlap is None else float(constant(overlap, "the overlap").reshape(-1)[0])
    least = None if threshold is None else float(constant(threshold, "the threshold").reshape(-1)[0])
    if boxes.shape[1] > MOST_BOXES:
        raise NotComputed(f"{boxes.shape[1]} boxes")
    corner_draws, score_draws = same_draws(boxes.values, scores.values)
    found = []
    for corners, values in zip(corner_draws, score_draws, strict=True):
        rows: list[tuple[int, int, int]] = []
        for image, kind in np.ndindex(values.shape[:2]):
            box = _corners(corners[image], centred=bool(number(node, "center_point_box", 0)))
            places = np.arange(len(box)) if least is None else np.flatnonzero(values[image, kind] > least)
            run.claim(len(places), 4, work=float(min(limit, len(places)) * len(places)))
            kept = _kept(box[places], values[image, kind][places], limit, allowed)
            rows += [(image, kind, int(places[index])) for index in kept]
        found.append(np.array(rows, np.int64).reshape(-1, 3))
    fewest = min(len(rows) for rows in found)
    return np.stack([rows[:fewest] for rows in found])


@operator("MaxRoiPool")
def max_roi_pool(node: Node, run: Run, x: Draws, regions: Draws) -> Array:
    """Maximum over a grid of bins in each region (Girshick 2015); regions must not depend on the input."""
    height, width = numbers(node, "pooled_shape")
    scale = real(node, "spatial_scale", 1.0)
    places = np.rint(constant(regions, "a region") * np.array([1, scale, scale, scale, scale]))
    draws, channels = x.values.shape[0], x.shape[1]
    run.claim(draws, len(places), channels, height, width)
    out = np.zeros((draws, len(places), channels, height, width), x.values.dtype)
    for index, (image, left, top, right, bottom) in enumerate(places.astype(int)):
        if not 0 <= image < x.shape[0]:
            raise invalid(f"a region of image {image} of {x.shape[0]}")
        tall, wide = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for row, column in np.ndindex(height, width):
            rows = np.clip([int(row * tall // height) + top, -int(-(row + 1) * tall // height) + top], 0, x.shape[2])
            columns = np.clip(
                [int(column * wide // width) + left, -int(-(column + 1) * wide // width) + left], 0, x.shape[3]
            )
            part = x.values[:, image, :, rows[0] : rows[1], columns[0] : columns[1]]
            if part.shape[2] and part.shape[3]:
                out[:, index, :, row, column] = part.max(axis=(2, 3))
    return out


@operator("DeformConv")
def deform_conv(
    node: Node, run: Run, x: Draws, w: Draws, offset: Draws, b: Draws | None = None, mask: Draws | None = None
) -> Array:
    """Convolution that reads each tap between pixels, moved by an offset and weighed by a mask (Zhu et al. 2019)."""
    if len(x.shape) != 4:
        raise NotComputed("a deformable convolution of other than two spatial axes")
    groups = grouped_weight(node, w.shape, x.shape[1], 2)
    window = window_of(node, w.shape[2:], x.shape[2:])
    shared, taps = number(node, "offset_group", 1), prod(window.kernel)
    batch, channels, size = x.shape[0], x.shape[1], prod(window.outputs)
    if shared < 1 or channels % shared or offset.shape != (batch, 2 * shared * taps, *window.outputs):
        raise invalid(f"offsets of shape {offset.shape} for {taps} taps in {shared} groups")
    values, moves = same_draws(x.values, offset.values)
    weights = None if mask is None else same_draws(values, mask.values)[1].reshape(-1, batch, shared, taps, size)
    if weights is not None and weights.shape[0] != values.shape[0]:
        values, moves, weights = same_draws(values, moves, weights)
    draws = values.shape[0]
    run.claim(draws, batch, channels, taps, size, work=float(draws * batch * w.shape[0] * prod(w.shape[1:]) * size))
    moves = moves.reshape(draws, batch, shared, taps, 2, size)
    grid = [
        (np.arange(kernel) * dilation)[:, np.newaxis] + np.arange(out) * stride - before
        for kernel, dilation, out, stride, before in zip(
            window.kernel, window.dilations, window.outputs, window.strides, window.before, strict=True
        )
    ]
    rows = np.broadcast_to(grid[0][:, np.newaxis, :, np.newaxis], (*window.kernel, *window.outputs)).reshape(taps, size)
    columns = np.broadcast_to(grid[1][np.newaxis, :, np.newaxis, :], (*window.kernel, *window.outputs)).reshape(
        taps, size
    )
    at_row, at_column = moves[..., 0, :] + rows, moves[..., 1, :] + columns
    maps = values.reshape(draws, batch, shared, channels // shared, -1)
    sampled = _between(maps, x.shape[2:], at_row, at_column)  # [s, N, shared, C/shared, taps, size]
    if weights is not None:
        sampled = sampled * weights[:, :, :, np.newaxis]
    terms = sampled.reshape(draws, batch, groups, channels // groups * taps, size)
    matrix = w.values.reshape(w.values.shape[0], 1, groups, w.shape[0] // groups, -1)
    y = np.matmul(matrix, terms).reshape(-1, batch, w.shape[0], *window.outputs)
    return add_channel_bias(run, y, b)


def _between(maps: Array, sizes: tuple[int, ...], rows: Array, columns: Array) -> Array:
    """Bilinear reading of `[s, N, g, c, H W]` at real places `[s, N, g, taps, size]`; nothing outside the image."""
    total: Array | float = 0.0
    top, left = np.floor(rows), np.floor(columns)
    for down in (0, 1):
        for across in (0, 1):
            row, column = top + down, left + across
            share = (1 - np.abs(rows - row)) * (1 - np.abs(columns - column))
            inside = (row >= 0) & (row < sizes[0]) & (column >= 0) & (column < sizes[1])
            place = (np.clip(row, 0, sizes[0] - 1) * sizes[1] + np.clip(column, 0, sizes[1] - 1)).astype(np.int64)
            flat = place.reshape(*place.shape[:3], 1, -1)
            read = np.take_along_axis(maps, flat, axis=-1).reshape(*maps.shape[:4], *place.shape[3:])
            total = total + read * np.where(inside, share, 0)[:, :, :, np.newaxis].astype(maps.dtype)
    return np.asarray(total)
