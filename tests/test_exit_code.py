"""The exit code, decision by decision: what is 0, what is 1, what is 2, and that 2 beats 1."""

from itertools import product

import pytest

from initlint.report import Report, Skipped, exit_code
from tests.reports import a_finding

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
