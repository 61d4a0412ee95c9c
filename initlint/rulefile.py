"""Rule files: one TOML file is one rule, its condition SQL over the fact tables."""

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from initlint.errors import Reason, Refusal

__all__ = ["Example", "Level", "Rule", "Text", "built_in", "parameters_for", "read", "render"]

Severity = Literal["error", "warning", "note"]
Verdict = Literal["fail", "pass", "n/a", "unknown"]
Scalar = str | int | float | None
PHASES = ("init", "trained")


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A severity that holds where `when` does; the first that matches wins."""

    severity: Severity
    when: str


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule's words. `title`, `message` and `fix` are templates over the row's columns and the parameters."""

    title: str
    message: str
    what: str
    why: str
    fix: str
    limits: str
    references: tuple[str, ...]


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row and the verdict the rule must give on it."""

    verdict: Verdict
    row: dict[str, Scalar]
    severity: Severity | None = None
    params: dict[str, Scalar] = {}


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule as its file has it."""

    code: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2,8}[0-9]{3,4}$")]
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]+$")]
    severity: Severity
    confidence: Literal["high", "medium", "low"]
    since: str
    over: Literal["model", "layer", "tensor", "weight", "waiver"]
    when: str
    text: Text
    given: str = "1"
    report: Literal["first", "all"] = "all"
    alike: str | None = None  # column whose equal values make findings of this rule one cause, told once
    supersedes: tuple[str, ...] = ()
    exit: Literal[2] | None = None
    grows: bool | None = None  # whether layers on the way are blamed for growth (true) or loss (false)
    level: tuple[Level, ...] = ()
    params: dict[str, Any] = {}
    example: tuple[Example, ...] = ()
    path: str = ""


def built_in() -> Path:
    """Folder of the rules that come with initlint: beside the package in a checkout, inside it once installed."""
    package = Path(__file__).resolve().parent
    inside = package / "rules"
    return inside if inside.is_dir() else package.parent / "rules"


def read(path: Path) -> Rule:
    """One rule file, decoded and not yet compiled."""
    try:
        rule = msgspec.toml.decode(path.read_bytes(), type=Rule)
    except (msgspec.MsgspecError, OSError, UnicodeDecodeError, ValueError) as error:
        raise Refusal(Reason.RULE_FILE, f"{path}: {error}") from error
    if rule.code != path.stem:
        raise Refusal(Reason.RULE_FILE, f"{path}: holds {rule.code}; a rule's file is named after its code")
    return msgspec.structs.replace(rule, path=str(path))


def parameters_for(rule: Rule, phase: str | None, overrides: Mapping[str, Any] | None = None) -> dict[str, Scalar]:
    """Parameters in force: the rule's, those of the phase over them, the user's over all."""
    flat = {key: value for key, value in rule.params.items() if key not in PHASES}
    flat |= (
        rule.params.get(phase if phase in PHASES else "trained", {}) if any(p in rule.params for p in PHASES) else {}
    )
    own = {key: value for key, value in (overrides or {}).items() if key != "severity"}
    unknown = sorted(set(own) - set(flat))
    if unknown:
        import difflib  # noqa: PLC0415 - only for a word that is wrong

        near = difflib.get_close_matches(unknown[0], list(flat), 1)
        hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(flat) or 'none'}"
        raise Refusal(Reason.CONFIG, f"rule {rule.code} has no parameter {unknown[0]}{hint}")
    return flat | own


def render(template: str, values: Mapping[str, Scalar]) -> str:
    """A template filled in; what is NULL reads `unknown`."""
    out = []
    for literal, field, spec, _ in string.Formatter().parse(template):
        out.append(literal)
        if field is None:
            continue
        value = values.get(field)
        try:
            out.append("unknown" if value is None else format(value, spec or ""))
        except ValueError:
            out.append(str(value))
    return "".join(out)
