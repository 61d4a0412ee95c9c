"""Facts of one layer: its weights, where they come from, what they should be."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import prod, sqrt
from typing import Any, TypeAlias

import msgspec
import numpy as np

from initlint.absorption import fresh_statistics
from initlint.channels import duplicated_channels, matrix_of
from initlint.elements import FLOATS, Format
from initlint.graph import Model, Node
from initlint.histogram import histogram
from initlint.index import Index
from initlint.initializers import Origin, examine, std_kept, target_variance
from initlint.initializers.recipes import weight_recipe
from initlint.layers import Layer
from initlint.phase import LayerEvidence, NormEvidence, Phase, detect_phase, stand_out
from initlint.signal.propagate import Propagation
from initlint.weights import WeightStatistics, statistics

__all__ = ["Examined", "examine_layers", "layer_row", "norm_rows", "phase_of"]

DEAD_CHANNEL = 1e-7  # of the layer's root mean square weight norm (model-clinic's dead neurons)
NORMS = frozenset({"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"})
FEWEST_OF_A_KIND = 4
THREADED = 1 << 25  # bytes of weights from which threads pay
WORKERS = 4


_Read: TypeAlias = tuple[WeightStatistics, Origin | None, int, str | None]


class Examined(msgspec.Struct, frozen=True):
    """A layer with what its values say."""

    layer: Layer
    found: WeightStatistics | None
    origin: Origin | None
    duplicates: int | None
    histogram: str | None


def examine_layers(layers: Sequence[Layer], index: Index, target: Format | None = None) -> tuple[Examined, ...]:
    """Read each layer's weight once: statistics, initialiser, duplicated outputs. Weights shared by layers once in all."""
    jobs: dict[tuple[object, ...], Layer] = {}
    keys = []
    for layer in layers:
        own = id(layer.tensor) if layer.computed or layer.quantised else layer.weight
        key = (own, layer.layout, layer.op, layer.bias)
        keys.append(key)
        if layer.tensor is not None:
            jobs.setdefault(key, layer)
    size = sum(layer.tensor.nbytes for layer in jobs.values() if layer.tensor is not None)
    workers = min(os.cpu_count() or 1, WORKERS) if size > THREADED else 1
    done = dict(zip(jobs, _in_threads(lambda layer: _read(layer, index, target), jobs.values(), workers), strict=True))
    return tuple(
        Examined(layer, *done.get(key, (None, None, None, None))) for layer, key in zip(layers, keys, strict=True)
    )


def _in_threads(work: Callable[[Layer], _Read], layers: Collection[Layer], workers: int) -> Iterable[_Read]:
    """Apply to all layers, in several threads where these pay: numpy gives the lock back while it reads and sums."""
    if workers == 1:
        return [work(layer) for layer in layers]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - small models start faster without

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, layers))


def _median(values: Sequence[float]) -> float:
    """The middle of the sorted values; the standard library's needs fractions, whose import costs more than it."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0


def _read(layer: Layer, index: Index, target: Format | None) -> _Read:
    assert layer.tensor is not None
    found = statistics(layer.tensor, layer.layout, target)
    if layer.layout is None or not found.count or found.nans or found.infs:
        return found, None, 0, None
    bias = index.stored.get(layer.bias) if layer.bias is not None else None
    matrix = matrix_of(layer.tensor, layer.layout)
    values = bias.read() if bias is not None and bias.dtype in FLOATS and 0 < bias.count <= 1 << 20 else None
    origin = examine(
        matrix, layer.fan_in or 1.0, layer.fan_out or 1.0, bias=values, op=layer.node.op, groups=layer.groups
    )
    return found, origin, duplicated_channels(layer.tensor, layer.layout, found), histogram(matrix, found.absmax)


def phase_of(model: Model, examined: Sequence[Examined], index: Index) -> Phase:
    """The model's phase from its layers and normalisations."""
    layers = [
        LayerEvidence(item.origin.verdict, item.origin.scheme.distribution, item.origin.scheme.name, item.origin.bias)
        for item in examined
        if item.origin is not None and not item.layer.fixed
    ]
    norms = [_norm_evidence(node, index) for node in model.nodes() if node.op in NORMS]
    return detect_phase(layers, norms)


def _norm_evidence(node: Node, index: Index) -> NormEvidence:
    gain = index.stored.get(node.inputs[1]) if len(node.inputs) > 1 else None
    shift = index.stored.get(node.inputs[2]) if len(node.inputs) > 2 else None
    unit = None
    if gain is not None and gain.dtype in FLOATS and gain.count <= 1 << 20:
        unit = bool(np.all(gain.read().astype(np.float64) == 1.0))
        if unit and shift is not None and shift.count <= 1 << 20:
            unit = not np.any(shift.read().astype(np.float64))
    fresh = fresh_statistics(node, index) if node.op == "BatchNormalization" else None
    return NormEvidence(unit, fresh)


def untrained_flags(examined: Sequence[Examined]) -> tuple[bool | None, ...]:
    """For each layer: fresh among plainly trained ones; None where it cannot be told."""
    return stand_out(
        ["unknown" if item.origin is None or item.layer.fixed else item.origin.verdict for item in examined]
    )


def median_ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Median variance ratio of the layers of each operator, where there are enough."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        ratio = row.get("variance_ratio")
        if ratio is not None and ratio > 0:
            groups.setdefault(str(row["op"]), []).append(float(ratio))
    return {op: _median(ratios) for op, ratios in groups.items() if len(ratios) >= FEWEST_OF_A_KIND}


def layer_row(item: Examined, *, absorbed: bool, depth: int, untrained: bool | None) -> dict[str, Any]:
    """What is known of a layer without its signal."""
    layer, found, origin = item.layer, item.found, item.origin
    row: dict[str, Any] = {
        "position": layer.position,
        "depth": depth,
        "name": layer.name,
        "node": layer.name,
        "op": layer.op,
        "slot": layer.slot,
        "weight": layer.weight,
        "dtype": layer.dtype,
        "shape": "x".join(map(str, layer.shape)),
        "fan_in": layer.fan_in,
        "fan_out": layer.fan_out,
        "groups": layer.groups,
        "input": layer.input,
        "output": layer.output,
        "activation": layer.activation,
        "input_activation": layer.input_activation,
        "fixed": layer.fixed,
        "table_lookup": "table" in layer.slot or "embedding" in layer.slot,
        "computed": layer.computed,
        "quantised": layer.quantised,
        "absorbed": absorbed,
        "residual": layer.residual,
        "untrained": untrained,
        "histogram": item.histogram,
    }
    if found is not None:
        row |= _weight_part(layer, found, item.duplicates)
    if origin is not None:
        row |= _origin_part(origin)
    return row


def _weight_part(layer: Layer, found: WeightStatistics, duplicates: int | None) -> dict[str, Any]:
    variance = found.variance * layer.scale**2
    zero = found.absmax == 0 and not found.nans and not found.infs
    part: dict[str, Any] = {
        "count": found.count,
        "weight_mean": found.mean * layer.scale,
        "variance": variance,
        "weight_std": sqrt(variance),
        "absmax_weight": found.absmax * abs(layer.scale),
        "kurtosis": found.kurtosis,
        "constant": found.constant and not zero,
        "zero": zero,
        "finite": not (found.nans or found.infs),
        "duplicated_outputs": duplicates,
    }
    moments = found.channel_second_moment
    if moments is not None and len(moments):
        typical = float(moments.mean())
        part["outputs"] = len(moments)
        part["dead_outputs"] = float(np.mean(moments <= DEAD_CHANNEL**2 * typical)) if typical > 0 else None
    if layer.fan_in and layer.fan_out and "table" not in layer.slot and "embedding" not in layer.slot:
        target = target_variance(
            layer.activation, layer.activation_parameter, layer.fan_in, layer.fan_out, layer.activation_moment
        )
        if target is not None and target.variance > 0:
            part |= {
                "target_rule": target.rule,
                "target_variance": target.variance,
                "target_std": sqrt(target.variance),
                "variance_ratio": variance / target.variance,
                "std_kept": std_kept(variance, layer.fan_in, layer.activation, layer.activation_parameter),
            }
            recipe = weight_recipe(
                layer.node.op,
                layer.slot,
                layer.weight,
                target.rule,
                sqrt(target.variance),
                _shape_fans(layer),
                layer.groups,
            )
            part |= {"pytorch_init": recipe.pytorch, "keras_init": recipe.keras}
    return part


def _shape_fans(layer: Layer) -> tuple[float, float]:
    """Fan-in and fan-out as frameworks count them: a stride or a border changes neither."""
    if layer.node.op == "Conv" and len(layer.shape) > 2:
        taps = prod(layer.shape[2:])
        return float(layer.shape[1] * taps), float(layer.shape[0] * taps)
    return layer.fan_in or 1.0, layer.fan_out or 1.0


def _origin_part(origin: Origin) -> dict[str, Any]:
    part: dict[str, Any] = {
        "initializer": origin.scheme.name,
        "initializer_phrase": origin.scheme.phrase,
        "initializer_std": origin.scheme.expected_std,
        "origin": origin.verdict,
        "bias_kind": origin.bias,
    }
    if origin.independence is not None:
        part["edge_ratio"] = origin.independence.edge_ratio
        part["row_dispersion"] = origin.independence.row_dispersion
    return part


def norm_rows(
    model: Model, index: Index, propagation: Propagation, depths: Mapping[str, int], start: int
) -> list[dict[str, Any]]:
    """Rows of the layer table for normalisations, behind the layers."""
    rows: list[dict[str, Any]] = []
    for node in model.nodes():
        if node.op not in NORMS or len(node.inputs) < 2:
            continue
        row: dict[str, Any] = {
            "position": start + len(rows),
            "depth": depths.get(node.outputs[0], 0),
            "name": node.name,
            "node": node.name,
            "op": node.kind,
            "slot": "statistics" if node.op == "BatchNormalization" else "gain",
            "input": node.inputs[0],
            "output": node.outputs[0],
            "norm_degenerate": _degenerate(node, index),
        }
        if node.op == "BatchNormalization":
            row["statistics_fresh"] = fresh_statistics(node, index)
            row |= _contradiction(node, index, propagation)
        rows.append(row)
    return rows


def _degenerate(node: Node, index: Index) -> str | None:
    values = [index.stored.get(name) for name in node.inputs[1:5]]
    gain = values[0]
    if gain is not None and gain.dtype in FLOATS and gain.count and not np.any(gain.read().astype(np.float64)):
        return None if _joins(node, index) else "its scale is zero throughout: nothing passes"
    if node.op != "BatchNormalization" or len(values) < 4 or values[3] is None:
        return None
    variance = values[3].read().astype(np.float64)
    epsilon = node.attributes.get("epsilon", 1e-5)
    if np.any(variance < 0):
        channel = int(np.argmax(variance < 0))
        return f"variance {variance[channel]:.3g} in channel {channel}: a square root of a negative number"
    if epsilon == 0 and np.any(variance == 0):
        return f"variance 0 in channel {int(np.argmax(variance == 0))} with an epsilon of 0: a division by zero"
    return None


def _joins(node: Node, index: Index) -> bool:
    """Whether the normalisation ends a residual branch."""
    name = node.outputs[0]
    for _ in range(4):
        readers = index.consumers.get(name, ())
        if any(reader.op in {"Add", "Sum"} for reader in readers):
            return True
        if len(readers) != 1:
            return False
        name = readers[0].outputs[0]
    return False


def _contradiction(node: Node, index: Index, propagation: Propagation) -> dict[str, Any]:
    """How far the recorded statistics are from those of the prediction."""
    moments = propagation.channel_moments.get(node.name)
    recorded = [index.stored.get(name) for name in node.inputs[3:5]]
    if moments is None or len(recorded) < 2 or recorded[0] is None or recorded[1] is None:
        return {}
    mean, variance = (item.read().astype(np.float64) for item in recorded if item is not None)
    if np.any(variance <= 0) or mean.shape != moments[0].shape or not np.all(np.isfinite(moments[1])):
        return {}
    std = np.sqrt(variance)
    predicted = np.maximum(np.asarray(moments[1], np.float64), 1e-30)
    return {
        "statistics_shift": float(
            np.max(np.abs(np.asarray(moments[0], np.float64) - mean) / np.maximum(std, predicted))
        ),
        "statistics_scale": float(np.median(np.log2(predicted / std))),
    }
