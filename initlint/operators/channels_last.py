"""onnxruntime's layers on images with the channels last, and its group normalisation of either layout."""

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import invalid, number, real
from initlint.operators.contrib import fused_conv
from initlint.operators.special import sigmoid
from initlint.operators.table import OPERATORS, Array, Draws, Run, Values, align, operator


def _first(x: Draws) -> Draws:
    """`[N, *spatial, C]` as `[N, C, *spatial]`."""
    return Values(np.moveaxis(x.values, -1, 2), x.dtype)


@operator("com.microsoft::NhwcConv", "com.microsoft::NhwcFusedConv")
def nhwc_conv(node: Node, run: Run, x: Draws, w: Draws, b: Draws | None = None, z: Draws | None = None) -> Array:
    """Convolution, a sum and an activation."""
    if len(x.shape) < 3:
        raise invalid(f"an input of shape {x.shape}")
    return np.moveaxis(fused_conv(node, run, _first(x), w, b, None if z is None else _first(z)), 2, -1)


@operator("com.microsoft::NhwcMaxPool")
def nhwc_max_pool(node: Node, run: Run, x: Draws) -> Array:
    """Maximum over windows."""
    if len(x.shape) < 3:
        raise invalid(f"an input of shape {x.shape}")
    result = OPERATORS["MaxPool"](node, run, _first(x))
    return np.moveaxis(np.asarray(result[0] if isinstance(result, tuple) else result), 2, -1)


def _group_norm(node: Node, x: Array, gamma: Draws, beta: Draws) -> Array:
    """Groups of channels normalised over their positions (Wu & He 2018), scaled, and SiLU where asked for."""
    last = bool(number(node, "channels_last", 1))
    values = x if last else np.moveaxis(x, 2, -1)
    groups, channels = number(node, "groups"), values.shape[-1]
    if groups < 1 or channels % groups:
        raise invalid(f"{channels} channels in {groups} groups")
    split = values.reshape(*values.shape[:2], -1, groups, channels // groups)
    centred = split - split.mean(axis=(2, 4), keepdims=True)
    spread = (centred * centred).mean(axis=(2, 4), keepdims=True)
    unit = (centred / np.sqrt(spread + real(node, "epsilon", 1e-5))).reshape(values.shape)
    shape = (-1, *(1,) * (values.ndim - 2), channels)
    y = unit * gamma.values.reshape(shape) + beta.values.reshape(shape)
    if number(node, "activation"):
        y = y * sigmoid(y)
    return y if last else np.moveaxis(y, -1, 2)


@operator("com.microsoft::GroupNorm")
def group_norm(node: Node, run: Run, x: Draws, gamma: Draws, beta: Draws) -> Array:
    """Group normalisation."""
    run.claim(*x.values.shape)
    return _group_norm(node, x.values, gamma, beta)


@operator("com.microsoft::SkipGroupNorm")
def skip_group_norm(
    node: Node, run: Run, x: Draws, gamma: Draws, beta: Draws, skip: Draws, bias: Draws | None = None
) -> tuple[Array | None, ...]:
    """Group normalisation of a residual sum; the sum is the second output."""
    shape = (x.shape[0], *(1,) * (len(x.shape) - 2), x.shape[-1])
    added = skip.values.reshape(-1, *shape) if len(skip.shape) == 2 else skip.values
    first, second = align(run, x, added)
    total = first + second
    if bias is not None:
        total = total + bias.values.reshape(-1, *(1,) * (len(x.shape) - 1), x.shape[-1])
    return _group_norm(node, total, gamma, beta), total
