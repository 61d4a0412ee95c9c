"""`initlint site STORE -o DIR`: a static website over a store."""

import click

from initlint.commands import options, terminal

__all__ = ["command"]


@click.command(cls=options.Grouped, context_settings={"max_content_width": 100})
@click.argument("store", metavar="STORE")
@click.option(
    "--output", "-o", "folder", required=True, metavar="DIR", help="Folder of the site; made, or replaced if it is one."
)
@click.option("--run", type=int, metavar="N", help="The run to show (default: the newest that is finished).")
@click.option(
    "--fail-on", type=click.Choice(["error", "warning", "note"]), default="error", show_default=True,
    help="Severity from which a model counts as worse or better.",
)  # fmt: skip
@click.option("--quiet", "-q", is_flag=True, help="Say nothing.")
def command(store: str, folder: str, run: int | None, fail_on: str, *, quiet: bool) -> int:
    """A website over STORE, a store of `initlint scan`, in DIR.

    Plain files that need neither a server nor a network: an overview, a page for each model with its history, a page for each rule,
    and a search. Open DIR/index.html, or put the folder on any web server.
    """
    from pathlib import Path  # noqa: PLC0415 - the help needs none of it

    from initlint.fleet.store import Store  # noqa: PLC0415 - as above
    from initlint.site.build import build  # noqa: PLC0415 - as above
    from initlint.site.fleet import open_fleet  # noqa: PLC0415 - as above

    with Store(store) as opened:
        pages = build(open_fleet(opened, run, fail_on), Path(folder))
    if not quiet:
        terminal.write_stdout(f"{pages:,} pages, begin at {Path(folder) / 'index.html'}\n")
    return 0
