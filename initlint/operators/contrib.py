"""onnxruntime's contributed operators that exporters and optimisers emit: fused activations, products and normalisations."""

from collections.abc import Callable

import msgspec
import numpy as np

from initlint.graph import Attribute, Node
from initlint.operators.activations import gaussian_unit
from initlint.operators.arguments import axis_in, integers, invalid, number, real
from initlint.operators.convolution import conv
from initlint.operators.normalisation import normalise_rows, rms_rows
from initlint.operators.special import gelu, sigmoid
from initlint.operators.table import OPERATORS, Array, Draws, NotComputed, Run, Values, align, operator
from initlint.operators.weighted import gemm, matmul

__all__ = ["gelu_tanh"]


def gelu_tanh(x: Array) -> Array:
    """GELU's tanh form (Hendrycks & Gimpel 2016, eq. 2)."""
    return np.asarray(0.5 * x * (1 + np.tanh(x * (0.7978845608028654 + 0.035677408136300125 * x * x))), dtype=x.dtype)


@operator("com.microsoft::Gelu")
def contrib_gelu(node: Node, run: Run, x: Draws) -> Array:
    """GELU by erf."""
    return gaussian_unit(msgspec.structs.replace(node, attributes={}), run, x)


@operator("com.microsoft::FastGelu")
def fast_gelu(_: Node, run: Run, x: Draws, bias: Draws | None = None) -> Array:
    """GELU's tanh form, a bias added before."""
    return gelu_tanh(_biased(run, x, bias))


@operator("com.microsoft::BiasGelu")
def bias_gelu(_: Node, run: Run, x: Draws, bias: Draws) -> Array:
    """GELU by erf, a bias added before."""
    return gelu(_biased(run, x, bias))


@operator("com.microsoft::QuickGelu")
def quick_gelu(node: Node, _: Run, x: Draws) -> Array:
    """x sigmoid(alpha x)."""
    return x.values * sigmoid(real(node, "alpha", 1.702) * x.values)


@operator("com.microsoft::BiasAdd")
def bias_add(_: Node, run: Run, x: Draws, bias: Draws, skip: Draws) -> Array:
    """A bias and a residual."""
    first, second = align(run, _biased(run, x, bias), skip)
    return first + second


@operator("com.microsoft::BiasSplitGelu")
def bias_split_gelu(_: Node, run: Run, x: Draws, bias: Draws) -> Array:
    """The first half times GELU of the second."""
    left, right = np.split(_biased(run, x, bias), 2, axis=-1)
    return left * gelu(np.ascontiguousarray(right))


def _biased(run: Run, x: Draws, bias: Draws | None) -> Array:
    if bias is None:
        return x.values
    first, second = align(run, x, bias)
    return first + second


ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Elu")


def _activated(node: Node, run: Run, y: Array) -> Array:
    """The activation named by a fused operator, with its parameters."""
    name = node.attributes.get("activation")
    if not isinstance(name, str) or not name:
        return y
    given = node.attributes.get("activation_params")
    parameters = [float(item) for item in given] if isinstance(given, tuple) else []  # type: ignore[arg-type]
    if name == "Clip":
        low, high = (parameters or [0.0, 6.0])[:2]
        return np.clip(y, low, high)
    if name not in ACTIVATIONS:
        raise NotComputed(f"fused activation {name}")
    attributes: dict[str, Attribute] = dict(zip(("alpha", "beta"), parameters, strict=False))
    for key in ("alpha", "beta"):
        if f"activation_{key}" in node.attributes:
            attributes[key] = node.attributes[f"activation_{key}"]
    plain = Node(name, "", 21, node.name, node.inputs, node.outputs, attributes, node.index)
    result = OPERATORS[name](plain, run, Values(y, "float32"))
    found = result[0] if isinstance(result, tuple) else result
    if found is None:
        raise NotComputed(f"fused activation {name}")
    return found


@operator("com.microsoft::FusedConv")
def fused_conv(node: Node, run: Run, x: Draws, w: Draws, b: Draws | None = None, z: Draws | None = None) -> Array:
    """Conv, a sum and an activation in one."""
    y = conv(node, run, x, w, b)
    if z is not None:
        first, second = align(run, y, z)
        y = first + second
    return _activated(node, run, y)


@operator("com.microsoft::FusedGemm")
def fused_gemm(node: Node, run: Run, a: Draws, b: Draws, c: Draws | None = None) -> Array:
    """Gemm and an activation in one."""
    return _activated(node, run, gemm(node, run, a, b, c))


@operator("com.microsoft::FusedMatMul", "com.microsoft::TransposeMatMul")
def fused_matmul(node: Node, run: Run, a: Draws, b: Draws) -> Array:
    """A product of operands that may be transposed, times alpha."""
    left, right = (_transposed(node, item, which) for item, which in ((a, "A"), (b, "B")))
    return matmul(run, left, right) * real(node, "alpha", 1.0)


def _transposed(node: Node, item: Draws, which: str) -> Array:
    """An operand with its last axes exchanged, or its first moved behind the batch, or both."""
    values = item.values
    if number(node, f"transBatch{which}", 0):
        if values.ndim < 4:
            raise invalid(f"a transposed batch of shape {item.shape}")
        values = np.moveaxis(values, 1, -2)
    return np.swapaxes(values, -1, -2) if number(node, f"trans{which}", 0) else values


@operator("com.microsoft::FusedMatMulActivation")
def fused_matmul_activation(node: Node, run: Run, a: Draws, b: Draws) -> Array:
    """A product and an activation in one."""
    return _activated(node, run, fused_matmul(node, run, a, b))


@operator("com.microsoft::GemmFastGelu")
def gemm_fast_gelu(_: Node, run: Run, x: Draws, w: Draws, bias: Draws | None = None) -> Array:
    """A product, a bias and GELU's tanh form."""
    return gelu_tanh(_biased(run, Values(matmul(run, x.values, w.values), x.dtype), bias))


@operator("com.microsoft::BiasSoftmax")
def bias_softmax(node: Node, run: Run, x: Draws, bias: Draws) -> Array:
    """Softmax over all axes from one on, of a sum whose bias is repeated over the axes before it, or inside them."""
    rank = len(x.shape)
    axis = axis_in(number(node, "axis", 1), rank)
    added = bias.values
    if not number(node, "is_inner_broadcast", 1) and added.ndim < x.values.ndim:
        added = added.reshape(*added.shape, *(1,) * (x.values.ndim - added.ndim))
    first, second = align(run, x, added)
    total = first + second
    rows = total.reshape(*total.shape[: axis + 1], -1)
    powers = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return np.asarray((powers / powers.sum(axis=-1, keepdims=True)).reshape(total.shape))


@operator("com.microsoft::BiasDropout")
def bias_dropout(
    _: Node, run: Run, x: Draws, bias: Draws, residual: Draws | None = None, ratio: Draws | None = None,
    training: Draws | None = None,
) -> tuple[Array | None, ...]:  # fmt: skip
    """A bias and a residual; nothing is dropped at inference."""
    del ratio
    if training is not None and training.values.any():
        raise NotComputed("dropout while training")
    y = _biased(run, x, bias)
    if residual is not None:
        first, second = align(run, y, residual)
        y = first + second
    return y, np.ones((1, *y.shape[1:]), bool)


@operator("com.microsoft::ExpandDims")
def expand_dims(_: Node, __: Run, x: Draws, axis: Draws) -> Array:
    """An axis of one put in."""
    place = axis_in(integers(axis, "the axis")[0], len(x.shape) + 1)
    return np.expand_dims(x.values, place + 1)


@operator("com.microsoft::ComplexMul", "com.microsoft::ComplexMulConj")
def complex_mul(node: Node, run: Run, a: Draws, b: Draws) -> Array:
    """A product of complex numbers `[..., 2]`, the second conjugated where the name says so."""
    first, second = align(run, a, b)
    if first.shape[-1] != 2 or second.shape[-1] != 2:
        raise invalid(f"complex numbers of shapes {a.shape} and {b.shape}")
    sign = -1 if node.op == "ComplexMulConj" else 1
    imaginary = sign * second[..., 1]
    return np.stack(
        [
            first[..., 0] * second[..., 0] - first[..., 1] * imaginary,
            first[..., 0] * imaginary + first[..., 1] * second[..., 0],
        ],
        axis=-1,
    )


def _same(kind: str) -> None:
    """onnxruntime's own copy of an ONNX operator."""

    def apply(node: Node, run: Run, *inputs: Draws | None) -> Array | tuple[Array | None, ...]:
        return OPERATORS[kind](msgspec.structs.replace(node, domain="", version=21), run, *inputs)

    operator(f"com.microsoft::{kind}")(apply)


for _kind in ("Pad", "Range", "Trilu", "Unique", "GatherND", "GridSample"):
    _same(_kind)


@operator("SimplifiedLayerNormalization", "com.microsoft::SimplifiedLayerNormalization")
def simplified_layer_normalization(node: Node, run: Run, x: Draws, scale: Draws) -> Array:
    """RMSNorm over the last axis (Zhang & Sennrich 2019)."""
    if number(node, "axis", -1) not in (-1, len(x.shape) - 1):
        raise NotComputed("SimplifiedLayerNormalization over several axes")
    first, second = align(run, rms_rows(x.values, real(node, "epsilon", 1e-5)), scale)
    return first * second


def _skip(normalise: Callable[[Array, float], Array]) -> Callable[..., tuple[Array | None, ...]]:
    """A residual sum and the normalisation behind it; the sum is the fourth output."""

    def apply(
        node: Node, run: Run, x: Draws, skip: Draws, gamma: Draws, *rest: Draws | None
    ) -> tuple[Array | None, ...]:
        first, second = align(run, x, skip)
        total = first + second
        simplified = normalise is rms_rows
        beta = rest[0] if rest and not simplified else None
        bias = rest[0] if rest and simplified else rest[1] if len(rest) > 1 else None
        if bias is not None:
            total, added = align(run, total, bias)
            total = total + added
        y, factor = align(run, normalise(total, real(node, "epsilon", 1e-12)), gamma)
        y = y * factor
        if beta is not None:
            y, shift = align(run, y, beta)
            y = y + shift
        return y, None, None, total

    return apply


def skip_layer_normalization(
    node: Node, run: Run, x: Draws, skip: Draws, gamma: Draws, beta: Draws | None = None, bias: Draws | None = None
) -> tuple[Array | None, ...]:
    """LayerNormalization of a residual sum."""
    return _skip(normalise_rows)(node, run, x, skip, gamma, beta, bias)


def skip_simplified_layer_normalization(
    node: Node, run: Run, x: Draws, skip: Draws, gamma: Draws, bias: Draws | None = None
) -> tuple[Array | None, ...]:
    """RMSNorm of a residual sum."""
    return _skip(rms_rows)(node, run, x, skip, gamma, bias)


operator("com.microsoft::SkipLayerNormalization")(skip_layer_normalization)
operator("com.microsoft::SkipSimplifiedLayerNormalization")(skip_simplified_layer_normalization)


@operator("com.microsoft::EmbedLayerNormalization")
def embed_layer_normalization(
    node: Node,
    run: Run,
    ids: Draws,
    segments: Draws | None,
    words: Draws,
    positions: Draws,
    segment_table: Draws | None = None,
    gamma: Draws | None = None,
    beta: Draws | None = None,
    mask: Draws | None = None,
    position_ids: Draws | None = None,
) -> tuple[Array | None, ...]:
    """Word, position and segment embeddings added and normalised."""
    if len(ids.shape) != 2 or gamma is None or beta is None:
        raise invalid("needs ids of two axes, gamma and beta")
    if not (words.constant and positions.constant and (segment_table is None or segment_table.constant)):
        raise NotComputed("a table that depends on the input")
    tokens = ids.shape[1]
    total = words.values[0][ids.values]
    places = positions.values[0][:tokens] if position_ids is None else positions.values[0][position_ids.values]
    total = total + (places if position_ids is not None else places[np.newaxis, np.newaxis])
    if segments is not None and segment_table is not None:
        total = total + segment_table.values[0][segments.values]
    run.claim(*total.shape)
    factor, shift = (item.values[:, np.newaxis, np.newaxis] for item in (gamma, beta))
    y = normalise_rows(total, real(node, "epsilon", 1e-12)) * factor + shift
    valid = np.zeros((1, ids.shape[0]), np.int32) if mask is None else mask.values.sum(axis=-1, dtype=np.int32)
    return y, valid, total
