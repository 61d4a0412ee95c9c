"""One evaluation of a model's graphs on draws: values live until their last use, statistics are taken as they appear."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import numpy as np

from initlint.errors import Refusal
from initlint.graph import Graph, Model, Node, StoredTensor
from initlint.inputs import FLOATS, Input, Kind
from initlint.operators.table import Array, Bundle, Draws, NotComputed, Run, Stored, Values, evaluate
from initlint.signal.holding import Holding
from initlint.signal.statistics import Signal, measure

__all__ = ["Evaluation", "Unknown"]

ALIASES = ("identity", "relu", "ignore")
KEEP = 1 << 40  # uses of a value that a loop's body may read again


def inputs_of(node: Node) -> list[str]:
    """Names a node reads, those captured by its subgraphs included."""
    names = [name for name in node.inputs if name]
    pending = list(node.graphs())
    while pending:
        graph = pending.pop()
        names.extend(name for inner in graph.nodes for name in inner.inputs if name)
        names.extend(info.name for info in graph.outputs)
        pending.extend(inner for item in graph.nodes for inner in item.graphs())
    return names


class Unknown:
    """A value that could not be computed: why, and what is known of it all the same."""

    __slots__ = ("depends", "dtype", "ignored", "reason")

    def __init__(self, reason: str, dtype: str, *, depends: bool, ignored: bool = False) -> None:
        self.reason = reason
        self.dtype = dtype
        self.depends = depends  # on the network's input
        self.ignored = ignored  # the user said so: outside the coverage


class Step(msgspec.Struct, frozen=True):
    """One node as it was evaluated, for the walk back."""

    node: Node
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Evaluation:
    """Values, statistics and ancestry of one walk over the graphs. Not thread-safe; used once."""

    def __init__(
        self, model: Model, run: Run, aliases: Mapping[str, str], *, statistics: bool, keep: bool = False
    ) -> None:
        self.run = run
        self.aliases = aliases
        self.statistics = statistics
        self.tape: list[Step] = []
        self._keep = keep  # values and the order of the steps are kept for the walk back
        self.values: dict[str, Draws | Unknown] = {}
        self.holding = Holding(run)
        self.signals: dict[str, Signal] = {}
        self.unknown: dict[str, str] = {}
        self.ignored: set[str] = set()
        self.dtypes: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.producers: dict[str, str] = {}
        self.contradictions: list[str] = []
        self.too_large = False
        self.channel_moments: dict[str, tuple[Array, Array]] = {}  # of what each BatchNormalization is given
        self.steps = 0  # nodes evaluated inside loops
        self.largest = 1  # elements of the largest input-dependent tensor, one draw
        self._roots: list[str] = []
        self._ancestry: dict[str, int] = {}
        self._ends: set[str] = set()  # outputs of the graph's own input normalisation
        self.channel_axes: dict[str, int | None] = {}
        self._declared: dict[str, str] = {}
        self._uses: Counter[str] = Counter()
        for graph in model.graphs():
            for info in (*graph.declared.values(), *graph.outputs, *graph.inputs):
                self._declared.setdefault(info.name, info.dtype or ("sequence" if info.shape is None else ""))
            if graph is not model.graph:  # a body's outputs are read by the node around it; the model's by nobody
                for info in graph.outputs:
                    self._uses[info.name] += 1
            for node in graph.nodes:
                self._uses.update(name for name in node.inputs if name)

    # -- what goes in -------------------------------------------------------------------------------------------------

    def feed(self, item: Input, values: Array) -> None:
        """Set a graph input to draws `[s, *shape]`; a float input of kind signal is a root."""
        self.values[item.name] = fed = Values(values, item.dtype)
        self.holding.take(item.name, fed)
        self._ancestry[item.name] = 0
        self.dtypes[item.name] = item.dtype
        self.shapes[item.name] = values.shape[1:]
        self.largest = max(self.largest, values.size // values.shape[0])
        if item.normalised is not None:
            self._ends.add(item.normalised)
        elif item.kind is Kind.SIGNAL:
            self._add_root(item.name)
        if item.dtype in FLOATS and values.shape[0] > 1 and self.statistics:
            self.signals[item.name] = measure(values)

    def lose(self, name: str, reason: str, *, dtype: str, depends: bool, ignored: bool = False) -> None:
        """Record that a value is not known."""
        self.values[name] = Unknown(reason, dtype, depends=depends, ignored=ignored)
        if depends and (dtype in FLOATS or not dtype):
            if ignored:
                self.ignored.add(name)
            else:
                self.unknown[name] = reason

    # -- the walk -----------------------------------------------------------------------------------------------------

    def walk(self, graph: Graph) -> None:
        """Evaluate the graph's nodes in order; values are dropped after their last use."""
        for tensor in graph.initializers.values():
            self.values[tensor.name] = self._stored(tensor)
        for node in graph.nodes:
            self.step(node)

    def step(self, node: Node) -> None:
        """Evaluate one node and record its outputs."""
        inputs = [self._value(name) if name else None for name in node.inputs]
        lost = [item for item in inputs if isinstance(item, Unknown)]
        alias = self.aliases.get(node.kind)
        outputs: Sequence[Array | Draws | None]
        try:
            if alias is not None:
                outputs = self._aliased(node, alias, inputs)
            elif next(node.graphs(), None) is not None:
                from initlint.signal.control import evaluate_control  # noqa: PLC0415 - control flow calls back here

                outputs = evaluate_control(self, node, inputs)
            elif lost:
                raise NotComputed(lost[0].reason)  # noqa: TRY301 - one way out for all that is not computed
            else:
                outputs = evaluate(node, self.run, [item for item in inputs if not isinstance(item, Unknown)])
        except NotComputed as error:
            self._lose_outputs(
                node,
                inputs,
                str(error),
                ignored=alias == "ignore" or (bool(lost) and all(item.ignored for item in lost)),
            )
        except Refusal as error:
            if self._exact(inputs):
                raise Refusal(error.reason, f"node {node.name!r} ({node.kind}): {error.message}") from error
            self.contradictions.append(f"{node.name}: {error.message}")
            self._lose_outputs(node, inputs, error.message)
        except (ValueError, IndexError, TypeError, KeyError, ZeroDivisionError, OverflowError, AttributeError) as error:
            # An operator met shapes or attributes it does not expect: not computed, never a crash.
            message = f"{node.kind} could not be evaluated ({type(error).__name__}: {str(error)[:120]})"
            self.contradictions.append(f"{node.name}: {message}")
            self._lose_outputs(node, inputs, message)
        except MemoryError:
            self.too_large = True
            self._lose_outputs(node, inputs, "out of memory")
        else:
            self._keep_outputs(node, inputs, outputs)
            if self._keep:
                self.tape.append(Step(node, node.inputs, node.outputs))
        self._drop(node.inputs, 1)
        self._drop(node.outputs, 0)

    def _value(self, name: str) -> Draws | Unknown:
        """The value of that name; one that was never given out is not known, which is not the same as left out."""
        value = self.values.get(name)
        return Unknown("it was not computed", "", depends=True) if value is None else value

    def _aliased(self, node: Node, alias: str, inputs: Sequence[Draws | Unknown | None]) -> tuple[Array, ...]:
        first = next((item for item in inputs if isinstance(item, Draws) and item.dtype in FLOATS), None)
        if alias == "ignore":
            raise NotComputed(f"{node.kind} is set to be ignored")
        if first is None:
            raise NotComputed(f"{node.kind} has no known float input")
        values = first.values
        return (values if alias == "identity" else np.maximum(values, 0),)

    def _exact(self, inputs: Sequence[Draws | Unknown | None]) -> bool:
        """Whether a contradiction is the file's own and cannot come from a size that was assumed."""
        return all(
            item is None or (isinstance(item, Draws) and item.constant and not self._assumed(item)) for item in inputs
        )

    @staticmethod
    def _assumed(item: Draws) -> bool:
        return not isinstance(item, Stored)

    # -- what comes out -----------------------------------------------------------------------------------------------

    def _keep_outputs(
        self, node: Node, inputs: Sequence[Draws | Unknown | None], outputs: Sequence[Array | Draws | None]
    ) -> None:
        ancestry = self.ancestry(inputs_of(node))
        channel_axis = self._channel_axis_of(node)
        if node.op == "BatchNormalization" and self.statistics and isinstance(inputs[0], Draws):
            values = inputs[0].values
            axes = tuple(axis for axis in range(values.ndim) if axis != 2)
            if values.ndim > 2:
                self.channel_moments[node.name] = (values.mean(axis=axes), values.std(axis=axes))
        for name, result in zip(node.outputs, outputs, strict=False):
            if not name:
                continue
            if result is None:
                self._lose_inner(node, name, ancestry)
                continue
            if isinstance(result, Draws) and not self._holds(node, name, result, ancestry):
                continue
            if isinstance(result, Bundle):
                self.values[name], self._ancestry[name], self.producers[name] = result, ancestry, node.kind
                continue
            values = result.values if isinstance(result, Draws) else np.asarray(result)
            dtype = self._declared.get(name) or self._element_type(node, inputs, values)
            if values.dtype.kind == "f" and values.dtype != self.run.float_type:
                values = values.astype(self.run.float_type)
            if not self._holds(node, name, value := Values(values, dtype), ancestry):
                continue
            self.values[name] = value
            self._record(node, name, values, dtype, ancestry, channel_axis)
        for name in node.outputs[len(outputs) :]:
            if name:
                self.lose(name, f"{node.kind} does not give its output {name!r}", dtype="", depends=bool(ancestry))

    def _holds(self, node: Node, name: str, value: Draws, ancestry: int) -> bool:
        """Whether there is room for a value; it is lost where there is none."""
        if self.holding.take(name, value):
            return True
        self.too_large = True
        self._ancestry[name], self.producers[name] = ancestry, node.kind
        reason = f"the values held at a time are more than {self.run.max_bytes / 1e6:.0f} MB"
        depends = bool(ancestry) or not value.constant
        self.lose(name, reason, dtype=self._declared.get(name, ""), depends=depends)
        return False

    def _record(
        self, node: Node, name: str, values: Array, dtype: str, ancestry: int, channel_axis: int | None
    ) -> None:
        self.producers[name] = node.kind
        self._ancestry[name] = ancestry
        self.channel_axes[name] = channel_axis
        if values.shape[0] == 1:
            return
        self.dtypes[name] = dtype
        self.shapes[name] = values.shape[1:]
        self.largest = max(self.largest, values.size // values.shape[0])
        if values.dtype.kind != "f":
            return
        if self.statistics:
            axis = node.attributes.get("axis", -1)
            self.signals[name] = measure(values, node.op, axis if isinstance(axis, int) else -1, channel_axis)
        if name in self._ends or not ancestry:
            # The graph's own normalisation, an embedding, or ids cast to float: here the signal starts.
            self._add_root(name)

    def _lose_outputs(
        self, node: Node, inputs: Sequence[Draws | Unknown | None], reason: str, *, ignored: bool = False
    ) -> None:
        if any(words in reason for words in ("elements are more than", "multiply-adds", "held at a time")):
            self.too_large = True
        ancestry = self.ancestry(inputs_of(node))  # subgraphs read what is no input of the node
        depends = bool(ancestry) or any(
            (isinstance(item, Unknown) and item.depends) or (isinstance(item, Draws) and not item.constant)
            for item in inputs
        )
        for name in node.outputs:
            if name:
                self._ancestry[name] = ancestry
                self.producers[name] = node.kind
                self.lose(name, reason, dtype=self._declared.get(name, ""), depends=depends, ignored=ignored)

    def _lose_inner(self, node: Node, name: str, ancestry: int) -> None:
        """An output that an operator does not give, or that one of its subgraphs could not compute: for the same reason."""
        found = [self.values.get(info.name) for graph in node.graphs() for info in graph.outputs]
        inner = [item for item in found if isinstance(item, Unknown)]
        reason = inner[0].reason if inner else f"{node.kind} does not give its output {name!r}"
        ignored = bool(inner) and all(item.ignored for item in inner)
        self._ancestry[name], self.producers[name] = ancestry, node.kind
        depends = bool(ancestry) or any(item.depends for item in inner)
        self.lose(name, reason, dtype=self._declared.get(name, ""), depends=depends, ignored=ignored)

    def known(self, name: str) -> Draws | None:
        """The tensor, where it is known and still held."""
        value = self.values.get(name) if name else None
        return value if isinstance(value, Draws) and not isinstance(value, Bundle) else None

    def _drop(self, names: Sequence[str], uses: int) -> None:
        """Count these uses off, and let go of what nobody reads any more."""
        if self._keep:
            return
        for name in names:
            if not name:
                continue
            self._uses[name] -= uses
            if self._uses[name] <= 0:
                self.values.pop(name, None)
                self.holding.drop(name)

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def _stored(self, tensor: StoredTensor) -> Draws:
        return Stored(tensor, self.run.float_type)

    def _add_root(self, name: str) -> None:
        self._ancestry[name] = 1 << len(self._roots)
        self._roots.append(name)

    def ancestry(self, names: Iterable[str]) -> int:
        """The roots that any of the values depend on, as a bit set."""
        union = 0
        for name in names:
            union |= self._ancestry.get(name, 0)
        return union

    def _channel_axis_of(self, node: Node) -> int | None:
        if node.op in {"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "FusedConv"}:
            return 1
        if node.op in {"Gemm", "MatMul", "LayerNormalization", "FusedMatMul", "MatMulInteger"}:
            return -1
        if node.op in {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"}:
            return None
        return next((self.channel_axes[name] for name in node.inputs if self.channel_axes.get(name) is not None), None)

    def _element_type(self, node: Node, inputs: Sequence[Draws | Unknown | None], values: Array) -> str:
        """Element type the file gives the output: what Cast says, else that of the first float input."""
        if values.dtype.kind != "f":
            return values.dtype.name
        target = node.attributes.get("to", node.attributes.get("dtype"))
        if node.op in {"Cast", "RandomNormal", "RandomUniform", "EyeLike"} and isinstance(target, int):
            from initlint.elements import name_of  # noqa: PLC0415 - needed for casts only

            return name_of(target)
        if node.op in {"DequantizeLinear", "CastLike"} and isinstance(inputs[1], Draws):
            return inputs[1].dtype
        for item in inputs:
            if isinstance(item, Draws) and item.dtype in FLOATS:
                return item.dtype
        return "float32"

    def reference_std(self) -> dict[str, float]:
        """For each tensor the largest signal std among the roots it depends on; tensors without a root are absent."""
        stds = [self.signals[name].signal_std if name in self.signals else None for name in self._roots]
        found: dict[int, float | None] = {}
        reference = {}
        for name in self.signals:
            mask = self._ancestry.get(name, 0)
            if mask not in found:
                known = [std for index, std in enumerate(stds) if mask >> index & 1 and std is not None]
                found[mask] = max(known, default=None)
            value = found[mask]
            if value is not None and value > 0:
                reference[name] = value
        return reference

    # -- for control flow ---------------------------------------------------------------------------------------------

    @contextmanager
    def scope(self, graph: Graph, ancestry: int) -> Iterator[None]:
        """Evaluate a body inside: nothing read by it is dropped, so that it can be evaluated again."""
        for info in graph.inputs:
            self._ancestry[info.name] = ancestry
        names = [name for node in graph.nodes for name in node.inputs if name]
        names += [info.name for info in graph.outputs]
        before = {name: self._uses[name] for name in names}
        for name in before:
            self._uses[name] = KEEP
        try:
            yield
        finally:
            for name, uses in before.items():
                self._uses[name] = uses

    def release(self, reads: Mapping[str, int]) -> None:
        """Give back what the subgraphs of a control-flow node read from outside."""
        for name, count in reads.items():
            self._uses[name] -= count
            if not self._keep and self._uses[name] <= 0:
                self.values.pop(name, None)
                self.holding.drop(name)
