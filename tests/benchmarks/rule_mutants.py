"""Mutants of rules: one comparison, one AND or OR, one number or parameter of a rule's conditions turned over."""

import gc
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from mutants import Mutant

from initlint import rulecheck, rulefile
from initlint.errors import Refusal
from initlint.facts import empty
from initlint.rulefile import Rule

__all__ = ["of_rules"]

# Tokens of a condition: texts are left alone, longer operators come before shorter ones.
TOKENS = re.compile(
    r"'(?:[^']|'')*'|\bIS NOT\b|\bNOT IN\b|\bIS\b|\bIN\b|\bAND\b|\bOR\b|\bNOT\b|<=|>=|<>|!=|<|>|=|[+*/-]|[A-Za-z_:][A-Za-z_0-9]*|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\S"
)
SWAPS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "<>", "<>": "=", "!=": "=", "IS NOT": "IS", "IS": "IS NOT", "IN": "NOT IN",
    "NOT IN": "IN", "AND": "OR", "OR": "AND", "NOT": "", "+": "-", "-": "+", "*": "/", "/": "*",
}  # fmt: skip


def of_rules() -> Iterator[Mutant]:
    """Mutants of every built-in rule; those that SQLite does not compile are none."""
    facts = empty()
    for position, rule in enumerate(rulecheck.load([rulefile.built_in()]), 1):
        for kind, changed in _changes(rule):
            try:
                rulecheck.check(changed, facts)
            except Refusal:
                continue
            yield Mutant(position, kind, rule.code, _setting(changed))


def _changes(rule: Rule) -> Iterator[tuple[str, Rule]]:
    for key in ("given", "when"):
        for words, sql in _of_sql(getattr(rule, key)):
            yield f"{key}: {words}", msgspec.structs.replace(rule, **{key: sql})
    for index, level in enumerate(rule.level):
        for words, sql in _of_sql(level.when):
            levels = list(rule.level)
            levels[index] = msgspec.structs.replace(level, when=sql)
            yield f"level {index}: {words}", msgspec.structs.replace(rule, level=tuple(levels))
        others = rule.level[:index] + rule.level[index + 1 :]
        yield f"level {index} dropped", msgspec.structs.replace(rule, level=others)
    for words, params in _of_params(rule.params):
        yield words, msgspec.structs.replace(rule, params=params)
    if rule.report == "first":
        yield "report all", msgspec.structs.replace(rule, report="all")
    if rule.exit is not None:
        yield "exit dropped", msgspec.structs.replace(rule, exit=None)
    for code in rule.supersedes:
        others_ = tuple(item for item in rule.supersedes if item != code)
        yield f"does not explain {code}", msgspec.structs.replace(rule, supersedes=others_)


def _of_sql(sql: str) -> Iterator[tuple[str, str]]:
    """Texts that differ from a condition in one token."""
    for match in TOKENS.finditer(sql):
        token = match[0]
        if token in SWAPS:
            other = SWAPS[token]
        elif re.fullmatch(r"\d.*", token):
            other = str(float(token) * 2 or 1.0)
        else:
            continue
        yield f"{token} -> {other} at {match.start()}", sql[: match.start()] + other + sql[match.end() :]


def _of_params(params: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Parameters with one number doubled, those of one phase included."""
    for name, value in params.items():
        if isinstance(value, dict):
            for words, inner in _of_params(value):
                yield f"{name}.{words}", {**params, name: inner}
        elif isinstance(value, int | float):
            yield f"{name} = {value * 2 or 1.0}", {**params, name: value * 2 or 1.0}


def _setting(changed: Rule) -> Callable[[], None]:
    """Put the changed rule in the place of the built-in one, for what is read from now on and for what is held already."""

    def put() -> None:
        read = rulefile.read

        def reading(path: Any) -> Rule:
            rule = read(path)
            return changed if rule.path == changed.path else rule

        for holder in list(sys.modules.values()):
            if vars(holder).get("read") is read:
                holder.read = reading  # type: ignore[attr-defined]
        rulecheck._load.cache_clear()
        for item in gc.get_objects():
            if isinstance(item, Rule) and item.path == changed.path and item is not changed:
                for name in Rule.__struct_fields__:
                    msgspec.structs.force_setattr(item, name, getattr(changed, name))

    return put
