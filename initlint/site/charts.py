"""Charts over runs, as inline SVG: verdicts stacked, and how many models a rule counts against."""

from collections.abc import Mapping, Sequence
from html import escape

from initlint.fleet.records import VERDICTS
from initlint.site.fleet import Row

__all__ = ["bars", "share", "trend"]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 960, 220, 48, 24, 8
WIDEST = 48  # of one bar


def trend(runs: Sequence[Row], amounts: Sequence[Row]) -> str:
    """A bar for each run, stacked by verdict, the worst at the bottom."""
    counts: dict[int, dict[str, int]] = {}
    for row in amounts:
        counts.setdefault(int(row["run"]), {})[row["verdict"]] = int(row["amount"])
    highest = max((sum(item.values()) for item in counts.values()), default=0) or 1
    parts = [_frame(f"models by verdict over {len(runs)} runs", highest)]
    for index, run in enumerate(runs):
        x, width = _place(index, len(runs))
        level = 0.0
        for verdict in VERDICTS:
            amount = counts.get(run["id"], {}).get(verdict, 0)
            if amount:
                height = (HEIGHT - TOP - BOTTOM) * amount / highest
                y = HEIGHT - BOTTOM - level - height
                parts.append(
                    f'<rect class="v {verdict}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">'
                    f"<title>run {run['id']}, {escape(run['started'][:16].replace('T', ' '))}: {amount:,} {verdict}</title></rect>"
                )
                level += height
    legend = "".join(f'<span><i class="swatch {verdict}"></i> {verdict}</span>' for verdict in VERDICTS)
    return f'<figure>{"".join(parts)}{_ends(runs)}</svg><figcaption class="legend">{legend}</figcaption></figure>'


def bars(runs: Sequence[Row], amounts: Mapping[int, int], what: str) -> str:
    """A bar for each run."""
    highest = max(amounts.values(), default=0) or 1
    parts = [_frame(what, highest)]
    for index, run in enumerate(runs):
        amount = amounts.get(run["id"], 0)
        x, width = _place(index, len(runs))
        height = (HEIGHT - TOP - BOTTOM) * amount / highest
        parts.append(
            f'<rect class="v plain" x="{x:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" width="{width:.1f}" height="{height:.1f}">'
            f"<title>run {run['id']}: {amount:,}</title></rect>"
        )
    return f"<figure>{''.join(parts)}{_ends(runs)}</svg></figure>"


def share(verdicts: Mapping[str, int]) -> str:
    """One line, divided among the verdicts."""
    total = sum(verdicts.values()) or 1
    parts, x = [], 0.0
    for verdict, amount in verdicts.items():
        width = WIDTH * amount / total
        if amount:
            parts.append(
                f'<rect class="v {verdict}" x="{x:.2f}" y="0" width="{width:.2f}" height="14"><title>{amount:,} {verdict}</title></rect>'
            )
        x += width
    return f'<svg class="share" viewBox="0 0 {WIDTH} 14" preserveAspectRatio="none" role="img" aria-label="models by verdict">{"".join(parts)}</svg>'


def _frame(label: str, highest: int) -> str:
    lines = []
    for part in (0.0, 0.5, 1.0):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part
        mark = f"{highest * part:,.0f}" if part != 0.5 or highest % 2 == 0 else ""
        lines.append(
            f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - 8}"/><text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark}</text>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(lines)}'


def _place(index: int, amount: int) -> tuple[float, float]:
    step = (WIDTH - LEFT - 8) / max(amount, 1)
    width = min(WIDEST, step * 0.8)
    return LEFT + step * (index + 0.5) - width / 2, width


def _ends(runs: Sequence[Row]) -> str:
    """The first and the last run's names below the bars, each under its own."""
    marks = []
    for index in sorted({0, len(runs) - 1}):
        x, width = _place(index, len(runs))
        words = f"run {runs[index]['id']}, {runs[index]['started'][:10]}"
        anchor = "middle" if len(runs) < 6 else "start" if index == 0 else "end"
        at = x + width / 2 if anchor == "middle" else x if anchor == "start" else x + width
        marks.append(f'<text x="{at:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{escape(words)}</text>')
    return "".join(marks)
