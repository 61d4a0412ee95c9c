"""How fast: whole processes and stages against reading the bytes, onnx, onnxruntime and other tools, in the same rounds.

    python tests/benchmarks/speed.py                           # everything that takes minutes
    python tests/benchmarks/speed.py start sizes --large       # also 2.2 GB inline and 10 GB of external data
    python tests/benchmarks/speed.py peers --peers VENV        # against tools installed in another environment

Every figure is taken in a process of its own. Ratios are formed within one round and the median over the rounds is shown, so
that what else the machine does falls on both sides; on a busy machine `--clock cpu` takes processor time, of all threads and
child processes, in place of the clock on the wall. Models lie in a temporary folder and are removed one by one.
"""

import argparse
import compileall
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from synthesised import DTYPES, write_graph, write_model

STAGES = ("open", "layers", "weights", "signal", "gradient", "facts", "judge")

# Each prints {"seconds": ..., "megabytes": ...} of what follows its imports; sys.argv[1] is the model. The memory is Linux's high
# water mark of the program itself: getrusage counts what its parent held when it was started.
TAIL = "; print(json.dumps({'seconds': time.perf_counter() - t, 'megabytes': m(), **extra}))"
HEAD = (
    "import json, re, sys, time; p = sys.argv[1]; extra = {}; "
    "m = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024; "
)
READ = HEAD + (
    "import os; b = memoryview(bytearray(1 << 20)); t = time.perf_counter()\n"
    "for q in [p, p[:-5] + '.data']:\n"
    "    if os.path.exists(q):\n"
    "        with open(q, 'rb', buffering=0) as f:\n"
    "            while f.readinto(b): pass\n"
    "print(json.dumps({'seconds': time.perf_counter() - t, 'megabytes': m()}))"
)
LOAD = HEAD + "import onnx; t = time.perf_counter(); x = onnx.load(p)" + TAIL
CHECKER = HEAD + "import onnx; t = time.perf_counter(); onnx.checker.check_model(p, full_check=True)" + TAIL
RUNTIME = HEAD + (
    "import numpy as np, onnxruntime as o; t = time.perf_counter(); s = o.InferenceSession(p, providers=['CPUExecutionProvider']); "
    "i = s.get_inputs()[0]; k = {'tensor(float)': np.float32, 'tensor(float16)': np.float16}[i.type]; "
    "s.run(None, {i.name: np.ones((1, i.shape[1]), k)})" + TAIL
)
WEIGHTS = HEAD + (
    "from initlint.model import open_model; from initlint.weights import statistics, ChannelLayout\n"
    "from concurrent.futures import ThreadPoolExecutor\n"
    "t = time.perf_counter()\n"
    "with open_model(p) as model, ThreadPoolExecutor(2) as pool:\n"
    "    tensors = [item for item in model.initializers() if item.count > 4096]\n"
    "    extra['parameters'] = sum(item.count for item in tensors)\n"
    "    layout = ChannelLayout((int(sys.argv[2]),)) if len(sys.argv) > 2 else None\n"
    "    list(pool.map(lambda item: statistics(item, layout), tensors))\n"
    "print(json.dumps({'seconds': time.perf_counter() - t, 'megabytes': m(), **extra}))"
)
STATIC = HEAD + (
    "from initlint.analysis import Settings, analyse; from initlint.config import Config; t = time.perf_counter(); "
    "r = analyse(p, Settings(Config(), 'model')); extra = {'stages': r.run.seconds}" + TAIL
)
PROBE = HEAD + (
    "from initlint.analysis import Settings, analyse; from initlint.config import Config; t = time.perf_counter(); "
    "r = analyse(p, Settings(Config(probe=True), 'model')); extra = {'stages': r.run.seconds}" + TAIL
)
PEERS = {
    "polygraphy check lint": ("polygraphy", "check", "lint"),
    "modelaudit": ("modelaudit", "scan"),
    "weightwatcher": (
        "python",
        "-c",
        "import onnx, sys, weightwatcher as w; w.WeightWatcher(model=onnx.load(sys.argv[1])).analyze()",
    ),
}

FOUND = {"initlint": (0, 1, 2), "polygraphy check lint": (0, 1), "modelaudit": (0, 1)}  # exit codes of a run to its end


@dataclass(frozen=True, slots=True)
class Figure:
    """What one process took: None where it failed or ran out of time."""

    seconds: float | None
    megabytes: float = 0.0
    more: dict[str, object] | None = None


def installed(folder: Path) -> Path:
    """The package as pip leaves it, compiled: a confined worker writes no bytecode of its own."""
    root = Path(__file__).resolve().parents[2]
    shutil.copytree(root / "initlint", folder / "initlint", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "rules", folder / "initlint" / "rules")
    compileall.compile_dir(folder / "initlint", quiet=1)
    return folder


def environment(package: Path, clock: str) -> dict[str, str]:
    """Where the package is, and which clock is read."""
    return {**os.environ, "PYTHONPATH": str(package), "SPEED_CLOCK": clock}


def told(program: str, *arguments: str, env: dict[str, str], limit: float = 900) -> Figure:
    """Run a program that prints its own figures."""
    if env["SPEED_CLOCK"] == "cpu":
        program = "import time; time.perf_counter = time.process_time\n" + program
    try:
        run = subprocess.run(
            [sys.executable, "-P", "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=limit,
            env=env,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return Figure(None)
    record = json.loads(run.stdout.splitlines()[-1])
    return Figure(record.pop("seconds"), record.pop("megabytes"), record)


def whole(*command: str, env: dict[str, str], limit: float = 900, codes: Sequence[int] = (0, 1, 2)) -> Figure:
    """Time a command from its start to its end."""
    begin, spent = time.perf_counter(), _spent()
    try:
        run = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=limit, env=env, check=False
        )
    except (subprocess.TimeoutExpired, FileNotFoundError):
        return Figure(None)
    taken = _spent() - spent if env["SPEED_CLOCK"] == "cpu" else time.perf_counter() - begin
    return Figure(taken if run.returncode in codes else None)


def _spent() -> float:
    """Processor time of all child processes so far, their own included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def initlint(*arguments: str) -> tuple[str, ...]:
    """The command as a process of this interpreter."""
    return (sys.executable, "-P", "-m", "initlint", *arguments)


def ratio(figures: Sequence[Figure], base: Sequence[Figure]) -> str:
    """Median over the rounds of one time over another."""
    pairs = [(a.seconds, b.seconds) for a, b in zip(figures, base, strict=True)]
    known = [a / b for a, b in pairs if a is not None and b is not None]
    return f"{median(known):.3g}" if known else "-"


def time_of(figures: Sequence[Figure]) -> str:
    """Median seconds."""
    known = [item.seconds for item in figures if item.seconds is not None]
    return f"{median(known):.3g}" if known else "-"


def memory_of(figures: Sequence[Figure]) -> str:
    """Largest resident memory."""
    known = [item.megabytes for item in figures if item.seconds is not None]
    return f"{max(known):.0f}" if known else "-"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def start(folder: Path, env: dict[str, str], rounds: int) -> None:
    """Start-up: commands against `python -c pass`, a 100 kB model against the imports that no ONNX tool avoids."""
    tiny = folder / "tiny.onnx"
    write_model(tiny, "float32", 0.1)
    commands = {
        "python -c pass": (sys.executable, "-c", "pass"),
        'python -c "import onnx, numpy"': (sys.executable, "-c", "import onnx, numpy"),
        "initlint --help": initlint("--help"),
        "initlint rules": initlint("rules"),
        "initlint explain IL201": initlint("explain", "IL201"),
        "initlint, 100 kB": initlint(str(tiny)),
    }
    taken: dict[str, list[Figure]] = {name: [] for name in commands}
    for _ in range(rounds + 1):  # the first fills the caches
        for name, command in commands.items():
            taken[name].append(whole(*command, env=env))
    taken = {name: figures[1:] for name, figures in taken.items()}
    bases = list(taken.values())[:2]
    rows = [[name, time_of(item), ratio(item, bases[0]), ratio(item, bases[1])] for name, item in taken.items()]
    table(["command", "s", "x `pass`", "x `import onnx, numpy`"], rows)
    tiny.unlink()


def sizes(folder: Path, env: dict[str, str], rounds: int, megabytes: Sequence[float], *, large: bool) -> None:
    """A float32 model of growing size against reading its bytes, and where the time goes."""
    cases = [(size, False) for size in megabytes] + [(max(megabytes), True)]
    cases += [(2200.0, False), (10_000.0, True)] if large else []
    rows, stages = [], []
    for size, external in cases:
        path = folder / "model.onnx"
        write_model(path, "float32", size, external=external)
        programs = {
            "read": READ,
            "load": LOAD,
            "checker": CHECKER,
            "runtime": RUNTIME,
            "weights": WEIGHTS,
            "static": STATIC,
        }
        if size > 2000:
            for name in ("load", "checker", "runtime") if not external else ("checker", "runtime", "load"):
                del programs[name]
        taken: dict[str, list[Figure]] = {name: [] for name in programs}
        for _ in range(rounds if size <= 2000 else 1):
            for name, program in programs.items():
                taken[name].append(told(program, str(path), env=env))
        read, absent = taken["read"], [Figure(None)] * len(taken["read"])
        label = f"{size:g} MB {'external' if external else 'inline'}"
        rows.append(
            [
                label, time_of(read), *(ratio(taken.get(name, absent), read) for name in ("load", "checker", "runtime")),
                ratio(taken["weights"], read), ratio(taken["static"], read),
                ratio(taken["static"], taken.get("load", absent)),
                *(memory_of(taken.get(name, absent)) for name in ("load", "weights", "static")),
            ]
        )  # fmt: skip
        stages.append([label, *_stage_cells(taken["static"])])
        for file in folder.glob("model.*"):
            file.unlink()
    table(
        ["float32", "read, s", "onnx.load", "checker, full", "onnxruntime", "weights", "static", "static / load",
         "MB load", "MB weights", "MB static"], rows,
    )  # fmt: skip
    table(["seconds by stage", *STAGES], stages)


def _stage_cells(figures: Sequence[Figure]) -> list[str]:
    known = [item.more["stages"] for item in figures if item.more is not None]
    return [f"{median(float(item.get(stage, 0)) for item in known):.2g}" if known else "-" for stage in STAGES]  # type: ignore[attr-defined]


def types(folder: Path, env: dict[str, str], rounds: int, megabytes: float) -> None:
    """Statistics of every element type, a parameter's time against float32's; figures by channel against none."""
    taken: dict[str, dict[str, list[Figure]]] = {dtype: {} for dtype in DTYPES}
    for dtype in DTYPES:
        write_model(folder / f"{dtype}.onnx", dtype, megabytes)
    cases = {"read": (READ,), "plain": (WEIGHTS,), "rows": (WEIGHTS, "0"), "columns": (WEIGHTS, "1")}
    for _ in range(rounds):
        for dtype in DTYPES:
            for case, (program, *arguments) in cases.items():
                found = told(program, str(folder / f"{dtype}.onnx"), *arguments, env=env)
                taken[dtype].setdefault(case, []).append(found)
    rows = []
    for dtype in DTYPES:
        own = taken[dtype]
        each = {name: [_per_parameter(item) for item in taken[name]["plain"]] for name in (dtype, "float32")}
        rows.append(
            [dtype, ratio(own["plain"], own["read"]), ratio(each[dtype], each["float32"]),
             ratio(own["rows"], own["plain"]), ratio(own["columns"], own["plain"]), memory_of(own["plain"])]
        )  # fmt: skip
    table([f"{megabytes:g} MB of", "x read", "a parameter, x float32", "rows / plain", "columns / plain", "MB"], rows)
    for dtype in DTYPES:
        (folder / f"{dtype}.onnx").unlink()


def _per_parameter(figure: Figure) -> Figure:
    count = float(str((figure.more or {}).get("parameters", 1)))
    return Figure(None if figure.seconds is None else figure.seconds / count)


def graphs(folder: Path, env: dict[str, str], rounds: int) -> None:
    """Graphs of growing length, and many layers: time, memory, the sizes of the report and of the page."""
    rows = []
    for nodes, layers in ((1_000, None), (10_000, None), (100_000, None), (30_000, 10_000)):
        path = folder / "graph.onnx"
        write_graph(path, nodes, layers=layers)
        found = [told(STATIC, str(path), env=env) for _ in range(rounds if nodes < 100_000 else 1)]
        documents = [f"html:{folder / 'page.html'}", f"json:{folder / 'report.json'}"]
        outputs = [part for item in documents for part in ("-o", item)]
        full = whole(*initlint(str(path), "-q", "--timeout", "600", *outputs), env=env)
        written = [
            f"{file.stat().st_size / 1e6:.2g}"
            for name in ("report.json", "page.html")
            if (file := folder / name).exists()
        ]
        label = f"{nodes:,} nodes" if layers is None else f"{nodes:,} nodes, {layers:,} layers"
        rows.append([label, time_of(found), memory_of(found), *_stage_cells(found), time_of([full]), *written])
        for file in (path, folder / "page.html", folder / "report.json"):
            file.unlink(missing_ok=True)
    table(["graph", "s", "MB", *STAGES, "whole process with documents, s", "JSON, MB", "HTML, MB"], rows)


def peers(folder: Path, env: dict[str, str], rounds: int, megabytes: Sequence[float], venv: Path) -> None:
    """Other tools on the same file, whole processes."""
    rows = []
    for size in megabytes:
        path = folder / "model.onnx"
        write_model(path, "float32", size)
        commands = {"initlint": initlint(str(path), "-q")}
        commands["onnx.checker, full"] = (sys.executable, "-c", CHECKER, str(path))
        for name, (tool, *arguments) in PEERS.items():
            commands[name] = (str(venv / "bin" / tool), *arguments, str(path))
        own = {key: value for key, value in env.items() if key != "PYTHONPATH"}  # theirs, not this package
        taken: dict[str, list[Figure]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                taken[name].append(
                    whole(*command, env=env if name == "initlint" else own, limit=300, codes=FOUND.get(name, (0,)))
                )
        rows += [[f"{size:g} MB", name, time_of(item), ratio(item, taken["initlint"])] for name, item in taken.items()]
        path.unlink()
    table(["model", "tool", "s", "x initlint"], rows)


def cache(folder: Path, env: dict[str, str], rounds: int, megabytes: float) -> None:
    """An unchanged model with `--cache`, against one sha256 of it and against its analysis."""
    path = folder / "model.onnx"
    write_model(path, "float32", megabytes)
    command = initlint(str(path), "-q", "--cache", str(folder / "cache"))
    digest = (
        sys.executable,
        "-c",
        "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')",
        str(path),
    )
    first = whole(*command, env=env)
    again, hashed = [], []
    for _ in range(rounds):
        again.append(whole(*command, env=env))
        hashed.append(whole(*digest, env=env))
    kept = sum(file.stat().st_size for file in (folder / "cache").rglob("*") if file.is_file())
    rows = [[f"{megabytes:g} MB", time_of([first]), time_of(again), ratio(again, hashed), f"{kept / 1e3:.0f}"]]
    table(["model", "first, s", "again, s", "again / sha256", "entry, kB"], rows)
    path.unlink()


def probed(folder: Path, env: dict[str, str], rounds: int, megabytes: Sequence[float]) -> None:
    """The probe, in all, against an onnxruntime session and one inference."""
    rows = []
    for size in megabytes:
        path = folder / "model.onnx"
        write_model(path, "float32", size)
        found = {"runtime": [], "probe": []}  # type: dict[str, list[Figure]]
        for _ in range(rounds):
            found["runtime"].append(told(RUNTIME, str(path), env=env))
            found["probe"].append(told(PROBE, str(path), env=env))
        stage = [
            Figure(float(item.more["stages"]["probe"]))  # type: ignore[index]
            for item in found["probe"]
            if item.more is not None
        ]
        rows.append([f"{size:g} MB", time_of(found["runtime"]), ratio(stage, found["runtime"])])
        path.unlink()
    table(["model", "onnxruntime, s", "probe / onnxruntime"], rows)


def main() -> None:
    """Run the parts that were named."""
    parts = ("start", "sizes", "types", "graphs", "cache", "probe", "peers")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(parts[:-1]), choices=[*parts, []])
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--large", action="store_true", help="also 2.2 GB inline and 10 GB external (needs the disk)")
    parser.add_argument("--peers", type=Path, help="environment in which the other tools are installed")
    parser.add_argument("--folder", help="where models are written")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name, tempfile.TemporaryDirectory() as package:
        folder, env = Path(name), environment(installed(Path(package)), given.clock)
        for part in given.parts:
            print(f"## {part}, {os.cpu_count()} cores, {given.clock} time\n", flush=True)
            match part:
                case "start":
                    start(folder, env, max(given.rounds, 7))
                case "sizes":
                    sizes(folder, env, given.rounds, given.megabytes, large=given.large)
                case "types":
                    types(folder, env, given.rounds, 200)
                case "graphs":
                    graphs(folder, env, given.rounds)
                case "cache":
                    cache(folder, env, given.rounds, 200)
                case "probe":
                    probed(folder, env, given.rounds, [size for size in given.megabytes if size <= 200])
                case "peers" if given.peers is not None:
                    peers(
                        folder, env, given.rounds, [size for size in given.megabytes if 10 <= size <= 200], given.peers
                    )


if __name__ == "__main__":
    main()
