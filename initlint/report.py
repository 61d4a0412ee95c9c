"""The report: what was found in which model. JSON is its canonical form and every other format a function of it."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from initlint.facts import Facts

__all__ = [
    "Blamed", "Finding", "ModelRecord", "Report", "RuleRecord", "RunRecord", "Skipped", "exit_code", "fingerprint",
    "merge", "significant",
]  # fmt: skip

SCHEMA_VERSION = "1.0"
Severity: TypeAlias = Literal["error", "warning", "note"]
Scalar: TypeAlias = str | int | float | None
RANKS = {"error": 3, "warning": 2, "note": 1, "never": 4}
DIGITS = 6


class Blamed(msgspec.Struct, frozen=True):
    """A layer that a broken signal is owed to: its share of the log gain, what its weights are and what they should be."""

    layer: str
    share: float
    log2_gain: float
    std: float | None = None
    target_std: float | None = None
    fan_in: float | None = None
    target_rule: str | None = None
    looks_like: str | None = None
    pytorch: str | None = None  # the line that sets the layer right
    keras: str | None = None


class Finding(msgspec.Struct, frozen=True):
    """One rule violated at one place of one model."""

    code: str
    name: str
    severity: Severity
    confidence: str
    model: str
    over: str
    place: str  # name of the row: a layer, a tensor, a weight, the model
    node: str | None
    op: str | None
    title: str
    message: str
    fix: str
    values: dict[str, Scalar]
    fingerprint: str
    ordinal: int = 0
    weight: str | None = None  # stored tensor behind the layer or the weight
    exit: int | None = None
    blamed: tuple[Blamed, ...] = ()
    folded: tuple[str, ...] = ()  # "CODE place" of findings that this one explains
    folded_under: str | None = None
    trail: tuple[str, ...] = ()  # tensors before a place that is not finite
    waived: str | None = None  # reason
    baselined: bool = False
    depth: float | None = None

    @property
    def counts(self) -> bool:
        """Whether the gate looks at it."""
        return self.folded_under is None and self.waived is None and not self.baselined


class ModelRecord(msgspec.Struct, frozen=True):
    """One model that was analysed."""

    model: str
    path: str
    size: float | None = None
    opset: int | None = None
    ir_version: int | None = None
    producer: str | None = None
    parameters: float | None = None
    nodes: float | None = None
    layers: float | None = None
    tensors: float | None = None
    known_tensors: float | None = None
    coverage: float | None = None
    phase: str | None = None
    phase_detected: str | None = None
    phase_confidence: float | None = None
    phase_reason: str | None = None
    nothing_to_judge: bool = False
    errors: int = 0
    warnings: int = 0
    notes: int = 0
    folded: int = 0
    assumed: tuple[str, ...] = ()
    unknown_operators: str | None = None
    probe_status: str | None = None  # measured, or why the probe gave nothing; None where none was asked for
    probe_message: str | None = None
    probe_left_out: str | None = None  # operators that did not run
    provider: str | None = None
    isolation: str = "none"
    left_out: str | None = None  # what is not listed of a model with very many findings or layers


class RuleRecord(msgspec.Struct, frozen=True):
    """One rule as it was applied: its words, its severity in force and how its rows came out."""

    code: str
    name: str
    severity: Severity
    confidence: str
    over: str
    what: str
    why: str
    fix: str
    limits: str
    references: tuple[str, ...] = ()
    parameters: dict[str, Scalar] = {}
    failed: int = 0
    passed: int = 0
    not_applicable: int = 0
    unknown: int = 0


class Skipped(msgspec.Struct, frozen=True):
    """A model that was not analysed, and why: never a pass."""

    model: str
    path: str
    reason: str
    message: str


class RunRecord(msgspec.Struct, frozen=True):
    """Everything that may differ between two runs on one model."""

    version: str = ""
    seconds: dict[str, float] = {}
    probe: dict[str, Any] = {}
    isolation: str = ""
    cached: bool = False  # nothing was analysed: the report of an earlier run on the same content


class Report(msgspec.Struct, frozen=True, dict=True):
    """The whole result; several models of one call are one report."""

    schema_version: str = SCHEMA_VERSION
    tool: str = "initlint"
    models: tuple[ModelRecord, ...] = ()
    rules: tuple[RuleRecord, ...] = ()
    findings: tuple[Finding, ...] = ()
    layers: tuple[dict[str, Scalar], ...] = ()
    tensors: tuple[dict[str, Scalar], ...] = ()
    skipped: tuple[Skipped, ...] = ()
    run: RunRecord = RunRecord()

    @property
    def ok(self) -> bool:
        """Whether nothing was refused and no error counts."""
        return exit_code(self, "error") == 0

    @property
    def facts(self) -> Facts:
        """The fact tables of the one model that was checked in this call; not kept in JSON."""
        found: Facts | None = self.__dict__.get("facts_")
        if found is None:
            raise AttributeError("the facts are not kept with a report that was read or merged")
        return found

    def with_facts(self, facts: Facts) -> "Report":
        """The same report with its fact tables at hand."""
        copy = msgspec.structs.replace(self)
        copy.__dict__["facts_"] = facts
        return copy

    def to_json(self) -> bytes:
        """Canonical JSON: keys in the order of the schema, numbers to six significant digits, no NaN."""
        return msgspec.json.format(msgspec.json.encode(rounded(msgspec.to_builtins(self))), indent=1) + b"\n"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the picture of the signal, the findings worst first; no script, no network."""
        from initlint.formats import notebook  # noqa: PLC0415 - only a notebook asks

        return notebook.render(self)

    @classmethod
    def from_json(cls, payload: bytes | str) -> "Report":
        """Read a report; msgspec.ValidationError where it is none."""
        return msgspec.json.decode(payload, type=cls)


def significant(value: float) -> float:
    """A number to six significant digits."""
    return float(f"{value:.{DIGITS}g}")


def rounded(item: Any) -> Any:
    """Nested builtins with every float rounded; what is not finite becomes null."""
    if isinstance(item, float):
        return significant(item) if item - item == 0.0 else None
    if isinstance(item, dict):
        return {key: rounded(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [rounded(value) for value in item]
    return item


def fingerprint(code: str, model: str, node: str, slot: str) -> str:
    """Identity of a finding over runs and re-exports: nothing measured, nothing of the weights' values."""
    text = f"{code}\x1f{model}\x1f{node}\x1f{slot}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


INCOMPLETE = "IL001"  # what --allow-partial accepts


def exit_code(report: Report, fail_on: str, *, allow_partial: bool = False) -> int:
    """0 nothing at or above `fail_on`; 1 findings; 2 the answer cannot be trusted. 2 beats 1.

    With `allow_partial` the rule that says the analysis is incomplete counts for neither code; a model not analysed, and a
    device asked for and not used, are 2 all the same.
    """
    if report.skipped:
        return 2
    accepted = INCOMPLETE if allow_partial else None
    counting = [finding for finding in report.findings if finding.counts and finding.code != accepted]
    if any(finding.exit == 2 for finding in counting):
        return 2
    floor = RANKS[fail_on]
    return int(any(RANKS[finding.severity] >= floor for finding in counting))


def merge(reports: Sequence[Report]) -> Report:
    """One report over several; rules are listed once, their counts added."""
    if len(reports) == 1:
        return reports[0]
    rules: dict[str, RuleRecord] = {}
    for record in (record for report in reports for record in report.rules):
        seen = rules.get(record.code)
        rules[record.code] = record if seen is None else _added(seen, record)
    return Report(
        models=_all(report.models for report in reports),
        rules=tuple(rules[code] for code in sorted(rules)),
        findings=_all(report.findings for report in reports),
        layers=_all(report.layers for report in reports),
        tensors=_all(report.tensors for report in reports),
        skipped=_all(report.skipped for report in reports),
        run=_merged_run([report.run for report in reports]),
    )


def _added(first: RuleRecord, second: RuleRecord) -> RuleRecord:
    counts = {
        name: getattr(first, name) + getattr(second, name) for name in ("failed", "passed", "not_applicable", "unknown")
    }
    return msgspec.structs.replace(first, **counts)


def _merged_run(runs: Sequence[RunRecord]) -> RunRecord:
    seconds: dict[str, float] = {}
    for run in runs:
        for stage, spent in run.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    first = next(iter(runs), RunRecord())
    return RunRecord(first.version, seconds, {}, first.isolation, bool(runs) and all(run.cached for run in runs))


def _all(groups: Iterable[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(item for group in groups for item in group)
