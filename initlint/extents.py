"""What the first operators that read an input say of it: a free dimension that a weight decides is not guessed."""

from collections import deque
from collections.abc import Iterator, Mapping

from initlint.graph import Model, Node, StoredTensor, ValueInfo

__all__ = ["dimension", "needed_sizes", "turned_round"]

# Operators that give back the dimensions they are given.
_SAME = frozenset(
    {
        "Identity", "Cast", "Clip", "Abs", "Neg", "Relu", "Sigmoid", "Tanh", "Sqrt", "Exp", "Log", "Dropout", "LeakyRelu",
        "Where", "Max", "Min", "QuantizeLinear", "DequantizeLinear", "Erf", "Round", "Floor", "Ceil", "Sign",
    }
)  # fmt: skip
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div", "Pow"})
_CHANNELS = {  # slot of a vector with one entry for each channel (axis 1)
    "BatchNormalization": 1, "InstanceNormalization": 1,
}  # fmt: skip
_STORED = frozenset({"Identity", "Cast", "DequantizeLinear"})
_MOST_INDICES = 1 << 16
_MOST = 64  # tensors that one input is followed through


def dimension(info: ValueInfo, axis: int) -> str:
    """The name of a free dimension: its own, or the input's with the axis."""
    extent = (info.shape or ())[axis]
    return extent if isinstance(extent, str) and extent else f"{info.name}[{axis}]"


def needed_sizes(model: Model, consumers: Mapping[str, list[Node]]) -> dict[str, int]:
    """Sizes of the free dimensions that weights decide, by name."""
    found: dict[str, int] = {}
    declared = {info.name: info for info in model.graph.inputs}
    for (name, axis), size in _needed_extents(model, consumers).items():
        extent = (declared[name].shape or ())[axis]
        if not isinstance(extent, int) or extent <= 0:
            found.setdefault(dimension(declared[name], axis), size)
    return found


def _needed_extents(model: Model, consumers: Mapping[str, list[Node]]) -> dict[tuple[str, int], int]:
    """Extents by graph input and axis. Where two operators ask for different ones, the axis is left out."""
    shapes = {tensor.name: tensor.shape for tensor in model.initializers()}
    for node in model.nodes():
        if node.op in _STORED and node.inputs and node.inputs[0] in shapes:
            shapes[node.outputs[0]] = shapes[node.inputs[0]]
        elif node.op == "Transpose" and node.inputs[0] in shapes:
            shape = shapes[node.inputs[0]]
            order = node.attributes.get("perm")
            axes = order if isinstance(order, tuple) else tuple(reversed(range(len(shape))))
            shapes[node.outputs[0]] = tuple(shape[int(axis)] for axis in axes)  # type: ignore[arg-type]
    found: dict[tuple[str, int], set[int]] = {}
    least: dict[tuple[str, int], int] = {}
    last = {tensor.name: tensor for tensor in model.initializers() if tensor.dtype in {"int64", "int32"}}
    for info in model.graph.inputs:
        rank = len(info.shape or ())
        pending = deque([(info.name, tuple(range(rank)))])
        seen = {info.name}
        while pending and len(seen) < _MOST:
            name, axes = pending.popleft()
            for node in consumers.get(name, ()):
                for axis, extent in _asked(node, name, rank, shapes):
                    found.setdefault((info.name, axes[axis]), set()).add(extent)
                for axis, extent in _indexed(node, name, rank, last):
                    key = (info.name, axes[axis])
                    least[key] = max(least.get(key, 0), extent)
                if (after := _after(node, name, axes, shapes)) is not None and node.outputs[0] not in seen:
                    seen.add(node.outputs[0])
                    pending.append((node.outputs[0], after))
    for key, extent in least.items():
        found.setdefault(key, {extent})
    return {key: extents.pop() for key, extents in found.items() if len(extents) == 1}


def _after(
    node: Node, name: str, axes: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...] | None:
    """For each axis of the node's output the input's axis that it is; None where they are no longer the same."""
    if node.op == "Transpose" and isinstance(order := node.attributes.get("perm"), tuple):
        return tuple(axes[int(axis)] for axis in order) if len(order) == len(axes) else None  # type: ignore[arg-type]
    if node.op in _AFFINE:
        other = next((item for item in node.inputs if item != name), name)
        return axes if other == name or len(shapes.get(other, (0,) * 99)) <= len(axes) else None
    return axes if node.op in _SAME and node.inputs[0] == name else None


def _indexed(node: Node, name: str, rank: int, stored: Mapping[str, StoredTensor]) -> Iterator[tuple[int, int]]:
    """The axis that a Gather with stored indices looks into, and the least extent that holds them all."""
    if node.op != "Gather" or node.inputs[0] != name or node.inputs[1] not in stored:
        return
    indices, axis = stored[node.inputs[1]], node.attributes.get("axis", 0)
    if isinstance(axis, int) and -rank <= axis < rank and 0 < indices.count <= _MOST_INDICES:
        values = indices.read()
        if (highest := int(max(values.max(), -1 - values.min()))) > 0:
            yield axis % rank, highest + 1


def _asked(node: Node, name: str, rank: int, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[int, int]]:
    """Axes of what the node is given whose extent its constants decide."""
    slot = node.inputs.index(name)
    first = shapes.get(node.inputs[1], ()) if len(node.inputs) > 1 and slot == 0 else ()
    if node.op in _AFFINE:
        other = shapes.get(node.inputs[1 - slot], ()) if len(node.inputs) == 2 else ()
        if len(other) <= rank:
            yield from ((axis, extent) for axis, extent in enumerate(other, rank - len(other)) if extent > 1)
    elif not first or rank < 2:
        return
    elif node.op == "Conv" and len(first) == rank:
        groups = node.attributes.get("group", 1)
        yield 1, first[1] * (groups if isinstance(groups, int) else 1)
    elif node.op == "ConvTranspose" and len(first) == rank:
        yield 1, first[0]
    elif node.op == "Gemm" and rank == 2 and len(first) == 2:
        yield (0 if node.attributes.get("transA") else 1), first[1 if node.attributes.get("transB") else 0]
    elif node.op in {"MatMul", "MatMulInteger", "DynamicQuantizeMatMul"} and len(first) >= 2:
        yield rank - 1, first[-2]
    elif node.op in {"LSTM", "GRU", "RNN"} and rank == 3 and len(first) == 3:
        yield 2, first[2]
    elif node.op in _CHANNELS and len(first) == 1:
        yield 1, first[0]
    elif node.op == "LayerNormalization":
        yield from zip(range(rank - len(first), rank), first, strict=True) if len(first) <= rank else ()


def turned_round(name: str, consumers: Mapping[str, list[Node]], passing: frozenset[str]) -> bool:
    """Whether a mask says what is left out, not what is kept: all that reads it behind `passing` operators is Not."""
    ends: set[str] = set()
    pending, seen = deque([name]), {name}
    while pending and len(seen) < _MOST:
        for node in consumers.get(pending.popleft(), ()):
            if node.op in passing:
                pending.extend(item for item in node.outputs if item and item not in seen)
                seen.update(node.outputs)
            elif node.op not in {"Shape", "Size"}:
                ends.add(node.op)
    return ends == {"Not"}
