"""Whether a model is at initialisation or trained, and which of its layers stand out as never trained.

Every layer and normalisation votes with a weight that says how seldom it is wrong; a fault put into a few layers, a
frozen embedding or a fresh head is outvoted. What stays close is `undecided`, which is judged as trained.
"""

from collections.abc import Sequence

import msgspec

__all__ = ["LayerEvidence", "NormEvidence", "Phase", "detect_phase", "stand_out"]

# Votes for initialisation (positive) and for training (negative). A verdict is wrong about once in a hundred layers;
# biases and norms are weaker because a fault, an export or a frozen part can explain them.
VERDICTS = {"fresh": 4.0, "trained": -4.0, "unknown": 0.0}
SCHEMES = {"orthogonal": 4.0, "identity": 1.0, "constant": 1.0}
BIASES = {"zero": 1.0, "constant": 0.5, "drawn": 2.0, "learned": -1.0, "none": 0.0, "unknown": 0.0}
SMALL_DRAW = 1.0  # a layer too small for a verdict whose values follow a named scheme
UNIT_GAIN = 1.0
LEARNED_GAIN = -3.0
FRESH_STATISTICS = 2.0
MOVED_STATISTICS = -0.5  # a fresh network that was warmed up has them too
DECIDED = 0.75  # share of the votes that decides
ENOUGH = 1.5  # votes below which nothing is decided

NEIGHBOURS = 4  # nearest decided layers that must be plainly trained around one that stands out
NEIGHBOUR_SHARE = 0.5
MODEL_SHARE = 0.6  # and of all other decided layers


class LayerEvidence(msgspec.Struct, frozen=True):
    """What `initializers.examine` found: verdict, the scheme's distribution and name, and the kind of bias."""

    verdict: str
    distribution: str = "unknown"
    scheme: str = "unknown"
    bias: str = "none"


class NormEvidence(msgspec.Struct, frozen=True):
    """A normalisation's parameters: gain 1 and shift 0 throughout; recorded mean 0 and variance 1 throughout.

    None where the operator has no such parameter or it was not read.
    """

    unit_gain: bool | None = None
    fresh_statistics: bool | None = None


class Phase(msgspec.Struct, frozen=True):
    """`init`, `trained` or `undecided`; `confidence` is the share of the votes behind it, one vote of doubt added."""

    name: str
    confidence: float
    reason: str

    @property
    def judged(self) -> str:
        """The phase that thresholds use: undecided is judged as trained."""
        return "init" if self.name == "init" else "trained"


def detect_phase(layers: Sequence[LayerEvidence], norms: Sequence[NormEvidence] = ()) -> Phase:
    """Decide by weighted votes; the reason counts the layers behind it."""
    votes = [vote for layer in layers for vote in _layer_votes(layer)]
    votes += [vote for norm in norms for vote in _norm_votes(norm)]
    fresh = sum(vote for vote in votes if vote > 0.0)
    trained = -sum(vote for vote in votes if vote < 0.0)
    # Biases that still look drawn are what training hardly moves (they were alone in every trained model once called fresh on
    # the development half of docs/calibration.md): they support, never decide.
    without = fresh - BIASES["drawn"] * sum(layer.bias == "drawn" for layer in layers)
    counts = {verdict: sum(layer.verdict == verdict for layer in layers) for verdict in VERDICTS}
    reason = ", ".join(f"{count} of {len(layers)} layers {verdict}" for verdict, count in counts.items() if count)
    strongest, total = max(fresh, trained), fresh + trained
    if strongest < ENOUGH or strongest < DECIDED * total or (fresh > trained and without < ENOUGH):
        return Phase("undecided", strongest / (total + 1.0), reason or "no layer")
    return Phase("init" if fresh > trained else "trained", strongest / (total + 1.0), reason or "norms only")


def stand_out(verdicts: Sequence[str]) -> tuple[bool | None, ...]:
    """For each layer along the graph: is it fresh among plainly trained ones? None where its own verdict is unknown.

    The nearest decided layers, and all decided ones of the model, must be trained for the greater part, so that a
    network published before its training, or a frozen random stem of many layers, raises nothing.
    """
    decided = [position for position, verdict in enumerate(verdicts) if verdict != "unknown"]
    found: list[bool | None] = [None] * len(verdicts)
    for rank, position in enumerate(decided):
        if verdicts[position] != "fresh":
            found[position] = False
            continue
        others = decided[:rank] + decided[rank + 1 :]
        near = sorted(others, key=lambda other: abs(other - position))[:NEIGHBOURS]
        found[position] = bool(
            _trained_share(verdicts, near) >= NEIGHBOUR_SHARE and _trained_share(verdicts, others) >= MODEL_SHARE
        )
    return tuple(found)


def _trained_share(verdicts: Sequence[str], positions: Sequence[int]) -> float:
    return sum(verdicts[position] == "trained" for position in positions) / len(positions) if positions else 0.0


def _layer_votes(layer: LayerEvidence) -> tuple[float, float]:
    weight = VERDICTS[layer.verdict]
    if layer.verdict == "unknown":
        drawn_small = SMALL_DRAW if layer.scheme != "unknown" else 0.0
        weight = SCHEMES.get(layer.distribution, 0.0 if layer.distribution == "zeros" else drawn_small)
    return weight, BIASES[layer.bias]


def _norm_votes(norm: NormEvidence) -> tuple[float, float]:
    gain = 0.0 if norm.unit_gain is None else UNIT_GAIN if norm.unit_gain else LEARNED_GAIN
    statistics = (
        0.0 if norm.fresh_statistics is None else FRESH_STATISTICS if norm.fresh_statistics else MOVED_STATISTICS
    )
    return gain, statistics
