"""Measure a model: feed it, read every tensor's statistics, say what ran where and whether it repeats."""

import time
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path

import msgspec
import numpy as np

from initlint.graph import Model
from initlint.inputs import FLOATS, Input, generator_for
from initlint.probe.feeds import Feeds, fed, fitted, load_data, pairs
from initlint.probe.folding import Measured, fold
from initlint.probe.runnable import Part, runnable_part, with_unknown
from initlint.probe.sensitivity import gradients, movements
from initlint.probe.session import CPU, open_session, pair, providers_of_nodes, run
from initlint.probe.taps import Tap
from initlint.probe.twins import instrument
from initlint.signal.propagate import Propagation

__all__ = ["Probe", "ProbeOptions", "measure_model"]

FAR_MEAN = 8.0  # |mean| / std from which squares are taken about the mean: at 30 float32 is off by 1e-4
SQUARABLE = (1e-15, 1e15)  # magnitudes whose squares float32 holds
ROUNDING = {"float16": 2.0**-8, "bfloat16": 2.0**-5}  # differences that rounding explains, of the tensor's magnitude
WORK = 1e11  # multiply-adds that the runs on synthetic data may cost; heavier models get fewer runs
PAIRS = (
    8,
    64,
)  # pairs of runs: 8, and for graphs of few tensors more, so that a unit dead 99 times in 100 is told apart
TAPPED = 6400  # tensors reduced in all runs together, beyond which a model gets 8
# Operators that only arrange: what comes out has the statistics of what goes in.
ARRANGING = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})


class ProbeOptions(msgspec.Struct, frozen=True):
    """How to measure: pairs of runs (None: as many as the model's work allows), seed, device, the user's own data."""

    samples: int | None = None
    seed: int = 0
    device: str = "cpu"
    data: str | None = None
    sensitivity: bool = True


class Probe(msgspec.Struct, frozen=True):
    """What onnxruntime did with the model."""

    measured: Mapping[str, Measured]
    providers: Mapping[str, tuple[str, ...]]  # provider -> kinds of operators that it ran
    samples: int
    fed: Mapping[str, str]  # input -> what it was given
    repeatable: bool | None  # two runs of one feed agree
    gradient_std: Mapping[str, float]  # of layer outputs, by finite differences
    movement: Mapping[str, float] = msgspec.field(default_factory=dict)  # rms change when the input moves, any unit
    still: Mapping[str, float] = msgspec.field(
        default_factory=dict
    )  # share of a layer's channels that did not move then
    left_out: tuple[str, ...] = ()  # operators that did not run, with what depends on them
    strayed: tuple[str, ...] = ()  # kinds of operators that ran elsewhere than on the device asked for
    varying: tuple[str, ...] = ()  # tensors whose shape depends on the data: not measured
    seconds: float = 0.0
    roots: tuple[tuple[float, float], ...] = ()  # predicted and measured signal std of each root


def measure_model(
    model: Model,
    inputs: Sequence[Input],
    prediction: Propagation,
    layers: Sequence[str],
    options: ProbeOptions,
    report: Callable[[float], None] = lambda _: None,
) -> Probe:
    """Run the model and measure every float tensor the prediction has a shape for; `layers` are layer outputs.

    `report` is told how long the first pair of runs took. Raises Refusal where no part of the model runs, or the device
    asked for is not there.
    """
    started = time.perf_counter()
    feeds, described = _feeds(inputs, model, prediction, options)
    taps, aliases = _taps(model, prediction, frozenset(layers))
    dependent = frozenset(prediction.dtypes) | frozenset(prediction.unknown)
    part = runnable_part(model, taps, dependent, feeds[0], options.device)
    part = with_unknown(model, part, prediction.unknown, dependent, feeds[0], options.device)
    report(time.perf_counter() - started)
    measured = fold(
        part.instrumented.taps, run(part.session, part.instrumented.outputs, (pair(*item) for item in feeds))
    )
    measured |= _again(model, part, measured, dependent, feeds, options)
    one = feeds[0][0]
    if feeds[0][1] is one:
        for item in measured.values():
            item.signal_std = None
    repeated = fold(part.instrumented.taps, run(part.session, part.instrumented.outputs, [pair(one, one)]))
    moved: dict[str, Measured] = {}
    gradient_std: dict[str, float] = {}
    if options.sensitivity:
        generator = generator_for(model, options.seed + 3)
        moved = movements(part, inputs, [item[0] for item in feeds[:2]], generator, options.device)
        chosen = {tap.name: tap for tap in part.instrumented.taps}
        gradient_std = gradients(
            model, part.nodes, [chosen[name] for name in dict.fromkeys(layers) if name in chosen], measured, one, generator,
            work=max(prediction.work, 1.0), most_work=len(feeds) * prediction.work, device=options.device,
        )  # fmt: skip
    repeatable = _repeats(repeated, measured, prediction.dtypes)
    measured |= {name: measured[source] for name, source in aliases.items() if source in measured}
    moved |= {name: moved[source] for name, source in aliases.items() if source in moved}
    providers, strayed = _providers(part, pair(one, one), options.device)
    return Probe(
        measured=measured,
        providers=providers,
        strayed=strayed,
        samples=2 * len(feeds),
        fed=described,
        repeatable=repeatable,
        gradient_std=gradient_std,
        movement={name: item.signal_std for name, item in moved.items() if item.signal_std is not None},
        still={name: item.still_fraction for name, item in moved.items() if item.still_fraction is not None},
        left_out=part.left_out,
        varying=part.varying,
        seconds=time.perf_counter() - started,
        roots=_roots(measured, prediction),
    )


def _feeds(
    inputs: Sequence[Input], model: Model, prediction: Propagation, options: ProbeOptions
) -> tuple[list[tuple[Feeds, Feeds]], dict[str, str]]:
    """Pairs of feeds, and in words what each input was given."""
    generator = generator_for(model, options.seed + 2)
    words = {item.name: f"{item.kind} {item.dtype}{list(item.shape)}" for item in inputs}
    if options.data is None:
        most = np.clip(TAPPED / max(len(prediction.signals), 1), *PAIRS)
        affordable = int(np.clip(WORK / max(2 * prediction.work, 1.0), 1, most))
        return list(pairs(inputs, generator, options.samples or affordable)), words
    loaded = load_data(Path(options.data), {item.name: item.shape for item in inputs})
    samples = fitted(loaded, {item.name: item for item in inputs})
    rest = [item for item in inputs if any(item.name not in sample for sample in samples)]
    whole = [{**fed(rest, generator), **sample} for sample in samples]
    amount = (
        str(len(samples)) if len(samples) == len(loaded) else f"{len(samples)} of {len(loaded)}, those of one shape"
    )
    for name in samples[0]:
        words[name] = f"{options.data} {samples[0][name].dtype}{list(samples[0][name].shape)} x {amount}"
    # An odd one out is paired with the first; a single sample has no signal to show.
    return [(one, whole[(2 * index + 1) % len(whole)]) for index, one in enumerate(whole[::2])], words


def _taps(model: Model, prediction: Propagation, layers: frozenset[str]) -> tuple[tuple[Tap, ...], dict[str, str]]:
    """What is tapped, and tensors that are another one arranged anew: those take its figures."""
    present = {info.name for info in model.graph.inputs}
    source: dict[str, str] = {}
    inner: set[str] = set()
    for graph in model.graphs():
        for node in graph.nodes:
            present.update(node.outputs)
            if graph is not model.graph:
                inner.update(node.outputs)
            elif node.op in ARRANGING and node.inputs and not node.domain:
                source[node.outputs[0]] = node.inputs[0]
    taps: list[Tap] = []
    aliases: dict[str, str] = {}
    for name, dtype in prediction.dtypes.items():
        shape = prediction.shapes[name]
        if dtype not in FLOATS or not prod(shape) or name not in present:
            continue
        origin = source.get(name)
        origin = aliases.get(origin, origin) if origin is not None else None
        if (
            origin is not None
            and prediction.dtypes.get(origin) == dtype
            and prod(prediction.shapes[origin]) == prod(shape)
        ):
            aliases[name] = origin
            continue
        signal = prediction.signals.get(name)
        far = signal is not None and abs(signal.mean) > FAR_MEAN * signal.std
        taps.append(
            Tap(
                name, shape, prediction.producers.get(name, "").rpartition("::")[2], dtype,
                channel_axis=prediction.channel_axes.get(name), centre=signal.mean if signal is not None and far else 0.0,
                channels_apart=name in layers,
            )
        )  # fmt: skip
    return tuple(taps), aliases


def _again(
    model: Model,
    part: Part,
    measured: Mapping[str, Measured],
    dependent: frozenset[str],
    feeds: Sequence[tuple[Feeds, Feeds]],
    options: ProbeOptions,
) -> dict[str, Measured]:
    """A second look at tensors whose squares float32 did not hold: about the measured mean, in units of their magnitude."""
    far = tuple(
        adjusted for tap in part.instrumented.taps if (adjusted := _adjusted(tap, measured[tap.name])) is not None
    )
    if not far:
        return {}
    again = instrument(model, part.nodes, far, dependent)
    found = fold(
        again.taps, run(open_session(again, device=options.device), again.outputs, (pair(*item) for item in feeds))
    )
    for name, item in found.items():
        item.nans, item.infs = measured[name].nans, measured[name].infs
    return found


def _adjusted(tap: Tap, item: Measured) -> Tap | None:
    """The tap as it should have been, where the first look was not good enough."""
    if tap.dtype == "float64":
        return None
    low, high = SQUARABLE
    if item.absmax and (item.overflowed or not low < item.absmax < high):
        return msgspec.structs.replace(tap, scale=1.0 / item.absmax)
    if item.mean is None or item.std is None or not item.std:
        return None
    if FAR_MEAN * item.std < abs(item.mean - tap.centre):
        return msgspec.structs.replace(tap, centre=item.mean)
    return None


def _repeats(
    repeated: Mapping[str, Measured], measured: Mapping[str, Measured], dtypes: Mapping[str, str]
) -> bool | None:
    """Whether one feed given to both copies gives the same values, up to the rounding of each tensor's type."""
    if not repeated:
        return None
    return all(
        item.signal_std is None
        or item.signal_std <= ROUNDING.get(dtypes.get(name, ""), 2.0**-18) * measured[name].absmax
        for name, item in repeated.items()
    )


def _providers(part: Part, feed: Feeds, device: str) -> tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]:
    """What ran where, and what strayed; on the CPU there is nothing to ask."""
    if device == "cpu":
        return {CPU: ()}, ()
    return providers_of_nodes(part.instrumented, feed, device)


def _roots(measured: Mapping[str, Measured], prediction: Propagation) -> tuple[tuple[float, float], ...]:
    """The roots' signal as predicted and as measured: the two differ where the user's own data was fed."""
    references = set(prediction.reference_std.values())
    return tuple(
        (signal.signal_std, item.signal_std)
        for name, item in measured.items()
        if (signal := prediction.signals.get(name)) is not None and signal.signal_std in references and item.signal_std
    )
