"""Two copies of a graph side by side that share the weights: the one instrument behind every figure of the probe.

Fed two independent inputs, half the mean squared difference of a tensor between the copies is an unbiased estimate of its
signal variance, which no single run can tell. Fed the same input, the copies tell whether the model repeats itself; fed an
input and a perturbed one, how far each tensor moves.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
from onnx import helper

from initlint.graph import Graph, Model, Node, ValueInfo
from initlint.probe.bodies import lifted
from initlint.probe.export import Exported, export, folder_of, node_of, opset_of
from initlint.probe.taps import COPIES, Drawing, Tap, draw_tap

__all__ = ["Instrumented", "giving_out", "instrument", "perturbable", "reads_of", "renamed", "shape_finder"]

DELTA = "initlint_delta/"  # inputs that are added to layers


class Instrumented(msgspec.Struct, frozen=True):
    """A model that gives out the statistics of its taps, or what else `outputs` names."""

    exported: Exported
    outputs: tuple[str, ...]
    taps: tuple[Tap, ...]


def instrument(model: Model, nodes: Sequence[Node], taps: Iterable[Tap], dependent: frozenset[str]) -> Instrumented:
    """Two copies of the main graph's `nodes` with the taps' reductions behind their producers.

    `dependent` are the values that depend on the input: nodes that make none of them (constant folding) are shared by the
    copies. Tensors inside the bodies of If, Loop and Scan are handed out through them.
    """
    chosen = tuple(taps)
    nodes, names = lifted(nodes, {tap.name: tap for tap in chosen})
    chosen = tuple(msgspec.structs.replace(tap, source=names[tap.name]) if tap.name in names else tap for tap in chosen)
    by_value: dict[str, list[Tap]] = defaultdict(list)
    for tap in chosen:
        by_value[tap.value].append(tap)
    shared = _shared(model, nodes, dependent)
    drawing = Drawing(opset_of(model))
    folder = folder_of(model)
    drawn: list[Tap] = []

    def draw(names: Iterable[str]) -> None:
        for tap in (tap for name in names if name not in shared for tap in by_value.get(name, ())):
            draw_tap(tap, drawing)
            drawn.append(tap)

    draw(info.name for info in model.graph.inputs)
    for node in nodes:
        copies = ("",) if all(name in shared for name in node.outputs if name) else COPIES
        drawing.nodes.extend(node_of(renamed(node, prefix, shared), folder) for prefix in copies)
        draw(node.outputs)
    twins = [msgspec.structs.replace(info, name=COPIES[1] + info.name) for info in model.graph.inputs]
    exported = export(model, drawing.nodes, [*model.graph.inputs, *twins], drawing.outputs, drawing.constants.values())
    return Instrumented(exported, tuple(drawing.outputs), tuple(drawn))


def shape_finder(model: Model, nodes: Sequence[Node], taps: Iterable[Tap]) -> Instrumented:
    """One copy that gives out the shape of every tap: for tensors whose shape the prediction got wrong."""
    chosen = tuple(taps)
    nodes, names = lifted(nodes, {tap.name: tap for tap in chosen})
    drawing = _single(model, nodes)
    for tap in chosen:
        drawing.outputs.append(drawing.add("Shape", [names.get(tap.name, tap.name)], f"initlint/{tap.name}/shape"))
    exported = export(model, drawing.nodes, model.graph.inputs, drawing.outputs)
    return Instrumented(exported, tuple(drawing.outputs), chosen)


def giving_out(model: Model, nodes: Sequence[Node], names: Sequence[str]) -> Instrumented:
    """One copy with these values as outputs: for their element types, which onnxruntime infers."""
    exported = export(model, _single(model, nodes).nodes, model.graph.inputs, names)
    return Instrumented(exported, tuple(names), ())


def _single(model: Model, nodes: Iterable[Node]) -> Drawing:
    drawing = Drawing(opset_of(model))
    folder = folder_of(model)
    drawing.nodes.extend(node_of(node, folder) for node in nodes)
    return drawing


def perturbable(
    model: Model, nodes: Sequence[Node], layers: Iterable[tuple[str, str]], outputs: Sequence[str]
) -> Instrumented:
    """One copy with an added input `initlint_delta/NAME` at each of `layers` (name, element type)."""
    dtypes = dict(layers)
    drawing = Drawing(opset_of(model))
    folder = folder_of(model)
    for node in nodes:
        moved = [name for name in node.outputs if name in dtypes]
        aside = tuple(f"{name}/clean" if name in dtypes else name for name in node.outputs)
        drawing.nodes.append(node_of(msgspec.structs.replace(node, outputs=aside), folder))
        for name in moved:
            moved_by = helper.make_node("Add", [f"{name}/clean", DELTA + name], [name], name=f"initlint/{name}/moved")
            drawing.nodes.append(moved_by)
            drawing.extra.append(ValueInfo(DELTA + name, dtypes[name], None))
    exported = export(model, drawing.nodes, [*model.graph.inputs, *drawing.extra], outputs)
    return Instrumented(exported, tuple(outputs), ())


def renamed(node: Node, prefix: str, shared: frozenset[str]) -> Node:
    """The node in the copy with this prefix: every value but the shared ones (weights) gets it, in subgraphs as well."""
    if not prefix:
        return node

    def name_of(name: str) -> str:
        return name if not name or name in shared else prefix + name

    def graph_of(graph: Graph) -> Graph:
        def value(info: ValueInfo) -> ValueInfo:
            return msgspec.structs.replace(info, name=name_of(info.name))

        return msgspec.structs.replace(
            graph,
            nodes=tuple(renamed(item, prefix, shared) for item in graph.nodes),
            inputs=tuple(value(info) for info in graph.inputs),
            outputs=tuple(value(info) for info in graph.outputs),
            initializers={
                name_of(name): msgspec.structs.replace(item, name=name_of(name))
                for name, item in graph.initializers.items()
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
    return msgspec.structs.replace(
        node,
        name=prefix + node.name,
        inputs=tuple(name_of(name) for name in node.inputs),
        outputs=tuple(name_of(name) for name in node.outputs),
        attributes=attributes,
    )


def reads_of(node: Node) -> list[str]:
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


def _shared(model: Model, nodes: Iterable[Node], dependent: frozenset[str]) -> frozenset[str]:
    """Names that both copies use: stored tensors of the main graph and values computed from them alone."""
    shared = set(model.graph.initializers)
    for node in nodes:
        outputs = [name for name in node.outputs if name]
        random = node.op.startswith(("Random", "Bernoulli", "Multinomial"))
        if (
            not random
            and all(name in shared for name in reads_of(node))
            and not any(name in dependent for name in outputs)
        ):
            shared.update(outputs)
    return frozenset(shared)
