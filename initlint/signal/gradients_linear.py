"""Gradient rules of operators that are linear in what they are given: sums, choices, resampling, writing into places."""

from collections.abc import Sequence
from math import prod

import msgspec
import numpy as np

from initlint.graph import Node
from initlint.operators.table import Array, Draws, NotComputed, Run, Values, evaluate
from initlint.signal.gradients import gradient
from initlint.signal.gradients_composed import VERSION

__all__: list[str] = []


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
