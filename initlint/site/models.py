"""A page for each model: its verdict, its signal over versions, what was found, its history; and the lists of all models."""

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil

from initlint.formats import html_chart
from initlint.formats.words import count
from initlint.site.fleet import Fleet, Row
from initlint.site.layout import badge, cell, model_link, name_cell, page, rule_link, table

__all__ = ["PER_PAGE", "list_name", "model", "model_list"]

PER_PAGE = 500  # models in one page of the list
VERSIONS = 4  # lines of the signal chart
MOST_LAYERS = 300  # rows of the layer table
MOST_FINDINGS = 100


def model_list(fleet: Fleet, index: int, total: int) -> str:
    """One page of the list, counted from 0."""
    pages = max(1, ceil(total / PER_PAGE))
    links = [
        f"<b>{other + 1}</b>" if other == index else f'<a href="{list_name(other)}">{other + 1}</a>'
        for other in range(pages)
    ]
    body = [
        f"<h1>{count(total, 'model')}</h1>",
        table(
            ("model", "verdict", "#errors", "#warnings", "#notes", "#layers", "#parameters", "phase", "#coverage"),
            (
                (
                    name_cell(row["name"]), badge(row["verdict"]), cell(row["errors"]), cell(row["warnings"]), cell(row["notes"]),
                    cell(row["layers"]), cell(row["parameters"]), escape(row["phase"] or ""), cell(row["coverage"]),
                )
                for row in fleet.models(index * PER_PAGE, PER_PAGE)
            ),
        ),
        f'<p class="pages">{" ".join(links)}</p>' if pages > 1 else "",
    ]  # fmt: skip
    return page("Models", body, here="models")


def list_name(index: int) -> str:
    """File name of one page of the list."""
    return "models.html" if index == 0 else f"models-{index + 1}.html"


def model(fleet: Fleet, row: Row) -> str:
    """The page of one model of the run."""
    return page(row["name"], _body(fleet, row), here="models", up="../")


def _body(fleet: Fleet, row: Row) -> Iterator[str]:
    history = fleet.history(row["name"])
    linted_as = row["same_as"] or row["name"]
    yield f'<header class="verdict {row["verdict"]}"><h1>{escape(row["name"])}</h1><p>{_headline(row)}</p></header>'
    if row["same_as"]:
        yield f"<p>The same file as {model_link(row['same_as'], '../')}, under which it was linted.</p>"
    twins = [name for name in fleet.twins(row["name"], row["same_as"]) if name != row["same_as"]]
    if twins:
        more = f" and {len(twins) - 10:,} more" if len(twins) > 10 else ""
        yield f"<p>Also as {', '.join(model_link(name, '../') for name in twins[:10])}{more}.</p>"
    layers = fleet.layers(fleet.run, linted_as)
    chart = _versions(fleet, history, layers)
    if chart:
        yield f"<h2>Signal</h2>{chart}"
    if row["verdict"] != "refused":
        yield from _findings(fleet.findings(fleet.run, linted_as))
    yield "<h2>History</h2>"
    yield _history(fleet, history)
    if layers:
        yield from _layers(layers)


def _headline(row: Row) -> str:
    if row["verdict"] == "refused":
        return f"Not analysed: {escape(row['message'] or '')} [{escape(row['reason'] or '')}]"
    parts = [badge(row["verdict"])]
    for amount, word in ((row["layers"], "layer"), (row["parameters"], "parameter")):
        if amount is not None:
            parts.append(count(amount, word))
    parts += [f"opset {row['opset']}"] if row["opset"] else []
    parts += [f"phase {escape(row['phase'])}"] if row["phase"] else []
    parts += [f"signal known for {row['coverage']:.0%}"] if row["coverage"] is not None else []
    parts += [escape(row["producer"])] if row["producer"] else []
    return " \u00b7 ".join(parts)


def _versions(fleet: Fleet, history: Sequence[Row], layers: Sequence[Row]) -> str:
    """The signal at each layer, now and in earlier contents of the model; layers are matched by name."""
    if not layers:
        return ""
    rows = [dict(layer) for layer in layers]
    series = [("signal_std", "predicted", "signal now"), ("gradient_std", "gradient", "gradient now")]
    seen = {history[0]["content"]} if history else set()
    for entry in history:
        if entry["content"] in seen or entry["verdict"] == "refused" or len(series) > VERSIONS:
            continue
        seen.add(entry["content"])
        old = {
            layer["name"]: layer["signal_std"]
            for layer in fleet.layers(entry["run"], entry["same_as"] or entry["name"])
        }
        column = f"run{entry['run']}"
        for layer in rows:
            layer[column] = old.get(layer["name"])
        series.append((column, f"older{len(series) - 1}", f"signal in run {entry['run']}"))
    return html_chart.draw(rows, series=series)


def _findings(found: Sequence[Row]) -> Iterator[str]:
    counting = [item for item in found if item["counts"]]
    silent = [item for item in found if not item["counts"]]
    yield f"<h2>Findings</h2>{'' if counting else '<p>None that count.</p>'}"
    for item in counting[:MOST_FINDINGS]:
        yield from _finding(item)
    if len(counting) > MOST_FINDINGS:
        yield f"<p>and {len(counting) - MOST_FINDINGS:,} more</p>"
    if silent:
        yield f"<details><summary>Not counted: {count(len(silent), 'finding')}</summary>"
        for item in silent[:MOST_FINDINGS]:
            yield from _finding(item)
        yield "</details>"


def _finding(item: Row) -> Iterator[str]:
    state = f" ({escape(item['state'])})" if item["state"] else ""
    operator = f" ({escape(item['op'])})" if item["op"] else ""
    yield f'<article class="{item["severity"]}{"" if item["counts"] else " silent"}"><h3><span class="tag">{item["severity"]}</span> '
    yield f"{rule_link(item['code'], '../')}{state} <code>{escape(item['place'])}</code>{operator}</h3>"
    yield f"<p>{escape(item['message'])}</p>"
    if item["folded_under"]:
        yield f'<p class="soft">explained by {escape(item["folded_under"])}</p>'
    elif item["fix"]:
        yield f'<p class="soft">fix: {escape(item["fix"])}</p>'
    yield "</article>"


def _history(fleet: Fleet, history: Sequence[Row]) -> str:
    rows = []
    codes = [
        {} if entry["verdict"] == "refused" else fleet.codes(entry["run"], entry["same_as"] or entry["name"])
        for entry in history
    ]
    for index, entry in enumerate(history):
        older = codes[index + 1] if index + 1 < len(history) else codes[index]
        came = [f"+{rule_link(code, '../')}" for code in sorted(codes[index]) if code not in older]
        went = [f"\u2212{rule_link(code, '../')}" for code in sorted(older) if code not in codes[index]]
        rows.append(
            (
                cell(entry["run"]), escape(entry["started"][:16].replace("T", " ")), f"<code>{escape(entry['content'][:12])}</code>",
                badge(entry["verdict"]), cell(entry["errors"]), cell(entry["warnings"]), cell(entry["notes"]), cell(entry["coverage"]),
                " ".join(came + went),
            )
        )  # fmt: skip
    return table(
        ("#run", "when (UTC)", "content", "verdict", "#errors", "#warnings", "#notes", "#coverage", "changed"), rows
    )


def _layers(layers: Sequence[Row]) -> Iterator[str]:
    names = ("fan_in", "weight_std", "target_std", "gain", "signal_std", "gradient_std")
    shown = [name for name in names if any(layer[name] is not None for layer in layers)]
    more = f", the first {MOST_LAYERS} shown" if len(layers) > MOST_LAYERS else ""
    yield f"<details><summary>{count(len(layers), 'layer')}{more}</summary>"
    yield table(
        ("layer", "operator", "shape", *("#" + name.replace("_", " ") for name in shown)),
        (
            (f"<code>{escape(layer['name'] or '')}</code>", escape(layer["op"] or ""), escape(layer["shape"] or ""), *(cell(layer[name]) for name in shown))
            for layer in layers[:MOST_LAYERS]
        ),
    )  # fmt: skip
    yield "</details>"
