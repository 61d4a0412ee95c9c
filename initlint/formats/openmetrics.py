"""`openmetrics`: gauges for a Prometheus textfile collector; labels are the model, the code and the severity only."""

from collections import Counter

from initlint.formats import View
from initlint.report import Report

__all__ = ["gauge", "labels", "render"]


def render(report: Report, _view: View) -> str:
    """The exposition, sorted, with its end marker."""
    findings = Counter((item.model, item.code, item.severity) for item in report.findings if item.counts)
    refused = Counter(item.model for item in report.skipped)
    lines = gauge("initlint_findings", "Findings that count, by model, code and severity.")
    lines += [
        f"initlint_findings{labels(model=model, code=code, severity=severity)} {amount}"
        for (model, code, severity), amount in sorted(findings.items())
    ]
    lines += gauge("initlint_model_analysed", "1 for a model that was analysed, 0 for one that was refused.")
    analysed = {**{item.model: 1 for item in report.models}, **dict.fromkeys(refused, 0)}
    lines += [f"initlint_model_analysed{labels(model=model)} {value}" for model, value in sorted(analysed.items())]
    for name, text, attribute in (
        ("initlint_coverage_ratio", "Share of floating tensors whose signal is known.", "coverage"),
        ("initlint_parameters", "Weights of the model's layers.", "parameters"),
    ):
        lines += gauge(name, text)
        values = {item.model: getattr(item, attribute) for item in report.models}
        lines += [
            f"{name}{labels(model=model)} {value:.6g}" for model, value in sorted(values.items()) if value is not None
        ]
    return "\n".join([*lines, "# EOF"]) + "\n"


def gauge(name: str, text: str) -> list[str]:
    """The two lines that introduce a gauge."""
    return [f"# TYPE {name} gauge", f"# HELP {name} {text}"]


def labels(**values: str) -> str:
    """Labels in braces, their values escaped."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
