"""For test suites: assert that a model is healthy; the failure shows the text report."""

from typing import Any

from initlint.checking import check
from initlint.report import Report, exit_code

__all__ = ["assert_healthy"]


def assert_healthy(model: Any, *, fail_on: str = "error", **settings: Any) -> Report:
    """Check a model and raise AssertionError with the report as text where the gate would fail; the report otherwise.

    `model` and `settings` are those of `initlint.check`. Raises Refusal where the model cannot be analysed.
    """
    report = check(model, **settings)
    if exit_code(report, fail_on):
        from initlint.formats import View, render  # noqa: PLC0415 - only a failure is shown

        raise AssertionError("\n" + render(report, "text", View(fail_on=fail_on)))
    return report
