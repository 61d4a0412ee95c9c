"""The activation behind a layer is recognised whatever exporter, opset or optimiser wrote it."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from scipy import integrate
from torch import Tensor, nn

from initlint.index import index_of
from initlint.layers import Layer, find_layers
from initlint.model import open_model

QUICK = 1.702

NEWER = frozenset({"celu", "mish", "hard_swish"})  # not in the oldest opsets


class Written(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return self.function(x)


ACTIVATIONS: dict[str, tuple[nn.Module, float | None]] = {
    "relu": (nn.ReLU(), None),
    "leaky_relu": (nn.LeakyReLU(0.2), 0.2),
    "elu": (nn.ELU(0.7), 0.7),
    "selu": (nn.SELU(), None),
    "celu": (nn.CELU(1.3), 1.3),
    "gelu": (nn.GELU(), None),
    "gelu_tanh": (nn.GELU("tanh"), None),
    "quick_gelu": (Written(lambda x: x * torch.sigmoid(QUICK * x)), None),
    "silu": (nn.SiLU(), None),
    "mish": (nn.Mish(), None),
    "hard_swish": (nn.Hardswish(), None),
    "hard_sigmoid": (nn.Hardsigmoid(), 1 / 6),
    "hard_tanh": (nn.Hardtanh(), 1.0),
    "relu6": (nn.ReLU6(), None),
    "tanh": (nn.Tanh(), None),
    "sigmoid": (nn.Sigmoid(), None),
    "softsign": (nn.Softsign(), None),
    "softplus": (nn.Softplus(), None),
    "log_sigmoid": (nn.LogSigmoid(), None),
    "relu_squared": (Written(lambda x: torch.relu(x) ** 2), None),
    "tanh_shrink": (nn.Tanhshrink(), None),
}


def layers_of(path: Path | bytes) -> tuple[Layer, ...]:
    with open_model(path if isinstance(path, bytes) else str(path)) as model:
        return find_layers(model, index_of(model))


def exported(network: nn.Module, path: Path, *, dynamo: bool, opset: int, width: int = 8) -> Path:
    x = torch.randn(2, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(network, (x,), str(path), dynamo=True, verbose=False, opset_version=opset)
        else:
            torch.onnx.export(network, (x,), str(path), dynamo=False, opset_version=opset)
    return path


@pytest.mark.parametrize(("dynamo", "opset"), [(False, 9), (False, 13), (False, 17), (True, 18)])
def test_activations_of_torch_are_recognised(*, dynamo: bool, opset: int, tmp_path: Path) -> None:
    """Decomposed into ten nodes or written as one, before the next layer and behind the one before."""
    usual = {name: entry for name, entry in ACTIVATIONS.items() if opset >= 14 or name not in NEWER}
    parts: list[nn.Module] = []
    for module, _ in usual.values():
        parts += [nn.Linear(8, 8), module]
    network = nn.Sequential(*parts, nn.Linear(8, 8)).eval()
    found = layers_of(exported(network, tmp_path / "m.onnx", dynamo=dynamo, opset=opset))
    assert [layer.activation for layer in found] == [*usual, "linear"]
    assert [layer.input_activation for layer in found] == ["linear", *usual]
    for layer, (_, parameter) in zip(found, usual.values(), strict=False):
        if parameter is not None:
            assert layer.activation_parameter == pytest.approx(parameter, rel=1e-5)


TEXT = """<ir_version: 9, opset_import: ["" : 17]>
m (float[N,8] x) => (float[N,8] y) <float[8,8] w, float[8] b, float one = {1}, float tenth = {0.1}, float half = {0.5}>
{
"""


def written(body: str, **tensors: np.ndarray) -> bytes:
    """A model in onnx's text form; `w` and `b` are filled unless given."""
    model = onnx.parser.parse_model(TEXT + body + "}")
    drawn = np.random.default_rng(1)
    values = {"w": drawn.normal(size=(8, 8)), "b": drawn.normal(size=8), **tensors}
    kept = [item for item in model.graph.initializer if item.name not in values]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for name, value in values.items():
        dtype = value.dtype if value.dtype.kind in "iu" else np.float32
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(dtype), name))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("body", "activation"),
    [
        ("h = MatMul(x, w)\n b1 = Add(h, b)\n y = Relu(b1)", "relu"),
        ("h = MatMul(x, w)\n s = Mul(h, b)\n t = Add(s, b)\n y = Tanh(t)", "tanh"),
        ("h = MatMul(x, w)\n y = Identity(h)", "linear"),
        ("h = MatMul(x, w)\n y = Add(h, x)", "linear"),
        ("h = MatMul(x, w)\n a = Relu(h)\n y = Add(a, h)", "unknown"),
        ("h = MatMul(x, w)\n n = Neg(h)\n e = Exp(n)\n a = Add(e, one)\n y = Reciprocal(a)", "sigmoid"),
        ("h = MatMul(x, w)\n e = Exp(h)\n a = Add(e, one)\n y = Log(a)", "softplus"),
        ("h = MatMul(x, w)\n s = Sigmoid(h)\n g = Mul(s, x)\n y = Relu(g)", "sigmoid"),
        ("h = MatMul(x, w)\n y = Max(h, nought)", "relu"),
        ("h = MatMul(x, w)\n y = Clip(h, nought)", "relu"),
        (
            (
                "h = MatMul(x, w)\n m = ReduceMean <axes = [-1]> (h)\n c = Sub(h, m)\n q = Mul(c, c)\n v = ReduceMean <axes = [-1]> (q)\n"
                " e = Add(v, tenth)\n r = Sqrt(e)\n n = Div(c, r)\n g = Mul(n, b)\n y = Relu(g)"
            ),
            "relu",
        ),
        ("h = MatMul(x, w)\n n = LayerNormalization(h, b)\n y = Tanh(n)", "tanh"),
    ],
)
def test_what_lies_between_does_not_hide_it(body: str, activation: str) -> None:
    """Biases, factors per channel, normalisations written out, gates, other readers; sums end the search."""
    assert layers_of(written(body, nought=np.zeros(())))[0].activation == activation


def test_the_written_form_of_magikas_gelu_is_gelu() -> None:
    """x^3 as products of the value with itself does not look like a gate."""
    body = """h = MatMul(x, w)
 a = Mul(c0, h)
 b2 = Mul(h, a)
 b3 = Mul(h, b2)
 s = Add(h, b3)
 t = Mul(c1, s)
 u = Tanh(t)
 v = Add(one, u)
 z = Mul(half, v)
 y = Mul(h, z)"""
    found = layers_of(written(body, c0=np.array(0.044715), c1=np.array((2 / np.pi) ** 0.5)))[0]
    assert (found.activation, found.activation_output) == ("gelu_tanh", "y")


def test_a_function_without_a_name_gets_its_second_moment_from_the_graph() -> None:
    """tanh(x) + x/10 is integrated as it stands."""
    found = layers_of(written("h = MatMul(x, w)\n t = Tanh(h)\n d = Mul(h, tenth)\n y = Add(t, d)"))[0]
    assert (found.activation, found.activation_output) == ("unknown", "y")
    density = lambda z: np.exp(-z * z / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    reference = integrate.quad(lambda z: (np.tanh(z) + 0.1 * z) ** 2 * density(z), -12, 12, epsrel=1e-11)[0]
    assert found.activation_moment == pytest.approx(reference, rel=1e-6)


@pytest.mark.parametrize(("zero", "activation"), [(0, "relu"), (128, "linear")])
def test_a_rectifier_that_quantisation_took_in_is_seen(zero: int, activation: str) -> None:
    """Codes that start at zero store every negative value as zero."""
    body = "h = MatMul(x, w)\n q = QuantizeLinear(h, tenth, z)\n y = DequantizeLinear(q, tenth, z)"
    assert layers_of(written(body, z=np.array(zero, np.uint8)))[0].activation == activation
