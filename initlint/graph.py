"""The records a model file is turned into: nodes, graphs and tensors whose bytes stay on disk.

Decisions, with their reasons:

* Value names are unique over the whole model. The reader qualifies a name defined in a subgraph or in an inlined
  function when it collides, so everything downstream uses one flat mapping from name to value and captured outer
  values need no scope chain.
* Constant nodes become initializers and model-local functions are inlined while reading, so that one place holds
  weights and one kind of node remains.
* Nodes are in topological order, whatever their order in the file (onnxruntime accepts any order).
"""

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Attribute", "Graph", "Model", "Node", "Source", "StoredTensor", "ValueInfo"]


class Source(Protocol):
    """Bytes at rest: a file held open, or a buffer in memory."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset` on; raise `Refusal` (truncated) when they are not there."""

    @property
    def location(self) -> str:
        """Path of the file, or `<memory>`."""


class StoredTensor(msgspec.Struct, frozen=True):
    """A constant tensor: what it is and where its little-endian bytes lie. Nothing is read until asked.

    `dtype` is the ONNX element type in lower case (`float32`, `bfloat16`, `float8e4m3fn`, `int4`, ...). 4-bit (and
    2-bit) types are packed, low bits first, as ONNX's raw_data has them. `nbytes` has been checked against `shape`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: Source
    offset: int
    nbytes: int

    @property
    def count(self) -> int:
        """Number of elements (1 for a scalar)."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    def read_bytes(self, start: int, stop: int, out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
        """Bytes [start, stop) of the payload in an aligned array; into `out` when given (its first stop-start bytes)."""
        buffer = np.empty(stop - start, np.uint8) if out is None else out[: stop - start]
        if stop > start:
            self.source.read_into(self.offset + start, buffer.data)
        return buffer

    def read(self) -> npt.NDArray[np.generic]:
        """The whole tensor as an array of its own element type (ml_dtypes for the types numpy lacks)."""
        from initlint.elements import decode  # noqa: PLC0415 - ml_dtypes is imported only when a tensor is decoded

        return decode(self.dtype, self.shape, self.read_bytes(0, self.nbytes))


Attribute: TypeAlias = (
    "int | float | str | bytes | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]"
    " | StoredTensor | Graph | tuple[Graph, ...]"
)


class Node(msgspec.Struct, frozen=True):
    """One operator call. An omitted optional input or output is the empty string."""

    op: str
    domain: str  # "" is the default ONNX domain
    version: int  # opset version of `domain` in force
    name: str  # as in the file; where the file has none, made from the first output; unique in the model
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    index: int  # position in the file, counted over the whole model, subgraphs included

    @property
    def kind(self) -> str:
        """Operator type with its domain: `Conv`, `com.microsoft::QGemm`."""
        return f"{self.domain}::{self.op}" if self.domain else self.op

    def graphs(self) -> Iterator["Graph"]:
        """Subgraphs held by the attributes (If, Loop, Scan)."""
        for value in self.attributes.values():
            if isinstance(value, Graph):
                yield value
            elif isinstance(value, tuple):
                yield from (item for item in value if isinstance(item, Graph))


class ValueInfo(msgspec.Struct, frozen=True):
    """What the file declares of a value: element type (lower case, None if not a tensor) and shape (None if unknown)."""

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None  # a str is a symbolic dimension


class Graph(msgspec.Struct, frozen=True):
    """Nodes in topological order. `inputs` leaves out those with an initializer of the same name."""

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    initializers: Mapping[str, StoredTensor]  # Constant nodes included
    declared: Mapping[str, ValueInfo]  # value_info


class Model(msgspec.Struct, frozen=True):
    """A model file as the analysis sees it."""

    path: str
    size: int  # bytes of the model file and of its external data
    ir_version: int
    opset: int  # of the default domain
    opsets: Mapping[str, int]
    producer: str
    graph: Graph
    notes: tuple[str, ...] = ()  # oddities that were tolerated, for the report

    def graphs(self) -> Iterator[Graph]:
        """The main graph, then every subgraph, depth first, without recursion."""
        pending = [self.graph]
        while pending:
            graph = pending.pop()
            yield graph
            pending.extend(inner for node in reversed(graph.nodes) for inner in node.graphs())

    def nodes(self) -> Iterator[Node]:
        """Every node of every graph."""
        for graph in self.graphs():
            yield from graph.nodes

    def initializers(self) -> Iterator[StoredTensor]:
        """Every stored tensor of every graph."""
        for graph in self.graphs():
            yield from graph.initializers.values()
