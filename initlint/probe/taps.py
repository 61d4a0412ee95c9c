"""Taps: the reductions that are placed right behind a tensor's producer, so that its values never leave the device.

onnxruntime accumulates a full reduction in float32 (a tensor whose mean is 1000 times its std loses its variance), so a
tensor is cut into rows of at most `ROW` elements which are reduced one by one and folded in float64 outside.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    import numpy.typing as npt

    from initlint.graph import ValueInfo

__all__ = ["COPIES", "FIGURES", "Drawing", "Tap", "draw_tap"]

COPIES = ("", "initlint_twin/")  # name prefixes of the two copies
ROW = 4096  # elements reduced together in float32
SHORTEST_ROW = 64  # below this the rows are no fewer than the tensor, and float64 takes longer ones
RECTIFIERS = frozenset({"Relu", "ThresholdedRelu"})
SATURATING = {"Tanh": (-1.0, 1.0), "Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softsign": (-1.0, 1.0)}
NEAR = 0.015  # as in the prediction: share of the range from an asymptote
REDUCTIONS = ("ReduceSum", "ReduceSumSquare", "ReduceMax", "ReduceMin")
FIGURES = len(REDUCTIONS) * len(COPIES) + 1  # rows of figures of one tap: those of each copy, then their difference


class Tap(msgspec.Struct, frozen=True):
    """One tensor to be measured: its concrete shape decides how it is cut into rows."""

    name: str
    shape: tuple[int, ...]
    op: str = ""
    dtype: str = "float32"
    channel_axis: int | None = None
    source: str = ""  # value of the main graph that holds it, where that is not its own name
    centre: float = 0.0  # subtracted before squaring, where the mean dwarfs the std
    scale: float = 1.0  # and then multiplied by, where squares would leave float32
    channels_apart: bool = False  # whether its channels' movements are wanted one by one

    @property
    def value(self) -> str:
        """Name of the value in the main graph."""
        return self.source or self.name

    @property
    def row(self) -> int:
        """Elements of one row."""
        return row_of(prod(self.shape))

    @property
    def kind(self) -> int:
        """Element type of the reductions: float64 where the tensor's is, and for rows too long for float32."""
        return int(TensorProto.DOUBLE if self.dtype == "float64" or self.row > ROW else TensorProto.FLOAT)

    @property
    def channels(self) -> tuple[int, int, int] | None:
        """The tensor as `[before, channels, after]`, channels last where nothing says where; None for a scalar."""
        if not self.shape:
            return None
        axis = (-1 if self.channel_axis is None else self.channel_axis) % len(self.shape)
        return prod(self.shape[:axis]), self.shape[axis], prod(self.shape[axis + 1 :])


@lru_cache(maxsize=4096)
def row_of(count: int) -> int:
    """The largest divisor up to `ROW`; where it is tiny (a large prime factor), the smallest above, for float64."""
    below = next(length for length in range(min(ROW, count), 0, -1) if count % length == 0)
    if below >= min(SHORTEST_ROW, count):
        return below
    return next((count // rows for rows in range(count // ROW, 0, -1) if count % rows == 0), count)


class Drawing:
    """An instrumented graph while it is put together."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.outputs: list[str] = []
        self.extra: list[ValueInfo] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node with one output, named after it."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def reduce(self, kind: str, source: str, output: str, axes: Sequence[int]) -> str:
        """A reduction; the axes became an input with opset 13 (ReduceSum) and 18 (the others)."""
        if self.opset < (13 if kind == "ReduceSum" else 18):
            return self.add(kind, [source], output, axes=list(axes), keepdims=0)
        return self.add(kind, [source, self.constant("axes", np.array(axes, np.int64))], output, keepdims=0)

    def constant(self, role: str, value: "npt.NDArray[Any]") -> str:
        """Name of a constant, stored once for each value."""
        name = f"initlint_{role}/{value.dtype}" + "x".join(str(item) for item in value.reshape(-1))
        self.constants.setdefault(name, numpy_helper.from_array(value, name))
        return name


def draw_tap(tap: Tap, drawing: Drawing) -> None:
    """Append the reductions of one tensor, of both copies and of their difference.

    Outputs: `initlint/NAME/figures` `[FIGURES * rows]`; where they apply `/activeCOPY` `[channels]`, `/saturatedCOPY`
    `[rows]`, and `/moves` `[channels]`.
    """
    base = f"initlint/{tap.name}"
    shape = drawing.constant("rows", np.array([prod(tap.shape) // tap.row, tap.row], np.int64))
    own = "float64" if tap.kind == TensorProto.DOUBLE else "float32"
    rows: list[str] = []
    figures: list[str] = []
    for index, prefix in enumerate(COPIES):
        value = prefix + tap.value
        if tap.dtype != own:
            value = drawing.add("Cast", [value], f"{base}/wide{index}", to=tap.kind)
        rows.append(drawing.add("Reshape", [value, shape], f"{base}/rows{index}"))
        squared = _adjusted(tap, rows[-1], np.dtype(own), drawing)
        figures.extend(
            drawing.reduce(kind, squared if "Sum" in kind else rows[-1], f"{base}/{kind}{index}", [1])
            for kind in REDUCTIONS
        )
        _activation(tap, rows[-1], base, index, drawing)
    difference = drawing.add("Sub", rows, f"{base}/difference")
    if tap.scale != 1.0:
        scale = drawing.constant("scale", np.asarray(tap.scale, own))
        difference = drawing.add("Mul", [difference, scale], f"{base}/difference/scaled")
    figures.append(drawing.reduce("ReduceSumSquare", difference, f"{base}/signal", [1]))
    drawing.outputs.append(drawing.add("Concat", figures, f"{base}/figures", axis=0))
    if (tap.channels_apart or tap.op in RECTIFIERS) and tap.channels is not None:
        channels = drawing.constant("channels", np.array(tap.channels, np.int64))
        drawing.add("Reshape", [difference, channels], f"{base}/moved")
        drawing.outputs.append(drawing.reduce("ReduceSumSquare", f"{base}/moved", f"{base}/moves", [0, 2]))


def _adjusted(tap: Tap, row: str, own: "np.dtype[Any]", drawing: Drawing) -> str:
    """The rows about the tap's centre and in its scale."""
    if tap.centre:
        row = drawing.add("Sub", [row, drawing.constant("centre", np.asarray(tap.centre, own))], f"{row}/centred")
    if tap.scale != 1.0:
        row = drawing.add("Mul", [row, drawing.constant("scale", np.asarray(tap.scale, own))], f"{row}/scaled")
    return row


def _activation(tap: Tap, row: str, base: str, copy: int, drawing: Drawing) -> None:
    """Counts that the measured rules need: where a rectifier is active, how much of a squashed output is saturated."""
    add = drawing.add
    own = "float64" if tap.kind == TensorProto.DOUBLE else "float32"
    if tap.op in RECTIFIERS and tap.channels is not None:
        shape = drawing.constant("channels", np.array(tap.channels, np.int64))
        add("Reshape", [row, shape], f"{base}/channels{copy}")
        add("Greater", [f"{base}/channels{copy}", drawing.constant("zero", np.zeros((), own))], f"{base}/on{copy}")
        add("Cast", [f"{base}/on{copy}"], f"{base}/on_float{copy}", to=TensorProto.FLOAT)
        drawing.outputs.append(drawing.reduce("ReduceSum", f"{base}/on_float{copy}", f"{base}/active{copy}", [0, 2]))
    elif tap.op in SATURATING:
        low, high = SATURATING[tap.op]
        reach = drawing.constant("reach", np.asarray((0.5 - NEAR) * (high - low), own))
        middle = drawing.constant("middle", np.asarray((low + high) / 2, own))
        add("Sub", [row, middle], f"{base}/offset{copy}")
        add("Abs", [f"{base}/offset{copy}"], f"{base}/distance{copy}")
        add("Greater", [f"{base}/distance{copy}", reach], f"{base}/near{copy}")
        add("Cast", [f"{base}/near{copy}"], f"{base}/near_float{copy}", to=TensorProto.FLOAT)
        drawing.outputs.append(drawing.reduce("ReduceSum", f"{base}/near_float{copy}", f"{base}/saturated{copy}", [1]))
