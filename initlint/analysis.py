"""From a file to its report: open, read weights, predict the signal, fill the tables, judge."""

import datetime
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite, log2
from pathlib import Path
from typing import Any

import msgspec

from initlint import __version__
from initlint.absorption import absorbed_tensors, depths, masks
from initlint.config import Config
from initlint.culprits import culprits
from initlint.elements import format_of
from initlint.errors import Reason, Refusal
from initlint.facts import Facts, build
from initlint.graph import Model, Node
from initlint.index import Index, index_of
from initlint.isolation import Progress
from initlint.layerfacts import Examined, examine_layers, layer_row, median_ratios, norm_rows, phase_of, untrained_flags
from initlint.layers import find_layers, unread_slots
from initlint.model import open_model
from initlint.phase import Phase
from initlint.report import Blamed, Finding, ModelRecord, Report, RunRecord
from initlint.rulefile import Rule, built_in, load
from initlint.rules import Judgement, check_settings, gathered, judge
from initlint.rules import Settings as RuleSettings
from initlint.signal.backward import Backward, backpropagate
from initlint.signal.blame import carrier
from initlint.signal.propagate import Assumptions, Propagation, propagate
from initlint.tensorfacts import edge_rows, growth, signal_part, tensor_rows, weight_rows
from initlint.waivers import apply_baseline, apply_waivers, read_baseline, waiver_rows

__all__ = ["Settings", "analyse"]

DEFAULT_TARGET = "float16"
TRAIL = 20
MOST_NAMES = 500


@dataclass(frozen=True, slots=True)
class Settings:
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
        clock.nodes, clock.size = sum(1 for _ in model.nodes()), model.size
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


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that was found out about one model, before it is written into tables."""

    model: Model
    index: Index
    examined: Sequence[Examined]
    phase: Phase
    propagation: Propagation
    backward: Backward
    probe: Any = None

    def facts(self, key: str, config: Config, target: str) -> Facts:
        """The fact tables."""
        shared = self._shared(config, target)
        outputs = frozenset(item.layer.output for item in self.examined)
        deep = depths(self.model, outputs)
        absorbed = absorbed_tensors(self.model, self.index)
        masked = masks(self.model, self.index)
        layers = self._layer_rows(deep, absorbed)
        tensors: Iterable[dict[str, Any]] = tensor_rows(
            self.index,
            self.propagation,
            absorbed=absorbed,
            masks=masked,
            depths=deep,
            backward=self.backward,
        )
        statistics = {
            item.layer.weight: item.found
            for item in self.examined
            if item.found is not None and not (item.layer.computed or item.layer.quantised)
        }
        weights = weight_rows(self.model, self.index, statistics, masked, target)
        if self.probe is not None:
            tensors = list(tensors)
            self.probe.add_to(tensors, layers)
        rows = {
            "model": [self._model_row(key, layers, config) | shared],
            "layer": (row | shared for row in layers),
            "tensor": (row | shared for row in tensors),
            "weight": [row | shared for row in weights],
            "edge": (row | shared for row in edge_rows(self.model, self.propagation.signals, deep)),
        }
        return build({name: map(_finite, items) for name, items in rows.items()})

    def _shared(self, config: Config, target: str) -> dict[str, Any]:
        limits = format_of(target)
        assert limits is not None
        return {
            "phase": self.phase.judged if config.phase == "auto" else config.phase,
            "target_format": target,
            "target_asked": config.target is not None,
            "target_largest": limits.largest,
            "target_smallest": limits.smallest_normal,
        }

    def _layer_rows(self, deep: Mapping[str, int], absorbed: frozenset[str]) -> list[dict[str, Any]]:
        gradients = self.backward.gradient_std
        flags = untrained_flags(self.examined)
        rows = []
        for item, untrained in zip(self.examined, flags, strict=True):
            layer = item.layer
            row = layer_row(
                item, absorbed=layer.output in absorbed, depth=deep.get(layer.output, 0), untrained=untrained
            )
            row |= self._signal_of(layer.output)
            before, after = (self.propagation.signals.get(name) for name in (layer.input, layer.output))
            if before is not None and after is not None and before.signal_std > 0:
                row["gain"] = after.signal_std / before.signal_std
            if after is not None and before is not None:
                row["signal_ends"] = before.signal_std > 0 and after.signal_std == 0
            rows.append(row)
        medians = median_ratios(rows)
        last = next((gradients[row["output"]] for row in reversed(rows) if gradients.get(row["output"])), None)
        product = 1.0
        for row in rows:
            row["median_ratio"] = medians.get(str(row["op"]))
            gradient = gradients.get(row["output"])
            if gradient is not None and last:
                row["backward_gain"] = gradient / last
            if row.get("variance") is not None and row.get("fan_in") and not row["table_lookup"] and product < 1e300:
                product *= 0.5 * row["fan_in"] * row["variance"]
                row["he_product"] = product
        rows += norm_rows(self.model, self.index, self.propagation, deep, len(rows))
        for row in rows[len(self.examined) :]:
            row |= self._signal_of(str(row["output"]))
        return rows

    def _signal_of(self, name: str) -> dict[str, Any]:
        dtype = self.propagation.dtypes.get(name, "float32")
        return signal_part(name, self.propagation, dtype, self.backward)

    def _model_row(self, key: str, layers: Sequence[Mapping[str, Any]], config: Config) -> dict[str, Any]:
        propagation = self.propagation
        known, lost = len(propagation.signals), len(propagation.unknown)
        nodes = {item.layer.node.index for item in self.examined}
        seen: dict[str, int] = {}
        for item in self.examined:
            if item.layer.tensor is not None:
                seen[item.layer.weight] = item.layer.tensor.count
        unread = unread_slots(tuple(item.layer for item in self.examined))
        row = {
            "name": key,
            "path": self.model.path,
            "bytes": self.model.size,
            "ir_version": self.model.ir_version,
            "opset": self.model.opset,
            "producer": self.model.producer,
            "parameters": sum(seen.values()),
            "nodes": sum(1 for _ in self.model.nodes()),
            "layers": len(nodes),
            "weight_slots": len(self.examined),
            "unread_slots": len(unread),
            "tensors": known + lost,
            "known_tensors": known,
            "coverage": propagation.coverage,
            "unknown_operators": self.unknown_operators(),
            "phase_detected": self.phase.name if config.phase == "auto" else config.phase,
            "phase_confidence": self.phase.confidence if config.phase == "auto" else 1.0,
            "phase_reason": self.phase.reason if config.phase == "auto" else "set with --phase",
            "draws": propagation.draws,
            "probed": self.probe is not None,
        }
        path = self._main_path()
        row |= growth(path)
        stds = [std for _, std in path if std > 0]
        if stds:
            row["signal_span"] = log2(max(stds) / min(stds))
        backward = [item["backward_gain"] for item in layers if item.get("backward_gain")]
        if backward:
            row["backward_range"] = backward[0]
        if self.probe is not None:
            row |= self.probe.model_part()
        return row

    def _main_path(self) -> list[tuple[str, float]]:
        """(layer, signal std of its output) along what carries the signal to the first output that is known."""
        signals = self.propagation.signals
        end = next((info.name for info in self.model.graph.outputs if info.name in signals), None)
        if end is None:
            return []
        names = {item.layer.output: item.layer.name for item in self.examined}
        path = carrier(end, self.index.producer, signals)
        return [(names[name], signals[name].signal_std) for name in path if name in names]

    def unknown_operators(self) -> str | None:
        """Kinds of operators at which knowledge ends, with counts and the reason of the first."""
        kinds: Counter[str] = Counter()
        reasons: dict[str, str] = {}
        unknown = self.propagation.unknown
        for name, reason in unknown.items():
            node = self.index.producer.get(name)
            if node is None or any(item in unknown for item in node.inputs):
                continue
            kinds[node.kind] += 1
            reasons.setdefault(node.kind, reason)
        if not kinds:
            return None
        return "; ".join(f"{kind} x{count} ({reasons[kind]})" for kind, count in kinds.most_common(8))

    def blamed(self, tensor: str, grows: bool) -> tuple[Blamed, ...]:  # noqa: FBT001 - the rules' callback
        """The layers behind a broken signal at a tensor, by their share of the log gain."""
        return culprits(tensor, self.examined, self.index, self.propagation, grows=grows)

    def trail(self, tensor: str) -> tuple[str, ...]:
        """The tensors before one that is not finite, nearest first."""
        found: list[str] = []
        frontier = [tensor]
        while frontier and len(found) < TRAIL:
            node: Node | None = self.index.producer.get(frontier.pop(0))
            if node is None:
                continue
            fresh = [name for name in node.inputs if name and name not in found and name not in self.index.constants]
            found.extend(fresh)
            frontier.extend(fresh)
        return tuple(found[:TRAIL])


def _finite(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row without NaN and infinities: what is no number is not known."""
    lost = [key for key, value in row.items() if isinstance(value, float) and not isfinite(value)]
    return {**row, **dict.fromkeys(lost)} if lost else row


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
    )
    named = {finding.place for finding in findings if finding.over == "tensor"}
    tensors = (
        facts.query("SELECT * FROM tensor ORDER BY position") if settings.config.all_tensors else _named(facts, named)
    )
    layers = facts.query("SELECT * FROM layer ORDER BY position")
    return Report(
        models=(record,),
        rules=judgement.rules,
        findings=_ordered(findings),
        layers=tuple({"model": key, **item} for item in layers),
        tensors=tuple({"model": key, **item} for item in tensors),
        run=RunRecord(version=__version__, seconds=clock.seconds, probe=_probe_record(study)),
    ).with_facts(facts)


def _named(facts: Facts, names: Collection[str]) -> list[dict[str, Any]]:
    """The tensors of these names along the graph; SQLite takes a bounded number of parameters at a time."""
    found: list[dict[str, Any]] = []
    ordered = sorted(names)
    for start in range(0, len(ordered), MOST_NAMES):
        some = ordered[start : start + MOST_NAMES]
        found += facts.query(f"SELECT * FROM tensor WHERE name IN ({', '.join('?' * len(some))})", some)  # noqa: S608 - marks
    return sorted(found, key=lambda row: int(row["position"]))


def _probe_record(study: Study) -> dict[str, Any]:
    return study.probe.record() if study.probe is not None else {}


def _ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Worst first, then along the graph."""
    rank = {"error": 0, "warning": 1, "note": 2}
    return tuple(
        sorted(
            findings,
            key=lambda item: (
                item.folded_under is not None,
                rank[item.severity],
                item.depth or 0.0,
                item.code,
                item.place,
            ),
        )
    )
