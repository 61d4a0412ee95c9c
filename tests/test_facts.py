"""The fact tables: what a value becomes in SQLite, and what SQL of rules and of users may do."""

import math
import sqlite3
from typing import Any

import numpy as np
import pytest

from initlint import facts as module
from initlint.errors import Reason, Refusal
from initlint.facts import FUNCTIONS, Facts, build, empty
from initlint.tables import TABLES

ARGUMENTS = {
    "coalesce": "1, 2", "glob": "'a', 'b'", "ifnull": "1, 2", "iif": "1, 2, 3", "instr": "'a', 'b'", "like": "'a', 'b'",
    "nullif": "1, 2", "ratio": "1, 2", "substr": "'a', 1", "log2": "8",
}  # fmt: skip
EVERY = sorted(row[0] for row in sqlite3.connect(":memory:").execute("SELECT DISTINCT name FROM pragma_function_list"))


def value_of(value: object, column: str = "gain") -> Any:
    return build({"layer": [{column: value}]}).query(f"SELECT {column} AS v FROM layer")[0]["v"]  # noqa: S608 - our own names


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), (0.0, 0.0), (-1.5, -1.5), (math.inf, None), (-math.inf, None), (math.nan, None), (7, 7.0),
        (2**63 - 1, float(2**63 - 1)), (2**63, float(2**63)), (-(2**63), -float(2**63)), (-(2**63) - 1, -float(2**63)),
        (2**200, float(2**200)), (True, 1.0), (False, 0.0), (np.float64(2.5), 2.5), (np.float32(2.5), 2.5), (np.int64(7), 7.0),
        (np.float64(math.nan), None), (np.float32(math.inf), None),
    ],
)  # fmt: skip
def test_numbers(value: object, expected: float | None) -> None:
    """As they are; what is no number is NULL; beyond 63 bits as floating point."""
    assert value_of(value) == expected


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 0, 1, True, False])
def test_integers_keep_their_bits(value: int) -> None:
    """Where the column is of integers, up to its edges."""
    column = next(item.name for item in TABLES["layer"].columns if item.kind == "INTEGER")
    found = value_of(value, column)
    assert (found, type(found)) == (int(value), int)


@pytest.mark.parametrize(
    ("value", "expected"), [("a", "a"), ("é\N{SNOWMAN}", "é\N{SNOWMAN}"), ("a\udcffb", "a?b"), ("", "")]
)
def test_texts(value: str, expected: str) -> None:
    """Any name of a model can be stored; what is no Unicode is replaced."""
    assert value_of(value, "name") == expected


def test_a_column_that_there_is_not() -> None:
    """A misspelt column is a fault of the program, named; one left out is NULL."""
    with pytest.raises(KeyError, match="table layer has no column gian, zzz"):
        build({"layer": [{"name": "a"}, {"zzz": 1, "gian": 2.0}]})
    assert value_of("a", "name") == "a"
    assert build({"layer": [{"name": "a"}]}).query("SELECT gain FROM layer") == [{"gain": None}]
    full = {column.name: "a" if column.kind == "TEXT" else 1 for column in TABLES["layer"].columns}
    assert build({"layer": [full]}).query("SELECT * FROM layer") == [full]


def test_columns_that_all_rows_share() -> None:
    """Given once; a row's own value stands above."""
    found = build({"layer": [{"name": "a"}, {"name": "b", "phase": "trained"}]}, {"phase": "init"})
    assert found.query("SELECT name, phase FROM layer") == [
        {"name": "a", "phase": "init"},
        {"name": "b", "phase": "trained"},
    ]


def test_tables_are_strict() -> None:
    """A text in a column of numbers is an error, where SQLite can say so."""
    if sqlite3.sqlite_version_info < (3, 37):
        pytest.skip("SQLite older than 3.37")
    with pytest.raises(sqlite3.Error):
        build({"layer": [{"gain": "much"}]})


@pytest.mark.parametrize("name", EVERY)
def test_functions_of_rules(name: str) -> None:
    """Those of the list, and of all that SQLite has no other."""
    arguments = ARGUMENTS.get(name, "1")
    facts = empty()
    if name in FUNCTIONS:
        facts.judge(f"SELECT {name}({arguments}) FROM layer", {})  # noqa: S608 - names of functions
        return
    if not name.isidentifier():
        return
    for count in range(4):
        with pytest.raises(sqlite3.Error):
            facts.judge(f"SELECT {name}({', '.join('1' * count)}) FROM layer", {})  # noqa: S608 - as above


@pytest.mark.parametrize(
    "name", ["load_extension", "randomblob", "zeroblob", "fts3_tokenizer", "readfile", "writefile", "edit"]
)
def test_functions_that_nobody_may_call(name: str) -> None:
    """What reaches a file, or makes a gigabyte of nothing; whatever its case."""
    with empty().guarded(module._read_only):
        for written in (name, name.upper()):
            assert module._read_only(sqlite3.SQLITE_FUNCTION, None, written, None, None) == sqlite3.SQLITE_DENY
            assert module._read_only(sqlite3.SQLITE_FUNCTION, written, None, None, None) == sqlite3.SQLITE_DENY
    for arguments in ("1", "'a'", "'a', 'b'"):
        with pytest.raises(Refusal) as refusal:
            empty().query(f"SELECT {name}({arguments})")
        assert refusal.value.reason == Reason.USAGE


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT log2(8) AS v", 3.0), ("SELECT log2(0.25) AS v", -2.0), ("SELECT log2(0) AS v", None),
        ("SELECT log2(-1) AS v", None), ("SELECT log2('8') AS v", None), ("SELECT log2(NULL) AS v", None),
        ("SELECT ratio(1, 4) AS v", 0.25), ("SELECT ratio(1, 0) AS v", None), ("SELECT ratio('1', 4) AS v", None),
        ("SELECT ratio(1, '4') AS v", None), ("SELECT ratio(NULL, 4) AS v", None), ("SELECT upper('a') AS v", "A"),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT max(i) AS v FROM n", 5),
    ],
)  # fmt: skip
def test_what_a_query_may_say(sql: str, expected: object) -> None:
    """Ours, SQLite's own, and what is defined by itself."""
    assert empty().query(sql) == [{"v": expected}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM sqlite_master", "SELECT * FROM pragma_database_list", "INSERT INTO layer (name) VALUES ('a')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n", "PRAGMA user_version",
    ],
)  # fmt: skip
def test_what_a_rule_may_not_say(sql: str) -> None:
    """The tables of facts and nothing else, not even the schema."""
    with pytest.raises(sqlite3.Error):
        empty().judge(sql, {})


def test_the_program_itself_is_not_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds for a query ends with it, also with one that failed: neither rules nor budget stay behind."""
    monkeypatch.setattr(module, "MOST_CALLS", 3)
    monkeypatch.setattr(module, "STEPS", 1000)
    found = build({"layer": [{"name": "a"}]})
    found.query("SELECT 1")
    with pytest.raises(Refusal):
        found.query("DELETE FROM layer")
    with pytest.raises(sqlite3.Error):
        found.judge("SELECT nothing FROM layer", {})
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT max(i) FROM n"
    assert found.connection.execute(count).fetchone()[0] == 100_000
    found.connection.execute("DELETE FROM layer")
    assert found.query("SELECT count(*) AS n FROM layer") == [{"n": 0}]


def test_a_budget_of_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is each query's own: many short ones are no long one; a long one ends."""
    monkeypatch.setattr(module, "MOST_CALLS", 3)
    monkeypatch.setattr(module, "STEPS", 1000)
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT max(i) AS n FROM n"
    found = empty()
    for _ in range(30):
        assert found.query(count.format(30)) == [{"n": 30}]
    with pytest.raises(Refusal, match="interrupted"):
        found.query(count.format(3000))


def test_parameters_and_many_rows() -> None:
    """By name and by place, in the order of the table."""
    rows = [{"name": str(index), "gain": float(index)} for index in range(1000)]
    found = build({"layer": iter(rows)})
    assert found.query("SELECT count(*) AS n FROM layer WHERE gain > :g", {"g": 899.5}) == [{"n": 100}]
    assert found.query("SELECT name FROM layer WHERE gain = ?", [7.0]) == [{"name": "7"}]
    twin = Facts.deserialize(found.serialize())
    assert twin.query("SELECT sum(gain) AS s, log2(max(gain) + 25) AS l FROM layer") == [{"s": 499500.0, "l": 10.0}]
