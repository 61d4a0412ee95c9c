"""Statistics inside the graph: reductions placed right after each tensor's producer, so activations never leave the device.

Everything is measured on two copies of the graph side by side that share the weights and are fed two independent inputs:
half the mean squared difference of a tensor between them is an unbiased estimate of its signal variance, which no
single run can tell. onnxruntime accumulates full reductions in float32, so tensors are reduced row by row and the rows are
folded in float64 outside (`fold`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from initlint.graph import Graph, Model, Node, ValueInfo
from initlint.probe.export import Exported, export, folder_of, node_of

__all__ = ["COPIES", "Instrumented", "Tap", "instrument", "renamed"]

COPIES = ("", "initlint_twin/")  # name prefixes of the two copies
ROW = 4096  # elements reduced together in float32
RECTIFIERS = frozenset({"Relu", "ThresholdedRelu"})
SATURATING = {"Tanh": (-1.0, 1.0), "Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softsign": (-1.0, 1.0)}
NEAR = 0.015  # as in the prediction: share of the range from an asymptote


@dataclass(frozen=True, slots=True)
class Tap:
    """One tensor to be measured: its concrete shape decides how it is cut into rows."""

    name: str
    shape: tuple[int, ...]
    op: str
    channel_axis: int | None = None
    centre: float = 0.0  # subtracted before squaring: the mean of a first pass, where it dwarfs the std

    @property
    def row(self) -> int:
        """Elements of one row: the longest product of trailing extents up to `ROW`."""
        length = 1
        for extent in reversed(self.shape):
            if length * extent > ROW:
                break
            length *= extent
        return max(length, 1)


@dataclass(frozen=True, slots=True)
class Instrumented:
    """A model that gives, for each tap, the statistics named in `outputs`."""

    exported: Exported
    outputs: tuple[str, ...]
    taps: tuple[Tap, ...]
    inputs: tuple[str, ...]  # of one copy; the twin's carry its prefix


def renamed(node: Node, prefix: str, shared: frozenset[str]) -> Node:
    """The node in the copy with this prefix: every value but the shared ones (weights) gets it, in subgraphs as well."""
    if not prefix:
        return node

    def name_of(name: str) -> str:
        return name if not name or name in shared else prefix + name

    def graph_of(graph: Graph) -> Graph:
        def value(info: ValueInfo) -> ValueInfo:
            return replace(info, name=name_of(info.name))

        return replace(
            graph,
            nodes=tuple(renamed(item, prefix, shared) for item in graph.nodes),
            inputs=tuple(value(info) for info in graph.inputs),
            outputs=tuple(value(info) for info in graph.outputs),
            initializers={
                name_of(name): replace(item, name=name_of(name)) for name, item in graph.initializers.items()
            },
        )

    attributes = {
        key: graph_of(value)
        if isinstance(value, Graph)
        else tuple(graph_of(item) for item in value)
        if isinstance(value, tuple) and value and isinstance(value[0], Graph)
        else value
        for key, value in node.attributes.items()
    }
    return replace(
        node,
        name=prefix + node.name,
        inputs=tuple(name_of(name) for name in node.inputs),
        outputs=tuple(name_of(name) for name in node.outputs),
        attributes=attributes,
    )


def instrument(
    model: Model,
    taps: Sequence[Tap],
    *,
    dependent: frozenset[str],
    nodes: Iterable[Node] | None = None,
    perturbed: Sequence[str] = (),
) -> Instrumented:
    """Two copies of the main graph with the taps' reductions behind their producers.

    `dependent` are the values that depend on the input: nodes that make none of them (constant folding) are shared by the
    copies. Each tensor in `perturbed` gets, in the twin only, an added input `initlint_delta/<name>`. `nodes` restricts the
    graph to a part that runs.
    """
    chosen = tuple(nodes) if nodes is not None else model.graph.nodes
    by_name = {tap.name: tap for tap in taps}
    shared = _shared(model, chosen, dependent)
    drawing = _Drawing(model.opset)
    folder = folder_of(model)
    for info in model.graph.inputs:
        if info.name in by_name:
            _tap(by_name[info.name], drawing)
    for node in chosen:
        copies = ("",) if all(name in shared for name in node.outputs if name) else COPIES
        for prefix in copies:
            copy = renamed(node, prefix, shared)
            if prefix:
                drawing.nodes.append(node_of(_set_aside(copy, prefix, perturbed), folder))
                _add_deltas(node, prefix, perturbed, drawing)
            else:
                drawing.nodes.append(node_of(copy, folder))
        for name in node.outputs:
            if name in by_name:
                _tap(by_name[name], drawing)
    free = list(model.graph.inputs)
    twins = [replace(info, name=COPIES[1] + info.name) for info in free]
    exported = export(
        model, drawing.nodes, [*free, *twins, *drawing.extra], drawing.outputs, drawing.constants.values()
    )
    return Instrumented(exported, tuple(drawing.outputs), tuple(taps), tuple(info.name for info in free))


def _shared(model: Model, nodes: Iterable[Node], dependent: frozenset[str]) -> frozenset[str]:
    """Names that both copies use: stored tensors of the main graph and values computed from them alone."""
    shared = set(model.graph.initializers)
    for node in nodes:
        outputs = [name for name in node.outputs if name]
        random = node.op.startswith(("Random", "Bernoulli", "Multinomial"))
        if (
            not random
            and all(name in shared for name in _reads(node))
            and not any(name in dependent for name in outputs)
        ):
            shared.update(outputs)
    return frozenset(shared)


def _reads(node: Node) -> list[str]:
    """Values a node reads from outside, its subgraphs' captures included."""
    names = [name for name in node.inputs if name]
    pending = list(node.graphs())
    inner: set[str] = set()
    captured: list[str] = []
    while pending:
        graph = pending.pop()
        inner.update(graph.initializers)
        inner.update(info.name for info in graph.inputs)
        for item in graph.nodes:
            inner.update(item.outputs)
            captured.extend(name for name in item.inputs if name)
            pending.extend(item.graphs())
        captured.extend(info.name for info in graph.outputs)
    return names + [name for name in captured if name not in inner]


def _set_aside(node: Node, prefix: str, perturbed: Sequence[str]) -> Node:
    """The twin's producer of a perturbed tensor writes under another name; `_add_deltas` makes the tensor itself."""
    wanted = {prefix + name for name in perturbed}
    if not wanted.intersection(node.outputs):
        return node
    return replace(node, outputs=tuple(f"{name}/clean" if name in wanted else name for name in node.outputs))


def _add_deltas(node: Node, prefix: str, perturbed: Sequence[str], drawing: "_Drawing") -> None:
    for name in node.outputs:
        if name in perturbed:
            delta = f"initlint_delta/{name}"
            drawing.add("Add", [f"{prefix}{name}/clean", delta], prefix + name)
            drawing.extra.append(ValueInfo(delta, "float32", None))


def _tap(tap: Tap, drawing: "_Drawing") -> None:
    """Append the reductions of one tensor, of both copies, and of their difference."""
    base = f"initlint/{tap.name}"
    add = drawing.add
    shape = drawing.constant("rows", np.array([prod(tap.shape) // tap.row, tap.row], np.int64))
    rows = []
    for index, prefix in enumerate(COPIES):
        wide = add("Cast", [prefix + tap.name], f"{base}/wide{index}", to=TensorProto.FLOAT)
        row = add("Reshape", [wide, shape], f"{base}/rows{index}")
        rows.append(row)
        squared = row
        if tap.centre:
            centre = drawing.constant("centre", np.asarray(tap.centre, np.float32))
            squared = add("Sub", [row, centre], f"{row}/centred")
        for kind, source in (
            ("ReduceSum", squared),
            ("ReduceSumSquare", squared),
            ("ReduceMax", row),
            ("ReduceMin", row),
        ):
            drawing.outputs.append(_reduce(kind, source, f"{base}/{kind}{index}", [1], drawing))
        if index == 0:
            _activation(tap, row, base, drawing)
    add("Sub", rows, f"{base}/difference")
    drawing.outputs.append(_reduce("ReduceSumSquare", f"{base}/difference", f"{base}/Signal", [1], drawing))


def _reduce(kind: str, source: str, output: str, axes: Sequence[int], drawing: "_Drawing") -> str:
    """A reduction; the axes became an input with opset 13 (ReduceSum) and 18 (the others)."""
    if drawing.opset < (13 if kind == "ReduceSum" else 18):
        drawing.nodes.append(helper.make_node(kind, [source], [output], axes=list(axes), keepdims=0))
        return output
    name = drawing.constant("axes", np.array(axes, np.int64))
    drawing.nodes.append(helper.make_node(kind, [source, name], [output], keepdims=0))
    return output


def _activation(tap: Tap, row: str, base: str, drawing: "_Drawing") -> None:
    """Counts that the measured rules need: where a rectifier is active, how much of a squashed output is saturated."""
    add = drawing.add
    if tap.op in RECTIFIERS and tap.shape:
        axis = (tap.channel_axis if tap.channel_axis is not None else -1) % len(tap.shape)
        before, channels, after = prod(tap.shape[:axis]), tap.shape[axis], prod(tap.shape[axis + 1 :])
        shape = drawing.constant("channels", np.array([before, channels, after], np.int64))
        add("Reshape", [row, shape], f"{base}/channels")
        add("Sign", [f"{base}/channels"], f"{base}/sign")
        drawing.outputs.append(_reduce("ReduceSum", f"{base}/sign", f"{base}/Active", [0, 2], drawing))
    elif tap.op in SATURATING:
        low, high = SATURATING[tap.op]
        reach = drawing.constant("reach", np.asarray((0.5 - NEAR) * (high - low), np.float32))
        middle = drawing.constant("middle", np.asarray((low + high) / 2, np.float32))
        add("Sub", [row, middle], f"{base}/offset")
        add("Abs", [f"{base}/offset"], f"{base}/distance")
        add("Greater", [f"{base}/distance", reach], f"{base}/near")
        add("Cast", [f"{base}/near"], f"{base}/near_float", to=TensorProto.FLOAT)
        drawing.outputs.append(_reduce("ReduceSum", f"{base}/near_float", f"{base}/Saturated", [1], drawing))


class _Drawing:
    """The instrumented graph while it is put together."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.outputs: list[str] = []
        self.extra: list[ValueInfo] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node with one output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, role: str, value: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> str:
        """Name of a constant, stored once for each value."""
        name = f"initlint_{role}/" + "x".join(str(item) for item in value.reshape(-1))
        self.constants.setdefault(name, numpy_helper.from_array(value, name))
        return name
