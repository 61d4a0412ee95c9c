"""`github`: workflow commands, which GitHub Actions turns into annotations of the run."""

from initlint.formats import View, words
from initlint.report import Report

__all__ = ["render"]

COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def render(report: Report, _view: View) -> str:
    """One command a finding, worst first; findings that do not count are notices."""
    paths = {model.model: model.path for model in report.models}
    where = words.positions(report)
    lines = [
        _command("error", item.path, f"initlint: not analysed ({item.reason})", item.message) for item in report.skipped
    ]
    for finding in words.shown(report, verbose=False):
        suppressed = words.suppression(finding)
        kind = COMMANDS[finding.severity] if finding.counts else "notice"
        text = f"{finding.place}: {finding.message}" + (f" ({suppressed})" if suppressed else "")
        for line in words.blame(finding, where):
            text += f"\nto blame: {line}"
        if finding.fix:
            text += f"\nfix: {finding.fix}"
        lines.append(_command(kind, paths.get(finding.model, finding.model), f"{finding.code} {finding.name}", text))
    return "".join(f"{line}\n" for line in lines)


def _command(kind: str, path: str, title: str, message: str) -> str:
    return f"::{kind} file={_property(path)},line=1,title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
