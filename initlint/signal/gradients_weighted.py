"""Gradient rules of weighted, reducing, pooling and normalising operators."""

from collections.abc import Sequence

import msgspec
import numpy as np

from initlint.graph import Node
from initlint.operators.table import Array, Draws, NotComputed, Run, Values, evaluate
from initlint.signal.gradients import gradient, sum_to

__all__ = ["axes_of"]


def axes_of(node: Node, inputs: Sequence[Draws | None], rank: int) -> tuple[int, ...]:
    """The axes a Reduce operator works on, counted with the axis of draws; from the attribute or the second input."""
    axes = node.attributes.get("axes")
    if axes is None and len(inputs) > 1 and inputs[1] is not None:
        axes = tuple(int(item) for item in inputs[1].values.reshape(-1))
    if not axes:
        return () if node.attributes.get("noop_with_empty_axes") else tuple(range(1, rank + 1))
    return tuple(sorted(int(axis) % rank + 1 for axis in axes))  # type: ignore[union-attr, arg-type]


def _kept(value: Array, axes: tuple[int, ...], rank: int) -> Array:
    """A reduced array with the reduced axes back as ones."""
    return value if value.ndim == rank + 1 else np.expand_dims(value, axes)


@gradient("ReduceMean", "ReduceSum", "GlobalAveragePool")
def _reduce(
    node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    shape = inputs[0].shape
    rank = len(shape)
    axes = tuple(range(3, rank + 1)) if node.op == "GlobalAveragePool" else axes_of(node, inputs, rank)
    count = 1 if node.op == "ReduceSum" else int(np.prod([shape[axis - 1] for axis in axes], dtype=np.int64))
    spread = np.broadcast_to(_kept(gradients[0], axes, rank) / count, (gradients[0].shape[0], *shape))
    return (spread, *(None for _ in inputs[1:]))


@gradient("ReduceMax", "ReduceMin", "GlobalMaxPool")
def _reduce_extreme(
    node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = len(inputs[0].shape)
    axes = tuple(range(3, rank + 1)) if node.op == "GlobalMaxPool" else axes_of(node, inputs, rank)
    winner = inputs[0].values == _kept(outputs[0], axes, rank)
    return (_kept(gradients[0], axes, rank) * winner, *(None for _ in inputs[1:]))


@gradient("ReduceL2")
def _reduce_l2(
    node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = len(inputs[0].shape)
    axes = axes_of(node, inputs, rank)
    norm = np.maximum(_kept(outputs[0], axes, rank), 1e-30)
    return (_kept(gradients[0], axes, rank) * inputs[0].values / norm, *(None for _ in inputs[1:]))


@gradient("Softmax", "LogSoftmax")
def _softmax(
    node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = len(inputs[0].shape)
    axis = int(node.attributes.get("axis", -1 if node.version >= 13 else 1)) % rank + 1  # type: ignore[arg-type]
    axes = tuple(range(axis, rank + 1)) if node.version < 13 else (axis,)
    value = gradients[0]
    if node.op == "Softmax":
        return (outputs[0] * (value - (value * outputs[0]).sum(axis=axes, keepdims=True)),)
    return (value - np.exp(outputs[0]) * value.sum(axis=axes, keepdims=True),)


def _normalised(values: Array, gradients: Array, axes: tuple[int, ...], epsilon: float, *, centred: bool) -> Array:
    """Gradient through (x - mean) / sqrt(var + eps) over `axes` (Ba et al. 2016); without the mean for RMS."""
    mean = values.mean(axis=axes, keepdims=True) if centred else 0.0
    deviation = values - mean
    inverse = 1.0 / np.sqrt((deviation * deviation).mean(axis=axes, keepdims=True) + epsilon)
    unit = deviation * inverse
    projected = gradients - unit * (gradients * unit).mean(axis=axes, keepdims=True)
    if centred:
        projected = projected - gradients.mean(axis=axes, keepdims=True)
    return np.asarray(projected * inverse)


@gradient(
    "LayerNormalization",
    "RMSNormalization",
    "SimplifiedLayerNormalization",
    "com.microsoft::SimplifiedLayerNormalization",
)
def _layer_norm(
    node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = len(inputs[0].shape)
    axis = int(node.attributes.get("axis", -1)) % rank + 1  # type: ignore[arg-type]
    epsilon = float(node.attributes.get("epsilon", 1e-5))  # type: ignore[arg-type]
    scaled = gradients[0] * inputs[1].values
    centred = node.op == "LayerNormalization"
    result = _normalised(inputs[0].values, scaled, tuple(range(axis, rank + 1)), epsilon, centred=centred)
    return (result, *(None for _ in inputs[1:]))


@gradient("InstanceNormalization")
def _instance_norm(
    node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = len(inputs[0].shape)
    scale = inputs[1].values.reshape(1, 1, -1, *(1,) * (rank - 2))
    epsilon = float(node.attributes.get("epsilon", 1e-5))  # type: ignore[arg-type]
    axes = tuple(range(3, rank + 1))
    return _normalised(inputs[0].values, gradients[0] * scale, axes, epsilon, centred=True), None, None


@gradient("BatchNormalization")
def _batch_norm(
    node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    rank = len(inputs[0].shape)
    epsilon = float(node.attributes.get("epsilon", 1e-5))  # type: ignore[arg-type]
    factor = (inputs[1].values / np.sqrt(inputs[4].values + epsilon)).reshape(1, 1, -1, *(1,) * (rank - 2))
    return (gradients[0] * factor, *(None for _ in inputs[1:]))


@gradient("MatMul")
def _matmul(
    _node: Node, run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    left, right = inputs
    value = gradients[0]
    left_values, right_values = left.values, right.values
    if len(left.shape) == 1:
        value, left_values = np.expand_dims(value, -2), left_values[:, np.newaxis, :]
    if len(right.shape) == 1:
        value, right_values = np.expand_dims(value, -1), right_values[:, :, np.newaxis]
    found: list[Array | None] = [None, None]
    if not left.constant:
        product = sum_to(_batched(value, np.swapaxes(right_values, -1, -2)), left_values.shape[1:])
        found[0] = product.reshape(value.shape[0], *left.shape)
    if not right.constant:
        product = sum_to(_batched(np.swapaxes(left_values, -1, -2), value), right_values.shape[1:])
        found[1] = product.reshape(value.shape[0], *right.shape)
    del run
    return tuple(found)


def _batched(left: Array, right: Array) -> Array:
    """Matrix product of draws whose ranks may differ behind the axis of draws."""
    rank = max(left.ndim, right.ndim)
    left, right = (item.reshape(item.shape[0], *(1,) * (rank - item.ndim), *item.shape[1:]) for item in (left, right))
    if (
        right.size == right.shape[-2] * right.shape[-1]
    ):  # one matrix for all draws: one product in place of many narrow ones
        flat = left.reshape(-1, left.shape[-1]) @ right.reshape(right.shape[-2:])
        return np.asarray(flat.reshape(*left.shape[:-1], right.shape[-1]))
    return np.asarray(np.matmul(left, right))


@gradient("Gemm")
def _gemm(
    node: Node, _run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    alpha = float(node.attributes.get("alpha", 1.0))  # type: ignore[arg-type]
    left, right = inputs[0], inputs[1]
    if left is None or right is None:
        raise NotComputed("no input")
    a = np.swapaxes(left.values, -1, -2) if node.attributes.get("transA") else left.values
    b = np.swapaxes(right.values, -1, -2) if node.attributes.get("transB") else right.values
    found: list[Array | None] = [None] * len(inputs)
    if not left.constant:
        value = alpha * _batched(gradients[0], np.swapaxes(b, -1, -2))
        found[0] = np.swapaxes(value, -1, -2) if node.attributes.get("transA") else value
    if not right.constant:
        value = alpha * _batched(np.swapaxes(a, -1, -2), gradients[0])
        found[1] = np.swapaxes(value, -1, -2) if node.attributes.get("transB") else value
    if len(inputs) > 2 and inputs[2] is not None and not inputs[2].constant:
        beta = float(node.attributes.get("beta", 1.0))  # type: ignore[arg-type]
        found[2] = sum_to(beta * gradients[0], inputs[2].shape)
    return tuple(found)


@gradient("Conv")
def _conv(
    node: Node, run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """The transposed convolution of the gradient with the same weight."""
    spatial = inputs[0].shape[2:]
    rank = len(spatial)
    kernel = inputs[1].shape[2:]
    strides = _list(node, "strides", rank)
    dilations = _list(node, "dilations", rank)
    begins, ends = _conv_pads(node, spatial, kernel, strides, dilations)
    del ends
    full = [
        (outputs[0].shape[3 + axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        for axis in range(rank)
    ]
    attributes = {
        "strides": tuple(strides),
        "dilations": tuple(dilations),
        "group": node.attributes.get("group", 1),
        "kernel_shape": tuple(kernel),
        "pads": (0,) * (2 * rank),
    }
    back = msgspec.structs.replace(node, op="ConvTranspose", domain="", attributes=attributes)
    weight = inputs[1]
    found = evaluate(back, run, [Values(gradients[0], "float32"), weight])[0]
    if found is None:
        raise NotComputed("no gradient")
    # `found` covers the padded input as far as the kernel reached; cut the padding, fill what it never reached.
    result = np.zeros((found.shape[0], *inputs[0].shape), found.dtype)
    source = [slice(None)] * 3
    target = [slice(None)] * 3
    for axis in range(rank):
        reach = min(full[axis] - begins[axis], spatial[axis])
        source.append(slice(begins[axis], begins[axis] + reach))
        target.append(slice(0, reach))
    result[tuple(target)] = found[tuple(source)]
    return (result, *(None for _ in inputs[1:]))


def _list(node: Node, name: str, rank: int) -> list[int]:
    value = node.attributes.get(name)
    return [int(item) for item in value] if isinstance(value, tuple) and value else [1] * rank  # type: ignore[arg-type]


def _conv_pads(
    node: Node, spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    rank = len(spatial)
    mode = node.attributes.get("auto_pad", "NOTSET")
    pads = node.attributes.get("pads")
    if mode in ("NOTSET", "", b"NOTSET"):
        flat = [int(item) for item in pads] if isinstance(pads, tuple) and pads else [0] * (2 * rank)  # type: ignore[arg-type]
        return flat[:rank], flat[rank:]
    begins, ends = [], []
    for axis in range(rank):
        wanted = 0
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            out = -(-spatial[axis] // strides[axis])
            wanted = max(0, (out - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1 - spatial[axis])
        before = wanted // 2 if mode == "SAME_UPPER" else wanted - wanted // 2
        begins.append(before)
        ends.append(wanted - before)
    return begins, ends


@gradient("ConvTranspose")
def _conv_transpose(
    node: Node, run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """The convolution of the gradient with the same weight, stride and padding."""
    rank = len(inputs[0].shape) - 2
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode not in ("NOTSET", "") or node.attributes.get("output_shape"):
        raise NotComputed("ConvTranspose with automatic padding")
    attributes = {
        "strides": tuple(_list(node, "strides", rank)),
        "dilations": tuple(_list(node, "dilations", rank)),
        "group": node.attributes.get("group", 1),
        "kernel_shape": tuple(inputs[1].shape[2:]),
        "pads": node.attributes.get("pads", (0,) * (2 * rank)),
    }
    forward = msgspec.structs.replace(node, op="Conv", domain="", attributes=attributes)
    found = evaluate(forward, run, [Values(gradients[0], "float32"), inputs[1]])[0]
    if found is None:
        raise NotComputed("no gradient")
    cut = (slice(None), slice(None), slice(None), *(slice(0, extent) for extent in inputs[0].shape[2:]))
    return (found[cut], *(None for _ in inputs[1:]))


@gradient("MaxPool", "AveragePool")
def _pool(
    node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Tap by tap: a maximum sends its gradient to where it was taken, an average to every tap inside."""
    values = inputs[0].values
    spatial = inputs[0].shape[2:]
    rank = len(spatial)
    kernel = _list(node, "kernel_shape", rank)
    strides, dilations = _list(node, "strides", rank), _list(node, "dilations", rank)
    begins, _ends = _conv_pads(node, spatial, kernel, strides, dilations)
    out = outputs[0].shape[3:]
    size = [
        max(spatial[axis] + begins[axis], (out[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1)
        for axis in range(rank)
    ]
    fill = -np.inf if node.op == "MaxPool" else 0.0
    padded = np.full((*values.shape[:3], *size), fill, values.dtype)
    inside = (slice(None),) * 3 + tuple(slice(begins[a], begins[a] + spatial[a]) for a in range(rank))
    padded[inside] = values
    result = np.zeros_like(padded)
    count = _tap_counts(node, spatial, begins, out, size, kernel, strides, dilations) if node.op != "MaxPool" else 1.0
    for tap in np.ndindex(*kernel):
        window = (slice(None),) * 3 + tuple(
            slice(tap[a] * dilations[a], tap[a] * dilations[a] + (out[a] - 1) * strides[a] + 1, strides[a])
            for a in range(rank)
        )
        if node.op == "MaxPool":
            result[window] += gradients[0] * (padded[window] == outputs[0])
        else:
            result[window] += gradients[0] / count
    return (result[inside],)


def _tap_counts(
    node: Node, spatial: Sequence[int], begins: Sequence[int], out: Sequence[int], size: Sequence[int],
    kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
) -> Array | float:  # fmt: skip
    if node.attributes.get("count_include_pad"):
        return float(np.prod(kernel))
    ones = np.zeros(size)
    ones[tuple(slice(begins[a], begins[a] + spatial[a]) for a in range(len(size)))] = 1
    total: Array = np.zeros(out)
    for tap in np.ndindex(*kernel):
        total = (
            total
            + ones[
                tuple(
                    slice(tap[a] * dilations[a], tap[a] * dilations[a] + (out[a] - 1) * strides[a] + 1, strides[a])
                    for a in range(len(size))
                )
            ]
        )
    return np.maximum(total, 1)
