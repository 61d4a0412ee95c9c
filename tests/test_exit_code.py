"""The exit code, decision by decision: what is 0, what is 1, what is 2, and that 2 beats 1."""

import signal
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import click
import pytest

from initlint import checking, cli
from initlint.commands import terminal
from initlint.config import Config, Loaded
from initlint.errors import Reason, Refusal
from initlint.fleet.records import Outcome, Record
from initlint.fleet.store import Store
from initlint.fleet.summary import Gate, summarise
from initlint.isolation import Reply
from initlint.report import Report, Skipped, exit_code
from tests.reports import a_finding, a_model

ROOT = Path(__file__).resolve().parent.parent
BAD, GOOD = ROOT / "samples/bad/IL202.onnx", ROOT / "samples/good/IL202.onnx"

RANKS = {"note": 1, "warning": 2, "error": 3, "never": 4}


@pytest.mark.parametrize(("severity", "fail_on"), list(product(("note", "warning", "error"), RANKS)))
def test_levels(severity: str, fail_on: str) -> None:
    """1 where a finding is at or above the level asked for, else 0."""
    report = Report(findings=(a_finding(severity=severity),))
    assert exit_code(report, fail_on) == int(RANKS[severity] >= RANKS[fail_on])


def test_nothing_found() -> None:
    """An empty report is 0 at every level."""
    assert {exit_code(Report(), fail_on) for fail_on in RANKS} == {0}


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("fail_on", RANKS)
def test_a_refused_model(fail_on: str, partial: bool) -> None:  # noqa: FBT001 - a table of cases
    """A model that was not analysed is 2, whatever is allowed and whatever else was found."""
    skipped = (Skipped("m", "m", "truncated", "cut"),)
    assert exit_code(Report(skipped=skipped), fail_on, allow_partial=partial) == 2
    report = Report(skipped=skipped, findings=(a_finding(severity="error"),))
    assert exit_code(report, fail_on, allow_partial=partial) == 2


@pytest.mark.parametrize("fail_on", RANKS)
def test_an_incomplete_analysis(fail_on: str) -> None:
    """A finding that carries 2 is 2 and beats 1; allowed, it is what the others say."""
    incomplete = a_finding(code="IL001", severity="note", exit=2)
    assert exit_code(Report(findings=(incomplete,)), fail_on) == 2
    assert exit_code(Report(findings=(a_finding(severity="error"), incomplete)), fail_on) == 2
    allowed = exit_code(Report(findings=(incomplete,)), fail_on, allow_partial=True)
    assert allowed == 0
    both = exit_code(Report(findings=(incomplete, a_finding(severity="error"))), fail_on, allow_partial=True)
    assert both == int(fail_on != "never")


@pytest.mark.parametrize("code", [None, 0, 1, 3])
def test_only_two_is_two(code: int | None) -> None:
    """Another number on a finding changes nothing."""
    assert exit_code(Report(findings=(a_finding(severity="note", exit=code),)), "error") == 0


@pytest.mark.parametrize("excuse", [{"waived": "known"}, {"baselined": True}, {"folded_under": "IL202 y"}])
@pytest.mark.parametrize("carried", [None, 2])
def test_what_does_not_count(excuse: dict[str, object], carried: int | None) -> None:
    """A waived, baselined or folded finding counts for neither code; one beside it does."""
    excused = a_finding(severity="error", exit=carried, **excuse)
    assert not excused.counts
    assert a_finding().counts
    assert exit_code(Report(findings=(excused,)), "note") == 0
    assert exit_code(Report(findings=(excused, a_finding(severity="note"))), "note") == 1


def test_a_device_that_was_not_used_is_no_partial_analysis() -> None:
    """--allow-partial accepts what could not be understood, not an answer from another device than the one asked for."""
    elsewhere = a_finding(code="IL506", over="model", exit=2, severity="error")
    assert exit_code(Report(findings=(elsewhere,)), "never", allow_partial=True) == 2


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals are left as the test session has them."""
    monkeypatch.setattr(cli, "_catch_signals", lambda: None)


def _raising(error: BaseException) -> Callable[..., object]:
    def main(*_: object, **__: object) -> object:
        raise error

    return main


ENDS = {
    "a refusal": (Refusal(Reason.CONFIG, "no such key"), "initlint: no such key\n"),
    "a rule file": (Refusal(Reason.RULE_FILE, "X.toml: when: wrong"), "initlint: rule file: X.toml: when: wrong\n"),
    "bad usage": (click.UsageError("No such option: --x."), "initlint: No such option: --x (initlint --help)\n"),
    "another complaint of click": (click.ClickException("no."), "initlint: no\n"),
    "nobody reads": (terminal.ClosedPipe(), ""),
    "a signal": (terminal.Interrupted(15), "initlint: interrupted\n"),
    "Ctrl-C": (KeyboardInterrupt(), "initlint: interrupted\n"),
    "a prompt left": (click.Abort(), "initlint: interrupted\n"),
    "no memory": (MemoryError(), "initlint: out of memory\n"),
    "a broken pipe": (BrokenPipeError(), ""),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("end", ENDS)
def test_whatever_goes_wrong_is_two(
    end: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And one line on standard error, or none where nobody is left to read it."""
    error, line = ENDS[end]
    monkeypatch.setattr(cli.group, "main", _raising(error))
    discarded: list[bool] = []
    monkeypatch.setattr(terminal, "discard_stdout", lambda: discarded.append(True))
    assert cli.run([]) == 2
    assert capfd.readouterr().err == line
    assert discarded == [True] * (end == "a broken pipe")


@pytest.mark.usefixtures("alone")
def test_a_fault_of_ours_is_two(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """With its place, in one line; no traceback."""
    monkeypatch.delenv("INITLINT_DEBUG", raising=False)
    monkeypatch.setattr(cli.group, "main", _raising(LookupError("lost\nthings")))
    assert cli.run([]) == 2
    line = capfd.readouterr().err
    assert line.startswith("initlint: fault in initlint itself: LookupError: lost things at test_exit_code.py:")
    assert line.count("\n") == 1


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("result", "code"), [(0, 0), (1, 1), (2, 2), (None, 0)])
def test_a_command_gives_its_code(result: int | None, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command returns is what the program returns; help and version, which return nothing, are 0."""
    seen: list[tuple[list[str], dict[str, object]]] = []
    monkeypatch.setattr(cli.group, "main", lambda arguments, **how: seen.append((arguments, how)) or result)
    assert cli.run(("rules",)) == code
    assert seen == [(["rules"], {"prog_name": "initlint", "standalone_mode": False})]


def test_signals_end_as_ctrl_c_does() -> None:
    """SIGTERM and SIGHUP unwind the stack: no worker and no half-written file stays behind."""
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does: stays ignored
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        cli._catch_signals()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(terminal.Interrupted):
            signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert cli.run(["--version"]) == 0  # a run sees to it first of all
        assert signal.getsignal(signal.SIGTERM) is cli._interrupt
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


# -- `check` -----------------------------------------------------------------------------------------------------------


def _checked(
    monkeypatch: pytest.MonkeyPatch, report: Report, *arguments: str, facts: bytes = b"", terminal_: bool = False
) -> int:
    """The code of `initlint check` on one model whose report is this one."""

    def paths(*_: object) -> Iterator[checking.Event]:
        yield checking.Event(0, report, facts)

    monkeypatch.setattr(checking, "check_paths", paths)
    monkeypatch.setattr(terminal, "both_seen", lambda: terminal_)
    return cli.run(["check", str(GOOD), "--no-progress", *arguments])


SKIPPED = Report(skipped=(Skipped("m", "m.onnx", "truncated", "ends early"),))
FAULT, NOTE = (Report(models=(a_model(),), findings=(a_finding(severity=level),)) for level in ("error", "note"))
PARTIAL = Report(models=(a_model(),), findings=(a_finding(code="IL001", exit=2),))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("report", "arguments", "code"),
    [
        (Report(models=(a_model(),)), (), 0),
        (FAULT, (), 1),
        (FAULT, ("--fail-on", "never"), 0),
        (NOTE, (), 0),
        (NOTE, ("--fail-on", "note"), 1),
        (PARTIAL, ("--fail-on", "never"), 2),
        (PARTIAL, ("--allow-partial",), 0),
        (SKIPPED, ("--fail-on", "never", "--allow-partial"), 2),
    ],
)
def test_check_gives_the_code_of_its_report(
    monkeypatch: pytest.MonkeyPatch, report: Report, arguments: tuple[str, ...], code: int
) -> None:
    """Whatever the format: the gate looks at the report alone."""
    for format_ in ("text", "json"):
        assert _checked(monkeypatch, report, *arguments, "--format", format_) == code


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check",), "give a model"),
        (("check", "--facts", "f", str(GOOD), str(BAD)), "--facts takes one model"),
        (("check", "--name", "f", str(GOOD), str(BAD)), "--name takes one model"),
    ],
)
def test_usage_is_two_before_any_model_is_read(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    """Nothing is analysed, nothing printed on standard output."""
    monkeypatch.setattr(checking, "check_paths", _raising(AssertionError("analysed")))
    assert cli.run(arguments) == 2
    out, err = capfd.readouterr()
    assert (out, words in err) == ("", True)


@pytest.mark.usefixtures("alone")
def test_one_model_may_have_its_facts_and_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The facts are written where there are any; of a refused model there are none, and no empty file."""
    full, none = tmp_path / "full.sqlite", tmp_path / "none.sqlite"
    assert _checked(monkeypatch, FAULT, "--facts", str(full), "--name", "x", facts=b"tables") == 1
    assert full.read_bytes() == b"tables"
    assert _checked(monkeypatch, SKIPPED, "--facts", str(none)) == 2
    assert not none.exists()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("format_", "seen", "told"), [
    ("text", False, True), ("text", True, False), ("json", True, True), ("json", False, True),
])  # fmt: skip
def test_a_refusal_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], format_: str, *, seen: bool, told: bool
) -> None:
    """On standard error too, but for a person who sees both streams in one terminal and has read it in the text."""
    assert _checked(monkeypatch, SKIPPED, "--format", format_, terminal_=seen) == 2
    assert ("initlint: m.onnx: ends early [truncated]\n" in capfd.readouterr().err) is told


@pytest.mark.usefixtures("alone")
def test_the_settings_are_shown_and_nothing_is_analysed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`--show-config` needs no model and is 0."""
    monkeypatch.setattr(checking, "check_paths", _raising(AssertionError("analysed")))
    assert cli.run(["check", "--show-config"]) == 0
    assert "fail-on" in capfd.readouterr().out.replace("_", "-")


class Idle:
    """A worker that is never asked."""

    alive = True

    def close(self) -> None:
        """Nothing to close."""


def _events(
    monkeypatch: pytest.MonkeyPatch, paths: list[str], config: Config, answer: Callable[..., Reply]
) -> list[checking.Event]:
    """What comes of these models where a worker answers so."""
    monkeypatch.setattr(checking, "_worker_for", lambda *_: Idle())
    monkeypatch.setattr(checking, "analyse_in_worker", answer)
    return list(checking.check_paths(paths, Loaded(config, {}, Path())))


@pytest.mark.parametrize("reason", list(Reason))
def test_a_refused_model_is_no_end_of_the_others(monkeypatch: pytest.MonkeyPatch, reason: Reason) -> None:
    """It is an event with a skipped model; a fault of the user's settings ends the run, since it is every model's."""
    long = "x" * 990 + "y" * 20
    answer = _raising(Refusal(reason, f"why\x1b[2J {long}"))
    if reason in {Reason.CONFIG, Reason.RULE_FILE, Reason.USAGE}:
        with pytest.raises(Refusal):
            _events(monkeypatch, ["a"], Config(), answer)
        return
    events = _events(monkeypatch, ["a.onnx", f"b/{long}"], Config(), answer)
    assert [event.index for event in events] == [0, 1]
    for event in events:
        (skipped,) = event.report.skipped
        assert (event.report.models, event.facts, skipped.reason) == ((), b"", str(reason))
        assert skipped.message.startswith("why")
        assert "\x1b" not in skipped.message
        assert len(skipped.message) == 1000
    assert [event.report.skipped[0].path[:6] for event in events] == ["a.onnx", "b/xxxx"]
    assert len(events[1].report.skipped[0].path) == 1000
    assert events[0].report.skipped[0].model == "a.onnx"
    (named,) = _events(monkeypatch, ["a.onnx"], Config(name="key"), answer)
    assert named.report.skipped[0].model == "key"


def test_an_analysed_model_is_an_event_with_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says that a process of its own made it."""
    (event,) = _events(monkeypatch, ["p"], Config(), lambda *_, **__: Reply(FAULT.to_json(), b"tables", "landlock"))
    assert (event.index, event.facts, event.report.run.isolation) == (0, b"tables", "landlock")
    assert exit_code(event.report, "error") == 1


# -- `scan` ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two runs over ten models: healthy ones, one of each severity, one refused, one that is not to be trusted."""
    path = tmp_path_factory.mktemp("store") / "s.sqlite"
    with Store(str(path), create=True) as opened:
        for models in (
            {"error": 1, "refused": 1, "ok": 8},
            {"error": 1, "warning": 2, "note": 1, "refused": 1, "partial": 1, "ok": 4},
        ):
            run = opened.begin((), "", path.parent)
            kinds = [kind for kind, count in models.items() for _ in range(count)]
            with opened.together(run):
                for number, kind in enumerate(kinds):
                    opened.record(run, _outcome(kind, number))
            opened.finish(run)
        yield opened


def _outcome(kind: str, number: int) -> Outcome:
    name = f"{kind}{number}"
    if kind == "refused":
        return Outcome(name, name, reason="truncated", message="cut")
    findings = () if kind == "ok" else (a_finding(severity="note" if kind == "partial" else kind, model=name),)
    if kind == "partial":
        findings = (a_finding(code="IL001", severity="note", exit=2, model=name),)
    waived = a_finding(code="IL201", severity="error", exit=2, waived="known", model=name)
    return Outcome(name, name, content=name, report=Record((a_model(name),), (*findings, waived)))


@pytest.mark.parametrize(
    ("gate", "unjudged", "failing", "code"),
    [
        (Gate(max_refused=0.2), 2, 1, 1),  # exactly the budget
        (Gate(max_refused=0.19), 2, 1, 2),  # 2 beats 1
        (Gate(max_refused=0.1, allow_partial=True), 1, 1, 1),
        (Gate(max_refused=0.0, allow_partial=True), 1, 1, 2),
        (Gate("warning", 0.5), 2, 3, 1),
        (Gate("note", 0.5), 2, 5, 1),
        (Gate("never", 0.5), 2, 0, 0),
        (Gate("never", 0.1), 2, 0, 2),
        (Gate(max_refused=0.1, since=1), 2, 0, 2),  # the one that fails failed before; the two unjudged are new
        (Gate("never", 0.5, since=1), 2, 0, 0),
    ],
)
def test_the_gate_of_a_scan(store: Store, gate: Gate, unjudged: int, failing: int, code: int) -> None:
    """Refused and distrusted models against the budget, then those at or above the severity; waived findings are neither."""
    summary = summarise(store, 2, gate)
    assert (summary.unjudged, summary.failing, summary.exit_code) == (unjudged, failing, code)
    if gate.since is None:  # compared with nothing, nothing is worse or better
        assert (summary.worse, summary.worse_models, summary.better_models) == ((), 0, 0)


def test_a_run_compared_with_itself_is_no_worse(store: Store) -> None:
    """What was refused or failed before is no news."""
    summary = summarise(store, 2, Gate(max_refused=0.0, since=2))
    assert (summary.unjudged, summary.failing, summary.worse, summary.exit_code) == (0, 0, (), 0)


def test_a_healthy_run_is_zero(tmp_path: Path) -> None:
    """No finding, no refusal, no budget needed; an empty run too."""
    with Store(str(tmp_path / "s.sqlite"), create=True) as fresh:
        assert summarise(fresh, fresh.begin((), "", tmp_path), Gate(max_refused=0.0)).exit_code == 0
        run = fresh.begin((), "", tmp_path)
        with fresh.together(run):
            fresh.record(run, _outcome("ok", 1))
        assert summarise(fresh, run, Gate("note", 0.0)).exit_code == 0
