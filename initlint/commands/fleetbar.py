"""How far a scan has come, on standard error: models, rate, time left, the worst so far; only where somebody watches."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from initlint.fleet.records import Candidate, Record
from initlint.text import safe

__all__ = ["shown"]

MOST_RULES = 3


class Silent:
    """Nobody watches."""

    def told(self, candidate: Candidate, what: Record | str) -> None:
        """One more model is done."""


class Bar(Silent):
    """A bar over the models; how many there are in all is counted meanwhile."""

    def __init__(self, display: Any, done: int) -> None:
        self.display = display
        self.task = display.add_task("", total=None, completed=done, worst="", rate="")
        self.started, self.fresh = time.monotonic(), 0
        self.errors: Counter[str] = Counter()
        self.refused = 0

    def told(self, candidate: Candidate, what: Record | str) -> None:
        """Move on, and show what is worst so far."""
        if isinstance(what, Record):
            self.errors.update({item.code for item in what.findings if item.counts and item.severity == "error"})
        elif not what.startswith("the same as "):
            self.refused += 1
            self.display.console.print(f"refused {safe(candidate.name)}: {what}", markup=False, highlight=False)
        worst = [f"{code} x{amount}" for code, amount in self.errors.most_common(MOST_RULES)]
        worst += [f"{self.refused} refused"] if self.refused else []
        self.fresh += 1
        rate = f"{self.fresh / max(0.001, time.monotonic() - self.started):.1f}/s"
        self.display.update(self.task, advance=1, worst=" ".join(worst), rate=rate)


@contextmanager
def shown(
    count: Callable[[], int],
    done: int,
    *,
    wanted: bool | None,
    quiet: bool,
) -> Iterator[Silent]:
    """A bar while the block runs; none where standard error is no terminal, unless it is `wanted`."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if wanted is False or quiet or not (wanted or terminal):
        yield Silent()
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody watches
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above

    columns = (
        MofNCompleteColumn(), BarColumn(20), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), TextColumn("{task.fields[worst]}")
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        bar = Bar(display, done)
        counting = threading.Thread(target=lambda: display.update(bar.task, total=count()), daemon=True)
        counting.start()
        yield bar
