"""Weights that the graph computes from stored ones (weight_norm, standardisation, dequantisation), within bounds."""

from math import prod

import numpy as np

from initlint.errors import Refusal
from initlint.graph import Node, StoredTensor
from initlint.index import Index
from initlint.operators import load
from initlint.operators.table import Array, Draws, NotComputed, Run, Stored, Values, evaluate
from initlint.source import BytesSource

__all__ = ["ancestors", "filled", "fold", "in_memory"]

MOST_NODES = 400  # on the way to one weight
GROWTH = 8  # a computed weight may be this much larger than the stored tensors it comes from
SMALL = 1 << 20  # elements that it may have whatever it comes from: sines made of their frequencies
ALL = 1 << 24  # elements of all that is computed on the way to one weight, beside GROWTH


def ancestors(name: str, index: Index) -> tuple[list[Node], list[StoredTensor]]:
    """Nodes (in order of evaluation) and stored tensors that a constant is computed from; depth first, no recursion."""
    order: list[Node] = []
    stored: dict[str, StoredTensor] = {}
    seen: set[str] = set()
    pending: list[tuple[str, bool]] = [(name, False)]
    while pending and len(seen) < MOST_NODES * 4:
        current, ready = pending.pop()
        node = index.producer.get(current)
        if ready:
            if node is not None and node not in order:
                order.append(node)
            continue
        if current in seen:
            continue
        seen.add(current)
        if current in index.stored:
            stored[current] = index.stored[current]
        elif node is not None:
            pending.append((current, True))
            pending.extend((item, False) for item in node.inputs if item)
    return order, list(stored.values())


def fold(name: str, index: Index) -> Array | None:
    """The value of a constant, without the axis of draws; None where it cannot be computed within bounds."""
    load()
    order, stored = ancestors(name, index)
    if len(order) > MOST_NODES:
        return None
    size = sum(tensor.count for tensor in stored)
    run = Run(draws=1, float_type=np.float32, max_elements=max(GROWTH * size, SMALL))
    computed = 0
    values: dict[str, Draws] = {tensor.name: Stored(tensor, run.float_type) for tensor in stored}
    with np.errstate(all="ignore"):
        for node in order:
            try:
                outputs = evaluate(node, run, [values[item] if item else None for item in node.inputs])
            except (NotComputed, Refusal, ValueError, TypeError, KeyError, IndexError, MemoryError, AttributeError):
                return None
            computed += sum(value.size for value in outputs if value is not None)
            if computed > max(MOST_NODES * GROWTH * size, ALL):
                return None
            for output, value in zip(node.outputs, outputs, strict=False):
                if output and value is not None:
                    values[output] = Values(value, value.dtype.name)
    found = values.get(name)
    return None if found is None else found.values[0]


def in_memory(name: str, values: Array, dtype: str | None = None) -> StoredTensor:
    """An array as a stored tensor, so that whatever reads weights reads it too."""
    array = np.ascontiguousarray(values)
    payload = array.reshape(-1).view(np.uint8)
    return StoredTensor(name, dtype or array.dtype.name, array.shape, BytesSource(payload), 0, payload.size)


class _Fill:
    """One value over and over: the bytes of a tensor that was never written out."""

    location = "<memory>"

    def __init__(self, value: Array) -> None:
        self.pattern = np.ascontiguousarray(value).reshape(-1)[:1].view(np.uint8)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer with the pattern, from its place at the offset on."""
        width = self.pattern.size
        start = offset % width
        repeats = -(-(start + len(buffer)) // width)
        buffer[:] = np.tile(self.pattern, repeats)[start : start + len(buffer)].data


def filled(node: Node, index: Index, most: int) -> StoredTensor | None:
    """What a ConstantOfShape of a stored shape gives, as a tensor that takes no memory; None beyond `most` elements."""
    shape_tensor = index.stored.get(node.inputs[0])
    if node.op != "ConstantOfShape" or shape_tensor is None or shape_tensor.dtype != "int64" or shape_tensor.count > 8:
        return None
    shape = tuple(int(extent) for extent in shape_tensor.read().reshape(-1))
    count = prod(shape)
    if any(extent < 0 for extent in shape) or not 0 < count <= most:
        return None
    value = node.attributes.get("value")
    if value is not None and not isinstance(value, StoredTensor):
        return None
    array = np.zeros(1, np.float32) if value is None else value.read()
    if array.size != 1:
        return None
    dtype = "float32" if value is None else value.dtype
    return StoredTensor(node.outputs[0], dtype, shape, _Fill(array), 0, count * array.itemsize)


def dequantised(values: Array, scale: Array, zero: Array | None, axis: int | None) -> Array:
    """(values - zero) * scale in float32; scale and zero point are single numbers or run along `axis`."""

    def along(item: Array) -> Array:
        if item.size == 1:
            return item.reshape(())
        if item.ndim == 2 and values.ndim == 3 and item.shape == (values.shape[0], values.shape[2]):
            return item[:, np.newaxis]  # a recurrent weight's columns in each direction
        place = axis if axis is not None else values.ndim - 1
        if item.size != values.shape[place] and item.size == values.shape[0]:
            place = 0
        shape = [1] * values.ndim
        shape[place] = item.size
        return item.reshape(shape)

    wide = values.astype(np.float32)
    if zero is not None:
        wide = wide - along(zero.astype(np.float32))
    return wide * along(scale.astype(np.float32))


def unpack_blocks(
    packed: Array, scales: Array, zeros: Array | None, *, bits: int, columns: int, rows: int, block: int
) -> Array:
    """MatMulNBits' weight `[rows(N), columns(K)]` from `[N, blocks, bytes]`, low bits first (onnxruntime's contrib spec)."""
    raw = np.ascontiguousarray(packed).view(np.uint8).reshape(rows, -1)
    per_byte = 8 // bits
    mask = (1 << bits) - 1
    codes = np.stack([(raw >> (bits * item)) & mask for item in range(per_byte)], axis=-1).reshape(rows, -1, block)
    blocks = codes.shape[1]
    middle: Array = np.full((rows, blocks, 1), 1 << (bits - 1), np.float32)
    if zeros is not None:
        if zeros.dtype == np.uint8:
            flat = np.ascontiguousarray(zeros).reshape(rows, -1)
            points = np.stack([(flat >> (bits * item)) & mask for item in range(per_byte)], axis=-1).reshape(rows, -1)
            middle = points[:, :blocks, np.newaxis].astype(np.float32)
        else:
            middle = zeros.astype(np.float32).reshape(rows, blocks, 1)
    wide = (codes.astype(np.float32) - middle) * scales.astype(np.float32).reshape(rows, blocks, 1)
    return wide.reshape(rows, -1)[:, :columns]
