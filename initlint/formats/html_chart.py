"""The signal chart of the HTML page: inline SVG, drawn here, readable with scripts off."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from math import ceil, floor, isfinite, log2
from typing import Any, TypeAlias

from initlint.report import Scalar

__all__ = ["SERIES", "draw"]

Scale: TypeAlias = Callable[[Any], float]

SERIES = (  # column of the layer table, class, name in the legend
    ("signal_std", "predicted", "signal, predicted"),
    ("std", "total", "total, predicted"),
    ("measured_signal_std", "measured", "signal, measured"),
    ("gradient_std", "gradient", "gradient, predicted"),
)
FORMATS = {  # log2 of the smallest normal and of the largest value
    "float16": (-14.0, 16.0), "bfloat16": (-126.0, 128.0), "float8e4m3fn": (-6.0, 8.8), "float8e5m2": (-14.0, 15.8),
}  # fmt: skip
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 960, 300, 48, 28, 10
MOST_POINTS = 600
STEPS = (1, 2, 5, 10, 20, 50, 100, 200)


def draw(
    layers: Sequence[dict[str, Scalar]], target: str | None = None, series: Sequence[tuple[str, str, str]] = SERIES
) -> str:
    """A figure with one line for each series that has two points or more; empty where none has."""
    layers = _thinned(layers)
    lines = {column: _logs(layers, column) for column, _, _ in series}
    lines = {column: values for column, values in lines.items() if sum(value is not None for value in values) >= 2}
    known = [value for values in lines.values() for value in values if value is not None]
    if not known:
        return ""
    step = next((step for step in STEPS if (max(known) - min(known)) / step <= 8), STEPS[-1])
    low, high = (
        floor(min(known) / step) * step,
        max(ceil(max(known) / step) * step, floor(min(known) / step) * step + step),
    )

    def x(index: int) -> float:
        return LEFT + (WIDTH - LEFT - 8) * (index + 0.5) / len(layers)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    label = f"log2 of the standard deviation at each layer, from {known[0]:.1f} to {known[-1]:.1f}"
    parts = [f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    for smallest, largest in [FORMATS[target]] if target in FORMATS else []:
        for start, stop in ((low, min(smallest, high)), (max(largest, low), high)):
            if start < stop:
                parts.append(
                    f'<rect class="band" x="{LEFT}" y="{y(stop):.1f}" width="{WIDTH - LEFT - 8}" height="{y(start) - y(stop):.1f}">'
                    f"<title>outside {target}</title></rect>"
                )
    for mark in range(low, high + 1, step):
        parts.append(
            f'<path class="grid" d="M{LEFT} {y(mark):.1f}H{WIDTH - 8}"/><text x="{LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark}</text>'
        )
    for column, name, _ in series:
        if column in lines:
            parts.append(f'<path class="s {name}" d="{_path(lines[column], x, y)}"/>')
    parts += _points(layers, lines.get("signal_std", []), x, y)
    first, last = escape(str(layers[0].get("name"))[:40]), escape(str(layers[-1].get("name"))[:40])
    parts.append(
        f'<text x="{LEFT}" y="{HEIGHT - 8}">{first}</text><text x="{WIDTH - 8}" y="{HEIGHT - 8}" text-anchor="end">{last}</text>'
    )
    parts.append(
        f'</svg><figcaption class="legend"><span>log2 of the standard deviation, by layer:</span>{"".join(_legend(lines, series))}</figcaption></figure>'
    )
    return "".join(parts)


def _legend(lines: dict[str, list[float | None]], series: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    for column, name, text in series:
        if column in lines:
            yield f'<span><svg viewBox="0 0 32 8" aria-hidden="true"><path class="s {name}" d="M0 4H32"/></svg> {escape(text)}</span>'


def _points(layers: Sequence[Any], values: Sequence[float | None], x: Scale, y: Scale) -> Iterator[str]:
    """An invisible disc a layer, with its figures as the browser's own tooltip."""
    for index, (layer, value) in enumerate(zip(layers, values, strict=False)):
        if value is not None:
            yield (
                f'<circle class="hit" cx="{x(index):.1f}" cy="{y(value):.1f}" r="5"><title>'
                f"{escape(str(layer.get('name')))}: signal std {layer['signal_std']:.3g}</title></circle>"
            )


def _path(values: Sequence[float | None], x: Scale, y: Scale) -> str:
    """An SVG path with a gap where a value is not known."""
    pieces, pen = [], "M"
    for index, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        pieces.append(f"{pen}{x(index):.1f} {y(value):.1f}")
        pen = "L"
    return "".join(pieces)


def _logs(layers: Sequence[dict[str, Scalar]], column: str) -> list[float | None]:
    values = [layer.get(column) for layer in layers]
    return [
        log2(value) if isinstance(value, int | float) and value > 0 and isfinite(value) else None for value in values
    ]


def _thinned(layers: Sequence[dict[str, Scalar]]) -> list[dict[str, Scalar]]:
    """At most MOST_POINTS layers, evenly taken, the first and the last among them."""
    if len(layers) <= MOST_POINTS:
        return list(layers)
    return [layers[round(index * (len(layers) - 1) / (MOST_POINTS - 1))] for index in range(MOST_POINTS)]
