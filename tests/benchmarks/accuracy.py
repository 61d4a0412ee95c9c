"""Predicted against measured signal: |log2(predicted / true)| over every float tensor of at least 16 elements.

Truth is onnxruntime without optimisation on independent draws of the same input distribution (N(0, 1), ids uniform over
their table), every intermediate tensor fetched. Tensors whose signal is below 2^-18 of their total std are lost in float32's
rounding and scored as right when the prediction is below as well.

    python tests/benchmarks/accuracy.py MODEL_OR_FOLDER... [--worst N]

prints a line a model; `accuracy_table.py` rebuilds the published table.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from initlint.errors import Refusal
from initlint.inputs import draw
from initlint.model import open_model
from initlint.signal.propagate import Assumptions, Propagation, propagate
from initlint.signal.statistics import Signal, measure

__all__ = ["FIGURES", "Compared", "Row", "calibration", "compare", "summary"]

FIGURES = ("std", "signal_std", "absmax")
FEWEST_RUNS, MOST_RUNS = 4, 64
ELEMENTS = 1 << 27  # of all tensors of all runs that are held at once
FEWEST = 16  # elements of a tensor that is scored
LOST = 2.0**-18


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor: errors in bits; `stated` is the prediction's own standard error, `z` the error in units of both sides'."""

    tensor: str
    op: str
    std: float
    signal_std: float
    absmax: float
    stated: float | None
    z: float | None
    predicted: tuple[float, float, float]
    true: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Compared:
    """One model: float tensors in all, those whose signal is known, and the rows that could be scored."""

    known: int
    total: int
    draws: int
    runs: int
    seconds: float
    unknown: dict[str, str]
    rows: list[Row]


def truth(path: Path, prediction: Propagation, seed: int = 12345) -> tuple[int, dict[str, Signal]]:
    """Number of runs, and statistics of the predicted tensors over single runs of onnxruntime."""
    proto = onnx.load(str(path))
    present = {output for node in proto.graph.node for output in node.output}
    existing = {output.name for output in proto.graph.output}
    names = [
        name for name, signal in prediction.signals.items() if signal.elements >= FEWEST and name in present
    ]  # fmt: skip
    if not names:
        return 0, {}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in existing)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    generator = np.random.Generator(np.random.Philox(seed))
    each = sum(int(np.prod(prediction.shapes[name])) for name in names)
    runs = int(np.clip(ELEMENTS // max(each, 1), FEWEST_RUNS, MOST_RUNS))
    collected: dict[str, list[np.ndarray]] = defaultdict(list)
    for _ in range(runs):
        feeds = {}
        for item in prediction.inputs:
            values = draw(item, generator, 1, np.float32)
            assert values is not None
            feeds[item.name] = np.asarray(values[0].astype(np.float16) if item.dtype == "float16" else values[0])
        for name, value in zip(names, session.run(names, feeds), strict=True):
            if isinstance(value, np.ndarray):
                collected[name].append(value)
    return runs, {
        name: measure(np.stack(values).astype(np.float32))
        for name, values in collected.items()
        if len({value.shape for value in values}) == 1 and values[0].dtype.kind == "f"
    }


def error(predicted: float, true: float) -> float:
    """|log2| of the ratio; both nothing is right, one nothing counts as 20 bits."""
    if predicted <= 0 and true <= 0:
        return 0.0
    if predicted <= 0 or true <= 0:
        return 20.0
    return min(abs(float(np.log2(predicted / true))), 20.0)


def score(predicted: Signal, true: Signal) -> float | None:
    """The error of the signal std in units of the standard error that both sides state; None where one states none."""
    if not predicted.error_bits or not true.error_bits or predicted.signal_std <= 0 or true.signal_std <= 0:
        return None
    stated = (predicted.error_bits**2 + true.error_bits**2) ** 0.5
    return abs(float(np.log2(predicted.signal_std / true.signal_std))) / stated


def compare(path: Path) -> Compared:
    """Errors of one model, tensor by tensor."""
    started = time.perf_counter()
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True))
    spent = time.perf_counter() - started
    runs, measured = truth(path, prediction)
    rows = []
    for name, true in measured.items():
        signal = prediction.signals[name]
        if true.nan_fraction or true.inf_fraction or not np.isfinite(true.std):
            continue
        lost = true.signal_std < LOST * true.std or true.signal_std < 1e-30
        below = signal.signal_std < 4 * LOST * max(signal.std, 1e-30)
        rows.append(
            Row(
                tensor=name,
                op=prediction.producers.get(name, ""),
                std=error(signal.std, true.std) if true.std > LOST * abs(true.mean) else 0.0,
                signal_std=(0.0 if below else 20.0) if lost else error(signal.signal_std, true.signal_std),
                absmax=error(signal.absmax, true.absmax),
                stated=signal.error_bits,
                z=None if lost else score(signal, true),
                predicted=(signal.std, signal.signal_std, signal.absmax),
                true=(true.std, true.signal_std, true.absmax),
            )
        )
    known, lost_count = len(prediction.signals), len(prediction.unknown)
    few = dict(list(prediction.unknown.items())[:5])
    return Compared(known, known + lost_count, prediction.draws, runs, spent, few, rows)


def summary(errors: Sequence[float]) -> dict[str, float]:
    """Median, p90 and share within one bit."""
    values = np.asarray(errors, dtype=float)
    if not values.size:
        return {}
    return {
        "tensors": int(values.size),
        "median": round(float(np.median(values)), 4),
        "p90": round(float(np.quantile(values, 0.9)), 4),
        "within_1_bit": round(float(np.mean(values <= 1)), 4),
    }


def calibration(scores: Sequence[float]) -> dict[str, float]:
    """How honest stated errors are: a standard normal has 68.3 % of |z| below 1 and 95.4 % below 2."""
    values = np.asarray(scores, dtype=float)
    if not values.size:
        return {}
    return {
        "tensors": int(values.size),
        "below_1": round(float(np.mean(values < 1)), 4),
        "below_2": round(float(np.mean(values < 2)), 4),
        "below_3": round(float(np.mean(values < 3)), 4),
    }


def main() -> None:
    """Compare and print a line a model, then the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--worst", type=int, default=0)
    options = parser.parse_args()
    files = [file for path in options.paths for file in (sorted(path.rglob("*.onnx")) if path.is_dir() else [path])]
    everything: list[Row] = []
    known = total = 0
    for file in files:
        try:
            result = compare(file)
        except Refusal as refusal:
            print(f"{file.name}: refused: {refusal}", file=sys.stderr)
            continue
        except Exception as failure:
            print(f"{file.name}: no truth: {type(failure).__name__} {str(failure)[:160]}", file=sys.stderr)
            continue
        known, total = known + result.known, total + result.total
        everything += result.rows
        print(line(file.name, result))
        for row in sorted(result.rows, key=lambda row: -row.signal_std)[: options.worst]:
            print("      ", asdict(row))
        if result.unknown and options.worst:
            print("       unknown:", result.unknown)
    table: dict[str, object] = {name: summary([getattr(row, name) for row in everything]) for name in FIGURES}
    table["calibration"] = calibration([row.z for row in everything if row.z is not None])
    table["coverage"] = round(known / max(total, 1), 5)
    print(json.dumps(table, indent=1))


def line(name: str, result: Compared) -> str:
    """One model's figures."""
    figures = "  ".join(
        f"{figure} {s['median']:.3f}/{s['p90']:.3f}/{s['within_1_bit']:.2f}"
        for figure in FIGURES
        if (s := summary([getattr(row, figure) for row in result.rows]))
    )
    return f"{name[:50]:50} S={result.draws:<4}{result.seconds:6.2f}s {result.known}/{result.total}  {figures}"


if __name__ == "__main__":
    main()
