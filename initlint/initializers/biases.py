"""What a layer's bias says of its history: initialisers set it to zero or a constant, or draw it in a known range."""

from math import sqrt

import numpy as np
import numpy.typing as npt

from initlint.initializers.sampling import distinct

__all__ = ["bias_kind"]

NEGLIGIBLE = 1e-4  # size, relative to what a unit input makes of the weights, that counts as zero (timm draws 1e-6)
FEWEST = 8  # values below which a draw is not told from learned values
SCORE = 3.3  # standard errors within which moments agree: a true draw is missed once in a thousand
SHORT = 1e-4  # probability below which the largest of so many uniform draws is not that small
OVER = 1.01  # relative room above the bound, for low-precision storage


def bias_kind(bias: npt.NDArray[np.generic] | None, weight_std: float, fan_in: float, fan_out: float) -> str:
    """Name what a bias is: `none`, `zero`, `constant`, `drawn`, `learned`, or `unknown` where it is too short to say.

    `constant` covers an LSTM's forget gates (zeros and one constant). `drawn` is PyTorch's default
    U(-1/sqrt(fan), 1/sqrt(fan)), the fan being fan_in, or fan_out for transposed convolution and recurrent layers
    (hidden_size).
    """
    if bias is None or bias.size == 0:
        return "none"
    values = np.asarray(bias, np.float64).ravel()
    size = float(np.max(np.abs(values)))
    if not np.isfinite(size):
        return "unknown"
    if size <= NEGLIGIBLE * weight_std * sqrt(max(fan_in, 1.0)):
        return "zero"
    if values.size < FEWEST and (values.size == 1 or values.min() < values.max()):
        return "unknown"
    if distinct(values).size <= 2:
        return "constant"
    drawn = any(fan > 0.0 and size * sqrt(fan) <= OVER and _fills(values * sqrt(fan)) for fan in (fan_in, fan_out))
    return "drawn" if drawn else "learned"


def _fills(unit: npt.NDArray[np.float64]) -> bool:
    """Whether values are consistent with U(-1, 1): inside, nearly reaching an end, with its moments."""
    count = unit.size
    top = float(np.max(np.abs(unit)))
    mean, second = float(np.mean(unit)), float(np.mean(unit * unit))
    return bool(
        top**count >= SHORT
        and abs(second - 1.0 / 3.0) <= SCORE * sqrt(4.0 / 45.0 / count)
        and abs(mean) <= SCORE * sqrt(1.0 / 3.0 / count)
    )
