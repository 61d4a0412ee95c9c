"""`text`: for a person at a terminal. The signal as a picture, then what is wrong, worst first, then one summary line."""

import textwrap
from collections.abc import Iterator, Sequence

from initlint.formats import View, signal_chart, words
from initlint.report import Finding, ModelRecord, Report, Scalar, Skipped

__all__ = ["levels", "render"]

COLORS = {"error": "1;31", "warning": "1;33", "note": "1;36", "refused": "1;35", "ok": "1;32", "dim": "2", "bold": "1"}
SILENCED = {"waived": "waived", "baseline": "in the baseline"}
WRITTEN_OUT = 3  # places of one rule with their measurements; the others are named, -v writes all of them out
NAMES = 240  # characters for the names of the others


def render(report: Report, view: View) -> str:
    """The document, ending in one summary line."""
    blocks: list[str] = []
    if not view.quiet:
        for model in report.models:
            blocks += _model(report, model, view)
        blocks += ["\n".join(_skipped(item, view)) for item in report.skipped]
    return "\n\n".join([*blocks, _summary(report, view)]) + "\n"


def _model(report: Report, model: ModelRecord, view: View) -> Iterator[str]:
    findings = [item for item in words.shown(report, verbose=view.verbose) if item.model == model.model]
    alone = len(report.models) + len(report.skipped) == 1
    silent = "" if findings or alone else "   " + _paint("nothing found", "ok", view)
    yield f"{_paint(model.model, 'bold', view)}   {words.headline(model)}{silent}"
    # Of many models, those at fault are what is looked for.
    chart = signal_chart.draw(levels(report, model.model), view.width) if alone or findings or view.verbose else []
    if chart:
        yield "\n".join(chart)
    if model.probe_status is not None and (view.verbose or words.probe_falls_short(model)):
        yield f"  probe: {words.probe(model)}"
    if view.verbose:
        yield from _assumptions(report, model)
    where, beside = words.positions(report), words.beside(report)
    for group in words.groups(findings):
        yield "\n".join(_group(group, view, where, beside))


def levels(report: Report, model: str) -> list[signal_chart.Level]:
    """The signal at each layer's output, in the order of the layers."""
    levels: dict[object, signal_chart.Level] = {}
    for layer in report.layers:
        if layer.get("model", model) == model:
            levels[layer.get("name")] = signal_chart.Level(
                str(layer.get("name"))[:24], _real(layer.get("signal_std")), _real(layer.get("measured_signal_std"))
            )
    return list(levels.values())


def _real(value: Scalar) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _assumptions(report: Report, model: ModelRecord) -> Iterator[str]:
    lines = []
    if model.assumed:
        lines.append(f"  assumed: {', '.join(model.assumed)}")
    if model.phase_reason:
        lines.append(f"  phase {model.phase}: {model.phase_reason}")
    if model.unknown_operators:
        lines.append(f"  not understood: {model.unknown_operators}")
    if report.run.seconds:
        lines.append("  seconds: " + ", ".join(f"{stage} {spent:.2f}" for stage, spent in report.run.seconds.items()))
    if lines:
        yield "\n".join(lines)


def _group(findings: Sequence[Finding], view: View, where: words.Positions, beside: words.Beside) -> Iterator[str]:
    first = findings[0]
    suppressed = words.suppression(first)
    note = f"   ({suppressed})" if suppressed else ""
    amount = f"   {len(findings)} places" if len(findings) > 1 else ""
    yield _paint(f"{first.severity}[{first.code}]", first.severity, view) + f" {first.name}{amount}{note}"
    shown = findings if view.verbose or len(findings) == WRITTEN_OUT + 1 else findings[:WRITTEN_OUT]
    for finding in shown:
        yield from _finding(finding, view, where, beside.get((finding.model, finding.over, finding.place)))
    others = findings[len(shown) :]
    if others:
        lines = _wrapped(f"and {len(others)} more, -v writes them out: {_named(others)}", view)
        yield f"  --> {lines[0]}"
        yield from (f"      {line}" for line in lines[1:])
    fix = words.shared_fix(findings)
    if fix:
        opening, *rest = _wrapped(fix, view, "") or [""]
        yield f"   = fix  {opening}"
        yield from (f"          {line}" for line in rest)
    explained = words.explained(findings)
    if explained and not view.verbose:
        yield f"   = also {explained}"
    yield f"   = more {words.MORE} {first.code}"


def _named(findings: Sequence[Finding]) -> str:
    """The first of the places by name, as many as there is room for."""
    names = [findings[0].place]
    for finding in findings[1:]:
        if sum(map(len, names)) + len(finding.place) > NAMES:
            return ", ".join([*names, "..."])
        names.append(finding.place)
    return ", ".join(names)


def _finding(finding: Finding, view: View, where: words.Positions, beside: str | None) -> Iterator[str]:
    yield f"  --> {words.place(finding)}{_stored(finding)}"
    for line in _wrapped(finding.message, view):
        yield f"   |  {line}"
    if beside is not None:
        yield f"   |  {beside}"
    for label, line in zip(("to blame  ", *[" " * 10] * 9), words.blame(finding, where), strict=False):
        yield from (f"   |  {part}" for part in _wrapped(f"{label}{line}", view, " " * 10))
    if finding.trail:
        trail = finding.trail if view.verbose else (*finding.trail[:WRITTEN_OUT], "...")[: len(finding.trail)]
        yield from (f"   |  {part}" for part in _wrapped("before it   " + ", ".join(trail), view, " " * 12))


def _stored(finding: Finding) -> str:
    dtype, shape = finding.values.get("dtype"), finding.values.get("shape")
    return f"   {dtype or ''}[{shape}]" if shape else f"   {dtype}" if dtype else ""


def _wrapped(text: str, view: View, indent: str = "") -> list[str]:
    return textwrap.wrap(text, view.width - 8, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _skipped(item: Skipped, view: View) -> Iterator[str]:
    yield _paint(f"refused[{item.reason}]", "refused", view) + f" {item.model}"
    yield f"   |  {item.message}"


def _summary(report: Report, view: View) -> str:
    counting = [item for item in report.findings if item.counts]
    parts = []
    for severity in ("error", "warning", "note"):
        amount = sum(item.severity == severity for item in counting)
        if amount:
            parts.append(_paint(words.count(amount, severity), severity, view))
    verdict = ", ".join(parts)
    folded = sum(item.folded_under is not None for item in report.findings)
    if folded:
        verdict += f" ({folded} folded under {'it' if len(counting) == 1 else 'them'}, -v shows them)"
    states = [words.state(item) for item in report.findings]
    tail = [f"{states.count(state)} {text}" for state, text in SILENCED.items() if state in states]
    if not counting and report.models:
        judged = any(not model.nothing_to_judge for model in report.models)
        verdict = _paint("nothing found", "ok", view) if judged else "nothing to judge: no layers"
    if len(report.models) + len(report.skipped) > 1:
        tail.append(words.count(len(report.models), "model"))
    if report.skipped:
        tail.append(_paint(f"{words.count(len(report.skipped), 'model')} not analysed", "refused", view))
    known = sum(model.known_tensors or 0 for model in report.models)
    total = sum(model.tensors or 0 for model in report.models)
    if total:
        tail.append(f"{known:.0f} of {words.count(total, 'tensor')} known")
    if report.run.seconds:
        tail.append(f"{sum(report.run.seconds.values()):.1f} s")
    return " . ".join(part for part in (verdict, *tail) if part)


def _paint(text: str, color: str, view: View) -> str:
    return f"\x1b[{COLORS[color]}m{text}\x1b[0m" if view.color else text
