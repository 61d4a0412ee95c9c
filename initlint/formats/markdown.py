"""`markdown`: for a pull request or `$GITHUB_STEP_SUMMARY`, which takes no more than a megabyte."""

import re
from collections.abc import Iterator

from initlint.formats import View, signal_chart, words
from initlint.formats.text import levels
from initlint.report import Finding, ModelRecord, Report

__all__ = ["render"]

LARGEST = 900 * 1024  # bytes; GitHub refuses a step summary above 1 MiB
SIGNS = {"error": "❌", "warning": "⚠️", "note": "ℹ️", "refused": "⛔", "ok": "✅"}
MARKS = re.compile(r"[\\`*_{}\[\]()<>#+!|~$&\"'=:^@-]")


def render(report: Report, _view: View) -> str:
    """A heading with the verdict, then each model with its picture and a table; cut, and said so, at 900 KiB."""
    parts: list[str] = []
    size = 0
    for part in _parts(report):
        size += len(part.encode())
        if size > LARGEST - 200:
            parts.append("\n*The rest is left out: the report is larger than a summary may be.*\n")
            break
        parts.append(part)
    return "".join(parts)


def _parts(report: Report) -> Iterator[str]:
    counting = [item for item in report.findings if item.counts]
    worst = "refused" if report.skipped else next(
        (level for level in ("error", "warning", "note") if any(item.severity == level for item in counting)), "ok"
    )  # fmt: skip
    counts = [
        words.count(amount, level)
        for level in ("error", "warning", "note")
        if (amount := sum(item.severity == level for item in counting))
    ]
    if report.skipped:
        counts.append(f"{words.count(len(report.skipped), 'model')} not analysed")
    yield f"## {SIGNS[worst]} initlint: {', '.join(counts) or 'nothing found'}\n"
    if report.skipped:
        yield "\n| not analysed | reason | |\n| --- | --- | --- |\n"
    for item in report.skipped:
        yield f"| {_code(item.model)} | {_text(item.reason)} | {_text(item.message)} |\n"
    for model in report.models:
        yield from _model(report, model)


def _model(report: Report, model: ModelRecord) -> Iterator[str]:
    verdict = words.verdict(report, model.model)
    yield f"\n### {SIGNS[verdict]} {_code(model.model)}\n\n{_text(words.headline(model))}\n"
    chart = signal_chart.draw(levels(report, model.model), 90)
    if chart:
        yield "\n<pre>\n" + "\n".join(_entities(line) for line in chart) + "\n</pre>\n"
    findings = words.of_model(report, model.model)
    where = words.positions(report)
    if findings:
        yield "\n| | rule | where | what | fix |\n| --- | --- | --- | --- | --- |\n"
    for finding in findings:
        yield _row(finding, where)


def _row(finding: Finding, where: words.Positions) -> str:
    suppressed = words.suppression(finding)
    sign = SIGNS[finding.severity] if finding.counts else "➖"
    what = _text(finding.message + (f" ({suppressed})" if suppressed else ""))
    for line in words.blame(finding, where):
        what += f"<br>to blame: {_text(line)}"
    return f"| {sign} | {finding.code} {_text(finding.name)} | {_code(words.place(finding))} | {what} | {_text(finding.fix)} |\n"


def _entities(text: str) -> str:
    return MARKS.sub(lambda match: f"&#{ord(match[0])};", text)


def _text(text: str) -> str:
    """Text that no Markdown or GitHub rule acts on: marks as entities, mentions and links broken up."""
    return _entities(text).replace("&#64;", "<span>@</span>").replace("www.", "www&#46;")


def _code(text: str) -> str:
    """A name as code, where GitHub looks for no mention."""
    return f"<code>{_entities(text)}</code>"
