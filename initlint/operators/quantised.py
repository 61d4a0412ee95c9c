"""Quantised operators: integers as onnxruntime stores them, saturating and rounding half to even, so results are exact."""

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axis_in, constant, invalid, number
from initlint.operators.convolution import add_channel_bias, convolve
from initlint.operators.recurrent import lstm
from initlint.operators.table import Array, Draws, NotComputed, Run, Stored, Values, operator
from initlint.operators.weighted import gemm, matmul
from initlint.operators.windows import window_of

__all__ = ["dequantise", "quantise"]

RANGES = {
    "uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767), "uint4": (0, 15),
    "int4": (-8, 7), "uint2": (0, 3), "int2": (-2, 1), "int32": (-(2**31), 2**31 - 1),
}  # fmt: skip


WHOLE = frozenset({"uint8", "int8", "uint16", "int16"})  # of a type of their own in numpy


def _along(item: Draws, rank: int, axis: int) -> Array:
    """A scale or zero point against a tensor of `rank`: one number, one along `axis`, or of the tensor's own rank."""
    values = item.values
    if values.size == values.shape[0]:
        return values.reshape(values.shape[0], *(1,) * rank)
    if values.ndim - 1 == rank:
        return values
    shape = [values.shape[0]] + [1] * rank
    shape[axis + 1] = -1
    return values.reshape(shape)


def _blocked(values: Array, item: Array, axis: int, block: int) -> Array:
    """A blocked scale repeated to the tensor's extent."""
    if not block or item.shape[axis + 1] in (1, values.shape[axis + 1]):
        return item
    return np.take(np.repeat(item, block, axis=axis + 1), np.arange(values.shape[axis + 1]), axis=axis + 1)


def dequantise(run: Run, x: Array, scale: Draws, zero: Draws | None, axis: int, block: int = 0) -> Array:
    """(x - zero) * scale in the working type."""
    rank = x.ndim - 1
    factor = _blocked(x, _along(scale, rank, axis), axis, block).astype(run.float_type)
    wide = x.astype(run.float_type)
    if zero is not None:
        wide = wide - _blocked(x, _along(zero, rank, axis), axis, block).astype(run.float_type)
    run.claim(*np.broadcast_shapes(wide.shape, factor.shape))
    return wide * factor


def quantise(
    run: Run, x: Array, scale: Draws, zero: Draws | None, axis: int, block: int = 0, dtype: str = "uint8"
) -> Array:
    """round(x / scale) + zero, saturated to the zero point's type (`dtype` where there is none)."""
    rank = x.ndim - 1
    dtype = zero.dtype if zero is not None else dtype
    if dtype.startswith(("float8", "float4")):
        from initlint.elements import format_of, numpy_type  # noqa: PLC0415 - for these few types only

        limits = format_of(dtype)
        largest = limits.largest if limits is not None else 1.0
        scaled = np.clip(x / _blocked(x, _along(scale, rank, axis), axis, block).astype(x.dtype), -largest, largest)
        run.claim(*scaled.shape)
        return scaled.astype(numpy_type(dtype)).astype(run.float_type)
    if dtype not in RANGES:
        raise NotComputed(f"quantisation to {dtype}")
    low, high = RANGES[dtype]
    values = np.rint(x / _blocked(x, _along(scale, rank, axis), axis, block).astype(x.dtype))
    if zero is not None:
        values = values + _blocked(x, _along(zero, rank, axis), axis, block).astype(x.dtype)
    run.claim(*values.shape)
    stored = np.dtype(
        dtype if dtype in ("uint8", "int8", "uint16", "int16", "int32") else ("uint8" if low == 0 else "int8")
    )
    return np.clip(np.nan_to_num(values), low, high).astype(stored)


@operator("DequantizeLinear", "com.microsoft::DequantizeLinear")
def dequantize_linear(node: Node, run: Run, x: Draws, scale: Draws, zero: Draws | None = None) -> Array:
    """Per tensor, per axis or in blocks."""
    rank = len(x.shape)
    axis = axis_in(number(node, "axis", 1), rank) if rank and scale.values.size > scale.values.shape[0] else 0
    _check(scale, rank, axis, x.shape)
    _check_types(x, zero)
    return dequantise(run, x.values, scale, zero, axis, number(node, "block_size", 0))


@operator("QuantizeLinear", "com.microsoft::QuantizeLinear")
def quantize_linear(node: Node, run: Run, x: Draws, scale: Draws, zero: Draws | None = None) -> Array:
    """Per tensor, per axis or in blocks."""
    rank = len(x.shape)
    axis = axis_in(number(node, "axis", 1), rank) if rank and scale.values.size > scale.values.shape[0] else 0
    _check(scale, rank, axis, x.shape)
    from initlint.elements import name_of  # noqa: PLC0415 - only where a type is given by its number

    dtype = name_of(number(node, "output_dtype", 2) or 2)
    return quantise(run, x.values, scale, zero, axis, number(node, "block_size", 0), dtype)


def _check(scale: Draws, rank: int, axis: int, shape: tuple[int, ...]) -> None:
    if len(scale.shape) == 1 and scale.shape[0] != 1 and (not rank or scale.shape[0] != shape[axis]):
        raise invalid(f"{scale.shape[0]} scales along an axis of a tensor of shape {shape}")


def _check_types(x: Draws, zero: Draws | None) -> None:
    """Codes and zero point are of one type; of computed codes the type is known where numpy has it."""
    if not isinstance(zero, Stored):
        return
    stored = isinstance(x, Stored)
    kind = x.dtype if stored else x.values.dtype.name
    if kind != zero.dtype and (stored or (kind in WHOLE and zero.dtype in WHOLE)):
        raise invalid(f"codes of type {kind} with a zero point of type {zero.dtype}")


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(_: Node, run: Run, x: Draws) -> tuple[Array, Array, Array]:
    """Each draw by its own range, zero always inside; values, scale, zero point."""
    values = x.values.astype(np.float32)  # as onnxruntime computes it: ties are decided by its rounding
    flat = values.reshape(values.shape[0], -1)
    low = np.minimum(flat.min(axis=1, initial=0), 0)
    high = np.maximum(flat.max(axis=1, initial=0), 0)
    scale = (high - low) / np.float32(255)
    safe = np.where(scale > 0, scale, 1)
    zero = np.clip(np.rint(-low / safe), 0, 255).astype(np.uint8)
    shape = (-1, *(1,) * (values.ndim - 1))
    stored = np.clip(np.rint(values / safe.reshape(shape)) + zero.reshape(shape), 0, 255).astype(np.uint8)
    return stored, scale.astype(run.float_type), zero


def _centred(x: Draws, zero: Draws | None, axis: int) -> Array:
    """An integer operand less its zero point, exact in float64."""
    wide = x.values.astype(np.float64)
    if zero is None:
        return wide
    return wide - _along(zero, wide.ndim - 1, axis).astype(np.float64)


@operator("MatMulInteger")
def matmul_integer(
    _: Node, run: Run, a: Draws, b: Draws, a_zero: Draws | None = None, b_zero: Draws | None = None
) -> Array:
    """An integer product with zero points, in int32."""
    left = _centred(a, a_zero, max(len(a.shape) - 2, 0))
    right = _centred(b, b_zero, max(len(b.shape) - 1, 0))
    return np.asarray(matmul(run, left, right)).astype(np.int32)


@operator("ConvInteger")
def conv_integer(
    node: Node, run: Run, x: Draws, w: Draws, x_zero: Draws | None = None, w_zero: Draws | None = None
) -> Array:
    """An integer convolution with zero points, in int32."""
    inputs = _centred(x, x_zero, 0)
    weight = _centred(w, w_zero, 0)
    window = window_of(node, w.shape[2:], x.shape[2:])
    return np.asarray(convolve(run, inputs, weight, window, number(node, "group", 1))).astype(np.int32)


@operator("QLinearMatMul")
def qlinear_matmul(
    _: Node, run: Run, a: Draws, a_scale: Draws, a_zero: Draws, b: Draws, b_scale: Draws, b_zero: Draws,
    y_scale: Draws, y_zero: Draws,
) -> Array:  # fmt: skip
    """A product of quantised operands, quantised again."""
    left = dequantise(run, a.values, a_scale, a_zero, max(len(a.shape) - 2, 0))
    right = dequantise(run, b.values, b_scale, b_zero, max(len(b.shape) - 1, 0))
    return quantise(run, matmul(run, left, right), y_scale, y_zero, 0)


@operator("QLinearConv")
def qlinear_conv(
    node: Node, run: Run, x: Draws, x_scale: Draws, x_zero: Draws, w: Draws, w_scale: Draws, w_zero: Draws,
    y_scale: Draws, y_zero: Draws, b: Draws | None = None,
) -> Array:  # fmt: skip
    """A convolution of quantised operands, quantised again; the bias is stored in units of x_scale * w_scale."""
    inputs = dequantise(run, x.values, x_scale, x_zero, 0)
    weight = dequantise(run, w.values, w_scale, w_zero, 0)
    window = window_of(node, w.shape[2:], x.shape[2:])
    y = convolve(run, inputs, weight, window, number(node, "group", 1))
    if b is not None:
        unit = x_scale.values.reshape(-1)[0] * w_scale.values.reshape(-1)
        y = add_channel_bias(run, y, Values((b.values * unit).astype(run.float_type), "float32"))
    return quantise(run, y, y_scale, y_zero, 0)


@operator("com.microsoft::QGemm")
def qgemm(
    node: Node, run: Run, a: Draws, a_scale: Draws, a_zero: Draws, b: Draws, b_scale: Draws, b_zero: Draws,
    c: Draws | None = None, y_scale: Draws | None = None, y_zero: Draws | None = None,
) -> Array:  # fmt: skip
    """Gemm of quantised operands; float where no output scale is given."""
    columns = 0 if node.attributes.get("transB") else 1
    left = Values(dequantise(run, a.values, a_scale, a_zero, 0), "float32")
    right = Values(dequantise(run, b.values, b_scale, b_zero, columns), "float32")
    alpha = float(node.attributes.get("alpha", 1.0))  # type: ignore[arg-type]
    bias = None
    if c is not None:
        unit = alpha * a_scale.values.reshape(-1)[0] * b_scale.values.reshape(-1)
        bias = Values((c.values * unit).astype(run.float_type), "float32")
    y = gemm(node, run, left, right, bias)
    return y if y_scale is None else quantise(run, y, y_scale, y_zero, 0)


@operator("com.microsoft::MatMulIntegerToFloat")
def matmul_integer_to_float(
    _: Node, run: Run, a: Draws, b: Draws, a_scale: Draws, b_scale: Draws, a_zero: Draws | None = None,
    b_zero: Draws | None = None, bias: Draws | None = None,
) -> Array:  # fmt: skip
    """An integer product scaled to float, with a bias."""
    y = _scaled_product(run, a, b, a_scale, b_scale, a_zero, b_zero)
    return y if bias is None else y + bias.values.reshape(bias.values.shape[0], *(1,) * (y.ndim - 2), -1)


def _scaled_product(
    run: Run, a: Draws, b: Draws, a_scale: Draws, b_scale: Draws, a_zero: Draws | None, b_zero: Draws | None
) -> Array:
    left = dequantise(run, a.values, a_scale, a_zero, max(len(a.shape) - 2, 0))
    right = dequantise(run, b.values, b_scale, b_zero, len(b.shape) - 1)
    return matmul(run, left, right)


@operator("com.microsoft::DynamicQuantizeMatMul")
def dynamic_quantize_matmul(
    node: Node, run: Run, a: Draws, b: Draws, b_scale: Draws, b_zero: Draws | None = None, bias: Draws | None = None
) -> Array:
    """The input quantised by its own range, times a quantised matrix."""
    stored, scale, zero = dynamic_quantize_linear(node, run, a)
    quantised = Values(stored, "uint8")
    return matmul_integer_to_float(
        node, run, quantised, b, Values(scale, "float32"), b_scale, Values(zero, "uint8"), b_zero, bias
    )


@operator("com.microsoft::DynamicQuantizeLSTM")
def dynamic_quantize_lstm(
    node: Node, run: Run, x: Draws, w: Draws, r: Draws, b: Draws | None = None, lengths: Draws | None = None,
    h0: Draws | None = None, c0: Draws | None = None, p: Draws | None = None, w_scale: Draws | None = None,
    w_zero: Draws | None = None, r_scale: Draws | None = None, r_zero: Draws | None = None,
) -> tuple[Array | None, ...]:  # fmt: skip
    """LSTM on dequantised weights `[directions, inputs, 4 hidden]`; its own rounding of the input is left out (1/256)."""
    if w_scale is None or r_scale is None:
        raise invalid("has no scales")
    return lstm(
        node, run, x, _gate_rows(run, w, w_scale, w_zero), _gate_rows(run, r, r_scale, r_zero), b, lengths, h0, c0, p
    )


def _gate_rows(run: Run, w: Draws, scale: Draws, zero: Draws | None) -> Draws:
    """A quantised weight as LSTM has it: one scale for each direction, or for each of its columns."""
    wide = w.values.astype(run.float_type)
    if zero is not None:
        wide = wide - _of_direction(zero, wide)
    return Values(np.swapaxes(wide * _of_direction(scale, wide), -1, -2), "float32")


def _of_direction(item: Draws, wide: Array) -> Array:
    values = item.values.astype(wide.dtype).reshape(item.values.shape[0], -1)
    directions = wide.shape[1]
    return (
        values.reshape(values.shape[0], directions, 1, -1) if values.shape[1] >= directions else values[..., None, None]
    )


@operator("com.microsoft::MatMulNBits")
def matmul_n_bits(
    node: Node, run: Run, a: Draws, b: Draws, scales: Draws, zeros: Draws | None = None, groups: Draws | None = None,
    bias: Draws | None = None,
) -> Array:  # fmt: skip
    """A product with a block-quantised matrix `[N, blocks, bytes]`, low bits first."""
    from initlint.folding import unpack_blocks  # noqa: PLC0415 - folding evaluates operators itself

    if groups is not None:
        raise NotComputed("MatMulNBits with a group index")
    rows, columns, bits = (number(node, name) for name in ("N", "K", "bits"))
    points = None if zeros is None else constant(zeros, "zero points")
    run.claim(1, rows, columns)
    matrix = unpack_blocks(
        b.tensor.read() if isinstance(b, Stored) else constant(b, "the weight"), constant(scales, "scales"), points,
        bits=bits, columns=columns, rows=rows, block=number(node, "block_size"),
    )  # fmt: skip
    y = matmul(run, a.values, matrix.T[np.newaxis].astype(run.float_type))
    return y if bias is None else y + bias.values.reshape(bias.values.shape[0], *(1,) * (y.ndim - 2), -1)
