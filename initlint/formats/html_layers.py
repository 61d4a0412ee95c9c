"""The layer table of the HTML page: a row a weight slot, with the shape of its weights as a small picture."""

from collections.abc import Iterator, Sequence
from html import escape

from initlint.bins import heights
from initlint.formats import words
from initlint.report import Scalar

__all__ = ["table"]

MOST_LAYERS = 2000  # rows of the table; the JSON in the page has all
COLUMNS = (  # column of the layer table, heading, whether a number
    ("name", "layer", False), ("histogram", "weights", False), ("op", "operator", False), ("dtype", "dtype", False),
    ("shape", "shape", False), ("fan_in", "fan in", True), ("activation", "activation", False),
    ("weight_std", "std", True), ("target_std", "target std", True), ("variance_ratio", "variance / target", True),
    ("gain", "gain", True), ("signal_std", "signal std", True), ("measured_signal_std", "measured", True),
    ("absmax", "absmax", True), ("backward_gain", "backward gain", True), ("initializer_phrase", "looks like", False),
)  # fmt: skip
TALL, WIDE = 20, 4  # of a picture and of each of its bars


def table(layers: Sequence[dict[str, Scalar]]) -> Iterator[str]:
    """The table under its heading; nothing where there are no layers."""
    if not layers:
        return
    columns = [item for item in COLUMNS if any(layer.get(item[0]) is not None for layer in layers)]
    more = f" (the first {MOST_LAYERS})" if len(layers) > MOST_LAYERS else ""
    yield f'<h3>Layers</h3><div class="scroll"><table class="sortable layers"><caption>{words.count(len(layers), "weight slot")}{more}</caption><thead><tr>'
    yield "".join(f'<th scope="col"{" class=n" * numeric}>{heading}</th>' for _, heading, numeric in columns)
    yield "</tr></thead><tbody>"
    for layer in layers[:MOST_LAYERS]:
        yield "<tr>" + "".join(_cell(layer, column, numeric=numeric) for column, _, numeric in columns) + "</tr>"
    yield "</tbody></table></div>"


def _cell(layer: dict[str, Scalar], column: str, *, numeric: bool) -> str:
    value = layer.get(column)
    if column == "name":
        return f'<th scope="row">{escape(str(value))}{_stored(layer)}</th>'
    if value is None:
        return "<td></td>"
    if column == "histogram":
        return f"<td>{_picture(str(value), layer.get('absmax_weight'))}</td>"
    if numeric and isinstance(value, int | float):
        shown = escape(words.number(value))
        exact = f"{value:.4g}"
        return f'<td class="n">{shown}</td>' if shown == exact else f'<td class="n" data-v="{exact}">{shown}</td>'
    return f"<td>{escape(str(value))}</td>"


def _stored(layer: dict[str, Scalar]) -> str:
    """The name by which the framework knows the weight, where it says more than the node's."""
    weight = layer.get("weight")
    return f"<small>{escape(str(weight))}</small>" if weight and weight != layer.get("name") else ""


def _picture(word: str, largest: Scalar) -> str:
    """The distribution of the weights from -absmax to absmax, the axis of zero in its middle."""
    bars = heights(word)
    if not bars:
        return ""
    path, level = [f"M0 {TALL}"], 0
    for bar in bars:
        tall = round(bar * TALL) or (1 if bar > 0 else 0)
        path.append(f"v{level - tall}h{WIDE}" if tall != level else f"h{WIDE}")
        level = tall
    width = WIDE * len(bars)
    span = f"weights from {-largest:.3g} to {largest:.3g}" if isinstance(largest, int | float) else "weights"
    return f'<svg class="h" viewBox="0 0 {width} {TALL}" role="img" aria-label="{span}"><path d="{"".join(path)}V{TALL}"/></svg>'
