"""What the commands import: the parent of a worker, and a command that opens no model, stay light."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("numpy", "onnx", "onnxruntime", "ml_dtypes", "google.protobuf", "rich", "torch")
SAMPLE = Path(__file__).parents[1] / "samples" / "good" / "IL201.onnx"


def imported(*arguments: str) -> set[str]:
    """Modules that the command itself imports; its worker's are not among them."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "initlint", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = set(re.findall(r"^import time:.*\| +(\S+)$", run.stderr, re.MULTILINE))
    assert "click" in found, run.stderr[-500:]
    return found


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("rules",), ("explain", "IL201"), ("check", "--help"), ("-f", "json", str(SAMPLE))]
)  # fmt: skip
def test_nothing_heavy_is_imported(arguments: tuple[str, ...]) -> None:
    assert not imported(*arguments) & set(HEAVY)


def test_help_imports_no_archive_format_and_explain_no_database() -> None:
    """What writes files and what judges is imported by the commands that do so."""
    assert not imported("--help") & {"tempfile", "pathlib", "sqlite3", "msgspec", "tomllib"}
    assert "sqlite3" not in imported("explain", "IL201")
    assert "sqlite3" not in imported("rules")


def test_a_worker_imports_neither_onnxruntime_nor_what_small_models_do_not_need() -> None:
    """Masked arrays, polynomials and the whole onnx package cost more than a small model's analysis."""
    program = (
        "import sys; from initlint import check; check(sys.argv[1], isolation='none'); "
        "print(*sorted(sys.modules), sep='\\n')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(SAMPLE)], capture_output=True, text=True, timeout=120, check=True
    )
    modules = set(run.stdout.split())
    assert "numpy" in modules
    assert not modules & {"onnxruntime", "onnx.checker", "onnx.helper", "numpy.ma", "numpy.polynomial", "fractions"}
