"""The probe in a process of its own: a crash, a hang or a lack of memory in onnxruntime costs the probe, not the report."""

import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from initlint.config import Config
from initlint.errors import Reason, Refusal
from initlint.isolation import Limits, Progress, Worker
from initlint.probe.outcome import Outcome
from initlint.signal.propagate import Propagation

__all__ = ["Allowance", "run_probe"]

PROGRAM = ("-m", "initlint.probe.child")
LEAST_MEMORY = 512  # MB that onnxruntime needs for anything at all
RESERVE, MOST_RESERVED = 0.3, 10.0  # share of the time limit, and seconds: for judging and writing what was found
SPARE = 0.1  # of the memory limit: the probe meets its own before it drags the analysis over
Watch = Callable[[Progress], None]


class Allowance(msgspec.Struct, frozen=True):
    """What is left for the probe: seconds (None: by its own first batch) and megabytes."""

    seconds: float | None
    megabytes: int

    @classmethod
    def of(cls, config: Config, spent: float) -> "Allowance":
        """The rest of the analysis's own limits after `spent` seconds."""
        reserve = 0.0 if config.timeout is None else min(config.timeout * RESERVE, MOST_RESERVED)
        seconds = None if config.timeout is None else config.timeout - reserve - spent
        return cls(seconds, max(int(config.memory * (1 - SPARE)) - _held_megabytes(), LEAST_MEMORY))


def run_probe(
    source: Any,
    propagation: Propagation,
    layers: Sequence[str],
    config: Config,
    allowance: Allowance,
    watch: Watch | None = None,
) -> Outcome:
    """Run the probe in a child process and read what it measured; never raises for what onnxruntime does.

    Raises Refusal (usage) where the user's own data does not fit the model.
    """
    if allowance.seconds is not None and allowance.seconds <= 0:
        return Outcome(str(Reason.DEADLINE), "no time was left for the probe; --timeout allows more", config.device)
    request = {
        "source": _portable(source),
        "propagation": propagation,
        "layers": list(layers),
        "samples": None if config.samples is None else max((config.samples + 1) // 2, 1),
        "seed": config.seed,
        "device": config.device,
        "data": config.input,
    }
    limits = Limits(allowance.seconds, allowance.megabytes)
    try:
        with Worker(allowance.megabytes, program=PROGRAM, what="the probe") as worker:
            answer = json.loads(worker.run(pickle.dumps(request), limits, watch).report)
    except Refusal as refusal:
        if refusal.reason is Reason.USAGE:
            raise
        return Outcome(str(refusal.reason), refusal.message, config.device)
    strayed = answer["details"]["strayed"]
    message = f"{', '.join(strayed[:8])} ran elsewhere" if strayed else ""
    return Outcome("measured", message, config.device, **answer)


def _portable(source: Any) -> Any:
    """The model as the child can open it: a path, or bytes."""
    if isinstance(source, str | os.PathLike):
        return os.path.abspath(os.fspath(source))
    if isinstance(source, bytes):
        return source
    if type(source).__module__.startswith("onnx_ir"):
        import onnx_ir  # noqa: PLC0415 - the caller has it imported

        source = onnx_ir.to_proto(source)
    return source.SerializeToString()


def _held_megabytes() -> int:
    """Memory that this process holds; 0 where the system does not say. The limit is on both together."""
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")) >> 10
