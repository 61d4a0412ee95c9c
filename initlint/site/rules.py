"""A page for each rule: what it finds and why it matters, the models it counts against, over runs."""

import re
from collections.abc import Iterator
from html import escape

from initlint.formats.words import count
from initlint.site import charts
from initlint.site.fleet import Fleet, Row
from initlint.site.layout import badge, cell, name_cell, page, table

__all__ = ["rule"]

MOST_MODELS = 1000
_PLACE = re.compile(r"\{(\w+)[^{}]*\}")  # in the words of a rule: where a finding has a name or a number of its own


def rule(fleet: Fleet, row: Row) -> str:
    """The page of one rule."""
    return page(f"{row['code']} {row['name']}", _body(fleet, row), here="rules", up="../")


def _placeholder(match: re.Match[str]) -> str:
    return f"<i>{match[1].replace('_', ' ')}</i>"


def _body(fleet: Fleet, row: Row) -> Iterator[str]:
    yield f"<h1>{row['code']} {escape(row['name'])} {badge(row['severity'])}</h1>"
    for title in ("what", "why", "fix", "limits"):
        if row[title]:
            yield f"<h2>{title.capitalize()}</h2><p>{_PLACE.sub(_placeholder, escape(row[title]))}</p>"
    over = fleet.trend_of(row["code"])
    if len(fleet.runs) > 1 and any(over.values()):
        yield "<h2>Over runs</h2>"
        yield charts.bars(fleet.runs, over, f"models that {row['code']} counts against")
    against = fleet.against(row["code"], MOST_MODELS)
    total = over.get(fleet.run, 0)
    yield f"<h2>{count(total, 'model')}</h2>"
    if against:
        more = f"the first {MOST_MODELS:,}" if total > MOST_MODELS else ""
        yield table(
            ("model", "#findings", "for example", "says"),
            (
                (name_cell(item["name"], "../"), cell(item["findings"]), f"<code>{escape(item['place'])}</code>", f'<td class="words">{escape(item["message"])}</td>')
                for item in against
            ),
            more,
        )  # fmt: skip
