"""Layers: nodes with a constant weight, each with its fans, its activation and the effective weight that its input meets."""

from collections.abc import Iterator
from math import prod

import msgspec

from initlint.bases import is_fixed_basis
from initlint.effective import MOST_FOLDED, effective_weight
from initlint.elements import FLOATS
from initlint.folding import ancestors, filled
from initlint.graph import Model, Node, StoredTensor
from initlint.index import Index
from initlint.nonlinearity import FUSED, Nonlinearity, after, before, quantised_relu
from initlint.slots import SLOTS, Fans, Slot
from initlint.weights import ChannelLayout

__all__ = ["Layer", "find_layers", "unread_slots"]

FORWARD = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose"})

CONDITIONS = frozenset(
    {"IsNaN", "IsInf", "Not", "And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
)


class Layer(msgspec.Struct, frozen=True):
    """One weight slot of a node.

    `tensor` is the effective weight as the operator sees it, or, where nothing but storage lies between, the stored tensor
    itself with `layout` over its own axes.
    """

    position: int
    name: str
    node: Node
    op: str
    slot: str
    weight: str  # name of the stored tensor it mainly comes from
    tensor: StoredTensor | None  # None: its values could not be read
    dtype: str  # as stored
    shape: tuple[int, ...]  # as stored
    layout: ChannelLayout | None
    fan_in: float | None
    fan_out: float | None
    groups: int
    scale: float
    computed: bool
    quantised: bool
    fixed: bool  # a signal-processing basis: no layer to be judged by its fans
    input: str
    output: str
    activation: str
    activation_parameter: float | None
    activation_moment: float | None  # E[phi(z)^2], z ~ N(0, 1), of an activation without a name
    activation_output: str | None
    input_activation: str
    residual: bool
    bias: str | None  # stored tensor


def find_layers(model: Model, index: Index) -> tuple[Layer, ...]:
    """Every weight slot that holds a constant, along the graph; subgraphs at the place of the node that holds them."""
    return tuple(_layers(model, index))


def unread_slots(layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Names of the layers whose weight could not be read."""
    return tuple(layer.name for layer in layers if layer.tensor is None)


def _layers(model: Model, index: Index) -> Iterator[Layer]:
    position = 0
    for node in model.nodes():
        slots = _einsum_slots(node, index) if node.op == "Einsum" else SLOTS.get(node.kind, ())
        taken: set[int] = set()
        for slot in slots:
            if len(node.inputs) <= slot.index or not node.inputs[slot.index] or slot.signal in taken:
                continue
            name = node.inputs[slot.index]
            if name not in index.constants or not _meets_signal(node, slot, index):
                continue
            layer = _layer(node, slot, name, position, index)
            if layer is not None:
                taken.add(slot.index)
                position += 1
                yield layer


def _meets_signal(node: Node, slot: Slot, index: Index) -> bool:
    """Whether what the weight multiplies depends on the network's input."""
    if len(node.inputs) <= slot.signal:
        return False
    return node.inputs[slot.signal] not in index.constants


def _einsum_slots(node: Node, index: Index) -> tuple[Slot, ...]:
    """The constant operand of a two-operand Einsum: contracted labels are terms, the others outputs."""
    equation = node.attributes.get("equation")
    if not isinstance(equation, str) or "->" not in equation or "." in equation or len(node.inputs) != 2:
        return ()
    left, right = equation.replace(" ", "").split("->")[0].split(",")
    labels, result = (left, right), equation.replace(" ", "").split("->")[1]
    found = []
    for position, name in enumerate(node.inputs):
        if name in index.constants and node.inputs[1 - position] not in index.constants:
            own, other = labels[position], labels[1 - position]

            def fans(_node: Node, shape: tuple[int, ...], own: str = own, other: str = other) -> Fans | None:
                if len(shape) != len(own):
                    return None
                terms = prod(extent for label, extent in zip(own, shape, strict=True) if label not in result)
                reached = prod(
                    extent for label, extent in zip(own, shape, strict=True) if label in result and label not in other
                )
                axes = tuple(axis for axis, label in enumerate(own) if label in result)
                return Fans(terms, reached, 1, axes)

            found.append(Slot(position, "operand", fans, signal=1 - position))
    return tuple(found)


def _layer(node: Node, slot: Slot, name: str, position: int, index: Index) -> Layer | None:
    stored, plain = _origin(name, index)
    if stored is None or stored.dtype in {"string", "bool"}:
        return None
    if slot.name == "table" and (stored.count < 2 or len(stored.shape) < 2 or not _is_table(node, stored, name, index)):
        return None
    if prod(stored.shape) == 0:
        return None
    tensor, quantised = effective_weight(node, slot, name, stored, index, plain=plain)
    shape = tensor.shape if tensor is not None else stored.shape
    fans = slot.fans(node, shape) if tensor is not None else None
    if slot.name == "table" and fans is not None and node.attributes.get("axis", 0) not in (0, -len(shape)):
        return None
    layout = ChannelLayout(fans.output_axes) if fans is not None and fans.output_axes else None
    output = _output(node, index)
    following = _following(node, output, index)
    signal = node.inputs[slot.signal]
    return Layer(
        position=position,
        name=node.name,
        node=node,
        op=node.kind,
        slot=slot.name,
        weight=stored.name,
        tensor=tensor,
        dtype=stored.dtype,
        shape=stored.shape,
        layout=layout,
        fan_in=fans.fan_in if fans is not None else None,
        fan_out=fans.fan_out if fans is not None else None,
        groups=fans.groups if fans is not None else 1,
        scale=_scale(node),
        computed=not plain and stored.dtype in FLOATS,
        quantised=quantised,
        fixed=slot.name != "table" and tensor is not None and is_fixed_basis(tensor),
        input=signal,
        output=output,
        activation=following.name,
        activation_parameter=following.parameter,
        activation_moment=following.second_moment,
        activation_output=following.output,
        input_activation=before(signal, index).name,
        residual=_joins_its_input(output, following.output, signal, index),
        bias=_bias(node, output, index),
    )


def _is_table(node: Node, stored: StoredTensor, name: str, index: Index) -> bool:
    """A Gather is an embedding when its float table is indexed by something that depends on the input."""
    behind = index.producer.get(name)
    floating = stored.dtype in FLOATS or (behind is not None and behind.op == "DequantizeLinear")
    return floating and node.inputs[1] not in index.constants


def _origin(name: str, index: Index) -> tuple[StoredTensor | None, bool]:
    """The largest stored tensor that a constant comes from, and whether only Identity or Cast lies between.

    None for what a condition was cast to: zeros and ones that count or select are no weights.
    """
    plain = True
    current = name
    for _ in range(8):
        if current in index.stored:
            return index.stored[current], plain
        node = index.producer.get(current)
        if node is None:
            return None, False
        if node.op == "ConstantOfShape":
            made = filled(node, index, MOST_FOLDED)
            return made, made is not None
        if node.op in CONDITIONS:
            return None, False
        if node.op not in {"Identity", "Cast"}:
            break
        current = node.inputs[0]
    _, stored = ancestors(name, index)
    data = [tensor for tensor in stored if tensor.dtype not in {"int64", "string", "bool"}]
    return max(data or stored, key=lambda tensor: tensor.count, default=None), False


def _scale(node: Node) -> float:
    """A factor the operator itself puts on the product."""
    alpha = node.attributes.get("alpha", 1.0) if node.op in {"Gemm", "FusedGemm", "FusedMatMul", "QGemm"} else 1.0
    return float(alpha) if isinstance(alpha, int | float) else 1.0


def _output(node: Node, index: Index) -> str:
    """The layer's output: behind the integer product's scale and behind a bias that is a node of its own."""
    name = next((item for item in node.outputs if item), "")
    for _ in range(6):
        following = index.only_consumer(name)
        if following is None:
            return name
        constant = any(item in index.constants for item in following.inputs)
        integer = node.op in {"MatMulInteger", "ConvInteger"}
        bias = following.op == "Add" and constant and node.op in {
            "MatMul", "MatMulInteger", "ConvInteger", "FusedMatMul", "MatMulNBits", "Einsum", "Conv", "ConvTranspose"}  # fmt: skip
        if not (bias or (integer and following.op in {"Cast", "Mul"})):
            return name
        name = following.outputs[0]
        if bias:
            return name
    return name


def _bias(node: Node, output: str, index: Index) -> str | None:
    """The stored bias: an input of the operator, or what is added behind it."""
    slot = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "FusedConv": 2, "FusedGemm": 2, "LSTM": 3, "GRU": 3, "RNN": 3,
            "QLinearConv": 8, "Attention": 2}.get(node.op)  # fmt: skip
    if slot is not None and len(node.inputs) > slot and node.inputs[slot]:
        origin, _ = _origin(node.inputs[slot], index)
        return origin.name if origin is not None else None
    last = index.producer.get(output)
    if last is not None and last.op == "Add" and last is not node:
        constant = next((item for item in last.inputs if item in index.constants), None)
        origin, _ = _origin(constant, index) if constant is not None else (None, False)
        return origin.name if origin is not None else None
    return None


def _following(node: Node, output: str, index: Index) -> Nonlinearity:
    fused = node.attributes.get("activation")
    if isinstance(fused, str) and fused in FUSED:
        return Nonlinearity(FUSED[fused], None, node.outputs[0])
    if node.op in {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}:
        return Nonlinearity("tanh" if node.op == "RNN" else "sigmoid", None, None)
    if node.op == "QLinearConv" and len(node.inputs) > 7:
        found = quantised_relu(output, node.inputs[7], index)
        if found is not None:
            return found
    return after(output, index)


def _joins_its_input(output: str, activated: str | None, signal: str, index: Index) -> bool:
    """Whether the output is soon added to something the input also comes from: a residual branch."""
    start = _near_ancestors(signal, index)
    name = activated or output
    for _ in range(12):
        for node in index.consumers.get(name, ()):
            if node.op in {"Add", "Sum", "SkipLayerNormalization"}:
                others = [item for item in node.inputs if item and item != name and item not in index.constants]
                if any(item in start for item in others):
                    return True
        following = index.consumers.get(name, ())
        if not following or not following[0].outputs:
            return False
        name = following[0].outputs[0]
    return False


def _near_ancestors(name: str, index: Index) -> set[str]:
    found = {name}
    frontier = [name]
    for _ in range(8):
        fresh: list[str] = []
        for item in frontier:
            node = index.producer.get(item)
            if node is not None:
                fresh.extend(
                    other for other in node.inputs if other and other not in found and other not in index.constants
                )
        found.update(fresh)
        frontier = fresh
        if len(found) > 64:
            break
    return found
