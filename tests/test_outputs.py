"""Places that cannot be written to: code 2 and one line, nothing half-written, nothing left beside."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commandline import COMMAND, ROOT, environment, initlint

pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc and /dev/full")
# A folder in which nobody makes a file, not even the superuser, whom the permissions of a folder do not stop.
CLOSED = "/proc"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a model."""
    shutil.copy(ROOT / "samples/bad/IL202.onnx", tmp_path / "bad.onnx")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("bad.onnx", "-o", f"json:{CLOSED}/a.json"),
        ("bad.onnx", "-o", "sarif:b.sarif", "-o", f"html:{CLOSED}/a.html"),
        ("bad.onnx", "--facts", f"{CLOSED}/a.sqlite"),
        ("bad.onnx", "--facts", "/dev/full"),
        ("bad.onnx", "-o", "html:/dev/full"),
        ("bad.onnx", "--cache", f"{CLOSED}/cache"),
        ("scan", "bad.onnx", "--store", f"{CLOSED}/store.sqlite"),
    ],
)
def test_a_place_that_cannot_be_written(folder: Path, arguments: Sequence[str]) -> None:
    """Whatever was asked for besides is not written either, and no temporary file stays."""
    result = initlint(*arguments, cwd=folder)
    assert result.returncode == 2
    assert result.stderr.startswith("initlint: ")
    assert result.stderr.count("\n") == 1
    assert sorted(item.name for item in folder.iterdir()) == ["bad.onnx"]


@pytest.mark.parametrize(
    "arguments",
    [("rules",), ("explain", "IL202"), ("query", "bad.onnx", "SELECT * FROM layer"), ("--help",), ("--version",), ("bad.onnx", "-f", "html")],
)  # fmt: skip
def test_every_command_before_a_full_disk(folder: Path, arguments: Sequence[str]) -> None:
    """What could not be said is code 2 and one line, whichever command it was."""
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=folder, env=environment()
        )  # fmt: skip
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_full_disk_keeps_the_older_document(folder: Path, tmp_path: Path) -> None:
    """A disk that fills up while a document is written leaves the one that was there, whole."""
    older = folder / "report.json"
    older.write_text("{}")
    limited = [
        "sh",
        "-c",
        'ulimit -f 4; exec "$@"',
        "sh",
        *COMMAND,
    ]  # a file may have 2 kB: signal or error at the third
    result = subprocess.run(
        [*limited, "bad.onnx", "-o", "json:report.json"],
        capture_output=True, text=True, check=False, cwd=folder, env=environment() | {"HOME": os.fspath(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert older.read_text() == "{}"
    assert sorted(item.name for item in folder.iterdir()) == ["bad.onnx", "report.json"]
