"""The summary of a run as a person reads it in ten seconds, and as gauges for Prometheus."""

import datetime

import msgspec

from initlint.fleet.records import VERDICTS
from initlint.fleet.store import shown
from initlint.fleet.summary import Summary
from initlint.formats.openmetrics import gauge, labels
from initlint.formats.words import count

__all__ = ["document", "openmetrics", "text"]

MOST_RULES = 8


def document(summary: Summary, layout: str, store: str) -> str:
    """The summary as `text`, `json` or `openmetrics`."""
    if layout == "json":
        return msgspec.json.format(msgspec.json.encode(summary), indent=1).decode() + "\n"
    return openmetrics(summary) if layout == "openmetrics" else text(summary, store)


def text(summary: Summary, store: str) -> str:
    """A dozen lines: what was seen, what is wrong, what changed, what the exit code means."""
    verdicts = " . ".join(f"{amount:,} {name}" for name, amount in summary.verdicts.items() if amount) or "none"
    took = _seconds(summary)
    rate = f", {summary.seen / took:.1f} a second" if took else ""
    lines = [
        f"run {summary.run} in {shown(store)}: {summary.seen:,} models in {_duration(took)}{rate}",
        f"  {summary.linted:,} linted . {summary.refused:,} refused . {summary.duplicates:,} duplicates",
        f"  {verdicts}",
        "",
    ]
    for rule in summary.rules[:MOST_RULES]:
        examples = ", ".join(rule.examples)
        more = ", ..." if rule.models > len(rule.examples) else ""
        lines.append(
            f"{rule.severity:8} {rule.code} {rule.name:24} {count(rule.models, 'model'):>12}  {examples}{more}"
        )
    if len(summary.rules) > MOST_RULES:
        lines.append(f"and {count(len(summary.rules) - MOST_RULES, 'more rule')}")
    lines += [f"refused  {item.model}: {item.message} [{item.reason}]" for item in summary.refusals]
    if summary.unjudged > len(summary.refusals):
        lines.append(f"refused  and {summary.unjudged - len(summary.refusals):,} more")
    if summary.since is not None:
        lines.append(
            f"since run {summary.since}: {count(summary.worse_models, 'model')} worse, {summary.better_models} better"
        )
        lines += [f"  worse  {change.model}: {', '.join(change.rules)}" for change in summary.worse]
    return "\n".join([*lines, *([""] if lines[-1] else []), _verdict(summary)]) + "\n"


def _verdict(summary: Summary) -> str:
    share = f"{summary.unjudged:,} of {summary.seen:,} models not judged, {summary.max_refused * 100:.3g} % may be"
    since = "" if summary.since is None else f" worse than in run {summary.since}"
    words = {
        0: f"nothing that fails{since}",
        1: f"{count(summary.failing, 'model')} {'fails' if summary.failing == 1 else 'fail'}{since}",
        2: share,
    }
    return f"exit code {summary.exit_code}: {words[summary.exit_code]}"


def openmetrics(summary: Summary) -> str:
    """Gauges over the fleet; labels are verdict, outcome, code and severity only."""
    lines = gauge("initlint_fleet_models", "Models of the run, by verdict.")
    lines += [f"initlint_fleet_models{labels(verdict=name)} {summary.verdicts.get(name, 0)}" for name in VERDICTS]
    lines += gauge("initlint_fleet_files", "Files of the run, by what became of them.")
    for name in ("linted", "refused", "duplicates"):
        lines.append(f"initlint_fleet_files{labels(outcome=name)} {getattr(summary, name)}")
    lines += gauge("initlint_fleet_rule_models", "Models that a rule counts against.")
    lines += [
        f"initlint_fleet_rule_models{labels(code=item.code, severity=item.severity)} {item.models}"
        for item in summary.rules
    ]
    lines += gauge("initlint_fleet_rule_findings", "Findings that count, by rule.")
    lines += [
        f"initlint_fleet_rule_findings{labels(code=item.code, severity=item.severity)} {item.findings}"
        for item in summary.rules
    ]
    for name, words, value in (
        ("initlint_fleet_run", "Number of the run in its store.", summary.run),
        ("initlint_fleet_unjudged", "Models refused or not to be trusted.", summary.unjudged),
        ("initlint_fleet_failing", "Models that fail the gate.", summary.failing),
        ("initlint_fleet_exit_code", "0, 1 or 2.", summary.exit_code),
        ("initlint_fleet_busy_seconds", "Seconds of analysis over all workers.", round(summary.busy_seconds, 3)),
        ("initlint_fleet_finished_timestamp_seconds", "When the run ended.", _timestamp(summary.finished)),
    ):  # fmt: skip
        lines += [*gauge(name, words), f"{name} {value}"]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _timestamp(moment: str | None) -> float:
    return datetime.datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _seconds(summary: Summary) -> float:
    return _timestamp(summary.finished) - _timestamp(summary.started) if summary.finished else 0.0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
