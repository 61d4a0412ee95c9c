"""What flows through a scan, from a path to a row of the store."""

from typing import Literal, TypeAlias

import msgspec

from initlint.cache import Status
from initlint.config import Config
from initlint.errors import Reason
from initlint.report import Finding, ModelRecord, Scalar

__all__ = ["VERDICTS", "Answer", "Candidate", "Copy", "Outcome", "Record", "Task", "Verdict", "verdict_of"]

Verdict: TypeAlias = Literal["refused", "error", "warning", "note", "ok"]
VERDICTS: tuple[Verdict, ...] = ("refused", "error", "warning", "note", "ok")  # worst first


class Candidate(msgspec.Struct, frozen=True):
    """A file that is, or claims to be, a model: its name in the store and where it lies (a path or a URL)."""

    name: str
    path: str


class Copy(msgspec.Struct, frozen=True):
    """A file fetched from an object store, held for a report: its number in the spool, and the Dask worker that has it."""

    token: str
    worker: str = ""


class Task(msgspec.Struct, frozen=True):
    """One piece of work: the content of a file, or its report. Paths are bytes: a file name need not be text."""

    wants: Literal["content", "report"]
    name: str
    path: bytes
    root: bytes
    config: Config
    content: str = ""  # of a report: what the file must hold still
    stamp: Status = ()  # what the file system said of the files when the content was taken
    copy: Copy | None = None  # of a URL: what was fetched for its content


class Answer(msgspec.Struct, frozen=True):
    """What came of a task: a content, a report as JSON, or a reason. `version` is the initlint that gave it."""

    version: str
    content: str = ""
    size: int = 0
    stamp: Status = ()
    copy: Copy | None = None
    report: bytes = b""
    reason: Reason | None = None
    message: str = ""
    seconds: float = 0.0


class Record(msgspec.Struct, frozen=True):
    """What a store keeps of a report. The rules stay JSON: nearly every report has those of the one before."""

    models: tuple[ModelRecord, ...]
    findings: tuple[Finding, ...] = ()
    layers: tuple[dict[str, Scalar], ...] = ()
    rules: msgspec.Raw = msgspec.Raw(b"[]")


class Outcome(msgspec.Struct, frozen=True):
    """One model of a run, as it is recorded: linted, with its report, or refused, with a reason."""

    name: str
    path: str
    content: str = ""
    size: int = 0
    report: Record | None = None
    reason: str | None = None
    message: str | None = None
    seconds: float = 0.0


def verdict_of(report: Record) -> Verdict:
    """The worst severity among the findings that count; `ok` where none does."""
    found: set[str] = {finding.severity for finding in report.findings if finding.counts}
    return next((verdict for verdict in VERDICTS if verdict in found), "ok")
