"""`initlint check MODEL...`: lint models, write the documents, give the exit code."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from initlint.commands import options, progress, terminal
from initlint.config import FORMATS, Loaded
from initlint.errors import Reason, Refusal
from initlint.text import safe

__all__ = ["command"]


@click.command(cls=options.Grouped, context_settings={"max_content_width": 100})
@click.argument("models", nargs=-1, metavar="MODEL...")
@options.analysis_options
@options.rule_options
@options.setting(
    "Verdict",
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    help="Lowest severity that gives exit code 1 (default error).",
)
@options.setting("Verdict", "--baseline", metavar="REPORT.json", help="Findings of this report do not count.")
@options.setting("Verdict", "--coverage-floor", type=float, metavar="SHARE", help="Least share of known tensors (0.9).")
@options.setting(
    "Verdict", "--allow-partial/--no-allow-partial", help="Judge what could be analysed; no exit code 2 for the rest."
)
@options.setting(
    "Configuration", "--show-config", is_flag=True, default=False, help="Print every setting and its source."
)
@options.setting(
    "Output", "--format", "-f", type=click.Choice(FORMATS), metavar="FORMAT", help=f"{', '.join(FORMATS)}."
)
@options.setting("Output", "--output", "-o", multiple=True, metavar="FORMAT:PATH", help="Also write this; repeatable.")
@options.setting("Output", "--facts", metavar="PATH", help="Write the fact tables of one model as an SQLite file.")
@options.setting(
    "Output", "--all-tensors/--no-all-tensors", help="List every tensor in JSON, not only those found at fault."
)
@options.setting("Output", "--name", metavar="KEY", help="Name of the model in the report, in place of its path.")
@options.setting("Output", "--color", type=click.Choice(["auto", "always", "never"]), help="Colour of the text.")
@options.setting("Output", "--progress/--no-progress", help="Progress on standard error.")
@options.setting("Output", "--quiet", "-q", is_flag=True, default=False, help="The summary line only.")
@options.setting(
    "Output", "--verbose", "-v", is_flag=True, default=False, help="Folded findings, assumptions, timings."
)
@options.setting("Running", "--jobs", "-j", type=int, metavar="N", help="Models analysed at a time (default 1).")
@options.setting(
    "Running", "--cache", metavar="DIR", help="Keep reports here by content: an unchanged model costs one hash."
)
@click.pass_context
def command(
    context: click.Context,
    /,
    models: Sequence[str],
    facts: str | None,
    *,
    show_config: bool,
    quiet: bool,
    verbose: bool,
    **_: Any,
) -> int:
    """Lint models. MODEL is a file, a folder (searched for .onnx) or a glob; `check` itself may be left out."""
    loaded = options.loaded(context)
    if show_config:
        from initlint.commands.settings import shown  # noqa: PLC0415 - only where asked for

        terminal.write_stdout(shown(loaded))
        return 0
    if not models:
        raise click.UsageError("give a model: a file, a folder or a glob")
    from initlint import checking, discovery  # noqa: PLC0415 - usage errors need none of it
    from initlint.report import exit_code  # noqa: PLC0415 - as above

    outputs = _outputs(loaded)
    paths = discovery.expand(models)
    if facts is not None and len(paths) != 1:
        raise click.UsageError("--facts takes one model")
    if loaded.config.name is not None and len(paths) != 1:
        raise click.UsageError("--name takes one model")
    with progress.shown(paths, loaded.config.progress, quiet=quiet) as watch:
        events = []
        for event in checking.check_paths(paths, loaded, watch.step, "record" if facts is None else "report"):
            watch.done(event.index, event.report)
            events.append(event)
    report = checking.combined(events, loaded)
    from initlint.formats import View, render  # noqa: PLC0415 - as above

    view = View(
        color=terminal.colored(loaded.config.color, sys.stdout), width=terminal.width(), quiet=quiet, verbose=verbose,
        fail_on=loaded.config.fail_on, allow_partial=loaded.config.allow_partial,
    )  # fmt: skip
    documents = [(path, render(report, format_, view.plain()).encode()) for format_, path in outputs]
    if facts is not None and events[0].facts:
        documents.append((facts, events[0].facts))
    text = render(report, loaded.config.format, view)
    from initlint.commands.files import write_files  # noqa: PLC0415 - only where a file is asked for

    write_files(documents)
    terminal.write_stdout(text)
    if not (loaded.config.format == "text" and terminal.both_seen()):
        for skipped in report.skipped:
            terminal.complain(f"{skipped.path}: {skipped.message} [{skipped.reason}]")
    return exit_code(report, loaded.config.fail_on, allow_partial=loaded.config.allow_partial)


def _outputs(loaded: Loaded) -> list[tuple[str, str]]:
    """The files asked for, each with its format; refused before any model is read."""
    outputs = []
    for item in loaded.config.output:
        format_, separator, path = item.partition(":")
        if not separator or format_ not in FORMATS or not path:
            raise Refusal(Reason.USAGE, f"-o {safe(item)}: expected FORMAT:PATH, FORMAT one of {', '.join(FORMATS)}")
        if not Path(path).parent.is_dir():
            raise Refusal(Reason.OUTPUT, f"-o {safe(item)}: no folder {safe(str(Path(path).parent))}")
        outputs.append((format_, path))
    return outputs
