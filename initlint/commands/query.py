"""`initlint query MODEL SQL`: the fact tables, open to anybody's questions."""

import csv
import io
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from initlint.commands import options, terminal
from initlint.errors import Reason, Refusal
from initlint.text import escaped, safe

__all__ = ["command"]

SQLITE_MAGIC = b"SQLite format 3\0"
CELL = 60  # characters


@click.command(cls=options.Grouped, context_settings={"max_content_width": 100})
@click.argument("model", required=False)
@click.argument("sql", required=False)
@click.option("--tables", is_flag=True, help="List every table and column with its unit.")
@options.setting(
    "Output", "--format", "-f", "layout", type=click.Choice(["table", "json", "csv"]), default="table", envvar="INITLINT_QUERY_FORMAT",
    help="How rows are printed.",
)  # fmt: skip
@options.analysis_options
@options.rule_options
@click.pass_context
def command(
    context: click.Context, /, model: str | None, sql: str | None, layout: str, *, tables: bool, **_: Any
) -> int:
    """Ask the fact tables of MODEL in SQL.

    MODEL is a model file, or a database written with `initlint check --facts`. The tables are model, layer, tensor,
    weight, edge and waiver; --tables lists their columns. MODEL may also be a store of `initlint scan`, a file or the URL of a
    PostgreSQL database: run, model, layer, finding, rule, and the views latest, history and model_finding.

    \b
    initlint query model.onnx "SELECT name, variance_ratio FROM layer ORDER BY 2 DESC"
    """
    if tables:
        terminal.write_stdout(_listing())
        return 0
    if model is None or sql is None:
        raise click.UsageError("give a model and a question in SQL")
    rows = _rows(context, model, sql)
    terminal.write_stdout({"table": _table, "json": _json, "csv": _csv}[layout](rows))
    return 0


def _rows(context: click.Context, model: str, sql: str) -> list[dict[str, Any]]:
    if "://" in model:
        from initlint.fleet.database import ask, is_server  # noqa: PLC0415 - one more kind of store

        if is_server(model):
            return ask(model, sql)
    rows: list[dict[str, Any]] = _facts(context, model).query(sql)
    return rows


def _facts(context: click.Context, model: str) -> Any:
    from initlint.facts import Facts  # noqa: PLC0415 - `--tables` and `--help` need no database

    if _is_database(model):
        connection = sqlite3.connect(f"{Path(model).resolve().as_uri()}?mode=ro", uri=True)
        return Facts(connection)
    from initlint.checking import analyse_in_worker  # noqa: PLC0415 - as above

    return Facts.deserialize(analyse_in_worker(model, options.loaded(context)).facts)


def _is_database(path: str) -> bool:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except OSError as error:
        raise Refusal(Reason.NOT_FOUND, f"{safe(path)}: {error.strerror}") from None


def _listing() -> str:
    from initlint.tables import TABLES  # noqa: PLC0415 - as above

    lines = []
    for table in TABLES.values():
        lines.append(f"{table.name}: {table.row}")
        lines.extend(
            f"  {column.name:27} {column.kind:8} {column.unit:8} {column.text}".rstrip() for column in table.columns
        )
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return safe(value, CELL) if isinstance(value, str) and value else str(value)


def _table(rows: Sequence[dict[str, object]]) -> str:
    if not rows:
        return "(no rows)\n"
    names = [safe(name, CELL) for name in rows[0]]
    cells = [[_shown(value) for value in row.values()] for row in rows]
    numeric = [
        all(not isinstance(value, str) for value in column)
        for column in zip(*(row.values() for row in rows), strict=True)
    ]
    widths = [max(len(name), *(len(row[index]) for row in cells)) for index, name in enumerate(names)]
    lines = [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in [names, ["-" * width for width in widths], *cells]
    ]
    return "\n".join(lines) + "\n"


def _json(rows: Sequence[dict[str, object]]) -> str:
    """For programs: every text in full and as it is, harmless on the way by JSON's own escapes."""
    infinite = {float("inf"), float("-inf")}  # JSON has no number for them
    plain = [
        {name: str(value) if isinstance(value, float) and value in infinite else value for name, value in row.items()}
        for row in rows
    ]
    document = escaped(msgspec.json.encode(plain).decode())
    return msgspec.json.format(document, indent=1) + "\n"


def _csv(rows: Sequence[dict[str, object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for line in [list(rows[0]), *(row.values() for row in rows)] if rows else []:
        writer.writerow([_formula_free(value) for value in line])
    return stream.getvalue()


def _formula_free(value: object) -> object:
    """A text that a spreadsheet would compute is kept from it by a leading quote."""
    if not isinstance(value, str) or not value:
        return value
    text = safe(value)
    return f"'{text}" if text[0] in "=+-@" else text
