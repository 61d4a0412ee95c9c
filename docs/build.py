"""Write what is generated: the page of rules from the rule files, the schema of the report from its records.

python docs/build.py
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from initlint.report import Report
from initlint.rulecheck import load
from initlint.rulefile import Example, Rule, built_in

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = {
    "IL0": "The analysis itself",
    "IL1": "Weights against their fans",
    "IL2": "The signal",
    "IL3": "The weights",
    "IL4": "Number formats",
    "IL5": "The probe",
    "IL9": "The configuration",
}


def pages() -> dict[Path, str]:
    """Every generated file with its text."""
    return {ROOT / "docs" / "rules.md": rules_page(), ROOT / "initlint" / "report.schema.json": schema()}


def schema() -> str:
    """JSON Schema (2020-12) of `--format json`."""
    found = msgspec.json.schema(Report)
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "initlint report", **found}
    return msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n"


def rules_page() -> str:
    """All rules, by family, from their files."""
    rules = load([built_in()])
    lines = [
        "# Rules",
        "",
        "Generated from the files in [rules/](../rules/) by `python docs/build.py`. `initlint explain CODE` shows the same with the",
        "settings in force; `initlint rules` lists what is on. Severities are the built-in defaults.",
        "",
        "| code | name | severity | confidence | one verdict a |",
        "| --- | --- | --- | --- | --- |",
    ]
    for rule in rules:
        lines.append(
            f"| [{rule.code}](#{rule.code.lower()}-{rule.name}) | {rule.name} | {severities(rule)} | {rule.confidence} | {rule.over} |"
        )
    for prefix, title in FAMILIES.items():
        lines += ["", f"## {prefix} {title}"]
        for rule in rules:
            if rule.code.startswith(prefix):
                lines += ["", *rule_lines(rule)]
    return "\n".join(lines) + "\n"


def severities(rule: Rule) -> str:
    """The severities a finding of the rule can have, the built-in one first."""
    words = list(dict.fromkeys([rule.severity, *(level.severity for level in rule.level)]))
    return " or ".join(words) + (", exit 2" if rule.exit else "")


def rule_lines(rule: Rule) -> Iterator[str]:
    """One rule: its words, its condition, its parameters, its examples."""
    yield f"### {rule.code} {rule.name}"
    yield from ("", rule.text.what, "", f"**Why.** {rule.text.why}", "", f"**What to do.** {rule.text.fix}")
    yield from ("", f"**Limits.** {rule.text.limits}", "", "```sql", f"-- given\n{rule.given}", f"-- when\n{rule.when}")
    for level in rule.level:
        yield f"-- {level.severity} when\n{level.when}"
    yield "```"
    parameters = list(parameter_rows(rule))
    if parameters:
        yield from ("", "| parameter | value | in phase |", "| --- | --- | --- |", *parameters)
    if rule.supersedes:
        yield from ("", f"Explains, and so folds: {', '.join(rule.supersedes)}.")
    yield from ("", "| example | verdict |", "| --- | --- |")
    for example in rule.example:
        yield f"| {row_of(example)} | {example.verdict}{f' ({example.severity})' if example.severity else ''} |"
    if rule.text.references:
        yield from ("", "References: " + "; ".join(rule.text.references) + ".")


def parameter_rows(rule: Rule) -> Iterator[str]:
    """A row a parameter and phase."""
    for name, value in rule.params.items():
        if isinstance(value, dict):
            yield from (f"| `{inner}` | {entry:g} | {name} |" for inner, entry in value.items())
        else:
            yield f"| `{name}` | {value:g} | |" if isinstance(value, int | float) else f"| `{name}` | {value} | |"


def row_of(example: Example) -> str:
    """The columns that an example sets."""
    return ", ".join(
        f"`{name} = {value:g}`" if isinstance(value, int | float) else f"`{name} = {value}`"
        for name, value in example.row.items()
    )


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))
