"""Was this layer ever trained? One decision from independence, shape, scheme and bias, with stated error rates.

A layer is `fresh` when its entries cannot be told from independent draws (combined p-value at least `INDEPENDENT`) of a
distribution that initialisers draw from; `trained` when independence is out of the question (p-value below `PLAIN`);
else `unknown`. So a fresh layer of 64x64 or more is missed in about 1 % + 0.2 % of cases by construction, and a trained
one is called fresh only if training left no trace in eleven statistics *and* the shape stayed that of a single draw:
docs/untrained.md has the counts. Orthogonal, constant and zero weights are told by their scheme, and stay unknown.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from initlint.initializers.biases import bias_kind
from initlint.initializers.independence import Independence, independence
from initlint.initializers.sampling import part_of
from initlint.initializers.schemes import Scheme, recognise
from initlint.initializers.shapes import Shape, degenerate_shape, drawn_shape, extent

__all__ = ["Origin", "examine"]

INDEPENDENT = 0.01  # combined p-value from which entries count as independent: a fresh layer is missed this often
PLAIN = 1e-6  # combined p-value below which they plainly are not
SCARCE = 256  # entries below which nothing is said
LARGE = 4096  # entries from which the statistics alone have the power to see training
THICK = 32  # rows and columns from which they do
THIN = 8  # rows and columns below which independence has no power, and a normal's std may match by chance
PRECISE = 1024  # entries from which a named normal, or any uniform (no trained weight stays one), is evidence enough

DRAWN = frozenset({"normal", "truncated_normal", "uniform"})


class Origin(msgspec.Struct, frozen=True):
    """Where a layer's weights come from: `verdict` is `fresh`, `trained` or `unknown`, `reason` says why in a phrase.

    `scheme` is the initialiser they look like (`unknown` for a trained layer); `bias` is that of `bias_kind`; `count`
    entries were looked at.
    """

    verdict: str
    reason: str
    scheme: Scheme
    independence: Independence | None
    bias: str
    count: int


def examine(
    weight: npt.NDArray[np.generic],
    fan_in: float,
    fan_out: float,
    *,
    bias: npt.NDArray[np.generic] | None = None,
    op: str = "",
    groups: int = 1,
) -> Origin:
    """Examine a weight as `[outputs, terms]` in the layer's own scale; a bounded part of it is looked at.

    `bias` is the layer's, None where it has none. Values on a grid (8-bit and 4-bit weights) are recognised as such.
    """
    part = part_of(weight)
    found = independence(part) if part.size >= SCARCE else None
    shape = degenerate_shape(part, weight)
    if shape is None:
        plain = found is not None and found.p_value < PLAIN
        shape = Shape("unknown", *extent(part), 0.0) if plain else drawn_shape(part)
    scheme = recognise(shape, part.size, fan_in, fan_out, op=op, groups=groups)
    kind = bias_kind(bias, shape.std, fan_in, fan_out)
    verdict, reason = _verdict(part, found, shape, scheme, kind)
    return Origin(verdict, reason, scheme, found, kind, part.size)


def _verdict(
    part: npt.NDArray[np.float64], found: Independence | None, shape: Shape, scheme: Scheme, bias: str
) -> tuple[str, str]:
    if shape.kind in {"zeros", "constant", "identity", "orthogonal"}:
        return "unknown", scheme.phrase
    if found is None:
        return "unknown", "too small to tell"
    if found.p_value < PLAIN:
        name, _ = max(found.scores, key=lambda score: abs(score[1]))
        return "trained", f"its entries are not independent draws ({name})"
    if found.p_value < INDEPENDENT:
        return "unknown", "its entries are neither clearly independent nor clearly not"
    if shape.kind not in DRAWN:
        return "unknown", "independent entries of no distribution that an initialiser draws from"
    if scheme.name == "moved":
        return "unknown", scheme.phrase
    named, uniform = scheme.name != "unknown", shape.kind == "uniform"
    if not named and not uniform and bias == "learned":
        return "unknown", "normal draws of no scheme in use, beside a learned bias"
    powerful = part.size >= LARGE and min(part.shape) >= THICK
    enough = part.size >= PRECISE and min(part.shape) >= THIN
    precise = (named and uniform) or (enough and (named or uniform))
    return ("fresh", scheme.phrase) if powerful or precise else ("unknown", "too small to tell")
