"""Gradient rules of fused operators: the operator is taken apart, and what it is made of has rules of its own.

Quantised operators pass the gradient straight through their rounding, but not where they saturate (Bengio et al. 2013).
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import msgspec
import numpy as np

from initlint.graph import Attribute, Node
from initlint.operators.table import Array, Draws, NotComputed, Run, Values, evaluate
from initlint.signal.gradients import GRADIENTS, gradient

__all__: list[str] = []

VERSION = 21  # of the operators that others are made of
# (node, inputs, constants to fill) -> nodes in order of evaluation
Expand = Callable[[Node, Sequence[Draws | None], dict[str, Draws]], list[Node]]


def _part(
    op: str, inputs: str, output: str, attributes: Mapping[str, Attribute] | None = None, version: int = VERSION
) -> Node:
    """A node of the expansion: inputs `x0 ...` are the operator's own, outputs `y0 ...` too; `-` is none."""
    names = tuple("" if item == "-" else item for item in inputs.split())
    return Node(op, "", version, op, names, tuple(output.split()), dict(attributes or {}), 0)


def _composed(*kinds: str) -> Callable[[Expand], Expand]:
    """Register an expansion as the rule of operator kinds."""

    def register(expand: Expand) -> Expand:
        def rule(
            node: Node, run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array | None],
            gradients: Sequence[Array | None],
        ) -> tuple[Array | None, ...]:  # fmt: skip
            values: dict[str, Draws] = {f"x{index}": item for index, item in enumerate(inputs) if item is not None}
            parts = expand(node, inputs, values)
            for part in parts:
                results = evaluate(part, run, [values[name] if name else None for name in part.inputs])
                for name, result in zip(part.outputs, results, strict=False):
                    if result is not None:
                        values[name] = Values(result, "float32" if result.dtype.kind == "f" else result.dtype.name)
            arriving = {f"y{index}": item for index, item in enumerate(gradients) if item is not None}
            for part in reversed(parts):
                _back(part, run, values, arriving)
            return tuple(arriving.get(f"x{index}") for index in range(len(inputs)))

        gradient(*kinds)(rule)
        return expand

    return register


def _back(part: Node, run: Run, values: Mapping[str, Draws], gradients: dict[str, Array]) -> None:
    own = [gradients.pop(name, None) for name in part.outputs]
    if all(item is None for item in own):
        return
    shaped = [
        np.zeros_like(values[name].values) if item is None else item
        for name, item in zip(part.outputs, own, strict=True)
    ]
    outputs = [values[name].values for name in part.outputs]
    inputs = [values[name] if name else None for name in part.inputs]
    found = GRADIENTS[part.kind](part, run, inputs, outputs, shaped)
    for name, item, value in zip(part.inputs, inputs, found, strict=False):
        if item is None or item.constant:
            continue
        if value is None:
            if item.values.dtype.kind == "f":
                raise NotComputed(f"no gradient of {part.op}")
            continue  # a scale or a zero point in whole numbers
        gradients[name] = gradients[name] + value if name in gradients else value


def _activation(node: Node, source: str) -> list[Node]:
    """The activation that a fused operator names; Identity where it names none."""
    name = node.attributes.get("activation")
    if not name:
        return [_part("Identity", source, "y0")]
    given = node.attributes.get("activation_params")
    numbers = tuple(given) if isinstance(given, tuple) else ()
    attributes: dict[str, Attribute] = dict(zip(("alpha", "beta"), numbers, strict=False))  # type: ignore[arg-type]
    for key in ("alpha", "beta"):
        if f"activation_{key}" in node.attributes:
            attributes[key] = node.attributes[f"activation_{key}"]
    if name == "Clip":
        low, high = (float(item) for item in (*numbers, 0.0, 6.0)[:2])  # type: ignore[arg-type]
        return [_part("Clip", source, "y0", {"min": low, "max": high}, version=6)]
    return [_part(str(name), source, "y0", attributes)]


def _number(value: float) -> Draws:
    return Values(np.full((1,), value), "float32")


@_composed("com.microsoft::FusedConv")
def _fused_conv(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    attributes = {key: value for key, value in node.attributes.items() if not key.startswith("activation")}
    bias = "x2" if len(inputs) > 2 and inputs[2] is not None else "-"
    added = len(inputs) > 3 and inputs[3] is not None
    parts = [_part("Conv", f"x0 x1 {bias}", "conv", attributes)]
    parts += [_part("Add", "conv x3", "sum")] if added else []
    return parts + _activation(node, "sum" if added else "conv")


@_composed("com.microsoft::NhwcConv", "com.microsoft::NhwcFusedConv")
def _channels_last(node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    if inputs[0] is None or (len(inputs) > 3 and inputs[3] is not None):
        raise NotComputed("a fused sum")
    rank = len(inputs[0].shape)
    conv, after = _fused_conv(node, inputs, constants)
    return [
        _part("Transpose", "x0", "first", {"perm": (0, rank - 1, *range(1, rank - 1))}),
        msgspec.structs.replace(conv, inputs=("first", *conv.inputs[1:])),
        msgspec.structs.replace(after, outputs=("last",)),
        _part("Transpose", "last", "y0", {"perm": (0, *range(2, rank), 1)}),
    ]


@_composed("com.microsoft::FusedGemm")
def _fused_gemm(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    attributes = {key: value for key, value in node.attributes.items() if not key.startswith("activation")}
    names = " ".join(f"x{index}" for index, item in enumerate(inputs) if item is not None)
    return [_part("Gemm", names, "gemm", attributes), *_activation(node, "gemm")]


@_composed("com.microsoft::FusedMatMul", "com.microsoft::TransposeMatMul", "com.microsoft::FusedMatMulActivation")
def _fused_matmul(node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    parts, names = [], []
    for index, which in enumerate("AB"):
        item = inputs[index]
        if item is None or node.attributes.get(f"transBatch{which}"):
            raise NotComputed("a transposed batch")
        names.append(f"x{index}")
        if node.attributes.get(f"trans{which}"):
            rank = len(item.shape)
            parts.append(_part("Transpose", f"x{index}", f"t{index}", {"perm": (*range(rank - 2), rank - 1, rank - 2)}))
            names[-1] = f"t{index}"
    constants["alpha"] = _number(float(node.attributes.get("alpha", 1.0)))  # type: ignore[arg-type]
    parts += [_part("MatMul", " ".join(names), "product"), _part("Mul", "product alpha", "scaled")]
    return parts + _activation(node, "scaled")


@_composed("com.microsoft::BiasGelu")
def _bias_gelu(_node: Node, _inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    return [_part("Add", "x0 x1", "sum"), _part("Gelu", "sum", "y0")]


@_composed("com.microsoft::BiasAdd")
def _bias_add(_node: Node, _inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    return [_part("Add", "x0 x1", "sum"), _part("Add", "sum x2", "y0")]


@_composed("com.microsoft::SkipLayerNormalization", "com.microsoft::SkipSimplifiedLayerNormalization")
def _skip(node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    simplified = "Simplified" in node.op
    bias = 3 if simplified else 4
    biased = len(inputs) > bias and inputs[bias] is not None
    parts = [_part("Add", "x0 x1", "sum" if biased else "y3")]
    parts += [_part("Add", f"sum x{bias}", "y3")] if biased else []
    attributes = {"axis": -1, "epsilon": node.attributes.get("epsilon", 1e-12)}
    if simplified:
        return [*parts, _part("RMSNormalization", "y3 x2", "y0", attributes, version=23)]
    del constants
    shift = "x3" if len(inputs) > 3 and inputs[3] is not None else "-"
    return [*parts, _part("LayerNormalization", f"y3 x2 {shift}", "y0", attributes)]


@_composed("GroupNormalization")
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
        _part("Reshape", "x0 grouped", "g"),
        _part("InstanceNormalization", "g one zero", "n", epsilon),
        _part("Reshape", "n whole", "u"),
        _part("Reshape", "x1 channel", "scale"),
        _part("Reshape", "x2 channel", "shift"),
        _part("Mul", "u scale", "m"),
        _part("Add", "m shift", "y0"),
    ]


@_composed("ReduceL1", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
def _reduced(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    axes = " x1" if len(inputs) > 1 and inputs[1] is not None else ""
    # ReduceSum takes its axes as an input from opset 13 on, the others from 18 on.
    version = 11 if "axes" in node.attributes or not axes else 18
    source = {"ReduceL1": "a", "ReduceSumSquare": "a", "ReduceLogSum": "x0", "ReduceLogSumExp": "a"}[node.op]
    before = {
        "ReduceL1": [_part("Abs", "x0", "a")],
        "ReduceSumSquare": [_part("Mul", "x0 x0", "a")],
        "ReduceLogSum": [],
        "ReduceLogSumExp": [_part("Exp", "x0", "a")],
    }[node.op]
    logs = node.op.startswith("ReduceLog")
    total = _part("ReduceSum", source + axes, "sum" if logs else "y0", node.attributes, version=version)
    return [*before, total, *([_part("Log", "sum", "y0")] if logs else [])]


@_composed("Mean")
def _mean(_node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    constants["share"] = _number(1 / len(inputs))
    return [_part("Sum", " ".join(f"x{index}" for index in range(len(inputs))), "sum"), _part("Mul", "sum share", "y0")]


@_composed("LpNormalization")
def _unit(node: Node, _inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    kind = "ReduceL2" if node.attributes.get("p", 2) == 2 else "ReduceL1"
    attributes: dict[str, Attribute] = {"axes": (int(node.attributes.get("axis", -1)),), "keepdims": 1}  # type: ignore[arg-type]
    return [_part(kind, "x0", "norm", attributes, version=13), _part("Div", "x0 norm", "y0")]


# -- linear in what they are given ----------------------------------------------------------------------------------------


@gradient("Einsum")
def _einsum(
    node: Node, run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """The gradient takes the place of the operand: its labels out, the operand's in."""
    equation = str(node.attributes["equation"]).replace(" ", "")
    terms, arrow, out = equation.partition("->")
    operands = terms.split(",")
    if not arrow or "." in equation or any(len(set(term)) != len(term) for term in operands):
        raise NotComputed("an equation without its result, or with a diagonal")
    found: list[Array | None] = []
    for index, (term, item) in enumerate(zip(operands, inputs, strict=True)):
        others = [other for position, other in enumerate(operands) if position != index]
        if item.constant:
            found.append(None)
            continue
        if set(term) - set(out) - set("".join(others)):
            raise NotComputed("a label that is summed alone")
        back = msgspec.structs.replace(node, attributes={"equation": f"{','.join([out, *others])}->{term}"})
        rest = [other for position, other in enumerate(inputs) if position != index]
        value = evaluate(back, run, [Values(gradients[0], "float32"), *rest])[0]
        if value is None or value.shape[1:] != item.shape:
            raise NotComputed("an operand of one element where another has more")
        found.append(value)
    return tuple(found)


@gradient("com.microsoft::MatMulNBits", "com.microsoft::DynamicQuantizeMatMul")
def _block_product(
    node: Node, run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Times the transposed weight, which is what the product makes of the unit matrix."""
    terms = inputs[0].shape[-1]
    run.claim(1, terms, terms)
    unit = Values(np.eye(terms, dtype=inputs[0].values.dtype)[np.newaxis], "float32")
    bias = 4 if node.op == "DynamicQuantizeMatMul" else 5
    weight = evaluate(
        node, run, [unit, *(None if index >= bias else item for index, item in enumerate(inputs[1:], 1))]
    )[0]
    if weight is None:
        raise NotComputed("no product")
    return (gradients[0] @ weight[0].T, *(None for _ in inputs[1:]))


@gradient("CumSum")
def _cumulated(
    node: Node, run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """The sum from the other end."""
    reverse = 1 - int(node.attributes.get("reverse", 0))  # type: ignore[arg-type]
    back = msgspec.structs.replace(node, attributes={**node.attributes, "reverse": reverse})
    return evaluate(back, run, [Values(gradients[0], "float32"), inputs[1]])[0], None


@gradient("TopK")
def _largest(
    node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Back to where each was taken from."""
    axis = int(node.attributes.get("axis", -1)) % len(inputs[0].shape) + 1  # type: ignore[arg-type]
    result = np.zeros((gradients[0].shape[0], *inputs[0].shape), gradients[0].dtype)
    places = np.broadcast_to(outputs[1], gradients[0].shape)
    np.put_along_axis(result, places, gradients[0], axis=axis)
    return result, None


@gradient("Resize", "Upsample")
def _resized(
    node: Node, run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """The transposed weights of each axis, in the opposite order."""
    first = inputs[0]
    if first is None:
        raise NotComputed("no input")
    tracing = Run(1, run.float_type, run.max_elements, trace=[])
    evaluate(node, tracing, [Values(np.zeros((1, *first.shape), first.values.dtype), first.dtype), *inputs[1:]])
    value = gradients[0]
    for axis, size, places, weights in reversed(tracing.trace or []):
        moved = np.moveaxis(value, axis, -1)
        run.claim(len(places), size)
        matrix = np.zeros((len(places), size), value.dtype)
        share = np.ones_like(places, value.dtype) if weights is None else weights.astype(value.dtype)
        np.add.at(matrix, (np.arange(len(places))[:, np.newaxis], places), share)
        run.claim(*moved.shape[:-1], size, work=float(prod(moved.shape) * size))
        value = np.moveaxis(moved @ matrix, -1, axis)
    return (value, *(None for _ in inputs[1:]))


@gradient("ScatterND", "ScatterElements", "Scatter")
def _scattered(
    node: Node, run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """What was written over has none; what was written has that of its place."""
    if node.attributes.get("reduction", "none") != "none":
        raise NotComputed("a scatter that reduces")
    arriving = Values(gradients[0], "float32")
    nothing = Values(np.zeros((1, *inputs[2].shape), gradients[0].dtype), "float32")
    kept = evaluate(node, run, [arriving, inputs[1], nothing])[0]
    reading = msgspec.structs.replace(
        node, op="GatherND" if node.op == "ScatterND" else "GatherElements", version=VERSION
    )
    return kept, None, evaluate(reading, run, [arriving, inputs[1]])[0]


# -- quantised: straight through -----------------------------------------------------------------------------------------


def _along(item: Draws, rank: int, axis: int) -> Array:
    """A scale as it is broadcast over a tensor of that rank."""
    values = item.values
    return values.reshape(values.shape[0], *(-1 if place == axis and values.size > 1 else 1 for place in range(rank)))


@gradient("DequantizeLinear", "com.microsoft::DequantizeLinear")
def _dequantised(
    node: Node, _run: Run, inputs: Sequence[Draws], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Of the codes: times the scale."""
    rank = len(inputs[0].shape)
    if len(inputs[1].shape) > 1:
        raise NotComputed("scales of blocks")
    axis = int(node.attributes.get("axis", 1)) % max(rank, 1)  # type: ignore[arg-type]
    return (gradients[0] * _along(inputs[1], rank, axis), *(None for _ in inputs[1:]))


@gradient("QuantizeLinear", "com.microsoft::QuantizeLinear")
def _quantised(
    node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Over the scale where the code is not at an end of its range."""
    rank = len(inputs[0].shape)
    if outputs[0].dtype.kind not in "iu" or len(inputs[1].shape) > 1:
        raise NotComputed("a floating format, or scales of blocks")
    limits = np.iinfo(outputs[0].dtype)
    axis = int(node.attributes.get("axis", 1)) % max(rank, 1)  # type: ignore[arg-type]
    inside = (outputs[0] > limits.min) & (outputs[0] < limits.max)
    return (gradients[0] * inside / _along(inputs[1], rank, axis), *(None for _ in inputs[1:]))


@_composed("QLinearConv")
def _qlinear_conv(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    weight = inputs[3]
    if weight is None or len(inputs) < 8:
        raise NotComputed("no weight")
    # The bias moves no gradient.
    return [
        _part("DequantizeLinear", "x0 x1 x2", "x"),
        _part("DequantizeLinear", "x3 x4 x5", "w", {"axis": 0}),
        _part("Conv", "x w", "conv", node.attributes),
        _part("QuantizeLinear", "conv x6 x7", "y0"),
    ]


@_composed("QLinearMatMul")
def _qlinear_matmul(_node: Node, _inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    return [
        _part("DequantizeLinear", "x0 x1 x2", "a"),
        _part("DequantizeLinear", "x3 x4 x5", "b"),
        _part("MatMul", "a b", "product"),
        _part("QuantizeLinear", "product x6 x7", "y0"),
    ]


@_composed("com.microsoft::QLinearAdd", "com.microsoft::QLinearMul")
def _qlinear_binary(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    zero = "x7" if len(inputs) > 7 and inputs[7] is not None else "-"
    first, second = ("-" if inputs[place] is None else f"x{place}" for place in (2, 5))
    return [
        _part("DequantizeLinear", f"x0 x1 {first}", "a"),
        _part("DequantizeLinear", f"x3 x4 {second}", "b"),
        _part(node.op.removeprefix("QLinear"), "a b", "y"),
        _part("QuantizeLinear", f"y x6 {zero}", "y0"),
    ]


@_composed("com.microsoft::QLinearSigmoid", "com.microsoft::QLinearLeakyRelu", "com.microsoft::QLinearAveragePool",
           "com.microsoft::QLinearGlobalAveragePool")  # fmt: skip
def _qlinear_unary(node: Node, inputs: Sequence[Draws | None], _constants: dict[str, Draws]) -> list[Node]:
    if node.attributes.get("channels_last"):
        raise NotComputed("channels last")
    zeros = ["x2" if inputs[2] is not None else "-", "x4" if len(inputs) > 4 and inputs[4] is not None else "-"]
    attributes = {key: value for key, value in node.attributes.items() if key != "channels_last"}
    return [
        _part("DequantizeLinear", f"x0 x1 {zeros[0]}", "a"),
        _part(node.op.removeprefix("QLinear"), "a", "y", attributes),
        _part("QuantizeLinear", f"y x3 {zeros[1]}", "y0"),
    ]


@gradient("DynamicQuantizeLinear")
def _dynamically_quantised(
    _node: Node, _run: Run, inputs: Sequence[Draws], outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Over the scale; the range moves with the input, and so nothing saturates."""
    return (gradients[0] / outputs[1].reshape(-1, *(1,) * len(inputs[0].shape)),)


@_composed("MatMulInteger", "ConvInteger")
def _integer_product(node: Node, inputs: Sequence[Draws | None], constants: dict[str, Draws]) -> list[Node]:
    constants["one"] = _number(1.0)
    zeros = [f"x{place}" if len(inputs) > place and inputs[place] is not None else "-" for place in (2, 3)]
    axis = {"axis": 0 if node.op == "ConvInteger" else -1}
    return [
        _part("DequantizeLinear", f"x0 one {zeros[0]}", "a"),
        _part("DequantizeLinear", f"x1 one {zeros[1]}", "b", axis),
        _part(node.op.removesuffix("Integer"), "a b", "y0", node.attributes),
    ]
