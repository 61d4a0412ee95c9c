"""The shape of a weight's distribution in one short word, for a picture beside its row."""

import numpy as np
import numpy.typing as npt

from initlint.bins import BINS, LEVELS

__all__ = ["histogram"]

SAMPLE = 1 << 14  # values counted: a bin that holds a hundredth of them is known to a tenth of that


def histogram(matrix: npt.NDArray[np.generic], largest: float) -> str | None:
    """A digit for each bin from -largest to largest, relative to the fullest; None where nothing has a size."""
    if not largest > 0 or not matrix.size:
        return None
    flat = matrix.ravel() if matrix.flags.c_contiguous else matrix.ravel("K")
    step = max(1, flat.size // SAMPLE) | 1  # odd, lest it keeps time with the rows
    values = flat[::step].astype(np.float64)
    places = ((values / largest + 1.0) * (BINS / 2)).astype(np.int64)
    counts = np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)
    digits = -(-counts * (len(LEVELS) - 1) // counts.max())
    return "".join(LEVELS[digit] for digit in digits)
