"""The largest part of a model that onnxruntime runs: what it lacks or stumbles over is left out, and said."""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod

import msgspec
import onnxruntime as ort

from initlint.errors import Reason, Refusal
from initlint.graph import Model, Node
from initlint.probe.session import Feeds, open_session, pair, run
from initlint.probe.taps import COPIES, Tap
from initlint.probe.twins import Instrumented, giving_out, instrument, reads_of, shape_finder

__all__ = ["Part", "runnable_part", "with_unknown"]

ATTEMPTS = 16  # operators or nodes left out before the probe gives up
LACKS = (
    r"find an implementation for (?:the node [^:]*:)?([\w.:]+)\(",
    r"([\w.:]+)\(-?\d+\) is not a registered",
    r"No Op registered for ([\w.:]+)",
    r"Fatal error: ([\w.:]+)\(",
)
ELEMENT_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
STOPPED = re.compile(r"while running (\w+) node\. Name:'([^']*)'")


class Part(msgspec.Struct, frozen=True):
    """What runs, how it is instrumented, the session, and what was left out with what depends on it."""

    nodes: tuple[Node, ...]
    instrumented: Instrumented
    session: ort.InferenceSession
    left_out: tuple[str, ...]
    varying: tuple[str, ...]  # tensors whose shape depends on the data


def runnable_part(
    model: Model, taps: Sequence[Tap], dependent: frozenset[str], feeds: tuple[Feeds, Feeds], device: str
) -> Part:
    """Try the whole model; leave out what onnxruntime names until the rest runs. Raises Refusal where nothing does."""
    nodes = model.graph.nodes
    left_out: list[str] = []
    varying: tuple[str, ...] = ()
    shapes_known = False
    for _ in range(ATTEMPTS):
        kept = _made(model, nodes, taps)
        if not kept:
            break
        instrumented = instrument(model, nodes, kept, dependent)
        try:
            session = open_session(instrumented, device=device)
            for _outputs in run(session, instrumented.outputs, [pair(*feeds)]):
                pass
        except Refusal as refusal:
            if refusal.reason is not Reason.UNSUPPORTED:
                raise
            culprit = _culprit(refusal.message, nodes)
            if culprit is not None:
                left_out.append(culprit.kind)
                nodes = _without(nodes, culprit, everywhere=" stopped" not in refusal.message)
                continue
            if shapes_known:
                raise
            shapes_known = True
            taps, varying = _true_shapes(model, nodes, kept, feeds, device)
            continue
        return Part(nodes, instrumented, session, tuple(dict.fromkeys(left_out)), varying)
    raise Refusal(
        Reason.UNSUPPORTED, f"no part of it runs in onnxruntime (left out: {', '.join(left_out) or 'nothing'})"
    )


def with_unknown(
    model: Model, part: Part, names: Iterable[str], dependent: frozenset[str], feeds: tuple[Feeds, Feeds], device: str
) -> Part:
    """The part with float tensors tapped that the prediction does not know: onnxruntime says their types and shapes."""
    made = {output: node for node in part.nodes for output in node.outputs}
    wanted = [name for name in names if name in made]
    if not wanted:
        return part
    types = {
        item.name: ELEMENT_TYPES.get(item.type)
        for item in open_session(giving_out(model, part.nodes, wanted), device=device).get_outputs()
    }
    taps = [Tap(name, (), made[name].op, dtype) for name in wanted if (dtype := types.get(name))]
    if not taps:
        return part
    found, varying = _true_shapes(model, part.nodes, taps, feeds, device)
    instrumented = instrument(model, part.nodes, (*part.instrumented.taps, *found), dependent)
    session = open_session(instrumented, device=device)
    return msgspec.structs.replace(part, instrumented=instrumented, session=session, varying=(*part.varying, *varying))


def _made(model: Model, nodes: Sequence[Node], taps: Sequence[Tap]) -> tuple[Tap, ...]:
    made = {info.name for info in model.graph.inputs}
    pending = list(nodes)
    while pending:
        node = pending.pop()
        made.update(node.outputs)
        for graph in node.graphs():
            pending.extend(graph.nodes)
    return tuple(tap for tap in taps if tap.name in made)


def _true_shapes(
    model: Model, nodes: Sequence[Node], taps: Sequence[Tap], feeds: tuple[Feeds, Feeds], device: str
) -> tuple[tuple[Tap, ...], tuple[str, ...]]:
    """The taps with the shapes that onnxruntime computes, and the tensors whose shape differs between two feeds."""
    finder = shape_finder(model, nodes, taps)
    one, other = run(open_session(finder, device=device), finder.outputs, feeds)
    found: Mapping[str, tuple[int, ...]] = {
        tap.name: tuple(int(extent) for extent in one[f"initlint/{tap.name}/shape"]) for tap in taps
    }
    varying = tuple(
        tap.name
        for tap in taps
        if found[tap.name] != tuple(other[f"initlint/{tap.name}/shape"]) or not prod(found[tap.name])
    )
    return tuple(
        msgspec.structs.replace(tap, shape=found[tap.name]) for tap in taps if tap.name not in varying
    ), varying


def _culprit(message: str, nodes: Sequence[Node]) -> Node | None:
    """The node that onnxruntime names: one whose operator it lacks, or one at which a run stopped."""
    stopped = STOPPED.search(message)
    if stopped:
        name = stopped.group(2).removeprefix(COPIES[1])
        return next((node for node in nodes if any(item.name == name for item in _nested(node))), None)
    for pattern in LACKS:
        found = re.search(pattern, message)
        if found:
            op = re.split(r"[.:]", found.group(1))[-1]
            return next((item for node in nodes for item in _nested(node) if item.op == op), None)
    return None


def _nested(node: Node) -> list[Node]:
    """The node and every node of its subgraphs."""
    found = [node]
    pending = list(node.graphs())
    while pending:
        graph = pending.pop()
        found.extend(graph.nodes)
        pending.extend(inner for item in graph.nodes for inner in item.graphs())
    return found


def _without(nodes: Sequence[Node], culprit: Node, *, everywhere: bool) -> tuple[Node, ...]:
    """The nodes without the culprit (without all of its kind, where the operator is lacking) and what depends on it."""
    lost: set[str] = set()
    kept = []
    for node in nodes:
        guilty = any(item.kind == culprit.kind if everywhere else item.name == culprit.name for item in _nested(node))
        if guilty or any(name in lost for name in reads_of(node)):
            lost.update(name for name in node.outputs if name)
        else:
            kept.append(node)
    return tuple(kept)
