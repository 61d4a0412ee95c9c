"""Judge facts by rules: each rule is one SELECT, three-valued, its findings folded under those that explain them."""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from initlint.causes import folded
from initlint.errors import Reason, Refusal
from initlint.facts import Facts, build
from initlint.report import Finding, RuleRecord, fingerprint
from initlint.rulefile import Example, Rule, parameters_for, render
from initlint.tables import TABLES
from initlint.text import safe

__all__ = ["Judgement", "Settings", "check_settings", "judge", "run_example", "selected"]

Scalar = str | int | float | None
IDENTITY = frozenset({"name", "code", "node", "op", "slot", "weight", "depth"})  # columns that say where a finding is
ORDERED = {"layer": "position", "tensor": "position"}


class Settings(msgspec.Struct, frozen=True):
    """Which rules apply and how: code prefixes selected and ignored, severities and parameters by code."""

    select: Sequence[str] | None = None
    ignore: Sequence[str] = ()
    overrides: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict)


class Judgement(msgspec.Struct, frozen=True):
    """Findings in the order of rules and rows, and each rule's counts."""

    findings: tuple[Finding, ...]
    rules: tuple[RuleRecord, ...]


def check_settings(rules: Iterable[Rule], settings: Settings) -> None:
    """Raise Refusal (config) where a prefix, a code or a parameter of the settings is one that no rule has."""
    known = tuple(rules)
    for prefix in (*(settings.select or ()), *settings.ignore):
        if not any(rule.code.startswith(prefix) or rule.name == prefix for rule in known):
            import difflib  # noqa: PLC0415 - only for a word that is wrong

            near = difflib.get_close_matches(prefix, [name for rule in known for name in (rule.code, rule.name)], 1)
            raise Refusal(
                Reason.CONFIG, f"no rule starts with {safe(prefix)}{f'; did you mean {near[0]}?' if near else ''}"
            )
    by_code = {rule.code: rule for rule in known}
    for code, values in settings.overrides.items():
        if code not in by_code:
            import difflib  # noqa: PLC0415 - only for a word that is wrong

            near = difflib.get_close_matches(code, list(by_code), 1)
            raise Refusal(Reason.CONFIG, f"there is no rule {code}{f'; did you mean {near[0]}?' if near else ''}")
        parameters_for(by_code[code], None, values)


def selected(rules: Iterable[Rule], settings: Settings) -> tuple[Rule, ...]:
    """The rules in force."""

    def matches(rule: Rule, prefixes: Iterable[str]) -> bool:
        return any(rule.code.startswith(prefix) or rule.name == prefix for prefix in prefixes)

    return tuple(
        rule
        for rule in rules
        if (settings.select is None or matches(rule, settings.select)) and not matches(rule, settings.ignore)
    )


def judge(
    rules: Iterable[Rule],
    facts: Facts,
    settings: Settings,
    model: str,
    blame: Callable[[str, bool], tuple[Any, ...]] = lambda _place, _grows: (),
) -> Judgement:
    """Apply the rules to one model's facts; `blame(place, grows)` names the layers behind a broken signal."""
    phase = next((str(row["phase"]) for row in facts.query("SELECT phase FROM model") if row["phase"]), None)
    findings: list[Finding] = []
    records = []
    for rule in selected(rules, settings):
        own = settings.overrides.get(rule.code, {})
        parameters = parameters_for(rule, phase, own)
        counts, rows = _apply(rule, facts, parameters)
        wanted = _used(rule) if rows else frozenset()
        for row in rows:
            findings.append(_finding(rule, row, wanted, parameters, model, own.get("severity"), blame))
        records.append(_record(rule, parameters, counts, own.get("severity")))
    return Judgement(folded(_numbered(findings), tuple(rules)), tuple(records))


def _apply(
    rule: Rule, facts: Facts, parameters: Mapping[str, Scalar]
) -> tuple[dict[str, int], list[dict[str, Scalar]]]:
    """Counts of the four verdicts, and the failing rows with the index of the level that matched."""
    order = f" ORDER BY {ORDERED[rule.over]}" if rule.over in ORDERED else ""
    levels = "".join(f" WHEN ({level.when}) THEN {index}" for index, level in enumerate(rule.level))
    level = f"CASE{levels} ELSE -1 END" if levels else "-1"
    base = f"FROM {rule.over}"
    given, when = f"({rule.given})", f"({rule.when})"
    counting = (
        f"SELECT COALESCE(SUM({given} IS NOT NULL AND NOT {given}), 0) AS na,"
        f" COALESCE(SUM({given} AND {when} IS NOT NULL AND {when}), 0) AS failed,"
        f" COALESCE(SUM({given} AND {when} IS NOT NULL AND NOT {when}), 0) AS passed, COUNT(*) AS total {base}"
    )
    counts = _run(rule, facts, counting, parameters)[0]
    total, na, failed, passed = (int(counts[key] or 0) for key in ("total", "na", "failed", "passed"))
    found = {"failed": failed, "passed": passed, "not_applicable": na, "unknown": total - na - failed - passed}
    if not failed:
        return found, []
    limit = " LIMIT 1" if rule.report == "first" else ""
    columns = ", ".join(f'"{name}"' for name in sorted(_columns(rule)))
    sql = f"SELECT {columns}, {level} AS level_ {base} WHERE {given} AND {when}{order}{limit}"
    return found, _run(rule, facts, sql, parameters)


def _run(rule: Rule, facts: Facts, sql: str, parameters: Mapping[str, Scalar]) -> list[dict[str, Scalar]]:
    try:
        return facts.judge(sql, parameters)
    except sqlite3.Error as error:
        what = "took too long" if "interrupted" in str(error) else f"failed: {error}"
        raise Refusal(Reason.RULE_FILE, f"rule {rule.code} {what}") from error


def _finding(
    rule: Rule,
    row: Mapping[str, Scalar],
    wanted: Collection[str],
    parameters: Mapping[str, Scalar],
    model: str,
    severity: str | None,
    blame: Callable[[str, bool], tuple[Any, ...]],
) -> Finding:
    level = row["level_"]
    chosen = severity or (rule.level[level].severity if isinstance(level, int) and level >= 0 else rule.severity)
    values = {**{key: value for key, value in row.items() if key != "level_"}, **parameters}
    place = str(row.get("name") or row.get("code") or model)
    node = row.get("node")
    blamed = blame(place, rule.grows) if rule.grows is not None else ()
    depth = row.get("depth")
    return Finding(
        code=rule.code,
        name=rule.name,
        severity=chosen,  # type: ignore[arg-type]
        confidence=rule.confidence,
        model=model,
        over=rule.over,
        place=place,
        node=str(node) if node else None,
        op=str(row["op"]) if row.get("op") else None,
        title=render(rule.text.title, values),
        message=render(rule.text.message, values),
        fix=render(rule.text.fix, values | _first_of(blamed)),
        values={key: value for key, value in values.items() if key in wanted},
        fingerprint=fingerprint(rule.code, model, str(node or place), str(row.get("slot") or "")),
        weight=str(row["weight"]) if row.get("weight") else None,
        exit=rule.exit,
        blamed=blamed,
        depth=float(depth) if isinstance(depth, int | float) else None,
    )


def _first_of(blamed: Sequence[Any]) -> dict[str, Scalar]:
    """What a fix may say of the first layer blamed; where there is none, of the layers before the place."""
    layer, pytorch, keras = "the layers before this point", "torch.nn.init", "kernel_initializer"
    if blamed:
        layer = blamed[0].layer
        pytorch, keras = blamed[0].pytorch or pytorch, blamed[0].keras or keras
    return {"blamed_layer": layer, "blamed_pytorch": pytorch, "blamed_keras": keras}


def _used(rule: Rule) -> frozenset[str]:
    """Columns and parameters that the rule's conditions and message speak of."""
    parts = (rule.given, rule.when, rule.text.message, rule.text.title, rule.alike or "")
    text = " ".join((*parts, *(level.when for level in rule.level)))
    return _words(text) & (TABLES[rule.over].names() | set(parameters_for(rule, "init")))


def _columns(rule: Rule) -> frozenset[str]:
    """Columns that a finding of the rule is made of: a model may have a hundred thousand rows of sixty."""
    return (_used(rule) | _words(rule.text.fix) | IDENTITY) & TABLES[rule.over].names()


def _words(text: str) -> frozenset[str]:
    import re  # noqa: PLC0415 - only where something is found

    return frozenset(re.findall(r"[a-z_][a-z_0-9]*", text))


def _record(
    rule: Rule, parameters: Mapping[str, Scalar], counts: Mapping[str, int], severity: str | None
) -> RuleRecord:
    return RuleRecord(
        code=rule.code,
        name=rule.name,
        severity=severity or rule.severity,  # type: ignore[arg-type]
        confidence=rule.confidence,
        over=rule.over,
        what=rule.text.what,
        why=rule.text.why,
        fix=rule.text.fix,
        limits=rule.text.limits,
        references=rule.text.references,
        parameters=dict(parameters),
        **counts,
    )


def _numbered(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that share a fingerprint get an ordinal."""
    seen: dict[str, int] = {}
    numbered = []
    for finding in findings:
        ordinal = seen.get(finding.fingerprint, 0)
        seen[finding.fingerprint] = ordinal + 1
        numbered.append(msgspec.structs.replace(finding, ordinal=ordinal) if ordinal else finding)
    return numbered


def run_example(rule: Rule, example: Example) -> tuple[str, str | None]:
    """(verdict, severity) that the rule gives on an example's row."""
    facts = build({rule.over: [example.row]})
    phase = example.row.get("phase")
    parameters = {**parameters_for(rule, str(phase) if phase else None), **example.params}
    counts, rows = _apply(rule, facts, parameters)
    if counts["failed"]:
        level = rows[0]["level_"]
        severity = rule.level[level].severity if isinstance(level, int) and level >= 0 else rule.severity
        return "fail", severity
    for verdict, key in (("pass", "passed"), ("n/a", "not_applicable")):
        if counts[key]:
            return verdict, None
    return "unknown", None
