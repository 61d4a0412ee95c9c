"""Recognising distributions, against scipy's and torch's samplers."""

import numpy as np
import pytest
import torch
from scipy import stats

from initlint.initializers.sampling import part_of, spread_levels
from initlint.initializers.shapes import LEVELS, Shape, degenerate_shape, drawn_shape, orthogonal_gain


def shape_of(weight: np.ndarray) -> Shape:
    """Name a weight's shape, degenerate ones first."""
    part = part_of(weight)
    return degenerate_shape(part, weight) or drawn_shape(part)


def draw(kind: str, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Sample a weight of a distribution with torch's initialisers, or scipy's truncated normal."""
    torch.manual_seed(seed)
    weight = torch.empty(shape)
    match kind:
        case "normal":
            torch.nn.init.normal_(weight, std=0.03)
        case "uniform":
            torch.nn.init.uniform_(weight, -0.2, 0.2)
        case "orthogonal":
            torch.nn.init.orthogonal_(weight, 1.4)
        case _:
            values = stats.truncnorm.rvs(-2.0, 2.0, scale=0.05, size=shape, random_state=seed)
            weight = torch.tensor(values, dtype=torch.float32)
    return weight.numpy()


@pytest.mark.parametrize("kind", ["normal", "truncated_normal", "uniform", "orthogonal"])
@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (16, 128), (128, 576)])
def test_samples_are_recognised(kind: str, shape: tuple[int, int]) -> None:
    """Of 40 samples of each distribution, none is taken for another and at most two for unknown."""
    names = [shape_of(draw(kind, shape, seed)).kind for seed in range(40)]
    assert set(names) <= {kind, "unknown"}
    assert names.count(kind) >= 38


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("laplace", lambda g: g.laplace(size=(64, 64))),
        ("student", lambda g: g.standard_t(5, size=(64, 64))),
        ("triangular", lambda g: g.uniform(-1, 1, (64, 64)) + g.uniform(-1, 1, (64, 64))),
        ("shifted", lambda g: g.standard_normal((64, 64)) + 0.2),
        ("soft uniform", lambda g: g.uniform(-1, 1, (64, 64)) + 0.02 * g.standard_normal((64, 64))),
        ("mixture", lambda g: g.standard_normal((64, 64)) * np.where(np.arange(64) % 2, 1.0, 0.3)),
        ("pruned", lambda g: g.standard_normal((64, 64)) * (g.uniform(size=(64, 64)) > 0.2)),
    ],
)
def test_other_distributions_are_unknown(name: str, values: object) -> None:
    """Heavy tails, shifts, mixtures, blurred edges and pruning are no initialiser's draw."""
    assert callable(values)
    assert shape_of(values(np.random.default_rng(11))).kind == "unknown", name


def test_degenerate_shapes_are_named() -> None:
    """Zeros, constants and (scaled, rectangular) identities are told apart."""
    assert shape_of(np.zeros((8, 8))).kind == "zeros"
    assert shape_of(np.full((8, 8), 0.01)).kind == "constant"
    assert shape_of(np.eye(8, 20) * 3.0).kind == "identity"


@pytest.mark.parametrize("shape", [(64, 64), (32, 256), (512, 128), (8, 100)])
@pytest.mark.parametrize("gain", [0.01, 1.0, 1.414])
def test_an_orthogonal_gain_is_torchs(shape: tuple[int, int], gain: float) -> None:
    """The common length of rows or columns is the gain given to torch's orthogonal_, also after 8-bit rounding."""
    torch.manual_seed(0)
    weight = torch.nn.init.orthogonal_(torch.empty(shape), gain).numpy()
    step = np.abs(weight).max() / 127.0
    for values in (weight, np.round(weight / step) * step):
        assert orthogonal_gain(np.asarray(values, np.float64)) == pytest.approx(gain, rel=0.01)
    assert orthogonal_gain(np.random.default_rng(0).standard_normal(shape)) is None


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["normal", "uniform", "truncated_normal"])
def test_quantised_values_keep_their_shape(kind: str, bits: int) -> None:
    """Rounding a weight to 15 or 255 levels leaves its distribution recognisable."""
    names = []
    for seed in range(10):
        weight = draw(kind, (96, 96), seed)
        step = np.abs(weight).max() / (2 ** (bits - 1) - 1)
        names.append(shape_of(np.round(weight / step) * step).kind)
    # Cells of half a standard deviation are too wide for a normal's curvature: some samples of 15 levels stay unknown.
    assert names.count(kind) >= (3 if (kind, bits) == ("normal", 4) else 9)
    assert set(names) <= {kind, "unknown"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("kind", ["normal", "uniform", "truncated_normal"])
def test_low_precision_floats_keep_their_shape(kind: str, dtype: torch.dtype) -> None:
    """Storing a weight in 16 bits, or a normal one in 8, leaves its distribution recognisable."""
    weights = (torch.tensor(draw(kind, (128, 128), seed) * 16.0).to(dtype).float().numpy() for seed in range(10))
    names = [shape_of(weight).kind for weight in weights]
    # Eight bits are too coarse near the ends of a bounded distribution: one step there is a sixteenth.
    assert set(names) <= {kind, "unknown"}
    assert names.count(kind) >= (9 if kind == "normal" or dtype != torch.float8_e4m3fn else 0)


def test_the_levels_are_those_of_simulated_samples() -> None:
    """P-values of 400 samples of each shape are spread evenly: a Kolmogorov-Smirnov test of scipy's finds no fault."""
    generator = np.random.default_rng(2)
    for kind in LEVELS:
        values = {
            "normal": generator.standard_normal((400, 30, 30)),
            "uniform": generator.uniform(-1, 1, (400, 30, 30)),
            "truncated_normal": stats.truncnorm.rvs(-2, 2, size=(400, 30, 30), random_state=generator),
        }[kind]
        found = [shape_of(sample) for sample in values]
        p_values = np.array([shape.p_value for shape in found if shape.kind == kind])
        assert len(p_values) > 350
        # Below 0.5 the p-value is exact; above, it only ranks.
        for level in (0.05, 0.1, 0.25, 0.5):
            assert abs(np.mean(p_values < level) - level) < 4.0 * np.sqrt(level * (1 - level) / len(p_values)) + 0.002


def test_spread_values_round_back_to_their_levels() -> None:
    """Values spread over the cells of an integer or a floating grid are nearest to the level they came from."""
    for levels in (
        np.arange(-127.0, 128.0),
        np.unique(torch.linspace(-3.0, 3.0, 4000).to(torch.float8_e4m3fn).double()),
    ):
        values = np.random.default_rng(0).choice(levels, 5000)
        spread = spread_levels(values, levels)
        np.testing.assert_array_equal(levels[np.abs(spread[:, None] - levels).argmin(axis=1)], values)
        assert np.unique(spread).size > 4800
