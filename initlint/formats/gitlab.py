"""`gitlab`: the code quality report that GitLab shows in merge requests."""

import hashlib
from typing import Any

import msgspec

from initlint.formats import View, words
from initlint.report import Finding, Report, Skipped

__all__ = ["render"]

SEVERITIES = {"error": "critical", "warning": "minor", "note": "info"}


def render(report: Report, _view: View) -> str:
    """A list of issues, worst first; findings that do not count are of severity info."""
    paths = {model.model: model.path for model in report.models}
    issues = [_refused(item) for item in report.skipped]
    issues += [_issue(item, paths.get(item.model, item.model)) for item in words.shown(report, verbose=False)]
    return msgspec.json.format(msgspec.json.encode(issues), indent=1).decode() + "\n"


def _issue(finding: Finding, path: str) -> dict[str, Any]:
    suppressed = words.suppression(finding)
    description = f"{finding.place}: {finding.message}" + (f" ({suppressed})" if suppressed else "")
    return {
        "description": description,
        "check_name": f"{finding.code} {finding.name}",
        "fingerprint": _hash(f"{finding.fingerprint}:{finding.ordinal}"),
        "severity": SEVERITIES[finding.severity] if finding.counts else "info",
        "location": {"path": path, "lines": {"begin": 1}},
    }


def _refused(item: Skipped) -> dict[str, Any]:
    return {
        "description": f"not analysed: {item.message}",
        "check_name": f"refused {item.reason}",
        "fingerprint": _hash(f"{item.reason}:{item.model}"),
        "severity": "blocker",
        "location": {"path": item.path, "lines": {"begin": 1}},
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
