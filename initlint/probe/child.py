"""The probe's process: one request on standard input, one JSON answer on standard output."""

import json
import os
import pickle
import sys
from typing import Any

__all__ = ["main"]

SPARE = 2048  # MB of address space beside the tensors: libraries and their threads


def main() -> None:
    """Measure one model and print what was measured."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # onnxruntime prints as it pleases
    request = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own parent
    _limit(request["memory"])
    answers.write(json.dumps(_answer(request)).encode())
    answers.close()
    os._exit(0)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from initlint.errors import Refusal  # noqa: PLC0415 - the limits hold before anything heavy is imported
    from initlint.model import open_model  # noqa: PLC0415
    from initlint.probe.measure import ProbeOptions, measure_model  # noqa: PLC0415

    propagation = request["propagation"]
    options = ProbeOptions(
        samples=request["samples"], seed=request["seed"], device=request["device"], data=request["data"]
    )
    try:
        with open_model(request["source"]) as model:
            probe = measure_model(model, propagation.inputs, propagation, request["layers"], options)
    except Refusal as refusal:
        return {"reason": str(refusal.reason), "message": refusal.message}
    except MemoryError:
        return {"reason": "memory", "message": "the probe ran out of memory"}
    fields = ("mean", "std", "signal_std", "absmax", "nans", "infs", "dead_fraction", "saturated_fraction")
    return {
        "measured": {name: {field: getattr(item, field) for field in fields} for name, item in probe.measured.items()},
        "gradients": dict(probe.gradient_std),
        "details": {
            "providers": list(probe.providers),
            "samples": probe.samples,
            "fed": dict(probe.fed),
            "repeatable": probe.repeatable,
            "left_out": list(probe.left_out),
            "seconds": probe.seconds,
            "root_scale": probe.root_scale,
        },
    }


def _limit(megabytes: int) -> None:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    limit = (megabytes + SPARE) << 20
    for name, value in (("RLIMIT_CORE", 0), ("RLIMIT_DATA", limit)):
        number: Any = getattr(resource, name, None)
        if number is not None:
            try:
                resource.setrlimit(number, (value, value))
            except (ValueError, OSError):
                continue


if __name__ == "__main__":
    main()
