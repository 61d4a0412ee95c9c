"""What the tests of a fleet share: models that differ a little, the command line, a store to look into."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
SAMPLES = {
    "good": ROOT / "samples/good/IL301.onnx",
    "bad": ROOT / "samples/bad/IL301.onnx",
    "warning": ROOT / "samples/bad/IL101.onnx",
}
COMMAND = (sys.executable, "-m", "initlint")
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


def environment(**more: str) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("INITLINT_")}
    return {**plain, "PYTHONPATH": str(ROOT), **more}


def initlint(
    *arguments: str | os.PathLike[str], cwd: Path, timeout: float = 240, **more: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(**more),
        timeout=timeout,
    )


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
