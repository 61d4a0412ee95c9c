"""Who did it: the log gain between the input and the place where the signal broke, divided among the layers on the way.

A layer answers for the step from the layer before it to its own output, the activation in between included, as in the
product `prod(1/2 n_l Var[w_l])` of He et al. 2015, eq. 10.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2

from initlint.graph import Node
from initlint.signal.statistics import Signal

__all__ = ["Share", "blame", "carrier", "carriers"]


@dataclass(frozen=True, slots=True)
class Share:
    """One layer's part in a broken signal: `share` in [0, 1] sums to 1 over the layers named, `log2_gain` is its own."""

    layer: str
    output: str
    share: float
    log2_gain: float


def carrier(
    tensor: str, producer: Mapping[str, Node], signals: Mapping[str, Signal], stop: frozenset[str] = frozenset()
) -> list[str]:
    """The tensors that carry the signal from a root to `tensor`: at every join the input with the largest signal std."""
    path = [tensor]
    seen = {tensor}
    while path[-1] not in stop:
        node = producer.get(path[-1])
        if node is None:
            break
        inner = [info.name for graph in node.graphs() for info in graph.outputs]
        candidates = [name for name in (*node.inputs, *inner) if name in signals and name not in seen]
        if not candidates:
            break
        best = max(candidates, key=lambda name: signals[name].signal_std)
        seen.add(best)
        path.append(best)
    return path[::-1]


def blame(
    tensor: str,
    layers: Sequence[tuple[str, str]],
    producer: Mapping[str, Node],
    signals: Mapping[str, Signal],
    *,
    grows: bool,
) -> tuple[Share, ...]:
    """Shares of the layers `(name, output)` on the way to `tensor`, largest first; empty where no layer is on the way.

    Only steps in the direction of the fault count: growth where the signal explodes, loss where it vanishes.
    """
    names = {output: name for name, output in layers}
    path = carrier(tensor, producer, signals)
    steps: list[tuple[str, str, float]] = []
    before = signals[path[0]].signal_std
    for item in path:
        if item not in names or item not in signals:
            continue
        after = signals[item].signal_std
        steps.append((names[item], item, _log_ratio(after, before)))
        before = after if after > 0 else before
    wanted = [(name, output, gain) for name, output, gain in steps if (gain > 0 if grows else gain < 0)]
    total = sum(abs(gain) for _, _, gain in wanted)
    shares = [Share(name, output, abs(gain) / total, gain) for name, output, gain in wanted] if total else []
    return tuple(sorted(shares, key=lambda item: -item.share))


def _log_ratio(after: float, before: float) -> float:
    """log2 of the ratio, a lost or unbounded signal counted as 1,000 bits."""
    if before <= 0:
        return 0.0
    return log2(after / before) if after > 0 else -1000.0


def carriers(ends: Iterable[str], producer: Mapping[str, Node], signals: Mapping[str, Signal]) -> frozenset[str]:
    """Tensors on the ways that carry the signal to any of the ends: a side branch that fades beside them harms nothing."""
    found: set[str] = set()
    for end in ends:
        if end in signals:
            found.update(carrier(end, producer, signals, frozenset(found)))
    return frozenset(found)
