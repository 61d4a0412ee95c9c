"""Facts of tensors, stored weights and edges, and the growth of the signal along its way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite, log2
from typing import Any

from initlint.elements import FLOATS, format_of
from initlint.graph import Model, Node
from initlint.index import Index
from initlint.signal.backward import Backward
from initlint.signal.blame import carriers
from initlint.signal.propagate import Propagation
from initlint.signal.statistics import Signal
from initlint.weights import WeightStatistics, statistics

__all__ = ["BOUNDED", "edge_rows", "growth", "signal_part", "tensor_rows", "weight_rows"]

# Operators that bound what they give: a saturated output is judged as such, not as a lost signal.
BOUNDED = frozenset({"Softmax", "LogSoftmax", "Hardmax", "Sigmoid", "HardSigmoid", "Tanh", "Softsign", "Erf", "Sign"})
# Steps of a normalisation, a softmax or a reduction: their scale is not the signal's.
ASIDE = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceSumSquare", "ReduceProd",
     "ReduceLogSumExp", "Pow", "Sqrt", "Reciprocal", "Exp", "Log", "ArgMax", "TopK", "DynamicQuantizeLinear",
     "CumSum", "RandomNormalLike", "RandomUniformLike", "Range", "Shape", "Where", "NonZero", "ScatterND", "Hardmax"}
)  # fmt: skip


def signal_part(name: str, propagation: Propagation, dtype: str, backward: Backward) -> dict[str, Any]:
    """The signal columns of a tensor; empty where it is not known."""
    signal = propagation.signals.get(name)
    if signal is None:
        return {}
    reference = propagation.reference_std.get(name)
    limits = format_of(dtype)
    return {
        "mean": signal.mean,
        "std": signal.std,
        "signal_std": signal.signal_std,
        "reference_std": reference,
        "cumulative_gain": signal.signal_std / reference if reference else None,
        "absmax": signal.absmax,
        "zero_fraction": signal.zero_fraction,
        "nan_fraction": signal.nan_fraction,
        "inf_fraction": signal.inf_fraction,
        "dead_fraction": signal.dead_fraction,
        "saturated_fraction": signal.saturated_fraction,
        "onehot_fraction": signal.onehot_fraction,
        "uniform_fraction": signal.uniform_fraction,
        "headroom": log2(limits.largest / signal.absmax) if limits is not None and signal.absmax > 0 else None,
        "gradient_std": finite(backward.gradient_std.get(name)),
        "gradient_error_bits": finite(backward.error_bits.get(name)),
        "error_bits": signal.error_bits,
    }


def finite(value: float | None) -> float | None:
    """The value, where it is a number."""
    return value if value is not None and isfinite(value) else None


def tensor_rows(
    index: Index,
    propagation: Propagation,
    *,
    absorbed: frozenset[str],
    masks: frozenset[str],
    depths: Mapping[str, int],
    backward: Backward,
) -> Iterator[dict[str, Any]]:
    """One row for each floating tensor between inputs and outputs, in the order of computation."""
    names = [name for name in propagation.dtypes if name in propagation.signals]
    ends = [name for name in index.outputs if name in propagation.signals]
    if not ends:  # knowledge ends before the outputs: then what nothing known reads
        read = {item for name in names if (node := index.producer.get(name)) is not None for item in node.inputs}
        ends = [name for name in names if name not in read]
    carrying = carriers(sorted(ends), index.producer, propagation.signals)
    broken = {name for name, item in propagation.signals.items() if item.nan_fraction or item.inf_fraction}
    for position, name in enumerate([*names, *propagation.unknown]):
        node = index.producer.get(name)
        dtype = propagation.dtypes.get(name, "float32")
        limits = format_of(dtype)
        known = name in propagation.signals
        op = node.op if node is not None else ""
        shape = propagation.shapes.get(name)
        yield {
            "position": position,
            "name": name,
            "node": node.name if node is not None else None,
            "op": node.kind if node is not None else "input",
            "dtype": dtype,
            "shape": "x".join(map(str, shape)) if shape is not None else None,
            "elements": propagation.signals[name].elements if known else None,
            "depth": depths.get(name, 0),
            "known": known,
            "reason": propagation.unknown.get(name),
            "absorbed": name in absorbed,
            "mask": name in masks,
            "output": name in index.outputs,
            "inner_softmax": op == "Softmax" and not _is_final(name, index),
            "bounded": op in BOUNDED,
            "aside": op in ASIDE
            or (op == "Cast" and _is_raw_code(node, index))
            or (op == "Div" and node is not None and node.inputs[0] in index.constants),
            "carrier": name in carrying if known else None,
            "largest": limits.largest if limits is not None else None,
            "smallest_normal": limits.smallest_normal if limits is not None else None,
            "epsilon": limits.epsilon if limits is not None else None,
            "first_not_finite": name in broken and (node is None or not any(item in broken for item in node.inputs)),
            **signal_part(name, propagation, dtype, backward),
        }


def _is_raw_code(node: Node | None, index: Index) -> bool:
    """Whether a Cast makes floats of an integer product that is yet to be scaled: its unit is not the signal's."""
    before = index.producer.get(node.inputs[0]) if node is not None else None
    return before is not None and before.op in {"MatMulInteger", "ConvInteger"}


def _is_final(name: str, index: Index) -> bool:
    """Whether a softmax is the model's own output, or only reshaped on its way there."""
    for _ in range(6):
        if name in index.outputs:
            return True
        node = index.only_consumer(name)
        if node is None or node.op not in {"Identity", "Reshape", "Squeeze", "Cast", "Slice", "Flatten", "Unsqueeze"}:
            return False
        name = node.outputs[0]
    return False


def weight_rows(
    model: Model,
    index: Index,
    known: Mapping[str, WeightStatistics],
    masks: frozenset[str],
    target: str,
) -> list[dict[str, Any]]:
    """One row for each stored floating tensor; statistics that were taken already, for the same target, are not taken again."""
    limits = format_of(target)
    rows = []
    places: dict[int, dict[str, int]] = {}  # node -> name -> first input of the name; a node may have a million
    for tensor in model.initializers():
        if tensor.dtype not in FLOATS or tensor.count == 0 or tensor.name not in index.consumers:
            continue
        found = known.get(tensor.name) or statistics(tensor, target=limits)
        node = index.consumers[tensor.name][0]
        finite_values = max(found.count - found.nans - found.infs, 1)
        if node.index not in places:
            places[node.index] = {name: place for place, name in reversed(list(enumerate(node.inputs)))}
        rows.append(
            {
                "name": tensor.name,
                "node": node.name,
                "slot": f"{node.op} input {places[node.index][tensor.name]}",
                "dtype": tensor.dtype,
                "shape": "x".join(map(str, tensor.shape)),
                "count": found.count,
                "mean": found.mean,
                "variance": found.variance,
                "minimum": found.minimum,
                "maximum": found.maximum,
                "absmax": found.absmax,
                "zeros": found.zeros,
                "nans": found.nans,
                "infs": found.infs,
                "subnormals": found.subnormals,
                "kurtosis": found.kurtosis,
                "mask": tensor.name in masks,
                "target_overflow": found.overflows / finite_values,
                "target_flush": found.flushes / finite_values,
            }
        )
    return rows


def edge_rows(model: Model, known: Mapping[str, Signal], depths: Mapping[str, int]) -> Iterable[dict[str, Any]]:
    """One row for each known tensor that another is computed from."""
    for node in model.nodes():
        for name in dict.fromkeys(node.inputs):  # a node may read one tensor a million times
            if name in known:
                for output in node.outputs:
                    if output in known:
                        yield {"src": name, "dst": output, "depth": depths.get(output, 0)}


def growth(stds: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """The longest run of layers over which the std only grows or only falls, with its mean factor a layer."""
    best: tuple[int, int] = (0, 0)
    start = 0
    logs = [
        log2(after / before) if before > 0 and after > 0 else 0.0
        for (_, before), (_, after) in zip(stds, stds[1:], strict=False)
    ]
    for position, value in enumerate(logs):
        if position and (value == 0 or (value > 0) != (logs[position - 1] > 0)):
            start = position
        if position + 1 - start > best[1] - best[0]:
            best = (start, position + 1)
    length = best[1] - best[0]
    if length == 0:
        return {"growth_layers": 0.0}
    mean = sum(logs[best[0] : best[1]]) / length
    return {
        "growth_layers": float(length),
        "growth_factor": 2.0**mean,
        "growth_from": stds[best[0]][0],
        "growth_to": stds[best[1]][0],
    }
