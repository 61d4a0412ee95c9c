"""Run an instrumented model and fold its row statistics into one measurement a tensor. Runs inside the probe's process."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from initlint.errors import Reason, Refusal
from initlint.probe.instrument import COPIES, Instrumented, Tap

__all__ = ["Measured", "open_session", "providers_used", "run"]

Feeds = Mapping[str, npt.NDArray[Any]]


@dataclass(slots=True)
class Measured:
    """One tensor as onnxruntime computed it, over all runs; the words are those of the prediction."""

    elements: int
    runs: int = 0
    mean: float = 0.0
    std: float = 0.0
    signal_std: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0
    nans: int = 0  # rows that held a NaN; which of a row's elements is not known
    infs: int = 0
    dead_fraction: float | None = None
    saturated_fraction: float | None = None
    _sum: float = field(default=0.0, repr=False)
    _squares: float = field(default=0.0, repr=False)
    _differences: float = field(default=0.0, repr=False)
    _active: Any = field(default=None, repr=False)
    _near: float = field(default=0.0, repr=False)

    @property
    def absmax(self) -> float:
        """Largest magnitude seen."""
        return max(abs(self.minimum), abs(self.maximum))


def open_session(instrumented: Instrumented, *, device: str = "cpu", threads: int = 0) -> ort.InferenceSession:
    """A session that keeps the graph as it is and the weights in their file.

    Raises Refusal where onnxruntime does not take the model, or the device asked for is not there.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", instrumented.exported.folder
    )
    providers = _providers(device)
    try:
        session = ort.InferenceSession(instrumented.exported.proto.SerializeToString(), options, providers=providers)
    except Exception as error:
        raise Refusal(Reason.UNSUPPORTED, f"onnxruntime does not run it: {_one_line(error)}") from error
    if device != "cpu":
        session.disable_fallback()
        if providers_used(session)[0] != "CUDAExecutionProvider":
            raise Refusal(Reason.PROVIDER, "the CUDA provider was asked for and could not be used; see docs/probe.md")
    return session


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    available = ort.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise Refusal(
            Reason.PROVIDER,
            f"--device {device} needs onnxruntime with the CUDA provider, this one has {', '.join(available)}; "
            "install it with: pip install --force-reinstall --no-deps onnxruntime-gpu",
        )
    _, _, index = device.partition(":")
    return [("CUDAExecutionProvider", {"device_id": index or "0"}), "CPUExecutionProvider"]


def providers_used(session: ort.InferenceSession) -> list[str]:
    """Providers the session really has, in order of preference."""
    return list(session.get_providers())


def run(
    session: ort.InferenceSession,
    instrumented: Instrumented,
    pairs: Iterator[tuple[Feeds, Feeds]] | Sequence[tuple[Feeds, Feeds]],
) -> dict[str, Measured]:
    """Feed pairs of independent inputs and fold the statistics of every tap."""
    names = [output.name for output in session.get_outputs()]
    wanted = {item.name for item in session.get_inputs()}
    measured = {tap.name: Measured(prod(tap.shape)) for tap in instrumented.taps}
    for one, other in pairs:
        feeds = {**one, **{COPIES[1] + name: value for name, value in other.items()}}
        zero = {name: np.zeros((), np.float32) for name in wanted if name.startswith("initlint_delta/")}
        given = {**zero, **{name: value for name, value in feeds.items() if name in wanted}}
        try:
            values = dict(zip(names, session.run(names, given), strict=True))
        except Exception as error:
            raise Refusal(Reason.UNSUPPORTED, f"onnxruntime stopped: {_one_line(error)}") from error
        for tap in instrumented.taps:
            _fold(measured[tap.name], tap, values)
    for tap in instrumented.taps:
        _finish(measured[tap.name], tap)
    return measured


def _fold(measured: Measured, tap: Tap, values: Mapping[str, npt.NDArray[Any]]) -> None:
    base = f"initlint/{tap.name}"
    measured.runs += 1
    if not prod(tap.shape):
        return
    first = measured.runs == 1
    for index in range(len(COPIES)):
        sums = values[f"{base}/ReduceSum{index}"].astype(np.float64)
        squares = values[f"{base}/ReduceSumSquare{index}"].astype(np.float64)
        highs, lows = values[f"{base}/ReduceMax{index}"], values[f"{base}/ReduceMin{index}"]
        # ReduceMax drops NaN in onnxruntime, the sum of squares does not: that is where NaN and Inf are read.
        broken = ~np.isfinite(squares)
        measured.nans += int(np.count_nonzero(np.isnan(squares)))
        measured.infs += int(np.count_nonzero(np.isinf(highs) | np.isinf(lows)))
        finite_high, finite_low = highs[np.isfinite(highs)], lows[np.isfinite(lows)]
        high = float(finite_high.max()) if finite_high.size else 0.0
        low = float(finite_low.min()) if finite_low.size else 0.0
        measured.maximum = high if first and index == 0 else max(measured.maximum, high)
        measured.minimum = low if first and index == 0 else min(measured.minimum, low)
        measured._sum += float(sums[~broken].sum())
        measured._squares += float(squares[~broken].sum())
    differences = values[f"{base}/Signal"].astype(np.float64)
    measured._differences += float(differences[np.isfinite(differences)].sum())
    active = values.get(f"{base}/Active")
    if active is not None:
        measured._active = active.astype(np.float64) + (0 if measured._active is None else measured._active)
    near = values.get(f"{base}/Saturated")
    if near is not None:
        measured._near += float(near.astype(np.float64).sum())


def _finish(measured: Measured, tap: Tap) -> None:
    count = measured.elements * measured.runs
    if not count:
        return
    total = len(COPIES) * count
    shifted = measured._sum / total
    measured.mean = shifted + tap.centre
    measured.std = sqrt(max(measured._squares / total - shifted * shifted, 0.0))
    measured.signal_std = sqrt(max(measured._differences / count / 2, 0.0))
    if measured._active is not None:
        looks = count / len(measured._active)
        if looks >= 100:
            measured.dead_fraction = float(np.mean(measured._active < 0.01 * looks))
    if tap.op in ("Tanh", "Sigmoid", "HardSigmoid", "Softsign"):
        measured.saturated_fraction = measured._near / count


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
