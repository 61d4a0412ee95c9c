"""From a file to its report: open, read weights, predict the signal, fill the tables, judge."""

import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from initlint import __version__
from initlint.causes import gathered
from initlint.config import Config
from initlint.elements import format_of
from initlint.errors import Reason, Refusal
from initlint.facts import Facts, build
from initlint.graph import Model
from initlint.index import index_of
from initlint.isolation import Progress
from initlint.layerfacts import examine_layers, phase_of
from initlint.layers import find_layers
from initlint.listed import findings_listed, left_out, rows_of
from initlint.model import open_model
from initlint.report import ModelRecord, Report, RunRecord
from initlint.rulecheck import load
from initlint.rulefile import Rule, built_in
from initlint.rules import Judgement, check_settings, judge
from initlint.rules import Settings as RuleSettings
from initlint.signal.backward import Backward, backpropagate
from initlint.signal.propagate import Assumptions, Propagation, propagate
from initlint.study import Study
from initlint.waivers import apply_baseline, apply_waivers, read_baseline, waiver_rows

__all__ = ["Settings", "analyse"]

DEFAULT_TARGET = "float16"
INPUTS_A_NODE = 16


class Settings(msgspec.Struct, frozen=True):
    """What one analysis needs to know: the configuration, the model's key, whom to tell of progress."""

    config: Config
    key: str
    watch: Callable[[Progress], None] | None = None
    today: datetime.date | None = None
    started: float | None = (
        None  # of the monotonic clock: when the analysis's deadline began to run, if before the analysis
    )


class Clock:
    """Seconds by stage, and the word that a stage begins."""

    def __init__(self, watch: Callable[[Progress], None] | None) -> None:
        self.watch = watch
        self.seconds: dict[str, float] = {}
        self.nodes = self.size = 0

    @contextmanager
    def stage(self, name: str, more: float = 0.0) -> Iterator[None]:
        """Time a stage; `more` seconds are asked for from whoever holds the deadline."""
        if self.watch is not None:
            self.watch(Progress(name, self.nodes, self.size, more))
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def analyse(source: Any, settings: Settings) -> Report:
    """Analyse one model in this process. Raises Refusal where it, or a setting, cannot be understood."""
    config = settings.config
    started = settings.started or time.monotonic()
    clock = Clock(settings.watch)
    target = _target(config)
    with clock.stage("rules"):
        rules = load([built_in(), *(Path(folder) for folder in config.rule_dirs)])
        check_settings(rules, _rule_settings(config))
        baseline = read_baseline(config.baseline) if config.baseline is not None else None
    with clock.stage("open"):
        opened = open_model(source)
        model = opened.__enter__()
    try:
        clock.nodes, clock.size = _steps(model), model.size
        with clock.stage("layers"):
            index = index_of(model)
            layers = find_layers(model, index)
        with clock.stage("weights"):
            examined = examine_layers(layers, index, format_of(target))
            phase = phase_of(model, examined, index)
        assumptions = _assumptions(config, model)
        with clock.stage("signal"):
            propagation = propagate(model, assumptions)
        with clock.stage("gradient"):
            backward = _backward(model, propagation, assumptions) if layers else Backward({}, 0, "no layers")
        probe = None
        if config.probe:
            from initlint.probe.run import Allowance, run_probe  # noqa: PLC0415 - the probe is optional

            with clock.stage("probe"):
                allowance = Allowance.of(config, time.monotonic() - started)
                outputs = [layer.output for layer in layers]
                probe = run_probe(source, propagation, outputs, config, allowance, settings.watch)
        with clock.stage("facts"):
            study = Study(model, index, examined, phase, propagation, backward, probe)
            facts = study.facts(settings.key, config, target)
        with clock.stage("judge"):
            judgement = judge(rules, facts, _rule_settings(config), settings.key, study.blamed)
            judgement = _waived(judgement, rules, settings, baseline, facts)
            return _report(study, facts, judgement, settings, clock)
    finally:
        opened.__exit__(None, None, None)


def _steps(model: Model) -> int:
    """Nodes as the deadline counts them: one of very many inputs takes as long as many of a few."""
    return sum(1 + len(node.inputs) // INPUTS_A_NODE for node in model.nodes())


def _target(config: Config) -> str:
    target = config.target or DEFAULT_TARGET
    if format_of(target) is None:
        raise Refusal(Reason.CONFIG, f"--target {target}: not a floating format that ONNX has")
    return target


def _assumptions(config: Config, model: Model) -> Assumptions:
    return Assumptions(
        given=_given(config, model),
        sizes=dict(config.dim),
        seed=config.seed,
        draws=config.samples,
        operators={kind: hint.behaves_as for kind, hint in config.op.items()},
    )


def _given(config: Config, model: Model) -> dict[str, Any]:
    """Draws of the inputs from the user's data."""
    if config.input is None:
        return {}
    from initlint.probe.feeds import load_data  # noqa: PLC0415 - only where data is given
    from initlint.signal.given import draws_from  # noqa: PLC0415 - as above

    shapes = {
        info.name: tuple(extent if isinstance(extent, int) else 1 for extent in info.shape or ())
        for info in model.graph.inputs
    }
    return draws_from(load_data(Path(config.input), shapes), config.seed)


def _rule_settings(config: Config) -> RuleSettings:
    overrides: dict[str, dict[str, Any]] = {code: dict(values) for code, values in config.rules.items()}
    overrides.setdefault("IL001", {}).setdefault("floor", config.coverage_floor)
    return RuleSettings(config.select, config.ignore, overrides)


def _backward(model: Model, propagation: Propagation, assumptions: Assumptions) -> Backward:
    try:
        return backpropagate(model, propagation, assumptions)
    except (Refusal, MemoryError) as error:
        return Backward({}, 0, str(error))


def _waived(
    judgement: Judgement,
    rules: Sequence[Rule],
    settings: Settings,
    baseline: frozenset[tuple[str, int]] | None,
    facts: Facts,
) -> Judgement:
    """Findings with waivers and baseline applied, and what the waivers themselves give rise to."""
    today = settings.today or datetime.datetime.now(tz=datetime.UTC).date()
    config, findings, records = settings.config, judgement.findings, judgement.rules
    if config.waive:
        phase = facts.query("SELECT phase FROM model")[0]["phase"]
        rows = waiver_rows(findings, config.waive, settings.key, records, today, {"phase": phase})
        own = [rule for rule in rules if rule.over == "waiver"]
        found = judge(own, build({"model": [{"phase": phase}], "waiver": rows}), _rule_settings(config), settings.key)
        findings = apply_waivers(findings, config.waive, today) + found.findings
        about = {record.code: record for record in found.rules}
        records = tuple(about.get(record.code, record) for record in records)
    if baseline is not None:
        findings = apply_baseline(findings, baseline)
    return Judgement(gathered(findings, rules), records)


def _report(
    study: Study,
    facts: Facts,
    judgement: Judgement,
    settings: Settings,
    clock: Clock,
) -> Report:
    key = settings.key
    findings = tuple(
        msgspec.structs.replace(finding, trail=study.trail(finding.place)) if finding.code == "IL501" else finding
        for finding in judgement.findings
    )
    listed = findings_listed(findings)
    rows = rows_of(facts, listed, tensors=settings.config.all_tensors)
    total = int(facts.query("SELECT COUNT(*) AS rows FROM layer")[0]["rows"] or 0)
    row = facts.query("SELECT * FROM model")[0]
    counting = [finding for finding in findings if finding.counts]
    counts = Counter(finding.severity for finding in counting)
    fields = {field: row[field] for field in ModelRecord.__struct_fields__ if field in row}
    record = ModelRecord(
        **fields,  # type: ignore[arg-type]
        model=key,
        size=float(study.model.size),
        nothing_to_judge=not study.examined and not study.propagation.unknown,
        errors=counts["error"],
        warnings=counts["warning"],
        notes=counts["note"],
        folded=sum(finding.folded_under is not None for finding in findings),
        assumed=study.propagation.notes,
        left_out=left_out(len(findings) - len(listed), total - len(rows["layer"])),
    )
    return Report(
        models=(record,),
        rules=judgement.rules,
        findings=listed,
        layers=tuple({"model": key, **item} for item in rows["layer"]),
        tensors=tuple({"model": key, **item} for item in rows["tensor"]),
        run=RunRecord(version=__version__, seconds=clock.seconds, probe=_probe_record(study)),
    ).with_facts(facts)


def _probe_record(study: Study) -> dict[str, Any]:
    return study.probe.record() if study.probe is not None else {}
