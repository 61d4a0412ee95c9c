"""Fold the rows' figures of all runs into one measurement a tensor, in float64."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from initlint.probe.taps import COPIES, FIGURES, SATURATING, Tap

__all__ = ["Measured", "fold"]

DEAD = 0.01  # as in the prediction: a unit active with a probability below this is dead
STILL = 1e-6  # of a layer's mean movement: a channel that moves less does not move


@dataclass(slots=True)
class Measured:
    """One tensor as onnxruntime computed it, over all runs; the words are those of the prediction.

    Moments are over the rows that are finite, None where no row is. `nans` and `infs` count rows.
    """

    elements: int
    runs: int = 0
    mean: float | None = None
    std: float | None = None
    signal_std: float | None = None
    minimum: float = 0.0
    maximum: float = 0.0
    nans: int = 0
    infs: int = 0
    overflowed: int = 0  # rows whose squares left the type they are summed in, though all values are finite
    zero_fraction: float | None = None
    dead_fraction: float | None = None
    saturated_fraction: float | None = None
    still_fraction: float | None = None  # channels that do not move between the copies
    _sum: float = field(default=0.0, repr=False)
    _squares: float = field(default=0.0, repr=False)
    _counted: int = field(default=0, repr=False)
    _differences: float = field(default=0.0, repr=False)
    _compared: int = field(default=0, repr=False)
    _active: Any = field(default=None, repr=False)
    _moves: Any = field(default=None, repr=False)
    _near: float = field(default=0.0, repr=False)

    @property
    def absmax(self) -> float:
        """Largest finite magnitude seen."""
        return max(abs(self.minimum), abs(self.maximum))


def fold(taps: Iterable[Tap], runs: Iterable[Mapping[str, npt.NDArray[Any]]]) -> dict[str, Measured]:
    """One measurement a tap from the outputs of every run."""
    chosen = tuple(taps)
    measured = {tap.name: Measured(prod(tap.shape)) for tap in chosen}
    for values in runs:
        for tap in chosen:
            _add(measured[tap.name], tap, values)
    for tap in chosen:
        _finish(measured[tap.name], tap)
    return measured


def _add(measured: Measured, tap: Tap, values: Mapping[str, npt.NDArray[Any]]) -> None:
    base = f"initlint/{tap.name}"
    figures = values[f"{base}/figures"].reshape(FIGURES, -1).astype(np.float64)
    for index in range(len(COPIES)):
        sums, squares, highs, lows = figures[4 * index : 4 * index + 4]
        # ReduceMax drops NaN in onnxruntime, the sums do not: that is where NaN and infinities are read.
        finite = np.isfinite(squares)
        if finite.all():
            high, low = float(highs.max()), float(lows.min())
            measured._sum += float(sums.sum())
            measured._squares += float(squares.sum())
            measured._counted += figures.shape[1]
        else:
            infinite = np.isinf(highs) | np.isinf(lows)
            measured.infs += int(np.count_nonzero(infinite))
            measured.nans += int(np.count_nonzero(np.isnan(squares) & ~(infinite & np.isnan(sums))))
            measured.overflowed += int(np.count_nonzero(np.isinf(squares) & ~infinite & np.isfinite(sums)))
            high = float(np.max(highs, initial=0.0, where=np.isfinite(highs)))
            low = float(np.min(lows, initial=0.0, where=np.isfinite(lows)))
            measured._sum += float(sums.sum(where=finite))
            measured._squares += float(squares.sum(where=finite))
            measured._counted += int(np.count_nonzero(finite))
        first = measured.runs == 0 and index == 0
        measured.maximum = high if first else max(measured.maximum, high)
        measured.minimum = low if first else min(measured.minimum, low)
    differences = figures[-1]
    comparable = np.isfinite(differences)
    measured._differences += float(differences.sum(where=comparable))
    measured._compared += int(np.count_nonzero(comparable))
    measured.runs += 1
    for index in range(len(COPIES)):
        active = values.get(f"{base}/active{index}")
        if active is not None:
            measured._active = active.astype(np.float64) + (0 if measured._active is None else measured._active)
        near = values.get(f"{base}/saturated{index}")
        if near is not None:
            measured._near += float(near.astype(np.float64).sum())
    moves = values.get(f"{base}/moves")
    if moves is not None:
        measured._moves = moves.astype(np.float64) + (0 if measured._moves is None else measured._moves)


def _finish(measured: Measured, tap: Tap) -> None:
    count = measured.elements * measured.runs * len(COPIES)
    if measured._counted:
        counted = measured._counted * tap.row
        shifted = measured._sum / counted
        measured.mean = shifted / tap.scale + tap.centre
        measured.std = sqrt(max(measured._squares / counted - shifted * shifted, 0.0)) / tap.scale
    if measured._compared:
        measured.signal_std = sqrt(measured._differences / (measured._compared * tap.row) / 2) / tap.scale
    if measured._active is not None and np.isfinite(measured._active).all():
        looks = count / len(measured._active)
        measured.zero_fraction = 1.0 - float(measured._active.sum()) / count
        if looks >= 1 / DEAD:
            measured.dead_fraction = float(np.mean(measured._active < DEAD * looks))
    if measured._moves is not None and np.isfinite(measured._moves).all():
        limit = STILL**2 * float(measured._moves.mean())
        measured.still_fraction = float(np.mean(measured._moves <= limit)) if limit > 0 else 1.0
    if tap.op in SATURATING:
        measured.saturated_fraction = measured._near / count
