"""The activation behind and before a layer, whether the graph holds it as one operator or as ten."""

from collections.abc import Sequence

import msgspec

from initlint.graph import Node
from initlint.index import Index
from initlint.pointwise import POINTWISE, function_of, identify, second_moment_of

__all__ = ["FUSED", "Nonlinearity", "after", "before", "quantised_relu"]

# One operator each: its name here, the attribute that is its parameter, the parameter's default.
DIRECT = {
    "Relu": ("relu", None, None), "LeakyRelu": ("leaky_relu", "alpha", 0.01), "PRelu": ("prelu", None, None),
    "Elu": ("elu", "alpha", 1.0), "Celu": ("celu", "alpha", 1.0), "Selu": ("selu", None, None),
    "Gelu": ("gelu", None, None), "FastGelu": ("gelu_tanh", None, None), "BiasGelu": ("gelu", None, None),
    "QuickGelu": ("quick_gelu", None, None), "Sigmoid": ("sigmoid", None, None), "Tanh": ("tanh", None, None),
    "Softsign": ("softsign", None, None), "Softplus": ("softplus", None, None), "HardSigmoid": ("hard_sigmoid", "alpha", 0.2),
    "HardSwish": ("hard_swish", None, None), "Mish": ("mish", None, None), "Swish": ("swish", "alpha", 1.0),
    "Softmax": ("softmax", None, None), "LogSoftmax": ("log_softmax", None, None), "Hardmax": ("softmax", None, None),
    "ThresholdedRelu": ("thresholded_relu", "alpha", 1.0),
}  # fmt: skip
FUSED = {"Relu": "relu", "LeakyRelu": "leaky_relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSigmoid": "hard_sigmoid",
         "Clip": "relu6"}  # fmt: skip
# Operators that leave the kind of value as it is: rearrangements, normalisation, storage formats, pooling.
PASSING = frozenset(
    {"Identity", "Dropout", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Cast", "BatchNormalization",
     "QuantizeLinear", "DequantizeLinear", "MaxPool", "AveragePool", "InstanceNormalization", "GroupNormalization",
     "LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "Slice", "Split", "Pad"}
)  # fmt: skip
STATISTICS = frozenset({"ReduceMean", "ReduceSumSquare", "ReduceL2", "Sub", "Mul", "Pow"})
REACH = 14  # steps from a layer to its activation
LONGEST = 24  # nodes of one activation
LOWEST = {"uint8": 0, "int8": -128, "uint16": 0, "int16": -32768}


class Nonlinearity(msgspec.Struct, frozen=True):
    """An activation's name in lower case, its parameter (slope, alpha), the tensor behind it.

    `second_moment` is E[phi(z)^2] of a function that has no name (`unknown`), computed as it stands in the graph.
    """

    name: str
    parameter: float | None
    output: str | None
    second_moment: float | None = None


LINEAR = Nonlinearity("linear", None, None)


def after(name: str, index: Index) -> Nonlinearity:
    """What the value goes through next; `linear` where that is a sum, another layer or the end."""
    bent: Nonlinearity | None = None
    for _ in range(REACH):
        found = None if _has_channel_constant(name, index) else _here(name, index)
        if found is not None and found.name != "unknown":
            return found
        bent = bent or found
        following = _passed(name, index)
        if following is None:
            break
        name = following
    return bent or LINEAR


def before(name: str, index: Index) -> Nonlinearity:
    """What the value comes out of; `linear` where that is a layer, a sum, a normalisation or the graph's input."""
    for _ in range(REACH):
        node = index.producer.get(name)
        if node is None:
            return LINEAR
        if node.op in DIRECT:
            return _direct(node, index)
        fused = node.attributes.get("activation")
        if isinstance(fused, str) and fused in FUSED:
            return Nonlinearity(FUSED[fused], None, node.outputs[0])
        if node.op in POINTWISE:
            found = _ending_at(name, index)
            if found is not None:
                return found
        if node.op not in PASSING:
            return LINEAR
        name = node.inputs[0]
    return LINEAR


def quantised_relu(output: str, zero_point: str, index: Index) -> Nonlinearity | None:
    """A rectifier that quantisation took in: codes start at zero, so every negative value is stored as zero."""
    stored = index.stored.get(zero_point)
    if stored is None or stored.count != 1 or stored.dtype not in LOWEST:
        return None
    return Nonlinearity("relu", None, output) if int(stored.read().reshape(-1)[0]) == LOWEST[stored.dtype] else None


def _here(name: str, index: Index) -> Nonlinearity | None:
    """An activation that reads the value directly."""
    readers = index.consumers.get(name, ())
    if len(readers) == 1:
        node = readers[0]
        if node.op in DIRECT and not any(item.op in POINTWISE for item in index.consumers.get(node.outputs[0], ())):
            return _direct(node, index)
        if node.op == "QuantizeLinear" and len(node.inputs) > 2:
            return quantised_relu(node.outputs[0], node.inputs[2], index)
    found = _composed(name, index)
    if found is not None:
        return found
    return next((_direct(node, index) for node in readers if node.op in DIRECT), None)


def _direct(node: Node, index: Index) -> Nonlinearity:
    name, attribute, default = DIRECT[node.op]
    parameter: float | None = None
    if attribute is not None:
        value = node.attributes.get(attribute, default)
        parameter = float(value) if isinstance(value, int | float) else None
    if node.op == "PRelu" and len(node.inputs) > 1 and node.inputs[1] in index.stored:
        slopes = index.stored[node.inputs[1]]
        name, parameter = "leaky_relu", float(slopes.read().astype(float).mean()) if slopes.count else None
    if node.op == "Swish" and parameter == 1.0:
        name, parameter = "silu", None
    if node.op == "Gelu" and node.attributes.get("approximate") == "tanh":
        name = "gelu_tanh"
    return Nonlinearity(name, parameter, node.outputs[0])


def _composed(name: str, index: Index) -> Nonlinearity | None:
    """The elementwise nodes behind the value, read from nowhere else, that are no straight line.

    The longest stretch with a name (log of a sigmoid is log_sigmoid), else the shortest without.
    """
    stretch = _stretch_from(name, index)
    named: Nonlinearity | None = None
    bent: Nonlinearity | None = None
    for end in range(1, len(stretch) + 1):
        nodes = stretch[:end]
        output = nodes[-1].outputs[0]
        function = function_of(nodes, name, output, index) if _closed(name, nodes, index) else None
        known = identify(function) if function is not None else None
        if function is None or known is None or known[0] == "affine":
            continue
        if known[0] != "unknown":
            named = Nonlinearity(known[0], known[1], output)
        elif bent is None and named is None:
            bent = Nonlinearity("unknown", None, output, second_moment_of(function))
    return named or bent


def _stretch_from(name: str, index: Index) -> list[Node]:
    """Elementwise nodes that depend on the value and constants alone, in the graph's order as far as it is reached."""
    inside = {name}
    stretch: list[Node] = []
    pending = list(index.consumers.get(name, ()))
    waiting: list[Node] = []
    while pending and len(stretch) < LONGEST:
        node = pending.pop(0)
        if node.op not in POINTWISE or node in stretch:
            continue
        if not all(item in inside or item in index.stored for item in node.inputs if item):
            waiting.append(node)
            continue
        stretch.append(node)
        inside.update(item for item in node.outputs if item)
        for item in node.outputs:
            pending.extend(index.consumers.get(item, ()))
        pending.extend(waiting)
        waiting = []
    return stretch


def _closed(name: str, nodes: Sequence[Node], index: Index) -> bool:
    """Whether the value and all that lies between is read by these nodes only, up to the last one's output."""
    between = [name, *(item for node in nodes[:-1] for item in node.outputs if item)]
    return all(
        item not in index.outputs and all(reader in nodes for reader in index.consumers.get(item, ()))
        for item in between
    )


def _has_channel_constant(name: str, index: Index) -> bool:
    """Whether the value only meets a factor or offset of its own for each channel: a bias, a folded normalisation."""
    node = index.only_consumer(name)
    return (
        node is not None
        and node.op in {"Add", "Sub", "Mul", "Div"}
        and any(item in index.stored and index.stored[item].count > 1 for item in node.inputs)
    )


def _passed(name: str, index: Index) -> str | None:
    """The value behind what leaves its kind as it is: a passing operator, a factor or offset, a normalisation."""
    node = index.only_consumer(name)
    if node is None:
        return _normalised(name, index)
    if node.op in PASSING and node.inputs[0] == name:
        return node.outputs[0]
    if node.op in {"Add", "Sub", "Mul", "Div"} and any(item in index.constants for item in node.inputs):
        return None if node.op == "Div" and node.inputs[0] in index.constants else node.outputs[0]
    return None


def _normalised(name: str, index: Index) -> str | None:
    """The output of a normalisation that is written out: the value less its mean, divided by its own root mean square."""
    readers = index.consumers.get(name, ())
    if name in index.outputs or not any(node.op.startswith("Reduce") for node in readers):
        return None
    if not all(node.op in STATISTICS or node.op == "Div" for node in readers):
        return None
    centred = next((node.outputs[0] for node in readers if node.op == "Sub" and node.inputs[0] == name), name)
    for node in index.consumers.get(centred, ()):
        if node.op in {"Div", "Mul"} and node.inputs[0] == centred and _is_scale(node.inputs[1], index):
            return node.outputs[0]
    return None


def _is_scale(name: str, index: Index) -> bool:
    """Whether the value is a root of a mean: what a normalisation divides by, or multiplies by its reciprocal."""
    for _ in range(6):
        node = index.producer.get(name)
        if node is None:
            return False
        if node.op in {"Sqrt", "ReduceL2"}:
            return True
        if node.op not in {"Add", "Max", "Clip", "Reciprocal", "Div", "Cast", "Expand", "Pow"}:
            return False
        if node.op == "Pow":
            return True
        name = next((item for item in node.inputs if item not in index.constants), "")
    return False


def _ending_at(name: str, index: Index) -> Nonlinearity | None:
    """The activation whose last node makes this value: back through elementwise nodes to where one value feeds them."""
    named: Nonlinearity | None = None
    stretch: list[Node] = []
    open_ends = [name]
    while open_ends and len(stretch) < LONGEST:
        # The end made last: a node is taken up only when all that reads it inside the stretch has been.
        current = max(open_ends, key=lambda item: _height(item, index))
        node = index.producer.get(current)
        if node is None or node.op not in POINTWISE:
            break
        open_ends.remove(current)
        stretch.insert(0, node)
        for item in node.inputs:
            if item and item not in index.stored and item not in open_ends:
                open_ends.append(item)
        if len(open_ends) == 1:
            source = open_ends[0]
            function = function_of(stretch, source, name, index)
            known = identify(function) if function is not None else None
            if known is not None and known[0] not in {"affine", "unknown"}:
                named = Nonlinearity(known[0], known[1], name)
    return named


def _height(name: str, index: Index) -> int:
    """Elementwise nodes above a value on the longest way up, as far as one activation reaches."""
    frontier, height = [name], 0
    while frontier and height < LONGEST:
        above = {
            item
            for current in frontier
            if (node := index.producer.get(current)) is not None and node.op in POINTWISE
            for item in node.inputs
            if item and item not in index.stored
        }
        frontier = list(above)[:LONGEST]
        height += bool(frontier)
    return height
