"""`sarif`: SARIF 2.1.0 (OASIS), as GitHub's code scanning and editors read it."""

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import msgspec

from initlint.formats import View, words
from initlint.report import Finding, Report, RuleRecord, Skipped, rounded

__all__ = ["render", "uri_of"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
PRECISION = {"high": "high", "medium": "medium", "low": "low"}


def render(report: Report, _view: View) -> str:
    """One run. Folded findings are left to the finding that explains them."""
    index = {rule.code: position for position, rule in enumerate(report.rules)}
    where = words.positions(report)
    paths = {model.model: model.path for model in report.models}
    run = {
        "tool": {
            "driver": {
                "name": "initlint",
                "version": report.run.version or "0",
                "rules": [_rule(rule) for rule in report.rules],
            }
        },
        "invocations": [
            {
                "executionSuccessful": not report.skipped,
                "toolExecutionNotifications": [_notification(item) for item in report.skipped],
            }
        ],
        "columnKind": "utf16CodeUnits",
        "results": [_result(finding, index, paths, where) for finding in words.shown(report, verbose=False)],
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(rounded(document)), indent=1).decode() + "\n"


def uri_of(path: str) -> str:
    """A path as the relative URI that viewers resolve against the repository, or a `file` URI where it is absolute."""
    plain = path.replace("\\", "/")
    if plain.startswith("/"):
        return "file://" + quote(plain)
    return quote(str(PurePosixPath(plain)))


def _rule(rule: RuleRecord) -> dict[str, Any]:
    text = f"{rule.what}\n\nWhy: {rule.why}\n\nWhat to do: {rule.fix}\n\nLimits: {rule.limits}"
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.what.partition(". ")[0]},
        "fullDescription": {"text": rule.what},
        "help": {"text": text},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"tags": [rule.over], "precision": PRECISION.get(rule.confidence, "medium")},
    }


def _result(finding: Finding, index: dict[str, int], paths: dict[str, str], where: words.Positions) -> dict[str, Any]:
    blamed = words.blame(finding, where)
    text = finding.message + ("; to blame: " + "; ".join(blamed) if blamed else "")
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": finding.severity,
        "message": {"text": f"{finding.place}: {text}"},
        "locations": [_location(paths.get(finding.model, finding.model), finding)],
        # No measured number: the same fault in a retrained model is the same alert.
        "partialFingerprints": {"initlint/v1": f"{finding.fingerprint}:{finding.ordinal}"},
    }
    if finding.code in index:
        result["ruleIndex"] = index[finding.code]
    if finding.fix:
        result["properties"] = {"fix": finding.fix, "values": finding.values}
    if not finding.counts:
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": words.suppression(finding) or ""}
        ]
    return result


def _location(path: str, finding: Finding | None = None) -> dict[str, Any]:
    # GitHub refuses a whole file for one result without a physical location.
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": uri_of(path)}, "region": {"startLine": 1}}
    }
    if finding is not None:
        logical = {"name": finding.node or finding.place, "fullyQualifiedName": finding.place, "kind": "element"}
        location["logicalLocations"] = [logical]
    return location


def _notification(item: Skipped) -> dict[str, Any]:
    return {
        "level": "error",
        "descriptor": {"id": item.reason},
        "message": {"text": f"not analysed: {item.message}"},
        "locations": [_location(item.path)],
    }
