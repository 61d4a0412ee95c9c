"""A linter for ONNX models: where the signal explodes, vanishes, saturates or leaves its number format, and why.

    import initlint
    report = initlint.check("model.onnx")
    report.ok, report.findings, report.layers

Nothing heavy is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from initlint import testing
    from initlint.checking import check
    from initlint.errors import Reason, Refusal
    from initlint.report import Finding, Report

__version__ = "0.1.0"
__all__ = ["Finding", "Reason", "Refusal", "Report", "__version__", "check", "testing"]

_HOME = {
    "Finding": "initlint.report",
    "Reason": "initlint.errors",
    "Refusal": "initlint.errors",
    "Report": "initlint.report",
    "check": "initlint.checking",
}


def __getattr__(name: str) -> object:
    if name == "testing":
        return import_module("initlint.testing")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
