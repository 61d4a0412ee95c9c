"""Findings somebody accepted: they stay visible, do not count, and come back when their reason is gone."""

import datetime
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from initlint.analysis import Settings, analyse
from initlint.config import Config, Waiver
from initlint.errors import Refusal
from initlint.report import Finding, Report
from initlint.waivers import apply_baseline, matches, over_all_models, read_baseline
from tests.reports import a_finding, a_model

ROOT = Path(__file__).resolve().parent.parent
BAD, GOOD = ROOT / "samples/bad/IL202.onnx", ROOT / "samples/good/IL202.onnx"
DAY = datetime.date(2026, 6, 1)


def report_of(*waivers: Waiver, model: Path = BAD, **settings: object) -> Report:
    config = Config(waive=waivers, **settings)  # type: ignore[arg-type]
    return analyse(str(model), Settings(config, f"models/{model.name}", today=DAY))


def about_waivers(report: Report) -> list[tuple[str, str]]:
    return [(item.code, item.severity) for item in report.findings if item.over == "waiver" and item.counts]


@pytest.mark.parametrize(
    ("waiver", "meant"),
    [
        (Waiver("IL102", "r"), True),
        (Waiver("IL1", "r"), True),
        (Waiver("variance-below-target", "r"), True),
        (Waiver("IL202", "r"), False),
        (Waiver("IL102", "r", where="fc?"), True),
        (Waiver("IL102", "r", where="stem.*.weight"), True),
        (Waiver("IL102", "r", where="act*"), False),
        (Waiver("IL102", "r", model="models/*"), True),
        (Waiver("IL102", "r", model="other/*"), False),
    ],
)
def test_whom_a_waiver_means(waiver: Waiver, meant: bool) -> None:  # noqa: FBT001 - a column of the table
    """Code, prefix or name of the rule; globs over node, place or stored weight, and over the model."""
    finding = a_finding("fc1", node="fc1", code="IL102", name="variance-below-target", weight="stem.1.weight")
    assert matches(waiver, finding) is meant


def test_a_waiver_in_force() -> None:
    """The finding keeps its place in the report with the reason, and no word is said about the waiver."""
    report = report_of(Waiver("IL202", "frozen", expires=DAY))
    waived = [item for item in report.findings if item.waived]
    assert {(item.code, item.waived) for item in waived} == {("IL202", "frozen")}
    assert about_waivers(report) == []
    assert report.ok


def test_a_waiver_expired() -> None:
    """After its day the finding counts again, and IL902 asks for a new look."""
    report = report_of(Waiver("IL202", "frozen", expires=DAY - datetime.timedelta(days=1)))
    assert not report.ok
    assert about_waivers(report) == [("IL902", "warning")]
    message = next(item.message for item in report.findings if item.code == "IL902")
    assert "2026-05-31" in message
    assert "frozen" in message
    assert next(rule.failed for rule in report.rules if rule.code == "IL902") == 1


def test_a_waiver_without_use() -> None:
    """IL901 names a waiver that has nothing to waive, unless it is about another model or a rule that was not applied."""
    unused = report_of(Waiver("IL202", "frozen", where="stem.*"))
    assert about_waivers(unused) == [("IL901", "note")]
    assert next(rule.failed for rule in unused.rules if rule.code == "IL901") == 1
    assert about_waivers(report_of(Waiver("IL202", "frozen", model="other/*"))) == []
    assert about_waivers(report_of(Waiver("IL301", "frozen"), select=("IL2", "IL9"))) == []


def test_a_waiver_waives_no_word_about_waivers() -> None:
    """`code = "IL"` does not silence IL901 and IL902."""
    report = report_of(Waiver("IL", "all of it"), Waiver("IL301", "gone"))
    assert about_waivers(report) == [("IL901", "note")]


def test_several_models() -> None:
    """A waiver that one model has use for is not unused; one that none has use for is named once."""
    waivers = (Waiver("IL202", "used in one"), Waiver("IL301", "used in none"))
    models = ("a.onnx", "b.onnx", "c.onnx")

    def said(model: str, waiver: Waiver) -> Finding:
        values = {"code": waiver.code, "place": waiver.where, "reason": waiver.reason, "used": 0}
        return a_finding(
            waiver.code, code="IL901", name="waiver-unused", severity="note", over="waiver", model=model, values=values, message=waiver.reason
        )  # fmt: skip

    findings = [a_finding("fc9_out", model="b.onnx", waived="used in one")]
    findings += [
        said(model, waiver) for model in models for waiver in waivers if (model, waiver) != ("b.onnx", waivers[0])
    ]
    report = Report(models=tuple(a_model(model, notes=2) for model in models), findings=tuple(findings))
    merged = over_all_models(report, waivers)
    assert [item.message for item in merged.findings if item.over == "waiver"] == ["used in none"]
    assert [model.notes for model in merged.models] == [1, 0, 0]


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INITLINT_")}
    return subprocess.run(
        [sys.executable, "-m", "initlint", *arguments],
        cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_on_the_command_line(tmp_path: Path) -> None:
    """Two models, one waiver for the worse one: nothing is said; a waiver of a rule that is not there names its line."""
    shutil.copy(BAD, tmp_path / "bad.onnx")
    shutil.copy(GOOD, tmp_path / "good.onnx")
    settings = tmp_path / "initlint.toml"
    settings.write_text('[[waive]]\ncode = "IL202"\nreason = "known"\n')
    result = run(tmp_path, ".", "-f", "json")
    assert result.returncode == 0
    assert [item["code"] for item in json.loads(result.stdout)["findings"] if item["over"] == "waiver"] == []
    settings.write_text('[[waive]]\nreason = "known"\ncode = "IL2022"\n')
    result = run(tmp_path, "good.onnx")
    assert result.returncode == 2
    assert "initlint.toml:3: no rule starts with IL2022; did you mean IL202?" in result.stderr


def test_a_baseline_is_any_earlier_report(tmp_path: Path) -> None:
    """What it holds does not count, what is new does; a baseline that is none is refused."""
    old = tmp_path / "old.json"
    old.write_bytes(report_of().to_json())
    assert report_of(baseline=str(old)).ok
    without = msgspec.structs.replace(report_of(), findings=())
    old.write_bytes(without.to_json())
    assert not report_of(baseline=str(old)).ok
    old.write_text("{}x")
    with pytest.raises(Refusal, match="is no report"):
        read_baseline(str(old))


def test_several_findings_under_one_fingerprint() -> None:
    """They match only where their number agrees: one more is a new finding."""
    one, two = a_finding("fc1"), a_finding("fc1", ordinal=1)
    baseline = frozenset({(one.fingerprint, 1)})
    assert [item.baselined for item in apply_baseline([one], baseline)] == [True]
    assert [item.baselined for item in apply_baseline([one, two], baseline)] == [False, False]
