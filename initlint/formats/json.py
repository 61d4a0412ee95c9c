"""`json`: the canonical form, which every other format can be made from."""

from initlint.formats import View
from initlint.report import Report

__all__ = ["render"]


def render(report: Report, _view: View) -> str:
    """The report as its schema has it."""
    return report.to_json().decode()
