"""Votes for a model's phase, and layers that stand out of it."""

import pytest

from initlint.phase import LayerEvidence, NormEvidence, detect_phase, stand_out

FRESH = LayerEvidence("fresh", "uniform", "torch_default", "drawn")
TRAINED = LayerEvidence("trained", bias="learned")


@pytest.mark.parametrize(
    ("layers", "norms", "name"),
    [
        ([FRESH] * 5, [], "init"),
        ([TRAINED] * 5, [], "trained"),
        ([TRAINED] * 5 + [FRESH], [], "trained"),
        ([FRESH] * 8 + [TRAINED], [], "init"),
        ([FRESH, TRAINED], [], "undecided"),
        ([LayerEvidence("unknown", bias="drawn")] * 4, [], "undecided"),
        ([LayerEvidence("unknown", bias="zero")] * 12, [], "init"),
        ([LayerEvidence("unknown", "normal", "n02", "zero")] * 3, [], "init"),
        ([], [], "undecided"),
        ([LayerEvidence("unknown")] * 9, [], "undecided"),
        ([LayerEvidence("unknown", "orthogonal", "orthogonal", "zero")] * 3, [], "init"),
        ([LayerEvidence("unknown", "constant", "constant", "zero")] * 3, [], "init"),
        ([LayerEvidence("unknown", "zeros", "zeros", "none")] * 3 + [TRAINED], [], "trained"),
        (
            [LayerEvidence("unknown", "normal", "n02")] * 6,
            [NormEvidence(unit_gain=True, fresh_statistics=True)],
            "init",
        ),
        ([LayerEvidence("unknown")], [NormEvidence(unit_gain=False, fresh_statistics=False)] * 4, "trained"),
        ([FRESH] * 10, [NormEvidence(unit_gain=True, fresh_statistics=False)] * 10, "init"),
    ],
)
def test_votes_decide(layers: list[LayerEvidence], norms: list[NormEvidence], name: str) -> None:
    """The greater part of the evidence decides; a fault or a fresh head is outvoted, a tie stays undecided."""
    assert detect_phase(layers, norms).name == name


def test_undecided_is_judged_as_trained() -> None:
    """A phase that stays open uses the thresholds of trained models."""
    assert detect_phase([]).judged == "trained"
    assert detect_phase([FRESH]).judged == "init"


def test_confidence_grows_with_evidence_and_stays_below_one() -> None:
    """More layers that agree give more confidence; disagreement takes it away."""
    few, many = detect_phase([FRESH] * 2), detect_phase([FRESH] * 20)
    mixed = detect_phase([FRESH] * 20 + [TRAINED] * 4)
    assert few.confidence < many.confidence < 1.0
    assert mixed.confidence < many.confidence


def test_the_reason_counts_layers() -> None:
    """The reason says how many layers are fresh, trained and unknown."""
    assert detect_phase([FRESH, FRESH, TRAINED]).reason == "2 of 3 layers fresh, 1 of 3 layers trained"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("ttttf", (False, False, False, False, True)),
        ("tfttt", (False, True, False, False, False)),
        ("ttuff", (False, False, None, True, True)),
        ("tuff", (False, None, False, False)),
        ("ttttttff", (False, False, False, False, False, False, True, True)),
        ("ffff", (False, False, False, False)),
        ("f", (False,)),
        ("uf", (None, False)),
        ("tf", (False, True)),
        ("", ()),
    ],
)
def test_a_layer_stands_out_among_trained_ones_only(verdicts: str, expected: tuple[bool | None, ...]) -> None:
    """A fresh layer is reported where its neighbours and most of the model are trained."""
    names = {"t": "trained", "f": "fresh", "u": "unknown"}
    assert stand_out([names[letter] for letter in verdicts]) == expected
