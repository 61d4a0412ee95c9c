"""Rules are data: what a file may hold, how it is compiled, and which of SQLite's traps are closed."""

from pathlib import Path

import pytest

from initlint.errors import Reason, Refusal
from initlint.facts import FUNCTIONS, empty
from initlint.rulecheck import load
from initlint.rulefile import Rule, built_in, parameters_for
from initlint.rules import run_example
from initlint.tables import TABLES

RULES = load([built_in()])

TEMPLATE = """
code = "ACME001"
name = "too-wide"
severity = "warning"
confidence = "low"
since = "0.1.0"
over = "layer"
given = "{given}"
when = "{when}"

[params]
limit = 4.0

[text]
title = "{title}"
message = "{message}"
what = "Fires on a wide layer."
why = "Because."
fix = "Narrow it."
limits = "None."
references = []
"""


def written(folder: Path, **parts: str) -> Path:
    fields = {"given": "1", "when": "fan_in > :limit", "title": "wide", "message": "fan_in {fan_in:.0f}"} | parts
    (folder / "ACME001.toml").write_text(TEMPLATE.format(**fields))
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(Refusal) as refusal:
        load([folder])
    assert refusal.value.reason == Reason.RULE_FILE
    assert "ACME001.toml" in refusal.value.message
    return refusal.value.message


def test_a_rule_of_ones_own(tmp_path: Path) -> None:
    """A folder with one file is a pack."""
    (rule,) = load([written(tmp_path)])
    assert (rule.code, rule.params) == ("ACME001", {"limit": 4.0})


def test_an_edited_rule_is_read_again(tmp_path: Path) -> None:
    """A process that has loaded a folder before sees what was changed in it, and what was added."""
    assert load([written(tmp_path)])[0].when == "fan_in > :limit"
    assert load([written(tmp_path, when="fan_in >= :limit")])[0].when == "fan_in >= :limit"
    (tmp_path / "ACME002.toml").write_text((tmp_path / "ACME001.toml").read_text().replace("ACME001", "ACME002"))
    assert [rule.code for rule in load([tmp_path])] == ["ACME001", "ACME002"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_the_examples_hold(rule: Rule) -> None:
    """Each rule passes, fails and admits ignorance where its file says so."""
    assert {"pass", "fail"} <= {example.verdict for example in rule.example}
    for example in rule.example:
        verdict, severity = run_example(rule, example)
        assert verdict == example.verdict
        if example.severity is not None:
            assert severity == example.severity


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_the_words_are_there(rule: Rule) -> None:
    """Every rule says what, why, what to do and where it ends; what it folds exists."""
    texts = (rule.text.title, rule.text.message, rule.text.what, rule.text.why, rule.text.fix, rule.text.limits)
    assert all(text.strip() for text in texts)
    assert set(rule.supersedes) <= {other.code for other in RULES}
    assert rule.code not in rule.supersedes


def test_the_catalogue_is_whole() -> None:
    """Codes and the names after which they are allowed."""
    names = {rule.code: rule.name for rule in RULES}
    assert len(set(names.values())) == len(names)
    assert names["IL202"] == "signal-vanishes"
    assert {rule.code for rule in RULES if rule.exit == 2} == {"IL001", "IL506"}


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("fan_inn > 4", "did you mean fan_in?"),
        ('\\"fan_inn\\" > 4', "quotes a name"),
        ("[fan_in] > 4", "quotes a name"),
        ("`fan_in` > 4", "quotes a name"),
        ("activation > 4", "text column activation"),
        ("fan_in > 4; DELETE FROM layer", "more than one expression"),
        ("fan_in > 4 -- and more", "more than one expression"),
        ("fan_in > 4 /* x */", "more than one expression"),
        ("fan_in > :limt", "limt"),
        ("fan_in >", "syntax"),
        ("(SELECT count(*) FROM sqlite_master) > 0", "not authorized"),
        ("load_extension('x') IS NULL", "not authorized"),
        ("randomblob(9) IS NOT NULL", "not authorized"),
        ("writefile('a', 'b') > 0", "no such function"),
        ("EXISTS (SELECT 1 FROM pragma_database_list)", "not authorized"),
    ],
)
def test_a_wrong_condition_is_an_error_of_its_file(tmp_path: Path, when: str, says: str) -> None:
    """With the file, the key and, for a misspelt name, the nearest."""
    message = refused(written(tmp_path, when=when))
    assert ": when: " in message
    assert says in message


def test_given_may_not_ask_whether_we_know(tmp_path: Path) -> None:
    """What is not known is unknown, never out of scope."""
    path = written(tmp_path, given="known = 1", when="elements > :limit", message="m") / "ACME001.toml"
    path.write_text(path.read_text().replace('over = "layer"', 'over = "tensor"'))
    assert "must not say `known`" in refused(tmp_path)


@pytest.mark.parametrize(
    "message", ["{fan_in.__class__}", "{0}", "{fan_in!r}", "{fan_inn}", "{fan_in", "{}", "{fan_in[0]}"]
)
def test_templates_name_columns_and_nothing_else(tmp_path: Path, message: str) -> None:
    """No attributes, no indices, no conversions."""
    assert ": text.message: " in refused(written(tmp_path, message=message))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('severity = "warning"', 'severity = "fatal"'),
        ('code = "ACME001"', 'code = "ACME002"'),
        ('over = "layer"', 'over = "node"'),
        ('why = "Because."\n', ""),
        ('since = "0.1.0"', 'since = "0.1.0"\ncolour = "red"'),
        ("[params]", "[params"),
    ],
)
def test_a_file_that_is_no_rule(tmp_path: Path, old: str, new: str) -> None:
    """A missing key, one too many, a value outside its list, broken TOML."""
    path = written(tmp_path) / "ACME001.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    refused(tmp_path)


def test_parameters_of_the_phase_and_of_the_user(tmp_path: Path) -> None:
    """The rule's, the phase's over them, the user's over all; an unknown one is an error with the nearest name."""
    path = written(tmp_path) / "ACME001.toml"
    path.write_text(path.read_text().replace("[text]", "[params.init]\nlimit = 2.0\n\n[text]"))
    (rule,) = load([tmp_path])
    assert parameters_for(rule, "init")["limit"] == 2.0
    assert parameters_for(rule, "trained")["limit"] == 4.0
    assert parameters_for(rule, None)["limit"] == 4.0
    assert parameters_for(rule, "init", {"limit": 9, "severity": "note"})["limit"] == 9
    with pytest.raises(Refusal, match="did you mean limit"):
        parameters_for(rule, None, {"limt": 1})


def test_a_code_defined_twice(tmp_path: Path) -> None:
    """Two packs may not define one rule."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written(tmp_path / name)
    with pytest.raises(Refusal, match="defined in"):
        load([tmp_path / "a", tmp_path / "b"])


def test_conditions_may_use_what_sqlite_has_for_arithmetic(tmp_path: Path) -> None:
    """Every function on the list exists in the SQLite that runs the rules."""
    arguments = {"coalesce": "1, 2", "glob": "'a', 'b'", "ifnull": "1, 2", "iif": "1, 2, 3", "instr": "'a', 'b'",
                 "like": "'a', 'b'", "nullif": "1, 2", "ratio": "1, 2", "substr": "'a', 1", "round": "1.5"}  # fmt: skip
    facts = empty()
    for name in sorted(FUNCTIONS):
        facts.judge(f"SELECT {name}({arguments.get(name, '1')}) FROM layer LIMIT 0", {})  # noqa: S608 - names of functions
    (rule,) = load([written(tmp_path, when="log2(ratio(fan_in, fan_out)) > (SELECT max(fan_in) FROM layer)")])
    assert rule.when.startswith("log2")


def test_counts_are_real() -> None:
    """90 / 100 must not be 0: no countable column is an SQLite integer."""
    for table in TABLES.values():
        for column in table.columns:
            assert column.unit != "count" or column.kind == "REAL", (table.name, column.name)
