"""Random operators have the right distribution, one sample a draw, and repeat with the run's generator."""

import numpy as np
import pytest
from scipy import stats

from initlint.operators.table import NotComputed, Run
from tests.operators.harness import Case, apply, floats

SHAPE = (40, 50)
X = np.zeros((1, *SHAPE), np.float32)
CASES = {
    "normal": (Case("RandomNormal", [], {"shape": SHAPE, "mean": 2.0, "scale": 3.0}), [], stats.norm(2, 3)),
    "normal like": (Case("RandomNormalLike", [floats()]), [X], stats.norm()),
    "uniform": (Case("RandomUniform", [], {"shape": SHAPE, "low": -2.0, "high": 5.0}), [], stats.uniform(-2, 7)),
    "uniform like": (Case("RandomUniformLike", [floats()]), [X], stats.uniform()),
}


@pytest.mark.parametrize("name", CASES)
def test_draws_follow_the_distribution_and_differ(name: str) -> None:
    """A Kolmogorov-Smirnov test does not reject, and two draws are not the same numbers."""
    case, inputs, distribution = CASES[name]
    (values,) = apply(case, inputs, Run(5, np.float32))
    assert values is not None
    assert values.shape == (5, *SHAPE)
    assert values.dtype == np.float32
    assert stats.kstest(values.ravel(), distribution.cdf).pvalue > 1e-3
    assert not np.array_equal(values[0], values[1])
    (again,) = apply(case, inputs, Run(5, np.float32))
    np.testing.assert_array_equal(values, again)


def test_bernoulli_follows_its_probabilities() -> None:
    """The share of ones is each element's probability."""
    x = np.array([[0.0, 0.25, 1.0]], np.float32)
    (values,) = apply(Case("Bernoulli", [floats(3)], {"dtype": 7}, opset=15), [x], Run(20_000, np.float32))
    assert values is not None
    assert values.dtype == np.int64
    np.testing.assert_allclose(values.mean(axis=0), x[0], atol=0.015)


def test_multinomial_follows_its_weights() -> None:
    """Classes appear in proportion to the exponentials of the input."""
    weights = np.array([0.1, 0.6, 0.3])
    (values,) = apply(
        Case("Multinomial", [floats(1, 3)], {"sample_size": 4000}),
        [np.log(weights)[np.newaxis, np.newaxis].astype(np.float32) + 5],
        Run(5, np.float32),
    )
    assert values is not None
    assert values.shape == (5, 1, 4000)
    assert values.dtype == np.int32
    np.testing.assert_allclose(np.bincount(values.ravel()) / values.size, weights, atol=0.02)


def test_size_is_asked_for_before_it_is_made() -> None:
    """A shape beyond the budget is not computed."""
    with pytest.raises(NotComputed):
        apply(Case("RandomNormal", [], {"shape": [10**6, 10**6]}), [], Run(1, np.float32))
