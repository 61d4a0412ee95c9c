"""The probe in a process of its own: a crash, a hang or a lack of memory in onnxruntime costs the probe, not the report."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from initlint.config import Config
from initlint.errors import Reason, Refusal
from initlint.graph import Model
from initlint.signal.propagate import Propagation

__all__ = ["Outcome", "run_probe"]

SECONDS = 60.0  # a probe's time, and on top of it by size and nodes
DEVICE_REASONS = frozenset({Reason.PROVIDER})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the probe brought back: a measurement a tensor, or the reason why there is none."""

    status: str  # "measured", or a reason code
    message: str = ""
    device: str = "cpu"
    measured: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gradients: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def add_to(self, tensors: Sequence[dict[str, Any]], layers: Sequence[dict[str, Any]]) -> None:
        """Write the measurements beside the predictions."""
        references = self._references(tensors)
        for row in tensors:
            row |= self._part(str(row["name"]), references)
        last = next(
            (self.gradients[row["output"]] for row in reversed(layers) if self.gradients.get(row["output"])), None
        )
        for row in layers:
            row |= self._part(str(row["output"]), references)
            before, after = (self.measured.get(str(row[name])) for name in ("input", "output"))
            if before and after and before["signal_std"]:
                row["measured_gain"] = after["signal_std"] / before["signal_std"]
            gradient = self.gradients.get(str(row["output"]))
            if gradient and last:
                row["measured_backward_gain"] = gradient / last

    def _references(self, tensors: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Predicted references scaled to what was measured of the roots: with data of one's own the two differ."""
        found = {}
        for row in tensors:
            reference = row.get("reference_std")
            if reference:
                found[str(row["name"])] = float(reference)
        scale = float(self.details.get("root_scale") or 1.0)
        return {name: value * scale for name, value in found.items()}

    def _part(self, name: str, references: Mapping[str, float]) -> dict[str, Any]:
        item = self.measured.get(name)
        if item is None:
            return {}
        part = {f"measured_{key}": value for key, value in item.items() if value is None or isfinite(value)}
        part["measured_reference_std"] = references.get(name)
        part["measured_gradient_std"] = self.gradients.get(name)
        return part

    def model_part(self) -> dict[str, Any]:
        """Columns of the model table."""
        return {
            "probed": self.status in {"measured", str(Reason.PROVIDER)},
            "provider": ", ".join(self.details.get("providers", ())) or None,
            "device_missed": self.status == Reason.PROVIDER,
            "repeatable": self.details.get("repeatable"),
        }

    def record(self) -> dict[str, Any]:
        """What the report says of the run itself."""
        return {"status": self.status, "message": self.message, "device": self.device, **self.details}


def run_probe(source: Any, model: Model, propagation: Propagation, layers: Sequence[str], config: Config) -> Outcome:
    """Run the probe in a child process and read what it measured; never raises for what onnxruntime does."""
    request = {
        "source": _portable(source),
        "propagation": propagation,
        "layers": list(layers),
        "samples": max((config.samples or 16) // 2, 1),
        "seed": config.seed,
        "device": config.device,
        "data": config.input,
        "memory": config.memory,
    }
    nodes = sum(1 for _ in model.nodes())
    seconds = SECONDS + model.size / 5e6 + nodes / 500
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "initlint.probe.child"],
            input=pickle.dumps(request),
            capture_output=True,
            timeout=config.timeout or seconds,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        return Outcome(str(Reason.DEADLINE), f"the probe took longer than {seconds:.0f} s", config.device)
    if answer.returncode:
        how = f"signal {-answer.returncode}" if answer.returncode < 0 else f"exit code {answer.returncode}"
        last = answer.stderr.decode(errors="replace").strip().splitlines()[-1:]
        reason = Reason.MEMORY if "MemoryError" in "".join(last) else Reason.CRASH
        return Outcome(str(reason), f"onnxruntime ended with {how}: {''.join(last)[:200]}", config.device)
    try:
        result = json.loads(answer.stdout)
    except ValueError:
        return Outcome(str(Reason.CRASH), "the probe's answer could not be read", config.device)
    if "reason" in result:
        if result["reason"] == Reason.USAGE:
            raise Refusal(Reason.USAGE, result["message"])
        return Outcome(result["reason"], result["message"], config.device)
    return Outcome("measured", "", config.device, result["measured"], result["gradients"], result["details"])


def _portable(source: Any) -> Any:
    """The model as the child can open it: a path, or bytes."""
    if isinstance(source, str | os.PathLike):
        return os.path.abspath(os.fspath(source))
    if isinstance(source, bytes):
        return source
    return source.SerializeToString()


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    root = Path(__file__).resolve().parent.parent.parent
    if root.name not in {"site-packages", "dist-packages"}:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), environment.get("PYTHONPATH"))))
    return environment
