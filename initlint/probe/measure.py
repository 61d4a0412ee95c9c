"""Measure a model: feed it, read every tensor's statistics, say what ran where and whether it repeats."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod, sqrt
from pathlib import Path

import numpy as np

from initlint.errors import Reason, Refusal
from initlint.graph import Model, Node
from initlint.inputs import FLOATS, Input, generator_for
from initlint.probe.feeds import Feeds, fed, load_data, pairs
from initlint.probe.instrument import Instrumented, Tap, instrument
from initlint.probe.session import Measured, open_session, providers_used, run
from initlint.signal.propagate import Propagation

__all__ = ["Probe", "ProbeOptions", "measure_model"]

ATTEMPTS = 12  # operators that onnxruntime may lack before the probe gives up
FAR_MEAN = 30.0  # |mean| / std from which float32 squares lose digits and a second, centred pass is made
ROUNDING = {"float16": 2.0**-8, "bfloat16": 2.0**-5}  # differences that rounding explains, of the tensor's std
STEP = 1e-2  # of a tensor's std: size of the perturbation behind the measured gradient
MOST_PERTURBED = 64
PERTURBATIONS = 4  # random directions a layer is moved in


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How to measure: pairs of runs, seed, device, the user's own data, whether gradients are measured."""

    samples: int = 8
    seed: int = 0
    device: str = "cpu"
    data: str | None = None
    sensitivity: bool = True
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """What onnxruntime did with the model."""

    measured: Mapping[str, Measured]
    providers: tuple[str, ...]
    samples: int
    fed: Mapping[str, str]  # input -> what it was given
    repeatable: bool | None  # two runs of one feed agree
    gradient_std: Mapping[str, float]  # of layer outputs, by finite differences
    left_out: tuple[str, ...] = ()  # operators that onnxruntime does not have, with what depends on them
    seconds: float = 0.0
    root_scale: float = 1.0  # measured over predicted signal std of the roots
    notes: tuple[str, ...] = field(default=())


def measure_model(
    model: Model, inputs: Sequence[Input], prediction: Propagation, layers: Sequence[str], options: ProbeOptions
) -> Probe:
    """Run the model and measure every float tensor the prediction has a shape for; `layers` are layer outputs.

    Raises Refusal where no part of the model runs, or the device asked for is not there.
    """
    started = time.perf_counter()
    generator = generator_for(model, options.seed + 2)
    feeds = _feeds(inputs, generator, options)
    present = _main_values(model)
    taps = tuple(
        Tap(name, prediction.shapes[name], prediction.producers.get(name, "").rpartition("::")[2])
        for name, dtype in prediction.dtypes.items()
        if dtype in FLOATS and prod(prediction.shapes[name]) > 0 and name in present
    )
    dependent = frozenset(prediction.dtypes) | frozenset(prediction.unknown)
    nodes, left_out, instrumented = _that_runs(model, taps, dependent, options)
    session = open_session(instrumented, device=options.device, threads=options.threads)
    measured = run(session, instrumented, feeds)
    measured |= _centred(model, instrumented, measured, dependent, nodes, feeds, options)
    same = feeds[0][0]
    repeated = run(session, instrumented, [(same, same)])
    gradients = {}
    if options.sensitivity:
        tapped = {tap.name for tap in instrumented.taps}
        chosen = [name for name in layers if name in tapped][:MOST_PERTURBED]
        gradients = _sensitivity(model, instrumented, measured, dependent, nodes, chosen, feeds[0][0], options)
    return Probe(
        measured=measured,
        providers=tuple(providers_used(session)),
        samples=2 * len(feeds),
        fed={item.name: f"{item.kind} {item.dtype}{list(item.shape)}" for item in inputs},
        repeatable=_repeats(repeated, measured, prediction.dtypes),
        gradient_std=gradients,
        left_out=tuple(left_out),
        seconds=time.perf_counter() - started,
        root_scale=_root_scale(measured, prediction),
    )


def _root_scale(measured: Mapping[str, Measured], prediction: Propagation) -> float:
    """How much larger the signal of the roots is than assumed: not 1 where the user's own data was fed."""
    references = set(prediction.reference_std.values())
    for name, item in measured.items():
        signal = prediction.signals.get(name)
        if signal is not None and signal.signal_std in references and item.signal_std > 0 and signal.signal_std > 0:
            return item.signal_std / signal.signal_std
    return 1.0


def _feeds(inputs: Sequence[Input], generator: np.random.Generator, options: ProbeOptions) -> list[tuple[Feeds, Feeds]]:
    if options.data is None:
        return list(pairs(inputs, generator, options.samples))
    shapes = {item.name: item.shape for item in inputs}
    samples = load_data(Path(options.data), shapes)
    rest = [item for item in inputs if any(item.name not in sample for sample in samples)]
    whole = [{**fed(rest, generator), **sample} for sample in samples]
    if len(whole) == 1:
        return [(whole[0], whole[0])]
    return [(whole[index], whole[index + 1]) for index in range(0, len(whole) - 1, 2)]


def _main_values(model: Model) -> frozenset[str]:
    names = {output for node in model.graph.nodes for output in node.outputs}
    return frozenset(names.union(info.name for info in model.graph.inputs))


def _that_runs(
    model: Model, taps: Sequence[Tap], dependent: frozenset[str], options: ProbeOptions
) -> tuple[tuple[Node, ...], list[str], Instrumented]:
    """The largest part of the model that onnxruntime takes: nodes behind an operator it lacks are left out."""
    nodes = model.graph.nodes
    left_out: list[str] = []
    for _ in range(ATTEMPTS):
        made = {output for node in nodes for output in node.outputs} | {info.name for info in model.graph.inputs}
        kept = tuple(tap for tap in taps if tap.name in made)
        if not kept:
            raise Refusal(
                Reason.UNSUPPORTED, f"no part of the model runs in onnxruntime (left out: {', '.join(left_out)})"
            )
        instrumented = instrument(model, kept, dependent=dependent, nodes=nodes)
        try:
            open_session(instrumented, device=options.device, threads=options.threads)
        except Refusal as refusal:
            missing = _missing_operator(refusal.message, nodes)
            if missing is None:
                raise
            left_out.append(missing)
            nodes = _without(nodes, missing)
            continue
        return nodes, left_out, instrumented
    raise Refusal(Reason.UNSUPPORTED, f"onnxruntime lacks too many operators: {', '.join(left_out)}")


def _missing_operator(message: str, nodes: Sequence[Node]) -> str | None:
    """The kind of operator that onnxruntime says it does not have."""
    present = {node.op: node.kind for node in nodes}
    for pattern in (
        r"find an implementation for (?:the node [^:]*:)?([\w.]+)\(",
        r"([\w.]+)\(\d+\) is not a registered",
        r"No Op registered for ([\w.]+)",
        r"Fatal error: (?:[\w.]+:)*([\w.]+)\(",
    ):
        found = re.search(pattern, message)
        if found and found.group(1).rpartition(".")[2] in present:
            return present[found.group(1).rpartition(".")[2]]
    return None


def _without(nodes: Sequence[Node], kind: str) -> tuple[Node, ...]:
    lost: set[str] = set()
    kept = []
    for node in nodes:
        if node.kind == kind or any(name in lost for name in node.inputs):
            lost.update(name for name in node.outputs if name)
        else:
            kept.append(node)
    return tuple(kept)


def _centred(
    model: Model,
    instrumented: Instrumented,
    measured: Mapping[str, Measured],
    dependent: frozenset[str],
    nodes: Sequence[Node],
    feeds: Sequence[tuple[Feeds, Feeds]],
    options: ProbeOptions,
) -> dict[str, Measured]:
    """A second pass for tensors whose mean dwarfs their std: float32 squares are taken about the mean."""
    far = tuple(
        replace(tap, centre=item.mean)
        for tap in instrumented.taps
        if (item := measured[tap.name]).std * FAR_MEAN < abs(item.mean) and item.mean
    )
    if not far:
        return {}
    again = instrument(model, far, dependent=dependent, nodes=nodes)
    return run(open_session(again, device=options.device, threads=options.threads), again, feeds)


def _repeats(
    repeated: Mapping[str, Measured], measured: Mapping[str, Measured], dtypes: Mapping[str, str]
) -> bool | None:
    """Whether one feed given to both copies gives the same values, up to the rounding of each tensor's type."""
    if not repeated:
        return None
    return all(
        item.signal_std
        <= ROUNDING.get(dtypes.get(name, ""), 2.0**-18) * max(measured[name].std, abs(measured[name].mean))
        for name, item in repeated.items()
    )


def _sensitivity(
    model: Model,
    instrumented: Instrumented,
    measured: Mapping[str, Measured],
    dependent: frozenset[str],
    nodes: Sequence[Node],
    layers: Sequence[str],
    feed: Feeds,
    options: ProbeOptions,
) -> dict[str, float]:
    """RMS gradient of a random combination of the outputs at each layer, by perturbing the layer in one copy.

    For u ~ N(0, I), E |J u|^2 is the squared Frobenius norm of the Jacobian; divided by the layer's size it is the mean
    square gradient of `sum(c y)` for c ~ N(0, 1), the quantity the prediction reports.
    """
    shapes = {tap.name: tap.shape for tap in instrumented.taps}
    ends = {info.name for info in model.graph.outputs}
    taps = tuple(tap for tap in instrumented.taps if tap.name in ends)
    if not taps or not layers:
        return {}
    perturbed = instrument(model, taps, dependent=dependent, nodes=nodes, perturbed=layers)
    session = open_session(perturbed, device=options.device, threads=options.threads)
    generator = generator_for(model, options.seed + 3)
    found = {}
    for name in layers:
        step = STEP * (measured[name].std or 1.0)
        feeds = [
            (
                {
                    **feed,
                    f"initlint_delta/{name}": generator.standard_normal(shapes[name], dtype=np.float32)
                    * np.float32(step),
                },
                feed,
            )
            for _ in range(PERTURBATIONS)
        ]
        results = run(session, perturbed, feeds)
        # `signal_std` halves the mean square of the difference; undo that and count elements instead of averaging.
        energy = sum(2 * item.signal_std**2 * item.elements for item in results.values())
        found[name] = sqrt(energy / prod(shapes[name])) / step
    return found
