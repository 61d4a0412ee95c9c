"""Are the entries of a matrix independent draws of one distribution around zero? Random matrix theory answers.

Training leaves correlation: a few directions stand out of the Marchenko-Pastur bulk, some rows and columns grow, and
neighbouring taps of a kernel agree. Each statistic below is turned into a standard normal score under independence,
whatever the distribution of the entries (their moments are estimated), and the scores are combined by Bonferroni.
Both tails count: weight decay and normalisation make some trained matrices *more* even than independent draws.
"""

from math import erfc, sqrt

import msgspec
import numpy as np
import numpy.typing as npt

from initlint.initializers.sampling import Matrix

__all__ = ["Independence", "chi_square_score", "independence", "tracy_widom_score", "two_sided"]

# Gamma approximation of the Tracy-Widom law of order 1: M. Chiani 2014, Journal of Multivariate Analysis 129, table 1.
TW_SHAPE, TW_SCALE, TW_SHIFT = 46.446, 0.186054, 9.84801
LANCZOS = 24  # steps for the largest singular value of a part: the null is met to 1 % of the edge's own spread
ROUNDOFF = 1e-9  # variance of squares, in units of the squared variance, below which all sizes are equal
LONE = 0.6  # size of an entry, over the edge, from which it alone makes a singular value
ROUNDS = 5
DIRECT = 64  # up to this side eigenvalues are computed outright


class Independence(msgspec.Struct, frozen=True):
    """What says that entries are, or are not, independent draws.

    `edge_ratio` is the top singular value over the Marchenko-Pastur edge `std (sqrt(rows) + sqrt(columns))`; the
    dispersions are the variance of row and column mean squares over what independent draws give (1). `kurtosis` is in
    excess of a normal's. `scores` are standard normal under independence; `p_value` is their Bonferroni combination.
    """

    edge_ratio: float
    row_dispersion: float
    column_dispersion: float
    kurtosis: float
    scores: tuple[tuple[str, float], ...]
    p_value: float


def independence(part: Matrix) -> Independence | None:
    """Test a part `[rows, columns]` (see `part_of`); None where it has fewer than 2 rows, 2 columns or no variance."""
    part = _without_lone_entries(part)
    rows, columns = part.shape
    if min(rows, columns) < 2 or not part.any():
        return None
    unit = part / float(np.max(np.abs(part)))
    second = _mean_square(unit)
    unit /= sqrt(second)
    squares = unit * unit
    count = part.size
    powers = squares * squares
    fourth = float(np.sum(powers)) / count
    sixth = float(np.einsum("ij,ij->", powers, squares)) / count
    eighth = float(np.einsum("ij,ij->", powers, powers)) / count
    spread = fourth - 1.0  # variance of a square
    if spread < ROUNDOFF:
        return None
    heavy = (eighth - 4.0 * sixth + 6.0 * fourth - 3.0) / spread**2 - 3.0  # excess kurtosis of a square
    kurtosis = fourth - 3.0
    row_dispersion, row_score = _dispersion(np.add.reduce(squares, axis=1) / columns, spread / columns, heavy / count)
    column_dispersion, column_score = _dispersion(np.add.reduce(squares, axis=0) / rows, spread / rows, heavy / count)
    energy = (squares - 1.0) / sqrt(spread)
    gram_score, edge_ratio, edge_score = _spectrum(unit, fourth)
    scores = (
        ("mean", float(np.sum(unit)) / sqrt(count)),
        ("row norms", row_score),
        ("column norms", column_score),
        ("row means", _means(unit.sum(axis=1), columns, kurtosis / count)),
        ("column means", _means(unit.sum(axis=0), rows, kurtosis / count)),
        ("neighbours in a row", _neighbours(unit)),
        ("neighbours in a column", _neighbours(unit.T)),
        ("neighbouring sizes in a row", _neighbours(energy)),
        ("neighbouring sizes in a column", _neighbours(energy.T)),
        ("correlated rows", gram_score),
        ("top singular value", edge_score),
    )
    p_value = min(1.0, len(scores) * min(two_sided(score) for _, score in scores))
    return Independence(edge_ratio, row_dispersion, column_dispersion, kurtosis, scores, p_value)


def _without_lone_entries(part: Matrix) -> Matrix:
    """Leave out rows with an entry so large that it alone makes a singular value: a fault, or sparsity, not correlation.

    One outlier hides the next, so a few rounds; where half the rows would go, large entries are the rule and stay.
    """
    kept = part
    for _ in range(ROUNDS):
        sizes = np.max(np.abs(kept), axis=1, initial=0.0)
        largest = float(np.max(sizes, initial=0.0))
        if largest == 0.0:
            return kept
        edge = largest * sqrt(_mean_square(kept / largest)) * (sqrt(kept.shape[0]) + sqrt(kept.shape[1]))
        lone = sizes > LONE * edge
        if not lone.any():
            return kept
        kept = kept[~lone]
    return kept if kept.shape[0] * 2 > part.shape[0] else part


def _mean_square(part: Matrix) -> float:
    return float(np.einsum("ij,ij->", part, part)) / part.size


def two_sided(score: float) -> float:
    """Probability of a standard normal score at least this far from zero."""
    return erfc(abs(score) / sqrt(2.0))


def _dispersion(means: npt.NDArray[np.float64], variance: float, excess: float) -> tuple[float, float]:
    """Variance of `means` over its expectation, and its score; `excess` adds to a chi-square's relative variance."""
    degrees = means.size - 1
    apart = means - float(np.add.reduce(means)) / means.size
    ratio = float(np.einsum("i,i->", apart, apart)) / degrees / variance
    return ratio, chi_square_score(ratio, 2.0 / degrees + excess)


def _means(sums: npt.NDArray[np.float64], terms: int, excess: float) -> float:
    """Score of the mean square of row (or column) sums: large where a whole row leans to one side."""
    return chi_square_score(float(np.einsum("i,i->", sums, sums)) / sums.size / terms, 2.0 / sums.size + excess)


def chi_square_score(ratio: float, relative_variance: float) -> float:
    """Turn a chi-square over its degrees of freedom into a standard normal score (Wilson and Hilferty 1931)."""
    ninth = max(relative_variance, 1e-12) / 9.0
    return float((np.cbrt(ratio) - (1.0 - ninth)) / sqrt(ninth))


def _neighbours(unit: Matrix) -> float:
    """Score of the correlation between neighbouring columns."""
    pairs = unit.shape[0] * (unit.shape[1] - 1)
    return float(np.einsum("ij,ij->", unit[:, 1:], unit[:, :-1])) / sqrt(pairs)


def _spectrum(unit: Matrix, fourth: float) -> tuple[float, float, float]:
    """Score of the squared correlations of rows, edge ratio, and score of the top singular value."""
    thin = unit if unit.shape[0] <= unit.shape[1] else unit.T
    small, large = thin.shape
    gram = thin @ thin.T
    diagonal = np.diag(gram)
    pairs = small * (small - 1)
    off = (float(np.einsum("ij,ij->", gram, gram)) - float(diagonal @ diagonal)) / pairs / large
    off_score = chi_square_score(off, (2.0 + (fourth * fourth - 3.0) / large) * 2.0 / pairs)
    top = _top_eigenvalue(gram)
    reach = sqrt(small) + sqrt(large)
    if float(np.max(np.abs(unit))) > LONE * max(reach, sqrt(top)):
        return 0.0, sqrt(top) / reach, 0.0
    return off_score, sqrt(top) / reach, tracy_widom_score(top, small, large)


def _top_eigenvalue(gram: Matrix) -> float:
    """Largest eigenvalue of a symmetric matrix, by Lanczos steps kept orthogonal; from below where not converged."""
    side = gram.shape[0]
    if side <= DIRECT:
        return float(np.linalg.eigvalsh(gram)[-1])
    basis = np.zeros((LANCZOS, side))
    vector = np.random.default_rng(side).standard_normal(side)
    basis[0] = vector / np.linalg.norm(vector)
    projected = np.zeros((LANCZOS, LANCZOS))
    for step in range(LANCZOS):
        image = gram @ basis[step]
        projected[: step + 1, step] = projected[step, : step + 1] = basis[: step + 1] @ image
        if step + 1 == LANCZOS:
            break
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            image = image - basis[: step + 1].T @ (basis[: step + 1] @ image)
        length = float(np.linalg.norm(image))
        if length < 1e-12 * side:
            return float(np.linalg.eigvalsh(projected[: step + 1, : step + 1])[-1])
        basis[step + 1] = image / length
    return float(np.linalg.eigvalsh(projected)[-1])


def tracy_widom_score(top: float, rows: int, columns: int) -> float:
    """Turn the top eigenvalue of `X X^T`, X `[rows, columns]` of independent unit entries, into a normal score.

    Centre and scale: Johnstone 2001 (Annals of Statistics 29), with the larger side reduced by one.
    """
    small, large = min(rows, columns), max(rows, columns) - 1
    reach = sqrt(large) + sqrt(small)
    scaled = (top - reach * reach) / (reach * (1.0 / sqrt(large) + 1.0 / sqrt(small)) ** (1.0 / 3.0))
    gamma = max(scaled + TW_SHIFT, 1e-9) / (TW_SHAPE * TW_SCALE)
    return chi_square_score(gamma, 1.0 / TW_SHAPE)
