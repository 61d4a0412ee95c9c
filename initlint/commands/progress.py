"""How far a check has come, on standard error: a bar by bytes with the time left, only where somebody watches."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from initlint.isolation import Progress
from initlint.report import Report

__all__ = ["Bar", "shown"]

STAGES = {"open": 0.1, "weights": 0.4, "signal": 0.8, "rules": 0.95}  # share of a model's time that lies before


class Silent:
    """Nobody watches."""

    def step(self, index: int, progress: Progress) -> None:
        """A model has reached a stage."""

    def done(self, index: int, report: Report) -> None:
        """A model is finished."""


class Bar(Silent):
    """A bar over the bytes of all models."""

    def __init__(self, paths: Sequence[str], display: Any) -> None:
        self.sizes = [_size(path) for path in paths]
        self.display = display
        self.task = display.add_task("", total=sum(self.sizes), models=f"0/{len(paths)}", worst="")
        self.reached = [0.0] * len(paths)
        self.finished = 0
        self.errors = 0

    def step(self, index: int, progress: Progress) -> None:
        """Move the bar by what the stage stands for."""
        self.reached[index] = max(self.reached[index], self.sizes[index] * STAGES.get(progress.stage, 0.0))
        self.display.update(self.task, completed=sum(self.reached))

    def done(self, index: int, report: Report) -> None:
        """Move the bar past a model."""
        self.reached[index] = self.sizes[index]
        self.finished += 1
        self.errors += sum(finding.counts and finding.severity == "error" for finding in report.findings)
        worst = f"{self.errors} errors" if self.errors else ""
        self.display.update(
            self.task, completed=sum(self.reached), models=f"{self.finished}/{len(self.sizes)}", worst=worst
        )


@contextmanager
def shown(paths: Sequence[str], wanted: bool | None, *, quiet: bool) -> Iterator[Silent]:  # noqa: FBT001 - a setting, and None is one of its values
    """A bar while the block runs; none where standard error is no terminal, unless it is `wanted`."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if wanted is False or quiet or not (wanted or terminal):
        yield Silent()
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody watches
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415 - as above
    from rich.progress import Progress as Display  # noqa: PLC0415 - as above

    columns = (
        TextColumn("{task.fields[models]} models"), BarColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[worst]}"),
    )  # fmt: skip
    with Display(*columns, console=Console(stderr=True), transient=True) as display:
        yield Bar(paths, display)


def _size(path: str) -> int:
    try:
        return max(1, Path(path).stat().st_size)
    except (OSError, ValueError):
        return 1
