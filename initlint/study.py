"""Everything that was found out about one model, and the rows of the fact tables it becomes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log2
from typing import Any

import msgspec

from initlint.absorption import absorbed_tensors, depths, masks
from initlint.config import Config
from initlint.culprits import culprits
from initlint.elements import format_of
from initlint.facts import Facts, build
from initlint.graph import Model, Node
from initlint.index import Index
from initlint.layerfacts import Examined, layer_row, median_ratios, norm_rows, untrained_flags
from initlint.layers import unread_slots
from initlint.phase import Phase
from initlint.report import Blamed
from initlint.signal.backward import Backward
from initlint.signal.blame import carrier
from initlint.signal.propagate import Propagation
from initlint.tensorfacts import edge_rows, growth, signal_part, tensor_rows, weight_rows

__all__ = ["Study"]

TRAIL = 20

MOST_STEPS = 8  # from a layer of zeros to the residual join behind it: bias, activation, reshapes


class Study(msgspec.Struct, frozen=True):
    """Everything that was found out about one model, before it is written into tables."""

    model: Model
    index: Index
    examined: Sequence[Examined]
    phase: Phase
    propagation: Propagation
    backward: Backward
    probe: Any = None

    def facts(self, key: str, config: Config, target: str) -> Facts:
        """The fact tables."""
        outputs = frozenset(item.layer.output for item in self.examined)
        deep = depths(self.model, outputs)
        absorbed = absorbed_tensors(self.model, self.index)
        masked = masks(self.model, self.index)
        layers = self._layer_rows(deep, absorbed)
        tensors: Iterable[dict[str, Any]] = tensor_rows(
            self.index,
            self.propagation,
            absorbed=absorbed,
            masks=masked,
            depths=deep,
            backward=self.backward,
        )
        statistics = {
            item.layer.weight: item.found
            for item in self.examined
            if item.found is not None and not (item.layer.computed or item.layer.quantised)
        }
        weights = weight_rows(self.model, self.index, statistics, masked, target)
        if self.probe is not None:
            tensors = list(tensors)
            self.probe.add_to(tensors, layers)
        rows: dict[str, Iterable[Mapping[str, Any]]] = {
            "model": [self._model_row(key, layers, config)],
            "layer": _consumed(layers),
            "tensor": tensors,
            "weight": weights,
            "edge": edge_rows(self.model, self.propagation.signals, deep),
        }
        return build(rows, self._shared(config, target))

    def _shared(self, config: Config, target: str) -> dict[str, Any]:
        limits = format_of(target)
        assert limits is not None
        return {
            "phase": self.phase.judged if config.phase == "auto" else config.phase,
            "target_format": target,
            "target_asked": config.target is not None,
            "target_largest": limits.largest,
            "target_smallest": limits.smallest_normal,
        }

    def _layer_rows(self, deep: Mapping[str, int], absorbed: frozenset[str]) -> list[dict[str, Any]]:
        gradients = self.backward.gradient_std
        flags = untrained_flags(self.examined)
        rows = []
        for item, untrained in zip(self.examined, flags, strict=True):
            layer = item.layer
            row = layer_row(
                item, absorbed=layer.output in absorbed, depth=deep.get(layer.output, 0), untrained=untrained
            )
            row |= self._signal_of(layer.output)
            before, after = (self.propagation.signals.get(name) for name in (layer.input, layer.output))
            if before is not None and after is not None and before.signal_std > 0:
                row["gain"] = after.signal_std / before.signal_std
            if after is not None and before is not None:
                row["signal_ends"] = before.signal_std > 0 and self._ends(layer.output)
            rows.append(row)
        medians = median_ratios(rows)
        last = next((gradients[row["output"]] for row in reversed(rows) if gradients.get(row["output"])), None)
        product = 1.0
        for row in rows:
            row["median_ratio"] = medians.get(str(row["op"]))
            gradient = gradients.get(row["output"])
            if gradient is not None and last:
                row["backward_gain"] = gradient / last
            if row.get("variance") is not None and row.get("fan_in") and not row["table_lookup"] and product < 1e300:
                product *= 0.5 * row["fan_in"] * row["variance"]
                row["he_product"] = product
        rows += norm_rows(self.model, self.index, self.propagation, deep, len(rows))
        for row in rows[len(self.examined) :]:
            row |= self._signal_of(str(row["output"]))
        return rows

    def _ends(self, name: str) -> bool:
        """Whether nothing of the signal is left in a tensor, nor in what a few steps on is added to it."""
        for _ in range(MOST_STEPS):
            found = self.propagation.signals.get(name)
            following = self.index.only_consumer(name)
            if found is None or found.signal_std > 0:
                return False
            if following is None or len(following.outputs) != 1:
                return True
            name = following.outputs[0]
        return True

    def _signal_of(self, name: str) -> dict[str, Any]:
        dtype = self.propagation.dtypes.get(name, "float32")
        return signal_part(name, self.propagation, dtype, self.backward)

    def _model_row(self, key: str, layers: Sequence[Mapping[str, Any]], config: Config) -> dict[str, Any]:
        propagation = self.propagation
        known, lost = len(propagation.signals), len(propagation.unknown)
        nodes = {item.layer.node.index for item in self.examined}
        seen: dict[str, int] = {}
        for item in self.examined:
            if item.layer.tensor is not None:
                seen[item.layer.weight] = item.layer.tensor.count
        unread = unread_slots(tuple(item.layer for item in self.examined))
        row = {
            "name": key,
            "path": self.model.path,
            "bytes": self.model.size,
            "ir_version": self.model.ir_version,
            "opset": self.model.opset,
            "producer": self.model.producer,
            "parameters": sum(seen.values()),
            "nodes": sum(1 for _ in self.model.nodes()),
            "layers": len(nodes),
            "weight_slots": len(self.examined),
            "unread_slots": len(unread),
            "tensors": known + lost,
            "known_tensors": known,
            "coverage": propagation.coverage,
            "unknown_operators": self.unknown_operators(),
            "phase_detected": self.phase.name if config.phase == "auto" else config.phase,
            "phase_confidence": self.phase.confidence if config.phase == "auto" else 1.0,
            "phase_reason": self.phase.reason if config.phase == "auto" else "set with --phase",
            "draws": propagation.draws,
            "probed": self.probe is not None,
        }
        path = self._main_path()
        row |= growth(path)
        stds = [std for _, std in path if std > 0]
        if stds:
            row["signal_span"] = log2(max(stds) / min(stds))
        backward = [item["backward_gain"] for item in layers if item.get("backward_gain")]
        if backward:
            row["backward_range"] = backward[0]
        if self.probe is not None:
            row |= self.probe.model_part()
        return row

    def _main_path(self) -> list[tuple[str, float]]:
        """(layer, signal std of its output) along what carries the signal to the first output that is known."""
        signals = self.propagation.signals
        end = next((info.name for info in self.model.graph.outputs if info.name in signals), None)
        if end is None:
            return []
        names = {item.layer.output: item.layer.name for item in self.examined}
        path = carrier(end, self.index.producer, signals)
        return [(names[name], signals[name].signal_std) for name in path if name in names]

    def unknown_operators(self) -> str | None:
        """Kinds of operators at which knowledge ends, with counts and the reason of the first."""
        kinds: Counter[str] = Counter()
        reasons: dict[str, str] = {}
        unknown = self.propagation.unknown
        for name, reason in unknown.items():
            node = self.index.producer.get(name)
            if node is None or any(item in unknown for item in node.inputs):
                continue
            kinds[node.kind] += 1
            reasons.setdefault(node.kind, reason)
        if not kinds:
            return None
        return "; ".join(f"{kind} x{count} ({reasons[kind]})" for kind, count in kinds.most_common(8))

    def blamed(self, tensor: str, grows: bool) -> tuple[Blamed, ...]:  # noqa: FBT001 - the rules' callback
        """The layers behind a broken signal at a tensor, by their share of the log gain."""
        return culprits(tensor, self.examined, self.index, self.propagation, grows=grows)

    def trail(self, tensor: str) -> tuple[str, ...]:
        """The tensors before one that is not finite, nearest first."""
        found: list[str] = []
        frontier = [tensor]
        while frontier and len(found) < TRAIL:
            node: Node | None = self.index.producer.get(frontier.pop(0))
            if node is None:
                continue
            fresh = [name for name in node.inputs if name and name not in found and name not in self.index.constants]
            found.extend(fresh)
            frontier.extend(fresh)
        return tuple(found[:TRAIL])


def _consumed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows one after another, each let go of once it is written."""
    rows.reverse()
    while rows:
        yield rows.pop()
