"""Sensitivity without autograd: move the input, or one layer's output, a little and measure what changes downstream.

For u ~ N(0, I), E |J u|^2 is the squared Frobenius norm of the Jacobian J (Hutchinson 1990). Divided by the number of
elements that were moved it is the mean square gradient of `sum(c y)` for c ~ N(0, 1), the quantity that the prediction
reports as `gradient_std`.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import prod, sqrt

import numpy as np

from initlint.graph import Model, Node
from initlint.inputs import FLOATS, Input, Kind
from initlint.probe.folding import Measured, fold
from initlint.probe.runnable import Part
from initlint.probe.session import Feeds, open_session, pair, run
from initlint.probe.taps import Tap
from initlint.probe.twins import DELTA, perturbable

__all__ = ["gradients", "movements"]

# Of a tensor's std: small enough to see no curvature, large enough to rise above the rounding of its type.
STEPS = {"float16": 2.0**-6, "bfloat16": 2.0**-4}
STEP = 2.0**-10  # also of bfloat16 on the CPU, which computes it in float32
MOST_LAYERS = 64
MOST_DIRECTIONS = 4  # random directions a layer is moved in
WORK = 1e10  # multiply-adds that the layers' perturbations may always cost


def movements(
    part: Part, inputs: Sequence[Input], feeds: Iterable[Feeds], generator: np.random.Generator, device: str
) -> dict[str, Measured]:
    """How far each tensor moves when the float inputs move by `STEP` of their own std: the copies' difference, unscaled.

    Empty where the model has no float input to move.
    """
    moved = [item for item in inputs if item.kind is Kind.SIGNAL and item.dtype in FLOATS]
    if not moved:
        return {}
    pairs = []
    for feed in feeds:
        other = dict(feed)
        for item in moved:
            values = np.asarray(feed[item.name])
            noise = generator.standard_normal(values.shape, dtype=np.float32)
            step = _step(item.dtype, device) * (float(values.std(dtype=np.float64)) or 1.0)
            other[item.name] = (values.astype(np.float64) + step * noise).astype(values.dtype)
        pairs.append(pair(feed, other))
    return fold(part.instrumented.taps, run(part.session, part.instrumented.outputs, pairs))


def gradients(
    model: Model,
    nodes: Sequence[Node],
    layers: Sequence[Tap],
    measured: Mapping[str, Measured],
    feed: Feeds,
    generator: np.random.Generator,
    *,
    work: float,
    most_work: float,
    device: str,
) -> dict[str, float]:
    """RMS gradient of a random combination of the outputs at each layer; of evenly chosen ones where time is short.

    `work` is what one forward pass costs, in multiply-adds, and `most_work` what all of them may.
    """
    made = {name for node in nodes for name in node.outputs}
    ends = [info.name for info in model.graph.outputs if info.name in made and info.dtype in FLOATS]
    layers = [tap for tap in layers if tap.name in made and not tap.source and measured[tap.name].std is not None]
    if not ends or not layers:
        return {}
    affordable = max(int(max(most_work, WORK) / work), 2)
    directions = int(np.clip(affordable // len(layers), 1, MOST_DIRECTIONS))
    layers = _evenly(layers, min(MOST_LAYERS, affordable // directions))
    perturbed = perturbable(model, nodes, [(tap.name, tap.dtype) for tap in layers], ends)
    session = open_session(perturbed, device=device)
    (clean,) = run(session, ends, [feed])
    found = {}
    for tap in layers:
        step = _step(tap.dtype, device) * (measured[tap.name].std or 1.0)
        noise = [generator.standard_normal(tap.shape, dtype=np.float32) for _ in range(directions)]
        moved = run(session, ends, [{**feed, DELTA + tap.name: direction * np.float32(step)} for direction in noise])
        energy = [_energy(clean, outputs, ends) for outputs in moved]
        found[tap.name] = sqrt(float(np.mean(energy)) / prod(tap.shape)) / step
    return found


def _step(dtype: str, device: str) -> float:
    return STEP if device == "cpu" and dtype == "bfloat16" else STEPS.get(dtype, STEP)


def _evenly(layers: Sequence[Tap], count: int) -> list[Tap]:
    """At most `count` of the layers, the first and the last among them."""
    if len(layers) <= count:
        return list(layers)
    return [layers[index] for index in sorted({round(i * (len(layers) - 1) / max(count - 1, 1)) for i in range(count)})]


def _energy(clean: Feeds, moved: Feeds, names: Iterable[str]) -> float:
    total = 0.0
    for name in names:
        if clean[name].shape == moved[name].shape:
            difference = moved[name].astype(np.float64) - clean[name].astype(np.float64)
            total += float(np.sum(np.square(difference), where=np.isfinite(difference)))
    return total
