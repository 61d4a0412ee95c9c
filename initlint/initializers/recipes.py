"""The line of code that gives a layer the weights it should have, in PyTorch and in Keras.

A named initialiser is offered only where its own arithmetic (`torch.nn.init`, `keras.initializers`) gives the wanted std for
the layer's shape; transposed and grouped convolutions and recurrent gates get the std itself.
"""

import re
from math import isclose, sqrt
from typing import NamedTuple

__all__ = ["Recipe", "bias_recipe", "weight_recipe"]

PARAMETER = re.compile(r"\w+(\.\w+)+", re.ASCII)  # as `named_parameters` spells it
LONGEST = 120
PLAIN = frozenset({"Gemm", "MatMul", "Conv"})
NEAR = 0.02  # relative: a fan counted with or without a border is no other initialiser


class Recipe(NamedTuple):
    """One line for each framework."""

    pytorch: str
    keras: str


def weight_recipe(
    op: str, slot: str, weight: str, rule: str, std: float, fans: tuple[float, float], groups: float
) -> Recipe:
    """How to draw the weights of a layer with `std`, the target of `rule`.

    `fans` are fan-in and fan-out as the frameworks count them: from the shape of the weight alone.
    """
    name = _tensor(weight)
    fan_in, fan_out = fans
    if op in PLAIN and groups == 1:
        slope = sqrt(max(2 / (std**2 * fan_in) - 1, 0.0)) if rule == "he" else 0.0
        slope = slope if slope**2 > NEAR else 0.0
        named = {
            "he": (sqrt(2 / ((1 + slope**2) * fan_in)), *_he(name, slope)),
            "glorot": (sqrt(2 / (fan_in + fan_out)), f"torch.nn.init.xavier_normal_({name})", '"glorot_normal"'),
            "lecun": (
                sqrt(1 / fan_in),
                f'torch.nn.init.kaiming_normal_({name}, nonlinearity="linear")',
                '"lecun_normal"',
            ),
        }
        if rule in named and isclose(named[rule][0], std, rel_tol=NEAR):
            return Recipe(named[rule][1], f"kernel_initializer={named[rule][2]}")
    kernel = "recurrent_initializer" if slot == "R" else "kernel_initializer"
    return Recipe(
        f"torch.nn.init.normal_({name}, std={std:.4g})", f"{kernel}=keras.initializers.RandomNormal(stddev={std:.4g})"
    )


def _he(name: str, slope: float) -> tuple[str, str]:
    if slope == 0:
        return f'torch.nn.init.kaiming_normal_({name}, nonlinearity="relu")', '"he_normal"'
    scaling = f'keras.initializers.VarianceScaling({2 / (1 + slope**2):.4g}, "fan_in", "untruncated_normal")'
    return f'torch.nn.init.kaiming_normal_({name}, a={slope:.4g}, nonlinearity="leaky_relu")', scaling


def bias_recipe(bias: str) -> Recipe:
    """How to set a bias back."""
    return Recipe(f"torch.nn.init.zeros_({_tensor(bias, 'layer.bias')})", 'bias_initializer="zeros"')


def _tensor(name: str, otherwise: str = "layer.weight") -> str:
    """The parameter by its name, where the file has kept what PyTorch calls it."""
    if PARAMETER.fullmatch(name) and name.endswith((".weight", ".bias")) and len(name) <= LONGEST:
        return f'model.get_parameter("{name}")'
    return otherwise
