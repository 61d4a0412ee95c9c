"""Weights that were computed, not learned: sines under a window, filter banks, interpolation kernels.

Fan-in rules do not apply to them: a short-time Fourier transform is right at any scale its designer chose.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from initlint.channels import matrix_of
from initlint.elements import FLOATS
from initlint.graph import StoredTensor
from initlint.weights import ChannelLayout

__all__ = ["is_fixed_basis"]

Floats: TypeAlias = npt.NDArray[np.float64]

LARGEST_BASIS = 1 << 24
LOOKED_AT = 1 << 19  # elements read to tell a basis from a learned weight
GLANCE = 8  # rows read first


def is_fixed_basis(tensor: StoredTensor) -> bool:
    """Whether the weight is a signal-processing basis (sines under a window, a filter bank, an interpolation kernel)."""
    if tensor.count < 16 or tensor.count > LARGEST_BASIS or len(tensor.shape) < 2 or tensor.dtype not in FLOATS:
        return False
    if len(tensor.shape) == 4 and tensor.shape[2] > 1 and tensor.shape[3] > 1:
        return _is_interpolation(tensor)
    layout = ChannelLayout((0,))
    if tensor.count > LOOKED_AT and not _promising(matrix_of(tensor, layout, GLANCE * tensor.count // tensor.shape[0])):
        return False
    rows = matrix_of(tensor, layout, LOOKED_AT)
    sides = (rows, rows.T) if tensor.count <= LOOKED_AT else (rows,)
    return any(
        _promising(item) and (_is_sinusoids(item.astype(np.float64)) or _is_filter_bank(item.astype(np.float64)))
        for item in sides
    )


def _promising(rows: npt.NDArray[np.generic]) -> bool:
    """Whether a few rows allow either kind of basis: nearly every learned weight ends here, at a tenth of the cost."""
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), GLANCE)).astype(int)].astype(np.float64)
    if not np.any(few < 0):
        return True
    if few.shape[1] < 32 or not np.all(np.isfinite(few)):
        return False
    shares, alive, _ = _concentration(few)
    return bool(np.count_nonzero(shares > 0.9) >= np.count_nonzero(alive) / 2)


def _concentration(rows: Floats) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Of the rows that are not zero: share of the energy around the strongest frequency, and its place; which rows these are."""
    length = rows.shape[1]
    spectrum = np.abs(np.fft.rfft(rows, n=2 * length, axis=1)) ** 2
    total = spectrum.sum(axis=1)
    alive = total > 1e-12 * max(float(total.max()), 1e-300)
    peaks = spectrum[alive].argmax(axis=1)
    near = np.stack([np.take_along_axis(spectrum[alive], np.clip(peaks + step, 0, length)[:, None], 1)[:, 0]
                     for step in range(-6, 7)])  # fmt: skip
    return near.sum(axis=0) / total[alive], alive, peaks


def _is_sinusoids(rows: Floats) -> bool:
    """Each row has nearly all its energy around one frequency, and the frequencies differ."""
    count, length = rows.shape
    if length < 32 or count < 8:
        return False
    picked = rows[np.linspace(0, count - 1, min(count, 64)).astype(int)]
    if not np.all(np.isfinite(picked)):
        return False
    shares, alive, peaks = _concentration(picked)
    if alive.sum() < 8:
        return False
    return bool(np.mean(shares > 0.9) > 0.9 and len(set(peaks.tolist())) > 0.3 * len(peaks))


def _is_filter_bank(rows: Floats) -> bool:
    """Non-negative rows of short support that move along: triangles over frequencies, resampling windows."""
    count, length = rows.shape
    if count < 8 or length < 32 or np.any(rows < 0):
        return False
    support = rows > 0
    widths = support.sum(axis=1)
    if np.count_nonzero(widths) < 0.8 * count or np.median(widths) > 0.25 * length:
        return False
    alive = widths > 0
    first = support[alive].argmax(axis=1)
    last = length - 1 - support[alive][:, ::-1].argmax(axis=1)
    whole = (last - first + 1) == widths[alive]
    return bool(whole.mean() > 0.9 and np.mean(np.diff(first) >= 0) > 0.9)


def _is_interpolation(tensor: StoredTensor) -> bool:
    """A depthwise kernel that is the same for all channels, positive and separable: blur or bilinear upsampling."""
    if tensor.shape[1] != 1 or tensor.shape[0] < 2 or tensor.count > 1 << 16:
        return False
    values = tensor.read().astype(np.float64)[:, 0]
    if np.any(values < 0) or not np.allclose(values, values[:1]):
        return False
    return bool(np.linalg.matrix_rank(values[0]) == 1 and values[0].std() > 0)
