"""How `initlint scan` scales: its figures in docs/fleet.md are rebuilt by these commands.

python tests/benchmarks/fleet.py make DIR --models 10000      models of three layers, each different, one in ten bad
python tests/benchmarks/fleet.py scan DIR --jobs 2            one scan: rate, CPU a model, the parent's memory over time
python tests/benchmarks/fleet.py overhead DIR --pairs 5       a scan against as many lints in one warm worker, in pairs
python tests/benchmarks/fleet.py workers DIR --pairs 5        two workers against one, in pairs
python tests/benchmarks/fleet.py kills DIR --rounds 100       kill -9 until done, each run compared with an undisturbed one
python tests/benchmarks/fleet.py kills DIR --kinds worker     the same of local workers; cluster: of a Dask cluster's parts
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.fleet_kills import kills
from tests.commandline import COMMAND, environment
from tests.fleet.harness import recorded

WIDTH = 32


def network(seed: int) -> bytes:
    """Three Gemm layers with ReLU, He-initialised; every tenth has one that is all zero."""
    rng = np.random.default_rng(seed)
    nodes, weights, name = [], [], "x"
    for index in range(3):
        scale = 0.0 if seed % 10 == 0 and index == 1 else (2 / WIDTH) ** 0.5
        weights.append(
            numpy_helper.from_array((scale * rng.standard_normal((WIDTH, WIDTH))).astype("float32"), f"w{index}")
        )
        nodes += [
            helper.make_node("Gemm", [name, f"w{index}"], [f"h{index}"], name=f"fc{index}"),
            helper.make_node("Relu", [f"h{index}"], [f"a{index}"], name=f"act{index}"),
        ]
        name = f"a{index}"
    ends = [helper.make_tensor_value_info(end, 1, [8, WIDTH]) for end in ("x", name)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def make(options: argparse.Namespace) -> None:
    """Write the models, a thousand to a folder."""
    for seed in range(options.models):
        folder = options.folder / f"{seed // 1000:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"m{seed:06}.onnx").write_bytes(network(seed))
    print(options.models, "models of", len(network(1)), "bytes")


def measured(program: str, *arguments: object) -> dict[str, float]:
    """Wall and CPU seconds of a Python program, its children included, and what it printed as JSON."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall": wall,
        "cpu": cpu,
        **(json.loads(done.stdout.splitlines()[-1]) if done.stdout.startswith("{") else {}),
    }


SINGLES = """
import sys
from pathlib import Path
from initlint.checking import analyse_in_worker
from initlint.config import resolve
from initlint.isolation import Worker
loaded = resolve({}, isolated=True)
with Worker(4096, threads=1) as worker:
    for path in sorted(Path(sys.argv[1]).rglob("*.onnx"))[:int(sys.argv[2])]:
        analyse_in_worker(str(path), loaded, worker)
    worker._process.stdin.close()
    worker._process.wait()  # its processor time counts
"""
SCAN = """
import sys
from pathlib import Path
from initlint.cli import run
run(["scan", *sys.argv[4:], "-s", sys.argv[1], "-j", sys.argv[2], "--isolated", "-q", "--max-refused", "1"])
"""


def fresh(folder: Path) -> Path:
    """The path of a store that does not exist yet."""
    store = folder.parent / f"store-{os.getpid()}-{time.monotonic_ns()}.sqlite"
    assert not store.exists()
    return store


def scanned(options: argparse.Namespace, jobs: int) -> dict[str, float]:
    """A scan over the first models of the folder; its store is removed."""
    paths = sorted(options.folder.rglob("*.onnx"))[: options.models]
    linked = options.folder.parent / f"first{len(paths)}"
    if not linked.exists():
        linked.mkdir()
        for path in paths:
            os.link(path, linked / path.name)
    store = fresh(options.folder)
    found = measured(SCAN, store, jobs, "-", linked)
    assert recorded(store) == len(paths)
    for path in store.parent.glob(store.name + "*"):
        path.unlink()
    return found


def pairs(
    options: argparse.Namespace, first: Callable[[], dict[str, float]], second: Callable[[], dict[str, float]]
) -> None:
    """Run both in turn; print the median of the ratios."""
    ratios: dict[str, list[float]] = {"wall": [], "cpu": []}
    for _ in range(options.pairs):
        one, two = first(), second()
        for name, values in ratios.items():
            values.append(two[name] / one[name])
        print({name: (round(one[name], 2), round(two[name], 2)) for name in ratios}, flush=True)
    print("median ratio:", {name: round(statistics.median(values), 3) for name, values in ratios.items()})


def overhead(options: argparse.Namespace) -> None:
    """A scan with one worker over the same lints in one warm worker."""
    pairs(options, lambda: measured(SINGLES, options.folder, options.models), lambda: scanned(options, 1))


def workers(options: argparse.Namespace) -> None:
    """Two workers over one: wall seconds of the second over the first."""
    pairs(options, lambda: scanned(options, 2), lambda: scanned(options, 1))


def scan(options: argparse.Namespace) -> None:
    """One scan, watched: models and resident memory of the parent every tenth of it."""
    store = options.store or fresh(options.folder)
    total = sum(1 for _ in options.folder.rglob("*.onnx"))
    begun = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = ("scan", options.folder, "-s", store, "-j", str(options.jobs), "--isolated", "--max-refused", "1")
    process = subprocess.Popen([*COMMAND, *arguments], env=environment())
    mark, own, looked = 0.0, 0.0, begun
    while process.poll() is None:
        time.sleep(0.2)
        own = _own_seconds(process.pid) or own
        if time.perf_counter() - looked < 5:
            continue
        looked = time.perf_counter()
        done = recorded(store)
        if done >= mark * total and done:
            mark = done / total + 0.1
            print(
                f"{done} models, {time.perf_counter() - begun:.0f} s, parent {_resident(process.pid):.1f} MB",
                flush=True,
            )
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{total} models in {wall:.0f} s, {cpu:.0f} s of processor, {1000 * cpu / total:.1f} ms a model ({1000 * own / total:.1f} of them the parent's own), {store.stat().st_size / total:.0f} bytes of store a model"
    )


def _own_seconds(process: int) -> float:
    """Processor time of a process without its children; 0 where it has gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(process: int) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0.0)


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["make", "scan", "overhead", "workers", "kills"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--kinds", default="parent,store", help="of kills: parent, store, worker; or cluster")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    {"make": make, "scan": scan, "overhead": overhead, "workers": workers, "kills": kills}[options.command](options)


if __name__ == "__main__":
    main()
