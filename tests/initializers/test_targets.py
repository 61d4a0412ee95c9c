"""Target variances and gains against torch, scipy quadrature and closed forms."""

from itertools import pairwise
from math import exp, isclose, pi, sqrt

import numpy as np
import pytest
import torch
from scipy import integrate

from initlint.initializers import gain_of, second_moment, std_kept, target_variance
from initlint.initializers.activations import ACTIVATIONS

TORCH_FUNCTIONS = {
    "relu": torch.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "relu6": torch.nn.functional.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softsign": torch.nn.functional.softsign,
    "hard_swish": torch.nn.functional.hardswish,
    "elu": torch.nn.functional.elu,
    "celu": torch.nn.functional.celu,
    "selu": torch.nn.functional.selu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "mish": torch.nn.functional.mish,
    "softplus": torch.nn.functional.softplus,
    "log_sigmoid": torch.nn.functional.logsigmoid,
    "soft_shrink": torch.nn.functional.softshrink,
    "hard_shrink": torch.nn.functional.hardshrink,
    "tanh_shrink": torch.nn.functional.tanhshrink,
}


@pytest.mark.parametrize("activation", sorted(TORCH_FUNCTIONS))
def test_the_functions_are_those_torch_computes(activation: str) -> None:
    """Every activation that torch has too returns torch's values, in float64."""
    x = torch.linspace(-8.0, 8.0, 1001, dtype=torch.float64)
    entry = ACTIVATIONS[activation]
    ours = entry.function(x.numpy(), entry.default)
    np.testing.assert_allclose(ours, TORCH_FUNCTIONS[activation](x).numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("std", [0.1, 1.0, 5.0])
def test_the_second_moment_is_that_of_adaptive_quadrature(activation: str, std: float) -> None:
    """The panel rule agrees with scipy's adaptive quadrature over the activation's pieces."""
    entry = ACTIVATIONS[activation]
    kinks = [kink / std for kink in entry.kinks(entry.default) if abs(kink) < 14.0 * std]
    edges = sorted({-14.0, -4.0, 0.0, 4.0, 14.0, *kinks})
    reference = sum(
        integrate.quad(
            lambda z: (
                float(entry.function(np.array([std * z]), entry.default)[0] ** 2 * exp(-z * z / 2)) / sqrt(2 * pi)
            ),
            left,
            right,
            epsrel=1e-11,
            limit=200,
        )[0]
        for left, right in pairwise(edges)
    )
    computed = second_moment(activation, std=std)
    assert computed is not None
    assert isclose(computed, reference, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", 0.5),
        ("abs", 1.0),
        ("selu", 1.0),
        ("square", 3.0),
        ("sin", (1.0 - exp(-2.0)) / 2.0),
        ("exp", exp(2.0)),
        ("linear", 1.0),
        ("relu_squared", 1.5),
    ],
)
def test_gains_with_a_closed_form_are_met(activation: str, expected: float) -> None:
    """Where E[phi(z)^2] is known in closed form, the gain is that number."""
    gain = gain_of(activation)
    assert gain is not None
    assert isclose(gain, expected, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("activation", "slope"), [("relu", None), ("leaky_relu", 0.01), ("leaky_relu", 0.2), ("linear", None)]
)
def test_he_and_linear_targets_are_torchs_gain_squared(activation: str, slope: float | None) -> None:
    """For square layers the ReLU family and linear ones get torch's own calculate_gain squared over fan-in."""
    target = target_variance(activation, slope, 300.0, 300.0)
    assert target is not None
    assert isclose(target.variance, torch.nn.init.calculate_gain(activation, slope) ** 2 / 300.0, rel_tol=1e-12)


def test_sigmoid_follows_torch_and_tanh_and_selu_do_not() -> None:
    """Sigmoid's gain is 1 in both; torch's 5/3 for tanh and 3/4 for SELU are conventions that are not followed."""
    for activation, followed in (("sigmoid", True), ("tanh", False), ("selu", False)):
        target = target_variance(activation, None, 64.0, 64.0)
        assert target is not None
        assert isclose(target.variance, 1.0 / 64.0)
        assert isclose(torch.nn.init.calculate_gain(activation), 1.0) is followed


@pytest.mark.parametrize(
    ("activation", "parameter", "rule", "variance"),
    [
        ("relu", None, "he", 2.0 / 100.0),
        ("leaky_relu", 0.5, "he", 2.0 / 125.0),
        ("prelu", 1.0, "he", 1.0 / 100.0),
        ("tanh", None, "glorot", 2.0 / 150.0),
        ("linear", None, "glorot", 2.0 / 150.0),
        ("softmax", None, "glorot", 2.0 / 150.0),
        ("selu", None, "lecun", 1.0 / 100.0),
        ("square", None, "computed", 1.0 / 300.0),
    ],
)
def test_each_activation_gets_its_rule(activation: str, parameter: float | None, rule: str, variance: float) -> None:
    """He for the ReLU family with its slope, Glorot for tanh and linear, LeCun for SELU, the rest computed."""
    assert target_variance(activation, parameter, 100.0, 50.0) == (rule, pytest.approx(variance, rel=1e-12))


def test_a_computed_target_keeps_the_second_moment_of_a_sampled_layer() -> None:
    """Weights drawn at GELU's target keep the mean square of unit inputs within the sampling error."""
    generator = np.random.default_rng(0)
    target = target_variance("gelu", None, 512.0, 512.0)
    assert target is not None
    signal = generator.standard_normal((512, 512))
    weights = generator.standard_normal((512, 512)) * sqrt(target.variance)
    # E[phi(z)^2] is taken at unit variance, so the fixed point is one of phi(weights @ unit signal scaled by the gain).
    gain = gain_of("gelu")
    assert gain is not None
    after = torch.nn.functional.gelu(torch.tensor(weights @ signal * sqrt(gain))).numpy()
    assert isclose(float(np.mean(after**2)), gain, rel_tol=0.02)


@pytest.mark.parametrize(
    ("activation", "fan_in"), [("unknown", 10.0), ("relu", 0.0), ("relu", float("nan")), ("relu", float("inf"))]
)
def test_what_cannot_be_known_is_none(activation: str, fan_in: float) -> None:
    """An activation outside the table and a meaningless fan give None, not a guess."""
    assert target_variance(activation, None, fan_in, 10.0) is None


def test_the_torch_default_keeps_041_under_relu() -> None:
    """PyTorch's default nn.Linear under ReLU keeps sqrt(1/6) of the signal, He keeps all of it."""
    assert std_kept(1.0 / 300.0, 100.0, "relu") == pytest.approx(sqrt(1.0 / 6.0), rel=1e-12)
    assert std_kept(2.0 / 100.0, 100.0, "relu") == pytest.approx(1.0, rel=1e-12)
    assert std_kept(2.0 / 100.0, 100.0, "unknown") is None


def test_a_saturating_activation_never_keeps_more_than_its_range() -> None:
    """However large the weights, tanh gives at most 1."""
    kept = [std_kept(scale / 100.0, 100.0, "tanh") for scale in (1.0, 16.0, 1e4, 1e8)]
    assert all(value is not None and value <= 1.0 for value in kept)
    assert kept == sorted(kept, key=float)
