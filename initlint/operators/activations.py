"""Activation functions."""

from collections.abc import Callable
from math import pi

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import invalid, real, text
from initlint.operators.special import blockwise, gelu, sigmoid, softplus
from initlint.operators.table import Array, Draws, Run, align, operator

SELU_ALPHA = 1.67326319217681884765625  # Klambauer et al. 2017, as ONNX writes it
SELU_GAMMA = 1.05070102214813232421875
GELU_TANH = (2 / pi) ** 0.5  # Hendrycks and Gimpel 2016


@operator("Relu")
def relu(_: Node, __: Run, x: Draws) -> Array:
    """max(x, 0)."""
    return np.maximum(x.values, 0)


@operator("LeakyRelu")
def leaky_relu(node: Node, _: Run, x: Draws) -> Array:
    """x above zero, alpha x below."""
    return _leaky(x.values, real(node, "alpha", 0.01))


def _leaky(x: Array, alpha: float) -> Array:
    if alpha <= 1:
        return blockwise(lambda block: np.maximum(block, block * alpha), x)
    return blockwise(lambda block: np.where(block >= 0, block, block * alpha), x)


@operator("PRelu")
def prelu(_: Node, run: Run, x: Draws, slope: Draws) -> Array:
    """x above zero, slope x below; the slope is broadcast to x."""
    values, slopes = align(run, x, slope)
    if values.ndim != x.values.ndim or np.broadcast_shapes(values.shape[1:], slopes.shape[1:]) != values.shape[1:]:
        raise invalid(f"a slope of shape {slope.shape} for values of shape {x.shape}")
    result: Array = values * slopes
    return np.where(values >= 0, values, result)


@operator("ThresholdedRelu")
def thresholded_relu(node: Node, _: Run, x: Draws) -> Array:
    """x above alpha, else zero."""
    return np.where(x.values > real(node, "alpha", 1.0), x.values, x.values.dtype.type(0))


def _exponential(alpha: float, gamma: float = 1.0, scale: float = 1.0) -> Callable[[Array], Array]:
    """gamma x above zero, gamma alpha (exp(x / scale) - 1) below."""

    def apply(x: Array) -> Array:
        low = np.minimum(x, 0)
        if scale != 1:
            low /= scale
        np.expm1(low, out=low)
        low *= alpha
        result = np.where(x > 0, x, low)
        if gamma != 1:
            result *= gamma
        return result

    return apply


@operator("Elu")
def elu(node: Node, _: Run, x: Draws) -> Array:
    """x above zero, alpha (exp(x) - 1) below (Clevert et al. 2016)."""
    return blockwise(_exponential(real(node, "alpha", 1.0)), x.values)


@operator("Selu")
def selu(node: Node, _: Run, x: Draws) -> Array:
    """The self-normalising scaled Elu (Klambauer et al. 2017)."""
    return blockwise(_exponential(real(node, "alpha", SELU_ALPHA), real(node, "gamma", SELU_GAMMA)), x.values)


@operator("Celu")
def celu(node: Node, _: Run, x: Draws) -> Array:
    """x above zero, alpha (exp(x / alpha) - 1) below (Barron 2017)."""
    alpha = real(node, "alpha", 1.0)
    if alpha == 0:
        raise invalid("alpha is 0")
    return blockwise(_exponential(alpha, scale=alpha), x.values)


@operator("Sigmoid")
def logistic(_: Node, __: Run, x: Draws) -> Array:
    """1 / (1 + exp(-x))."""
    return blockwise(sigmoid, x.values)


@operator("HardSigmoid")
def hard_sigmoid(node: Node, _: Run, x: Draws) -> Array:
    """alpha x + beta cut to [0, 1]."""
    return _ramp(x.values, real(node, "alpha", 0.2), real(node, "beta", 0.5))


def _ramp(x: Array, alpha: float, beta: float) -> Array:
    result = x * alpha
    result += beta
    return np.clip(result, 0, 1, out=result)


@operator("HardSwish")
def hard_swish(_: Node, __: Run, x: Draws) -> Array:
    """x times the ramp x / 6 + 1/2 cut to [0, 1] (Howard et al. 2019)."""
    return blockwise(lambda block: block * _ramp(block, 1 / 6, 0.5), x.values)


@operator("Softplus")
def soft_plus(_: Node, __: Run, x: Draws) -> Array:
    """log(1 + exp(x))."""
    return blockwise(softplus, x.values)


@operator("Softsign")
def softsign(_: Node, __: Run, x: Draws) -> Array:
    """x / (1 + abs(x))."""
    return blockwise(lambda block: block / (np.abs(block) + 1), x.values)


def _mish(x: Array) -> Array:
    # tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2); beyond 20 it is 1 to the last bit of float64.
    e = np.exp(np.minimum(x, 20))
    e *= e + 2
    return x * (e / (e + 2))


@operator("Mish")
def mish(_: Node, __: Run, x: Draws) -> Array:
    """x tanh(softplus(x)) (Misra 2019)."""
    return blockwise(_mish, x.values)


def _gelu_tanh(x: Array) -> Array:
    inner = x * x
    inner *= 0.044715
    inner += 1
    inner *= x
    inner *= GELU_TANH
    np.tanh(inner, out=inner)
    inner += 1
    inner *= x
    inner *= 0.5
    return inner


@operator("Gelu")
def gaussian_unit(node: Node, _: Run, x: Draws) -> Array:
    """x Phi(x), exactly or by its tanh approximation."""
    approximate = text(node, "approximate", "none")
    if approximate not in {"none", "tanh"}:
        raise invalid(f"approximate {approximate!r} is neither none nor tanh")
    return blockwise(gelu if approximate == "none" else _gelu_tanh, x.values)


def _swish(alpha: float) -> Callable[[Array], Array]:
    def apply(x: Array) -> Array:
        result = sigmoid(x if alpha == 1 else x * alpha)
        result *= x
        return result

    return apply


@operator("Swish")
def swish(node: Node, _: Run, x: Draws) -> Array:
    """x sigmoid(alpha x)."""
    return blockwise(_swish(real(node, "alpha", 1.0)), x.values)


@operator("SwiGLU")
def swiglu(node: Node, run: Run, gate: Draws, value: Draws) -> Array:
    """The second input gated by the Swish of the first (Shazeer 2020)."""
    if gate.shape != value.shape:
        raise invalid(f"a gate of shape {gate.shape} for values of shape {value.shape}")
    run.claim(max(gate.values.shape[0], value.values.shape[0]), *value.shape)
    gates = blockwise(_swish(real(node, "alpha", 1.0)), gate.values)
    result: Array = gates * value.values
    return result


@operator("Shrink")
def shrink(node: Node, _: Run, x: Draws) -> Array:
    """Values moved by `bias` towards zero, zero within `lambd` of it."""
    bias, width = real(node, "bias", 0.0), real(node, "lambd", 0.5)
    values = x.values
    if values.dtype.kind != "f":
        bias = int(bias)
    low = np.where(values < -width, values + bias, values.dtype.type(0))
    return np.where(values > width, values - bias, low)
