"""If, Loop and Scan: subgraphs are walked on the same draws; what a body computes last is what is reported of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from initlint.errors import Reason, Refusal
from initlint.graph import Graph, Node
from initlint.operators.table import Array, Draws, NotComputed, Values

if TYPE_CHECKING:
    from initlint.signal.evaluate import Evaluation

__all__ = ["evaluate_control"]

MOST_STEPS = 100_000  # nodes evaluated inside loops of one model: an endless loop ends here
MOST_ROUNDS = 4096


def evaluate_control(evaluation: "Evaluation", node: Node, inputs: Sequence[Any]) -> tuple[Array | Draws | None, ...]:
    """Outputs of an If, Loop or Scan node.

    Raises NotComputed where the control depends on the input in a way that draws cannot share, and where the rounds are
    too many.
    """
    before = _captured(node, evaluation)
    try:
        match node.op:
            case "If":
                return _if(evaluation, node, inputs)
            case "Loop":
                return _loop(evaluation, node, inputs)
            case "Scan":
                return _scan(evaluation, node, inputs)
            case _:
                raise NotComputed(f"operator {node.kind} is unknown")
    finally:
        evaluation.release(before)


def _captured(node: Node, evaluation: "Evaluation") -> dict[str, int]:
    """Outer values that the subgraphs read, with the number of reads."""
    reads: dict[str, int] = {}
    pending = list(node.graphs())
    while pending:
        graph = pending.pop()
        for name in (*(name for inner in graph.nodes for name in inner.inputs), *(info.name for info in graph.outputs)):
            if name in evaluation.values:
                reads[name] = reads.get(name, 0) + 1
        pending.extend(inner for item in graph.nodes for inner in item.graphs())
    return reads


def _subgraph(node: Node, name: str) -> Graph:
    graph = node.attributes.get(name)
    if not isinstance(graph, Graph):
        raise Refusal(Reason.GRAPH, f"has no {name}")
    return graph


def _if(evaluation: "Evaluation", node: Node, inputs: Sequence[Any]) -> tuple[Array | Draws | None, ...]:
    branches = (_subgraph(node, "else_branch"), _subgraph(node, "then_branch"))
    condition = inputs[0]
    if not isinstance(condition, Draws):
        raise NotComputed("the condition is not known")
    chosen = condition.values.reshape(condition.values.shape[0], -1)[:, 0].astype(bool)
    if chosen.all() or not chosen.any():
        return tuple(_body(evaluation, node, branches[int(chosen[0])], {}))
    otherwise, then = (_body(evaluation, node, branch, {}) for branch in branches)
    merged: list[Array | Draws | None] = []
    for no, yes in zip(otherwise, then, strict=True):
        if no is None or yes is None or no.shape != yes.shape:
            raise NotComputed("the branches of an If that depends on the input give different shapes")
        where = chosen.reshape(-1, *(1,) * len(no.shape))
        merged.append(Values(np.where(where, yes.values, no.values), yes.dtype))
    return tuple(merged)


def _loop(evaluation: "Evaluation", node: Node, inputs: Sequence[Any]) -> tuple[Array | Draws | None, ...]:
    body = _subgraph(node, "body")
    trips = _count(inputs[0]) if len(inputs) > 0 else None
    condition = inputs[1] if len(inputs) > 1 else None
    carried = list(inputs[2:])
    scans: list[list[Draws]] = [[] for _ in body.outputs[1 + len(carried) :]]
    alive: Array | None = None if condition is None else _truth(condition)
    round_number = 0
    while (trips is None or round_number < trips) and (alive is None or alive.any()):
        if round_number >= MOST_ROUNDS:
            raise NotComputed(f"a loop of more than {MOST_ROUNDS} rounds")
        names = [info.name for info in body.inputs]
        start = (
            Values(np.full((1,), round_number, np.int64), "int64"),
            Values(np.ones((1,), bool), "bool"),
            *carried,
        )
        results = _body(evaluation, node, body, dict(zip(names, start, strict=False)))
        again = _truth(results[0])
        fresh = results[1 : 1 + len(carried)]
        if alive is not None and not alive.all():
            if scans:
                raise NotComputed("a loop whose length depends on the input collects values")
            fresh = [_select(alive, new, old) for new, old in zip(fresh, carried, strict=True)]
        carried = list(fresh)
        for collected, value in zip(scans, results[1 + len(carried) :], strict=True):
            _collect(evaluation, collected, value)
        alive = again if alive is None else alive & again
        round_number += 1
    return (*carried, *(_stack(items, 0, reverse=False) for items in scans))


def _scan(evaluation: "Evaluation", node: Node, inputs: Sequence[Any]) -> tuple[Array | Draws | None, ...]:
    body = _subgraph(node, "body")
    if node.version < 9:
        raise NotComputed("Scan of opset 8")
    count = int(node.attributes.get("num_scan_inputs", 1))  # type: ignore[arg-type]
    carried = list(inputs[: len(inputs) - count])
    sequences = list(inputs[len(inputs) - count :])
    if any(not isinstance(item, Draws) for item in sequences):
        raise NotComputed("a sequence that is scanned is not known")
    axes = _axes(node, "scan_input_axes", count)
    reverse = _axes(node, "scan_input_directions", count)
    length = {item.shape[axis] for item, axis in zip(sequences, axes, strict=True)}
    if len(length) != 1:
        raise Refusal(Reason.GRAPH, f"scans sequences of different lengths {sorted(length)}")
    rounds = length.pop()
    if rounds > MOST_ROUNDS:
        raise NotComputed(f"a scan of more than {MOST_ROUNDS} rounds")
    outputs = len(body.outputs) - len(carried)
    scans: list[list[Draws]] = [[] for _ in range(outputs)]
    names = [info.name for info in body.inputs]
    for step in range(rounds):
        slices = [
            Values(
                np.take(item.values, rounds - 1 - step if backward else step, axis=axis % len(item.shape) + 1),
                item.dtype,
            )
            for item, axis, backward in zip(sequences, axes, reverse, strict=True)
        ]
        results = _body(evaluation, node, body, dict(zip(names, (*carried, *slices), strict=True)))
        carried = list(results[: len(carried)])
        for collected, value in zip(scans, results[len(carried) :], strict=True):
            _collect(evaluation, collected, value)
    out_axes = _axes(node, "scan_output_axes", outputs)
    out_reverse = _axes(node, "scan_output_directions", outputs)
    return (
        *carried,
        *(
            _stack(items, axis, reverse=bool(back))
            for items, axis, back in zip(scans, out_axes, out_reverse, strict=True)
        ),
    )


def _axes(node: Node, name: str, count: int) -> tuple[int, ...]:
    value = node.attributes.get(name, (0,) * count)
    return tuple(int(item) for item in value) if isinstance(value, tuple) else (0,) * count  # type: ignore[arg-type]


def _count(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, Draws):
        raise NotComputed("the trip count is not known")
    if not value.constant and value.values.min() != value.values.max():
        raise NotComputed("the trip count depends on the input")
    return int(value.values.reshape(-1)[0])


def _truth(value: Any) -> Array:
    if not isinstance(value, Draws):
        raise NotComputed("the loop's condition is not known")
    return value.values.reshape(value.values.shape[0], -1)[:, 0].astype(bool)


def _select(alive: Array, new: Any, old: Any) -> Draws | None:
    if not isinstance(new, Draws) or not isinstance(old, Draws):
        return None
    if new.shape != old.shape:
        raise NotComputed("a loop whose length depends on the input changes a shape")
    where = alive.reshape(-1, *(1,) * len(new.shape))
    return Values(np.where(where, new.values, old.values), new.dtype)


def _collect(evaluation: "Evaluation", collected: list[Draws], value: Draws | None) -> None:
    """Add what a round gives to what the earlier ones gave, where all of it together is no more than one tensor may be."""
    if value is None:
        raise NotComputed("a value collected by the rounds is not known")
    size = (len(collected) + 1) * value.values.size
    if size > evaluation.run.max_elements:
        raise NotComputed(f"{size:.3g} elements are more than one tensor may hold ({evaluation.run.max_elements:.3g})")
    collected.append(value)


def _stack(items: Sequence[Draws], axis: int, *, reverse: bool) -> Draws:
    if not items:
        raise NotComputed("a loop without a round collects nothing")
    draws = max(item.values.shape[0] for item in items)
    ordered = list(reversed(items)) if reverse else list(items)
    where = axis % (len(ordered[0].shape) + 1) + 1
    arrays = [np.broadcast_to(item.values, (draws, *item.shape)) for item in ordered]
    return Values(np.stack(arrays, axis=where), ordered[0].dtype)


def _body(evaluation: "Evaluation", node: Node, graph: Graph, bindings: dict[str, Any]) -> list[Draws | None]:
    """Evaluate a subgraph once; its outputs, None for one that is not known."""
    evaluation.steps += len(graph.nodes) + 1
    if evaluation.steps > MOST_STEPS:
        raise NotComputed(f"more than {MOST_STEPS} nodes evaluated inside loops")
    with evaluation.scope(graph, evaluation.ancestry(name for name in node.inputs if name)):
        for name, value in bindings.items():
            if value is None:
                evaluation.lose(name, "a carried value is not known", dtype="", depends=True)
            else:
                evaluation.values[name] = value
        evaluation.walk(graph)
        found = [evaluation.values.get(info.name) for info in graph.outputs]
    return [item if isinstance(item, Draws) else None for item in found]
