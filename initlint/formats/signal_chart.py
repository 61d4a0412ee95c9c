"""The picture of the signal from input to output: log2 of its standard deviation, one glyph column a layer."""

from collections.abc import Sequence
from math import ceil, floor, isfinite, log2

import msgspec

__all__ = ["Level", "draw"]

ROWS = 7  # at most; a picture taller than this pushes the findings off the screen
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
PREDICTED, MEASURED, BOTH, ZERO = "#", "o", "*", "_"


class Level(msgspec.Struct, frozen=True):
    """The signal at one layer's output. None is unknown, zero is a signal that has ended."""

    label: str
    predicted: float | None = None
    measured: float | None = None


def draw(levels: Sequence[Level], width: int = 80) -> list[str]:
    """Lines of the picture; none where fewer than two layers have a known signal."""
    columns = max(8, width - 18)
    shown = _thinned(levels, columns)
    logs = [value for level in shown for value in (_log(level.predicted), _log(level.measured)) if value is not None]
    finite = [value for value in logs if isfinite(value)]
    if len(logs) < 2 or not finite:
        return []
    low, high = min(finite), max(finite)
    step = next((step for step in STEPS if ceil(high / step) - floor(low / step) < ROWS), STEPS[-1])
    top, bottom = round(high / step), round(low / step)
    if any(value == float("-inf") for value in logs):
        bottom -= 1
    repeat = min(4, max(1, 24 // len(shown)))
    rows = [[" "] * (repeat * len(shown)) for _ in range(top - bottom + 1)]
    for index, level in enumerate(shown):
        for value, glyph in ((_log(level.predicted), PREDICTED), (_log(level.measured), MEASURED)):
            if value is None:
                continue
            row = len(rows) - 1 if value == float("-inf") else top - round(value / step)
            row = min(max(row, 0), len(rows) - 1)
            for column in range(index * repeat, (index + 1) * repeat):
                mark = ZERO if value == float("-inf") else glyph
                rows[row][column] = mark if rows[row][column] == " " else BOTH
    scale = [str((top - index) * step) for index in range(len(rows))]
    if float("-inf") in logs:
        scale[-1] = "zero"
    lines = [
        f"  {'' if index else 'log2 std':8} {mark:>5} |{''.join(row).rstrip()}"
        for index, (mark, row) in enumerate(zip(scale, rows, strict=True))
    ]
    return [*lines, *_legend(shown, repeat * len(shown))]


def _legend(shown: Sequence[Level], width: int) -> list[str]:
    first, last = shown[0].label, shown[-1].label
    lines = [" " * 18 + first + " " * max(2, width - len(first) - len(last)) + last]
    if any(level.measured is not None for level in shown):
        lines.append(f"{'':18}{PREDICTED} predicted   {MEASURED} measured   {BOTH} both")
    return lines


def _log(value: float | None) -> float | None:
    if value is None or not isfinite(value) or value < 0:
        return None
    return log2(value) if value > 0 else float("-inf")


def _thinned(levels: Sequence[Level], columns: int) -> list[Level]:
    """At most `columns` levels: of each run of neighbours the one whose signal is furthest from 1."""
    known = [level for level in levels if level.predicted is not None or level.measured is not None]
    if len(known) <= columns:
        return known
    edges = [round(index * len(known) / columns) for index in range(columns + 1)]
    thinned = [max(known[start:stop], key=_excess) for start, stop in zip(edges, edges[1:], strict=False)]
    thinned[0] = msgspec.structs.replace(thinned[0], label=known[0].label)
    thinned[-1] = msgspec.structs.replace(thinned[-1], label=known[-1].label)
    return thinned


def _excess(level: Level) -> float:
    value = _log(level.predicted if level.predicted is not None else level.measured)
    return abs(value) if value is not None else -1.0
