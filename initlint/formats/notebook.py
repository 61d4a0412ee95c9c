"""What a notebook shows of a report: a fragment of HTML that carries its own style, without scripts and links."""

from collections.abc import Iterator
from html import escape

from initlint.formats import signal_chart, words
from initlint.formats.text import levels
from initlint.report import Finding, Report

__all__ = ["render"]

MOST_MODELS, MOST_FINDINGS = 10, 20  # a cell is for a look; the documents hold everything
LONGEST = 400  # characters of one text
COLORS = {"error": "#c0392b", "warning": "#9a6700", "note": "#2471a3", "ok": "#1a7f37", "refused": "#7a3ea8"}


def render(report: Report) -> str:
    """The fragment; its colours read on light and on dark paper."""
    return '<div style="overflow-wrap:anywhere">' + "".join(_parts(report)) + "</div>"


def _parts(report: Report) -> Iterator[str]:
    for item in report.skipped[:MOST_MODELS]:
        yield f"<p>{_tag('refused', 'not analysed')} <code>{_cut(item.model)}</code> {_cut(item.message)}</p>"
    for model in report.models[:MOST_MODELS]:
        verdict = words.verdict(report, model.model)
        yield f"<p>{_tag(verdict, verdict)} <code>{_cut(model.model)}</code> {_cut(words.headline(model))}</p>"
        picture = signal_chart.draw(levels(report, model.model), 90)
        if picture:
            yield f'<pre style="line-height:1.1">{escape(chr(10).join(picture))}</pre>'
        findings = words.of_model(report, model.model)
        yield from _table(findings[:MOST_FINDINGS])
        if len(findings) > MOST_FINDINGS:
            yield f"<p>and {words.count(len(findings) - MOST_FINDINGS, 'more finding')}</p>"
    left = len(report.models) + len(report.skipped) - len(report.models[:MOST_MODELS] + report.skipped[:MOST_MODELS])
    if left:
        yield f"<p>and {words.count(left, 'more model')}</p>"
    if not report.models and not report.skipped:
        yield "<p>no model</p>"


def _table(findings: list[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield "<table><thead><tr><th>rule</th><th>where</th><th>what</th><th>fix</th></tr></thead><tbody>"
    for finding in findings:
        why = words.suppression(finding)
        tag = _tag(finding.severity if finding.counts else "ok", f"{finding.code} {finding.name}")
        what = _cut(finding.message) + (f" <em>({_cut(why)})</em>" if why else "")
        cells = (tag, f"<code>{_cut(words.place(finding))}</code>", what, _cut(finding.fix))
        yield "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>"
    yield "</tbody></table>"


def _tag(kind: str, text: str) -> str:
    return f'<b style="color:{COLORS[kind]}">{_cut(text)}</b>'


def _cut(text: str) -> str:
    return escape(text if len(text) <= LONGEST else text[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}")
