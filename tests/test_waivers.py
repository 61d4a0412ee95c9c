"""Accepted findings: visible, not counted, reported when nobody needs them any more."""

import datetime
import json
from pathlib import Path

import msgspec
import pytest

from initlint.analysis import Settings, analyse
from initlint.cli import run
from initlint.config import FORMATS, Config, Waiver
from initlint.errors import Refusal
from initlint.report import Finding, Report, exit_code
from initlint.waivers import apply_baseline, apply_waivers, over_all_models, read_baseline, waiver_rows
from tests.reports import a_finding, a_model, a_rule

ROOT = Path(__file__).resolve().parent.parent
BAD = str(ROOT / "samples" / "bad" / "IL202.onnx")
TODAY = datetime.date(2026, 6, 1)


def analysed(*waivers: Waiver, **settings: object) -> Report:
    config = Config(waive=waivers, **settings)  # type: ignore[arg-type]
    return analyse(BAD, Settings(config, "samples/bad/IL202.onnx", today=TODAY))


def codes(report: Report, *severities: str) -> list[str]:
    return [item.code for item in report.findings if item.counts and item.severity in severities]


def test_a_waived_finding_stays_and_does_not_count() -> None:
    """The reason is in the report; the gate passes."""
    report = analysed(Waiver("IL202", "known: a test network"))
    (finding,) = [item for item in report.findings if item.code == "IL202"]
    assert finding.waived == "known: a test network"
    assert exit_code(report, "error") == 0
    assert exit_code(analysed(), "error") == 1


@pytest.mark.parametrize(
    ("waiver", "waived"),
    [
        (Waiver("IL202", "r", where="act6*"), True),
        (Waiver("IL202", "r", where="act7*"), False),
        (Waiver("IL202", "r", where="ACT6*"), False),
        (Waiver("IL202", "r", model="samples/*"), True),
        (Waiver("IL202", "r", model="models/*"), False),
        (Waiver("IL2", "r"), True),
        (Waiver("signal-vanishes", "r"), True),
        (Waiver("IL201", "r"), False),
        (Waiver("IL202", "r", expires=TODAY), True),
        (Waiver("IL202", "r", expires=TODAY - datetime.timedelta(1)), False),
    ],
)
def test_what_a_waiver_is_about(waiver: Waiver, *, waived: bool) -> None:
    """Code, prefix or name; globs that mind case over places and models; its last day is included."""
    assert ("IL202" not in codes(analysed(waiver), "error")) is waived


def test_unused_and_expired_waivers_are_said() -> None:
    """IL901 for one that nothing needs, IL902 for one whose day has passed; a used one is silent."""
    assert "IL901" in codes(analysed(Waiver("IL301", "gone")), "note")
    assert "IL902" in codes(analysed(Waiver("IL202", "late", expires=datetime.date(2026, 1, 1))), "warning")
    quiet = codes(analysed(Waiver("IL202", "fine", expires=datetime.date(2027, 1, 1))), "note", "warning")
    assert not {"IL901", "IL902"} & set(quiet)


def test_a_waiver_cannot_waive_the_word_about_itself() -> None:
    """What the configuration hides, the configuration's rules still show."""
    assert "IL901" in codes(analysed(Waiver("IL", "everything"), Waiver("IL301", "gone")), "note")


def test_any_report_is_a_baseline(tmp_path: Path) -> None:
    """What it had is not counted and stays visible; what is new counts."""
    path = tmp_path / "old.json"
    path.write_bytes(analysed().to_json())
    report = analysed(baseline=str(path))
    assert exit_code(report, "note") == 0
    assert all(item.baselined for item in report.findings if not item.folded_under)
    fresh = analysed(baseline=str(path), rules={"IL203": {"severity": "error"}}, ignore=("IL202",))
    assert {item.code for item in fresh.findings} >= {"IL203"}


def test_a_number_that_grew_is_new(tmp_path: Path) -> None:
    """Two findings under one fingerprint are not excused by one."""
    report = analysed()
    path = tmp_path / "old.json"
    path.write_bytes(report.to_json())
    known = read_baseline(str(path))
    finding = next(item for item in report.findings if item.code == "IL202")
    assert apply_baseline([finding], known)[0].baselined
    assert not any(item.baselined for item in apply_baseline([finding, finding], known))


@pytest.mark.parametrize("text", ["", "{}x", "[1]", '{"findings": 3}'])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    """One line, before anything is judged by it."""
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(Refusal, match="no report"):
        read_baseline(str(path))


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "openmetrics"])
def test_every_format_shows_a_waived_finding(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accepted is not forgotten."""
    report = tmp_path / "r.json"
    report.write_bytes(analysed(Waiver("IL202", "a reason to keep")).to_json())
    monkeypatch.chdir(tmp_path)
    assert run(["convert", "r.json", "--to", format_]) == 0
    shown = capsys.readouterr().out
    assert ("(waived)" if format_ == "concise" else "a reason to keep") in shown
    if format_ == "json":
        assert [item["waived"] for item in json.loads(shown)["findings"] if item["code"] == "IL202"] == [
            "a reason to keep"
        ]


# -- several models ----------------------------------------------------------------------------------------------------


def told(model: str, waiver: Waiver, *, used: int = 0, **more: object) -> Finding:
    """What IL901 and IL902 say of a waiver in the report of one model."""
    values = {"code": waiver.code, "place": waiver.where, "reason": waiver.reason, "used": used}
    fields = {"code": "IL901", "severity": "note", "over": "waiver", "model": model, "values": values}
    return a_finding(waiver.code, **{**fields, "message": f"{waiver.code} {waiver.reason}", **more})


def two_models(*findings: Finding) -> Report:
    return Report(models=(a_model("a", notes=9), a_model("b", errors=1, warnings=9)), findings=findings)


def test_a_waiver_that_one_model_needs_is_not_unused() -> None:
    """Two models, a fault in one: the other's word that nothing needed the waiver is dropped, the fault stays."""
    waiver = Waiver("IL202", "known:\n  a test network", where="fc9*")
    fault = a_finding("fc9_out", model="b", waived="known: a test network")
    said = told("a", msgspec.structs.replace(waiver, reason="known: a test network"))
    report = over_all_models(two_models(said, fault), [waiver])
    assert report.findings == (fault,)
    assert [(item.errors, item.warnings, item.notes) for item in report.models] == [(0, 0, 0), (0, 0, 0)]


def test_an_unused_waiver_is_said_once_for_all_models() -> None:
    """The first model's word stands for both; models are counted by what is left."""
    waiver, other = Waiver("IL301", "gone"), Waiver("IL302", "gone too")
    fault, warned = a_finding("fc9_out", model="b"), a_finding("fc8_out", model="b", severity="warning")
    first, again, third = told("a", waiver), told("b", waiver), told("b", other)
    report = over_all_models(two_models(first, fault, again, third, warned), [waiver, other])
    assert report.findings == (first, fault, third, warned)
    assert [(item.errors, item.warnings, item.notes) for item in report.models] == [(0, 0, 1), (1, 1, 1)]


def test_an_expired_waiver_is_said_once_though_it_is_needed() -> None:
    """A late one that hides a fault in some model is not dropped as a used one; it is repeated for none."""
    waiver = Waiver("IL202", "late")
    fault = a_finding("fc9_out", model="b")
    first = told("a", waiver, used=1, code="IL902", severity="warning", message="expired")
    again = told("b", waiver, used=1, code="IL902", severity="warning", message="expired")
    assert over_all_models(two_models(first, again, fault), [waiver]).findings == (first, fault)


def test_only_the_waiver_that_is_used_is_forgotten() -> None:
    """Two waivers of one code: the one whose place has the fault is used, the other is said to be unused."""
    needed, idle = Waiver("IL202", "r", where="fc9*"), Waiver("IL202", "r", where="fc1*")
    fault = a_finding("fc9_out", model="b")
    unused, dropped = told("a", idle, message="fc1*"), told("a", needed, message="fc9*")
    assert over_all_models(two_models(unused, dropped, fault), [needed, idle]).findings == (unused, fault)


def test_a_report_without_words_about_waivers_stays_as_it_is() -> None:
    """Also its counts, which are nobody's to take again."""
    report = two_models(a_finding("fc9_out", model="b"))
    assert over_all_models(report, [Waiver("IL202", "r")]) is report


@pytest.mark.parametrize(
    ("waiver", "listed"),
    [
        (Waiver("IL202", "r"), True),
        (Waiver("signal-vanishes", "r"), True),
        (Waiver("IL301", "r"), False),  # a rule that was not applied
        (Waiver("IL202", "r", model="other/*"), False),
        (Waiver("IL301", "r", model="other/*"), False),
    ],
)
def test_waivers_of_other_models_and_rules_are_not_listed(waiver: Waiver, *, listed: bool) -> None:
    """Nobody is told that a waiver for another model, or for a rule that is off, is unused."""
    rows = waiver_rows([], [waiver], "models/deep.onnx", [a_rule("IL202")], TODAY, {"phase": "init"})
    assert [(row["used"], row["expired"], row["phase"]) for row in rows] == [(False, False, "init")] * listed


@pytest.mark.parametrize(("days", "expired"), [(-1, True), (0, False), (1, False)])
def test_a_waiver_holds_through_its_last_day(days: int, *, expired: bool) -> None:
    """It is expired the day after, in the table as in what it hides."""
    waiver = Waiver("IL202", "r", expires=TODAY + datetime.timedelta(days))
    (row,) = waiver_rows([a_finding()], [waiver], "m", [a_rule("IL202")], TODAY, {})
    assert (row["used"], row["expired"], row["expires"]) == (True, expired, waiver.expires.isoformat())  # type: ignore[union-attr]
    (finding,) = apply_waivers([a_finding()], [waiver], TODAY)
    assert (finding.waived is None) is expired
