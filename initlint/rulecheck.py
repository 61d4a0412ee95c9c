"""Load rules: compile every condition and template of a rule file against the fact tables, and close SQLite's traps."""

import re
import sqlite3
import string
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from initlint.errors import Reason, Refusal
from initlint.facts import Facts, empty
from initlint.rulefile import Rule, parameters_for, read
from initlint.tables import TABLES

__all__ = ["check", "load"]

# What a rule that blames layers may say of the first of them.
BLAMED = frozenset({"blamed_layer", "blamed_pytorch", "blamed_keras"})


def load(folders: Iterable[Path]) -> tuple[Rule, ...]:
    """All rules of the folders by code. Raises Refusal (rule-file) with the file, the key and what is wrong.

    A worker lints many models: files whose entries have not changed are not read and compiled again.
    """
    stamps: list[tuple[Path, int, int]] = []
    for folder in folders:
        if not folder.is_dir():
            raise Refusal(Reason.RULE_FILE, f"{folder}: no folder of rules")
        files = sorted(folder.glob("*.toml"))
        if not files:
            raise Refusal(Reason.RULE_FILE, f"{folder}: holds no rule (CODE.toml)")  # a misspelt folder is no pass
        for path in files:
            status = path.stat()
            stamps.append((path, status.st_mtime_ns, status.st_size))
    return _load(tuple(stamps))


@lru_cache(maxsize=4)
def _load(stamps: tuple[tuple[Path, int, int], ...]) -> tuple[Rule, ...]:
    found: dict[str, Rule] = {}
    facts = empty()
    for path, _, _ in stamps:
        rule = read(path)
        if rule.code in found:
            raise Refusal(Reason.RULE_FILE, f"{path}: {rule.code} is defined in {found[rule.code].path} already")
        check(rule, facts)
        found[rule.code] = rule
    for rule in found.values():
        _check_explains(rule, found)
    return tuple(found[code] for code in sorted(found))


def check(rule: Rule, facts: Facts) -> None:
    """Compile every condition and template against the schema; close the traps of SQLite's leniency."""
    for key, sql in _conditions(rule):
        _check_sql(rule, key, sql, facts)
    if re.search(r"\bknown\b", rule.given):
        raise _wrong(rule, "given", "must not say `known`: what is not known is unknown, not out of scope")
    if rule.alike is not None and rule.alike not in TABLES[rule.over].names():
        raise _wrong(rule, "alike", f"is no column{_nearest(rule.alike, TABLES[rule.over].names())}")
    names = TABLES[rule.over].names() | set(parameters_for(rule, "init")) | {"code"}
    names |= BLAMED if rule.grows is not None else set()
    for key in ("title", "message", "fix"):
        for field in fields_of(getattr(rule.text, key), rule, key):
            if field not in names:
                raise _wrong(rule, f"text.{key}", f"has no column or parameter {field!r}{_nearest(field, names)}")
    for index, example in enumerate(rule.example):
        for column in example.row:
            if column not in TABLES[rule.over].names():
                raise _wrong(rule, f"example[{index}]", f"has no column {column!r}{_nearest(column, names)}")


def _check_explains(rule: Rule, rules: Mapping[str, Rule]) -> None:
    """Refuse rules that explain each other: each finding would be folded under the other, and none would count."""
    reached: set[str] = set()
    pending = list(rule.supersedes)
    while pending:
        code = pending.pop()
        if code == rule.code:
            raise _wrong(rule, "supersedes", "the rule explains itself, directly or by way of others")
        if code not in reached and code in rules:
            reached.add(code)
            pending.extend(rules[code].supersedes)


def _conditions(rule: Rule) -> list[tuple[str, str]]:
    return [
        ("given", rule.given),
        ("when", rule.when),
        *((f"level[{index}].when", level.when) for index, level in enumerate(rule.level)),
    ]


def _check_sql(rule: Rule, key: str, sql: str, facts: Facts) -> None:
    bare = re.sub(r"'(?:[^']|'')*'", "''", sql)
    if '"' in bare or "`" in bare or "[" in bare:
        raise _wrong(rule, key, "quotes a name: SQLite turns a misspelt quoted name into text")
    if ";" in bare or "--" in bare or "/*" in bare:
        raise _wrong(rule, key, "holds more than one expression")
    texts = {column.name for column in TABLES[rule.over].columns if column.kind == "TEXT"}
    for name, _, number in re.findall(r"\b([a-z_][a-z_0-9]*)\s*(=|<>|!=|<=|>=|<|>|IS)\s*(-?\d)", bare):
        if name in texts:
            raise _wrong(rule, key, f"compares the text column {name} with a number ({number})")
    try:
        facts.judge(f"SELECT ({sql}) FROM {rule.over} LIMIT 0", parameters_for(rule, "init"))  # noqa: S608 - may only read
    except sqlite3.Error as error:
        message = str(error)
        missing = re.search(r"no such column: (\S+)", message)
        hint = _nearest(missing.group(1), TABLES[rule.over].names()) if missing else ""
        raise _wrong(rule, key, f"{message}{hint}") from error


def _nearest(name: str, names: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - only for a word that is wrong

    near = difflib.get_close_matches(name, sorted(names), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _wrong(rule: Rule, key: str, message: str) -> Refusal:
    return Refusal(Reason.RULE_FILE, f"{rule.path or rule.code}: {key}: {message}")


def fields_of(template: str, rule: Rule, key: str) -> Sequence[str]:
    """Names in a template of `{column:spec}`. Raises Refusal for anything a template may not hold."""
    found = []
    try:
        for _, field, _, conversion in string.Formatter().parse(template):
            if field is None:
                continue
            if conversion or not re.fullmatch(r"[a-z_][a-z_0-9]*", field):
                raise _wrong(rule, f"text.{key}", f"{{{field}}} is not {{column:spec}}")
            found.append(field)
    except ValueError as error:
        raise _wrong(rule, f"text.{key}", str(error)) from error
    return found
