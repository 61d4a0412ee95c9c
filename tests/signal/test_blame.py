"""Shares of the log gain: a layer answers for its own step, its activation included."""

from math import log2

import pytest

from initlint.graph import Node
from initlint.signal.blame import blame, carrier
from initlint.signal.statistics import Signal


def signal(signal_std: float, std: float | None = None, mean: float = 0.0) -> Signal:
    total = signal_std if std is None else std
    return Signal(16, 64, mean, total, signal_std, 4 * total, 0.0, 0.0, 0.0)


def chain(*names: str) -> dict[str, Node]:
    """Nodes in a row: each name is made from the one before it."""
    return {
        name: Node("Gemm", "", 18, name, (before,), (name,), {}, index)
        for index, (before, name) in enumerate(zip(names, names[1:], strict=False))
    }


LAYERS = [("fc1", "a"), ("fc2", "b"), ("fc3", "c")]
NAMES = ("x", "a", "ra", "b", "rb", "c")


def test_a_layer_answers_for_its_activation() -> None:
    """A rectifier that loses the signal is the fault of the layer before it, whose bias or weights feed it."""
    values = dict(
        zip(
            NAMES,
            (signal(1.0), signal(1.0), signal(0.0001), signal(0.0001), signal(0.0001), signal(0.0001)),
            strict=True,
        )
    )
    shares = blame("c", LAYERS, chain(*NAMES), values, grows=False)
    assert [(item.layer, item.share) for item in shares] == [("fc1", 1.0)]
    assert shares[0].log2_gain == pytest.approx(log2(0.0001))


def test_shares_are_parts_of_the_log_gain_in_the_direction_of_the_fault() -> None:
    """Two layers that grow share the growth; one that shrinks has no part in it."""
    values = dict(zip(NAMES, map(signal, (1.0, 8.0, 8.0, 4.0, 4.0, 16.0)), strict=True))
    shares = blame("c", LAYERS, chain(*NAMES), values, grows=True)
    assert [(item.layer, item.share) for item in shares] == [("fc1", 0.6), ("fc3", 0.4)]


def test_a_signal_that_is_drowned_is_followed_as_its_part_of_the_total() -> None:
    """A huge bias takes nothing from the signal and everything from its part in what is computed."""
    drowned = signal(1.0, 1.0, 1e8)
    values = dict(zip(NAMES, (signal(1.0), signal(0.9), signal(0.8), drowned, drowned, drowned), strict=True))
    assert [item.layer for item in blame("c", LAYERS, chain(*NAMES), values, grows=False)][:1] == ["fc2"]


def test_a_lost_signal_is_owed_to_the_layer_that_loses_it() -> None:
    """Behind the place where nothing is left no layer is to blame."""
    values = dict(
        zip(NAMES, (signal(1.0), signal(0.5), signal(0.4), signal(0.0), signal(0.0), signal(0.0)), strict=True)
    )
    shares = blame("c", LAYERS, chain(*NAMES), values, grows=False)
    assert shares[0].layer == "fc2"
    assert shares[0].share > 0.99


def test_no_layer_on_the_way_is_no_blame() -> None:
    """What no layer made has nobody to blame."""
    assert blame("a", [("fc9", "z")], chain("x", "a"), {"x": signal(1.0), "a": signal(0.1)}, grows=False) == ()


def test_the_carrier_takes_the_larger_signal_at_a_join() -> None:
    """At a residual join the way back follows the branch that brings the signal."""
    producer = chain("x", "a") | {"y": Node("Add", "", 18, "y", ("x", "a"), ("y",), {}, 5)}
    assert carrier("y", producer, {"x": signal(1.0), "a": signal(0.1), "y": signal(1.0)}) == ["x", "y"]
    assert carrier("y", producer, {"x": signal(1.0), "a": signal(9.0), "y": signal(9.0)}) == ["x", "a", "y"]


def test_a_flood_is_followed_to_the_branch_it_comes_from() -> None:
    """A bias of 1e8 in a residual branch is that branch's, though the skip connection carries the signal."""
    producer = chain("x", "a", "b") | {"y": Node("Add", "", 18, "y", ("a", "b"), ("y",), {}, 5)}
    values = {"x": signal(1.0), "a": signal(1.0), "b": signal(0.5, 0.5, 1e8), "y": signal(1.1, 1.1, 1e8)}
    assert [item.layer for item in blame("y", LAYERS, producer, values, grows=False)] == ["fc2"]
