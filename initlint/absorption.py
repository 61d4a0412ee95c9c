"""Tensors whose scale does not matter behind them, masks, and how deep each tensor lies."""

import numpy as np

from initlint.graph import Model, Node
from initlint.index import Index

__all__ = ["absorbed_tensors", "depths", "masks"]

# Scale-invariant in their first input: what they give does not change when it is multiplied.
INVARIANT = frozenset(
    {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "InstanceNormalization", "GroupNormalization",
     "GroupNorm", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "LpNormalization",
     "MeanVarianceNormalization", "EmbedLayerNormalization", "Hardmax", "ArgMax", "ArgMin"}
)  # fmt: skip
# Positively homogeneous in their data input: a factor passes through unchanged.
HOMOGENEOUS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Identity", "Dropout", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Cast",
     "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Slice", "Split", "Expand", "Tile", "Concat", "Neg",
     "Gather", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth",
     "Abs", "Conv", "ConvTranspose", "Gemm", "MatMul", "FusedMatMul", "Add", "Sub", "Sum", "Pad", "Mul", "Div"}
)  # fmt: skip
LONGEST = 10  # steps from a value to its root mean square
SHAPES = frozenset({"Shape", "Size"})
VERY_NEGATIVE = -1e4
ENDS = frozenset({"Softmax", "LogSoftmax", "TopK", "ReduceMax", "Max", "Where", "ArgMax"})
CARRIERS = frozenset(
    {"Add", "Where", "Mul", "Cast", "Unsqueeze", "Squeeze", "Expand", "Slice", "Reshape", "Transpose", "Concat", "Identity",
     "Gather", "GatherElements", "GatherND", "Trilu", "ConstantOfShape", "Sub", "Tile", "Split", "ScatterND",
     "ScatterElements", "Pad"}
)  # fmt: skip


def absorbed_tensors(model: Model, index: Index) -> frozenset[str]:
    """Tensors that every path behind normalises before anything else sees their scale.

    One pass backwards: a tensor is absorbed when each reader is scale-invariant in it, or passes a factor on and all that
    it makes is absorbed. What a graph gives out is not.
    """
    absorbed: set[str] = set()
    nodes = [node for graph in reversed(list(model.graphs())) for node in reversed(graph.nodes)]
    open_ends = index.outputs | index.inner_outputs
    invariants = _variances(index)
    memo: dict[str, bool] = {}

    def is_absorbed(name: str) -> bool:
        if name not in memo:
            readers = index.consumers.get(name, ())
            memo[name] = (
                name not in open_ends
                and bool(readers)
                and all(_takes_away(node, name, index, invariants, memo) for node in readers)
            )
        return memo[name]

    for node in nodes:  # readers of a value come later in the order, so they are decided first
        for name in node.outputs:
            if name and is_absorbed(name):
                absorbed.add(name)
    for info in model.graph.inputs:
        if is_absorbed(info.name):
            absorbed.add(info.name)
    return frozenset(absorbed)


def _takes_away(node: Node, name: str, index: Index, invariants: frozenset[str], memo: dict[str, bool]) -> bool:
    if node.op in SHAPES:
        return True
    if node.op in INVARIANT and node.inputs[0] == name:
        return True
    if node.op.startswith("Skip") and name in node.inputs[:2]:
        return True
    if node.op == "BatchNormalization" and node.inputs[0] == name:
        return fresh_statistics(node, index)
    if name in invariants:
        return True
    if node.op not in HOMOGENEOUS:
        return False
    if node.op in {"Mul", "Div"} and not all(item == name or item in index.constants for item in node.inputs):
        return False
    return all(memo.get(output, False) for output in node.outputs if output)


def _variances(index: Index) -> frozenset[str]:
    """Inputs of normalisations that are written out: x - mean(x) divided by its own root mean square."""
    found: set[str] = set()
    for node in index.producer.values():
        if node.op != "Div" or len(node.inputs) != 2:
            continue
        numerator, denominator = node.inputs
        root = _behind_root(denominator, index)
        if root is None:
            continue
        if _is_mean_square_of(root, numerator, index):
            found.add(numerator)
            centred = index.producer.get(numerator)
            if centred is not None and centred.op == "Sub":
                found.add(centred.inputs[0])
            found.update(_between(numerator, denominator, index))
        norm = index.producer.get(denominator)
        if norm is not None and norm.op in {"ReduceL2", "ReduceL1"} and norm.inputs[0] == numerator:
            found.add(numerator)
    return frozenset(found)


def _between(value: str, deviation: str, index: Index) -> list[str]:
    """What a written-out normalisation computes on the way to its deviation, and nobody else reads: squares, their mean, its root."""
    found: list[str] = []
    steps = 0
    while deviation != value and steps < LONGEST:
        node = index.producer.get(deviation)
        if node is None or node.op == "Sub":  # the value once more
            break
        if len(index.consumers.get(deviation, ())) == 1:
            found.append(deviation)
        steps += 1
        deviation = next((item for item in node.inputs if item and item not in index.constants), value)
    return found


def _behind_root(name: str, index: Index) -> str | None:
    """The mean square under Sqrt, epsilon taken off."""
    for _ in range(4):
        node = index.producer.get(name)
        if node is None:
            return None
        if node.op == "Sqrt":
            inner = index.producer.get(node.inputs[0])
            if inner is not None and inner.op == "Add":
                return next((item for item in inner.inputs if item not in index.constants), None)
            return node.inputs[0]
        if node.op in {"ReduceL2", "ReduceL1"}:
            return name
        if node.op not in {"Clip", "Max", "Expand", "Identity", "Cast", "Add"}:
            return None
        name = node.inputs[0]
    return None


def _is_mean_square_of(name: str, value: str, index: Index) -> bool:
    node = index.producer.get(name)
    if node is None:
        return False
    if node.op in {"ReduceL2", "ReduceSumSquare"}:
        return node.inputs[0] == value
    if node.op not in {"ReduceMean", "ReduceSum"}:
        return False
    square = index.producer.get(node.inputs[0])
    if square is None or square.op not in {"Pow", "Mul"}:
        return False
    same = square.inputs[0] == value
    other = index.producer.get(square.inputs[0])
    twin = index.producer.get(value)
    # Exporters write the deviation twice.
    return same or (
        other is not None and twin is not None and other.op == twin.op == "Sub" and other.inputs[0] == twin.inputs[0]
    )


def fresh_statistics(node: Node, index: Index) -> bool:
    """Whether a BatchNormalization's recorded mean is 0 and variance 1 throughout: never updated."""
    if len(node.inputs) < 5:
        return False
    mean, variance = (index.stored.get(name) for name in node.inputs[3:5])
    if mean is None or variance is None or mean.count > 1 << 20:
        return False
    return not np.any(mean.read().astype(np.float64)) and bool(np.all(variance.read().astype(np.float64) == 1.0))


def masks(model: Model, index: Index) -> frozenset[str]:
    """Constants of -inf or <= -1e4, and tensors that carry them, that reach only a softmax, a maximum, TopK or Where."""
    sources = [
        tensor.name
        for tensor in model.initializers()
        if any(node.op in CARRIERS or node.op in ENDS for node in index.consumers.get(tensor.name, ()))
        and _very_negative(tensor)
    ]
    sources += [
        node.outputs[0]
        for node in model.nodes()
        if node.op == "ConstantOfShape" and node.outputs and _very_negative(node.attributes.get("value"))
    ]
    carried: set[str] = set()
    for source in sources:
        reached: set[str] = {source}
        pending = [source]
        right = True
        while pending and right:
            name = pending.pop()
            right = name not in index.outputs
            for node in index.consumers.get(name, ()):
                if node.op in ENDS and node.op != "Where":
                    continue
                if node.op not in CARRIERS and next(node.graphs(), None) is None:
                    right = False
                    break
                fresh = [item for item in node.outputs if item and item not in reached]
                reached.update(fresh)
                pending.extend(fresh)
            if len(reached) > 1000:
                right = False
        if right:
            carried |= reached
    return frozenset(carried)


def _very_negative(tensor: "object") -> bool:
    from initlint.graph import StoredTensor  # noqa: PLC0415 - for the check of the type only

    if not isinstance(tensor, StoredTensor) or tensor.count == 0 or tensor.count > 1 << 24:
        return False
    if tensor.dtype not in {"float32", "float16", "bfloat16", "float64"}:
        return False
    values = tensor.read().astype(np.float64)
    finite_or_low = values[~np.isnan(values)]
    if finite_or_low.size != values.size or values.max() > 1.0:
        return False
    low = values <= VERY_NEGATIVE
    return bool(low.any() and np.all(low | (np.abs(values) <= 1.0)))


def depths(model: Model, layer_outputs: frozenset[str]) -> dict[str, int]:
    """Layers on the longest path from an input to each tensor, the tensor's own layer included."""
    found: dict[str, int] = {}
    for graph in model.graphs():
        for node in graph.nodes:
            deepest = max((found.get(name, 0) for name in node.inputs if name), default=0)
            for name in node.outputs:
                if name:
                    found[name] = deepest + (name in layer_outputs)
    return found
