"""`initlint explain CODE`: a rule as its file has it, with the parameters in force."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from initlint.commands import options, terminal
from initlint.config import Loaded
from initlint.configfile import suggestion
from initlint.errors import Reason, Refusal
from initlint.rulefile import Example, Rule, built_in, read
from initlint.text import safe

__all__ = ["command", "folders"]


@click.command(cls=options.Grouped, context_settings={"max_content_width": 100})
@click.argument("codes", nargs=-1, required=True, metavar="CODE...", shell_complete=options.rule_codes)
@options.rule_options
@click.pass_context
def command(context: click.Context, /, codes: tuple[str, ...], **_: Any) -> int:
    """Explain rules, by code (IL201) or name (signal-explodes)."""
    loaded = options.loaded(context)
    files = {path.stem: path for folder in folders(loaded) for path in sorted(folder.glob("*.toml"))}
    blocks = ["\n".join(_lines(_find(code, files), loaded)) for code in codes]
    terminal.write_stdout("\n\n\n".join(blocks) + "\n")
    return 0


def folders(loaded: Loaded) -> list[Path]:
    """The folders that rules come from."""
    return [built_in(), *map(Path, loaded.config.rule_dirs)]


def _find(word: str, files: dict[str, Path]) -> Rule:
    if word.upper() in files:
        return read(files[word.upper()])
    rules = [read(path) for path in files.values()]
    for rule in rules:
        if rule.name == word.lower():
            return rule
    names = [*files, *(rule.name for rule in rules)]
    raise Refusal(Reason.USAGE, f"no rule is called {safe(word)}{suggestion(word, names)} (initlint rules lists them)")


def _lines(rule: Rule, loaded: Loaded) -> Iterator[str]:
    own = loaded.config.rules.get(rule.code, {})
    yield f"{rule.code} {rule.name}: {rule.text.title}"
    severity = f"{own['severity']} (set; built in: {rule.severity})" if "severity" in own else rule.severity
    yield f"{severity}, confidence {rule.confidence}, one verdict a {rule.over}, since {rule.since}"
    for title, words in (
        ("What it finds", rule.text.what), ("Why", rule.text.why), ("What to do", rule.text.fix),
        ("Limits", rule.text.limits),
    ):  # fmt: skip
        yield from ("", title, *_wrapped(words))
    yield from ("", "Condition")
    yield from _wrapped(rule.given, "  given  ")
    yield from _wrapped(rule.when, "  when   ")
    for level in rule.level:
        yield from _wrapped(level.when, f"  {level.severity} when  ")
    yield from _parameters(rule, own, loaded)
    if rule.supersedes:
        yield from ("", "Explains, and so folds", *_wrapped(", ".join(rule.supersedes)))
    if rule.example:
        yield from ("", "Examples")
        for example in rule.example:
            yield from _wrapped(_example(example), "  ")
    if rule.text.references:
        yield from ("", "References")
        yield from (f"  {reference}" for reference in rule.text.references)


def _parameters(rule: Rule, own: dict[str, Any], loaded: Loaded) -> Iterator[str]:
    if not rule.params:
        return
    yield from ("", "Parameters")
    for name, value in rule.params.items():
        if isinstance(value, dict):
            for inner, entry in value.items():
                yield f"  {inner} = {_value(own.get(inner, entry))}   in phase {name}{_origin(rule, inner, own, loaded)}"
        else:
            yield f"  {name} = {_value(own.get(name, value))}{_origin(rule, name, own, loaded)}"


def _origin(rule: Rule, name: str, own: dict[str, Any], loaded: Loaded) -> str:
    return f"   # {safe(loaded.origins.get(f'rules.{rule.code}.{name}', 'set'))}" if name in own else ""


def _example(example: Example) -> str:
    row = ", ".join(f"{name} = {_value(value)}" for name, value in example.row.items())
    return f"{example.verdict:7} {row}"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _wrapped(text: str, prefix: str = "  ") -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), 98, initial_indent=prefix, subsequent_indent=" " * len(prefix), break_long_words=False
    )
