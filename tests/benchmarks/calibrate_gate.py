"""How often the gate is right: the rule catalogue over trained, fresh, broken and harmlessly changed models.

    python tests/benchmarks/calibrate_gate.py --trained DIR... --fresh DIR... --broken DIR... [--cache DIR] [--list]

Trained models are right by definition; of fresh ones a forward pass says whether they are (`forward_truth.py`); `faults.py`
makes broken ones and those whose fault leaves no trace. Families are split by a hash of their name into development and
validation; thresholds may be settled on the first and are reported on the second. Folders named again with `--apart` are
validation whole: models that were collected after everything was settled. Rates come with exact (Clopper-Pearson) 95 %
intervals. Facts are kept in the cache by the hash of the model, so that a changed rule is judged again in seconds;
`--again` makes them anew after the analysis itself has changed.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import resource
import time
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import onnxruntime
from forward_truth import forward
from scipy.stats import beta

import initlint
from initlint.causes import gathered
from initlint.errors import Refusal
from initlint.facts import Facts
from initlint.report import Blamed, Finding, exit_code
from initlint.rulecheck import load
from initlint.rulefile import built_in
from initlint.rules import Settings, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEADLINE = 120.0  # seconds: what shares the machine with this command decides no verdict
SMALL = 5_000_000  # bytes up to which a process for each model would cost more than the analysis
MEMORY = 6 << 30  # bytes that this process may ask for
FIRST = 3  # layers that a reader looks at
WEAK = {"dead units", "saturated"}  # on noise, working trained models have both


@dataclass(frozen=True)
class Case:
    """One model with what is known of it and what the catalogue says."""

    path: Path
    label: str
    half: str
    exit: int
    phase: str | None
    findings: tuple[Finding, ...]
    refusal: str | None
    record: dict[str, object]
    apart: bool = False
    layers: int = 0

    @property
    def counting(self) -> list[Finding]:
        return [item for item in self.findings if item.folded_under is None and item.severity != "note"]

    @property
    def blamed_right(self) -> bool | None:
        """Whether the first error names a touched layer among its first three; None where there is no error."""
        errors = [item for item in self.counting if item.severity == "error"]
        if not errors:
            return None
        named = [layer.layer for layer in errors[0].blamed[:FIRST]] or [errors[0].place, errors[0].node]
        touched = set(self.record.get("touched", ()))  # type: ignore[arg-type]
        return any(name in touched for name in named)


def family(path: Path) -> str:
    """What a model shares with its like: the source's name, or the architecture's."""
    parts = path.name.split("__")
    return parts[1] if len(parts) > 2 and parts[0] in {"gh", "pypi", "npm", "sdist"} else path.name.split("-")[0]


def half_of(path: Path, apart: frozenset[Path] = frozenset()) -> str:
    if apart & {folder.resolve() for folder in path.parents}:
        return "validation"
    if "corpus" in path.parts:
        return "development"
    return "development" if hashlib.sha256(family(path).encode()).digest()[0] < 102 else "validation"


def interval(hits: int, count: int) -> str:
    """A rate with its exact 95 % interval."""
    if not count:
        return "-"
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, count - hits + 1))
    high = 1.0 if hits == count else float(beta.ppf(0.975, hits + 1, count - hits))
    return f"{hits}/{count} = {100 * hits / count:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


class Bench:
    """Analyses with what they found kept in a folder."""

    def __init__(self, cache: Path, *, again: bool, apart: frozenset[Path] = frozenset()) -> None:
        self.cache, self.again, self.started, self.apart = cache, again, time.time(), apart
        cache.mkdir(parents=True, exist_ok=True)
        self.rules = load([built_in()])

    def analysed(self, path: Path) -> dict[str, object]:
        """Facts and findings of a model, from the cache where they are there."""
        place = self.cache / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:24]}.json"
        if place.exists() and not (self.again and place.stat().st_mtime < self.started):
            return json.loads(place.read_text())
        began = time.perf_counter()
        try:
            small = path.stat().st_size < SMALL
            report = initlint.check(path, name=path.name, timeout=DEADLINE, isolation="none" if small else "process")
            kept: dict[str, object] = {
                "facts": base64.b64encode(zlib.compress(report.facts.serialize(), 9)).decode(),
                "blamed": [
                    [item.code, item.place, msgspec.to_builtins(item.blamed)] for item in report.findings if item.blamed
                ],
                "refusal": None,
            }
        except Refusal as refusal:
            kept = {"refusal": str(refusal)}
        except Exception as failure:
            kept = {"refusal": f"{type(failure).__name__}: {failure}"}
        kept["seconds"] = time.perf_counter() - began
        place.write_text(json.dumps(kept))
        return kept

    def facts(self, path: Path) -> Facts:
        """The fact tables of a model that was analysed."""
        return Facts.deserialize(zlib.decompress(base64.b64decode(str(self.analysed(path)["facts"]))))

    def truth(self, path: Path) -> dict[str, str] | None:
        """What a forward pass of a fresh model shows; None where it does not run."""
        place = self.cache / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:24]}.truth.json"
        if not place.exists():
            try:
                place.write_text(json.dumps(forward(path).broken(None, "init")))
            except Exception:
                place.write_text("null")
        return json.loads(place.read_text())

    def case(self, path: Path, label: str) -> Case:
        """One model judged by the rules as they are now."""
        kept = self.analysed(path)
        sidecar = path.with_suffix(".json")
        record = json.loads(sidecar.read_text()) if sidecar.exists() else {}
        half = half_of(path, self.apart)
        apart = bool(self.apart & {folder.resolve() for folder in path.parents})
        if kept["refusal"]:
            return Case(path, label, half, 2, None, (), str(kept["refusal"]), record, apart)
        facts = self.facts(path)
        blame = {(place): msgspec.convert(layers, tuple[Blamed, ...]) for _, place, layers in kept["blamed"]}  # type: ignore[attr-defined]
        judgement = judge(self.rules, facts, Settings(), path.name, lambda place, _grows: blame.get(place, ()))
        judged = gathered(judgement.findings, self.rules)
        order = {"error": 0, "warning": 1, "note": 2}
        findings = tuple(sorted(judged, key=lambda item: (order[item.severity], item.depth or 0.0)))
        report = initlint.Report(findings=findings)
        phase, layers = facts.query("SELECT phase, layers FROM model")[0].values()
        facts.connection.close()
        return Case(
            path, label, half, exit_code(report, "error"), str(phase), findings, None, record, apart, int(layers or 0)
        )


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def by_rule(cases: Sequence[Case], half: str) -> None:
    """How often each rule fires, folded findings left out, by severity and kind of model."""
    labels = ("trained", "fresh, sound", "broken", "harmless fault")
    groups = {
        label: [case for case in cases if case.label == label and case.half == half and case.refusal is None]
        for label in labels
    }
    hits: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for label, group in groups.items():
        for case in group:
            for key in {(item.code, item.severity) for item in case.findings if item.folded_under is None}:
                hits[key][label] += 1
    table(
        f"Models on which a rule fires, {half} half",
        ("rule", "severity", *labels),
        [
            (code, severity, *(interval(counts[label], len(groups[label])) for label in labels))
            for (code, severity), counts in sorted(hits.items())
        ],
    )


def only_weak(case: Case) -> bool:
    return set(case.record["shown"]) <= WEAK  # type: ignore[call-overload]


# What a threshold was chosen among: rule, parameter, values.
SWEEP = (
    ("IL101", "factor", (2.0, 4.0, 8.0, 16.0)),
    ("IL102", "factor", (2.0, 4.0, 8.0, 16.0)),
    ("IL103", "factor", (4.0, 8.0, 16.0, 64.0)),
    ("IL201", "max_gain", (2.0**4, 2.0**8, 2.0**12, 2.0**16, 2.0**20)),
    ("IL202", "min_gain", (2.0**-4, 2.0**-8, 2.0**-12, 1e-6, 1e-12)),
    ("IL202", "min_share", (2.0**-6, 2.0**-10, 2.0**-14, 1e-6)),
    ("IL203", "factor", (1.1, 1.2, 1.4)),
    ("IL204", "most", (20.0, 70.0, 250.0)),
    ("IL205", "least", (1e-2, 1e-3, 1e-4)),
    ("IL206", "most", (0.3, 0.5, 0.7)),
    ("IL207", "most", (0.3, 0.5, 0.7, 0.8, 0.9)),
    ("IL208", "most", (0.8, 0.95, 0.99)),
    ("IL304", "few", (0.001, 0.01, 0.05)),
    ("IL304", "many", (0.05, 0.1, 0.2, 0.5)),
    ("IL401", "share", (0.25, 0.5, 1.0)),
)


def sweep(bench: Bench, cases: Sequence[Case]) -> None:
    """On how many models of the development half a rule fires, at any severity, by the value of one threshold."""
    rules = {rule.code: rule for rule in bench.rules}
    hits: dict[tuple[str, str, float], Counter[str]] = defaultdict(Counter)
    totals: Counter[str] = Counter()
    kinds = {"trained": "trained", "fresh, sound": "fresh, sound", "broken": "broken"}
    for case in cases:
        if case.half != "development" or case.refusal is not None or case.label not in kinds:
            continue
        label = case.label if case.label != "broken" else f"broken, {case.phase}"
        totals[label] += 1
        facts = bench.facts(case.path)
        for code, parameter, values in SWEEP:
            for value in values:
                judged = judge([rules[code]], facts, Settings(overrides={code: {parameter: value}}), "m")
                hits[code, parameter, value][label] += judged.rules[0].failed > 0
        facts.connection.close()
    labels = sorted(totals)
    table(
        "Models of the development half on which a rule fires, whatever its severity, by one threshold",
        ("rule", "threshold", "value", *labels),
        [
            (code, parameter, f"{value:.4g}", *(f"{counts[label]}/{totals[label]}" for label in labels))
            for (code, parameter, value), counts in hits.items()
        ],
    )


def runs(path: Path) -> bool:
    """Whether onnxruntime loads the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def verdicts(cases: Sequence[Case]) -> None:
    """The targets, by half."""

    def rate(label: str, half: str, hit: Callable[[Case], bool | None]) -> str:
        found = [
            value for case in cases if case.label == label and case.half == half if (value := hit(case)) is not None
        ]
        return interval(sum(found), len(found))

    rows = []
    for title, label, hit in (
        ("trained models that exit 1", "trained", lambda case: case.exit == 1),
        (
            "trained models that end in exit 2",
            "trained",
            lambda case: case.exit == 2 if case.exit != 2 or runs(case.path) else None,
        ),
        ("sound fresh networks that exit 0", "fresh, sound", lambda case: case.exit == 0),
        ("unsound fresh networks that exit 1", "fresh, unsound", lambda case: case.exit == 1),
        (
            "broken fresh networks that exit 1",
            "broken",
            lambda case: case.exit == 1 if case.record["phase"] == "init" else None,
        ),
        (
            "broken trained models that exit 1",
            "broken",
            lambda case: case.exit == 1 if case.record["phase"] == "trained" and not only_weak(case) else None,
        ),
        (
            "trained models whose fault shows as dead or saturated units alone: exit 1",
            "broken",
            lambda case: case.exit == 1 if case.record["phase"] == "trained" and only_weak(case) else None,
        ),
        ("first error names a touched layer among its first three", "broken", lambda case: case.blamed_right),
        (
            "the same, faults in one or two layers of several",
            "broken",
            lambda case: None if case.record["every"] else case.blamed_right,
        ),
        ("at most 3 findings at warning or above, one fault", "broken", lambda case: len(case.counting) <= 3),
        ("harmless faults that exit 0", "harmless fault", lambda case: case.exit == 0),
        ("phase of fresh, broken or not", "fresh, sound", lambda case: case.phase == "init"),
        ("phase of trained models", "trained", lambda case: case.phase == "trained"),
    ):
        rows.append((title, rate(label, "development", hit), rate(label, "validation", hit)))
    table("Verdicts", ("what", "development", "validation"), rows)
    by_fault: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.label == "broken":
            by_fault[str(case.record["fault"])].append(case)
    table(
        "Broken models by fault, both halves",
        ("fault", "exit 1", "blamed right"),
        [
            (
                name,
                interval(sum(c.exit == 1 for c in group), len(group)),
                interval(sum(bool(c.blamed_right) for c in group), sum(c.blamed_right is not None for c in group)),
            )
            for name, group in sorted(by_fault.items())
        ],
    )


def by_source(cases: Sequence[Case]) -> None:
    """Working trained models by where they come from, and those that have a layer to be judged."""
    groups = {
        "published, development": lambda case: case.label == "trained" and case.half == "development",
        "published, validation": lambda case: case.label == "trained" and case.half == "validation" and not case.apart,
        "published, collected last": lambda case: case.label == "trained" and case.apart,
        "published, validation and last": lambda case: case.label == "trained" and case.half == "validation",
        "trained here": lambda case: case.label == "trained here",
    }
    rows = []
    for title, chosen in groups.items():
        found = [case for case in cases if chosen(case)]
        running = [case for case in found if case.exit != 2 or runs(case.path)]
        layered = [case for case in found if case.layers]
        rows.append(
            (
                title, len(found), len({family(case.path) for case in found}),
                interval(sum(case.exit == 1 for case in found), len(found)),
                interval(sum(case.exit == 1 for case in layered), len(layered)),
                interval(sum(case.exit == 2 for case in running), len(running)),
                interval(sum(case.phase == "trained" for case in layered), len(layered)),
            )
        )  # fmt: skip
    table(
        "Working trained models by source",
        ("source", "models", "families", "exit 1", "exit 1, with layers", "exit 2, of what onnxruntime runs",
         "phase trained, with layers"),
        rows,
    )  # fmt: skip


def listing(cases: Sequence[Case], half: str) -> None:
    """Every case on the wrong side."""
    for case in cases:
        good = case.label in {"trained", "trained here", "fresh, sound", "harmless fault"}
        wrong = case.exit != (0 if good else 1)
        if case.half == half and (
            wrong
            or (case.label == "broken" and case.blamed_right is False)
            or (case.label == "broken" and len(case.counting) > 3)
        ):
            print(
                f"\n{case.label}: {case.path.name}: exit {case.exit}, phase {case.phase}; {case.refusal or ''} {json.dumps(case.record.get('shown', ''))} touched {case.record.get('touched', '')}"
            )
            for item in case.counting[:6]:
                print(
                    f"    {item.severity} {item.code} {item.place}: {item.message[:160]} blamed {[b.layer for b in item.blamed[:3]]}"
                )


def main() -> None:
    """Judge every model and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("trained", "trained-here", "fresh", "broken", "apart"):
        parser.add_argument(f"--{name}", type=Path, nargs="*", default=[])
    parser.add_argument("--cache", type=Path, default=Path(".gate-cache"))
    parser.add_argument("--again", action="store_true", help="analyse anew")
    parser.add_argument("--half", choices=("development", "validation"), help="models of this half alone")
    parser.add_argument("--list", choices=("development", "validation"), help="name the wrong ones of this half")
    parser.add_argument("--sweep", action="store_true", help="what other thresholds would do")
    parser.add_argument("--limit", type=int, default=30_000_000, help="largest file, bytes")
    parser.add_argument("--known", action="store_true", help="only models that the cache holds")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    bench = Bench(options.cache, again=options.again, apart=frozenset(path.resolve() for path in options.apart))
    cases: list[Case] = []

    def files(folders: Sequence[Path]) -> list[Path]:
        found = [
            path for folder in folders for path in sorted(folder.glob("*.onnx")) if path.stat().st_size <= options.limit
        ]
        if options.half:
            found = [path for path in found if half_of(path, bench.apart) == options.half]
        if options.known:
            found = [
                p for p in found if (options.cache / f"{hashlib.sha256(p.read_bytes()).hexdigest()[:24]}.json").exists()
            ]
        return found

    for path in files(options.trained):
        cases.append(bench.case(path, "trained"))
    for path in files(options.trained_here):
        cases.append(bench.case(path, "trained here"))
    for path in files(options.fresh):
        shown = bench.truth(path)
        if shown is not None:
            cases.append(bench.case(path, "fresh, unsound" if shown else "fresh, sound"))
    for path in files(options.broken):
        cases.append(bench.case(path, "broken"))
    for path in files([folder / "harmless" for folder in options.broken]):
        cases.append(bench.case(path, "harmless fault"))
    counts = Counter((case.label, case.half) for case in cases)
    table(
        "Models",
        ("kind", "half", "models", "families"),
        [
            (label, half, count, len({family(c.path) for c in cases if (c.label, c.half) == (label, half)}))
            for (label, half), count in sorted(counts.items())
        ],
    )
    verdicts(cases)
    by_source(cases)
    for half in ("development", "validation"):
        by_rule(cases, half)
    if options.sweep:
        sweep(bench, cases)
    if options.list:
        listing(cases, options.list)


if __name__ == "__main__":
    main()
