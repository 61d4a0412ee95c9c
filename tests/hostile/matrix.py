"""Every hostile input through the real command line, in every format: outcome, seconds, memory.

    python -m tests.hostile.matrix [ID...] [--quick] [--probe] [--oldest] [--venv DIR] [--log FILE]

Without ids all inputs are run, the slow ones included; `--quick` leaves those out. `--probe` adds the probe. `--oldest` runs
initlint on the oldest releases that pyproject.toml admits, in an environment that is made for it (kept in `--venv`).
A run fails on a traceback, a wrong exit code, a fault of initlint's own, more than 2 s past the deadline, and more than
512 MB in the process tree. Memory is the sum over the processes of the tree, at each look, of the most that each has held
resident so far: a bound from above, shared pages counted in each. The exit code is 1 where any run fails.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.cases import Case
from tests.hostile.catalogue import CASES
from tests.hostile.outcome import faults_of

__all__ = ["Outcome", "run"]

ROOT = Path(__file__).parent.parent.parent
FORMATS = ("concise", "json", "ndjson", "sarif", "junit", "github", "gitlab", "markdown", "openmetrics", "html")
MEGABYTES = 512  # the process tree's
GRACE = 2.0  # seconds past a deadline
START = 1.0  # seconds that an interpreter takes to start and to write the documents of a refusal
LOOK = 0.01  # seconds between two looks at the process tree
GIVEN_UP = 300  # seconds after which the run itself is killed: far past any deadline


@dataclass(frozen=True)
class Outcome:
    """One run: its exit code, what it said, how long it took, how much memory its processes held, what is wrong with it."""

    code: int
    said: str
    seconds: float
    megabytes: float
    wrong: tuple[str, ...]


def run(case: Case, folder: Path, *, python: str = sys.executable, options: Sequence[str] = ()) -> Outcome:
    """Make the input in an empty folder and lint it, with a document in every format."""
    place = folder / "model"
    place.mkdir(parents=True)
    path = case.make(place)
    outputs = [word for name in FORMATS for word in ("-o", f"{name}:{folder / name}")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INITLINT_")}
    started = time.monotonic()
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [python, "-m", "initlint", path, *outputs, "--verbose", *options],
            stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, env={**environment, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        most = watched(process)
    seconds = time.monotonic() - started
    errors = (folder / "stderr").read_text(errors="replace")
    document = folder / "json"
    report = json.loads(document.read_bytes()) if document.exists() else None
    wrong = list(faults_of(case, process.returncode, report, errors))
    wrong += [f"no document: {name}" for name in FORMATS if not (folder / name).exists()]
    deadline = re.search(r"took longer than (\d+) s", errors)
    if deadline is not None and seconds > float(deadline.group(1)) + GRACE + START:
        wrong.append(f"{seconds:.0f} s, with a deadline of {deadline.group(1)} s")
    if most > MEGABYTES:
        wrong.append(f"{most:.0f} MB")
    refused = report["skipped"] if report else []
    said = f"{refused[0]['reason']}: {refused[0]['message']}" if refused else "analysed"
    return Outcome(process.returncode, said, seconds, most, tuple(wrong))


def watched(process: "subprocess.Popen[bytes]") -> float:
    """Wait for a process; the most megabytes that its tree held."""
    most, started = 0.0, time.monotonic()
    while process.poll() is None:
        most = max(most, held(process.pid))
        if time.monotonic() - started > GIVEN_UP:
            process.kill()
        time.sleep(LOOK)
    return most


def held(pid: int) -> float:
    """The sum of the high-water marks of a process and of all that it started, in megabytes."""
    total, pending = 0, [pid]
    while pending:
        current = pending.pop()
        try:
            status = Path(f"/proc/{current}/status").read_text("ascii", "replace")
            for thread in Path(f"/proc/{current}/task").iterdir():
                pending += map(int, (thread / "children").read_text("ascii").split())
        except OSError:
            continue  # it has ended meanwhile
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return total / 1024


@contextmanager
def oldest(folder: Path | None) -> Iterator[str]:
    """The interpreter of an environment with the oldest releases that pyproject.toml admits."""
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary) / "venv"
        python = str(place / "bin" / "python")
        if not Path(python).exists():
            needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
            floors = [need.replace(">=", "==") for need in needs]
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *floors], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", ROOT], check=True)
        yield python


def versions(python: str) -> str:
    """The libraries behind a run, in words."""
    program = "import onnx, numpy, onnxruntime as o; print('onnx', onnx.__version__, 'numpy', numpy.__version__, 'onnxruntime', o.__version__)"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def matrix(cases: Iterable[Case], python: str, options: Sequence[str], log: Path | None) -> int:
    """Run them all and say what came of each; how many failed."""
    lines = [f"{versions(python)} {' '.join(options)}".rstrip()]
    print(lines[0], flush=True)
    codes: Counter[int] = Counter()
    failed, slowest, largest = 0, (0.0, ""), (0.0, "")
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            found = run(case, Path(folder), python=python, options=options)
        failed += bool(found.wrong)
        codes[found.code] += 1
        slowest, largest = max(slowest, (found.seconds, case.id)), max(largest, (found.megabytes, case.id))
        verdict = "WRONG: " + "; ".join(found.wrong) if found.wrong else "ok"
        lines.append(
            f"{case.id:10} {case.want:10} {found.code} {found.seconds:6.1f} s {found.megabytes:6.0f} MB  {verdict}  {found.said[:110]}"
        )
        print(lines[-1], flush=True)
    lines.append(
        f"{sum(codes.values())} inputs, {failed} wrong; exit codes {dict(sorted(codes.items()))};"
        f" slowest {slowest[1]} {slowest[0]:.1f} s; most memory {largest[1]} {largest[0]:.0f} MB"
    )
    print(lines[-1], flush=True)
    if log is not None:
        log.write_text("\n".join(lines) + "\n")
    return failed


def main() -> int:
    """Choose the inputs and the libraries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--oldest", action="store_true")
    parser.add_argument("--venv", type=Path)
    parser.add_argument("--log", type=Path)
    known = parser.parse_args()
    chosen = [CASES[name] for name in known.ids] or [case for case in CASES.values() if not (known.quick and case.slow)]
    options = ["--probe"] if known.probe else []
    if known.oldest:
        with oldest(known.venv) as python:
            return int(matrix(chosen, python, options, known.log) > 0)
    return int(matrix(chosen, sys.executable, options, known.log) > 0)


if __name__ == "__main__":
    sys.exit(main())
