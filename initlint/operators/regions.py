"""Regions of interest of an image resampled to one size."""

from math import ceil, isfinite, prod

import msgspec
import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import invalid, number, real, same_draws, text
from initlint.operators.table import Array, Draws, NotComputed, Run, operator

MOST_SAMPLES = 1 << 12  # along one axis of a region


class Samples(msgspec.Struct, frozen=True):
    """Evenly spaced places along one axis of an image: the pixels on both sides and their weights."""

    low: Array
    high: Array
    low_weight: Array
    high_weight: Array
    bins: int

    def averages(self, size: int) -> Array:
        """Weights `[bins, size]` with which the axis is averaged."""
        rows = np.zeros((len(self.low), size), self.low_weight.dtype)
        index = np.arange(len(self.low))
        np.add.at(rows, (index, self.low), self.low_weight)
        np.add.at(rows, (index, self.high), self.high_weight)
        result: Array = rows.reshape(self.bins, -1, size).mean(axis=1, dtype=rows.dtype)
        return result

    def sides(self) -> tuple[tuple[Array, Array], ...]:
        """(pixel, weight) below and above each place."""
        return ((self.low, self.low_weight), (self.high, self.high_weight))


def _samples(node: Node, start: float, length: float, bins: int, size: int) -> Samples:
    ratio = number(node, "sampling_ratio", 0)
    if not isfinite(start) or not isfinite(length):
        raise NotComputed("a region that is not finite")
    count = ratio if ratio > 0 else max(1, ceil(length / bins))
    if count * bins > MOST_SAMPLES:
        raise NotComputed(f"a region of {length:.3g} pixels")
    at = start + (np.arange(bins * count) + 0.5) * (length / bins / count)
    valid = (at >= -1) & (at <= size)  # beyond one pixel outside the image there is nothing
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(np.int64)
    share = at - low
    return Samples(low, np.minimum(low + 1, size - 1), (1 - share) * valid, share * valid, bins)


@operator("RoiAlign")
def roi_align(node: Node, run: Run, x: Draws, rois: Draws, batch: Draws) -> Array:
    """Each bin the mean, or largest term, of bilinear interpolation at points inside (He et al. 2017)."""
    height, width = number(node, "output_height", 1), number(node, "output_width", 1)
    if len(x.shape) != 4 or len(rois.shape) != 2 or rois.shape[1] != 4 or batch.shape != rois.shape[:1]:
        raise invalid(f"regions of shape {rois.shape} and {batch.shape} for an input of shape {x.shape}")
    if height < 1 or width < 1 or 0 in x.shape:
        raise invalid(f"regions of {height} by {width}")
    mode = text(node, "mode", "avg")
    if mode not in {"avg", "max"}:
        raise invalid(f"mode {mode!r} does not exist")
    default = "half_pixel" if node.version >= 16 else "output_half_pixel"
    how = text(node, "coordinate_transformation_mode", default)
    boxes = rois.values * real(node, "spatial_scale", 1.0) - (0.5 if how == "half_pixel" else 0.0)
    values, boxes, images = same_draws(x.values, boxes, batch.values)
    if images.size and (images.min() < 0 or images.max() >= x.shape[0]):
        raise invalid("a batch index outside the batch")
    least = 1.0 if how == "output_half_pixel" else 0.0
    run.claim(values.shape[0], rois.shape[0], x.shape[1], height, width)
    out = np.empty((values.shape[0], rois.shape[0], x.shape[1], height, width), values.dtype)
    for draw, region in np.ndindex(out.shape[:2]):
        left, top, right, bottom = (float(bound) for bound in boxes[draw, region])
        rows = _samples(node, top, max(bottom - top, least), height, x.shape[2])
        columns = _samples(node, left, max(right - left, least), width, x.shape[3])
        image = values[draw, images[draw, region]]
        if mode == "max":
            run.claim(x.shape[1], len(rows.low), len(columns.low), work=x.shape[1] * len(rows.low) * len(columns.low))
            out[draw, region] = _largest(image, rows, columns)
        else:
            run.claim(1, work=x.shape[1] * prod(x.shape[2:]) * (height + width))
            across = rows.averages(x.shape[2]).astype(values.dtype), columns.averages(x.shape[3]).astype(values.dtype)
            out[draw, region] = across[0] @ image @ across[1].T
    return out


def _largest(image: Array, rows: Samples, columns: Samples) -> Array:
    """The largest weighted pixel of each bin: onnxruntime takes the maximum before the interpolation's sum."""
    best: Array | None = None
    for row, row_weight in rows.sides():
        for column, column_weight in columns.sides():
            part = image[:, row[:, np.newaxis], column]
            part = part * np.multiply.outer(row_weight, column_weight).astype(image.dtype)
            best = part if best is None else np.maximum(best, part, out=best)
    assert best is not None
    split = best.reshape(len(image), rows.bins, -1, columns.bins, best.shape[2] // columns.bins)
    result: Array = split.max(axis=(2, 4))
    return result
