"""The lines of code that findings offer: PyTorch runs them, Keras's documented arithmetic agrees with them."""

import re
from math import prod, sqrt
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import initlint
from initlint.initializers.recipes import bias_recipe, weight_recipe
from tests.benchmarks.zoo import export

CASES = {
    "relu": (nn.Linear(256, 192), nn.ReLU()),
    "leaky": (nn.Linear(256, 192), nn.LeakyReLU(0.3)),
    "tanh": (nn.Linear(256, 192), nn.Tanh()),
    "selu": (nn.Linear(256, 192), nn.SELU()),
    "gelu": (nn.Linear(256, 192), nn.GELU()),
    "strided": (nn.Conv2d(32, 64, 3, stride=2), nn.ReLU()),
    "strided tanh": (nn.Conv2d(32, 64, 3, stride=2), nn.Tanh()),
    "grouped": (nn.Conv2d(32, 64, 3, groups=4), nn.ReLU()),
    "depthwise": (nn.Conv2d(96, 96, 5, groups=96), nn.ReLU()),
    "transposed": (nn.ConvTranspose2d(32, 64, 4, stride=2), nn.ReLU()),
}


def keras_std(code: str, shape: tuple[int, ...]) -> float:
    """Std of a Keras initialiser's draws for a kernel `[out, in, *taps]`, by the definitions of its documentation."""

    def scaling(scale: float, mode: str, _distribution: str) -> float:
        fan_in, fan_out = prod(shape[1:]), shape[0] * prod(shape[2:])
        return sqrt(scale / {"fan_in": fan_in, "fan_avg": (fan_in + fan_out) / 2}[mode])

    named = {
        "he_normal": (2.0, "fan_in"),
        "glorot_normal": (1.0, "fan_avg"),
        "lecun_normal": (1.0, "fan_in"),
    }
    initializers = SimpleNamespace(VarianceScaling=scaling, RandomNormal=lambda stddev: stddev)
    value = eval(code.split("=", 1)[1], {"keras": SimpleNamespace(initializers=initializers)})  # noqa: S307 - our own text
    return scaling(*named[value], "") if isinstance(value, str) else value


@pytest.mark.parametrize("case", CASES)
def test_the_line_gives_the_target_std(tmp_path: Path, case: str) -> None:
    """What the finding tells a user to write gives the layer the std that the finding wants."""
    torch.manual_seed(0)
    layer, activation = CASES[case]
    network = nn.Sequential(layer, activation)
    shape = (1, 256) if isinstance(layer, nn.Linear) else (1, layer.in_channels, 12, 12)
    with torch.no_grad():
        layer.weight.mul_(30.0)  # so that it is found
    path = tmp_path / "model.onnx"
    export(case, lambda: (network, (torch.randn(shape),)), path, dynamo=False)
    (row,) = initlint.check(path, isolation="none").layers
    assert row["weight"] == "0.weight"
    exec(row["pytorch_init"], {"torch": torch, "model": network})  # noqa: S102 - our own text
    spread = 4 / sqrt(2 * layer.weight.numel())
    assert float(layer.weight.detach().std()) == pytest.approx(row["target_std"], rel=spread + 0.02)
    kernel = tuple(layer.weight.shape)
    assert keras_std(row["keras_init"], kernel) == pytest.approx(row["target_std"], rel=0.02)


@pytest.mark.parametrize(
    ("rule", "slope", "named"),
    [
        ("he", 0.0, ('kaiming_normal_(layer.weight, nonlinearity="relu")', '"he_normal"')),
        ("he", 0.2, ('kaiming_normal_(layer.weight, a=0.2, nonlinearity="leaky_relu")', "VarianceScaling(1.923")),
        ("glorot", 0.0, ("xavier_normal_(layer.weight)", '"glorot_normal"')),
        ("lecun", 0.0, ('kaiming_normal_(layer.weight, nonlinearity="linear")', '"lecun_normal"')),
        ("computed", 0.0, ("normal_(layer.weight, std=", "RandomNormal(stddev=")),
    ],
)
def test_an_initialiser_with_a_name_is_called_by_it(rule: str, slope: float, named: tuple[str, str]) -> None:
    """A plain layer gets the framework's own initialiser; a std without a name is written out."""
    std = {"he": sqrt(2 / ((1 + slope**2) * 100)), "glorot": sqrt(2 / 150), "lecun": 0.1, "computed": 0.13}[rule]
    recipe = weight_recipe("Gemm", "weight", "onnx::Gemm_3", rule, std, (100.0, 50.0), 1)
    assert named[0] in recipe.pytorch
    assert named[1] in recipe.keras


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("net.0.weight", 'model.get_parameter("net.0.weight")'),
        ("onnx::MatMul_14", "layer.weight"),
        ('x"); import os; ("a.weight', "layer.weight"),
        ("a." * 200 + "weight", "layer.weight"),
        ("net.0.running_mean", "layer.weight"),
    ],
)
def test_a_parameter_is_called_by_its_name_only_where_it_is_one(name: str, written: str) -> None:
    """A tensor's name enters the line only when it is a path as PyTorch writes it: the line will be pasted."""
    recipe = weight_recipe("Gemm", "weight", name, "glorot", 0.1, (100.0, 100.0), 1)
    assert recipe.pytorch == f"torch.nn.init.xavier_normal_({written})"


def test_a_bias_goes_back_to_zero() -> None:
    """The line for a bias."""
    layer = nn.Linear(3, 3)
    recipe = bias_recipe("fc.bias")
    assert recipe.pytorch == 'torch.nn.init.zeros_(model.get_parameter("fc.bias"))'
    exec(recipe.pytorch, {"torch": torch, "model": nn.ModuleDict({"fc": layer})})  # noqa: S102 - our own text
    assert not layer.bias.any()


def test_the_finding_tells_the_line_for_the_layer_it_blames(tmp_path: Path) -> None:
    """A bias that took over is set back; weights that are too large are drawn anew."""
    torch.manual_seed(0)
    network = nn.Sequential(*(part for _ in range(5) for part in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 8))
    for module in network[::2]:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    path = tmp_path / "model.onnx"

    def fix_of(spoil: str, factor: float, shift: float) -> str:
        export("line", lambda: (network, (torch.randn(1, 64),)), path, dynamo=False)
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if tensor.name == spoil:
                values = numpy_helper.to_array(tensor) * np.float32(factor) + np.float32(shift)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save(model, path)
        findings = initlint.check(path, isolation="none").findings
        return next(item.fix for item in findings if item.severity == "error")

    assert re.search(r'kaiming_normal_\(model.get_parameter\("4.weight"\)', fix_of("4.weight", 800.0, 0.0))
    assert re.search(r'zeros_\(model.get_parameter\("4.bias"\)', fix_of("4.bias", 1.0, -60.0))
