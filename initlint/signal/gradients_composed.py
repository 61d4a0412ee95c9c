"""Gradient rules of fused operators: the operator is taken apart, and what it is made of has rules of its own."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from initlint.graph import Attribute, Node
from initlint.operators.table import Array, Draws, NotComputed, Run, Values, evaluate
from initlint.signal.gradients import GRADIENTS, gradient

__all__ = ["VERSION", "composed", "number", "part"]

VERSION = 21  # of the operators that others are made of
# (node, inputs, constants to fill) -> nodes in order of evaluation
Expand = Callable[[Node, Sequence[Draws | None], dict[str, Draws]], list[Node]]


def part(
    op: str, inputs: str, output: str, attributes: Mapping[str, Attribute] | None = None, version: int = VERSION
) -> Node:
    """A node of the expansion: inputs `x0 ...` are the operator's own, outputs `y0 ...` too; `-` is none."""
    names = tuple("" if item == "-" else item for item in inputs.split())
    return Node(op, "", version, op, names, tuple(output.split()), dict(attributes or {}), 0)


def composed(*kinds: str) -> Callable[[Expand], Expand]:
    """Register an expansion as the rule of operator kinds."""

    def register(expand: Expand) -> Expand:
        def rule(
            node: Node, run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array | None],
            gradients: Sequence[Array | None],
        ) -> tuple[Array | None, ...]:  # fmt: skip
            values: dict[str, Draws] = {f"x{index}": item for index, item in enumerate(inputs) if item is not None}
            parts = expand(node, inputs, values)
            for step in parts:
                results = evaluate(step, run, [values[name] if name else None for name in step.inputs])
                for name, result in zip(step.outputs, results, strict=False):
                    if result is not None:
                        values[name] = Values(result, "float32" if result.dtype.kind == "f" else result.dtype.name)
            arriving = {f"y{index}": item for index, item in enumerate(gradients) if item is not None}
            for step in reversed(parts):
                _back(step, run, values, arriving)
            return tuple(arriving.get(f"x{index}") for index in range(len(inputs)))

        gradient(*kinds)(rule)
        return expand

    return register


def _back(step: Node, run: Run, values: Mapping[str, Draws], gradients: dict[str, Array]) -> None:
    own = [gradients.pop(name, None) for name in step.outputs]
    if all(item is None for item in own):
        return
    shaped = [
        np.zeros_like(values[name].values) if item is None else item
        for name, item in zip(step.outputs, own, strict=True)
    ]
    outputs = [values[name].values for name in step.outputs]
    inputs = [values[name] if name else None for name in step.inputs]
    found = GRADIENTS[step.kind](step, run, inputs, outputs, shaped)
    for name, item, value in zip(step.inputs, inputs, found, strict=False):
        if item is None or item.constant:
            continue
        if value is None:
            if item.values.dtype.kind == "f":
                raise NotComputed(f"no gradient of {step.op}")
            continue  # a scale or a zero point in whole numbers
        gradients[name] = gradients[name] + value if name in gradients else value


def _activation(node: Node, source: str) -> list[Node]:
    """The activation that a fused operator names; Identity where it names none."""
    name = node.attributes.get("activation")
    if not name:
        return [part("Identity", source, "y0")]
    given = node.attributes.get("activation_params")
    numbers = tuple(given) if isinstance(given, tuple) else ()
    attributes: dict[str, Attribute] = dict(zip(("alpha", "beta"), numbers, strict=False))  # type: ignore[arg-type]
    for key in ("alpha", "beta"):
        if f"activation_{key}" in node.attributes:
            attributes[key] = node.attributes[f"activation_{key}"]
    if name == "Clip":
        low, high = (float(item) for item in (*numbers, 0.0, 6.0)[:2])  # type: ignore[arg-type]
        return [part("Clip", source, "y0", {"min": low, "max": high}, version=6)]
    return [part(str(name), source, "y0", attributes)]


def number(value: float) -> Draws:
    """A constant of one element."""
    return Values(np.full((1,), value), "float32")


@composed("com.microsoft::FusedConv")
def _fused_conv(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    attributes = {key: value for key, value in node.attributes.items() if not key.startswith("activation")}
    bias = "x2" if len(inputs) > 2 and inputs[2] is not None else "-"
    added = len(inputs) > 3 and inputs[3] is not None
    parts = [part("Conv", f"x0 x1 {bias}", "conv", attributes)]
    parts += [part("Add", "conv x3", "sum")] if added else []
    return parts + _activation(node, "sum" if added else "conv")


@composed("com.microsoft::NhwcConv", "com.microsoft::NhwcFusedConv")
def _channels_last(node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    if inputs[0] is None or (len(inputs) > 3 and inputs[3] is not None):
        raise NotComputed("a fused sum")
    rank = len(inputs[0].shape)
    conv, after = _fused_conv(node, inputs, constants)
    return [
        part("Transpose", "x0", "first", {"perm": (0, rank - 1, *range(1, rank - 1))}),
        msgspec.structs.replace(conv, inputs=("first", *conv.inputs[1:])),
        msgspec.structs.replace(after, outputs=("last",)),
        part("Transpose", "last", "y0", {"perm": (0, *range(2, rank), 1)}),
    ]


@composed("com.microsoft::FusedGemm")
def _fused_gemm(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    attributes = {key: value for key, value in node.attributes.items() if not key.startswith("activation")}
    names = " ".join(f"x{index}" for index, item in enumerate(inputs) if item is not None)
    return [part("Gemm", names, "gemm", attributes), *_activation(node, "gemm")]


@composed("com.microsoft::FusedMatMul", "com.microsoft::TransposeMatMul", "com.microsoft::FusedMatMulActivation")
def _fused_matmul(node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    parts, names = [], []
    for index, which in enumerate("AB"):
        item = inputs[index]
        if item is None or node.attributes.get(f"transBatch{which}"):
            raise NotComputed("a transposed batch")
        names.append(f"x{index}")
        if node.attributes.get(f"trans{which}"):
            rank = len(item.shape)
            parts.append(part("Transpose", f"x{index}", f"t{index}", {"perm": (*range(rank - 2), rank - 1, rank - 2)}))
            names[-1] = f"t{index}"
    constants["alpha"] = number(float(node.attributes.get("alpha", 1.0)))  # type: ignore[arg-type]
    parts += [part("MatMul", " ".join(names), "product"), part("Mul", "product alpha", "scaled")]
    return parts + _activation(node, "scaled")


@composed("com.microsoft::BiasGelu")
def _bias_gelu(_node: Node, _inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    return [part("Add", "x0 x1", "sum"), part("Gelu", "sum", "y0")]


@composed("com.microsoft::BiasAdd")
def _bias_add(_node: Node, _inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    return [part("Add", "x0 x1", "sum"), part("Add", "sum x2", "y0")]


@composed("com.microsoft::SkipLayerNormalization", "com.microsoft::SkipSimplifiedLayerNormalization")
def _skip(node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    simplified = "Simplified" in node.op
    bias = 3 if simplified else 4
    biased = len(inputs) > bias and inputs[bias] is not None
    parts = [part("Add", "x0 x1", "sum" if biased else "y3")]
    parts += [part("Add", f"sum x{bias}", "y3")] if biased else []
    attributes = {"axis": -1, "epsilon": node.attributes.get("epsilon", 1e-12)}
    if simplified:
        return [*parts, part("RMSNormalization", "y3 x2", "y0", attributes, version=23)]
    del constants
    shift = "x3" if len(inputs) > 3 and inputs[3] is not None else "-"
    return [*parts, part("LayerNormalization", f"y3 x2 {shift}", "y0", attributes)]


@composed("GroupNormalization")
def _group_norm(node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    x = inputs[0]
    if x is None or node.version < 21:
        raise NotComputed("scales of groups")
    groups = int(node.attributes.get("num_groups", 1))  # type: ignore[arg-type]
    ones = np.ones((1, groups), x.values.dtype)
    constants |= {
        "grouped": Values(np.array([[x.shape[0], groups, -1]]), "int64"),
        "whole": Values(np.array([x.shape]), "int64"),
        "channel": Values(np.array([[-1, *(1,) * (len(x.shape) - 2)]]), "int64"),
        "one": Values(ones, "float32"),
        "zero": Values(0 * ones, "float32"),
    }
    epsilon = {"epsilon": node.attributes.get("epsilon", 1e-5)}
    return [
        part("Reshape", "x0 grouped", "g"),
        part("InstanceNormalization", "g one zero", "n", epsilon),
        part("Reshape", "n whole", "u"),
        part("Reshape", "x1 channel", "scale"),
        part("Reshape", "x2 channel", "shift"),
        part("Mul", "u scale", "m"),
        part("Add", "m shift", "y0"),
    ]


@composed("ReduceL1", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
def _reduced(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    axes = " x1" if len(inputs) > 1 and inputs[1] is not None else ""
    # ReduceSum takes its axes as an input from opset 13 on, the others from 18 on.
    version = 11 if "axes" in node.attributes or not axes else 18
    source = {"ReduceL1": "a", "ReduceSumSquare": "a", "ReduceLogSum": "x0", "ReduceLogSumExp": "a"}[node.op]
    before = {
        "ReduceL1": [part("Abs", "x0", "a")],
        "ReduceSumSquare": [part("Mul", "x0 x0", "a")],
        "ReduceLogSum": [],
        "ReduceLogSumExp": [part("Exp", "x0", "a")],
    }[node.op]
    logs = node.op.startswith("ReduceLog")
    total = part("ReduceSum", source + axes, "sum" if logs else "y0", node.attributes, version=version)
    return [*before, total, *([part("Log", "sum", "y0")] if logs else [])]


@composed("Mean")
def _mean(_node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    constants["share"] = number(1 / len(inputs))
    return [part("Sum", " ".join(f"x{index}" for index in range(len(inputs))), "sum"), part("Mul", "sum share", "y0")]


@composed("LpNormalization")
def _unit(node: Node, _inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    kind = "ReduceL2" if node.attributes.get("p", 2) == 2 else "ReduceL1"
    attributes: dict[str, Attribute] = {"axes": (int(node.attributes.get("axis", -1)),), "keepdims": 1}  # type: ignore[arg-type]
    return [part(kind, "x0", "norm", attributes, version=13), part("Div", "x0 norm", "y0")]
