"""`concise`: one greppable line a finding: `model: place: code severity: message`."""

from initlint.formats import View, words
from initlint.report import Report

__all__ = ["render"]


def render(report: Report, view: View) -> str:
    """The lines, worst first; nothing at all where nothing was found."""
    lines = []
    for finding in words.shown(report, verbose=view.verbose):
        suppressed = words.state(finding)
        note = f" ({suppressed})" if suppressed else ""
        lines.append(f"{finding.model}: {finding.place}: {finding.code} {finding.severity}{note}: {finding.message}")
    lines += [f"{item.model}: {item.reason} refused: {item.message}" for item in report.skipped]
    return "".join(f"{line}\n" for line in lines)
