"""The verdict on a layer: fresh, trained or unknown, on drawn, spoilt and really trained weights."""

from math import sqrt

import hypothesis.extra.numpy as arrays
import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

from initlint.initializers import bias_kind, examine


def default(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Weights of nn.Linear at its default."""
    torch.manual_seed(seed)
    return nn.Linear(shape[1], shape[0]).weight.detach().numpy()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(64, 64), (10, 512), (256, 1024), (2000, 128)])
def test_fresh_layers_are_fresh_in_every_dtype(shape: tuple[int, int], dtype: type) -> None:
    """At least 18 of 20 default layers are called fresh, and none trained, whatever the dtype they are stored in."""
    verdicts = [examine(default(shape, seed).astype(dtype), *map(float, shape[::-1])).verdict for seed in range(20)]
    assert verdicts.count("fresh") >= 18
    assert "trained" not in verdicts


@pytest.fixture(scope="module")
def trained() -> nn.Sequential:
    """Train a small network for a moment on a task that needs its hidden layers."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(32, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))
    teacher = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 10))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(300):
        x = torch.randn(256, 32)
        loss = nn.functional.cross_entropy(network(x), (3.0 * teacher(x)).argmax(1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


def test_a_network_trained_for_a_second_is_not_fresh(trained: nn.Sequential) -> None:
    """After 300 steps of Adam the hidden layer's weights are plainly no independent draws."""
    hidden = trained[2]
    assert isinstance(hidden, nn.Linear)
    origin = examine(hidden.weight.detach().numpy(), 96.0, 96.0, bias=hidden.bias.detach().numpy())
    assert origin.verdict == "trained"
    assert origin.scheme.name == "unknown"
    assert "not independent" in origin.reason


def test_quantising_and_pruning_a_trained_layer_does_not_make_it_fresh(trained: nn.Sequential) -> None:
    """8 bits, 4 bits and removing half the weights leave a trained layer trained."""
    hidden = trained[2]
    assert isinstance(hidden, nn.Linear)
    weight = hidden.weight.detach().numpy()
    for levels in (127, 7):
        step = np.abs(weight).max() / levels
        assert examine(np.round(weight / step) * step, 96.0, 96.0).verdict == "trained"
    pruned = np.where(np.abs(weight) > np.median(np.abs(weight)), weight, 0.0)
    assert examine(pruned, 96.0, 96.0).verdict != "fresh"


def test_a_low_rank_update_of_a_fresh_layer_is_training() -> None:
    """Adding a rank-4 update of a fifth of the weights' size to a fresh layer is seen."""
    generator = np.random.default_rng(0)
    weight = default((256, 256))
    update = generator.standard_normal((256, 4)) @ generator.standard_normal((4, 256))
    update *= 0.2 * weight.std() / update.std() * sqrt(256.0 / 64.0)
    assert examine(weight + update.astype(np.float32), 256.0, 256.0).verdict == "trained"


@pytest.mark.parametrize(
    "weight",
    [
        np.zeros((64, 64)),
        np.full((64, 64), 0.01),
        np.eye(64),
        np.linalg.qr(np.random.default_rng(0).standard_normal((128, 128)))[0],
        np.random.default_rng(0).standard_normal((4, 9)),
        np.zeros((0, 5)),
        np.full((3, 5), np.nan),
    ],
    ids=["zeros", "constant", "identity", "orthogonal", "small", "empty", "nan"],
)
def test_what_cannot_be_told_is_unknown(weight: np.ndarray) -> None:
    """Degenerate, orthogonal, tiny, empty and broken weights are neither fresh nor trained."""
    origin = examine(weight, 64.0, 64.0)
    assert origin.verdict == "unknown"
    assert origin.reason


def test_faults_put_into_a_fresh_layer_do_not_make_it_trained() -> None:
    """Scaling by 4, dead rows and one infinity leave a fresh layer's verdict."""
    weight = default((96, 128))
    dead = weight.copy()
    dead[::2] = 0.0
    broken = weight.copy()
    broken[3, 5] = np.inf
    for spoilt in (weight * 4.0, weight * 1e-3, dead, broken):
        assert examine(spoilt, 128.0, 96.0).verdict == "fresh"


@pytest.mark.parametrize("spoil", ["outlier", "sparse"])
def test_single_huge_entries_are_no_sign_of_training(spoil: str) -> None:
    """One outlier, or a few entries among zeros, make a large singular value without any correlation: unknown."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((64, 64))
    if spoil == "outlier":
        weight[3, 5] = 1e6
    else:
        weight[generator.uniform(size=weight.shape) > 0.01] = 0.0
    assert examine(weight, 64.0, 64.0).verdict == "unknown"


def test_a_learned_bias_speaks_against_a_normal_layer_of_no_scheme() -> None:
    """Normal weights of no known std are fresh beside a zero bias and unknown beside a learned one."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((96, 128)) * 0.3333
    assert examine(weight, 128.0, 96.0, bias=np.zeros(96)).verdict == "fresh"
    assert examine(weight, 128.0, 96.0, bias=generator.standard_normal(96)).verdict == "unknown"


@pytest.mark.parametrize(
    ("bias", "kind"),
    [
        (None, "none"),
        (np.zeros(0), "none"),
        (np.zeros(64), "zero"),
        (np.random.default_rng(0).standard_normal(64) * 1e-6, "zero"),
        (np.full(64, 0.01), "constant"),
        (np.repeat([0.0, 1.0, 0.0, 0.0], 16), "constant"),
        (np.array([0.3]), "unknown"),
        (np.array([0.3, 0.1, -0.2]), "unknown"),
        (np.full(64, np.nan), "unknown"),
        (np.random.default_rng(0).standard_normal(64), "learned"),
    ],
)
def test_biases_are_named(bias: np.ndarray | None, kind: str) -> None:
    """Absent, zero, constant, unreadable and learned biases are told apart."""
    assert bias_kind(bias, 0.05, 100.0, 64.0) == kind


@pytest.mark.parametrize("module", [nn.Linear(100, 64), nn.Conv2d(4, 64, 5), nn.Conv1d(50, 32, 2)])
def test_torch_default_biases_are_drawn(module: nn.Module) -> None:
    """Biases of torch's modules lie within the bound that their weights' fan-in sets."""
    bias = module.get_parameter("bias").detach().numpy()
    assert bias_kind(bias, 0.05, 100.0, 64.0) == "drawn"


@pytest.mark.parametrize("rows", [slice(None), slice(None, None, 4)])
def test_scales_per_output_leave_a_fresh_layer_fresh(rows: slice) -> None:
    """8-bit weights with a scale for each output, dequantised, are still seen as draws."""
    verdicts = []
    for seed in range(20):
        weight = default((256, 256), seed)[rows]
        step = np.abs(weight).max(axis=1, keepdims=True) / 127.0
        verdicts.append(examine(np.round(weight / step) * step, 256.0, 256.0).verdict)
    assert verdicts.count("fresh") >= 18


def test_the_same_weights_give_the_same_verdict() -> None:
    """Nothing in the examination is random."""
    weight = default((512, 384), 3)
    assert examine(weight, 384.0, 512.0) == examine(weight.copy(), 384.0, 512.0)


@settings(max_examples=150, deadline=None)
@given(
    weight=arrays.arrays(
        some.sampled_from([np.float32, np.float64, np.float16, np.int8, np.uint8]),
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40),
    ),
    scale=some.sampled_from([1.0, 1e-300, 1e300]),
    fans=some.tuples(some.floats(), some.floats()),
)
def test_no_weight_is_an_error(weight: np.ndarray, scale: float, fans: tuple[float, float]) -> None:
    """Whatever the values, shape, scale and fans, there is a verdict with finite figures."""
    with np.errstate(all="ignore"):
        values = weight.astype(np.float64) * scale
    origin = examine(values, *fans, bias=values.ravel()[:9])
    assert origin.verdict in {"fresh", "trained", "unknown"}
    assert np.isfinite([origin.scheme.std, origin.scheme.p_value, origin.scheme.chance]).all()
    if origin.independence is not None:
        assert np.isfinite([score for _, score in origin.independence.scores]).all()
        assert 0.0 <= origin.independence.p_value <= 1.0
