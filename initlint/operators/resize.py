"""Resampling on a regular grid, one axis after the other: Resize and Upsample in all their opsets.

Coordinates are computed in float32, as onnxruntime does: at a tie of `nearest` the rounding decides the pixel.
"""

from collections.abc import Callable, Sequence
from math import floor

import msgspec
import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axes_in, constant, integers, invalid, number, numbers, real, reals, text
from initlint.operators.table import Array, Draws, Run, operator
from initlint.operators.windows import LARGEST

__all__ = ["MODES", "cubic_kernel"]

DENSE = 512  # input extents up to which a matrix product is quicker than gathering each tap
MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear", "cubic": "cubic"}


class Sampling(msgspec.Struct, frozen=True):
    """How an axis is resampled: everything but its extents."""

    mode: str  # nearest, linear or cubic
    coordinates: str = "asymmetric"
    nearest: str = "simple"
    cubic: float = -0.75
    exclude_outside: bool = False
    extrapolation: float | None = None  # value outside the region of tf_crop_and_resize
    antialias: bool = False
    region: tuple[Sequence[float], Sequence[float]] = msgspec.field(default=((), ()))


class Taps(msgspec.Struct, frozen=True):
    """For each output element the input elements it reads and their weights, `[outputs, taps]`."""

    places: Array
    weights: Array | None  # None: one tap of weight 1
    outside: Array  # outputs that take the extrapolation value


@operator("Upsample")
def upsample(node: Node, run: Run, x: Draws, scales: Draws | None = None) -> Array:
    """Resize of before opset 11: asymmetric coordinates."""
    return _older(node, run, x, scales)


def _older(node: Node, run: Run, x: Draws, scales: Draws | None) -> Array:
    factors = reals(node, "scales") if scales is None else _scales(scales)
    mode = MODES.get(text(node, "mode", "nearest"))
    if mode not in {"nearest", "linear"}:
        raise invalid(f"mode {text(node, 'mode', '')!r} does not exist")
    if len(factors) != len(x.shape):
        raise invalid(f"{len(factors)} scales for an input of rank {len(x.shape)}")
    return _resampled(run, x, list(range(len(factors))), factors, _extents(x.shape, factors), Sampling(mode))


def _scales(scales: Draws) -> list[float]:
    return [float(factor) for factor in constant(scales, "the scales").reshape(-1)]


def _extents(sizes: Sequence[int], factors: Sequence[float]) -> list[int]:
    if any(not 0 < factor < LARGEST for factor in factors):
        raise invalid(f"scales {list(factors)[:8]} are out of range")
    return [floor(np.float32(size) * np.float32(factor)) for size, factor in zip(sizes, factors, strict=True)]


@operator("Resize")
def resize(
    node: Node,
    run: Run,
    x: Draws,
    roi: Draws | None = None,
    scales: Draws | None = None,
    sizes: Draws | None = None,
) -> Array:
    """Resample to scales or sizes."""
    if node.version < 11:
        return _older(node, run, x, roi)
    mode = MODES.get(text(node, "mode", "nearest"))
    if mode is None:
        raise invalid(f"mode {text(node, 'mode', '')!r} does not exist")
    rank = len(x.shape)
    axes = axes_in(numbers(node, "axes"), rank) if "axes" in node.attributes else list(range(rank))
    own = [x.shape[axis] for axis in axes]
    if scales is not None and scales.shape != (0,):
        factors = _scales(scales)
        if len(factors) != len(axes):
            raise invalid(f"{len(factors)} scales for {len(axes)} axes")
        wanted = _extents(own, factors)
    elif sizes is not None:
        wanted = integers(sizes, "the sizes")
        if len(wanted) != len(axes) or any(not 0 <= extent < LARGEST for extent in wanted):
            raise invalid(f"sizes {wanted[:8]} for {len(axes)} axes")
        wanted, factors = _with_aspect(text(node, "keep_aspect_ratio_policy", "stretch"), own, wanted)
    else:
        raise invalid("neither scales nor sizes")
    coordinates = text(node, "coordinate_transformation_mode", "half_pixel")
    crop = coordinates == "tf_crop_and_resize"
    region: tuple[Sequence[float], Sequence[float]] = ((), ())
    if crop:
        bounds = [] if roi is None else [float(bound) for bound in constant(roi, "the region").reshape(-1)]
        if len(bounds) != 2 * len(axes):
            raise invalid(f"a region of {len(bounds)} bounds for {len(axes)} axes")
        region = (bounds[: len(axes)], bounds[len(axes) :])
    sampling = Sampling(
        mode,
        coordinates,
        text(node, "nearest_mode", "round_prefer_floor"),
        real(node, "cubic_coeff_a", -0.75),
        bool(number(node, "exclude_outside", 0)),
        real(node, "extrapolation_value", 0.0) if crop else None,
        bool(number(node, "antialias", 0)),
        region,
    )
    return _resampled(run, x, axes, factors, wanted, sampling)


def _with_aspect(policy: str, own: Sequence[int], wanted: list[int]) -> tuple[list[int], list[float]]:
    if 0 in own:
        raise invalid(f"an input of shape {tuple(own)} cannot be resized")
    ratios = [want / size for want, size in zip(wanted, own, strict=True)]
    if policy == "stretch":
        return wanted, ratios
    if policy not in {"not_larger", "not_smaller"}:
        raise invalid(f"keep_aspect_ratio_policy {policy!r} does not exist")
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [floor(ratio * size + 0.5) for size in own], [ratio] * len(own)


def _resampled(
    run: Run, x: Draws, axes: Sequence[int], factors: Sequence[float], wanted: Sequence[int], sampling: Sampling
) -> Array:
    full = list(x.shape)
    for axis, extent in zip(axes, wanted, strict=True):
        full[axis] = extent
    values = x.values
    run.claim(values.shape[0], *full)
    kind = values.dtype
    outside: list[tuple[int, Array]] = []
    # The last axis first: rows are then copied whole, and the costly pass sees the smaller array.
    for position in sorted(range(len(axes)), key=lambda index: -axes[index]):
        axis, extent, factor = axes[position], wanted[position], factors[position]
        size = x.shape[axis]
        if extent == size and factor == 1 and sampling.extrapolation is None:
            continue
        if not size:
            raise invalid(f"an axis of 0 cannot become one of {extent}")
        bounds = (sampling.region[0][position], sampling.region[1][position]) if sampling.region[0] else (0.0, 1.0)
        taps = _taps(run, size, extent, np.float32(factor), sampling, bounds)
        if taps.outside.any():
            outside.append((axis, taps.outside))
        if kind.kind != "f" and taps.weights is not None:
            values = values.astype(np.float64)
        values = _applied(run, values, axis + 1, taps)
    if kind.kind in "iu" and values.dtype != kind:
        # Integer pixels: onnxruntime cuts the fraction and saturates.
        limits = np.iinfo(kind)
        values = np.clip(values, limits.min, limits.max).astype(kind)
    if outside:
        values = np.array(values)
        for axis, mask in outside:
            values[(slice(None),) * (axis + 1) + (mask,)] = sampling.extrapolation
    return values


def _coordinates(size: int, extent: int, factor: np.float32, how: str, bounds: tuple[float, float]) -> Array:
    """Place in the input of each output element, in float32."""
    at = np.arange(extent, dtype=np.float32)
    half, one = np.float32(0.5), np.float32(1)
    if how == "asymmetric":
        return at / factor
    if how == "align_corners":
        return at * np.float32(size - 1) / np.float32(extent - 1) if extent > 1 else np.zeros(extent, np.float32)
    if how == "tf_crop_and_resize":
        start, end = (np.float32(bound) for bound in bounds)
        last = np.float32(size - 1)
        if extent > 1:
            return start * last + at * (end - start) * last / np.float32(extent - 1)
        return np.full(extent, half * (start + end) * last, np.float32)
    if how == "pytorch_half_pixel" and extent <= 1:
        return np.zeros(extent, np.float32)
    plain = (at + half) / factor - half
    if how in {"half_pixel", "pytorch_half_pixel"}:
        return plain
    if how == "half_pixel_symmetric":
        adjustment = np.float32(extent) / (factor * np.float32(size))
        return np.float32(size) / np.float32(2) * (one - adjustment) + plain
    raise invalid(f"coordinate_transformation_mode {how!r} does not exist")


NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda at: np.ceil(at - np.float32(0.5)),
    "round_prefer_ceil": lambda at: np.floor(at + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _taps(
    run: Run, size: int, extent: int, factor: np.float32, sampling: Sampling, bounds: tuple[float, float]
) -> Taps:
    at = _coordinates(size, extent, factor, sampling.coordinates, bounds)
    outside = np.zeros(extent, bool)
    if sampling.extrapolation is not None:
        outside = (at < 0) | (at > size - 1)
    if sampling.mode == "nearest":
        if sampling.nearest == "simple":  # before opset 11, as onnxruntime keeps it
            places = np.ceil(at) if factor < 1 else np.floor(at)
        elif sampling.nearest in NEAREST:
            places = NEAREST[sampling.nearest](at)
        else:
            raise invalid(f"nearest_mode {sampling.nearest!r} does not exist")
        return Taps(np.clip(places, 0, size - 1).astype(np.int64)[:, np.newaxis], None, outside)
    if sampling.antialias and factor < 1:
        places, weights = _antialiased(run, at, factor, sampling)
    elif sampling.mode == "linear":
        low = np.floor(at)
        places = low[:, np.newaxis] + np.arange(2)
        share = at - low
        weights = np.stack([1 - share, share], 1)
    else:
        low = np.floor(at)
        places = low[:, np.newaxis] + np.arange(-1, 3)
        weights = cubic_kernel(places - at[:, np.newaxis], sampling.cubic)
    places = places.astype(np.int64)
    if sampling.exclude_outside:
        weights = np.where((places >= 0) & (places < size), weights, 0)
        weights = weights / weights.sum(axis=1, keepdims=True)
    return Taps(np.clip(places, 0, size - 1), weights, outside)


def cubic_kernel(distance: Array, a: float) -> Array:
    """The convolution kernel of Keys (1981) with parameter a."""
    size = np.abs(distance)
    near = ((a + 2) * size - (a + 3)) * size * size + 1
    far = ((a * size - 5 * a) * size + 8 * a) * size - 4 * a
    return np.where(size <= 1, near, np.where(size < 2, far, 0))


def _antialiased(run: Run, at: Array, factor: np.float32, sampling: Sampling) -> tuple[Array, Array]:
    """The filter widened by the downscaling, its weights made to sum to one (Pillow's resize)."""
    reach = (1.0 if sampling.mode == "linear" else 2.0) / float(factor)
    centre = at.astype(np.float64) + 0.5
    first = np.floor(centre - reach + 0.5)
    last = np.floor(centre + reach + 0.5)
    width = int((last - first).max(initial=0))
    run.claim(1, len(at), width)
    places = first[:, np.newaxis] + np.arange(width)
    distance = (places - centre[:, np.newaxis] + 0.5) * float(factor)
    if sampling.mode == "linear":
        weights = np.maximum(1 - np.abs(distance), 0)
    else:
        weights = cubic_kernel(distance, sampling.cubic)
    weights = np.where(places < last[:, np.newaxis], weights, 0)
    return places, weights / weights.sum(axis=1, keepdims=True)


def _applied(run: Run, x: Array, axis: int, taps: Taps) -> Array:
    """Resample one axis of an array."""
    if run.trace is not None:
        run.trace.append((axis, x.shape[axis], taps.places, taps.weights))
    if taps.weights is None:
        return np.take(x, taps.places[:, 0], axis)
    outputs, count = taps.places.shape
    size = x.shape[axis]
    shape = (*x.shape[:axis], outputs, *x.shape[axis + 1 :])
    if size <= DENSE or count > 8:
        run.claim(outputs, size)
        matrix = np.zeros((outputs, size), x.dtype)
        np.add.at(matrix, (np.arange(outputs)[:, np.newaxis], taps.places), taps.weights.astype(x.dtype))
        trail = int(np.prod(x.shape[axis + 1 :]))
        run.claim(*shape, work=float(np.prod(shape)) * size)
        if trail == 1:
            return (x.reshape(-1, size) @ matrix.T).reshape(shape)
        return np.matmul(matrix, x.reshape(-1, size, trail)).reshape(shape)
    run.claim(*shape, work=float(np.prod(shape)) * count)
    column = (outputs, *(1,) * (x.ndim - axis - 1))
    result: Array | None = None
    for tap in range(count):
        part = np.take(x, taps.places[:, tap], axis)
        part *= taps.weights[:, tap].astype(x.dtype).reshape(column)
        result = part if result is None else np.add(result, part, out=result)
    return np.zeros(shape, x.dtype) if result is None else result
