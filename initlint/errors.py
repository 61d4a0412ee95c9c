"""The one way an analysis is refused: a reason from a closed list, raised low with facts, told high with context."""

from enum import StrEnum

__all__ = ["Reason", "Refusal"]


class Reason(StrEnum):
    """Why a file, or a part of it, was not analysed. Stable names: they appear in reports."""

    USAGE = "usage"
    CONFIG = "config"
    RULE_FILE = "rule-file"
    NOT_FOUND = "not-found"
    NOT_A_FILE = "not-a-file"
    PERMISSION = "permission"
    FETCH = "fetch"
    EMPTY = "empty"
    NOT_ONNX = "not-onnx"
    LFS_POINTER = "lfs-pointer"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    CHANGED = "changed"
    TOO_DEEP = "too-deep"
    TOO_LARGE = "too-large"
    TENSOR = "tensor-inconsistent"
    EXTERNAL_DATA = "external-data"
    GRAPH = "graph-invalid"
    UNSUPPORTED = "unsupported"
    COVERAGE = "coverage"
    DEADLINE = "deadline"
    MEMORY = "memory"
    CRASH = "crash"
    ISOLATION = "isolation"
    INTERRUPTED = "interrupted"
    OUTPUT = "output"
    PROVIDER = "provider"


class Refusal(Exception):  # noqa: N818 - a refusal is a verdict about the input, not a fault of the program
    """The input cannot be analysed and the answer would not be trustworthy: exit code 2.

    `reason` is one of `Reason`; `message` is one line that says what was found and what was expected.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
