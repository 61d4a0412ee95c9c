"""Findings that somebody has accepted: waivers with a reason and perhaps a date, and baselines of earlier reports."""

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from initlint.config import Waiver
from initlint.errors import Reason, Refusal
from initlint.report import Finding, Report, RuleRecord

__all__ = ["apply_baseline", "apply_waivers", "over_all_models", "read_baseline", "waiver_rows"]


def matches(waiver: Waiver, finding: Finding) -> bool:
    """Whether a waiver is meant for this finding."""
    if finding.over == "waiver" or not _about(waiver, finding.code, finding.name):
        return False
    places = [item for item in (finding.node, finding.place, finding.weight) if item]
    return fnmatchcase(finding.model, waiver.model) and any(fnmatchcase(place, waiver.where) for place in places)


def _about(waiver: Waiver, code: str, name: str) -> bool:
    return code.startswith(waiver.code) or name == waiver.code


def apply_waivers(findings: Iterable[Finding], waivers: Sequence[Waiver], today: datetime.date) -> tuple[Finding, ...]:
    """Findings with the reason of the first waiver in force that matches them; they stay visible."""
    result = []
    for finding in findings:
        waiver = next(
            (item for item in waivers if (item.expires is None or item.expires >= today) and matches(item, finding)),
            None,
        )
        result.append(finding if waiver is None else msgspec.structs.replace(finding, waived=waiver.reason))
    return tuple(result)


def waiver_rows(
    findings: Sequence[Finding],
    waivers: Sequence[Waiver],
    model: str,
    rules: Iterable[RuleRecord],
    today: datetime.date,
    shared: dict[str, object],
) -> list[dict[str, object]]:
    """Rows of the waiver table: those that are about this model and about a rule that was applied to it."""
    applied = list(rules)
    return [
        {
            "code": waiver.code,
            "place": waiver.where,
            "reason": waiver.reason,
            "used": any(matches(waiver, finding) for finding in findings),
            "expired": waiver.expires is not None and waiver.expires < today,
            "expires": waiver.expires.isoformat() if waiver.expires is not None else None,
            **shared,
        }
        for waiver in waivers
        if fnmatchcase(model, waiver.model) and any(_about(waiver, rule.code, rule.name) for rule in applied)
    ]


def over_all_models(report: Report, waivers: Sequence[Waiver]) -> Report:
    """The report of several models with every word about a waiver said once: unused is one that none of them has use for."""
    found = [item for item in report.findings if item.over != "waiver"]
    used = {_named(waiver) for waiver in waivers if any(matches(waiver, finding) for finding in found)}
    kept: dict[tuple[str, str], Finding] = {}
    for finding in report.findings:
        identity = tuple(str(finding.values.get(key)) for key in ("code", "place", "reason"))
        if finding.over == "waiver" and not (finding.values.get("used") == 0 and identity in used):
            kept.setdefault((finding.code, finding.message), finding)
    chosen = {id(finding) for finding in kept.values()}
    findings = tuple(item for item in report.findings if item.over != "waiver" or id(item) in chosen)
    if len(findings) == len(report.findings):
        return report
    levels = Counter((item.model, item.severity) for item in findings if item.counts)
    models = tuple(
        msgspec.structs.replace(
            model,
            errors=levels[model.model, "error"],
            warnings=levels[model.model, "warning"],
            notes=levels[model.model, "note"],
        )
        for model in report.models
    )
    return msgspec.structs.replace(report, findings=findings, models=models)


def _named(waiver: Waiver) -> tuple[str, ...]:
    """A waiver as a finding about it has it."""
    return tuple(" ".join(text.split()) for text in (waiver.code, waiver.where, waiver.reason))


def read_baseline(path: str) -> frozenset[tuple[str, int]]:
    """(fingerprint, number of findings that share it) of an earlier report. Raises Refusal (config) where it is none."""
    try:
        report = Report.from_json(Path(path).read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refusal(Reason.CONFIG, f"the baseline {path} is no report: {error}") from error
    counts: dict[str, int] = {}
    for finding in report.findings:
        counts[finding.fingerprint] = counts.get(finding.fingerprint, 0) + 1
    return frozenset(counts.items())


def apply_baseline(findings: Sequence[Finding], baseline: frozenset[tuple[str, int]]) -> tuple[Finding, ...]:
    """Findings that the baseline had; several under one fingerprint only where their number agrees."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.fingerprint] = counts.get(finding.fingerprint, 0) + 1
    return tuple(
        msgspec.structs.replace(finding, baselined=True)
        if (finding.fingerprint, counts[finding.fingerprint]) in baseline
        else finding
        for finding in findings
    )
