"""`initlint test`: the examples inside rule files, which are their tests."""

from collections.abc import Iterator
from pathlib import Path

import click

from initlint.commands import options, terminal
from initlint.errors import Reason, Refusal
from initlint.rulecheck import check as compile_rule
from initlint.rulecheck import load
from initlint.rulefile import Rule, built_in, read
from initlint.text import safe

__all__ = ["command"]


@click.command(cls=options.Grouped)
@click.argument("rules", nargs=-1, metavar="[RULES]...")
def command(rules: tuple[str, ...]) -> int:
    """Run the examples inside rule files: of the folders, files or codes given, else of every built-in rule."""
    from initlint.rules import run_example  # noqa: PLC0415 - help needs no database

    chosen = list(_chosen(rules)) if rules else list(load([built_in()]))
    lines, examples, wrong = [], 0, 0
    for rule in chosen:
        if not rule.example:
            lines.append(f"{rule.path}: has no example")
            wrong += 1
        for number, example in enumerate(rule.example, 1):
            examples += 1
            verdict, severity = run_example(rule, example)
            wanted, got = str(example.verdict), verdict
            if wanted == got and example.severity is not None:
                wanted, got = example.severity, str(severity)
            if got != wanted:
                wrong += 1
                lines.append(f"{rule.path}: example {number}: expected {wanted}, got {got}")
    lines.append(f"{len(chosen)} rules, {examples} examples, {wrong or 'none'} wrong")
    terminal.write_stdout("".join(f"{safe(line, 1000)}\n" for line in lines))
    return int(wrong > 0)


def _chosen(words: tuple[str, ...]) -> Iterator[Rule]:
    from initlint.facts import empty  # noqa: PLC0415 - as above

    for word in words:
        path = Path(word)
        if path.is_dir():
            yield from load([path])
            continue
        file = path if path.is_file() else built_in() / f"{word.upper()}.toml"
        if not file.is_file():
            raise Refusal(Reason.USAGE, f"{safe(word)}: no folder or file of rules, and no built-in rule")
        rule = read(file)
        compile_rule(rule, empty())
        yield rule
