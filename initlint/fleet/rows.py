"""Rows of the store from what a scan found out."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from initlint.fleet.records import Outcome, Record, verdict_of
from initlint.fleet.schema import LAYER_COLUMNS
from initlint.fleet.urls import without_login
from initlint.formats.words import state
from initlint.report import RuleRecord
from initlint.text import safe

__all__ = ["MODEL", "OF_DUPLICATE", "findings", "insertion", "layers", "model", "rules"]

FACTS = ("layers", "parameters", "nodes", "opset", "producer", "phase", "coverage")  # of the report's model
MODEL = (
    "run", "name", "path", "content", "bytes", "outcome", "same_as", "verdict", "errors", "warnings", "notes", "distrusted",
    "reason", "message", "seconds", "recorded", *FACTS,
)  # fmt: skip
# Columns in which a duplicate differs from the model it is a duplicate of, as SQL over that model's row.
OF_DUPLICATE = {
    "name": ":name", "path": ":path", "outcome": "'duplicate'", "same_as": "name", "seconds": "0", "recorded": ":recorded",
}  # fmt: skip


def insertion(table: str, row: Mapping[str, Any]) -> str:
    """The statement that inserts such a row."""
    return _insertion(table, tuple(row))


@lru_cache(maxsize=16)
def _insertion(table: str, names: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"  # noqa: S608 - our own names


def model(run: int, outcome: Outcome, now: str) -> dict[str, Any]:
    """The row of a model that was linted or refused."""
    report = outcome.report
    counting = [finding for finding in report.findings if finding.counts] if report is not None else []
    record = report.models[0] if report is not None else None
    return {
        "run": run, "name": outcome.name, "path": safe(without_login(outcome.path), 4096), "content": outcome.content,
        "bytes": outcome.size, "outcome": "refused" if report is None else "linted", "same_as": None,
        "verdict": "refused" if report is None else verdict_of(report),
        "errors": sum(finding.severity == "error" for finding in counting),
        "warnings": sum(finding.severity == "warning" for finding in counting),
        "notes": sum(finding.severity == "note" for finding in counting),
        "distrusted": int(any(finding.exit == 2 for finding in counting)), "reason": outcome.reason,
        "message": outcome.message, "seconds": outcome.seconds, "recorded": now,
        **{name: getattr(record, name, None) for name in FACTS},
    }  # fmt: skip


def layers(run: int, name: str, report: Record) -> list[dict[str, Any]]:
    """A row for each layer, in the order of the graph."""
    return [
        {"run": run, "model": name, "position": position, **{column: layer.get(column) for column in LAYER_COLUMNS}}
        for position, layer in enumerate(report.layers)
    ]


def findings(run: int, name: str, report: Record) -> list[dict[str, Any]]:
    """A row for each finding, in the order of the report; `spot` is what stays the same over re-exports."""
    return [
        {
            "run": run, "model": name, "number": number, "code": finding.code, "severity": finding.severity,
            "spot": finding.node or finding.place, "place": finding.place, "op": finding.op, "message": finding.message,
            "fix": finding.fix, "counts": int(finding.counts), "state": state(finding), "folded_under": finding.folded_under,
        }
        for number, finding in enumerate(report.findings)
    ]  # fmt: skip


def rules(run: int, records: Iterable[RuleRecord]) -> list[dict[str, Any]]:
    """A row for each rule that was in force."""
    return [
        {
            "run": run, "code": rule.code, "name": rule.name, "severity": rule.severity, "what": rule.what, "why": rule.why,
            "fix": rule.fix, "limits": rule.limits,
        }
        for rule in records
    ]  # fmt: skip
