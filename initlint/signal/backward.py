"""The gradient of every tensor, by walking one evaluation backwards on its draws.

The scalar differentiated is `sum(c * y)` over the float outputs y with c ~ N(0, 1) independent of everything, so a
gradient's mean square is the mean squared row norm of the Jacobian (Glorot & Bengio 2010, eq. 6 in expectation over c).
A tensor whose gradient has a part that is not known has no gradient: it is left out, never reported too small.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TypeAlias

import msgspec
import numpy as np

from initlint.errors import Refusal
from initlint.graph import Model
from initlint.inputs import generator_for, smaller
from initlint.operators.table import Array, Bundle, NotComputed, Run
from initlint.signal import (
    gradients_attention,
    gradients_composed,
    gradients_linear,
    gradients_quantised,
    gradients_recurrent,
    gradients_weighted,
)
from initlint.signal.evaluate import Evaluation, Step
from initlint.signal.gradients import CODES, GRADIENTS, NO_GRADIENT
from initlint.signal.holding import most_bytes, most_constant, most_constants
from initlint.signal.propagate import Assumptions, Propagation, drawn
from initlint.signal.statistics import error_bits

__all__ = ["Backward", "backpropagate"]

Found: TypeAlias = tuple[float, float | None]

SMALLER = (1, 2, 4)  # what the sides of images are divided by, in turn
WORK = 5e9  # multiply-adds of all draws forward; the way back costs twice that
TAPE_BYTES = 1 << 27  # all activations of all draws that are held at once
MOST_DRAWS = 128


class Backward(msgspec.Struct, frozen=True):
    """Standard deviation of the gradient by tensor, how sure it is, and why there is none where there is none."""

    gradient_std: Mapping[str, float]
    draws: int
    reason: str | None = None
    error_bits: Mapping[str, float] = msgspec.field(default_factory=dict)  # standard error of log2(gradient_std)


def backpropagate(model: Model, forward: Propagation, assumptions: Assumptions) -> Backward:
    """Gradient std of every float tensor on the way to an output, on as many draws as memory allows (at least two).

    Where not even two fit, on images of half or a quarter of the side: a gradient is local as its convolutions are.
    """
    per_draw = sum(prod(shape) for shape in forward.shapes.values())
    per_draw += sum(
        prod(forward.shapes.get(info.name, ())) for info in model.graph.outputs
    )  # their gradients, drawn at once
    inputs, factor = forward.inputs, 1
    for factor in SMALLER:
        inputs = tuple(smaller(item, factor) for item in forward.inputs)
        share = prod(prod(item.shape) for item in inputs) / max(prod(prod(item.shape) for item in forward.inputs), 1)
        draws = int(
            min(
                MOST_DRAWS,
                forward.draws,
                TAPE_BYTES // max(per_draw * share * np.dtype(forward.float_type).itemsize, 1),
            )
        )
        if draws >= 2 or assumptions.given:
            break
    if draws < 2:
        return Backward({}, 0, "the activations are too large to be kept")
    draws = int(np.clip(WORK / forward.work, 2, draws))
    run = Run(
        draws=draws,
        float_type=np.float64 if forward.float_type == "float64" else np.float32,
        max_constant=most_constant(model),
        max_constants=most_constants(model),
        max_bytes=most_bytes(model),
        max_work=8 * draws * forward.work + 1e10,
        generator=generator_for(model, assumptions.seed + 1),
    )
    evaluation = Evaluation(model, run, assumptions.operators, statistics=False, keep=True)
    for item in inputs:
        values = drawn(item, assumptions, run)
        if values is None:
            evaluation.lose(item.name, "not drawn", dtype=item.dtype, depends=True)
        else:
            evaluation.feed(item, values)
    with np.errstate(all="ignore"):
        evaluation.walk(model.graph)
        if factor > 1 and evaluation.contradictions:
            return Backward({}, 0, "the activations are too large to be kept")
        found = _reverse(model, evaluation, run)
    errors = {name: item[1] for name, item in found.items() if item[1] is not None}
    return Backward({name: item[0] for name, item in found.items()}, draws, error_bits=errors)


def _reverse(model: Model, evaluation: Evaluation, run: Run) -> dict[str, Found]:
    gradients: dict[str, Array] = {}
    incomplete: set[str] = set()
    for info in model.graph.outputs:
        value = evaluation.known(info.name)
        if value is None:
            incomplete.add(info.name)
        elif not value.constant and value.values.dtype.kind == "f":
            gradients[info.name] = run.generator.standard_normal(value.values.shape).astype(run.float_type)
    stds: dict[str, Found] = {}
    for step in reversed(evaluation.tape):
        _back(step, run, gradients, incomplete, stds, evaluation)
    for name, arrived in gradients.items():
        if name not in incomplete:
            stds[name] = _rms(arrived)
    return stds


def _back(
    step: Step,
    run: Run,
    gradients: dict[str, Array],
    incomplete: set[str],
    stds: dict[str, Found],
    evaluation: Evaluation,
) -> None:
    arriving = [gradients.pop(name, None) for name in step.outputs]
    bundles = [name for name in step.inputs if isinstance(evaluation.values.get(name), Bundle)]
    incomplete.update(bundles)  # what goes back into a sequence is not followed
    if any(name in incomplete for name in step.outputs):
        incomplete.update(name for name in step.inputs if name)
        return
    for name, value in zip(step.outputs, arriving, strict=True):
        if value is not None:
            stds[name] = _rms(value)
    if all(value is None for value in arriving):
        return
    inputs = [evaluation.known(name) for name in step.inputs]
    outputs = [evaluation.known(name) for name in step.outputs]
    wanted = [
        index
        for index, item in enumerate(inputs)
        if item is not None and not item.constant and (item.values.dtype.kind == "f" or step.node.op in CODES)
    ]
    if not wanted or step.node.op in NO_GRADIENT:
        return
    if len(wanted) * sum(value.nbytes for value in arriving if value is not None) > TAPE_BYTES:
        incomplete.update(step.inputs[index] for index in wanted)  # a node of a hundred thousand inputs
        return
    shaped = [
        value if value is not None else np.zeros_like(item.values) if item is not None else None
        for value, item in zip(arriving, outputs, strict=True)
    ]
    results = _apply(step, run, inputs, outputs, shaped)
    if results is None:
        incomplete.update(step.inputs[index] for index in wanted)
        return
    for index in wanted:
        name = step.inputs[index]
        value = results[index] if index < len(results) else None
        if value is None:
            if inputs[index].values.dtype.kind == "f":  # type: ignore[union-attr]
                incomplete.add(name)  # a zero point is no loss
        elif name in gradients:
            gradients[name] = gradients[name] + value
        else:
            gradients[name] = value


def _apply(
    step: Step, run: Run, inputs: Sequence[object], outputs: Sequence[object], arriving: Sequence[Array | None]
) -> tuple[Array | None, ...] | None:
    rule = GRADIENTS.get(step.node.kind)
    if rule is None:
        return None
    values = [getattr(item, "values", None) for item in outputs]
    node = step.node
    if len(step.outputs) != len(node.outputs):
        node = msgspec.structs.replace(node, outputs=tuple(step.outputs))
    try:
        return rule(node, run, inputs, values, arriving)
    except (NotComputed, Refusal, ValueError, IndexError, TypeError, KeyError):
        return None


def _rms(value: Array) -> Found:
    """Root mean square, and the standard error of its log2 from the scatter of the draws."""
    flat = value.reshape(value.shape[0], -1).astype(np.float64)
    energies = np.einsum("ij,ij->i", flat, flat)
    return float(np.sqrt(energies.sum() / max(flat.size, 1))), error_bits(energies)


RULES = (
    gradients_attention,
    gradients_composed,
    gradients_linear,
    gradients_quantised,
    gradients_recurrent,
    gradients_weighted,
)  # imported to register their rules
