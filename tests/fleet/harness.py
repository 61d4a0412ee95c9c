"""What the tests of a fleet share: models that differ a little, a store to look into, ways to disturb a scan."""

import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.commandline import ROOT

if TYPE_CHECKING:
    import subprocess

SAMPLES = {
    "good": ROOT / "samples/good/IL301.onnx",
    "bad": ROOT / "samples/bad/IL301.onnx",
    "warning": ROOT / "samples/bad/IL101.onnx",
}
VOLATILE = {  # columns that tell when and by whom, not what
    "run": {"started", "finished", "host", "process", "born", "beat", "busy_seconds", "arguments", "root"},
    "model": {"seconds", "recorded", "path"},
}


def model(kind: str, number: int = 0) -> bytes:
    """A sample with a documentation string of its own: another content, the same verdict."""
    words = f"variant {number:06}".encode()
    return SAMPLES[kind].read_bytes() + bytes([6 << 3 | 2, len(words)]) + words


def fill(folder: Path, good: int = 4, bad: int = 1) -> Path:
    """A folder of models that are all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(good):
        (folder / f"good{number:04}.onnx").write_bytes(model("good", number))
    for number in range(bad):
        (folder / f"bad{number:04}.onnx").write_bytes(model("bad", number))
    return folder


def ask(store: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return list(connection.execute(sql, parameters))


def contents(store: Path, run: int = 1) -> dict[str, list[tuple[Any, ...]]]:
    """Everything a store says of a run but for times: equal for equal results, however they were come by."""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.row_factory = sqlite3.Row
        found = {}
        for table in ("run", "model", "layer", "finding", "rule"):
            key = "id" if table == "run" else "run"
            rows = connection.execute(f"SELECT * FROM {table} WHERE {key} = ?", (run,))  # noqa: S608 - our own names
            kept = [{name: row[name] for name in row.keys() if name not in VOLATILE.get(table, ())} for row in rows]  # noqa: SIM118
            found[table] = sorted((tuple(row.values()) for row in kept), key=repr)
        return found


def children(process: int) -> list[int]:
    """Processes that a process has started and that still run."""
    found: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def recorded(store: Path, run: int = 1) -> int:
    """Models that a store holds of a run; 0 where there is no store yet."""
    try:
        return int(ask(store, "SELECT count(*) FROM model WHERE run = ?", run)[0][0])
    except sqlite3.Error:
        return 0


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Look until it holds; an assertion where it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def kill_parent(process: "subprocess.Popen[str]", store: Path) -> None:  # noqa: ARG001 - one of several ways to disturb
    """End the scan itself, at once."""
    process.kill()


def kill_worker(process: "subprocess.Popen[str]", store: Path) -> None:  # noqa: ARG001 - as above
    """End one of its workers, at once."""
    for worker in children(process.pid)[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def tear_store(process: "subprocess.Popen[str]", store: Path) -> None:
    """End the scan and cut its write-ahead log somewhere, as a machine that loses power may."""
    process.kill()
    process.wait()
    log = store.with_name(store.name + "-wal")
    if log.exists():
        os.truncate(log, random.randrange(log.stat().st_size + 1))
    store.with_name(store.name + "-shm").unlink(missing_ok=True)
