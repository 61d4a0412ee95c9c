"""Accepted findings: visible, not counted, reported when nobody needs them any more."""

import datetime
import json
from pathlib import Path

import pytest

from initlint.analysis import Settings, analyse
from initlint.cli import run
from initlint.config import FORMATS, Config, Waiver
from initlint.errors import Refusal
from initlint.report import Report, exit_code
from initlint.waivers import apply_baseline, read_baseline

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
