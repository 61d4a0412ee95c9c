"""The operator table: what each ONNX operator computes, on many joint draws of its inputs at once.

Every value of a network is an array `[s, *shape]`: s joint draws of a tensor of that shape, or s = 1 for a value that
does not depend on the network's input (weights, shapes, folded constants). Axis 0 belongs to the draws and an operator
never mixes it; slice `[i]` of every value of a network together is one real forward pass. Constant folding is the same
table on values with s = 1.

An operator is a function `(node, run, *inputs) -> array or tuple of arrays`, registered under its kind. It raises
`NotComputed` when it cannot say what the operator would give; the driver then makes the outputs unknown.
"""

from collections.abc import Callable, Sequence
from functools import cache
from inspect import Parameter, signature
from math import prod
from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from initlint.errors import Reason, Refusal
from initlint.graph import Node, StoredTensor

__all__ = ["OPERATORS", "Array", "Bundle", "Draws", "NotComputed", "Run", "Stored", "Values", "align", "operator"]

Array: TypeAlias = npt.NDArray[Any]

MOVED = 4.0  # multiply-adds that one element written costs, at the memory's speed against BLAS's
SMALL = 1 << 14  # bytes up to which a stored tensor's values are kept once read
NOTICEABLE = 1 << 12  # elements from which a product is left out of a dry run: smaller ones may compute shapes
PATTERN = 8191  # numbers of noise that a dry run repeats: a prime, so that rows of a tensor differ


class NotComputed(Exception):  # noqa: N818 - an outcome, not an error
    """This operator's result is not known; the message says why in a few words."""


class Draws:
    """Joint draws of one tensor. `values` is `[s, *shape]`; `shape` is the tensor's own."""

    __slots__ = ("_values", "dtype")

    def __init__(self, values: Array, dtype: str) -> None:
        self._values = values
        self.dtype = dtype  # ONNX element type declared for the tensor, which the working float type may exceed

    @property
    def values(self) -> Array:
        """Array `[s, *shape]`: floating types in the run's working type, others in their own."""
        return self._values

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's own shape, without the axis of draws."""
        return self._values.shape[1:]

    @property
    def constant(self) -> bool:
        """Whether the value does not depend on the network's input."""
        return bool(self._values.shape[0] == 1)


class Values(Draws):
    """Draws held in memory."""

    __slots__ = ()


class Stored(Draws):
    """A stored tensor as a constant: read when asked, kept only when small."""

    __slots__ = ("float_type", "tensor")

    def __init__(self, tensor: StoredTensor, float_type: npt.DTypeLike) -> None:
        self.tensor = tensor
        self.float_type = float_type
        self.dtype = tensor.dtype
        self._values: Array | None = None  # type: ignore[assignment]

    @property
    def values(self) -> Array:
        """The tensor, read from its file, with a leading axis of one."""
        if self._values is not None:
            return self._values
        from initlint.elements import to_working_type  # noqa: PLC0415 - decoding is needed only here

        values = to_working_type(self.tensor.read(), self.tensor.dtype, self.float_type)[np.newaxis]
        if values.nbytes <= SMALL:
            self._values = values
        return values

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's own shape; nothing is read."""
        return self.tensor.shape

    @property
    def constant(self) -> bool:
        """Always."""
        return True


class Bundle(Draws):
    """A sequence of tensors."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Draws, ...]) -> None:
        self.items = items
        self.dtype = "sequence"

    @property
    def values(self) -> Array:
        """None: a sequence is no tensor."""
        raise NotComputed("a sequence where a tensor belongs")

    @property
    def shape(self) -> tuple[int, ...]:
        """None: a sequence is no tensor."""
        raise NotComputed("a sequence where a tensor belongs")

    @property
    def constant(self) -> bool:
        """Whether no item depends on the network's input."""
        return all(item.constant for item in self.items)


class Run(msgspec.Struct):
    """The settings one evaluation is made under, and what it has cost so far."""

    draws: int
    float_type: npt.DTypeLike = np.float64
    max_elements: int = 1 << 26  # of one array, draws included
    max_constant: int = 1 << 26  # elements of one array that does not depend on the input
    max_constants: float = float("inf")  # elements of all such arrays that are made
    max_bytes: float = float("inf")  # of all values held at once
    max_work: float = float("inf")  # multiply-adds after which the run is given up
    generator: np.random.Generator = msgspec.field(default_factory=lambda: np.random.Generator(np.random.Philox(0)))
    work: float = 0.0
    constants: int = 0  # elements of constants made so far
    held: int = 0  # bytes of all values held now
    varying: int = 0  # of those that depend on the input
    most_varying: int = 0  # and at most, with the array that was being made
    most_fixed: int = 0  # of those that do not, at most
    trace: list[Any] | None = None  # where linear steps are noted as (axis, size, places, weights), for their transpose
    dry: bool = False  # large products are counted and stood in for by noise: shapes and costs come out, values do not

    def stand_in(self, *shape: int) -> "Array | None":
        """Noise of this full shape in place of a large product in a dry run; None where the product is to be made."""
        size = prod(shape)
        if not self.dry or size < NOTICEABLE:
            return None
        noise = np.empty(shape, self.float_type)
        flat = noise.reshape(-1)
        pattern = np.random.Generator(np.random.Philox(size)).standard_normal(PATTERN).astype(self.float_type)
        for start in range(0, size, PATTERN):
            flat[start : start + PATTERN] = pattern[: size - start]
        return noise

    def claim(self, *shape: int, work: float = 0.0) -> None:
        """Ask for an array of this full shape (draws included) and that many multiply-adds before making it.

        Raises NotComputed when the array is larger than a run may hold or the work exceeds what it may cost.
        """
        if any(extent < 0 for extent in shape):
            raise Refusal(Reason.GRAPH, f"a tensor of shape {shape[1:]} was asked for")
        size = prod(shape)
        constant = bool(shape) and shape[0] == 1 < self.draws
        most = self.max_constant if constant else self.max_elements
        if size > most:
            raise NotComputed(f"{size:.3g} elements are more than one tensor may hold ({most:.3g})")
        width = size * np.dtype(self.float_type).itemsize
        if self.held + width > self.max_bytes:
            raise NotComputed(f"the values held at a time are more than {self.max_bytes / 1e6:.0f} MB")
        if constant:
            self.constants += size
            if self.constants > self.max_constants:
                raise NotComputed(f"constants of more elements than they may have in all ({self.max_constants:.3g})")
        else:
            self.most_varying = max(self.most_varying, self.varying + width)
        self.work += work + MOVED * size
        if self.work > self.max_work:
            raise NotComputed(f"more than {self.max_work:.3g} multiply-adds")


Result: TypeAlias = Array | tuple[Array | None, ...]
Operator: TypeAlias = Callable[..., Result]
F = TypeVar("F", bound=Callable[..., Any])  # operators on sequences give Draws as they are

OPERATORS: dict[str, Operator] = {}


def operator(*kinds: str) -> Callable[[F], F]:
    """Register a function for operator kinds (`Conv`, `com.microsoft::FusedConv`)."""

    def register(function: F) -> F:
        for kind in kinds:
            if kind in OPERATORS:
                raise ValueError(f"operator {kind} is registered twice")
            OPERATORS[kind] = function
        return function

    return register


def align(run: Run, *inputs: Draws | Array) -> list[Array]:
    """The inputs' arrays with axes inserted behind the draws so that numpy broadcasting follows ONNX's rule.

    Claims the broadcast result's size first. Raises Refusal when the shapes do not broadcast.
    """
    arrays = [item.values if isinstance(item, Draws) else item for item in inputs]
    rank = max(array.ndim for array in arrays)
    aligned = [
        array if array.ndim == rank else array.reshape(array.shape[0], *(1,) * (rank - array.ndim), *array.shape[1:])
        for array in arrays
    ]
    try:
        shape = np.broadcast_shapes(*(array.shape for array in aligned))
    except ValueError:
        shapes = ", ".join(str(array.shape[1:]) for array in arrays)
        raise Refusal(Reason.GRAPH, f"shapes {shapes} do not broadcast") from None
    run.claim(*shape)
    return aligned


@cache
def _arity(function: Operator) -> tuple[int, int | None, tuple[int, ...]]:
    """Fewest and most inputs an operator takes (None: any number), and which of them may not be left out."""
    parameters = list(signature(function).parameters.values())[2:]
    single = [item for item in parameters if item.kind is not Parameter.VAR_POSITIONAL]
    needed = tuple(index for index, item in enumerate(single) if item.annotation is Draws)
    least = sum(item.default is Parameter.empty for item in single)
    return least, len(single) if len(single) == len(parameters) else None, needed


def evaluate(node: Node, run: Run, inputs: Sequence[Draws | None]) -> tuple[Array | None, ...]:
    """Apply the node's operator; always a tuple, one entry an output (None: not produced)."""
    function = OPERATORS.get(node.kind)
    if function is None:
        raise NotComputed(f"operator {node.kind} is unknown")
    least, most, needed = _arity(function)
    if len(inputs) < least or any(index >= len(inputs) or inputs[index] is None for index in needed):
        raise Refusal(Reason.GRAPH, f"{node.kind} lacks an input")
    if most is not None and len(inputs) > most:
        if any(item is not None for item in inputs[most:]):
            raise Refusal(Reason.GRAPH, f"{node.kind} has {len(inputs)} inputs, {most} are the most")
        inputs = inputs[:most]
    result = function(node, run, *inputs)
    return result if isinstance(result, tuple) else (result,)
