"""`ndjson`: one JSON object a line, each with its `kind`; for streams, `jq` and log collectors."""

import msgspec

from initlint.formats import View
from initlint.report import Report, rounded

__all__ = ["render"]

KINDS = {
    "models": "model",
    "rules": "rule",
    "findings": "finding",
    "layers": "layer",
    "tensors": "tensor",
    "skipped": "skipped",
}


def render(report: Report, _view: View) -> str:
    """A line for the run, then one for each record of the JSON form."""
    content = rounded(msgspec.to_builtins(report))
    head = {"kind": "run", "schema_version": content["schema_version"], "tool": content["tool"], "run": content["run"]}
    records = [{"kind": kind, **record} for part, kind in KINDS.items() for record in content[part]]
    return "".join(msgspec.json.encode(record).decode() + "\n" for record in [head, *records])
