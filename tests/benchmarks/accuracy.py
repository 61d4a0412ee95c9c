"""Predicted against measured signal: |log2(predicted / true)| over every float tensor of at least 16 elements.

Truth is onnxruntime without optimisation on independent draws of the same input distribution (N(0, 1), ids uniform over
their table), every intermediate tensor fetched. Tensors whose signal is below 2^-18 of their total std are lost in float32's
rounding and scored as right when the prediction is below as well.

    python tests/benchmarks/accuracy.py MODEL_OR_FOLDER... [--json OUT] [--worst N]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from initlint.errors import Refusal
from initlint.inputs import draw
from initlint.model import open_model
from initlint.signal.propagate import Assumptions, Propagation, propagate
from initlint.signal.statistics import Signal, measure

RUNS = 16
LOST = 2.0**-18


def truth(path: Path, prediction: Propagation, wanted: list[str], seed: int = 12345) -> dict[str, Signal]:
    """Statistics of the wanted tensors over RUNS single runs of onnxruntime."""
    proto = onnx.load(str(path))
    present = {output for node in proto.graph.node for output in node.output}
    existing = {output.name for output in proto.graph.output}
    names = [name for name in wanted if name in present]
    if not names:
        return {}
    for name in names:
        if name not in existing:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    generator = np.random.Generator(np.random.Philox(seed))
    large = sum(int(np.prod(prediction.shapes[name])) for name in names) * RUNS > 1 << 28
    runs = 4 if large else RUNS
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
    return {
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


def calibration(rows: list[dict[str, object]]) -> dict[str, float]:
    """How honest the stated errors are: a standard normal has 68 % of |z| below 1 and 95 % below 2."""
    scores = np.array([row["z"] for row in rows if row["z"] is not None], dtype=float)
    if not scores.size:
        return {}
    return {
        "tensors": int(scores.size),
        "below_1": round(float(np.mean(scores < 1)), 4),
        "below_2": round(float(np.mean(scores < 2)), 4),
        "below_3": round(float(np.mean(scores < 3)), 4),
    }


def compare(path: Path) -> dict[str, object]:
    """Errors of one model, tensor by tensor."""
    started = time.perf_counter()
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True))
    spent = time.perf_counter() - started
    wanted = [name for name, signal in prediction.signals.items() if signal.elements >= 16]
    rows = []
    for name, true in truth(path, prediction, wanted).items():
        signal = prediction.signals[name]
        if true.nan_fraction or true.inf_fraction or not np.isfinite(true.std):
            continue
        lost = true.signal_std < LOST * true.std or true.signal_std < 1e-30
        rows.append(
            {
                "tensor": name,
                "op": prediction.producers.get(name, ""),
                "std": error(signal.std, true.std) if true.std > LOST * abs(true.mean) else 0.0,
                "signal_std": (0.0 if signal.signal_std < 4 * LOST * max(signal.std, 1e-30) else 20.0)
                if lost
                else error(signal.signal_std, true.signal_std),
                "absmax": error(signal.absmax, true.absmax),
                "z": score(signal, true) if not lost else None,
                "predicted": [signal.std, signal.signal_std, signal.absmax],
                "true": [true.std, true.signal_std, true.absmax],
            }
        )
    return {
        "model": path.name,
        "coverage": prediction.coverage,
        "known": len(prediction.signals),
        "total": len(prediction.signals) + len(prediction.unknown),
        "draws": prediction.draws,
        "seconds": spent,
        "unknown": dict(list(prediction.unknown.items())[:5]),
        "rows": rows,
    }


def summary(rows: list[dict[str, object]], figure: str) -> dict[str, float]:
    """Median, p90 and share within one bit."""
    values = np.array([row[figure] for row in rows], dtype=float)
    if not values.size:
        return {}
    return {
        "tensors": int(values.size),
        "median": round(float(np.median(values)), 4),
        "p90": round(float(np.quantile(values, 0.9)), 4),
        "within_1_bit": round(float(np.mean(values <= 1)), 4),
    }


def main() -> None:
    """Compare, print the table, optionally keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worst", type=int, default=0)
    options = parser.parse_args()
    files = [file for path in options.paths for file in (sorted(path.rglob("*.onnx")) if path.is_dir() else [path])]
    results = []
    for file in files:
        try:
            result = compare(file)
        except Refusal as refusal:
            print(f"{file.name}: refused: {refusal}", file=sys.stderr)
            continue
        except Exception as failure:
            print(f"{file.name}: no truth: {type(failure).__name__} {str(failure)[:160]}", file=sys.stderr)
            continue
        results.append(result)
        rows = result["rows"]
        figures = "  ".join(
            f"{figure} {s['median']:.3f}/{s['p90']:.3f}/{s['within_1_bit']:.2f}"
            for figure in ("std", "signal_std", "absmax")
            if (s := summary(rows, figure))
        )
        coverage = result["coverage"]
        print(
            f"{file.name[:50]:50} S={result['draws']:<4}{result['seconds']:6.2f}s cov {coverage if coverage is None else round(coverage, 3)}  {figures}"
        )
        for row in sorted(rows, key=lambda row: -row["signal_std"])[: options.worst]:
            print("      ", row)
        if result["unknown"] and options.worst:
            print("       unknown:", result["unknown"])
    everything = [row for result in results for row in result["rows"]]
    table = {figure: summary(everything, figure) for figure in ("std", "signal_std", "absmax")}
    table["calibration"] = calibration(everything)
    table["coverage"] = {
        "float_tensors": sum(result["total"] for result in results),
        "known": round(
            sum(result["known"] for result in results) / max(sum(result["total"] for result in results), 1), 5
        ),
        "models": len(results),
    }
    print(json.dumps(table, indent=1))
    if options.json:
        options.json.write_text(
            json.dumps({"table": table, "models": [{**r, "rows": len(r["rows"])} for r in results]}, indent=1)
        )


if __name__ == "__main__":
    main()
