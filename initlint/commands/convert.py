"""`initlint convert REPORT --to FORMAT`: another format from a report, without the model."""

import sys
import zlib
from pathlib import Path

import click
import msgspec

from initlint.commands import options, terminal
from initlint.config import FORMATS
from initlint.errors import Reason, Refusal
from initlint.formats import View, render
from initlint.formats.html import embedded_in
from initlint.report import Report, exit_code
from initlint.sanitised import sanitised
from initlint.text import one_line, safe

__all__ = ["command", "read_report"]


@click.command(cls=options.Grouped)
@click.argument("report", metavar="REPORT")
@click.option(
    "--to", "format_", type=click.Choice(FORMATS), metavar="FORMAT", required=True, help=f"{', '.join(FORMATS)}."
)
@click.option("--output", "-o", metavar="PATH", help="Write it there instead of to standard output.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colour of the text.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    default="never",
    help="Exit with 1 for findings of this severity (default never).",
)
def command(report: str, format_: str, output: str | None, color: str, fail_on: str) -> int:
    """Write REPORT, a JSON or HTML report of initlint (- for standard input), in another format."""
    found = read_report(report)
    view = View(color=output is None and terminal.colored(color, sys.stdout), width=terminal.width())
    document = render(found, format_, view if output is None else view.plain())
    if output is None:
        terminal.write_stdout(document)
    else:
        from initlint.commands.files import write_files  # noqa: PLC0415 - only where a file is asked for

        write_files([(output, document.encode())])
    return 0 if fail_on == "never" else exit_code(found, fail_on)


def read_report(path: str) -> Report:
    """A report from a JSON file or from the HTML page that embeds it; `Refusal` where it is none."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise Refusal(Reason.NOT_FOUND, f"{safe(path)}: {reason}") from None
    try:
        return sanitised(Report.from_json(embedded_in(content) or content))
    except (msgspec.MsgspecError, ValueError, zlib.error, RecursionError) as error:
        raise Refusal(Reason.USAGE, f"{safe(path)}: no report of initlint: {one_line(error)}") from None
