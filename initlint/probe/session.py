"""Open an instrumented model in onnxruntime and run it. Runs inside the probe's process."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from initlint.errors import Reason, Refusal
from initlint.probe.taps import COPIES
from initlint.probe.twins import DELTA, Instrumented
from initlint.probe.widen import holds_bfloat16, widened

__all__ = ["INSTALL", "open_session", "pair", "providers_of_nodes", "ran_where", "run"]

Feeds = Mapping[str, npt.NDArray[Any]]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
FLOAT_TYPES = frozenset({"float", "double", "float16", "bfloat16"})
INSTALL = "pip install --force-reinstall --no-deps onnxruntime-gpu"


def open_session(
    instrumented: Instrumented, *, device: str = "cpu", profile: str | None = None
) -> ort.InferenceSession:
    """A session that keeps the graph as it is and the weights in their file.

    Raises Refusal where onnxruntime does not take the model, or the device asked for is not there. With `profile`, a
    prefix of a path, the session records what ran where.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others use these cores as well
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", instrumented.exported.folder
    )
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    providers = _providers(device)
    proto = instrumented.exported.proto
    if device == "cpu" and holds_bfloat16(proto.graph):
        proto = widened(proto)
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=providers)
    except MemoryError:
        raise
    except Exception as error:
        raise _refusal("onnxruntime does not run it", error) from error
    instrumented.exported.verify()
    if device != "cpu":
        session.disable_fallback()
        if session.get_providers()[0] != CUDA:
            raise Refusal(
                Reason.PROVIDER,
                f"--device {device}: onnxruntime could not start CUDA (no driver, no GPU, or its libraries are missing); "
                f'the libraries come with: pip install "onnxruntime-gpu[cuda,cudnn]"',
            )
    return session


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return [CPU]
    available = ort.get_available_providers()
    if CUDA not in available:
        raise Refusal(
            Reason.PROVIDER,
            f"--device {device} needs onnxruntime with CUDA, which this one lacks; install it with: {INSTALL}",
        )
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # those of the nvidia packages beside it
    _, _, index = device.partition(":")
    return [(CUDA, {"device_id": index or "0"}), CPU]


def pair(one: Feeds, other: Feeds) -> dict[str, npt.NDArray[Any]]:
    """One feed for each copy."""
    return {**one, **{COPIES[1] + name: value for name, value in other.items()}}


def run(
    session: ort.InferenceSession, outputs: Sequence[str], feeds: Iterable[Feeds]
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """These outputs by name, one feed after another; the session's other outputs are computed all the same.

    Values for inputs that the session does not have are left out; what is added to a layer is 0 unless given.
    """
    inputs = {item.name: item.type for item in session.get_inputs()}
    for feed in feeds:
        given = {name: _typed(value, inputs[name]) for name, value in feed.items() if name in inputs}
        for name, kind in inputs.items():
            if name.startswith(DELTA) and name not in given:
                given[name] = _typed(np.zeros((), np.float32), kind)
        try:
            yield dict(zip(outputs, session.run(list(outputs), given), strict=True))
        except MemoryError:
            raise
        except Exception as error:
            raise _refusal("onnxruntime stopped", error) from error


def _typed(value: npt.NDArray[Any], kind: str) -> Any:
    """The array in the session's own element type; bfloat16, which numpy lacks, as an OrtValue."""
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
    array = np.asarray(value)
    if kind in types:
        return array.astype(types[kind], copy=False)
    if kind == "tensor(bfloat16)":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), int(onnx.TensorProto.BFLOAT16))
    return array


def _refusal(what: str, error: Exception) -> Refusal:
    text = " ".join(str(error).split())
    memory = any(sign in text for sign in ("bad_alloc", "Failed to allocate", "bad allocation", "BFCArena"))
    return Refusal(Reason.MEMORY if memory else Reason.UNSUPPORTED, f"{what}: {text[:600]}")


def providers_of_nodes(
    instrumented: Instrumented, feed: Feeds, device: str
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """(provider -> kinds of the model's own nodes that it ran, kinds that ran elsewhere than asked) in one profiled run."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(instrumented, device=device, profile=os.path.join(folder, "run"))
        for _ in run(session, instrumented.outputs, [feed]):
            pass
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return ran_where(events, CPU if device == "cpu" else CUDA)


def ran_where(events: Sequence[Mapping[str, Any]], wanted: str) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Providers by the events of a profile; the probe's own reductions, and integers (shapes) on the CPU, do not count."""
    kinds: dict[str, dict[str, None]] = {}
    strayed: dict[str, None] = {}
    for event in events:
        arguments = event.get("args", {})
        provider = str(arguments.get("provider", ""))
        if event.get("cat") != "Node" or not provider or str(event.get("name", "")).startswith("initlint"):
            continue
        kind = str(arguments.get("op_name", ""))
        kinds.setdefault(provider, {})[kind] = None
        types = {name for item in arguments.get("output_type_shape", ()) for name in item}
        if provider != wanted and types & FLOAT_TYPES:
            strayed[kind] = None
    return {provider: tuple(names) for provider, names in kinds.items()}, tuple(strayed)
