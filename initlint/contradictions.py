"""Nodes that no size of the input could make valid: attributes and stored tensors that contradict the operator.

Runtimes meet these with a crash as often as with an error (a division by a group count of 0, a tree that is its own
child), so they are refused before anything is computed, wherever in the model they stand: also in a branch that the
prediction would never enter. Only what the operators' specification forbids for every input is looked for.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod

import numpy as np

from initlint.errors import Reason, Refusal
from initlint.graph import Graph, Model, Node, StoredTensor

__all__ = ["check_nodes"]

Stored = Mapping[str, StoredTensor]
Check = Callable[[Node, Stored], str | None]

LARGEST = 1 << 31  # of a pad, a stride, a kernel's extent
SMALL = 64  # elements of a constant that is read
PADS = frozenset({"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", ""})
# Attributes that divide or count: 0 or less means nothing.
POSITIVE = {
    "DepthToSpace": ("blocksize",), "SpaceToDepth": ("blocksize",), "GroupNormalization": ("num_groups",),
    "LRN": ("size",), "Split": ("num_outputs",), "LSTM": ("hidden_size",), "GRU": ("hidden_size",),
    "RNN": ("hidden_size",), "com.microsoft::GroupNorm": ("groups",), "com.microsoft::Attention": ("num_heads",),
    "com.microsoft::MultiHeadAttention": ("num_heads",), "com.microsoft::DecoderAttention": ("num_heads",),
    "com.microsoft::GroupQueryAttention": ("num_heads", "kv_num_heads"),
    "com.microsoft::PackedAttention": ("num_heads",), "com.microsoft::QAttention": ("num_heads",),
    "com.microsoft::MatMulNBits": ("K", "N", "block_size"), "Attention": ("q_num_heads", "kv_num_heads"),
}  # fmt: skip
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
VARIADIC = frozenset({"Max", "Min", "Sum", "Mean", "Concat"})
BODIES = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}


def check_nodes(model: Model) -> None:
    """Refuse a model with a node that contradicts itself; the message names the node."""
    stored = {tensor.name: tensor for tensor in model.initializers()}
    declared = {
        info.name: info.shape
        for graph in model.graphs()
        for info in (*graph.inputs, *graph.declared.values(), *graph.outputs)
        if info.shape is not None
    }
    for node in model.nodes():
        said = _against_declared(node, stored, declared)
        if said is not None:
            raise Refusal(Reason.GRAPH, f"node {node.name[:80]!r} ({node.kind[:80]}): {said}")
        for check in _checks(node):
            said = check(node, stored)
            if said is not None:
                raise Refusal(Reason.GRAPH, f"node {node.name[:80]!r} ({node.kind[:80]}): {said}")


def _against_declared(node: Node, stored: Stored, declared: Mapping[str, tuple[int | str | None, ...]]) -> str | None:
    """What the file says of a value, against the features that the stored weight beside it takes and gives."""
    weight = _constant(node, 1, stored)
    if weight is None or node.kind not in {"Gemm", "MatMul", "Conv"} or len(weight.shape) < 2:
        return None
    axis, taken, given = -1, weight.shape[-2], weight.shape[-1]
    if node.op == "Conv":
        axis, taken, given = 1, -1, weight.shape[0]  # what it takes is also a matter of its groups
    elif node.op == "Gemm" and node.attributes.get("transB"):
        taken, given = given, taken
    if node.op == "Gemm" and node.attributes.get("transA"):
        taken = -1
    for name, features in ((node.inputs[0], taken), (next(iter(node.outputs), ""), given)):
        shape = declared.get(name, ())
        said = shape[axis] if len(shape) >= 2 else None
        if features >= 0 and isinstance(said, int) and said != features:
            return f"{name[:80]!r} is declared {list(shape)[:16]}, the weight {list(weight.shape)} says {features}"
    return None


def _checks(node: Node) -> Iterable[Check]:
    if node.kind in POSITIVE:
        yield _positive
    if node.op in BODIES and not node.domain:
        yield _bodies
    if node.op in VARIADIC and not node.domain:
        yield _nothing_left_out
    if node.kind in CHECKS:
        yield CHECKS[node.kind]


def _integers(node: Node, name: str) -> tuple[int, ...] | None:
    """A list attribute; None where the node has none of the name."""
    value = node.attributes.get(name)
    if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        return value  # type: ignore[return-value]
    return None


def _length(node: Node, name: str) -> int:
    value = node.attributes.get(name)
    return len(value) if isinstance(value, tuple) else 0


def _constant(node: Node, index: int, stored: Stored) -> StoredTensor | None:
    return stored.get(node.inputs[index]) if len(node.inputs) > index and node.inputs[index] else None


def _positive(node: Node, _: Stored) -> str | None:
    for name in POSITIVE[node.kind]:
        value = node.attributes.get(name)
        if isinstance(value, int) and value < 1:
            return f"{name} {value} is less than 1"
    return None


def _bodies(node: Node, _: Stored) -> str | None:
    for name in BODIES[node.op]:
        body = node.attributes.get(name)
        if not isinstance(body, Graph):
            return f"has no {name}"
        extra = 1 if node.op == "Loop" else 0
        if len(node.outputs) > len(body.outputs) - extra:
            return f"{name} gives {len(body.outputs)} values, the node has {len(node.outputs)} outputs"
    return None


def _nothing_left_out(node: Node, _: Stored) -> str | None:
    return None if node.inputs and all(node.inputs) else "an input is left out"


def _window(node: Node, stored: Stored) -> str | None:
    """Kernel, strides, dilations and pads of convolutions and pools."""
    axes: set[int] = set()
    for name in ("kernel_shape", "strides", "dilations", "pads"):
        if name not in node.attributes:
            continue
        values = _integers(node, name)
        if values is None:
            return f"{name} is no list of integers"
        if name == "pads" and len(values) % 2:
            return f"{len(values)} pads: each axis has two"
        axes.add(len(values) // 2 if name == "pads" else len(values))
        if any(abs(value) >= LARGEST for value in values):
            return f"{name} {list(values)[:8]} is beyond reason"
        if name != "pads" and any(value < 1 for value in values):
            return f"{name} {list(values)[:8]} is less than 1"
    if node.attributes.get("auto_pad", "NOTSET") not in PADS:
        return "auto_pad is none of the four"
    if "Pool" not in node.op:
        return _kernel(node, stored, axes)
    return "attributes for different numbers of axes" if len(axes) > 1 else None


def _kernel(node: Node, stored: Stored, axes: set[int]) -> str | None:
    """A convolution's weight `[outputs, inputs / group, kernel...]` against its attributes."""
    group = node.attributes.get("group", 1)
    if not isinstance(group, int) or group < 1:
        return f"group {group!r} is less than 1"
    weight = _constant(node, 3 if node.op == "QLinearConv" else 1, stored)
    if weight is not None:
        if len(weight.shape) < 3:
            return f"the weight has shape {list(weight.shape)}"
        if prod(weight.shape) == 0:
            return f"the weight of shape {list(weight.shape)} has no elements"
        if weight.shape[0] % group:
            return f"{weight.shape[0]} channels do not divide into {group} groups"
        axes = axes | {len(weight.shape) - 2}
        kernel = _integers(node, "kernel_shape")
        if kernel is not None and len(axes) == 1 and kernel != weight.shape[2:]:
            return f"kernel_shape {list(kernel)} and a weight of shape {list(weight.shape)}"
    return "attributes for different numbers of axes" if len(axes) > 1 else None


def _permutation(node: Node, _: Stored) -> str | None:
    perm = _integers(node, "perm")
    if perm is not None and sorted(perm) != list(range(len(perm))):
        return f"perm {list(perm)[:16]} is no permutation"
    return None


def _reshape(node: Node, stored: Stored) -> str | None:
    shape = _constant(node, 1, stored)
    if shape is not None and shape.dtype == "int64" and shape.count <= SMALL:
        extents = shape.read().astype(np.int64).reshape(-1)
        if np.count_nonzero(extents == -1) > 1 or np.any(extents < -1):
            return f"a shape of {extents.tolist()[:16]}"
    return None


def _step(node: Node, stored: Stored) -> str | None:
    steps = _constant(node, 4, stored)
    if steps is not None and steps.count <= SMALL and not np.all(steps.read()):
        return "a step of 0"
    return None


def _einsum(node: Node, _: Stored) -> str | None:
    equation = node.attributes.get("equation")
    if not isinstance(equation, str):
        return "has no equation"
    text = re.sub(r"\s", "", equation)
    if not re.fullmatch(r"[A-Za-z.,]*(->[A-Za-z.]*)?", text) or "." in text.replace("...", ""):
        return f"equation {equation[:80]!r} cannot be read"
    left, _arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(node.inputs):
        return f"an equation of {len(terms)} operands for {len(node.inputs)} inputs"
    output = right.replace(".", "")
    if len(set(output)) != len(output) or not set(output) <= set(left):
        return f"equation {equation[:80]!r} gives what it is not given"
    return None


def _gather(node: Node, stored: Stored) -> str | None:
    """Constant indices into a constant table."""
    table, indices = _constant(node, 0, stored), _constant(node, 1, stored)
    axis = node.attributes.get("axis", 0)
    if table is None or indices is None or not table.shape or not isinstance(axis, int) or indices.count > SMALL:
        return None
    if not -len(table.shape) <= axis < len(table.shape):
        return f"axis {axis} of a tensor of shape {list(table.shape)}"
    if indices.dtype not in ("int32", "int64") or not indices.count:
        return None
    extent = table.shape[axis]
    values = indices.read().astype(np.int64)
    if values.min() < -extent or values.max() >= extent:
        return f"an index outside an axis of {extent}"
    return None


def _batch_norm(node: Node, stored: Stored) -> str | None:
    shapes = {tensor.shape for index in range(1, 5) if (tensor := _constant(node, index, stored)) is not None}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        return f"parameters of shapes {sorted(map(list, shapes))}"
    return None


def _recurrent(node: Node, stored: Stored) -> str | None:
    """W `[directions, gates * hidden, inputs]` and R `[directions, gates * hidden, hidden]`."""
    hidden = node.attributes.get("hidden_size")
    gates = GATES[node.op]
    for index, name in ((1, "W"), (2, "R")):
        weight = _constant(node, index, stored)
        if weight is None:
            continue
        if len(weight.shape) != 3:
            return f"{name} has shape {list(weight.shape)}"
        if isinstance(hidden, int) and weight.shape[1] != gates * hidden:
            return f"{name} has shape {list(weight.shape)}, hidden_size is {hidden}"
        if name == "R" and weight.shape[1] != gates * weight.shape[2]:
            return f"R has shape {list(weight.shape)}"
    return None


def _quantised(node: Node, stored: Stored) -> str | None:
    """Scales of one number, or of one for each position along the axis."""
    values, scale = _constant(node, 0, stored), _constant(node, 1, stored)
    if values is None or scale is None or len(scale.shape) != 1 or scale.count == 1 or not values.shape:
        return None
    if node.attributes.get("block_size"):
        return None
    axis = node.attributes.get("axis", 1)
    if not isinstance(axis, int) or not -len(values.shape) <= axis < len(values.shape):
        return f"axis {axis!r} of a tensor of shape {list(values.shape)}"
    if scale.count != values.shape[axis]:
        return f"{scale.count} scales for {values.shape[axis]} positions"
    return None


def _gemm(node: Node, stored: Stored) -> str | None:
    for index in (0, 1):
        weight = _constant(node, index, stored)
        if weight is not None and len(weight.shape) != 2:
            return f"input {index} has shape {list(weight.shape)}, a Gemm takes matrices"
    return None


def _tree(node: Node, _: Stored) -> str | None:
    """Nodes by (tree, node): every child exists and has one parent, so that every walk ends."""
    names = [
        name
        for name in ("treeids", "nodeids", "featureids", "modes", "truenodeids", "falsenodeids")
        if f"nodes_{name}" in node.attributes
    ]
    count = _length(node, "nodes_nodeids")
    if any(_length(node, f"nodes_{name}") != count for name in names):
        return "its lists have different lengths"
    trees, ids, yes, no = (
        _integers(node, f"nodes_{name}") or () for name in ("treeids", "nodeids", "truenodeids", "falsenodeids")
    )
    modes = node.attributes.get("nodes_modes")
    if not (isinstance(modes, tuple) and len(trees) == len(ids) == len(yes) == len(no) == len(modes)):
        return "its lists have different lengths"
    known = set(zip(trees, ids, strict=True))
    if len(known) != count:
        return "a node of a tree is given twice"
    parents: Counter[tuple[int, int]] = Counter()
    for tree, left, right, mode in zip(trees, yes, no, modes, strict=True):
        if mode != "LEAF":
            parents.update({(tree, left), (tree, right)})
    roots = dict(reversed(list(zip(trees, zip(trees, ids, strict=True), strict=True))))
    if not set(parents) <= known or any(number > 1 for number in parents.values()):
        return "a child that does not exist, or that has two parents"
    if any(parents[root] for root in roots.values()):
        return "a tree whose root is a child"
    return None


def _vectors(node: Node, _: Stored) -> str | None:
    """Support vectors: as many as the classes say, each with as many numbers."""
    per_class = _integers(node, "vectors_per_class") or ()
    total = sum(per_class) if per_class else node.attributes.get("n_supports", 0)
    numbers = _length(node, "support_vectors")
    if isinstance(total, int) and total and numbers and (total < 0 or numbers % total):
        return f"{numbers} numbers for {total} support vectors"
    coefficients = _length(node, "coefficients")
    classes = max(len(per_class) - 1, 1)
    if isinstance(total, int) and total and coefficients != total * classes:
        return f"{coefficients} coefficients for {total} support vectors"
    return None


def _linear(node: Node, _: Stored) -> str | None:
    coefficients, intercepts = _length(node, "coefficients"), _length(node, "intercepts")
    labels: Sequence[int] = [_length(node, name) for name in ("classlabels_ints", "classlabels_strings")]
    rows = intercepts or max(labels)
    if not coefficients or (rows and coefficients % rows):
        return f"{coefficients} coefficients for {rows} outputs"
    return None


CHECKS: dict[str, Check] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "QLinearConv", "ConvInteger", "com.microsoft::FusedConv"), _window),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _window),
    **dict.fromkeys(("Gather", "com.microsoft::Gather"), _gather),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("ai.onnx.ml::TreeEnsembleRegressor", "ai.onnx.ml::TreeEnsembleClassifier"), _tree),
    **dict.fromkeys(("ai.onnx.ml::SVMClassifier", "ai.onnx.ml::SVMRegressor"), _vectors),
    "ai.onnx.ml::LinearClassifier": _linear,
    "Transpose": _permutation,
    "Slice": _step,
    "Reshape": _reshape,
    "Einsum": _einsum,
    "BatchNormalization": _batch_norm,
    "DequantizeLinear": _quantised,
    "Gemm": _gemm,
}
