"""The probe's process: a request on standard input, progress and one answer as frames on standard output."""

import json
import os
import pickle
import sys
import threading
import time
from typing import IO, Any

__all__ = ["main"]

SPARE = 512  # MB of address space beside what is allowed: libraries and their threads
FIRST = 60.0  # seconds a probe may take
BATCHES = 20.0  # times its first batch, where that is more


def main() -> None:
    """Measure one model and answer. `sys.argv` holds the megabytes allowed and the process that asks."""
    megabytes, parent = int(sys.argv[1]), int(sys.argv[2])
    frames = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # onnxruntime prints as it pleases
    _restrict(megabytes)
    _die_with(parent)
    head = sys.stdin.buffer.read(9)
    request = pickle.loads(sys.stdin.buffer.read(int.from_bytes(head[1:], "little")))  # noqa: S301 - written by our own parent
    _progress(frames, FIRST)
    kind, content = _answer(request, frames)
    _write(frames, kind, json.dumps(content).encode())
    os._exit(0)  # nothing to save, and libraries' destructors have been known to hang


def _answer(request: dict[str, Any], frames: IO[bytes]) -> tuple[bytes, dict[str, Any]]:
    from initlint.errors import Reason, Refusal  # noqa: PLC0415 - the limits hold before anything heavy is imported
    from initlint.model import open_model  # noqa: PLC0415
    from initlint.probe.measure import ProbeOptions, measure_model  # noqa: PLC0415

    propagation = request["propagation"]
    options = ProbeOptions(
        samples=request["samples"], seed=request["seed"], device=request["device"], data=request["data"]
    )
    try:
        with open_model(request["source"]) as model:
            probe = measure_model(
                model, propagation.inputs, propagation, request["layers"], options,
                lambda seconds: _progress(frames, max(BATCHES * seconds - FIRST, 0.0)),
            )  # fmt: skip
    except Refusal as refusal:
        return b"E", {"reason": str(refusal.reason), "message": refusal.message}
    except MemoryError:
        return b"E", {"reason": str(Reason.MEMORY), "message": "onnxruntime ran out of memory"}
    fields = (
        "mean", "std", "signal_std", "absmax", "nans", "infs", "zero_fraction", "dead_fraction", "saturated_fraction"
    )  # fmt: skip
    return b"R", {
        "measured": {name: {field: getattr(item, field) for field in fields} for name, item in probe.measured.items()},
        "gradients": dict(probe.gradient_std),
        "movement": dict(probe.movement),
        "still": dict(probe.still),
        "elements": {name: item.elements for name, item in probe.measured.items()},
        "details": {
            "providers": {provider: list(kinds) for provider, kinds in probe.providers.items()},
            "samples": probe.samples,
            "fed": dict(probe.fed),
            "repeatable": probe.repeatable,
            "left_out": list(probe.left_out),
            "varying": list(probe.varying),
            "strayed": list(probe.strayed),
            "seconds": probe.seconds,
            "roots": [list(item) for item in probe.roots],
        },
    }


def _progress(frames: IO[bytes], seconds: float) -> None:
    _write(frames, b"P", json.dumps({"stage": "probe", "seconds": seconds}).encode())


def _write(frames: IO[bytes], kind: bytes, content: bytes) -> None:
    view = memoryview(kind + len(content).to_bytes(8, "little") + content)
    while view:
        view = view[frames.write(view) :]


def _restrict(megabytes: int) -> None:
    """Let an allocation beyond the allowance fail, and leave no core file."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    for name, value in (("RLIMIT_CORE", 0), ("RLIMIT_DATA", (megabytes + SPARE) << 20)):
        number: Any = getattr(resource, name, None)
        try:
            resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
        except (ValueError, OSError, TypeError):
            continue  # a lower limit is in force already, or the system has none: the parent watches all the same


def _die_with(parent: int) -> None:
    """End when the process that asked has ended: nobody would read the answer."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
