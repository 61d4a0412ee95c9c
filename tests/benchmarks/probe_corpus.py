"""Probe every model of a folder: how many run without being told anything, which rules fire on sound and on broken ones.

With a `manifest.json` beside them (a list of records with `file`, `part`, `ort_run`, `trained`, `truth_summary`), models
that plain onnxruntime runs are those whose `ort_run` is "ok", and a broken one counts as shown by a forward pass where its
truth holds NaN or infinities, or a signal beyond 256 times or below 1/256 of the input's. Without one, a default session
is run on the feeds that the prediction assumes, and every model counts as a sound one.

    python tests/benchmarks/probe_corpus.py FOLDER [--json OUT]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime as ort

from initlint.analysis import Settings, analyse
from initlint.config import Config
from initlint.errors import Refusal
from initlint.inputs import generator_for
from initlint.model import open_model
from initlint.probe.feeds import fed
from initlint.signal.propagate import propagate

MEASURED = {"IL501", "IL502", "IL503", "IL504", "IL505"}
LOUD = {"error", "warning"}
LIMIT = 256.0


def plain_run(path: Path) -> str:
    """Whether a default session runs the model on the assumed feeds: ok, or why not."""
    try:
        with open_model(path) as model:
            feeds = fed(propagate(model).inputs, generator_for(model, 1))
        options = ort.SessionOptions()
        options.log_severity_level = 4
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds)
    except Exception as error:
        return str(error)[:200]
    return "ok"


def shown(record: dict[str, Any]) -> bool:
    """Whether the truth of a broken model's forward pass shows its fault."""
    truth = record.get("truth_summary") or {}
    largest, least = truth.get("max_signal_ratio"), truth.get("min_signal_ratio")
    return bool(
        truth.get("first_nonfinite_layer") or (largest and largest[0] > LIMIT) or (least and least[0] < 1 / LIMIT)
    )


def probed(path: Path) -> dict[str, Any]:
    """Status, findings of the measured rules and time of one model."""
    started = time.perf_counter()
    try:
        report = analyse(str(path), Settings(Config(probe=True, all_tensors=True), path.stem))
    except Refusal as refusal:
        return {"status": "refused", "message": refusal.message, "codes": []}
    probe = report.run.probe
    return {
        "status": probe["status"],
        "message": probe["message"],
        "left_out": probe.get("left_out", []),
        "repeatable": probe.get("repeatable"),
        "tensors": len(report.tensors),
        "measured": sum(item["measured_absmax"] is not None for item in report.tensors),
        "codes": sorted({(item.code, item.severity) for item in report.findings if item.code[:3] in {"IL5", "IL0"}}),
        "seconds": time.perf_counter() - started,
        "probe_seconds": probe.get("seconds"),
    }


def records(folder: Path) -> list[dict[str, Any]]:
    """What there is to probe."""
    manifest = folder / "manifest.json"
    if manifest.is_file():
        return list(json.loads(manifest.read_text("utf-8")))
    files = sorted(folder.rglob("*.onnx"))
    return [{"file": str(file.relative_to(folder)), "part": "trained", "trained": "yes"} for file in files]


def main() -> None:
    """Probe, print one line a model and the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for record in records(options.folder):
        path = options.folder / record["file"]
        runs = record.get("ort_run") or ("not known" if "truth_summary" in record else plain_run(path))
        row = {"file": record["file"], "part": record["part"], "runs": runs, "shown": shown(record), **probed(path)}
        row["trained"] = str(record.get("trained", "")).startswith("yes")
        rows.append(row)
        loud = [code for code, severity in row["codes"] if severity in LOUD]
        print(
            f"{row['part']:8}{row['file'][-60:]:60} {row['status']:11} {row.get('measured')}/{row.get('tensors')} {loud}",
            flush=True,
        )
    running = [row for row in rows if row["runs"] == "ok"]
    trained = [row for row in rows if row["part"] == "trained" and row["trained"]]
    broken = [row for row in rows if row["part"] == "bad" and row["shown"]]
    false = [
        row["file"] for row in trained if any(code in MEASURED and level == "error" for code, level in row["codes"])
    ]
    caught = [row for row in broken if any(code in MEASURED and level in LOUD for code, level in row["codes"])]
    summary = {
        "models": len(rows),
        "plain onnxruntime runs": len(running),
        "of these probed": sum(row["status"] == "measured" for row in running),
        "status": dict(Counter(row["status"] for row in rows)),
        "float tensors": sum(row.get("tensors") or 0 for row in running),
        "of these measured": sum(row.get("measured") or 0 for row in running),
        "broken, and a forward pass shows it": len(broken),
        "of these caught by a measured rule": len(caught),
        "trained and working": len(trained),
        "of these with a measured error": false,
        "prediction disagrees (IL003)": [row["file"] for row in rows if ("IL003", "note") in row["codes"]],
        "not repeatable": [row["file"] for row in rows if row.get("repeatable") is False],
    }
    print(json.dumps(summary, indent=1))
    if options.json:
        options.json.write_text(json.dumps({"summary": summary, "rows": rows}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
