"""`check()`: the whole product as one call. The command line adds arguments, printing and the exit code."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from initlint.config import Config, Loaded, load, resolve
from initlint.discovery import key_of
from initlint.errors import Reason, Refusal
from initlint.isolation import Limits, Progress, Reply, Worker
from initlint.report import Report, Skipped, merge
from initlint.sandbox import MOST_ROOTS, Cage, folders_of
from initlint.sanitised import sanitised
from initlint.serving import Request, Wants
from initlint.text import safe
from initlint.waivers import over_all_models

if TYPE_CHECKING:
    import onnx

__all__ = ["Event", "analyse_here", "analyse_in_worker", "check", "check_paths", "check_rule_settings"]

Watch = Callable[[Progress], None]
MODELS_PER_WORKER = 64  # then a fresh one: whatever libraries leak stays bounded
MOST_LOOKED_UP = 2048  # models whose folders are looked up; workers for more may read all that the user may
SMALL = 1 << 20  # bytes below which BLAS threads cost more at their start than they save


class Event(msgspec.Struct, frozen=True):
    """One model is done: its place in the list, its report (of a refused model: with it under `skipped`), its facts."""

    index: int
    report: Report
    facts: bytes = b""


def check(
    model: "str | os.PathLike[str] | bytes | onnx.ModelProto | Any",
    *,
    config: Config | str | os.PathLike[str] | None = None,
    isolation: Literal["process", "none"] = "process",
    **settings: Any,
) -> Report:
    """Lint one model and return its report.

    `model` is a path, the bytes of a model file, an `onnx.ModelProto` or an `onnx_ir.Model`. `config` is a settings file
    or a `Config`; without it the defaults hold, whatever files lie about. `settings` are those of `Config`:
    `check(path, phase="init", target="float16", rules={"IL201": {"max_gain": 512}})`.

    A path is analysed in a process of its own unless `isolation` is "none"; a model in memory always in this one. Raises
    Refusal, with a reason, where the model cannot be analysed.
    """
    loaded = _settings(config, settings)
    if isinstance(model, str | os.PathLike) and isolation == "process" and os.name != "nt":
        reply = analyse_in_worker(os.fspath(model), loaded)
        from initlint.facts import Facts  # noqa: PLC0415 - the command line decodes no facts

        return _isolated(reply).with_facts(Facts.deserialize(reply.facts))
    if loaded.config.require_isolation:
        raise Refusal(
            Reason.ISOLATION, "a model analysed in this process is not isolated; require_isolation asks for it"
        )
    return analyse_here(model, loaded)


def analyse_here(source: Any, loaded: Loaded, watch: Watch | None = None, started: float | None = None) -> Report:
    """Analyse in this process; `started` says when its deadline began to run, where that was before now."""
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    key = _key(path, loaded) if path is not None else loaded.config.name or "<memory>"

    def analysed() -> Report:
        from initlint.analysis import Settings, analyse  # noqa: PLC0415 - imports numpy and onnx

        report = analyse(source, Settings(config=loaded.config, key=key, watch=watch, started=started))
        return sanitised(report).with_facts(report.facts)

    if path is None or loaded.config.cache is None:
        return analysed()
    from initlint.cache import Entry, identity_of, kept, status_of  # noqa: PLC0415 - only where one is kept
    from initlint.facts import Facts  # noqa: PLC0415 - as above

    def entry() -> Entry:
        report = analysed()
        return Entry(report.to_json(), report.facts.serialize())

    found, old = kept(
        path,
        key,
        loaded.config,
        identity=lambda: identity_of(path, watch),
        status=lambda: status_of(path),
        analyse=entry,
    )
    return _said_cached(Report.from_json(found.report), cached=old).with_facts(Facts.deserialize(found.facts))


def analyse_in_worker(
    path: str, loaded: Loaded, worker: Worker | None = None, watch: Watch | None = None, *, wants: Wants = "report"
) -> Reply:
    """Analyse in a worker: the one given, or one of its own for this model alone. `wants` is "report" or "record"."""
    if worker is None:
        with _worker_for([path], loaded.config) as own:
            return analyse_in_worker(path, loaded, own, watch, wants=wants)
    config = msgspec.structs.replace(loaded.config, cache=None)  # the cache is this process's
    limits = Limits(config.timeout, config.memory)

    def ask(wanted: Wants) -> Reply:
        asked = Request(os.fsencode(path), os.fsencode(loaded.root), config, wanted, time.monotonic())
        return worker.run(msgspec.json.encode(asked), limits, watch)

    if loaded.config.cache is None:
        return ask(wants)
    from initlint.cache import Entry, Identity, Status, kept  # noqa: PLC0415 - only where one is kept

    def entry() -> Entry:
        reply = ask("report")
        return Entry(reply.report, reply.facts)

    found, old = kept(
        path, _key(path, loaded), loaded.config,
        identity=lambda: msgspec.json.decode(ask("identity").report, type=Identity),
        status=lambda: msgspec.json.decode(ask("status").report, type=Status),
        analyse=entry,
    )  # fmt: skip
    return Reply(found.report, found.facts, worker.isolation, cached=old)


def _key(path: str, loaded: Loaded) -> str:
    return loaded.config.name or key_of(path, loaded.root)


def _said_cached(report: Report, *, cached: bool) -> Report:
    """A report that was kept says so: what it took to make it is no figure of this run."""
    run = msgspec.structs.replace(report.run, seconds={} if cached else report.run.seconds, cached=cached)
    return msgspec.structs.replace(report, run=run)


def check_paths(
    paths: Sequence[str],
    loaded: Loaded,
    watch: Callable[[int, Progress], None] | None = None,
    wants: Wants = "record",
) -> Iterator[Event]:
    """Analyse models in `jobs` workers; events come in the order of the paths. A refused model is an event like any.

    Facts are large and seldom needed: they come with the events where `wants` is "report".
    """
    check_rule_settings(loaded)
    jobs = min(loaded.config.jobs, len(paths))
    if jobs <= 1:
        yield from _serve(enumerate(paths), paths, loaded, watch, wants)
        return
    from initlint.parallel import in_threads  # noqa: PLC0415 - one model needs no threads

    running: list[Worker] = []
    try:
        yield from in_threads(
            jobs,
            len(paths),
            lambda indices: _serve(((i, paths[i]) for i in indices), paths, loaded, watch, wants, running),
        )
    finally:
        for worker in running:
            worker.kill()


def check_rule_settings(loaded: Loaded) -> None:
    """Refuse a setting of a rule that does not exist, with the line it stands on, before any model is opened."""
    config = loaded.config
    if not (config.rules or config.select or config.ignore or config.waive):
        return
    from initlint.rulecheck import load as load_rules  # noqa: PLC0415
    from initlint.rulefile import built_in  # noqa: PLC0415 - most runs set nothing of a rule
    from initlint.rules import Settings, check_settings  # noqa: PLC0415

    rules = load_rules([built_in(), *(Path(folder) for folder in config.rule_dirs)])
    check_settings(rules, Settings(config.select, config.ignore))
    for index, waiver in enumerate(config.waive):
        try:
            check_settings(rules, Settings((waiver.code,)))
        except Refusal as refusal:
            place = loaded.place("waive", index, "code")
            raise Refusal(refusal.reason, f"{place}: {refusal.message}" if place else refusal.message) from None
    for code, values in config.rules.items():
        for name in [None, *values]:
            part = {} if name is None else {name: values[name]}
            try:
                check_settings(rules, Settings(overrides={code: part}))
            except Refusal as refusal:
                place = loaded.place("rules", code, *([] if name is None else [name]))
                raise Refusal(refusal.reason, f"{place}: {refusal.message}" if place else refusal.message) from None


def _serve(
    items: Iterable[tuple[int, str]],
    paths: Sequence[str],
    loaded: Loaded,
    watch: Callable[[int, Progress], None] | None,
    wants: Wants,
    running: list[Worker] | None = None,
) -> Iterator[Event]:
    """One worker's share of the models, one after another; a worker that died is replaced."""
    worker: Worker | None = None
    served = 0
    try:
        for index, path in items:
            if worker is None or not worker.alive or served >= MODELS_PER_WORKER:
                if worker is not None:
                    worker.close()
                worker, served = _worker_for(paths, loaded.config), 0
                if running is not None:
                    running.append(worker)
            served += 1
            yield _event(index, path, loaded, worker, None if watch is None else _bound(watch, index), wants)
    finally:
        if worker is not None:
            worker.close()


def _bound(watch: Callable[[int, Progress], None], index: int) -> Watch:
    return lambda progress: watch(index, progress)


def _event(index: int, path: str, loaded: Loaded, worker: Worker, watch: Watch | None, wants: Wants) -> Event:
    try:
        reply = analyse_in_worker(path, loaded, worker, watch, wants=wants)
    except Refusal as refusal:
        if refusal.reason in {Reason.CONFIG, Reason.RULE_FILE, Reason.USAGE}:
            raise  # not this model's fault: it holds for every other one, too
        key = loaded.config.name or key_of(path, loaded.root)
        skipped = Skipped(safe(key), safe(path, 1000), str(refusal.reason), safe(refusal.message, 1000))
        return Event(index, Report(skipped=(skipped,)))
    return Event(index, _isolated(reply), reply.facts)


def _isolated(reply: Reply) -> Report:
    """The report, which says that a worker process made it and what held of its cage."""
    report = _said_cached(Report.from_json(reply.report), cached=reply.cached)
    models = tuple(msgspec.structs.replace(model, isolation="process") for model in report.models)
    return msgspec.structs.replace(
        report, models=models, run=msgspec.structs.replace(report.run, isolation=reply.isolation)
    )


def _cage(paths: Sequence[str], config: Config) -> Cage:
    """Of files a worker may read the folders of its models (also behind links) and what the settings name."""
    if len(paths) > MOST_LOOKED_UP or config.device != "cpu":
        return Cage(None, config.probe, config.require_isolation)
    named = [*config.rule_dirs, *(path for path in (config.baseline, config.input) if path is not None)]
    readable = folders_of(paths) + tuple(named)
    return Cage(readable if len(readable) <= MOST_ROOTS else None, config.probe, config.require_isolation)


def _worker_for(paths: Sequence[str], config: Config) -> Worker:
    """A worker with as many BLAS threads as its share of the cores; one for small models."""
    cores = os.cpu_count() or 1
    large = any(_size(path) > SMALL for path in paths[:1000])
    threads = max(1, cores // min(config.jobs, len(paths))) if large else 1
    return Worker(config.memory, threads=threads, cage=_cage(paths, config))


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return 0


def _settings(config: Config | str | os.PathLike[str] | None, settings: dict[str, Any]) -> Loaded:
    known = set(Config.__struct_fields__)
    for name in settings:
        if name not in known:
            raise TypeError(f"check() has no setting {name!r}; it has {', '.join(sorted(known))}")
    loaded = load(Path(config)) if isinstance(config, str | os.PathLike) else Loaded(config or Config())
    given = {name: (value, "check()") for name, value in settings.items()}
    return resolve(given, base=loaded)


def combined(events: Iterable[Event], loaded: Loaded) -> Report:
    """One report of all models."""
    report = merge([event.report for event in events])
    return over_all_models(report, loaded.config.waive) if len(report.models) > 1 else report
