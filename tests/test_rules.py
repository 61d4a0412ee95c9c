"""Judging: three values, levels, first or all, folding, blame, exit codes."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initlint.errors import Reason, Refusal
from initlint.facts import Facts, build
from initlint.rulecheck import check
from initlint.rulefile import Level, Rule, Text
from initlint.rules import Settings, check_settings, judge, selected

WORDS = Text("t", "gain {gain:.1f}", "w", "y", "f", "l", ())


def rule(code: str = "XX001", **more: Any) -> Rule:
    fields = {"name": f"n{code.lower()}", "severity": "error", "confidence": "high", "since": "0", "over": "layer",
              "when": "gain > 2", "text": WORDS} | more  # fmt: skip
    made = Rule(code=code, **fields)
    check(made, build({}))
    return made


def facts(*gains: float | None, **more: Any) -> Facts:
    rows = [
        {"name": f"l{i}", "node": f"n{i}", "gain": gain, "position": i, "depth": i} | more
        for i, gain in enumerate(gains)
    ]
    return build({"model": [{"name": "m", "phase": "init"}], "layer": rows})


def counts(one: Rule, found: Facts) -> tuple[float, ...]:
    (record,) = judge([one], found, Settings(), "m").rules
    return record.failed, record.passed, record.not_applicable, record.unknown


@given(
    st.lists(st.sampled_from([1.0, 3.0, None]), max_size=8),
    st.lists(st.sampled_from([0.0, 1.0, None]), min_size=8, max_size=8),
)
def test_three_values(gains: list[float | None], scope: list[float | None]) -> None:
    """A NULL in `given` or `when` is unknown, a false `given` is out of scope; the four counts add up."""
    rows = [{"name": str(i), "gain": gain, "fan_in": scope[i]} for i, gain in enumerate(gains)]
    found = build({"model": [{"name": "m"}], "layer": rows})
    failed, passed, not_applicable, unknown = counts(rule(given="fan_in = 1"), found)
    expected = [0, 0, 0, 0]
    for gain, inside in zip(gains, scope, strict=False):
        if inside == 0.0:
            expected[2] += 1
        elif inside is None or gain is None:
            expected[3] += 1
        else:
            expected[0 if gain > 2 else 1] += 1
    assert [failed, passed, not_applicable, unknown] == expected


def test_first_or_all() -> None:
    """`report = "first"` gives the first on the way from the input, and counts all."""
    found = facts(1.0, 3.0, 4.0)
    assert [item.place for item in judge([rule()], found, Settings(), "m").findings] == ["l1", "l2"]
    assert [item.place for item in judge([rule(report="first")], found, Settings(), "m").findings] == ["l1"]
    assert counts(rule(report="first"), found)[0] == 2


def test_levels() -> None:
    """The first level that matches gives the severity; the user's word stands above all."""
    one = rule(level=(Level("note", "gain < 4"), Level("warning", "gain < 6")))
    found = facts(3.0, 5.0, 7.0)
    assert [item.severity for item in judge([one], found, Settings(), "m").findings] == ["note", "warning", "error"]
    settings = Settings(overrides={"XX001": {"severity": "warning"}})
    assert {item.severity for item in judge([one], found, settings, "m").findings} == {"warning"}


def test_parameters_reach_the_condition() -> None:
    """A user's limit takes the place of the rule's."""
    one = rule(when="gain > :most", params={"most": 2.0})
    found = facts(3.0)
    assert len(judge([one], found, Settings(), "m").findings) == 1
    assert judge([one], found, Settings(overrides={"XX001": {"most": 10.0}}), "m").findings == ()


def test_a_cause_folds_what_it_explains() -> None:
    """What lies at or behind a cause is folded under it and stays in the report; what lies before does not."""
    cause = rule("XX002", when="gain > 5", supersedes=("XX001",))
    found = facts(3.0, 9.0, 3.0)
    findings = judge([rule(), cause], found, Settings(), "m").findings
    folded = {item.place for item in findings if item.folded_under}
    top = next(item for item in findings if item.code == "XX002")
    assert folded == {"l1", "l2"}
    assert top.folded_under is None
    assert set(top.folded) == {"XX001 l1", "XX001 l2"}
    assert [item.counts for item in findings if item.folded_under] == [False, False]


def test_chains_of_causes_end_at_the_top() -> None:
    """Folded under what is itself folded: the outermost cause is named."""
    rules = [rule("XX001"), rule("XX002", supersedes=("XX001",)), rule("XX003", supersedes=("XX002",))]
    findings = judge(rules, facts(3.0), Settings(), "m").findings
    assert {item.code: item.folded_under for item in findings} == {
        "XX001": "XX003 l0", "XX002": "XX003 l0", "XX003": None,
    }  # fmt: skip


def test_a_note_hides_no_error() -> None:
    """What is more severe than its cause stands on its own; what is as severe, or less, is folded."""
    for severity, folded in (
        ("note", {"XX003"}),
        ("warning", {"XX002", "XX003"}),
        ("error", {"XX001", "XX002", "XX003"}),
    ):
        rules = [
            rule("XX001", severity="error"), rule("XX002", severity="warning"), rule("XX003", severity="note"),
            rule("XX004", severity=severity, supersedes=("XX001", "XX002", "XX003")),
        ]  # fmt: skip
        findings = judge(rules, facts(3.0), Settings(), "m").findings
        assert {item.code for item in findings if item.folded_under} == folded


def test_blame_is_asked_in_the_direction_of_the_rule() -> None:
    """`grows` says whether layers are blamed for growth or loss; without it nobody is."""
    asked: list[tuple[str, bool]] = []

    def blame(place: str, grows: bool) -> tuple[Any, ...]:  # noqa: FBT001 - the rules' callback
        asked.append((place, grows))
        return ()

    rules = [rule("XX001", grows=True), rule("XX002", grows=False), rule("XX003")]
    judge(rules, facts(3.0), Settings(), "m", blame)
    assert asked == [("l0", True), ("l0", False)]


def test_equal_fingerprints_get_an_ordinal() -> None:
    """Two findings at one node of one slot stay apart."""
    found = facts(3.0, 3.0, node="same")
    one, two = judge([rule()], found, Settings(), "m").findings
    assert one.fingerprint == two.fingerprint
    assert (one.ordinal, two.ordinal) == (0, 1)


def test_select_and_ignore() -> None:
    """By prefix or by name; a prefix that no rule has is an error."""
    rules = [rule("XX001"), rule("XX102"), rule("YY001")]
    assert [item.code for item in selected(rules, Settings(select=("XX",), ignore=("XX1",)))] == ["XX001"]
    assert [item.code for item in selected(rules, Settings(select=("nyy001",)))] == ["YY001"]
    with pytest.raises(Refusal, match="no rule starts with ZZ"):
        check_settings(rules, Settings(ignore=("ZZ",)))
    with pytest.raises(Refusal, match="did you mean XX001"):
        check_settings(rules, Settings(overrides={"XX01": {}}))


def test_an_endless_condition_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule whose statement does not end is a fault of the rule, not a hang."""
    monkeypatch.setattr("initlint.facts.MOST_CALLS", 50)
    slow = "(SELECT count(*) FROM layer a, layer b, layer c, layer d, layer e, layer f, layer g, layer h) > gain"
    many = facts(*[1.0] * 60)
    with pytest.raises(Refusal) as refusal:
        judge([rule(when=slow)], many, Settings(), "m")
    assert refusal.value.reason == Reason.RULE_FILE
    assert "took too long" in refusal.value.message


def test_what_is_no_number_is_not_known() -> None:
    """NaN and infinities among the facts are NULL; a huge integer is stored as a number."""
    for value in (float("nan"), float("inf"), -float("inf")):
        (row,) = facts(value, fan_in=2**80).query("SELECT gain, fan_in FROM layer")
        assert row == {"gain": None, "fan_in": float(2**80)}


def test_a_query_only_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQL of users can neither write nor reach files nor run for ever."""
    found = facts(1.0)
    for sql in ("DELETE FROM layer", "ATTACH 'x' AS y", "CREATE TABLE a (b)", "PRAGMA user_version = 3", "SELECT load_extension('x')",
                "SELECT 1; SELECT 2", "UPDATE layer SET gain = 1", "VACUUM INTO 'x'"):  # fmt: skip
        with pytest.raises(Refusal) as refusal:
            found.query(sql)
        assert refusal.value.reason == Reason.USAGE
    monkeypatch.setattr("initlint.facts.MOST_CALLS", 50)
    with pytest.raises(Refusal, match="interrupted"):
        found.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
    assert found.query("SELECT count(*) AS n FROM layer") == [{"n": 1}]


def test_facts_travel_as_bytes(tmp_path: Path) -> None:
    """What a worker sends is an SQLite file that any tool opens."""
    payload = facts(1.0, 2.0).serialize()
    assert Facts.deserialize(payload).query("SELECT sum(gain) AS s FROM layer") == [{"s": 3.0}]
    (tmp_path / "f.sqlite").write_bytes(payload)
    import sqlite3  # noqa: PLC0415 - the oracle

    with sqlite3.connect(tmp_path / "f.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM layer").fetchone() == (2,)


def test_ratio_and_log2_are_floating_and_never_fail() -> None:
    """NULL where they are undefined."""
    (row,) = build({}).query("SELECT ratio(90, 100) AS a, ratio(1, 0) AS b, log2(8) AS c, log2(0) AS d, log2('x') AS e")
    assert row == {"a": 0.9, "b": None, "c": 3.0, "d": None, "e": None}
