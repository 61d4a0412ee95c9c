"""`html`: one page that needs no network and no script; light and dark, printable; the JSON report rides along in it."""

import base64
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from initlint.formats import View, html_chart, html_layers, words
from initlint.report import Finding, ModelRecord, Report, RuleRecord

__all__ = ["embedded_in", "render"]

OPEN, CLOSE = '<script type="text/plain" id="report" data-encoding="zlib+base64">', "</script>"
LARGEST_REPORT = 1 << 30
WRITTEN_OUT = 5  # places of one rule that are open from the start; the others are behind a line to click


def render(report: Report, _view: View) -> str:
    """The page."""
    folder = Path(__file__).parent
    style, script = (folder / name for name in ("page.css", "page.js"))
    css, js = style.read_text("utf-8"), script.read_text("utf-8")
    policy = (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'; base-uri 'none'; form-action 'none'"
    )
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">',
        f"<title>{escape(_title(report))}</title><style>{css}</style></head><body>",
        *_head(report),
        *(line for number, model in enumerate(report.models, 1) for line in _model(report, model, number)),
        *_rules(report),
        *_provenance(report),
        OPEN + base64.b64encode(zlib.compress(report.to_json(), 9)).decode() + CLOSE,
        f"<script>{js}</script></body></html>\n",
    ]
    return "\n".join(parts)


def embedded_in(page: bytes) -> bytes | None:
    """The JSON report that a page carries; None where it carries none."""
    _, found, rest = page.partition(OPEN.encode())
    if not found:
        return None
    inflating = zlib.decompressobj()
    return inflating.decompress(base64.b64decode(rest.partition(CLOSE.encode())[0]), LARGEST_REPORT)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _title(report: Report) -> str:
    names = [model.model for model in report.models] + [item.model for item in report.skipped]
    return f"initlint: {names[0]}" if len(names) == 1 else f"initlint: {len(names)} models"


def _head(report: Report) -> Iterator[str]:
    counting = [item for item in report.findings if item.counts]
    counts = [
        words.count(amount, level)
        for level in ("error", "warning", "note")
        if (amount := sum(item.severity == level for item in counting))
    ]
    levels = [item.severity for item in counting]
    worst = "refused" if report.skipped else next((level for level in words.ORDER if level in levels), "ok")
    refused = [f"{words.count(len(report.skipped), 'model')} not analysed"] if report.skipped else []
    yield f'<header class="verdict {worst}"><h1>{escape(_title(report))}</h1>'
    yield f"<p>{escape(', '.join([*counts, *refused]) or 'Nothing found.')}</p></header><main>"
    for item in report.skipped:
        yield f'<article class="refused"><h4><span class="tag">refused</span> <code>{escape(item.model)}</code></h4>'
        yield f"<p>{escape(item.message)} [{escape(item.reason)}]</p></article>"
    if len(report.models) > 1:
        yield from _contents(report)


def _contents(report: Report) -> Iterator[str]:
    """The models of a report, each with its verdict and a link to its part of the page."""
    yield '<div class="scroll"><table class="sortable"><thead><tr><th scope="col">model</th><th scope="col">verdict</th>'
    yield "".join(f'<th scope="col" class="n">{level}s</th>' for level in words.ORDER) + "</tr></thead><tbody>"
    for number, model in enumerate(report.models, 1):
        verdict = words.verdict(report, model.model)
        amounts = "".join(
            f'<td class="n">{amount or ""}</td>' for amount in (model.errors, model.warnings, model.notes)
        )
        yield (
            f'<tr><td class="name"><a href="#m{number}">{escape(model.model)}</a></td>'
            f'<td class="{verdict}"><span class="tag">{verdict}</span></td>{amounts}</tr>'
        )
    yield "</tbody></table></div>"


def _model(report: Report, model: ModelRecord, number: int) -> Iterator[str]:
    layers = [layer for layer in report.layers if layer.get("model", model.model) == model.model]
    findings = words.worst_first(item for item in report.findings if item.model == model.model)
    yield f'<section id="m{number}"><h2>{escape(model.model)}</h2><p class="soft">{escape(words.headline(model))}</p>'
    errors = {item.depth: item.code for item in reversed(findings) if item.counts and item.severity == "error"}
    yield html_chart.draw(layers, {depth: code for depth, code in errors.items() if depth is not None})
    yield f"<h3>Findings</h3>{'' if findings else '<p>None.</p>'}"
    where = words.positions(report)
    for group in words.groups(item for item in findings if item.folded_under is None):
        yield from _group(group, where)
    folded = [item for item in findings if item.folded_under is not None]
    if folded:
        yield f"<details><summary>{words.count(len(folded), 'finding')} explained by those above</summary>"
        for group in words.groups(folded):
            yield from _group(group, where)
        yield "</details>"
    yield from html_layers.table(layers)
    assumed = [*model.assumed, *([f"phase {model.phase}: {model.phase_reason}"] if model.phase_reason else [])]
    if model.unknown_operators:
        assumed.append(f"not understood: {model.unknown_operators}")
    if assumed:
        yield "<h3>Assumptions</h3><ul>" + "".join(f"<li>{escape(line)}</li>" for line in assumed) + "</ul>"
    yield "</section>"


def _group(findings: Sequence[Finding], where: words.Positions) -> Iterator[str]:
    """Findings of one rule: a box with what to do said once."""
    first = findings[0]
    silent = "" if first.counts else " silent"
    amount = f' <span class="soft">{len(findings)} places</span>' if len(findings) > 1 else ""
    yield f'<article class="{first.severity}{silent}"><h4><span class="tag">{first.severity} {first.code}</span> {escape(first.name)}{amount}</h4>'
    for finding in findings[:WRITTEN_OUT]:
        yield from _finding(finding, where)
    if len(findings) > WRITTEN_OUT:
        yield f"<details><summary>{len(findings) - WRITTEN_OUT} more</summary>"
        for finding in findings[WRITTEN_OUT:]:
            yield from _finding(finding, where)
        yield "</details>"
    suppressed = words.suppression(first)
    rows = [
        ("fix", words.shared_fix(findings)), ("also", words.explained(findings)), ("does not count", suppressed or "")
    ]  # fmt: skip
    lines = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in rows if text)
    yield f"{f'<dl>{lines}</dl>' if lines else ''}</article>"


def _finding(finding: Finding, where: words.Positions) -> Iterator[str]:
    yield f'<p class="place"><code>{escape(words.place(finding))}</code></p><p>{escape(finding.message)}</p>'
    rows = [("to blame" if index == 0 else "", line) for index, line in enumerate(words.blame(finding, where))]
    if finding.trail:
        rows.append(("on the way", ", ".join(finding.trail)))
    if rows:
        yield "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(line)}</dd>" for name, line in rows) + "</dl>"


def _rules(report: Report) -> Iterator[str]:
    if not report.rules:
        return
    yield '<details><summary>Rules</summary><div class="scroll"><table class="sortable"><thead><tr>'
    headings = ("code", "rule", "severity", "failed", "passed", "does not apply", "not known", "finds")
    yield "".join(f'<th scope="col">{heading}</th>' for heading in headings) + "</tr></thead><tbody>"
    for rule in report.rules:
        yield _rule(rule)
    yield "</tbody></table></div></details>"


def _rule(rule: RuleRecord) -> str:
    counts = "".join(
        f'<td class="n">{amount}</td>' for amount in (rule.failed, rule.passed, rule.not_applicable, rule.unknown)
    )
    return (
        f"<tr><td>{rule.code}</td><td>{escape(rule.name)}</td><td>{rule.severity}</td>{counts}"
        f'<td class="words">{escape(rule.what)} <span class="soft">{escape(rule.why)}</span></td></tr>'
    )


def _provenance(report: Report) -> Iterator[str]:
    yield "</main><footer><h3>Provenance</h3><dl>"
    rows = [("made by", f"initlint {report.run.version}".strip()), ("schema", report.schema_version)]
    rows += [("isolation", report.run.isolation)] if report.run.isolation else []
    for model in report.models:
        producer = f", made by {model.producer}" if model.producer else ""
        rows.append(
            (
                "model",
                f"{model.path}: {words.number(model.size)} bytes, IR {model.ir_version}, opset {model.opset}{producer}",
            )
        )
    yield "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    yield "</dl></footer>"
