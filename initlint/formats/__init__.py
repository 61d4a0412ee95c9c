"""Output formats, one file each. Every one is a function of the report alone: formats know neither rules nor models."""

from importlib import import_module

import msgspec

from initlint.report import Report

__all__ = ["View", "render"]


class View(msgspec.Struct, frozen=True):
    """How a person looks at the text: what machines read does not depend on it."""

    color: bool = False
    width: int = 100
    quiet: bool = False
    verbose: bool = False
    fail_on: str = "error"
    allow_partial: bool = False

    def plain(self) -> "View":
        """The same for a file: no colour, a fixed width."""
        return msgspec.structs.replace(self, color=False, width=100)


def render(report: Report, name: str, view: View | None = None) -> str:
    """The report in the format `name`."""
    document: str = import_module(f"initlint.formats.{name}").render(report, view or View())
    return document
