"""Which operator inputs multiply the signal, and the fans of each.

Fan-in is the number of terms summed into one output, fan-out the number of outputs one input reaches (Glorot & Bengio 2010,
sec. 4.2; He et al. 2015, sec. 2.2), from the operator's own arithmetic: per group, per gate, with the stride of a
transposed convolution divided out. Where torch.nn.init._calculate_fan_in_and_fan_out differs (it swaps ConvTranspose's fans,
ignores groups and stride and stacks gates), the arithmetic wins.
"""

from collections.abc import Callable
from math import prod
from typing import TypeAlias

import msgspec

from initlint.graph import Node

__all__ = ["SLOTS", "Fans", "Slot"]


class Fans(msgspec.Struct, frozen=True):
    """Fans of one output, groups (or gates), and the axes of the slot's value that index outputs."""

    fan_in: float
    fan_out: float
    groups: int
    output_axes: tuple[int, ...]


Formula: TypeAlias = Callable[[Node, tuple[int, ...]], Fans | None]


class Slot(msgspec.Struct, frozen=True):
    """An input that holds a weight: its index, its name, its formula; scale and zero point inputs of quantised forms."""

    index: int
    name: str
    fans: Formula
    scale: int | None = None
    zero: int | None = None
    signal: int = 0  # index of the input that the weight multiplies


def _ints(node: Node, name: str, count: int) -> tuple[int, ...]:
    value = node.attributes.get(name)
    return tuple(value) if isinstance(value, tuple) and len(value) == count else (1,) * count  # type: ignore[arg-type]


def _convolution(node: Node, shape: tuple[int, ...]) -> Fans | None:
    """W [O, I/groups, k...]: I/g k terms; an input meets O/g k / stride outputs."""
    if len(shape) < 3:
        return None
    groups = int(node.attributes.get("group", 1))  # type: ignore[arg-type]
    kernel, stride = prod(shape[2:]), prod(_ints(node, "strides", len(shape) - 2))
    return Fans(shape[1] * kernel, max(shape[0] / groups * kernel / stride, 1.0), groups, (0,))


def _channels_last(node: Node, shape: tuple[int, ...]) -> Fans | None:
    """NhwcConv keeps W as [O, k..., I/groups]."""
    return _convolution(node, (shape[0], shape[-1], *shape[1:-1])) if len(shape) >= 3 else None


def _transposed(node: Node, shape: tuple[int, ...]) -> Fans | None:
    """W [I, O/groups, k...]: each output sums I/g k / stride terms; each input reaches O/g k outputs."""
    if len(shape) < 3:
        return None
    groups = int(node.attributes.get("group", 1))  # type: ignore[arg-type]
    kernel, stride = prod(shape[2:]), prod(_ints(node, "strides", len(shape) - 2))
    return Fans(max(shape[0] / groups * kernel / stride, 1.0), shape[1] * kernel, groups, (1,))


def _right(_node: Node, shape: tuple[int, ...]) -> Fans | None:
    """x W with W [..., K, N]; batched weights index outputs too."""
    if len(shape) == 1:
        return Fans(shape[0], 1.0, 1, ())
    return Fans(shape[-2], shape[-1], prod(shape[:-2]), (len(shape) - 1,)) if len(shape) >= 2 else None


def _left(_node: Node, shape: tuple[int, ...]) -> Fans | None:
    """W x with W [..., M, K]."""
    if len(shape) == 1:
        return Fans(shape[0], 1.0, 1, ())
    return Fans(shape[-1], shape[-2], prod(shape[:-2]), (len(shape) - 2,)) if len(shape) >= 2 else None


def _gemm_right(node: Node, shape: tuple[int, ...]) -> Fans | None:
    return _left(node, shape) if node.attributes.get("transB") else _right(node, shape)


def _gemm_left(node: Node, shape: tuple[int, ...]) -> Fans | None:
    return _right(node, shape) if node.attributes.get("transA") else _left(node, shape)


def _recurrent(_node: Node, shape: tuple[int, ...]) -> Fans | None:
    """W [directions, gates * hidden, inputs]: one gate's terms; an input reaches one gate's units."""
    if len(shape) != 3:
        return None
    gates = {"LSTM": 4, "DynamicQuantizeLSTM": 4, "GRU": 3}.get(_node.op, 1)
    return Fans(shape[2], shape[1] / gates, gates * shape[0], (0, 1))


def _dynamic_recurrent(node: Node, shape: tuple[int, ...]) -> Fans | None:
    """DynamicQuantizeLSTM keeps W as [directions, inputs, 4 hidden]."""
    found = _recurrent(node, (shape[0], shape[2], shape[1])) if len(shape) == 3 else None
    return None if found is None else Fans(found.fan_in, found.fan_out, found.groups, (2,))


def _table(_node: Node, shape: tuple[int, ...]) -> Fans | None:
    """A row is selected, nothing is summed: one term (a one-hot input through a matrix), as many outputs as it is wide."""
    return Fans(1.0, float(prod(shape[1:])), 1, (0,)) if len(shape) >= 2 else None


def _packed(_node: Node, shape: tuple[int, ...]) -> Fans | None:
    """Attention's packed query, key and value projection [K, 3 N]: each is a layer of its own."""
    return Fans(shape[0], shape[1] / 3, 3, (1,)) if len(shape) == 2 else None


SLOTS: dict[str, tuple[Slot, ...]] = {
    "Conv": (Slot(1, "W", _convolution),),
    "DeformConv": (Slot(1, "W", _convolution),),
    "com.microsoft::FusedConv": (Slot(1, "W", _convolution),),
    "com.microsoft::NhwcFusedConv": (Slot(1, "W", _channels_last),),
    "com.microsoft::NhwcConv": (Slot(1, "W", _channels_last),),
    "com.microsoft::NchwcConv": (Slot(1, "W", _convolution),),
    "ConvInteger": (Slot(1, "W", _convolution, zero=3),),
    "QLinearConv": (Slot(3, "W", _convolution, scale=4, zero=5),),
    "ConvTranspose": (Slot(1, "W", _transposed),),
    "com.microsoft::ConvTransposeWithDynamicPads": (Slot(1, "W", _transposed),),
    "Gemm": (Slot(1, "B", _gemm_right), Slot(0, "A", _gemm_left, signal=1)),
    "com.microsoft::FusedGemm": (Slot(1, "B", _gemm_right), Slot(0, "A", _gemm_left, signal=1)),
    "com.microsoft::QGemm": (Slot(3, "B", _gemm_right, scale=4, zero=5),),
    "MatMul": (Slot(1, "B", _right), Slot(0, "A", _left, signal=1)),
    "com.microsoft::FusedMatMul": (Slot(1, "B", _gemm_right), Slot(0, "A", _gemm_left, signal=1)),
    "com.microsoft::TransposeMatMul": (Slot(1, "B", _gemm_right), Slot(0, "A", _gemm_left, signal=1)),
    "MatMulInteger": (Slot(1, "B", _right, zero=3), Slot(0, "A", _left, zero=2, signal=1)),
    "com.microsoft::MatMulIntegerToFloat": (Slot(1, "B", _right, scale=3, zero=5),),
    "com.microsoft::DynamicQuantizeMatMul": (Slot(1, "B", _right, scale=2, zero=3),),
    "QLinearMatMul": (Slot(3, "b", _right, scale=4, zero=5), Slot(0, "a", _left, scale=1, zero=2, signal=3)),
    "com.microsoft::MatMulNBits": (Slot(1, "B", _left, scale=2, zero=3),),
    "LSTM": (Slot(1, "W", _recurrent), Slot(2, "R", _recurrent)),
    "GRU": (Slot(1, "W", _recurrent), Slot(2, "R", _recurrent)),
    "RNN": (Slot(1, "W", _recurrent), Slot(2, "R", _recurrent)),
    "com.microsoft::DynamicQuantizeLSTM": (
        Slot(1, "W", _dynamic_recurrent, scale=8, zero=9),
        Slot(2, "R", _dynamic_recurrent, scale=10, zero=11),
    ),
    "com.microsoft::Attention": (Slot(1, "weights", _packed),),
    "com.microsoft::QAttention": (Slot(1, "weights", _packed, scale=4, zero=7),),
    "com.microsoft::EmbedLayerNormalization": (
        Slot(2, "word_embedding", _table),
        Slot(3, "position_embedding", _table),
        Slot(4, "segment_embedding", _table),
    ),
    "Gather": (Slot(0, "table", _table, signal=1),),
}
