"""Hand tensors out of the bodies of If, Loop and Scan, so that they can be measured like those of the main graph.

A tensor of a branch becomes a further output of the If; the other branch gives zeros of the same shape in its place. A
tensor of a loop's body becomes a carried value, so that what comes out is what the last round computed: the prediction
reports the same.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from initlint.graph import Graph, Node, StoredTensor, ValueInfo
from initlint.probe.taps import Tap
from initlint.source import BytesSource

__all__ = ["lifted"]


def lifted(nodes: Sequence[Node], wanted: Mapping[str, Tap]) -> tuple[tuple[Node, ...], dict[str, str]]:
    """The nodes with wanted inner tensors among the outputs of their control flow, and each one's name outside."""
    result: list[Node] = []
    names: dict[str, str] = {}
    for node in nodes:
        if next(node.graphs(), None) is None:
            result.append(node)
            continue
        before, node, found = _lift(node, wanted)
        result.extend((*before, node))
        names |= found
    return tuple(result), names


def _lift(node: Node, wanted: Mapping[str, Tap]) -> tuple[list[Node], Node, dict[str, str]]:
    """(nodes to be put before, the node, inner tensor -> name outside). Bodies are nested no deeper than the reader allows."""
    bodies: dict[str, Graph] = {}
    inside: dict[str, dict[str, str]] = {}
    for key, graph in node.attributes.items():
        if isinstance(graph, Graph):
            inner, deeper = lifted(graph.nodes, wanted)
            bodies[key] = msgspec.structs.replace(graph, nodes=inner)
            own = {name: name for item in graph.nodes for name in item.outputs if name in wanted}
            inside[key] = own | deeper
    if not any(inside.values()):
        return [], node, {}
    if node.op == "If":
        return [], *_branches(node, bodies, inside, wanted)
    if node.op in {"Loop", "Scan"} and len(bodies) == 1:
        return _carried(node, next(iter(bodies.items())), inside, wanted)
    return [], node, {}


def _branches(
    node: Node, bodies: Mapping[str, Graph], inside: Mapping[str, Mapping[str, str]], wanted: Mapping[str, Tap]
) -> tuple[Node, dict[str, str]]:
    outputs = list(node.outputs)
    names: dict[str, str] = {}
    grown = dict(bodies)
    for key, tensors in inside.items():
        given = [info.name for info in bodies[key].outputs]
        for tensor, inner in tensors.items():
            if inner in given and node.outputs[given.index(inner)]:
                names[tensor] = node.outputs[given.index(inner)]
                continue
            names[tensor] = f"initlint_out/{inner}"
            if names[tensor] in outputs:  # one value may be the output of several bodies
                continue
            outputs.append(names[tensor])
            for other, graph in grown.items():
                if other == key:
                    grown[other] = msgspec.structs.replace(
                        graph, outputs=(*graph.outputs, ValueInfo(inner, None, None))
                    )
                else:
                    grown[other] = _with_zeros(graph, f"initlint_none/{other}/{inner}", wanted[tensor], node.version)
    return msgspec.structs.replace(node, outputs=tuple(outputs), attributes={**node.attributes, **grown}), names


def _with_zeros(graph: Graph, name: str, tap: Tap, version: int) -> Graph:
    """The branch with zeros of the tap's shape as a further output."""
    shape, node = _zeros(name, tap, version)
    return msgspec.structs.replace(
        graph,
        nodes=(*graph.nodes, node),
        outputs=(*graph.outputs, ValueInfo(name, None, None)),
        initializers={**graph.initializers, shape.name: shape},
    )


def _carried(
    node: Node,
    body: tuple[str, Graph],
    inside: Mapping[str, Mapping[str, str]],
    wanted: Mapping[str, Tap],
) -> tuple[list[Node], Node, dict[str, str]]:
    key, graph = body
    count = node.attributes.get("num_scan_inputs", 0)
    loop = node.op == "Loop"
    states = len(node.inputs) - (2 if loop else int(count))  # type: ignore[arg-type]
    given = [info.name for info in graph.outputs][int(loop) : int(loop) + states]
    names: dict[str, str] = {}
    fresh: list[tuple[str, str]] = []  # (name in the body, tensor)
    for tensor, inner in inside[key].items():
        if inner in given and node.outputs[given.index(inner)]:
            names[tensor] = node.outputs[given.index(inner)]
        else:
            names[tensor] = f"initlint_out/{inner}"
            if inner not in dict(fresh):
                fresh.append((inner, tensor))
    before: list[Node] = []
    for inner, tensor in fresh:
        before.extend(_start(f"initlint_start/{inner}", wanted[tensor], node.version))
    return before, _grown(node, key, graph, fresh, states, wanted), names


def _grown(
    node: Node, key: str, graph: Graph, fresh: Iterable[tuple[str, str]], states: int, wanted: Mapping[str, Tap]
) -> Node:
    """The Loop or Scan with the fresh values carried behind its own states."""
    loop = node.op == "Loop"
    place, body_place = states + (2 if loop else 0), states + int(loop)
    starts = tuple(f"initlint_start/{inner}" for inner, _ in fresh)
    entries = tuple(ValueInfo(f"initlint_in/{inner}", wanted[tensor].dtype, None) for inner, tensor in fresh)
    collected = {info.name for info in graph.outputs}
    copies = tuple(
        Node("Identity", "", node.version, f"initlint_copy/{inner}", (inner,), (f"initlint_copy/{inner}",), {}, -1)
        for inner, _ in fresh
        if inner in collected
    )
    exits = tuple(
        ValueInfo(f"initlint_copy/{inner}" if inner in collected else inner, None, None) for inner, _ in fresh
    )
    outs = tuple(f"initlint_out/{inner}" for inner, _ in fresh)
    body_entry = place if loop else states
    changed = msgspec.structs.replace(
        graph,
        nodes=(*graph.nodes, *copies),
        inputs=(*graph.inputs[:body_entry], *entries, *graph.inputs[body_entry:]),
        outputs=(*graph.outputs[:body_place], *exits, *graph.outputs[body_place:]),
    )
    return msgspec.structs.replace(
        node,
        inputs=(*node.inputs[:place], *starts, *node.inputs[place:]),
        outputs=(*node.outputs[:states], *outs, *node.outputs[states:]),
        attributes={**node.attributes, key: changed},
    )


def _start(name: str, tap: Tap, version: int) -> tuple[Node, Node]:
    """What a carried value is before the first round: zeros of the tap's shape."""
    shape, zeros = _zeros(name, tap, version)
    stored = Node("Constant", "", version, shape.name, (), (shape.name,), {"value": shape}, -1)
    return stored, zeros


def _zeros(name: str, tap: Tap, version: int) -> tuple[StoredTensor, Node]:
    """A shape to be stored, and the ConstantOfShape that makes zeros of it."""
    extents = np.array(tap.shape, np.int64)
    shape = StoredTensor(f"{name}/shape", "int64", extents.shape, BytesSource(extents.tobytes()), 0, extents.nbytes)
    size = {"float64": 8, "float32": 4}.get(tap.dtype, 2)
    value = StoredTensor(f"{name}/value", tap.dtype, (1,), BytesSource(bytes(size)), 0, size)
    return shape, Node("ConstantOfShape", "", version, name, (shape.name,), (name,), {"value": value}, -1)
