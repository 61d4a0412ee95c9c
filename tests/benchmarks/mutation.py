"""Mutation testing: a test must fail when one decision in the code is turned over.

    python tests/benchmarks/mutation.py                      every target below, every mutant
    python tests/benchmarks/mutation.py exit-codes reader    those named
    python tests/benchmarks/mutation.py reader --most 150    a seeded sample of each, with its interval
    python tests/benchmarks/mutation.py --only wire          the modules whose name holds this

One pytest session collects the targets' tests and runs them once, noting which lines of the targets each of them reaches. Then
each mutant is a child forked from that process: it changes the code in place and runs the tests that reach the changed line
until one fails, those first that killed a mutant of the same function or are quick. Tests that start a program do not see
the change and do not count. A mutant that its quickest tests (--seconds of them) let pass is a survivor, and printed.
"""

import argparse
import importlib
import os
import pickle
import random
import resource
import select
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest
from hypothesis import Phase, settings
from mutants import Mutant, of_functions, of_tables

ROOT = Path(__file__).resolve().parent.parent.parent
MEMORY = 6 << 30  # address space a mutant may add: one that allocates without an end has been noticed
ASLEEP = 10  # seconds after which a mutant that used none of its own has been noticed
RULES = "rules/*.toml"


@dataclass(frozen=True)
class Target:
    """Modules (with the functions in question, none named: all of it), whether rule files too, and the tests that answer."""

    modules: dict[str, frozenset[str]]
    tests: tuple[str, ...]
    rules: tuple[str, ...] = ()  # prefixes of rule files


def _whole(*modules: str) -> dict[str, frozenset[str]]:
    return {f"initlint.{name}": frozenset() for name in modules}


TARGETS = {
    "exit-codes": Target(
        {
            "initlint.report": frozenset({"exit_code", "Finding.counts"}),
            "initlint.checking": frozenset({"_event"}),
            "initlint.commands.check": frozenset({"command"}),
            "initlint.cli": frozenset({"run"}),
            "initlint.fleet.summary": frozenset({"summarise", "_failing", "_not_judged", "_unjudged"}),
        },
        ("tests/test_exit_code.py",),
    ),
    "coverage": Target(
        {
            "initlint.signal.propagate": frozenset({"Propagation.coverage"}),
            "initlint.signal.evaluate": frozenset({"Evaluation.lose", "Evaluation._lose_outputs"}),
            "initlint.layers": frozenset({"unread_slots"}),
            "initlint.analysis": frozenset({"_rule_settings"}),
            "initlint.study": frozenset({"Study.unknown_operators"}),
        },
        ("tests/test_coverage.py", "tests/test_analysis.py", "tests/test_rules.py", "tests/test_rule_limits.py"),
        ("IL001", "IL002", "IL506"),
    ),
    "reader": Target(
        _whole(
            "wire", "source", "convert", "model", "functions", "tensors", "contradictions", "schema", "elements", "graph", "utf8"
        ),
        (
            "tests/test_wire.py", "tests/test_source.py", "tests/test_model.py", "tests/test_tensors.py",
            "tests/test_convert.py", "tests/test_contradictions.py", "tests/test_elements.py", "tests/test_schema.py", "tests/hostile/test_reader.py",
            "tests/fuzz/test_fuzz.py",
        ),
    ),
    "weights": Target(_whole("weights", "moments", "channels"), ("tests/test_weights.py", "tests/test_weights_exact.py", "tests/test_channels.py")),
    "rules": Target(
        _whole("rules", "causes", "rulecheck", "rulefile", "facts"),
        ("tests/test_rules.py", "tests/test_rule_limits.py", "tests/test_rulefile.py", "tests/test_findings.py", "tests/test_facts.py"),
        ("IL",),
    ),
    "waivers": Target(_whole("waivers"), ("tests/test_waivers.py",)),
}  # fmt: skip


@dataclass
class Reached:
    """What one test reaches: seconds it takes, lines by file, rules that it judges by."""

    seconds: float
    lines: dict[str, set[int]] = field(default_factory=dict)
    rules: set[str] = field(default_factory=set)


class Tracer:
    """Lines of some files as they are executed, by any thread."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = frozenset(files)
        self.lines: dict[str, set[int]] = defaultdict(set)
        self.rules: set[str] = set()

    def __call__(self, frame: FrameType, _event: str, _: object) -> Any:
        """Called for every new frame; only those of the files are followed."""
        code = frame.f_code
        if code.co_filename not in self.files:
            return None
        if code.co_name == "_apply" and "rule" in frame.f_locals:
            self.rules.add(frame.f_locals["rule"].code)
        self.lines[code.co_filename].add(frame.f_lineno)
        return self._line

    def _line(self, frame: FrameType, _event: str, _: object) -> Any:
        self.lines[frame.f_code.co_filename].add(frame.f_lineno)
        return self._line

    def __enter__(self) -> Self:
        threading.settrace(self)
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]


class Mutation:
    """A pytest plugin that runs mutants in the place of the tests."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.totals: list[tuple[int, int]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Property tests draw the same values in each child, shrink nothing, leave nothing behind."""
        quick = settings(settings.default, database=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
        settings.register_profile("mutation", quick)
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests once, then the mutants of each target."""
        self.items = session.items
        chosen = {name: TARGETS[name] for name in self.options.targets or TARGETS}
        files = {module: _file(module) for target in chosen.values() for module in target.modules}
        print(f"{len(self.items)} tests collected, one run of them ...", flush=True)
        traced = [str(path) for path in (*files.values(), _file("initlint.rules"))]  # rules: which of them are applied
        self.reached: dict[int, Reached] = _in_child(lambda: self._baseline(traced))
        left_out = len(self.items) - len(self.reached)
        took = sum(item.seconds for item in self.reached.values())
        print(f"  {took:.0f} s; {left_out} do not pass, are skipped or reach no target", flush=True)
        for name, target in chosen.items():
            self._judge(name, target, files)
        return True

    def _baseline(self, files: Sequence[str]) -> dict[int, Reached]:
        found = {}
        for index, item in enumerate(self.items):
            with Tracer(files) as tracer:
                began = time.process_time()
                passed = _passes(item, self.items[index + 1] if index + 1 < len(self.items) else None)
                seconds = time.process_time() - began
            if passed and tracer.lines:
                found[index] = Reached(seconds, dict(tracer.lines), tracer.rules)
        return found

    def _judge(self, name: str, target: Target, files: dict[str, Path]) -> None:
        """All mutants of a target; prints the survivors and the share killed."""
        began, total, killed, late = time.monotonic(), 0, 0, 0
        places = {index for index, item in enumerate(self.items) if item.location[0] in target.tests}
        for label, source, found in self._mutants(target, files):
            here = list(found)
            if self.options.most is not None and len(here) > self.options.most:
                here = sorted(random.Random(0).sample(here, self.options.most), key=lambda item: item.line)
            dead, overtime, alive = self._run(here, source, places)
            total, killed, late = total + len(here), killed + dead, late + overtime
            lines = source.read_text().splitlines() if source is not None else []
            for mutant, reason in alive:
                text = lines[mutant.line - 1].strip()[:100] if lines else mutant.function
                print(f"    {label}:{mutant.line}: {mutant.kind}: {text}{reason}")
            print(f"  {label}: {dead} of {len(here)} killed{interval(dead, len(here))}", flush=True)
        seconds = time.monotonic() - began
        print(
            f"{name}: {killed} of {total} killed{interval(killed, total)}, {late} by the clock, {seconds:.0f} s",
            flush=True,
        )
        self.totals.append((total, killed))

    def _mutants(self, target: Target, files: dict[str, Path]) -> Iterator[tuple[str, Path | None, Iterator[Mutant]]]:
        for module, functions in target.modules.items():
            if self.options.only not in module:
                continue
            path = files[module]
            label = path.relative_to(ROOT / "initlint").as_posix()
            yield label, path, of_functions(path, functions)
            if not functions:
                yield f"{label} (tables)", path, of_tables(path, importlib.import_module(module))
        if target.rules and self.options.only in RULES:
            from rule_mutants import of_rules  # noqa: PLC0415 - imports the package, which the tests do first

            yield RULES, None, (item for item in of_rules() if item.function.startswith(target.rules))

    def _run(
        self, mutants: Sequence[Mutant], source: Path | None, places: set[int]
    ) -> tuple[int, int, list[tuple[Mutant, str]]]:
        """(killed, of these by the clock, survivors with a word on each)."""
        killed, late, alive = 0, 0, []
        kills: dict[str, Counter[int]] = defaultdict(Counter)  # by function, and of the module under ""
        for mutant in mutants:
            tests = self._tests(mutant, source, places, kills[mutant.function], kills[""])
            if not tests:
                alive.append((mutant, "  [no test reaches it]"))
                continue
            expected = sum(self.reached[test].seconds for test in tests)
            verdict = _in_child(partial(self._killer, mutant, tests), expected)
            if verdict is None:
                alive.append((mutant, ""))
                continue
            killed += 1
            late += verdict == "late"
            if isinstance(verdict, int):
                kills[mutant.function][verdict] += 1
                kills[""][verdict] += 1
        return killed, late, alive

    def _tests(self, mutant: Mutant, source: Path | None, places: set[int], *kills: Counter[int]) -> list[int]:
        """The tests that reach a mutant, the likeliest and quickest to kill it first, for as long as is allowed."""

        def reaches(test: Reached) -> bool:
            if source is None:
                return mutant.function in test.rules
            lines = test.lines.get(str(source), set())
            return mutant.line in lines if mutant.function else bool(lines)

        found = [index for index, test in self.reached.items() if index in places and reaches(test)]
        if not found and mutant.function and source is not None:  # inside an expression over several lines
            near = range(mutant.line - 12, mutant.line + 1)
            found = [
                i for i, test in self.reached.items() if i in places and test.lines.get(str(source), set()) & set(near)
            ]
        found.sort(key=lambda i: -(sum(counter[i] for counter in kills) + 0.1) / (self.reached[i].seconds + 0.003))
        taken, seconds = [], 0.0
        for index in found:
            if taken and seconds + self.reached[index].seconds > self.options.seconds:
                continue
            taken.append(index)
            seconds += self.reached[index].seconds
        return taken

    def _killer(self, mutant: Mutant, tests: Sequence[int]) -> int | str | None:
        """The first test that fails on the mutant; None where all pass."""
        try:
            mutant.apply()
        except LookupError as error:
            if "raised" in str(error) or not mutant.function:
                return "import"
            raise
        for position, index in enumerate(tests):
            following = self.items[tests[position + 1]] if position + 1 < len(tests) else None
            if not _passes(self.items[index], following):
                return index
        return None


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    from _pytest.runner import runtestprotocol  # noqa: PLC0415 - pytest's own way, without its terminal

    reports = runtestprotocol(item, log=False, nextitem=following)
    return all(report.passed for report in reports)


def _in_child(work: Any, expected: float | None = None) -> Any:
    """The result of a function in a child of ours; `late` where it ran out of time, "died" where it died of something else."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            if expected is not None:
                seconds = 10 + 5 * expected
                signal.setitimer(signal.ITIMER_PROF, seconds)  # of this process, however busy the machine is
                signal.alarm(int(10 * seconds))
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            answer = pickle.dumps(work())
            with os.fdopen(writing, "wb") as stream:
                stream.write(answer)
        finally:
            os._exit(0)
    os.close(writing)
    if expected is not None:
        _end_if_asleep(child, reading)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    if answer:
        return pickle.loads(answer)  # noqa: S301 - from our own child
    late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in {signal.SIGPROF, signal.SIGALRM}
    return "late" if late else "died"


def _end_if_asleep(child: int, reading: int) -> None:
    """Wait until the child has said something; end one that only waits for what will not come."""
    spent: list[str] = []
    while not select.select([reading], [], [], ASLEEP)[0]:
        before, spent = spent, Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        if before and spent[0] == "S" and before[11:13] == spent[11:13]:  # sleeping, and no more time used than before
            os.kill(child, signal.SIGALRM)


def _file(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def interval(killed: int, total: int) -> str:
    """The share, with Wilson's interval of 95 %."""
    if not total:
        return ""
    share, z = killed / total, 1.96
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return f" ({share:.1%}; {max(centre - half, 0):.1%} to {min(centre + half, 1):.1%})"


def main() -> int:
    """Judge the targets named and give the share in all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS])
    parser.add_argument("--most", type=int, help="mutants of each module, a seeded sample")
    parser.add_argument("--only", default="", help="modules whose name holds this")
    parser.add_argument("--seconds", type=float, default=20.0, help="of tests that a mutant has to survive")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    mutation = Mutation(options)
    tests = sorted({test for name in options.targets or TARGETS for test in TARGETS[name].tests})
    flags = ["-qq", "--no-header", "--no-summary", "--assert=plain", "--tb=no", "-p", "no:cacheprovider"]
    code = pytest.main([*flags, *tests], plugins=[mutation])
    if not mutation.totals:
        return int(code) or 1
    total, killed = (sum(column) for column in zip(*mutation.totals, strict=True))
    print(f"in all: {killed} of {total} killed{interval(killed, total)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
