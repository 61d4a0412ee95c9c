"""Findings that somebody has accepted: waivers with a reason and perhaps a date, and baselines of earlier reports."""

import datetime
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from initlint.config import Waiver
from initlint.errors import Reason, Refusal
from initlint.report import Finding, Report

__all__ = ["apply_baseline", "apply_waivers", "read_baseline", "waiver_rows"]


def matches(waiver: Waiver, finding: Finding) -> bool:
    """Whether a waiver is meant for this finding."""
    if not (finding.code.startswith(waiver.code) or finding.name == waiver.code):
        return False
    places = [item for item in (finding.node, finding.place) if item]
    return fnmatchcase(finding.model, waiver.model) and any(fnmatchcase(place, waiver.where) for place in places)


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
    findings: Sequence[Finding], waivers: Sequence[Waiver], today: datetime.date, shared: dict[str, object]
) -> list[dict[str, object]]:
    """Rows of the waiver table."""
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
    ]


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
