"""Lint a model and log the verdict to MLflow: metrics to plot and gate on, the JSON and the HTML report as artifacts.

python samples/mlflow/log_initlint.py MODEL        into the active tracking server; the exit code is initlint's
"""

import sys
from collections import Counter

import mlflow

import initlint
from initlint.formats import render


def metrics(report: initlint.Report) -> dict[str, float]:
    """What is worth a curve over runs: counts by severity and by rule, coverage, the span of the signal."""
    counting = [finding for finding in report.findings if finding.counts]
    found = {f"initlint/{severity}s": 0.0 for severity in ("error", "warning", "note")}
    found |= {f"initlint/{name}s": float(n) for name, n in Counter(item.severity for item in counting).items()}
    found |= {f"initlint/rule/{code}": float(n) for code, n in Counter(item.code for item in counting).items()}
    row = report.facts.query("SELECT coverage, signal_span, backward_range FROM model")[0]
    found |= {f"initlint/{name}": value for name, value in row.items() if isinstance(value, float)}
    return found


def log(path: str) -> initlint.Report:
    """Lint the model and log it to the active run."""
    report = initlint.check(path)
    mlflow.log_metrics(metrics(report))
    mlflow.set_tag("initlint.ok", str(report.ok).lower())
    mlflow.log_text(report.to_json().decode(), "initlint/report.json")
    mlflow.log_text(render(report, "html"), "initlint/report.html")
    return report


if __name__ == "__main__":
    with mlflow.start_run():
        linted = log(sys.argv[1])
    sys.exit(0 if linted.ok else 1)  # outside: leaving by an exception marks the run as failed
