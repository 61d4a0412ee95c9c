"""The signal chart of the HTML page: inline SVG, drawn here, readable with scripts off and at every width."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log2
from typing import Any, TypeAlias

from initlint.report import Scalar

__all__ = ["SERIES", "draw"]

Scale: TypeAlias = Callable[[Any], float]
Lines: TypeAlias = Mapping[str, Sequence[float | None]]

SERIES = (  # column of the layer table, class, name in the legend
    ("signal_std", "predicted", "signal, predicted"),
    ("std", "total", "total, predicted"),
    ("measured_signal_std", "measured", "signal, measured"),
    ("gradient_std", "gradient", "gradient, predicted"),
    ("measured_gradient_std", "moved", "gradient, measured"),
)
FORMATS = {  # log2 of the smallest normal and of the largest value
    "float16": (-14.0, 16.0), "bfloat16": (-126.0, 128.0), "float8e4m3fn": (-6.0, 8.8), "float8e5m2": (-14.0, 15.8),
}  # fmt: skip
WIDTH, HEIGHT, EDGE = 1000, 100, 4  # of the drawing, which the page stretches; EDGE keeps the outermost marks inside
MOST_POINTS = 600
TITLE = 60  # characters of a layer's name in its tooltip: its end says most
STEPS = (1, 2, 5, 10, 20, 50, 100, 200)


def draw(
    layers: Sequence[dict[str, Scalar]],
    marked: Mapping[float, str] | None = None,
    series: Sequence[tuple[str, str, str]] = SERIES,
) -> str:
    """A figure with one line for each series that has two points or more; empty where none has.

    `marked` says at which depth which rule found an error. Numbers stand in a drawing of their own, which is not stretched.
    """
    layers = _thinned(layers)
    lines = {column: _logs(layers, column) for column, _, _ in series}
    lines = {column: values for column, values in lines.items() if sum(value is not None for value in values) >= 2}
    known = [value for values in lines.values() for value in values if value is not None]
    if not known:
        return ""
    step = next((step for step in STEPS if (max(known) - min(known)) / step <= 8), STEPS[-1])
    low = floor(min(known) / step) * step
    high = max(ceil(max(known) / step) * step, low + step)

    def x(index: float) -> float:
        return WIDTH * (index + 0.5) / len(layers)

    def y(value: float) -> float:
        return EDGE + (HEIGHT - 2 * EDGE) * (high - value) / (high - low)

    marks = range(low, high + 1, step)
    numbers = "".join(f'<text x="100%" y="{y(mark):.1f}%" dy=".35em" text-anchor="end">{mark}</text>' for mark in marks)
    drawing = "".join(
        [
            *_bands(layers, low, high, y),
            *(f'<path class="grid" d="M0 {y(mark):.1f}H{WIDTH}"/>' for mark in marks),
            *_marked(layers, marked or {}, x),
            *(f'<path class="s {name}" d="{_path(lines[column], x, y)}"/>' for column, name, _ in series if column in lines),
            *_columns(layers, lines, series),
        ]
    )  # fmt: skip
    first, last = escape(str(layers[0].get("name"))[:40]), escape(str(layers[-1].get("name"))[:40])
    return (
        f'<figure><div class="plot"><svg class="axis" aria-hidden="true">{numbers}</svg>'
        f'<svg class="lines" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{_label(lines, series)}">'
        f'{drawing}</svg></div><div class="ends"><span>{first}</span><span>{last}</span></div>'
        f'<figcaption class="legend"><span>log2 of the standard deviation, by layer:</span>'
        f"{''.join(_legend(layers, lines, marked or {}, series))}</figcaption></figure>"
    )


def _label(lines: Lines, series: Sequence[tuple[str, str, str]]) -> str:
    """The chart in words, for who does not see it."""
    parts = []
    for column, _, text in series:
        ends = [value for value in lines.get(column, ()) if value is not None]
        if ends:
            parts.append(f"{text}: from {ends[0]:.1f} to {ends[-1]:.1f}")
    return "log2 of the standard deviation from the first layer to the last. " + "; ".join(parts)


def _format(layers: Sequence[dict[str, Scalar]]) -> str | None:
    """The narrow format whose limits are drawn: the one asked about, else that of the model's own weights."""
    asked = next((str(layer["target_format"]) for layer in layers if layer.get("target_asked")), None)
    names = [asked, *(str(layer.get("dtype")) for layer in layers)]
    return next((name for name in names if name in FORMATS), None)


def _bands(layers: Sequence[dict[str, Scalar]], low: float, high: float, y: Scale) -> Iterator[str]:
    """What lies beyond the largest and below the smallest normal value of the format."""
    name = _format(layers)
    if name is None:
        return
    smallest, largest = FORMATS[name]
    for start, stop in ((low, min(smallest, high)), (max(largest, low), high)):
        if start < stop:
            yield (
                f'<rect class="band" x="0" y="{y(stop):.1f}" width="{WIDTH}" height="{y(start) - y(stop):.1f}">'
                f"<title>outside {name}</title></rect>"
            )


def _marked(layers: Sequence[dict[str, Scalar]], marked: Mapping[float, str], x: Scale) -> Iterator[str]:
    """A vertical line at the first layer of each depth at which an error was found."""
    depths = [layer.get("depth") for layer in layers]
    for depth, code in marked.items():
        if depth in depths:
            yield f'<path class="bad" d="M{x(depths.index(depth)):.1f} 0V{HEIGHT}"><title>{escape(code)}</title></path>'


def _legend(
    layers: Sequence[dict[str, Scalar]],
    lines: Lines,
    marked: Mapping[float, str],
    series: Sequence[tuple[str, str, str]],
) -> Iterator[str]:
    keys = [(f's {name}" d="M0 4H32', text) for column, name, text in series if column in lines]
    depths = {layer.get("depth") for layer in layers}
    keys += [('bad" d="M16 0V8', code) for code in dict.fromkeys(code for at, code in marked.items() if at in depths)]
    name = _format(layers)
    if name is not None:
        keys.append(('band" d="M0 0H32V8H0Z', f"outside {name}"))
    for shape, text in keys:
        yield f'<span><svg viewBox="0 0 32 8" aria-hidden="true"><path class="{shape}"/></svg> {escape(text)}</span>'


def _columns(layers: Sequence[Any], lines: Lines, series: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """An invisible column a layer, with its figures as the browser's own tooltip."""
    for index, layer in enumerate(layers):
        figures = [
            f"{text} {layer[column]:.3g}" for column, _, text in series if column in lines and lines[column][index] is not None
        ]  # fmt: skip
        if figures:
            yield (
                f'<rect class="hit" x="{WIDTH * index / len(layers):.1f}" width="{WIDTH / len(layers):.1f}" height="{HEIGHT}">'
                f"<title>{escape(str(layer.get('name'))[-TITLE:])}\n{chr(10).join(figures)}</title></rect>"
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
