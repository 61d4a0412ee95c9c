"""`html`: one page that needs no network and no script; light and dark, printable; the JSON report rides along in it."""

import base64
import hashlib
import zlib
from collections.abc import Iterator
from html import escape
from pathlib import Path

from initlint.formats import View, html_chart, words
from initlint.report import Finding, ModelRecord, Report, RuleRecord, Scalar

__all__ = ["embedded_in", "render"]

OPEN, CLOSE = '<script type="text/plain" id="report" data-encoding="zlib+base64">', "</script>"
LARGEST_REPORT = 1 << 30
MOST_LAYERS = 2000  # rows of the layer table; the JSON in the page has all
COLUMNS = (  # of the layer table: column, heading, whether a number
    ("name", "layer", False), ("op", "operator", False), ("dtype", "dtype", False), ("shape", "shape", False),
    ("fan_in", "fan in", True), ("activation", "activation", False), ("weight_std", "std", True),
    ("target_std", "target std", True), ("variance_ratio", "variance / target", True), ("gain", "gain", True),
    ("signal_std", "signal std", True), ("measured_signal_std", "measured", True), ("absmax", "absmax", True),
    ("backward_gain", "backward gain", True), ("initializer_phrase", "looks like", False),
)  # fmt: skip


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
        *(line for model in report.models for line in _model(report, model)),
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
        yield f'<article class="error"><h4><span class="tag">refused</span> <code>{escape(item.model)}</code></h4>'
        yield f"<p>{escape(item.message)} [{escape(item.reason)}]</p></article>"


def _model(report: Report, model: ModelRecord) -> Iterator[str]:
    layers = [layer for layer in report.layers if layer.get("model", model.model) == model.model]
    yield f'<section><h2>{escape(model.model)}</h2><p class="soft">{escape(words.headline(model))}</p>'
    yield html_chart.draw(layers, _format_of(layers))
    findings = words.worst_first(item for item in report.findings if item.model == model.model)
    yield f"<h3>Findings</h3>{'' if findings else '<p>None.</p>'}"
    shown = [item for item in findings if item.folded_under is None]
    where = words.positions(report)
    for finding in shown:
        yield from _finding(finding, where)
    folded = [item for item in findings if item.folded_under is not None]
    if folded:
        yield f"<details><summary>{words.count(len(folded), 'finding')} explained by those above</summary>"
        for finding in folded:
            yield from _finding(finding, where)
        yield "</details>"
    if layers:
        yield from _layers(layers)
    assumed = [*model.assumed, *([f"phase {model.phase}: {model.phase_reason}"] if model.phase_reason else [])]
    if model.unknown_operators:
        assumed.append(f"not understood: {model.unknown_operators}")
    if assumed:
        yield "<h3>Assumptions</h3><ul>" + "".join(f"<li>{escape(line)}</li>" for line in assumed) + "</ul>"
    yield "</section>"


def _format_of(layers: list[dict[str, Scalar]]) -> str | None:
    """The narrow format whose limits the chart shows: that of the model's own weights, where it is one."""
    names = {str(layer.get("dtype")) for layer in layers}
    return next((name for name in html_chart.FORMATS if name in names), None)


def _finding(finding: Finding, where: words.Positions) -> Iterator[str]:
    suppressed = words.suppression(finding)
    silent = "" if finding.counts else " silent"
    yield f'<article class="{finding.severity}{silent}"><h4><span class="tag">{finding.severity} {finding.code}</span> {escape(finding.name)}</h4>'
    yield f"<p><code>{escape(words.place(finding))}</code></p><p>{escape(finding.message)}</p><dl>"
    for line in words.blame(finding, where):
        yield f"<dt>to blame</dt><dd>{escape(line)}</dd>"
    if finding.fix:
        yield f"<dt>fix</dt><dd>{escape(finding.fix)}</dd>"
    if finding.trail:
        yield f"<dt>on the way</dt><dd>{escape(', '.join(finding.trail))}</dd>"
    if suppressed:
        yield f"<dt>does not count</dt><dd>{escape(suppressed)}</dd>"
    yield "</dl></article>"


def _layers(layers: list[dict[str, Scalar]]) -> Iterator[str]:
    columns = [item for item in COLUMNS if any(layer.get(item[0]) is not None for layer in layers)]
    more = f" (the first {MOST_LAYERS})" if len(layers) > MOST_LAYERS else ""
    yield f'<h3>Layers</h3><div class="scroll"><table class="sortable"><caption>{words.count(len(layers), "weight slot")}{more}</caption><thead><tr>'
    yield "".join(f'<th scope="col">{heading}</th>' for _, heading, _ in columns) + "</tr></thead><tbody>"
    for layer in layers[:MOST_LAYERS]:
        yield "<tr>" + "".join(_cell(layer.get(column), numeric=numeric) for column, _, numeric in columns) + "</tr>"
    yield "</tbody></table></div>"


def _cell(value: Scalar, *, numeric: bool) -> str:
    if value is None:
        return '<td class="n" data-v=""></td>' if numeric else "<td></td>"
    if numeric and isinstance(value, int | float):
        return f'<td class="n" data-v="{value:.4g}">{escape(words.number(value))}</td>'
    return f"<td>{escape(str(value))}</td>"


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
