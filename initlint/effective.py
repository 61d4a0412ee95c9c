"""A weight as its operator uses it, in real units: stored, dequantised, or computed by the graph."""

import numpy as np

from initlint.dequantised import along_axis, in_blocks, per_tensor
from initlint.elements import BITS, FLOATS
from initlint.folding import dequantised, fold, in_memory, unpack_blocks
from initlint.graph import Node, StoredTensor
from initlint.index import Index
from initlint.operators.table import Array
from initlint.slots import Slot

__all__ = ["MOST_FOLDED", "effective_weight"]

HELD = 1 << 16  # elements of a quantised weight up to which it is dequantised once and kept
MOST_FOLDED = 1 << 27  # elements of a computed weight


def effective_weight(
    node: Node, slot: Slot, name: str, stored: StoredTensor, index: Index, *, plain: bool
) -> tuple[StoredTensor | None, bool]:
    """The weight the operator uses, in real units; the flag says whether it is stored as integers."""
    if node.op == "MatMulNBits":
        return _blocks(node, index), True
    if plain and stored.dtype in FLOATS:
        return stored, False
    lazy = _dequantised_where_read(node, slot, name, index) if stored.count >= HELD else None
    if lazy is not None:
        return lazy, True
    if stored.count > MOST_FOLDED:
        return (stored, True) if plain else (None, True)
    values = fold(name, index)
    if values is None:
        return None, stored.dtype not in FLOATS
    if values.dtype.kind == "f":
        return in_memory(stored.name, values.astype(np.float32, copy=False)), stored.dtype not in FLOATS
    scale = _constant_input(node, slot.scale, index)
    if scale is None:
        scale = _scale_behind(node, index)
    zero = _constant_input(node, slot.zero, index)
    if scale is None:
        scale = np.ones((), np.float32)
    fans = slot.fans(node, values.shape)
    axis = fans.output_axes[-1] if fans is not None and fans.output_axes else None
    try:
        real = dequantised(values, scale, zero, axis)
    except ValueError:
        return None, True
    return in_memory(stored.name, real), True


def _dequantised_where_read(node: Node, slot: Slot, name: str, index: Index) -> StoredTensor | None:
    """A large quantised weight with scales of a usual form, in real units as it is read; None for any other."""
    behind = index.producer.get(name)
    if behind is not None and behind.op == "DequantizeLinear" and behind.inputs[0] in index.stored:
        codes = index.stored[behind.inputs[0]]
        scale, zero = _constant_input(behind, 1, index), _constant_input(behind, 2, index)
        axis = int(behind.attributes.get("axis", 1))  # type: ignore[arg-type]
        block = int(behind.attributes.get("block_size", 0))  # type: ignore[arg-type]
    elif name in index.stored and index.stored[name].dtype in {"int8", "uint8"}:
        codes = index.stored[name]
        scale, zero = _constant_input(node, slot.scale, index), _constant_input(node, slot.zero, index)
        fans = slot.fans(node, codes.shape)
        axis, block = (fans.output_axes[-1] if fans is not None and fans.output_axes else -1), 0
        scale = _scale_behind(node, index) if scale is None else scale
    else:
        return None
    if scale is None or (codes.dtype not in FLOATS and BITS[codes.dtype] > 8):
        return None
    if scale.size == 1 and (zero is None or zero.size == 1):
        return per_tensor(codes, scale, zero)
    axis %= len(codes.shape)
    if block:
        return in_blocks(codes, codes.shape, axis, block, scale, zero)
    if scale.ndim == 1 and scale.size == codes.shape[axis] and (zero is None or zero.size in (1, scale.size)):
        return along_axis(codes, axis, scale, zero)
    return None


def _constant_input(node: Node, position: int | None, index: Index) -> Array | None:
    if position is None or len(node.inputs) <= position or node.inputs[position] not in index.constants:
        return None
    return fold(node.inputs[position], index) if node.inputs[position] else None


def _scale_behind(node: Node, index: Index) -> Array | None:
    """The weight's scale in a dynamically quantised graph: the constant factor of the Mul behind the integer product."""
    name = node.outputs[0]
    for _ in range(4):
        following = index.only_consumer(name)
        if following is None:
            return None
        if following.op == "Mul":
            other = next((item for item in following.inputs if item != name), "")
            if other in index.constants:
                return fold(other, index)
            factor = index.producer.get(other)
            if factor is not None and factor.op == "Mul":
                constant = next((item for item in factor.inputs if item in index.constants), None)
                return fold(constant, index) if constant is not None else None
            return None
        if following.op not in {"Cast", "Identity", "Reshape"}:
            return None
        name = following.outputs[0]
    return None


def _blocks(node: Node, index: Index) -> StoredTensor | None:
    """MatMulNBits' weight written out."""
    sizes = [node.attributes.get(key) for key in ("K", "N", "bits", "block_size")]
    if not all(isinstance(item, int) for item in sizes) or any(name not in index.stored for name in node.inputs[1:3]):
        return None
    columns, rows, bits, block = (int(item) for item in sizes)  # type: ignore[arg-type]
    if bits == 4 and columns % block == 0 and block % 2 == 0:
        lazy = _nibbles(node, rows, columns, block, index)
        if lazy is not None:
            return lazy
    if rows * columns > MOST_FOLDED or bits not in (2, 4, 8):
        return None
    zeros = index.stored[node.inputs[3]].read() if len(node.inputs) > 3 and node.inputs[3] in index.stored else None
    try:
        real = unpack_blocks(
            index.stored[node.inputs[1]].read(), index.stored[node.inputs[2]].read(), zeros,
            bits=bits, columns=columns, rows=rows, block=block,
        )  # fmt: skip
    except ValueError:
        return None
    return in_memory(node.inputs[1], real.astype(np.float32))


def _nibbles(node: Node, rows: int, columns: int, block: int, index: Index) -> StoredTensor | None:
    """MatMulNBits' 4-bit weight in real units as it is read; None where its parts do not fit each other."""
    packed, scales = index.stored[node.inputs[1]], index.stored[node.inputs[2]].read()
    blocks = rows * columns // block
    if packed.nbytes * 2 != rows * columns or scales.size != blocks or packed.dtype != "uint8":
        return None
    zeros: Array = np.full(1, 8, np.float32)
    if len(node.inputs) > 3 and node.inputs[3]:
        if node.inputs[3] not in index.stored:
            return None
        zeros = index.stored[node.inputs[3]].read()
        if zeros.dtype == np.uint8:
            flat = zeros.reshape(rows, -1).view(np.uint8)
            zeros = np.stack([flat & 15, flat >> 4], axis=-1).reshape(rows, -1)[:, : columns // block]
    codes = StoredTensor(packed.name, "uint4", (rows, columns), packed.source, packed.offset, packed.nbytes)
    if zeros.size == 1:
        zeros = np.broadcast_to(zeros, (blocks,))
    return in_blocks(codes, (rows, columns), 1, block, scales, zeros) if zeros.size == blocks else None
