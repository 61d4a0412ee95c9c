"""The frame of every page, and the pieces that pages share."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from initlint.formats.words import number
from initlint.site.fleet import slug

__all__ = ["POLICY", "badge", "cell", "model_link", "name_cell", "page", "rule_link", "table"]

POLICY = "default-src 'none'; style-src 'self' file:; script-src 'self' file:; base-uri 'none'; form-action 'none'"
VERDICTS = ("refused", "error", "warning", "note", "ok")


def page(title: str, body: Iterable[str], *, here: str, up: str = "") -> str:
    """A whole page; `here` is its entry in the navigation, `up` leads from its folder to the top."""
    entries = (("overview", "index.html"), ("models", "models.html"), ("rules", "rules.html"))
    links = "".join(
        f'<a href="{up}{target}"{" aria-current=page" if name == here else ""}>{name.capitalize()}</a>'
        for name, target in entries
    )
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">',
            f'<title>{escape(title)} . initlint</title><link rel="stylesheet" href="{up}style.css">',
            f'<script src="{up}search.js" defer></script><script src="{up}site.js" defer></script></head>',
            f'<body data-up="{up}"><nav><a class="home" href="{up}index.html">initlint</a>{links}',
            '<label class="search" hidden><span class="unseen">Search models</span>',
            '<input type="search" placeholder="Search models" autocomplete="off" aria-controls="hits"></label></nav>',
            '<ul id="hits" hidden></ul>',
            "<main>",
            *body,
            "</main></body></html>\n",
        ]
    )


def badge(verdict: str) -> str:
    """A verdict as a small coloured word."""
    return f'<span class="badge {escape(verdict)}">{escape(verdict)}</span>'


def model_link(name: str, up: str = "") -> str:
    """A model's name that leads to its page."""
    return f'<a href="{up}model/{slug(name)}.html">{escape(name)}</a>'


def name_cell(name: str, up: str = "") -> str:
    """A model's name in a cell that lets a long one break, so that a phone shows what stands beside it."""
    return f'<td class="name">{model_link(name, up)}</td>'


def rule_link(code: str, up: str = "") -> str:
    """A rule's code that leads to its page."""
    return f'<a href="{up}rule/{escape(code)}.html">{escape(code)}</a>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table that can be sorted; a heading that begins with # is over numbers, cells are HTML already, those of `cell` with tags."""
    head = "".join(
        f'<th scope="col" class="{"n" if heading[0] == "#" else "t"}">{escape(heading.removeprefix("#"))}</th>'
        for heading in headings
    )
    body = "".join(
        "<tr>" + "".join(item if item.startswith("<td") else f"<td>{item}</td>" for item in row) + "</tr>"
        for row in rows
    )
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table class="sortable">{named}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(value: Any) -> str:
    """A number in a cell of its own, or nothing where there is none."""
    if value is None:
        return '<td class="n" data-v=""></td>'
    return f'<td class="n" data-v="{value:.6g}">{escape(number(value))}</td>'
