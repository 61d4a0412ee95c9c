"""Charts over runs, as inline SVG: verdicts stacked, and how many models a rule counts against."""

from collections.abc import Mapping, Sequence
from html import escape

from initlint.fleet.records import VERDICTS
from initlint.site.fleet import Row

__all__ = ["bars", "share", "trend"]

WIDTH, HEIGHT = 960, 200  # stretched to the page; words stand beside, where they keep their size
WIDEST = 48  # of one bar


def trend(runs: Sequence[Row], amounts: Sequence[Row]) -> str:
    """A bar for each run, stacked by verdict, the worst at the bottom."""
    counts: dict[int, dict[str, int]] = {}
    for row in amounts:
        counts.setdefault(int(row["run"]), {})[row["verdict"]] = int(row["amount"])
    highest = max((sum(item.values()) for item in counts.values()), default=0) or 1
    parts = []
    for index, run in enumerate(runs):
        x, width = _place(index, len(runs))
        level = 0.0
        for verdict in VERDICTS:
            amount = counts.get(run["id"], {}).get(verdict, 0)
            if amount:
                height = HEIGHT * amount / highest
                y = HEIGHT - level - height
                parts.append(
                    f'<rect class="v {verdict}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">'
                    f"<title>run {run['id']}, {escape(run['started'][:16].replace('T', ' '))}: {amount:,} {verdict}</title></rect>"
                )
                level += height
    legend = "".join(f'<span><i class="swatch {verdict}"></i> {verdict}</span>' for verdict in VERDICTS)
    chart = _framed(parts, runs, highest, f"models by verdict over {len(runs)} runs")
    return f'<figure>{chart}<figcaption class="legend">{legend}</figcaption></figure>'


def bars(runs: Sequence[Row], amounts: Mapping[int, int], what: str) -> str:
    """A bar for each run."""
    highest = max(amounts.values(), default=0) or 1
    parts = []
    for index, run in enumerate(runs):
        amount = amounts.get(run["id"], 0)
        x, width = _place(index, len(runs))
        height = HEIGHT * amount / highest
        parts.append(
            f'<rect class="v plain" x="{x:.1f}" y="{HEIGHT - height:.1f}" width="{width:.1f}" height="{height:.1f}">'
            f"<title>run {run['id']}: {amount:,}</title></rect>"
        )
    return f"<figure>{_framed(parts, runs, highest, what)}</figure>"


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


def _framed(parts: Sequence[str], runs: Sequence[Row], highest: int, label: str) -> str:
    """Bars with their scale, and the first and the last run's names below."""
    grid = "".join(f'<path class="grid" d="M0 {HEIGHT * part:.0f}H{WIDTH}"/>' for part in (0.0, 0.5, 1.0))
    half = f"{highest // 2:,}" if highest % 2 == 0 else ""
    ends = [f"run {run['id']}, {run['started'][:10]}" for run in (runs[0], runs[-1])]
    return (
        f'<div class="trend"><div class="scale"><span>{highest:,}</span><span>{half}</span><span>0</span></div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">{grid}{"".join(parts)}</svg></div>'
        f'<div class="ends">{"".join(f"<span>{escape(words)}</span>" for words in ends)}</div>'
    )


def _place(index: int, amount: int) -> tuple[float, float]:
    step = WIDTH / max(amount, 1)
    width = min(WIDEST, step * 0.8)
    return step * (index + 0.5) - width / 2, width
