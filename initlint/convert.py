"""Protobuf messages to records: names made unique, constants gathered, functions inlined, nodes sorted, all of it checked."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from initlint.elements import NAMES, name_of
from initlint.errors import Reason, Refusal
from initlint.functions import MOST_INLINED, Functions
from initlint.graph import Attribute, Graph, Node, StoredTensor, ValueInfo
from initlint.source import BytesSource
from initlint.tensors import TensorReader
from initlint.utf8 import as_text

__all__ = ["Converter"]

DEEPEST = 30  # levels of If, Loop and Scan
MOST_INTS = 1_000_000  # entries of one attribute
NESTED_TYPES = 8
LONGEST_NAME = 4096  # characters of a name that are kept
FLOAT, INT, STRING, TENSOR, GRAPH, FLOATS, INTS, STRINGS, TENSORS, GRAPHS, SPARSE = range(1, 12)
TYPE_PROTO, TYPE_PROTOS = 13, 14


class Scope(msgspec.Struct):
    """Names visible in a graph: as written -> unique in the model."""

    names: dict[str, str]
    outer: "Scope | None"
    own: set[str]

    def find(self, name: str) -> str | None:
        """The unique name of a value visible here."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return None


class Converter:
    """Converts one model's main graph and everything in it; used once."""

    def __init__(self, reader: TensorReader, opsets: Mapping[str, int], functions: Functions) -> None:
        self.reader, self.opsets, self.functions = reader, opsets, functions
        self._taken: set[str] = set()
        self._node_names: set[str] = set()
        self._index = 0

    def convert(self, proto: Any) -> Graph:
        """The main graph."""
        return self._graph(proto, None, 0, "")

    # -- graphs -------------------------------------------------------------------------------------------------------

    def _graph(self, proto: Any, outer: Scope | None, depth: int, prefix: str) -> Graph:
        if depth > DEEPEST:
            raise Refusal(Reason.TOO_DEEP, f"nests subgraphs more than {DEEPEST} deep")
        scope = Scope({}, outer, set())
        inputs = [self._value(info, self._define(info.name, scope, "graph input")) for info in proto.input]
        initializers = self._initializers(proto, scope, inputs)
        declared = {}
        nodes: list[Node] = []
        self._define_outputs(proto.node, scope)
        for node in proto.node:
            self._node(node, scope, depth, prefix, nodes, initializers)
        for info in proto.value_info:
            name = scope.find(info.name)
            if name is not None:
                declared[name] = self._value(info, name)
                self._check_declared(declared[name], initializers)
        outputs = [self._value(info, self._use(info.name, scope, "graph output")) for info in proto.output]
        return Graph(
            name=as_text(proto.name, "the name of a graph"),
            nodes=_sorted(nodes, initializers, inputs, outer is not None),
            inputs=tuple(info for info in inputs if info.name not in initializers),
            outputs=tuple(outputs),
            initializers=initializers,
            declared=declared,
        )

    def _initializers(self, proto: Any, scope: Scope, inputs: Sequence[ValueInfo]) -> dict[str, StoredTensor]:
        found: dict[str, StoredTensor] = {}
        defaults = {info.name: info for info in inputs}
        for tensor in proto.initializer:
            name = self._initializer_name(tensor.name, scope, found)
            found[name] = self.reader.tensor(tensor, name)
        for sparse in proto.sparse_initializer:
            name = self._initializer_name(sparse.values.name, scope, found)
            found[name] = self.reader.sparse(sparse, name)
        for name in found.keys() & defaults.keys():
            self._check_declared(defaults[name], found)
        return found

    def _initializer_name(self, written: str, scope: Scope, found: Mapping[str, StoredTensor]) -> str:
        if not written:
            raise Refusal(Reason.TENSOR, "an initializer has no name")
        if written in scope.names:  # the default of a graph input, or a second initializer of the name
            name = scope.names[written]
            if name in found:
                raise Refusal(Reason.TENSOR, f"two initializers are named {written[:80]!r}")
            return name
        return self._define(written, scope, "initializer")

    @staticmethod
    def _check_declared(info: ValueInfo, initializers: Mapping[str, StoredTensor]) -> None:
        tensor = initializers.get(info.name)
        if tensor is None or info.shape is None:
            return
        fits = len(info.shape) == len(tensor.shape) and all(
            not isinstance(said, int) or said == real for said, real in zip(info.shape, tensor.shape, strict=True)
        )
        if not fits or (info.dtype is not None and info.dtype != tensor.dtype):
            raise Refusal(
                Reason.TENSOR,
                f"{info.name[:80]!r} is declared {info.dtype}{list(info.shape)} and stored as "
                f"{tensor.dtype}{list(tensor.shape)}",
            )

    # -- names --------------------------------------------------------------------------------------------------------

    def _define(self, written: str, scope: Scope, what: str) -> str:
        if not as_text(written, f"the name of a {what}"):
            raise Refusal(Reason.GRAPH, f"a {what} has no name")
        if written in scope.names:
            raise Refusal(Reason.GRAPH, f"{written[:80]!r} is defined twice")
        if scope.outer is not None and scope.outer.find(written) is not None:
            raise Refusal(Reason.GRAPH, f"a subgraph defines {written[:80]!r} again")
        short = name = _shortened(written)
        number = 1
        while name in self._taken:
            number += 1
            name = f"{short}#{number}"
        self._taken.add(name)
        scope.names[written] = name
        return name

    @staticmethod
    def _use(written: str, scope: Scope, what: str) -> str:
        name = scope.find(written)
        if name is None:
            raise Refusal(Reason.GRAPH, f"{what} {written[:80]!r} is not defined anywhere")
        return name

    def _define_outputs(self, nodes: Iterable[Any], scope: Scope) -> None:
        """All outputs first: nodes may stand in any order."""
        for node in nodes:
            for output in node.output:
                if output:
                    self._define(output, scope, "node output")

    # -- nodes --------------------------------------------------------------------------------------------------------

    def _node(
        self,
        proto: Any,
        scope: Scope,
        depth: int,
        prefix: str,
        nodes: list[Node],
        initializers: dict[str, StoredTensor],
        bound: Mapping[str, Any] | None = None,
    ) -> None:
        """Append the node's record; a Constant becomes an initializer, a function call its body."""
        if not proto.op_type:
            raise Refusal(Reason.GRAPH, "a node has no operator")
        for text in (proto.op_type, proto.domain, proto.name):
            as_text(text, "the operator or name of a node")
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        self._index += 1
        if self._index > MOST_INLINED:
            raise Refusal(Reason.TOO_LARGE, f"has more than {MOST_INLINED} nodes")
        inputs = tuple(self._use(name, scope, "input") if name else "" for name in proto.input)
        outputs = tuple(scope.names[name] if name else "" for name in proto.output)
        function = self.functions.get((domain, proto.op_type))
        if function is not None:
            self._inline(proto, function, inputs, outputs, depth, prefix, nodes, initializers, scope, bound)
            return
        name = self._node_name(prefix + (proto.name or next(filter(None, outputs), proto.op_type)))
        attributes: dict[str, Attribute] = {}
        for attribute in proto.attribute:
            as_text(attribute.name, "the name of an attribute")
            as_text(attribute.ref_attr_name, "the name of an attribute")
            resolved = self._resolve(attribute, bound)
            if resolved is None:
                continue
            if attribute.name in attributes or not attribute.name:
                raise Refusal(Reason.GRAPH, f"node {name[:80]!r} has attribute {attribute.name!r} twice")
            attributes[attribute.name] = self._attribute(resolved, attribute.name, scope, depth, name)
        if proto.op_type == "Constant" and not domain:
            stored = _constant(attributes, outputs, name)
            if stored is not None:
                initializers[outputs[0]] = stored
                return
        version = self.opsets.get(domain, 1)
        nodes.append(Node(proto.op_type, domain, version, name, inputs, outputs, attributes, self._index))

    def _node_name(self, wanted: str) -> str:
        name = wanted = _shortened(wanted)
        number = 1
        while name in self._node_names:
            number += 1
            name = f"{wanted}#{number}"
        self._node_names.add(name)
        return name

    @staticmethod
    def _resolve(attribute: Any, bound: Mapping[str, Any] | None) -> Any:
        """The attribute itself, or what the caller of the function gave for it; None where it gave nothing."""
        if not attribute.ref_attr_name:
            return attribute
        if bound is None:
            raise Refusal(Reason.GRAPH, f"attribute {attribute.name!r} refers to a function's, outside any function")
        return bound.get(attribute.ref_attr_name)

    def _inline(
        self,
        call: Any,
        function: Any,
        inputs: Sequence[str],
        outputs: Sequence[str],
        depth: int,
        prefix: str,
        nodes: list[Node],
        initializers: dict[str, StoredTensor],
        scope: Scope,
        bound: Mapping[str, Any] | None,
    ) -> None:
        """The function's nodes in place of the call: its inputs and outputs are the call's, other names are new."""
        if len(call.input) > len(function.input) or len(call.output) > len(function.output):
            raise Refusal(Reason.GRAPH, f"a call of {function.name!r} gives more than it takes")
        inner = Scope({}, None, set())
        for formal, actual in zip(function.input, inputs, strict=False):
            inner.names[formal] = actual
        for formal in function.input[len(inputs) :]:
            inner.names[formal] = ""
        renamed: list[tuple[str, str]] = []
        results = dict(zip(function.output, outputs, strict=False))
        for node in function.node:
            for output in node.output:
                if not output:
                    continue
                if output in inner.names:
                    raise Refusal(Reason.GRAPH, f"function {function.name!r} defines {output[:80]!r} twice")
                if results.get(output):
                    inner.names[output] = results[output]
                else:
                    self._define(output, inner, "function value")
        for formal, actual in results.items():
            if actual and formal in inner.names and inner.names[formal] != actual:
                renamed.append((inner.names[formal], actual))
            elif actual and formal not in inner.names:
                raise Refusal(Reason.GRAPH, f"function {function.name!r} never computes its output {formal[:80]!r}")
        given = {attribute.name: self._resolve(attribute, bound) for attribute in call.attribute}
        for attribute in function.attribute_proto:
            given.setdefault(attribute.name, attribute)
        label = f"{prefix}{call.name or call.op_type}/"
        for node in function.node:
            self._node(node, inner, depth, label, nodes, initializers, given)
        for source, target in renamed:  # an input handed through as an output
            name = self._node_name(f"{label}{target}")
            nodes.append(Node("Identity", "", self.opsets.get("", 1), name, (source,), (target,), {}, self._index))
        del scope

    # -- attributes ---------------------------------------------------------------------------------------------------

    def _attribute(self, proto: Any, name: str, scope: Scope, depth: int, node: str) -> Attribute:
        match proto.type:
            case 0:
                return self._untyped(proto, name, scope, depth, node)
            case 1:
                return float(proto.f)
            case 2:
                return int(proto.i)
            case 3:
                return _text(proto.s)
            case 4:
                return self.reader.tensor(proto.t, f"{node}/{name}")
            case 5:
                return self._graph(proto.g, scope, depth + 1, f"{node}/")
            case 6:
                return tuple(proto.floats)
            case 7:
                if len(proto.ints) > MOST_INTS:
                    raise Refusal(Reason.TOO_LARGE, f"attribute {name!r} has {len(proto.ints)} entries")
                return tuple(proto.ints)
            case 8:
                return tuple(_text(item) for item in proto.strings)
            case 9:
                return tuple(self.reader.tensor(item, f"{node}/{name}") for item in proto.tensors)  # type: ignore[return-value]
            case 10:
                return tuple(self._graph(item, scope, depth + 1, f"{node}/") for item in proto.graphs)
            case 11:
                return self.reader.sparse(proto.sparse_tensor, f"{node}/{name}")
            case 12 | 13 | 14:
                return ""
            case _:
                raise Refusal(Reason.GRAPH, f"attribute {name!r} of node {node[:80]!r} has type {proto.type}")

    def _untyped(self, proto: Any, name: str, scope: Scope, depth: int, node: str) -> Attribute:
        """IR versions before 3 did not say an attribute's type: it is the field that is set."""
        for field, kind in (("f", 1), ("i", 2), ("s", 3), ("t", 4), ("g", 5)):
            if proto.HasField(field):
                return self._attribute(_Typed(proto, kind), name, scope, depth, node)
        for field, kind in (("floats", 6), ("ints", 7), ("strings", 8)):
            if len(getattr(proto, field)):
                return self._attribute(_Typed(proto, kind), name, scope, depth, node)
        raise Refusal(Reason.GRAPH, f"attribute {name!r} of node {node[:80]!r} has no type")

    def _value(self, proto: Any, name: str) -> ValueInfo:
        """What is declared of a value. Raises Refusal for an element type that is not known and for types nested deeply."""
        kind = proto.type.WhichOneof("value")
        if kind != "tensor_type":
            _check_nesting(proto.type, name)
            return ValueInfo(name, None, None)
        tensor = proto.type.tensor_type
        if tensor.elem_type not in NAMES and tensor.elem_type != 0:
            raise Refusal(Reason.TENSOR, f"{name[:80]!r} has element type {tensor.elem_type}, which is not known")
        dtype = name_of(tensor.elem_type) if tensor.elem_type else None
        if not tensor.HasField("shape"):
            return ValueInfo(name, dtype, None)
        shape = tuple(
            int(dim.dim_value) if dim.HasField("dim_value") else as_text(dim.dim_param, "a dimension's name") or None
            for dim in tensor.shape.dim
        )
        if any(isinstance(extent, int) and extent < 0 for extent in shape):
            shape = tuple(None if isinstance(extent, int) and extent < 0 else extent for extent in shape)
        return ValueInfo(name, dtype, shape)


class _Typed:
    """An attribute of an old file with the type it turned out to have."""

    def __init__(self, proto: Any, kind: int) -> None:
        self._proto, self.type = proto, kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._proto, name)


def _shortened(name: str) -> str:
    """A name that every table and report can afford to repeat; which names are one was decided on the whole of it."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}...{name[-LONGEST_NAME // 2 :]}"


def _check_nesting(proto: Any, name: str) -> None:
    levels = 0
    while True:
        kind = proto.WhichOneof("value")
        if kind in ("sequence_type", "optional_type"):
            proto = getattr(proto, kind).elem_type
        elif kind == "map_type":
            proto = proto.map_type.value_type
        else:
            return
        levels += 1
        if levels > NESTED_TYPES:
            raise Refusal(Reason.TOO_DEEP, f"the type of {name[:80]!r} nests more than {NESTED_TYPES} levels")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _constant(attributes: Mapping[str, Attribute], outputs: Sequence[str], node: str) -> StoredTensor | None:
    """The value of a Constant node under the name of its output; None for strings."""
    if len(outputs) != 1 or len(attributes) != 1:
        raise Refusal(Reason.GRAPH, f"Constant {node[:80]!r} needs one output and one value")
    kind, value = next(iter(attributes.items()))
    if isinstance(value, StoredTensor):
        return msgspec.structs.replace(value, name=outputs[0])
    if kind in ("value_float", "value_floats"):
        return _stored(outputs[0], np.asarray(value, np.float32))
    if kind in ("value_int", "value_ints"):
        return _stored(outputs[0], np.asarray(value, np.int64))
    return None


def _stored(name: str, array: "np.ndarray[Any, Any]") -> StoredTensor:
    payload = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return StoredTensor(name, array.dtype.name, array.shape, BytesSource(payload), 0, payload.size)


def _reads(node: Node) -> list[str]:
    """Values read by a node and by its subgraphs from outside them."""
    if not any(True for _ in node.graphs()):
        return [name for name in node.inputs if name]
    found = [name for name in node.inputs if name]
    pending = list(node.graphs())
    while pending:
        graph = pending.pop()
        found.extend(info.name for info in graph.outputs)
        for item in graph.nodes:
            found.extend(name for name in item.inputs if name)
            pending.extend(item.graphs())
    return found


def _sorted(
    nodes: Sequence[Node],
    initializers: Mapping[str, StoredTensor],
    inputs: Sequence[ValueInfo],
    nested: bool,  # noqa: FBT001
) -> tuple[Node, ...]:
    """Topological order, the file's own where it is one already (Kahn). Raises Refusal for a cycle."""
    del initializers, inputs, nested
    producer = {output: index for index, node in enumerate(nodes) for output in node.outputs if output}
    waiting = [0] * len(nodes)
    followers: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        for before in {producer[name] for name in _reads(node) if name in producer}:
            if before == index:
                raise Refusal(Reason.GRAPH, f"node {node.name[:80]!r} needs its own output")
            waiting[index] += 1
            followers.setdefault(before, []).append(index)
    if all(before < after for before, behind in followers.items() for after in behind):
        return tuple(nodes)
    ready = deque(index for index, count in enumerate(waiting) if count == 0)
    order: list[Node] = []
    while ready:
        index = ready.popleft()
        order.append(nodes[index])
        for after in followers.get(index, ()):
            waiting[after] -= 1
            if waiting[after] == 0:
                ready.append(after)
    if len(order) != len(nodes):
        stuck = next(node.name for node, count in zip(nodes, waiting, strict=True) if count)
        raise Refusal(Reason.GRAPH, f"the graph has a cycle through node {stuck[:80]!r}")
    return tuple(order)
