"""`initlint rules`: every rule, its severity now, and where that was set."""

from pathlib import Path
from typing import Any

import click
import msgspec

from initlint.commands import options, terminal
from initlint.commands.explain import folders
from initlint.config import Loaded
from initlint.rulefile import Rule, built_in, read
from initlint.text import safe

__all__ = ["command"]


@click.command(cls=options.Grouped, context_settings={"max_content_width": 100})
@options.rule_options
@options.setting(
    "Output", "--format", "-f", "layout", type=click.Choice(["table", "json"]), default="table",
    envvar="INITLINT_RULES_FORMAT", help="How the rules are printed.",
)  # fmt: skip
@click.pass_context
def command(context: click.Context, /, layout: str, **_: Any) -> int:
    """List all rules: whether each is selected, its severity, and where that comes from."""
    loaded = options.loaded(context)
    rules = [read(path) for folder in folders(loaded) for path in sorted(folder.glob("*.toml"))]
    records = [_record(rule, loaded) for rule in rules]
    if layout == "json":
        terminal.write_stdout(msgspec.json.format(msgspec.json.encode(records), indent=1).decode() + "\n")
        return 0
    widths = [max(len(record[key]) for record in records) for key in ("code", "name", "severity", "source")]
    lines = [
        f"{item['code']:{widths[0]}}  {item['name']:{widths[1]}}  {item['severity']:{widths[2]}}  "
        f"{item['source']:{widths[3]}}  {item['title']}".rstrip()
        for item in records
    ]
    terminal.write_stdout("\n".join(lines) + "\n")
    return 0


def _record(rule: Rule, loaded: Loaded) -> dict[str, str]:
    config = loaded.config
    folder = Path(rule.path).parent
    source = loaded.origins.get(f"rules.{rule.code}.severity", "built in" if folder == built_in() else str(folder))
    severity = str(config.rules.get(rule.code, {}).get("severity", _built_in_severity(rule)))
    if any(_named(rule, prefix) for prefix in config.ignore):
        severity, source = "off", loaded.origins.get("ignore", "ignore")
    elif config.select is not None and not any(_named(rule, prefix) for prefix in config.select):
        severity, source = "off", loaded.origins.get("select", "select")
    return {
        "code": rule.code, "name": rule.name, "severity": severity, "source": safe(source), "title": rule.text.title,
        "over": rule.over, "confidence": rule.confidence,
    }  # fmt: skip


def _built_in_severity(rule: Rule) -> str:
    """`error`, or `error, note` where levels change it."""
    severities = [rule.severity, *(level.severity for level in rule.level)]
    return ", ".join(dict.fromkeys(sorted(severities, key=("error", "warning", "note").index)))


def _named(rule: Rule, prefix: str) -> bool:
    return rule.code.startswith(prefix) or rule.name == prefix
