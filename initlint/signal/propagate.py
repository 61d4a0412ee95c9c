"""Evaluate a graph on joint draws of its input: every tensor's distribution, without onnxruntime and without data.

Each value is an array `[s, *shape]` (see `operators.table`); slice `[i]` of all of them together is one forward pass, so
products, residual joins, normalisations, attention and padding need no approximation: what is left is sampling error,
`1/sqrt(2 s n)` relative for n independent elements. The textbook product `prod(1/2 n_l Var[w_l])` (He et al. 2015, eq. 10)
assumes ReLU, zero means and independent weights; `docs/accuracy.md` compares the two.

A pilot on two draws finds what one draw costs; the number of draws, the float type and, for inputs too large, the
resolution follow from it and never from a clock, so two runs agree to the byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from initlint.errors import Refusal
from initlint.graph import Model
from initlint.inputs import TRIALS, Input, describe, draw, generator_for
from initlint.operators import load
from initlint.operators.table import Run
from initlint.signal.evaluate import Evaluation
from initlint.signal.statistics import Signal

__all__ = ["Assumptions", "Propagation", "propagate"]

PILOT_DRAWS = 2
MOST_DRAWS = 256  # sampling error of a single element's std: 4 %
FEWEST_DRAWS = 16  # sampling error of a signal of one effective dimension: 13 %
WORK = 1.5e9  # multiply-adds the main evaluation aims at: a tenth of a second on two cores
WORK_LIMIT = 6e11  # a pilot beyond this is given up and tried at a lower resolution
EXACT_WORK = 2e9  # up to here float64 costs nothing that a user would notice
ELEMENTS = 1 << 25  # of the largest tensor, draws included
REDUCTIONS = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the user may say about the input and the operators; the defaults are stated in `docs/signal.md`."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    plain: bool = False  # N(0, 1) even where the graph begins with its own normalisation
    given: Mapping[str, Any] = field(default_factory=dict)  # arrays [s, *shape] fed instead of draws
    operators: Mapping[str, str] = field(default_factory=dict)  # custom operator -> identity | relu | ignore
    draws: int | None = None


@dataclass(frozen=True, slots=True)
class Propagation:
    """The signal of every tensor that could be followed, and why the others could not."""

    signals: Mapping[str, Signal]
    dtypes: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    unknown: Mapping[str, str]  # float tensors that depend on the input but whose signal is not known: reason
    ignored: frozenset[str]
    reference_std: Mapping[str, float]
    producers: Mapping[str, str]  # tensor -> operator kind that made it
    inputs: tuple[Input, ...]
    draws: int
    float_type: str
    work: float  # multiply-adds of one draw
    channel_moments: Mapping[str, Any] = field(default_factory=dict)  # BatchNormalization -> (means, stds) of its input
    notes: tuple[str, ...] = ()

    @property
    def coverage(self) -> float | None:
        """Share of input-dependent float tensors whose signal is known; None where there are none."""
        total = len(self.signals) + len(self.unknown)
        return len(self.signals) / total if total else None


def propagate(model: Model, assumptions: Assumptions | None = None) -> Propagation:
    """Predict every tensor's signal under the assumptions. Raises Refusal where the graph contradicts itself."""
    assumptions = assumptions or Assumptions()
    load()
    pilot, inputs, notes = _pilot(model, assumptions)
    per_draw = max(pilot.run.work / PILOT_DRAWS, 1.0)
    draws = assumptions.draws or _draws(per_draw, pilot.largest)
    exact = per_draw * draws <= EXACT_WORK and pilot.largest * draws <= ELEMENTS // 2
    run = Run(
        draws=draws,
        float_type=np.float64 if exact else np.float32,
        max_elements=max(4 * ELEMENTS, draws * pilot.largest),
        max_work=4 * per_draw * draws + WORK,
        generator=generator_for(model, assumptions.seed),
    )
    main = _evaluate(model, inputs, assumptions, run)
    return Propagation(
        signals=main.signals,
        dtypes=main.dtypes,
        shapes=main.shapes,
        unknown=main.unknown,
        ignored=frozenset(main.ignored),
        reference_std=main.reference_std(),
        producers=main.producers,
        inputs=inputs,
        draws=draws,
        float_type=np.dtype(run.float_type).name,
        work=per_draw,
        channel_moments=main.channel_moments,
        notes=tuple(notes),
    )


def _draws(per_draw: float, largest: int) -> int:
    affordable = min(int(WORK / per_draw), ELEMENTS // max(largest, 1))
    fewest = FEWEST_DRAWS if largest * FEWEST_DRAWS <= 4 * ELEMENTS else PILOT_DRAWS
    return int(np.clip(affordable, fewest, MOST_DRAWS))


def _pilot(model: Model, assumptions: Assumptions) -> tuple[Evaluation, tuple[Input, ...], list[str]]:
    """The first evaluation that works out: sizes for symbolic dimensions in turn, then lower resolutions.

    Where no trial is free of contradictions, the one that knows most tensors is taken.
    """
    best: tuple[int, Evaluation, tuple[Input, ...], list[str]] | None = None
    refusal: Refusal | None = None
    free = any(not isinstance(extent, int) for info in model.graph.inputs for extent in info.shape or ())
    for trial in range(len(TRIALS) if free else 1):
        for reduce in REDUCTIONS:
            inputs = describe(model, sizes=assumptions.sizes, trial=trial, reduce=reduce, plain=assumptions.plain)
            run = Run(
                draws=PILOT_DRAWS,
                float_type=np.float32,
                max_elements=4 * ELEMENTS,
                max_work=WORK_LIMIT,
                generator=generator_for(model, assumptions.seed),
            )
            try:
                pilot = _evaluate(model, inputs, assumptions, run, statistics=False)
            except Refusal as error:
                refusal = refusal or error
                break
            notes = [f"{item.name}: {note}" for item in inputs for note in item.assumed]
            known = len(pilot.dtypes) - 2 * len(pilot.unknown)
            if best is None or known > best[0]:
                best = (known, pilot, inputs, notes)
            if not pilot.too_large:
                break
        if best is not None and not best[1].unknown:
            break
        if best is not None and not best[1].contradictions:
            break
    if best is None:
        raise refusal if refusal is not None else AssertionError("no trial was made")
    return best[1], best[2], best[3]


def _evaluate(
    model: Model, inputs: tuple[Input, ...], assumptions: Assumptions, run: Run, *, statistics: bool = True
) -> Evaluation:
    evaluation = Evaluation(model, run, assumptions.operators, statistics=statistics)
    for item in inputs:
        if item.name in assumptions.given:
            values = np.asarray(assumptions.given[item.name])
            if values.dtype.kind == "f":
                values = values.astype(run.float_type)
        else:
            drawn = draw(item, run.generator, run.draws, run.float_type)
            if drawn is None:
                evaluation.lose(item.name, f"input of kind {item.kind}", dtype=item.dtype, depends=True)
                continue
            values = drawn
        evaluation.feed(item, values)
    with np.errstate(all="ignore"):
        evaluation.walk(model.graph)
    return evaluation
