"""What the probe brought back, and how it is written beside the prediction."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec

from initlint.errors import Reason

__all__ = ["Outcome"]


class Outcome(msgspec.Struct, frozen=True):
    """A measurement a tensor, or the reason why there is none."""

    status: str  # "measured", or a reason code
    message: str = ""
    device: str = "cpu"
    measured: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict)
    gradients: Mapping[str, float] = msgspec.field(default_factory=dict)
    movement: Mapping[str, float] = msgspec.field(default_factory=dict)
    still: Mapping[str, float] = msgspec.field(default_factory=dict)
    elements: Mapping[str, int] = msgspec.field(default_factory=dict)
    details: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def add_to(self, tensors: Sequence[dict[str, Any]], layers: Sequence[dict[str, Any]]) -> None:
        """Write the measurements beside the predictions."""
        references = self._references(tensors)
        for row in tensors:
            row |= self._part(str(row["name"]), references)
            if row.get("elements") is None:
                row["elements"] = self.elements.get(str(row["name"]))
        last = next(
            (self.gradients[row["output"]] for row in reversed(layers) if self.gradients.get(row["output"])), None
        )
        for row in layers:
            before, after = str(row["input"]), str(row["output"])
            row |= self._part(after, references)
            row["measured_gain"] = _ratio(self._signal(after), self._signal(before))
            row["measured_jacobian_gain"] = _ratio(self.movement.get(after), self.movement.get(before))
            row["measured_backward_gain"] = _ratio(self.gradients.get(after), last)

    def _signal(self, name: str) -> float | None:
        item = self.measured.get(name)
        return None if item is None else item["signal_std"]

    def _references(self, tensors: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """What was measured of the root behind each predicted reference: with data of one's own the two differ.

        Tensors that the prediction does not know are held against the largest root.
        """
        measured = {float(predicted): float(found) for predicted, found in self.details.get("roots", ())}
        largest = max(measured.values(), default=None)
        found = {}
        for row in tensors:
            reference = row.get("reference_std")
            if reference:
                found[str(row["name"])] = measured.get(reference, float(reference))
            elif largest is not None and not row.get("known"):
                found[str(row["name"])] = largest
        return found

    def _part(self, name: str, references: Mapping[str, float]) -> dict[str, Any]:
        item = self.measured.get(name)
        if item is None:
            return {}
        part = {f"measured_{key}": value for key, value in item.items() if value is not None and isfinite(value)}
        part["measured_reference_std"] = references.get(name)
        part["measured_gradient_std"] = self.gradients.get(name)
        part["measured_dead_directions"] = self.still.get(name)
        return part

    def model_part(self) -> dict[str, Any]:
        """Columns of the model table."""
        return {
            "probed": self.status in {"measured", str(Reason.PROVIDER)},
            "probe_status": self.status,
            "provider": ", ".join(self.details.get("providers", ())) or None,
            "device_missed": self.status == Reason.PROVIDER or bool(self.details.get("strayed")),
            "probe_message": self.message or None,
            "probe_left_out": ", ".join(self.details.get("left_out", ())) or None,
            "repeatable": self.details.get("repeatable"),
        }

    def record(self) -> dict[str, Any]:
        """What the report says of the run itself."""
        return {"status": self.status, "message": self.message, "device": self.device, **self.details}


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None
