"""Which distribution a weight's values follow: normal, truncated normal, uniform, or one of the degenerate kinds.

Each continuous shape has mean zero and one free scale. The Anderson-Darling statistic measures the misfit; its
distribution does not depend on the scale, and the levels below are those of 100,000 simulated samples per shape
(sample sizes 256 and 1,024 agree; for the normal they are Stephens' case 2, 1974, JASA 69).
"""

from math import exp, log, pi, sqrt

import msgspec
import numpy as np
import numpy.typing as npt

from initlint.initializers.independence import chi_square_score, two_sided
from initlint.initializers.sampling import Matrix, distinct, spread_levels, spread_zeros, values_of
from initlint.operators.special import erf

__all__ = ["TRUNCATED_STD", "Shape", "degenerate_shape", "drawn_shape", "extent", "orthogonal_gain"]

REJECT = 0.002  # a true shape is called unknown this often
FEWEST = 64  # values below which no shape is told from another
DECISIVE = 3.0  # nats of likelihood by which the best shape must lead another that fits
PRUNED = 0.35  # share of zeros above which values were pruned; rounding to 15 levels leaves a quarter
FLOAT32_BITS = 24  # mantissa, the hidden bit included
SHARP = 48  # largest sizes whose spacing tells a hard edge
SHARP_COUNT = 1024  # values from which that many are still the edge
SHARP_ROUNDING = 1.0  # rounding, in expected spacings, below which the edge can be seen
MOST_LEVELS = 300  # distinct values up to which a tensor is taken for a quantised one

TRUNCATED_MASS = 0.9544997361036416  # P(|z| < 2)
TRUNCATED_STD = 0.8796256610342398  # std of a standard normal cut at +-2: what Keras divides by

PROBABILITIES = np.log([0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.002, 0.001])
LEVELS = {
    "normal": (0.631, 1.065, 1.748, 2.307, 2.889, 3.70, 4.32, 5.18, 5.90),
    "truncated_normal": (0.783, 1.264, 1.960, 2.522, 3.110, 3.93, 4.52, 5.33, 5.98),
    "uniform": (0.772, 1.245, 1.928, 2.485, 3.052, 3.86, 4.47, 5.32, 6.00),
}
ORTHOGONAL_FEWEST = 4  # vectors from which chance is out of the question
ORTHOGONAL_VECTORS = 16
ORTHOGONAL = 0.15  # largest |cosine| x sqrt(length): 120 independent pairs stay below with probability 1e-110


class Shape(msgspec.Struct, frozen=True):
    """A distribution's kind, the std and the largest size of the values, and how well it fits.

    `kind`: `normal`, `truncated_normal`, `uniform`, `orthogonal`, `constant`, `zeros`, `identity` or `unknown`.
    `rounding` is how far storage may have moved the largest value, relative to it.
    """

    kind: str
    std: float
    bound: float
    p_value: float
    rounding: float = 0.0


def degenerate_shape(part: Matrix, weight: npt.NDArray[np.generic]) -> Shape | None:
    """Name the shape of a weight that is no independent draws by construction; None where it is not so.

    The `part` decides but for orthogonality, which needs whole rows and columns of the `weight` it was cut from.
    """
    std, bound = extent(part)
    if bound == 0.0:
        return Shape("zeros", 0.0, 0.0, 1.0)
    if part.min() == part.max():
        return Shape("constant", std, bound, 1.0)
    if _is_identity(part):
        return Shape("identity", std, bound, 1.0)
    return Shape("orthogonal", std, bound, 1.0) if orthogonal_gain(weight) is not None else None


def drawn_shape(part: Matrix) -> Shape:
    """Name the distribution a part's values are drawn from; `unknown` where none fits, or two and neither leads."""
    std, bound = extent(part)
    values = values_of(part)
    if values.size < FEWEST:
        return Shape("unknown", std, bound, 0.0)
    if np.count_nonzero(values == 0.0) > PRUNED * values.size:
        return Shape("unknown", std, bound, 0.0)
    smooth, rounding = _continuous(values, bound)
    fits = _fits(smooth)
    if rounding * part.size < SHARP_ROUNDING and part.size >= SHARP_COUNT:
        likelihood, p_value = fits["uniform"]
        fits["uniform"] = likelihood, min(p_value, _sharpness_p(np.abs(part.ravel()) / bound))
    accepted = sorted(((fit, name) for name, fit in fits.items() if fit[1] >= REJECT), reverse=True)
    if not accepted or (len(accepted) > 1 and accepted[0][0][0] - accepted[1][0][0] < DECISIVE):
        return Shape("unknown", std, bound, max(p_value for _, p_value in fits.values()))
    (_, p_value), kind = accepted[0]
    return Shape(kind, std, bound, p_value, rounding)


def extent(part: Matrix) -> tuple[float, float]:
    """Measure root mean square and largest size, without overflow."""
    bound = float(np.max(np.abs(part))) if part.size else 0.0
    return (bound * sqrt(_mean_square(part / bound)), bound) if bound else (0.0, 0.0)


def _mean_square(part: Matrix) -> float:
    return float(np.einsum("ij,ij->", part, part)) / part.size


def orthogonal_gain(weight: npt.NDArray[np.generic]) -> float | None:
    """Measure the common length of the rows (or columns, whichever are fewer) if they are orthogonal; else None.

    A few whole vectors decide: independent ones have cosines of about 1/sqrt(length). Quantisation to 8 bits passes.
    """
    # The rows of a square matrix are orthogonal where its columns are: those are taken that lie together.
    rows, columns = weight.shape
    by_columns = weight.strides[0] < weight.strides[1] if rows == columns else rows > columns
    thin = weight.T if by_columns else weight
    count, length = thin.shape
    if count < ORTHOGONAL_FEWEST or length < 2 * ORTHOGONAL_FEWEST:
        return None
    taken = min(count, ORTHOGONAL_VECTORS)
    some = np.asarray(thin[(np.arange(taken) * count) // taken], np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", some, some))
    if not (np.isfinite(norms).all() and norms.all()) or norms.max() > 1.05 * norms.min():
        return None
    cosines = (some / norms[:, None]) @ (some / norms[:, None]).T
    np.fill_diagonal(cosines, 0.0)
    return float(norms.mean()) if np.abs(cosines).max() * sqrt(length) < ORTHOGONAL else None


def _is_identity(part: Matrix) -> bool:
    """One equal entry in each row and column, zeros elsewhere (rows and columns of zeros have been left out)."""
    nonzero = part != 0.0
    return bool(
        min(part.shape) > 1
        and (nonzero.sum(axis=1) == 1).all()
        and (nonzero.sum(axis=0) == 1).all()
        and part[nonzero].min() == part[nonzero].max()
    )


def _continuous(values: npt.NDArray[np.float64], bound: float) -> tuple[npt.NDArray[np.float64], float]:
    """Scale values to [-1, 1]; those on a grid of a few hundred levels (a quantised weight) are spread over its steps.

    Also the relative rounding that their storage explains: half a step, or half a unit of the last mantissa bit in use.
    """
    levels = distinct(values)
    if levels.size > min(MOST_LEVELS, values.size // 4):
        smooth, step = spread_zeros(values)
        return smooth / bound, max(2.0 ** (_spare_bits(values) - FLOAT32_BITS), step / 2.0 / bound)
    spread = spread_levels(values, levels)
    gaps = np.diff(levels)
    off_centre = float(levels[0] + levels[-1]) / 2.0
    if abs(off_centre) <= np.median(gaps) / 2.0:  # a zero point is rounded: the range may be off by half a step
        spread = spread - off_centre
    return np.asarray(spread / np.max(np.abs(spread))), float(max(gaps[0], gaps[-1])) / 2.0 / bound


def _spare_bits(values: npt.NDArray[np.float64]) -> int:
    """Trailing mantissa bits, of float32's 24, that no value uses: 13 for float16, 16 for bfloat16, 0 for float32."""
    mantissas = np.frexp(values)[0] * 2.0**FLOAT32_BITS
    whole = np.abs(mantissas).astype(np.int64)
    used = int(np.bitwise_or.reduce(whole))
    return 0 if np.any(np.abs(mantissas) != whole) else (used & -used).bit_length() - 1


def _sharpness_p(sizes: npt.NDArray[np.float64]) -> float:
    """P-value of the gap between the largest and the `SHARP`-th largest size; `sizes` reach 1.

    Uniform draws fill the range to a hard edge: the gap is a Gamma(SHARP - 1) / count. Training blurs the edge first.
    """
    position = sizes.size - SHARP
    gap = 1.0 - float(np.partition(sizes, position)[position])
    degrees = 2.0 * (SHARP - 1)
    return two_sided(chi_square_score(gap * 2.0 * sizes.size / degrees, 2.0 / degrees))


def _fits(values: npt.NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """Log likelihood and p-value of each shape at its best scale; `values` lie within [-1, 1] and reach it."""
    count = values.size
    ordered = np.sort(values)
    second = float(np.einsum("i,i->", values, values)) / count
    inner = np.delete(ordered, int(np.argmax(np.abs(ordered))))  # given the largest, the others fill the range evenly
    normal = _cdf(ordered / sqrt(second))
    within = _cdf(2.0 * inner)
    edge = (1.0 - TRUNCATED_MASS) / 2.0
    half_log = 0.5 * log(2.0 * pi)
    return {
        "normal": (-count * (0.5 * log(second) + 0.5 + half_log), _p_value("normal", normal)),
        "truncated_normal": (
            -count * (log(0.5 * TRUNCATED_MASS) + half_log + 2.0 * second),
            _p_value("truncated_normal", (within - edge) / TRUNCATED_MASS),
        ),
        "uniform": (-count * log(2.0), _p_value("uniform", 0.5 + 0.5 * inner)),
    }


def _cdf(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(0.5 + 0.5 * erf(x / sqrt(2.0)))


def _p_value(kind: str, probabilities: npt.NDArray[np.float64]) -> float:
    """P-value of the Anderson-Darling statistic of sorted probability-transformed values."""
    count = probabilities.size
    clipped = np.clip(probabilities, 1e-15, 1.0 - 1e-15)
    ranks = 2.0 * np.arange(1, count + 1) - 1.0
    statistic = -count - float(ranks @ (np.log(clipped) + np.log1p(-clipped[::-1]))) / count
    levels = LEVELS[kind]
    if statistic <= levels[0]:
        return 0.5 + 0.5 * (1.0 - statistic / levels[0])
    if statistic >= levels[-1]:
        slope = (PROBABILITIES[-1] - PROBABILITIES[-3]) / (levels[-1] - levels[-3])
        return float(np.exp(PROBABILITIES[-1] + slope * (statistic - levels[-1])))
    return exp(float(np.interp(statistic, levels, PROBABILITIES)))
