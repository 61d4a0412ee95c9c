"""kill -9 at random moments, of everything that a scan consists of; each run is compared with one that nobody disturbed."""

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.commandline import COMMAND, ROOT, environment, start
from tests.fleet.dask import Cluster
from tests.fleet.harness import ask, children, contents, kill_parent, recorded, tear_store

__all__ = ["kills"]

SEASONED = 0.8  # seconds of processor time; starting takes half of it
ENDED = (0, 1)  # exit codes of a scan that was not disturbed


def kills(options: argparse.Namespace) -> None:
    """Kill and resume until the rounds are done; the last run is left to end."""
    with tempfile.TemporaryDirectory(dir=options.folder.parent) as folder:
        whole, store = Path(folder, "whole.sqlite"), Path(folder, "killed.sqlite")
        _scan(options.folder, "-s", whole)
        chance = random.Random(options.seed)
        if options.kinds == "cluster":
            counts, runs = _on_a_cluster(options, chance, store, whole)
        else:
            counts, runs = _here(options, chance, store, whole)
    print(counts.total(), "rounds over", runs, "runs, each equal to the undisturbed one:", dict(counts))


def _here(options: argparse.Namespace, chance: random.Random, store: Path, whole: Path) -> tuple[Counter[str], int]:
    """Kill the scan, a worker, or the scan and part of its log."""
    counts: Counter[str] = Counter()
    kinds, run = options.kinds.split(","), 1
    while counts.total() < options.rounds:
        process = start(*_arguments(options.folder), "-s", store, "--resume", cwd=ROOT)
        while process.poll() is None and counts.total() < options.rounds:
            _wait(process, store, run, recorded(store, run) + chance.randrange(1, 4))
            time.sleep(chance.random() * 0.05)
            what = chance.choice(kinds)
            if what == "worker":
                counts[what] += _kill_seasoned(process.pid)
            elif process.poll() is None:
                counts[what] += 1
                (kill_parent if what == "parent" else tear_store)(process, store)
                break
        process.communicate()
        if _finished(store, run):
            _compare(store, run, whole)
            run += 1
            print(dict(counts), flush=True)
    _scan(options.folder, "-s", store, "--resume")
    _compare(store, run, whole)
    return counts, run


def _on_a_cluster(
    options: argparse.Namespace, chance: random.Random, store: Path, whole: Path
) -> tuple[Counter[str], int]:
    """Kill a Dask worker, a child of one, the scheduler with its workers, or the scan itself."""
    counts: Counter[str] = Counter()
    run = 1
    cluster = Cluster(store.parent)
    try:
        for _ in range(2):
            cluster.begin_worker()
        while counts.total() < options.rounds:
            cluster.wait()
            process = start(
                *_arguments(options.folder), "-s", store, "--cluster", cluster.address, "--resume", cwd=ROOT
            )
            while process.poll() is None and counts.total() < options.rounds:
                _wait(process, store, run, recorded(store, run) + chance.randrange(2, 12))
                time.sleep(chance.random() * 0.05)
                if process.poll() is None:
                    kill = chance.choice(PARTS)
                    counts[kill.__name__.removeprefix("_kill_")] += kill(cluster, process)
            _, errors = process.communicate(timeout=600)
            assert process.returncode in {*ENDED, -signal.SIGKILL}, errors
            if _finished(store, run):
                _compare(store, run, whole)
                run += 1
                print(dict(counts), flush=True)
        if not _finished(store, run):
            cluster.wait()
            _scan(options.folder, "-s", store, "--cluster", cluster.address, "--resume")
            _compare(store, run, whole)
    finally:
        cluster.end()
    return counts, run


def _kill_dask_worker(cluster: Cluster, process: "subprocess.Popen[str]") -> int:  # noqa: ARG001 - one of several
    """A new one takes its place."""
    victim = cluster.workers.pop(0)
    cluster.begin_worker()
    victim.kill()
    victim.wait()
    return 1


def _kill_child(cluster: Cluster, process: "subprocess.Popen[str]") -> int:  # noqa: ARG001 - as above
    """The process in which a Dask worker has its models analysed; a second one would be the model's last try."""
    return _kill_seasoned(cluster.workers[0].pid)


def _kill_scheduler(cluster: Cluster, process: "subprocess.Popen[str]") -> int:  # noqa: ARG001 - as above
    """It comes back at the same address, with other workers."""
    for victim in (cluster.scheduler, *cluster.workers):
        victim.kill()
        victim.wait()
    cluster.workers.clear()
    cluster.scheduler = cluster.begin_scheduler()
    for _ in range(2):
        cluster.begin_worker()
    return 1


def _kill_client(cluster: Cluster, process: "subprocess.Popen[str]") -> int:  # noqa: ARG001 - as above
    """The scan itself; the cluster lives on."""
    process.kill()
    process.wait()
    return 1


PARTS: tuple[Callable[[Cluster, "subprocess.Popen[str]"], int], ...] = (
    _kill_dask_worker, _kill_dask_worker, _kill_child, _kill_scheduler, _kill_client,
)  # fmt: skip


def _arguments(folder: Path) -> tuple[str | Path, ...]:
    return ("scan", folder, "-j", "2", "--isolated", "--max-refused", "1")


def _scan(folder: Path, *more: str | Path) -> None:
    """A scan that nobody disturbs."""
    done = subprocess.run(
        [*COMMAND, *_arguments(folder), *more], env=environment(), check=False, capture_output=True, text=True
    )
    assert done.returncode in ENDED, done.stderr


def _wait(process: "subprocess.Popen[str]", store: Path, run: int, goal: int) -> None:
    while process.poll() is None and recorded(store, run) < goal:
        time.sleep(0.01)


def _finished(store: Path, run: int) -> bool:
    """Whether a run is closed; a log may have been cut back to before the run, or before the tables themselves."""
    with contextlib.suppress(sqlite3.OperationalError):
        return ask(store, "SELECT state FROM run WHERE id = ?", run) == [("finished",)]
    return False


def _kill_seasoned(process: int) -> bool:
    """Kill a worker that has done some models: a fresh one may have a model's second try, and there is no third."""
    for child in children(process):
        with contextlib.suppress(OSError, IndexError):
            fields = Path(f"/proc/{child}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
            if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > SEASONED:
                os.kill(child, signal.SIGKILL)
                return True
    return False


def _compare(store: Path, run: int, whole: Path) -> None:
    """Raise AssertionError, with the first rows that differ, where a run is not the undisturbed one."""
    found = _differences(store, run, whole)
    assert not found, "\n".join(found[:6])


def _differences(store: Path, run: int, whole: Path) -> list[str]:
    """Rows in which a run is not the undisturbed one, but for its number."""
    mine, other = contents(store, run), contents(whole)
    found = []
    for table in ("model", "layer", "finding", "rule"):
        here, there = (Counter(row[1:] for row in rows[table]) for rows in (mine, other))
        found += [f"{table}: {sign} {row}" for sign, rows in (("+", here - there), ("-", there - here)) for row in rows]
    return found
