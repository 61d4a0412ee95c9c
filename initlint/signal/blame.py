"""Who did it: the log gain between the input and the place where the signal broke, divided among the layers on the way.

A layer answers for the step from its own input to the next layer's, the activation behind it included: its target variance
is the one that this activation calls for (He et al. 2015, eq. 10), and a bias that kills the activation is its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import hypot, inf, log2

import msgspec

from initlint.graph import Node
from initlint.signal.statistics import Signal

__all__ = ["Share", "blame", "carrier", "carriers"]


class Share(msgspec.Struct, frozen=True):
    """One layer's part in a broken signal: `share` in [0, 1] sums to 1 over the layers named, `log2_gain` is its own."""

    layer: str
    output: str
    share: float
    log2_gain: float


def carrier(
    tensor: str,
    producer: Mapping[str, Node],
    signals: Mapping[str, Signal],
    stop: AbstractSet[str] = frozenset(),
    level: Callable[[Signal], float] = lambda signal: signal.signal_std,
) -> list[str]:
    """The tensors that carry the signal from a root to `tensor`: at every join the input with the largest `level`."""
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
        best = max(candidates, key=lambda name: level(signals[name]))
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

    Only steps in the direction of the fault count: growth where the signal explodes, loss where it vanishes. A signal that
    is drowned rather than weakened (a bias of 1e8) is followed as its part of the total.
    """
    names = {output: name for name, output in layers}
    path, level = carrier(tensor, producer, signals), _signal
    if not grows and _log_ratio(_part(signals[tensor]), _part(signals[path[0]])) < (
        _log_ratio(_signal(signals[tensor]), _signal(signals[path[0]])) - 1.0
    ):
        path, level = carrier(tensor, producer, signals, level=_total), _part  # where the flood comes from
    places = [index for index, item in enumerate(path) if item in names]
    # Where each layer's step ends: at the tensor that the next layer reads, the last one's at `tensor` itself.
    ends = [path[index - 1] for index in places[1:]] + [tensor]
    levels = [level(signals[item]) for item in (path[0], *ends)]
    gains = [_log_ratio(after, before) for before, after in zip(levels, levels[1:], strict=False)]
    wanted = [
        (path[index], gain) for index, gain in zip(places, gains, strict=False) if (gain > 0 if grows else gain < 0)
    ]
    total = sum(abs(gain) for _, gain in wanted)
    found = [Share(names[output], output, abs(gain) / total, gain) for output, gain in wanted] if total else []
    return tuple(sorted(found, key=lambda item: -item.share))


def _signal(signal: Signal) -> float:
    return signal.signal_std


def _total(signal: Signal) -> float:
    return hypot(signal.std, signal.mean)


def _part(signal: Signal) -> float:
    """The signal std relative to the root mean square of all there is, biases and constants included."""
    total = _total(signal)
    return signal.signal_std / total if total > 0 else 0.0


def _log_ratio(after: float, before: float) -> float:
    """log2 of the ratio, a lost or unbounded signal counted as 1,000 bits."""
    if not 0 < before < inf:
        return 0.0
    if after == inf:
        return 1000.0
    return log2(after) - log2(before) if after > 0 else -1000.0


def carriers(ends: Iterable[str], producer: Mapping[str, Node], signals: Mapping[str, Signal]) -> frozenset[str]:
    """Tensors on the ways that carry the signal to any of the ends: a side branch that fades beside them harms nothing."""
    found: set[str] = set()
    for end in ends:
        if end in signals:
            found.update(carrier(end, producer, signals, found))
    return frozenset(found)
