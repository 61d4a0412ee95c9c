"""How much of a model a report lists: one with very many layers or findings says how many are left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from initlint.facts import Facts
from initlint.report import Finding

__all__ = ["MOST_FINDINGS", "MOST_LAYERS", "findings_listed", "left_out", "rows_of"]

MOST_LAYERS = 5_000  # of the largest real exports: some thousands
MOST_FINDINGS = 2_000
MOST_NAMES = 500  # SQLite takes a bounded number of parameters at a time
SEVERITIES = {"error": 0, "warning": 1, "note": 2}


def findings_listed(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Worst first, then along the graph; of very many those that count, so that the exit code is that of all of them."""
    ordered = sorted(
        findings,
        key=lambda item: (
            item.folded_under is not None, SEVERITIES[item.severity], item.depth or 0.0, item.code, item.place,
        ),
    )  # fmt: skip
    if len(ordered) <= MOST_FINDINGS:
        return tuple(ordered)
    chosen = sorted(
        range(len(ordered)), key=lambda index: (ordered[index].exit is None, not ordered[index].counts, index)
    )
    return tuple(ordered[index] for index in sorted(chosen[:MOST_FINDINGS]))


def rows_of(facts: Facts, findings: Sequence[Finding], *, tensors: bool) -> Mapping[str, list[dict[str, Any]]]:
    """The rows of layers and tensors that a report lists: the first layers and those at fault; tensors at fault, or all."""
    at_fault = {over: {item.place for item in findings if item.over == over} for over in ("layer", "tensor")}
    layers = facts.query(f"SELECT * FROM layer ORDER BY position LIMIT {MOST_LAYERS}")  # noqa: S608 - a number
    if len(layers) == MOST_LAYERS:
        layers += _named(facts, "layer", at_fault["layer"] - {row["name"] for row in layers})
    listed = facts.query("SELECT * FROM tensor ORDER BY position") if tensors else None
    return {"layer": layers, "tensor": listed if listed is not None else _named(facts, "tensor", at_fault["tensor"])}


def left_out(findings: int, layers: int) -> str | None:
    """What a report does not list, in words; None where it lists everything."""
    parts = [f"{amount:,} {word}" for amount, word in ((findings, "findings"), (layers, "layers")) if amount]
    return f"not listed: {' and '.join(parts)}" if parts else None


def _named(facts: Facts, table: str, names: Any) -> list[dict[str, Any]]:
    """The rows of these names along the graph."""
    found: list[dict[str, Any]] = []
    ordered = sorted(names)
    for start in range(0, len(ordered), MOST_NAMES):
        some = ordered[start : start + MOST_NAMES]
        found += facts.query(f"SELECT * FROM {table} WHERE name IN ({', '.join('?' * len(some))})", some)  # noqa: S608 - marks
    return sorted(found, key=lambda row: int(row["position"]))
