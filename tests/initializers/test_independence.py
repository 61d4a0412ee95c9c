"""The independence test against full singular value decompositions, scipy's distributions and simulated draws."""

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from initlint.initializers.independence import chi_square_score, independence, tracy_widom_score, two_sided
from initlint.initializers.sampling import part_of, rows_examined

DRAWS = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "uniform": lambda generator, shape: generator.uniform(-1.0, 1.0, shape),
    "truncated": lambda generator, shape: stats.truncnorm.rvs(-2.0, 2.0, size=shape, random_state=generator),
    "laplace": lambda generator, shape: generator.laplace(size=shape),
}


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (64, 64), (128, 200), (200, 96)])
def test_the_edge_ratio_is_that_of_the_full_decomposition(shape: tuple[int, int]) -> None:
    """The top singular value by Lanczos steps is numpy's, to well within the edge's own spread."""
    matrix = np.random.default_rng(0).standard_normal(shape)
    found = independence(matrix)
    assert found is not None
    top = np.linalg.svd(matrix, compute_uv=False)[0] / sqrt(np.mean(matrix**2))
    assert found.edge_ratio == pytest.approx(top / (sqrt(shape[0]) + sqrt(shape[1])), rel=2e-3)


def test_dispersions_are_the_variances_of_row_and_column_norms() -> None:
    """Row and column dispersion equal numpy's variance of mean squares over the independent expectation."""
    matrix = np.random.default_rng(1).standard_normal((40, 70)) * np.linspace(0.5, 2.0, 40)[:, None]
    found = independence(matrix)
    assert found is not None
    squares = matrix**2
    spread = np.mean(squares**2) - np.mean(squares) ** 2
    assert found.row_dispersion == pytest.approx(np.var(squares.mean(axis=1), ddof=1) / (spread / 70), rel=1e-9)
    assert found.column_dispersion == pytest.approx(np.var(squares.mean(axis=0), ddof=1) / (spread / 40), rel=1e-9)
    assert found.kurtosis == pytest.approx(np.mean(matrix**4) / np.mean(squares) ** 2 - 3.0, rel=1e-9)


@pytest.mark.parametrize("degrees", [15, 50, 200, 1000])
def test_chi_square_scores_are_scipys(degrees: int) -> None:
    """Wilson and Hilferty's score is the normal score of scipy's chi-square tail between 1e-4 and 0.99."""
    for tail in (1e-4, 0.01, 0.3, 0.7, 0.99):
        ratio = stats.chi2.isf(tail, degrees) / degrees
        assert chi_square_score(ratio, 2.0 / degrees) == pytest.approx(stats.norm.isf(tail), abs=0.06)


def test_two_sided_is_the_normal_tail() -> None:
    """The probability of a score is scipy's two-sided normal tail."""
    for score in (0.0, -1.96, 3.0, 7.0):
        assert two_sided(score) == pytest.approx(2.0 * stats.norm.sf(abs(score)), rel=1e-12)


def test_tracy_widom_quantiles_of_the_literature_are_met() -> None:
    """Bejan's tabulated 95 % and 99 % points of the Tracy-Widom law of order 1 get their normal scores."""
    rows, columns = 400, 400
    reach = sqrt(columns - 1) + sqrt(rows)
    scale = reach * (1.0 / sqrt(columns - 1) + 1.0 / sqrt(rows)) ** (1.0 / 3.0)
    for quantile, probability in ((0.9793, 0.95), (2.0234, 0.99), (-1.2686, 0.5)):
        score = tracy_widom_score(reach * reach + quantile * scale, rows, columns)
        assert score == pytest.approx(stats.norm.ppf(probability), abs=0.02)


@pytest.mark.parametrize("kind", sorted(DRAWS))
@pytest.mark.parametrize("shape", [(16, 40), (64, 64), (96, 27)])
def test_independent_draws_are_rejected_as_often_as_stated(kind: str, shape: tuple[int, int]) -> None:
    """Of 300 matrices of independent draws, those below p = 0.01 are within the binomial range of 1 %."""
    generator = np.random.default_rng(7)
    found = [independence(DRAWS[kind](generator, shape)) for _ in range(300)]
    rejected = sum(each is not None and each.p_value < 0.01 for each in found)
    # Heavy-tailed entries bend the fourth-moment estimates of small matrices; initialisers draw none.
    assert rejected <= (20 if kind == "laplace" else 10)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w, g: w + 0.35 * np.outer(g.standard_normal(128), g.standard_normal(96)),
        lambda w, g: w * (1.0 + 0.4 * g.standard_normal(128))[:, None],
        lambda w, g: w * (1.0 + 0.4 * g.standard_normal(96))[None, :],
        lambda w, _: w + 0.1,
        lambda w, _: w + 0.4 * np.roll(w, 1, axis=1),
        lambda w, g: w + 0.5 * g.standard_normal((128, 1)),
    ],
    ids=["spike", "row sizes", "column sizes", "mean", "smooth kernel", "row means"],
)
def test_each_trace_of_training_is_seen(spoil: object) -> None:
    """One low-rank direction, uneven rows or columns, smoothness, an offset, a duplicate: each alone is plain."""
    generator = np.random.default_rng(3)
    weight = generator.standard_normal((128, 96))
    assert callable(spoil)
    found = independence(spoil(weight, generator))
    assert found is not None
    assert found.p_value < 1e-6


def test_scale_never_matters() -> None:
    """Multiplying a matrix by a power of two, even to the edge of float64, changes no statistic."""
    matrix = np.random.default_rng(5).standard_normal((32, 48))
    assert independence(matrix) == independence(matrix * 2.0**900) == independence(matrix * 2.0**-900)


@pytest.mark.parametrize(
    "matrix", [np.ones((8, 8)), np.ones((1, 64)), np.zeros((0, 0)), np.where(np.eye(9) > 0, 1, -1)]
)
def test_what_has_no_spread_gives_none(matrix: np.ndarray) -> None:
    """A constant, a vector, nothing and a matrix of one size have no statistics."""
    assert independence(np.asarray(matrix, np.float64)) is None


def test_a_part_is_bounded_and_deterministic_and_skips_zero_and_broken_rows() -> None:
    """A part of a large matrix holds at most 65,536 entries, always the same, without zero or non-finite rows."""
    matrix = np.random.default_rng(0).standard_normal((3000, 700)).astype(np.float32)
    part = part_of(matrix)
    assert part.size <= 1 << 16
    np.testing.assert_array_equal(part, part_of(matrix))
    small = matrix[:20, :30].copy()
    small[3] = 0.0
    small[:, 7] = 0.0
    small[5, 5] = np.inf
    small[6, 6] = np.nan
    assert part_of(small).shape == (17, 29)


def test_neighbouring_columns_stay_neighbours_in_a_part() -> None:
    """Wide matrices are cut into runs of whole kernels' worth of columns, so smoothness survives the cut."""
    part = part_of(np.tile(np.arange(1.0, 5001.0), (256, 1)))
    assert np.mean(np.diff(part[0]) == 1.0) > 0.9


@pytest.mark.parametrize("shape", [(3000, 700), (700, 3000), (5000, 9), (64, 64), (0, 7)])
def test_the_rows_examined_are_all_that_is_needed(shape: tuple[int, int]) -> None:
    """Reading only the rows examined gives the same part as reading the whole matrix."""
    matrix = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(part_of(matrix[rows_examined(*shape)]), part_of(matrix))
