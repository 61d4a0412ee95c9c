"""A report in which no text that came from a model can act on a terminal, a log or a page."""

from typing import Any

import msgspec

from initlint.report import Report, rounded
from initlint.text import LIMIT, safe

__all__ = ["sanitised"]

SENTENCE = 1000  # characters: a message holds a name or two
SENTENCES = frozenset({"message", "fix", "title", "path", "phase_reason", "unknown_operators", "waived", "reason"})


def sanitised(report: Report) -> Report:
    """The same report with every text through `safe()`; rules' own words, which no model writes, stay as they are."""
    content = rounded(msgspec.to_builtins(report))
    for part in ("models", "findings", "layers", "tensors", "skipped"):
        content[part] = [_clean(record) for record in content[part]]
    content["run"] = _clean(content["run"])
    return msgspec.convert(content, Report)


def _clean(record: dict[str, Any]) -> dict[str, Any]:
    return {
        safe(key) if not key.isidentifier() else key: _clean_value(value, SENTENCE if key in SENTENCES else LIMIT)
        for key, value in record.items()
    }


def _clean_value(value: Any, limit: int) -> Any:
    """Texts made safe, the containers around them kept; records nest three deep at most."""
    if isinstance(value, str):
        # A sentence of a rule may run over several lines in its file; a name may not.
        return safe(" ".join(value.split()) if limit == SENTENCE else value, limit) if value else value
    if isinstance(value, dict):
        return _clean(value)
    if isinstance(value, list | tuple):
        return [_clean_value(item, limit) for item in value]
    return value
