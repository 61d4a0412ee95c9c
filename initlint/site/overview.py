"""The first page: how many models are how, what is wrong with most of them, what changed, over runs."""

from collections.abc import Iterator
from html import escape

from initlint.fleet.records import Verdict
from initlint.formats.words import count
from initlint.site import charts
from initlint.site.fleet import Fleet
from initlint.site.layout import badge, cell, model_link, name_cell, page, rule_link, table

__all__ = ["overview", "rule_list"]

WORST = 25  # models listed on the first page
FAULTY: tuple[Verdict, ...] = ("refused", "error", "warning")


def overview(fleet: Fleet) -> str:
    """The page."""
    return page("Overview", _body(fleet), here="overview")


def _body(fleet: Fleet) -> Iterator[str]:
    summary = fleet.summary
    bad = [level for level in ("refused", "error", "warning", "note") if summary.verdicts[level]]
    tone = "error" if summary.verdicts["error"] else bad[0] if bad else "ok"
    yield f'<header class="verdict {tone}"><h1>{count(summary.seen, "model")}</h1><p>run {summary.run}, '
    yield f"{summary.started[:16].replace('T', ' ')} UTC, initlint {summary.version}: {summary.linted:,} linted, "
    yield f"{summary.refused:,} refused, {count(summary.duplicates, 'duplicate')}.</p></header>"
    yield charts.share({str(verdict): amount for verdict, amount in summary.verdicts.items()})
    yield '<ul class="tiles">'
    for verdict, amount in summary.verdicts.items():
        yield f'<li class="{verdict}"><b>{amount:,}</b> {verdict}</li>'
    yield "</ul>"
    if summary.since is not None:
        yield f"<h2>Since run {summary.since}</h2><p>{count(summary.worse_models, 'model')} worse, {summary.better_models:,} better.</p>"
        if summary.worse:
            yield "<ul>"
            for change in summary.worse:
                codes = ", ".join(rule_link(code) for code in change.rules)
                yield f"<li>{model_link(change.model)}: {codes}</li>"
            yield "</ul>"
    if len(fleet.runs) > 1:
        yield "<h2>Over runs</h2>"
        yield charts.trend(fleet.runs, fleet.trend())
    yield "<h2>Rules that count most</h2>"
    yield _rules(fleet, 15)
    worst = [row for row in fleet.models(most=WORST) if row["verdict"] in FAULTY]
    if worst:
        yield "<h2>Worst models</h2>"
        yield table(
            ("model", "verdict", "#errors", "#warnings", "why"),
            (
                (
                    name_cell(row["name"]),
                    badge(row["verdict"]),
                    cell(row["errors"]),
                    cell(row["warnings"]),
                    _why(fleet, row),
                )
                for row in worst
            ),
        )
        total = sum(summary.verdicts[level] for level in FAULTY)
        shown = (
            f"{len(worst)} of {count(total, 'model')} that are refused or have an error or a warning. "
            if total > len(worst)
            else ""
        )
        yield f'<p>{shown}<a href="models.html">All models</a></p>'


def _why(fleet: Fleet, row: dict[str, object]) -> str:
    if row["verdict"] == "refused":
        return escape(str(row["message"]))
    codes = fleet.codes(fleet.run, str(row["same_as"] or row["name"]))
    return ", ".join(rule_link(code) for code in sorted(codes)[:6]) + (", ..." if len(codes) > 6 else "")


def rule_list(fleet: Fleet) -> str:
    """Every rule in force, with how many models it counts against."""
    return page("Rules", ["<h1>Rules</h1>", _rules(fleet, None)], here="rules")


def _rules(fleet: Fleet, most: int | None) -> str:
    against = {rule.code: rule for rule in fleet.summary.rules}
    if most is not None and not against:
        return "<p>None.</p>"
    rules = fleet.rules()
    rules.sort(key=lambda rule: (-against[rule["code"]].models if rule["code"] in against else 0, rule["code"]))
    rows = []
    for rule in rules[:most]:
        found = against.get(rule["code"])
        if found is None and most is not None:
            break
        width = 100 * found.models / max(1, fleet.summary.seen) if found else 0.0
        meter = f'<svg class="meter" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="v {found.severity if found else "note"}" width="{width:.2f}" height="8"/></svg>'
        rows.append(
            (rule_link(rule["code"]), rule["name"], badge(found.severity if found else rule["severity"]),
             cell(found.models if found else 0), cell(found.findings if found else 0), meter)
        )  # fmt: skip
    return table(("rule", "name", "severity", "#models", "#findings", "share of the models"), rows)
