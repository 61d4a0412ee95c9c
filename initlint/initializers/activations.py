"""What an activation does to the second moment of a unit normal signal: the arithmetic behind every target variance.

The second moment `E[phi(z)^2]`, z ~ N(0, 1), is integrated panel by panel with Gauss-Legendre nodes whose panels end at
the activation's kinks. Gauss-Hermite nodes, the textbook choice, are exact for polynomials only: with 200 of them ReLU6
is off in the fourth digit, because its derivative jumps between two nodes.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import pi, sqrt
from types import MappingProxyType
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from initlint.initializers.sampling import distinct
from initlint.operators.special import erf

__all__ = ["ACTIVATIONS", "Activation", "gain_of", "gauss_legendre", "second_moment"]

Floats: TypeAlias = npt.NDArray[np.float64]

SELU_ALPHA = 1.6732632423543772  # Klambauer et al. 2017, Self-Normalizing Neural Networks, equation 14
SELU_SCALE = 1.0507009873554805
NODES = 24  # Gauss-Legendre nodes a panel: analytic pieces of width 1 reach 1e-14
REACH = 14.0  # standard normal mass beyond is 1e-44: nothing an activation of at most exponential growth could revive


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))


def _softplus(x: Floats) -> Floats:
    return np.logaddexp(0.0, x)


def _normal_cdf(x: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * erf(x / sqrt(2.0)))


def _elu(x: Floats, alpha: float) -> Floats:
    return np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _celu(x: Floats, alpha: float) -> Floats:
    return np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha))


def _gelu_tanh(x: Floats) -> Floats:
    return np.asarray(0.5 * x * (1.0 + np.tanh(sqrt(2.0 / pi) * (x + 0.044715 * x**3))))


def _hard_sigmoid(x: Floats, alpha: float) -> Floats:
    return np.clip(alpha * x + 0.5, 0.0, 1.0)


def _soft_shrink(x: Floats, threshold: float) -> Floats:
    return np.asarray(np.sign(x) * np.maximum(np.abs(x) - threshold, 0.0))


class Activation(msgspec.Struct, frozen=True):
    """One activation: `function(x, parameter)`, the parameter's default, and the kinks where its pieces meet."""

    function: Callable[[Floats, float], Floats]
    default: float = 0.0
    kinks: Callable[[float], tuple[float, ...]] = lambda _: ()


def _zero(_parameter: float) -> tuple[float, ...]:
    return (0.0,)


def _symmetric(parameter: float) -> tuple[float, ...]:
    return (-parameter, parameter)


def _leaky(default: float) -> Activation:
    return Activation(lambda x, slope: np.where(x > 0.0, x, slope * x), default, _zero)


_SILU = Activation(lambda x, _: x * _sigmoid(x))
_HARD_SIGMOID = Activation(_hard_sigmoid, 0.2, lambda alpha: (-0.5 / alpha, 0.5 / alpha) if alpha else ())
_HARD_SWISH = Activation(lambda x, _: x * _hard_sigmoid(x, 1.0 / 6.0), 0.0, lambda _: (-3.0, 3.0))
_LINEAR = Activation(lambda x, _: x)
_SWISH = Activation(lambda x, beta: x * _sigmoid(beta * x), 1.0)

ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "linear": _LINEAR,
        "identity": _LINEAR,
        "relu": _leaky(0.0),
        "leaky_relu": _leaky(0.01),
        "prelu": _leaky(0.25),
        "rrelu": _leaky((1.0 / 8.0 + 1.0 / 3.0) / 2.0),
        "relu6": Activation(lambda x, _: np.clip(x, 0.0, 6.0), 0.0, lambda _: (0.0, 6.0)),
        "thresholded_relu": Activation(lambda x, at: np.where(x > at, x, 0.0), 1.0, lambda at: (at,)),
        "relu_squared": Activation(lambda x, _: np.maximum(x, 0.0) ** 2, 0.0, _zero),
        "tanh": Activation(lambda x, _: np.tanh(x)),
        "sigmoid": Activation(lambda x, _: _sigmoid(x)),
        "softsign": Activation(lambda x, _: x / (1.0 + np.abs(x)), 0.0, _zero),
        "hard_tanh": Activation(lambda x, limit: np.clip(x, -limit, limit), 1.0, _symmetric),
        "hard_sigmoid": _HARD_SIGMOID,
        "hard_swish": _HARD_SWISH,
        "elu": Activation(_elu, 1.0, _zero),
        "celu": Activation(_celu, 1.0, _zero),
        "selu": Activation(lambda x, _: SELU_SCALE * _elu(x, SELU_ALPHA), 0.0, _zero),
        "gelu": Activation(lambda x, _: x * _normal_cdf(x)),
        "gelu_tanh": Activation(lambda x, _: _gelu_tanh(x)),
        "quick_gelu": Activation(lambda x, alpha: x * _sigmoid(alpha * x), 1.702),
        "silu": _SILU,
        "swish": _SWISH,
        "mish": Activation(lambda x, _: x * np.tanh(_softplus(x))),
        "softplus": Activation(lambda x, _: _softplus(x)),
        "log_sigmoid": Activation(lambda x, _: -_softplus(-x)),
        "soft_shrink": Activation(_soft_shrink, 0.5, _symmetric),
        "hard_shrink": Activation(lambda x, at: np.where(np.abs(x) > at, x, 0.0), 0.5, _symmetric),
        "tanh_shrink": Activation(lambda x, _: x - np.tanh(x)),
        "erf": Activation(lambda x, _: erf(x)),
        "sin": Activation(lambda x, omega: np.sin(omega * x), 1.0),
        "cos": Activation(lambda x, omega: np.cos(omega * x), 1.0),
        "exp": Activation(lambda x, _: np.exp(x)),
        "abs": Activation(lambda x, _: np.abs(x), 0.0, _zero),
        "square": Activation(lambda x, _: x * x),
        # A gate multiplies an independent unit value, whose second moment is 1, by phi(gate).
        "glu": Activation(lambda x, _: _sigmoid(x)),
        "reglu": _leaky(0.0),
        "geglu": Activation(lambda x, _: x * _normal_cdf(x)),
        "swiglu": _SILU,
        # A softmax or a loss's output layer is initialised as a linear one.
        "softmax": _LINEAR,
        "log_softmax": _LINEAR,
    }
)


def second_moment(activation: str, parameter: float | None = None, std: float = 1.0) -> float | None:
    """`E[phi(std z)^2]` for z ~ N(0, 1); None for an activation that is not in the table.

    `parameter` is the activation's own (leaky slope, ELU alpha, threshold); None means its usual default.
    """
    entry = ACTIVATIONS.get(activation)
    if entry is None:
        return None
    return _integrate(activation, entry.default if parameter is None else float(parameter), float(std))


def gain_of(activation: str, parameter: float | None = None) -> float | None:
    """Factor by which the activation changes the second moment of a unit normal signal: 0.5 for ReLU, 1 for linear."""
    return second_moment(activation, parameter)


@lru_cache(maxsize=4)
def gauss_legendre(count: int) -> tuple[Floats, Floats]:
    """Nodes and weights on [-1, 1] from the eigenvectors of the Jacobi matrix (Golub and Welsch 1969).

    numpy's own are in its polynomials, whose import takes longer than most models.
    """
    order = np.arange(1.0, count)
    beside = order / np.sqrt(4.0 * order * order - 1.0)
    nodes, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    return nodes, 2.0 * vectors[0] ** 2


@lru_cache(maxsize=4096)
def _integrate(activation: str, parameter: float, std: float) -> float:
    entry = ACTIVATIONS[activation]
    if std <= 0.0:
        return float(entry.function(np.zeros(1), parameter)[0] ** 2)
    kinks = [kink / std for kink in entry.kinks(parameter) if abs(kink) < REACH * std]
    # A steep signal needs panels as narrow as the activation's own scale, down to 1/16, below which phi is a step.
    fine = 1.0 / min(max(std, 1.0), 16.0)
    centre = np.arange(-16.0, 16.0 + 0.5) * fine
    edges = distinct(np.concatenate([np.arange(-REACH, REACH + 0.5), centre, np.asarray(kinks)]))
    nodes, weights = gauss_legendre(NODES)
    half = np.diff(edges)[:, None] / 2.0
    z = (edges[:-1, None] + edges[1:, None]) / 2.0 + half * nodes
    density = np.exp(-0.5 * z * z) / sqrt(2.0 * pi)
    with np.errstate(over="ignore", under="ignore"):
        squared = np.minimum(entry.function(std * z, parameter) ** 2, 1e300)
    return float(np.sum(squared * density * weights * half))
