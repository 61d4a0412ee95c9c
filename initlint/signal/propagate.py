"""Evaluate a graph on joint draws of its input: every tensor's distribution, without onnxruntime and without data.

Each value is an array `[s, *shape]` (see `operators.table`); slice `[i]` of all of them together is one forward pass, so
products, residual joins, normalisations, attention and padding need no approximation: what is left is sampling error,
`1/sqrt(2 s n)` relative for n independent elements. The textbook product `prod(1/2 n_l Var[w_l])` (He et al. 2015, eq. 10)
assumes ReLU, zero means and independent weights; `docs/accuracy.md` compares the two.

A pilot on two draws finds what one draw costs; the number of draws, the float type and, for inputs too large, the
resolution follow from it and never from a clock, so two runs agree to the byte.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import msgspec
import numpy as np

from initlint.errors import Refusal
from initlint.graph import Model
from initlint.inputs import LARGEST_INPUT, TRIALS, Input, describe, draw, generator_for
from initlint.operators import load
from initlint.operators.table import Array, Run
from initlint.signal.evaluate import Evaluation
from initlint.signal.given import as_given, sizes_from
from initlint.signal.holding import most_bytes, most_constant, most_constants
from initlint.signal.statistics import Signal

__all__ = ["Assumptions", "Propagation", "drawn", "propagate"]

PILOT_DRAWS = 2
MOST_DRAWS = 256  # sampling error of a single element's std: 4 %
FEWEST_DRAWS = 16  # sampling error of a signal of one effective dimension: 13 %
WORK = 1.5e9  # multiply-adds the main evaluation aims at: a tenth of a second on two cores
COSTLY = 2e10  # multiply-adds from which fewer draws than FEWEST_DRAWS are made: less than a second
COSTLY_DRAWS = 4  # of a network that large: the fewest whose scatter says anything; its tensors have many elements
WORK_LIMIT = 1.5e11  # multiply-adds that are not exceeded: what the deadline allows a small file
WORK_A_BYTE = 1e3  # added to the limit for each byte of the file, as the deadline is
EXACT_WORK = 2e9  # up to here float64 costs nothing that a user would notice
ELEMENTS = 1 << 25  # of the largest tensor, draws included
# By how much image sides are divided in turn: those assumed for symbolic dimensions, and those that the file fixes.
REDUCTIONS = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 4), (8, 8))


class Assumptions(msgspec.Struct, frozen=True):
    """What the user may say about the input and the operators; the defaults are stated in `docs/signal.md`."""

    sizes: Mapping[str, int] = msgspec.field(default_factory=dict)
    seed: int = 0
    plain: bool = False  # N(0, 1) even where the graph begins with its own normalisation
    given: Mapping[str, Any] = msgspec.field(
        default_factory=dict
    )  # joint draws [s, *shape] of inputs, in place of made-up ones
    operators: Mapping[str, str] = msgspec.field(default_factory=dict)  # custom operator -> identity | relu | ignore
    draws: int | None = None


class Propagation(msgspec.Struct, frozen=True):
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
    channel_moments: Mapping[str, Any] = msgspec.field(
        default_factory=dict
    )  # BatchNormalization -> (means, stds) of its input
    channel_axes: Mapping[str, int | None] = msgspec.field(default_factory=dict)  # of a tensor's units, None: not known
    notes: tuple[str, ...] = ()

    @property
    def coverage(self) -> float | None:
        """Share of input-dependent float tensors whose signal is known; None where there are none."""
        total = len(self.signals) + len(self.unknown)
        return len(self.signals) / total if total else None


class Pilot(msgspec.Struct, frozen=True):
    """What a first evaluation found out: the inputs' sizes, and what one draw costs."""

    evaluation: Evaluation
    inputs: tuple[Input, ...]
    notes: tuple[str, ...]

    @property
    def work(self) -> float:
        """Multiply-adds of one draw."""
        return max(self.evaluation.run.work / PILOT_DRAWS, 1.0)

    @property
    def held(self) -> float:
        """Bytes of one draw, of all values that vary and were held at once."""
        return max(self.evaluation.run.most_varying / PILOT_DRAWS, 1.0)


def propagate(model: Model, assumptions: Assumptions | None = None) -> Propagation:
    """Predict every tensor's signal under the assumptions. Raises Refusal where the graph contradicts itself."""
    assumptions = assumptions or Assumptions()
    load()
    pilot = _pilot(model, assumptions, dry=True)
    main = _main(model, assumptions, pilot)
    if len(main.contradictions) > len(pilot.evaluation.contradictions):
        # The values decide about shapes: the noise of a dry run was not good enough.
        pilot = _pilot(model, assumptions, dry=False)
        main = _main(model, assumptions, pilot)
    return Propagation(
        signals=main.signals,
        dtypes=main.dtypes,
        shapes=main.shapes,
        unknown=main.unknown,
        ignored=frozenset(main.ignored),
        reference_std=main.reference_std(),
        producers=main.producers,
        inputs=pilot.inputs,
        draws=main.run.draws,
        float_type=np.dtype(main.run.float_type).name,
        work=pilot.work,
        channel_moments=main.channel_moments,
        channel_axes=main.channel_axes,
        notes=pilot.notes,
    )


def _main(model: Model, assumptions: Assumptions, pilot: Pilot) -> Evaluation:
    """The evaluation that is measured: draws and float type by what the pilot cost."""
    largest = pilot.evaluation.largest
    room = most_bytes(model) - pilot.evaluation.run.most_fixed
    fitting = max(int(room / pilot.held), PILOT_DRAWS)
    draws = assumptions.draws or min(_draws(pilot.work, largest, _limit(model)), fitting)
    draws = min([draws, *(len(values) for values in assumptions.given.values())])
    exact = pilot.work * draws <= EXACT_WORK and largest * draws <= ELEMENTS // 2 and 2 * pilot.held * draws <= room
    run = Run(
        draws=draws,
        float_type=np.float64 if exact else np.float32,
        max_elements=max(4 * ELEMENTS, draws * largest),
        max_constant=most_constant(model),
        max_constants=most_constants(model),
        max_bytes=most_bytes(model),
        max_work=4 * pilot.work * draws + WORK,
        generator=generator_for(model, assumptions.seed),
    )
    return _evaluate(model, pilot.inputs, assumptions, run)


def _limit(model: Model) -> float:
    return WORK_LIMIT + WORK_A_BYTE * model.size


def _draws(per_draw: float, largest: int, limit: float) -> int:
    affordable = min(int(WORK / per_draw), ELEMENTS // max(largest, 1))
    fewest = int(np.clip(COSTLY / per_draw, COSTLY_DRAWS, FEWEST_DRAWS))
    if largest * fewest > 4 * ELEMENTS or per_draw * fewest > limit:
        fewest = PILOT_DRAWS
    return int(np.clip(affordable, fewest, MOST_DRAWS))


def _pilot(model: Model, assumptions: Assumptions, *, dry: bool) -> Pilot:
    """The first evaluation that works out: sizes for symbolic dimensions in turn, then lower resolutions.

    Where no trial is free of contradictions, the one that knows most tensors is taken.
    """
    best: tuple[tuple[int, bool, float], Pilot] | None = None
    refusal: Refusal | None = None
    free = any(not isinstance(extent, int) for info in model.graph.inputs for extent in info.shape or ())
    for trial in range(len(TRIALS) if free else 1):
        tried: set[tuple[tuple[int, ...], ...]] = set()
        for assumed, fixed in REDUCTIONS:
            inputs = _inputs(model, assumptions, trial, assumed, fixed)
            if (shapes := tuple(item.shape for item in inputs)) in tried:
                continue
            tried.add(shapes)
            run = Run(
                draws=PILOT_DRAWS,
                float_type=np.float32,
                max_elements=min(4 * ELEMENTS, most_bytes(model) // 8),
                max_constant=most_constant(model),
                max_constants=most_constants(model),
                max_bytes=most_bytes(model),
                max_work=_limit(model),
                generator=generator_for(model, assumptions.seed),
                dry=dry,
            )
            try:
                evaluation = _evaluate(model, inputs, assumptions, run, statistics=False)
            except Refusal as error:
                refusal = refusal or error
                break
            notes = tuple(f"{item.name}: {note}" for item in inputs for note in item.assumed)
            pilot = Pilot(evaluation, inputs, notes)
            cheap = pilot.work * COSTLY_DRAWS <= COSTLY
            # Of sizes that are all costly the least costly one is left: what is free should not cost the deadline.
            rank = (len(evaluation.dtypes) - 2 * len(evaluation.unknown), cheap, 0.0 if cheap else -pilot.work)
            if best is None or rank > best[0]:
                best = (rank, pilot)
            if not evaluation.too_large and (cheap or assumed > 2):
                break
        if best is not None and not best[1].evaluation.unknown:
            break
        if best is not None and not best[1].evaluation.contradictions:
            break
    if best is None:
        raise refusal if refusal is not None else AssertionError("no trial was made")
    return best[1]


def _inputs(model: Model, assumptions: Assumptions, trial: int, assumed: int, fixed: int) -> tuple[Input, ...]:
    """Every input under these sizes; one whose data was given as the data says."""
    given = assumptions.given
    sizes = {**sizes_from(model, given), **assumptions.sizes}
    inputs = describe(model, sizes=sizes, trial=trial, reduce=assumed, shrink=fixed, plain=assumptions.plain)
    return tuple(as_given(item, given[item.name]) if item.name in given else item for item in inputs)


def drawn(item: Input, assumptions: Assumptions, run: Run) -> Array | None:
    """Values `[s, *shape]` for an input: of the data given, made up otherwise; None for text."""
    given = assumptions.given.get(item.name)
    if given is None:
        return draw(item, run.generator, run.draws, run.float_type)
    values = np.asarray(given)[: run.draws]
    if len(values) > 1 and not (values != values[:1]).any():
        values = values[:1]
    return values.astype(run.float_type) if values.dtype.kind == "f" else values


def _evaluate(
    model: Model, inputs: tuple[Input, ...], assumptions: Assumptions, run: Run, *, statistics: bool = True
) -> Evaluation:
    evaluation = Evaluation(model, run, assumptions.operators, statistics=statistics)
    for item in inputs:
        values = drawn(item, assumptions, run)
        if values is not None:
            evaluation.feed(item, values)
            continue
        large = prod(item.shape) > LARGEST_INPUT
        evaluation.too_large |= large
        reason = f"an input of {prod(item.shape):.3g} elements" if large else f"input of kind {item.kind}"
        evaluation.lose(item.name, reason, dtype=item.dtype, depends=True)
    with np.errstate(all="ignore"):
        evaluation.walk(model.graph)
    return evaluation
