"""A scan that is killed, or whose workers are: nothing is lost, nothing doubled, and the store is what it would have been."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commandline import initlint, start
from tests.fleet.harness import (
    ask,
    children,
    contents,
    fill,
    gone,
    kill_parent,
    kill_worker,
    recorded,
    tear_store,
    wait_until,
)

MODELS = 10


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some models, two of them equal, one refused, and the store of a scan that nobody disturbed."""
    folder = tmp_path_factory.mktemp("fleet")
    fill(folder / "m", good=MODELS - 4, bad=2)
    shutil.copy(folder / "m/good0001.onnx", folder / "m/zcopy.onnx")
    (folder / "m/torn.onnx").write_bytes(b"\x08\x07\x3a\x7f")
    assert initlint("scan", "m", "-s", "whole", "-j2", "--max-refused", "1", cwd=folder).returncode == 1
    return folder


@pytest.mark.parametrize("disturb", [kill_parent, tear_store, kill_worker])
def test_killed(fleet: Path, tmp_path: Path, disturb: Callable[..., None]) -> None:
    """However often it is killed, a scan that is resumed to its end holds what an undisturbed one holds."""
    store = tmp_path / "s"
    chance = random.Random(disturb.__name__)
    for goal in (1, 5):
        process = start("scan", "m", "-s", store, "-j2", "--max-refused", "1", "--resume", cwd=fleet)
        wait_until(lambda: recorded(store) >= goal or process.poll() is not None)  # noqa: B023 - done before it changes
        time.sleep(chance.random() * 0.1)
        workers = children(process.pid)
        disturb(process, store)
        if disturb is kill_worker:
            assert process.wait(timeout=120) == 1
            break
        process.communicate()
        wait_until(lambda: all(gone(worker) for worker in workers))  # noqa: B023 - as above
    result = initlint("scan", "m", "-s", store, "-j2", "--max-refused", "1", "--resume", cwd=fleet)
    assert result.returncode == 1
    last = ask(store, "SELECT max(id) FROM run")[0][0]
    assert contents(store, last)["model"] == [(last, *row[1:]) for row in contents(fleet / "whole")["model"]]
    if last == 1:
        assert contents(store) == contents(fleet / "whole")


def test_interrupted(fleet: Path, tmp_path: Path) -> None:
    """Ctrl-C is code 2 and one line, leaves no worker, and --resume goes on from there."""
    store = tmp_path / "s"
    process = start("scan", "m", "-s", store, "-j1", "--max-refused", "1", cwd=fleet)
    wait_until(lambda: recorded(store) >= 2)
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (2, "", "initlint: interrupted\n")
    wait_until(lambda: all(gone(worker) for worker in workers))
    before = ask(store, "SELECT name, recorded FROM model")
    initlint("scan", "m", "-s", store, "-j2", "--resume", cwd=fleet)
    assert contents(store) == {**contents(fleet / "whole"), "run": contents(store)["run"]}
    assert set(before) <= set(ask(store, "SELECT name, recorded FROM model"))


def test_late_worker(fleet: Path, tmp_path: Path) -> None:
    """A worker that hangs costs the model it is at, and no other."""
    store = tmp_path / "s"
    process = start("scan", "m", "-s", store, "-j1", "--timeout", "4", "--max-refused", "1", cwd=fleet)
    wait_until(lambda: recorded(store) >= 2)
    os.kill(children(process.pid)[0], signal.SIGSTOP)
    assert process.wait(timeout=120) == 1
    refused = ask(store, "SELECT name FROM model WHERE reason = 'deadline'")
    assert len(refused) == 1
    # Whether a model counts as linted or as a copy depends on which of the two was late; the verdict does not.
    whole, found = (
        [row for row in ask(path, "SELECT name, verdict FROM model ORDER BY name") if row[0] != refused[0][0]]
        for path in (fleet / "whole", store)
    )
    assert found == whole


def test_concurrent_scans(fleet: Path, tmp_path: Path) -> None:
    """Two scans into one new store at once: two runs, each whole. A run under way is not resumed by another process."""
    store = tmp_path / "s"
    arguments = ("scan", "m", "-s", store, "-j1", "--max-refused", "1")
    both = [start(*arguments, cwd=fleet) for _ in range(2)]
    wait_until(lambda: recorded(store, 2) >= 1)
    workers = [worker for process in both for worker in children(process.pid)]
    for worker in workers:  # held, so that a fast machine does not end the runs before the third is there
        os.kill(worker, signal.SIGSTOP)
    third = initlint(*arguments, "--resume", cwd=fleet)
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    assert third.returncode == 2
    assert "is under way" in third.stderr
    assert [process.wait(timeout=120) for process in both] == [1, 1]
    for run in (1, 2):
        found = contents(store, run)
        assert [row[1:] for row in found["model"]] == [row[1:] for row in contents(fleet / "whole")["model"]]
        assert len(found["finding"]) == len(contents(fleet / "whole")["finding"])


def test_resume_means_the_same_run(fleet: Path, tmp_path: Path) -> None:
    """A run is not resumed with other settings or paths; where none is left open, --resume begins a new one."""
    store = tmp_path / "s"
    process = start("scan", "m", "-s", store, "-j1", cwd=fleet)
    wait_until(lambda: recorded(store) >= 1)
    process.kill()
    process.communicate()
    for arguments, words in ((("m", "--phase", "init"), "other settings"), (("m/good0001.onnx",), "other arguments")):
        result = initlint("scan", *arguments, "-s", store, "--resume", cwd=fleet)
        assert result.returncode == 2
        assert words in result.stderr
    for _ in range(2):
        assert (
            initlint(
                "scan", "m", "-s", store, "-j2", "--fail-on", "never", "--max-refused", "1", "--resume", cwd=fleet
            ).returncode
            == 0
        )
    assert ask(store, "SELECT id, state FROM run ORDER BY id") == [(1, "finished"), (2, "finished")]
