"""What a Dask worker does for a scan: one task at a time in each of its threads, in a child of its own."""

import platform
import threading
from importlib.metadata import PackageNotFoundError, version

import msgspec

from initlint import __version__
from initlint.fleet.records import Copy, Task
from initlint.fleet.spool import Spool
from initlint.fleet.work import Bench

__all__ = ["forget", "perform", "versions"]

HELD = 8  # fetched files that a thread holds for reports to come; the oldest beyond go
PACKAGES = ("onnx", "numpy", "ml_dtypes", "onnxruntime")  # whose versions a result may depend on

_own = threading.local()
_spools: dict[str, Spool] = {}  # of this Dask worker, by scan
_lock = threading.Lock()


def perform(payload: bytes, scan: str) -> bytes:
    """Do a task in a child of this Dask worker, one child for each of its threads; in and out as MessagePack.

    What is fetched for a content stays here for the report, which is sent after it.
    """
    import distributed  # noqa: PLC0415 - an extra

    task = msgspec.msgpack.decode(payload, type=Task)
    here = distributed.get_worker()
    bench: Bench | None = getattr(_own, "bench", None)
    if bench is None or bench.memory != task.config.memory:
        bench = _own.bench = Bench(task.config.memory, Spool())
    with _lock:
        bench.spool = _spools.setdefault(scan, Spool(HELD * here.state.nthreads, here.local_directory))
    answer = bench.perform(task)
    if answer.copy is not None:
        answer = msgspec.structs.replace(answer, copy=Copy(answer.copy.token, here.address))
    return msgspec.msgpack.encode(answer)


def forget(scan: str) -> None:
    """Remove what this Dask worker still holds for a scan."""
    with _lock:
        spool = _spools.pop(scan, None)
    if spool is not None:
        spool.close()


def versions() -> dict[str, str]:
    """What a result may depend on in this process."""
    found = {"initlint": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
