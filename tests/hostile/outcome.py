"""What is wrong with the outcome of a hostile input, judged by its kind."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.hostile.cases import Case

__all__ = ["CODES", "ONE_LAYER", "faults_of"]

# Refused one layer at a time: what contradicts the operator here is a size that comes with the signal.
ONE_LAYER = frozenset({"b25", "b38", "b58", "g52"})
CODES = {"refuse": {2}, "partial": {2}, "judge": {1, 2}, "analyse": {0, 1}, "neutralise": {0, 1}}
OURS = ("crash", "memory", "deadline")  # reasons that are never the file's fault


def faults_of(case: Case, code: int, report: Mapping[str, Any] | None, errors: str) -> Iterator[str]:
    """Each thing that is not as the kind of input demands; nothing where all is well."""
    if code not in CODES[case.want]:
        yield f"exit code {code}"
    if "Traceback (most recent" in errors and case.id != "n25":
        yield "traceback"
    if report is None:
        yield "no report"
        return
    refused = report["skipped"]
    for item in refused:
        if item["reason"] in OURS:
            yield f"{item['reason']}: {item['message']}"
        if not item["message"] or "\n" in item["message"]:
            yield "the reason is not one line"
    if case.want == "refuse" and case.id not in ONE_LAYER:
        if not refused:
            yield "analysed"
        elif errors.count("\n") != 1:
            yield "not one line on standard error"
    elif refused and case.want != "judge":
        yield "refused"
