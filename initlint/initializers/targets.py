"""The variance a layer's weights should have for the activation that follows: He, Glorot, LeCun, or computed.

Two conventions of `torch.nn.init.calculate_gain` are *not* followed. Its tanh gain of 5/3 is a practical figure from
older recipes that lets a unit signal grow until tanh holds it (fixed point near 0.65); Glorot and Bengio derive 1. Its
SELU gain of 3/4 trades the self-normalising fixed point for flatter gradients, where Klambauer et al. prove that
variance 1/fan_in is the one whose fixed point is mean 0, variance 1.
"""

from math import isfinite, sqrt
from typing import NamedTuple

from initlint.initializers.activations import ACTIVATIONS, second_moment

__all__ = ["Target", "std_kept", "target_variance"]

HE = frozenset({"relu", "leaky_relu", "prelu", "rrelu", "reglu"})
GLOROT = frozenset({"linear", "identity", "tanh", "sigmoid", "softsign", "softmax", "log_softmax"})
LECUN = frozenset({"selu"})


class Target(NamedTuple):
    """Which rule gives the target (`he`, `glorot`, `lecun`, `computed`) and the variance it asks of the weights."""

    rule: str
    variance: float


def target_variance(
    activation: str, parameter: float | None, fan_in: float, fan_out: float, moment: float | None = None
) -> Target | None:
    """Variance the weights of a layer before `activation` should have; None where the activation or fans are unknown.

    `moment` is E[phi(z)^2], z ~ N(0, 1), of an activation that has no name here.

    He et al. 2015 (arXiv 1502.01852, equation 14 with the slope of section 2.2), Glorot and Bengio 2010 (equation 16),
    Klambauer et al. 2017 (LeCun's 1/fan_in); any other activation by the same argument: keep the second moment.
    """
    if not (isfinite(fan_in) and fan_in > 0.0 and isfinite(fan_out) and fan_out >= 0.0):
        return None
    if activation in GLOROT:
        return Target("glorot", 2.0 / (fan_in + fan_out))
    if activation in LECUN:
        return Target("lecun", 1.0 / fan_in)
    if activation in HE:
        slope = ACTIVATIONS[activation].default if parameter is None else parameter
        return Target("he", 2.0 / ((1.0 + slope * slope) * fan_in)) if isfinite(slope) else None
    gain = moment if moment is not None else second_moment(activation, parameter)
    if gain is None or not (isfinite(gain) and gain > 0.0):
        return None
    return Target("computed", 1.0 / (fan_in * gain))


def std_kept(variance: float, fan_in: float, activation: str, parameter: float | None = None) -> float | None:
    """Root mean square after the activation for a unit normal input: what one such layer keeps of the signal's scale.

    0.41 for PyTorch's default `nn.Linear` (variance 1/(3 fan_in)) under ReLU, 1.0 for He. None: unknown activation.
    """
    moment = second_moment(activation, parameter, std=sqrt(max(variance, 0.0) * fan_in))
    return None if moment is None else sqrt(moment)
