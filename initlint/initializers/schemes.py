"""Which initialisation scheme drew a weight: its distribution and its std, compared with a catalogue of what is in use.

A scheme is named when the shape fits (see `shapes`) and the std, or a uniform's bound, lies within its own sampling
error of the scheme's. A uniform's largest value pins the bound to 1/count, so a match is hardly ever a coincidence; a
normal's std is known to 1/sqrt(2 count), and `chance` says how often an unrelated std would match something.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import exp, inf, log, sqrt

import msgspec

from initlint.initializers.independence import two_sided
from initlint.initializers.shapes import TRUNCATED_STD, Shape

__all__ = ["Scheme", "recognise"]

MISS = 0.002  # a true scheme's std is refused this often
ROUNDING = 1e-6  # relative room above a uniform's bound beyond what its storage explains
MOVED = 0.02  # relative excess over a scheme's bound that a few steps of training explain
DECADES = log(100.0)  # stds of weights in use span about two decades: the range for `chance`
DEPTHS = (4, 6, 8, 12, 16, 24, 32, 36, 48)  # blocks of the GPT-2 family
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv"})


class Scheme(msgspec.Struct, frozen=True):
    """The scheme a weight's values look like.

    `name` is `unknown` where none matches, `moved` where training stretched a uniform's bound by a little. `std` is the
    values' own, `expected_std` the scheme's. `p_value`: how often that scheme gives a std at least as far off, or a
    shape that fits worse. `chance`: how often an unrelated std would match some scheme. `phrase` names it in a finding;
    `alternatives` are other schemes that these values fit.
    """

    distribution: str
    name: str
    std: float
    expected_std: float | None
    p_value: float
    chance: float
    phrase: str
    alternatives: tuple[str, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    name: str
    std: float
    phrase: str


def recognise(shape: Shape, count: int, fan_in: float, fan_out: float, *, op: str = "", groups: int = 1) -> Scheme:
    """Name the scheme behind values of this `shape`, of which `count` were looked at, for a layer with these fans.

    `fan_in` and `fan_out` are those of the layer's arithmetic; where a framework reckons otherwise (transposed and
    grouped convolution, stacked gates and projections) its figure is in the catalogue too. `op` picks the words.
    """
    if shape.kind in _WITHOUT_STD:
        return Scheme(shape.kind, shape.kind, shape.std, shape.std, 1.0, 0.0, _WITHOUT_STD[shape.kind])
    if shape.kind not in _CATALOGUES or not (0.0 < fan_in < inf and 0.0 < fan_out < inf):
        name = "orthogonal" if shape.kind == "orthogonal" else "unknown"
        return Scheme(shape.kind, name, shape.std, None, shape.p_value, 0.0, _plain_words(shape))
    score = _uniform_p if shape.kind == "uniform" else _spread_p
    entries, chance = _candidates(shape.kind, count, fan_in, fan_out, op, groups)
    matches = [(score(shape, entry.std, count), entry) for entry in entries]
    matches = [match for match in matches if match[0] >= MISS]
    if not matches:
        for entry in entries if shape.kind == "uniform" else ():
            if 0.0 < shape.bound / (entry.std * sqrt(3.0)) - 1.0 < MOVED:
                words = f"{entry.phrase}, moved by a little"
                return Scheme(shape.kind, "moved", shape.std, entry.std, shape.p_value, chance, words, (entry.name,))
        return Scheme(shape.kind, "unknown", shape.std, None, shape.p_value, chance, _plain_words(shape))
    # The commoner of two schemes whose stds nearly agree: the catalogue is in order of use, and rank weighs the fit.
    p_value, best = max(matches, key=lambda match: match[0] / (1.0 + entries.index(match[1])))
    others = tuple(dict.fromkeys(entry.name for _, entry in matches if entry.name != best.name))
    return Scheme(shape.kind, best.name, shape.std, best.std, min(p_value, shape.p_value), chance, best.phrase, others)


_WITHOUT_STD = {
    "zeros": "all zero",
    "constant": "one constant",
    "identity": "an identity (Dirac) initialisation",
}


@lru_cache(maxsize=4096)
def _candidates(
    kind: str, count: int, fan_in: float, fan_out: float, op: str, groups: int
) -> tuple[tuple[_Entry, ...], float]:
    """The catalogue for these fans and its `chance`; a network has many layers of one size."""
    entries = tuple(_CATALOGUES[kind](fan_in, fan_out, op, groups))
    return entries, _chance(entries, kind, count)


def _plain_words(shape: Shape) -> str:
    words = {
        "normal": f"normal draws, std {shape.std:.4g}, of no scheme in use",
        "truncated_normal": f"truncated normal draws, std {shape.std:.4g}, of no scheme in use",
        "uniform": f"uniform draws, U(-{shape.bound:.4g}, {shape.bound:.4g}), of no scheme in use",
        "orthogonal": "an orthogonal initialisation",
    }
    return words.get(shape.kind, "no distribution that an initialiser draws from")


def _spread_p(shape: Shape, std: float, count: int) -> float:
    """P-value of a normal's (or truncated normal's) std against a scheme's."""
    return two_sided((shape.std / std - 1.0) / _relative_error(shape.kind, count))


def _relative_error(kind: str, count: int) -> float:
    """Relative standard error of a std: `sqrt((kurtosis - 1) / 4 n)`, kurtosis 3 for a normal, 2.37 when truncated."""
    return sqrt((2.0 if kind == "normal" else 1.366) / (4.0 * count))


def _uniform_p(shape: Shape, std: float, count: int) -> float:
    """P-value of a uniform's largest value against a scheme's bound: (1 - t)^n of samples fall short by t."""
    short = 1.0 - shape.bound / (std * sqrt(3.0))
    room = shape.rounding + ROUNDING
    return 0.0 if short < -room else exp(-count * max(short - room, 0.0))


def _chance(entries: tuple[_Entry, ...], kind: str, count: int) -> float:
    """Share of two decades of std, logarithmically, that lies within some scheme's tolerance."""
    width = 2.0 * ROUNDING - log(MISS) / count if kind == "uniform" else 6.2 * _relative_error(kind, count)
    covered, end = 0.0, -inf
    for position in sorted(log(entry.std) - width / 2.0 for entry in entries):
        covered += max(0.0, position + width - max(position, end))
        end = max(end, position + width)
    return min(1.0, covered / DECADES)


def _by_fans(fan_in: float, fan_out: float, groups: int) -> Iterator[_Entry]:
    """Schemes that exist in a normal and a uniform form; stds are the same."""
    yield _Entry("he", sqrt(2.0 / fan_in), "He (Kaiming) {0} by fan_in, variance 2/fan_in")
    yield _Entry("glorot", sqrt(2.0 / (fan_in + fan_out)), "Glorot (Xavier) {0}, variance 2/(fan_in+fan_out)")
    yield _Entry("lecun", sqrt(1.0 / fan_in), "LeCun {0}, variance 1/fan_in")
    yield _Entry("he_fan_out", sqrt(2.0 / fan_out), "He (Kaiming) {0} by fan_out, variance 2/fan_out")
    if groups > 1:
        whole = fan_out * groups
        yield _Entry("he_fan_out", sqrt(2.0 / whole), "He (Kaiming) {0} by PyTorch's ungrouped fan_out")
        yield _Entry("glorot", sqrt(2.0 / (fan_in + whole)), "Glorot (Xavier) {0} by PyTorch's ungrouped fan_out")
    for stack in (3, 4):
        yield _Entry(
            f"glorot_stacked_{stack}",
            sqrt(2.0 / (fan_in + stack * fan_out)),
            f"Glorot (Xavier) {{0}} over {stack} stacked matrices",
        )
    yield _Entry("lecun_fan_out", sqrt(1.0 / fan_out), "variance 1/fan_out, {0}")
    yield _Entry("glorot_relu", sqrt(4.0 / (fan_in + fan_out)), "Glorot (Xavier) {0} with gain sqrt(2)")
    yield _Entry(
        "glorot_tanh", 5.0 / 3.0 * sqrt(2.0 / (fan_in + fan_out)), "Glorot (Xavier) {0} with PyTorch's tanh gain 5/3"
    )
    yield _Entry("he_leaky_0.2", sqrt(2.0 / (1.04 * fan_in)), "He (Kaiming) {0} for a leaky slope of 0.2")


def _normal(fan_in: float, fan_out: float, op: str, groups: int) -> Iterator[_Entry]:
    if op == "Gather":
        yield _Entry("torch_embedding", 1.0, "PyTorch's nn.Embedding default, N(0, 1)")
    for entry in _by_fans(fan_in, fan_out, groups):
        yield _Entry(f"{entry.name}_normal", entry.std, entry.phrase.format("normal"))
    yield _Entry("n02", 0.02, "N(0, 0.02^2), as transformers, ViT, ConvNeXt and DCGAN use")
    yield _Entry("n01", 0.01, "N(0, 0.01^2), as VGG, AlexNet and detection heads use")
    yield _Entry("n1", 1.0, "N(0, 1)")
    yield _Entry("n05", 0.05, "N(0, 0.05^2), Keras' RandomNormal default")
    yield _Entry("n001", 0.001, "N(0, 0.001^2), as pose and detection heads use")
    yield _Entry("small_init", sqrt(0.4 / fan_in), "small init, variance 2/(5 fan_in)")
    yield _Entry("mup_output", 1.0 / fan_in, "std 1/fan_in, as muP asks of output layers")
    for depth in DEPTHS:
        yield _Entry(
            f"gpt2_residual_{depth}", 0.02 / sqrt(2.0 * depth), f"GPT-2's residual scaling, 0.02/sqrt(2*{depth})"
        )


def _truncated(fan_in: float, fan_out: float, _op: str, groups: int) -> Iterator[_Entry]:
    for entry in _by_fans(fan_in, fan_out, groups):
        yield _Entry(f"{entry.name}_truncated", entry.std, entry.phrase.format("truncated normal"))
    for std, name, words in (
        (0.02, "t02", "N(0, 0.02^2) cut at two std, as BERT, ViT and ConvNeXt use in TensorFlow and JAX"),
        (0.05, "t05", "N(0, 0.05^2) cut at two std, Keras' TruncatedNormal default"),
        (0.01, "t01", "N(0, 0.01^2) cut at two std"),
        (0.1, "t1", "N(0, 0.1^2) cut at two std"),
        (1.0, "t_unit", "N(0, 1) cut at two std"),
        (sqrt(2.0 / fan_in), "he_uncorrected_truncated", "He (Kaiming) truncated normal, std not corrected"),
        (sqrt(1.0 / fan_in), "lecun_uncorrected_truncated", "LeCun truncated normal, std not corrected"),
    ):
        yield _Entry(name, std * TRUNCATED_STD, words)


def _uniform(fan_in: float, fan_out: float, op: str, groups: int) -> Iterator[_Entry]:
    third = sqrt(1.0 / 3.0)
    rows = "U(-1/sqrt({0}), 1/sqrt({0}))"
    if op in RECURRENT:
        words = f"PyTorch's nn.{op} default, " + rows.format("hidden_size")
        yield _Entry("torch_recurrent", third / sqrt(fan_out), words)
    if op == "ConvTranspose":
        words = "PyTorch's nn.ConvTranspose default, " + rows.format("out_channels * kernel")
        yield _Entry("torch_conv_transpose", third / sqrt(fan_out), words)
    module = "nn.Conv" if op in CONVOLUTIONS else "nn.Linear"
    yield _Entry("torch_default", third / sqrt(fan_in), f"PyTorch's {module} default, " + rows.format("fan_in"))
    for entry in _by_fans(fan_in, fan_out, groups):
        yield _Entry(f"{entry.name}_uniform", entry.std, entry.phrase.format("uniform"))
    yield _Entry("torch_default_fan_out", third / sqrt(fan_out), rows.format("fan_out"))
    for bound, name, words in (
        (0.05, "u05", "U(-0.05, 0.05), Keras' RandomUniform and Embedding default"),
        (0.1, "u1", "U(-0.1, 0.1)"),
        (0.08, "u08", "U(-0.08, 0.08), as sequence-to-sequence LSTMs use"),
        (0.01, "u01", "U(-0.01, 0.01)"),
        (0.003, "u003", "U(-0.003, 0.003), DDPG's output layers"),
        (1.0, "u_unit", "U(-1, 1)"),
        (1.0 / fan_in, "siren_first", "U(-1/fan_in, 1/fan_in), SIREN's first layer"),
    ):
        yield _Entry(name, bound * third, words)


_CATALOGUES: dict[str, Callable[[float, float, str, int], Iterator[_Entry]]] = {
    "normal": _normal,
    "truncated_normal": _truncated,
    "uniform": _uniform,
}
