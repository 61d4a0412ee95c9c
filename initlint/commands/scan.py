"""`initlint scan PATH...`: lint every model there is, keep the results in a store, judge the fleet."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from initlint.commands import options, terminal
from initlint.config import Config, Loaded
from initlint.errors import Reason, Refusal
from initlint.text import safe

__all__ = ["command"]

STORE = "initlint-store.sqlite"
FORMATS = ("text", "json", "openmetrics")
# Settings that change what is shown or how fast, never a result: a run may be resumed with others.
INDIFFERENT = (
    "jobs",
    "format",
    "output",
    "color",
    "progress",
    "fail_on",
    "allow_partial",
    "baseline",
    "name",
    "timeout",
    "memory",
)


class Share(click.ParamType[float]):
    """`2%` or `0.02`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share as a number between 0 and 1."""
        text = str(value).strip()
        match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text)
        share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
        if not 0 <= share <= 1:
            self.fail(f"{safe(text)} is no share: 2% or 0.02", param, ctx)
        return share


@click.command(cls=options.Grouped, context_settings={"max_content_width": 100})
@click.argument("paths", nargs=-1, metavar="PATH...")
@options.setting(
    "Store", "--store", "-s", metavar="FILE|URL", default=STORE, show_default=True, help="Where results are kept."
)
@options.setting(
    "Store", "--resume", is_flag=True, default=False, help="Go on with the run that did not finish, if one did not."
)
@options.setting(
    "Store", "--keep-runs", type=click.IntRange(1), metavar="N", help="Afterwards remove all but the newest N runs."
)
@options.setting(
    "Verdict",
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    help="Lowest severity that gives exit code 1 (default error).",
)
@options.setting(
    "Verdict",
    "--max-refused",
    type=Share(),
    default="2%",
    show_default=True,
    metavar="SHARE",
    help="Models that may go unjudged before the exit code is 2.",
)
@options.setting(
    "Verdict", "--since", metavar="RUN", help="Fail only on what got worse since this run; `last`: the one before."
)
@options.setting("Verdict", "--allow-partial/--no-allow-partial", help="A model that is judged in part is judged.")
@options.setting("Running", "--jobs", "-j", type=int, metavar="N", help="Local workers (default: as many as cores).")
@options.setting("Running", "--cluster", metavar="tcp://HOST:PORT", help="Have it done by a Dask cluster instead.")
@options.analysis_options
@options.rule_options
@options.setting(
    "Output",
    "--format",
    "-f",
    "layout",
    type=click.Choice(FORMATS),
    default="text",
    help=f"{', '.join(FORMATS)}.",
    envvar="INITLINT_SCAN_FORMAT",
)
@options.setting(
    "Output",
    "--output",
    "-o",
    "files",
    multiple=True,
    metavar="FORMAT:PATH",
    help="Also write this; repeatable.",
    envvar="INITLINT_SCAN_OUTPUT",
)
@options.setting("Output", "--progress/--no-progress", help="Progress on standard error.")
@options.setting("Output", "--quiet", "-q", is_flag=True, default=False, help="The last line only.")
@click.pass_context
def command(
    context: click.Context,
    /,
    paths: Sequence[str],
    store: str,
    keep_runs: int | None,
    max_refused: float,
    since: str | None,
    cluster: str | None,
    layout: str,
    files: Sequence[str],
    *,
    resume: bool,
    quiet: bool,
    **_: Any,
) -> int:
    """Lint every model under PATH and keep the results.

    PATH is a file, a folder, a glob, a Hugging Face cache or the URL of an object store (s3://, gs://, https://, ...). Models are
    known by content: in folders a model counts whatever it is called, and equal ones are linted once. Each result is in the store before
    the next is waited for.

    \b
    initlint scan models/ --store registry.sqlite
    initlint query registry.sqlite "SELECT name, verdict FROM latest WHERE verdict <> 'ok'"
    """  # fmt: skip
    loaded = options.loaded(context)
    if not paths:
        raise click.UsageError("give a path: a file, a folder, a glob or a URL")
    outputs = _outputs(files)
    if loaded.config.baseline is not None:
        terminal.complain("scan takes no baseline: --since RUN compares with a run of the store")
    from initlint.fleet.store import Store  # noqa: PLC0415 - usage errors need none of it
    from initlint.fleet.summary import Gate, summarise  # noqa: PLC0415 - as above
    from initlint.fleet.text import document  # noqa: PLC0415 - as above

    config = _plain(loaded.config)
    with Store(store, create=True) as opened:
        compared = _since(opened, since)
        run = _run(opened, paths, config, loaded, cluster, resume=resume, quiet=quiet)
        gate = Gate(loaded.config.fail_on, max_refused, loaded.config.allow_partial, compared)
        summary = summarise(opened, run, gate)
        opened.judge(run, summary.exit_code)
        if keep_runs is not None:
            opened.prune(keep_runs)
    documents = [(path, document(summary, format_, store).encode()) for format_, path in outputs]
    shown = document(summary, layout, store)
    from initlint.commands.files import write_files  # noqa: PLC0415 - only where a file is asked for

    write_files(documents)
    terminal.write_stdout(shown.splitlines(keepends=True)[-1] if quiet and layout == "text" else shown)
    return summary.exit_code


def _run(
    store: Any, paths: Sequence[str], config: Config, loaded: Loaded, cluster: str | None, *, resume: bool, quiet: bool
) -> int:
    """Do the scan; the number of its run."""
    from initlint.checking import check_rule_settings  # noqa: PLC0415 - as in `command`
    from initlint.commands.fleetbar import shown  # noqa: PLC0415 - as above
    from initlint.fleet.discovery import find, refuse_nothing  # noqa: PLC0415 - as above
    from initlint.fleet.scan import Scan  # noqa: PLC0415 - as above

    check_rule_settings(loaded)
    refuse_nothing(paths)
    settings = _settings(config)
    pool = _pool(cluster, loaded, config)
    try:
        run = store.resume(paths, settings) if resume else None
        done = 0 if run is None else store.counts(run)["seen"]
        run = run or store.begin(paths, settings, loaded.root)
        with shown(
            lambda: sum(1 for _ in find(paths, loaded.root)), done, wanted=loaded.config.progress, quiet=quiet
        ) as bar:
            Scan(store, run, pool, config, loaded.root, bar.told).work(find(paths, loaded.root))
    finally:
        pool.close()
    store.finish(run)
    return int(run)


def _pool(cluster: str | None, loaded: Loaded, config: Config) -> Any:
    if cluster is not None:
        from initlint.fleet.cluster import ClusterPool  # noqa: PLC0415 - an extra

        pool = ClusterPool(cluster)
        for note in pool.notes:
            terminal.complain(note)
        return pool
    from initlint.fleet.pool import LocalPool  # noqa: PLC0415 - as above

    jobs = config.jobs if "jobs" in loaded.origins else os.cpu_count() or 1
    return LocalPool(jobs, config.memory)


def _plain(config: Config) -> Config:
    """The settings of an analysis: those of the command line's output, and a baseline's, mean nothing to it."""
    return msgspec.structs.replace(config, baseline=None, output=(), format="text", name=None)


def _settings(config: Config) -> str:
    """Every setting that a result depends on, as JSON: a run is resumed only with the same."""
    default = Config()
    same = {name: getattr(default, name) for name in INDIFFERENT}
    return msgspec.json.encode(msgspec.structs.replace(config, **same)).decode()


def _since(store: Any, since: str | None) -> int | None:
    if since is None:
        return None
    if since == "last":
        last: int | None = store.last_finished()
        if last is None:
            terminal.complain("--since last: the store holds no finished run yet; everything counts")
        return last
    if not since.isascii() or not since.isdigit() or not store.has_run(int(since)):
        raise Refusal(Reason.USAGE, f"--since {safe(since)}: the store has no such run")
    return int(since)


def _outputs(files: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for item in files:
        format_, separator, path = item.partition(":")
        if not separator or format_ not in FORMATS or not path:
            raise Refusal(Reason.USAGE, f"-o {safe(item)}: expected FORMAT:PATH, FORMAT one of {', '.join(FORMATS)}")
        if not Path(path).parent.is_dir():
            raise Refusal(Reason.OUTPUT, f"-o {safe(item)}: no folder {safe(str(Path(path).parent))}")
        found.append((format_, path))
    return found
