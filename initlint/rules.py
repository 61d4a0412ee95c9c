"""Judge facts by rules: each rule is one SELECT, three-valued, its findings folded under those that explain them."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from initlint.errors import Reason, Refusal
from initlint.facts import Facts, build
from initlint.report import RANKS, Finding, RuleRecord, fingerprint
from initlint.rulefile import Example, Rule, parameters_for, render
from initlint.tables import TABLES
from initlint.text import safe

__all__ = ["Judgement", "Settings", "check_settings", "gathered", "judge", "run_example", "selected"]

Scalar = str | int | float | None
ORDERED = {"layer": "position", "tensor": "position"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Which rules apply and how: code prefixes selected and ignored, severities and parameters by code."""

    select: Sequence[str] | None = None
    ignore: Sequence[str] = ()
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
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
        for row in rows:
            findings.append(_finding(rule, row, parameters, model, own.get("severity"), blame))
        records.append(_record(rule, parameters, counts, own.get("severity")))
    return Judgement(_folded(_numbered(findings), tuple(rules)), tuple(records))


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
    sql = f"SELECT *, {level} AS level_ {base} WHERE {given} AND {when}{order}{limit}"
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
    wanted = _used(rule)
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
    import re  # noqa: PLC0415 - only here

    parts = (rule.given, rule.when, rule.text.message, rule.text.title, rule.alike or "")
    text = " ".join((*parts, *(level.when for level in rule.level)))
    words = frozenset(re.findall(r"[a-z_][a-z_0-9]*", text))
    return words & (TABLES[rule.over].names() | set(parameters_for(rule, "init")))


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


def _folded(findings: Sequence[Finding], rules: Sequence[Rule]) -> tuple[Finding, ...]:
    """Fold each finding under the first that explains it: a cause explains what its rule supersedes at or behind its place.

    Nothing is folded under what is less severe: a note hides no error. A rule that reports the first tensor only speaks for the whole signal: it also explains the layers before it.
    """
    by_code = {rule.code: rule for rule in rules}
    under: dict[int, int] = {}
    for cause_index, cause in enumerate(findings):
        rule = by_code[cause.code]
        for index, finding in enumerate(findings):
            if index == cause_index or index in under or finding.code not in rule.supersedes:
                continue
            if RANKS[cause.severity] < RANKS[finding.severity]:
                continue
            if _explains(cause, finding, whole=rule.report == "first" or rule.over in {"model", "weight"}):
                under[index] = cause_index
    result = []
    for index, finding in enumerate(findings):
        if index in under:
            top = under[index]
            while top in under and under[top] != index:
                top = under[top]
            finding = msgspec.structs.replace(finding, folded_under=f"{findings[top].code} {findings[top].place}")
        children = tuple(f"{findings[i].code} {findings[i].place}" for i, parent in under.items() if parent == index)
        result.append(msgspec.structs.replace(finding, folded=children) if children else finding)
    return tuple(result)


def _explains(cause: Finding, finding: Finding, *, whole: bool) -> bool:
    if whole or finding.over == "model":
        return True
    if cause.node is not None and cause.node == finding.node:
        return True
    if cause.place == finding.place:
        return True
    return cause.depth is not None and finding.depth is not None and finding.depth >= cause.depth


def gathered(findings: Sequence[Finding], rules: Iterable[Rule]) -> tuple[Finding, ...]:
    """Findings of one cause told once: the others are folded under the first of them.

    After waivers and baselines, and only among findings that count, so that none is hidden by one that somebody accepted.
    """
    alike = {rule.code: rule.alike for rule in rules if rule.alike is not None}
    heads: dict[tuple[object, ...], int] = {}
    children: dict[int, list[int]] = {}
    for index, finding in enumerate(findings):
        column = alike.get(finding.code)
        if column is None or not finding.counts:
            continue
        head = heads.setdefault((finding.code, finding.severity, finding.values.get(column)), index)
        if head != index:
            children.setdefault(head, []).append(index)
    result = list(findings)
    for head, members in children.items():
        first = result[head]
        names = tuple(f"{first.code} {result[index].place}" for index in members)
        result[head] = msgspec.structs.replace(first, folded=(*first.folded, *names))
        for index in members:
            result[index] = msgspec.structs.replace(result[index], folded_under=f"{first.code} {first.place}")
    return tuple(result)


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
