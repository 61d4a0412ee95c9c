"""`initlint scan --cluster` against real `dask scheduler` and `dask worker` processes on this machine."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from initlint.config import Config
from initlint.fleet.content import content_of
from initlint.fleet.records import Task
from tests.commandline import environment, initlint, start
from tests.fleet.dask import Cluster
from tests.fleet.harness import ask, children, contents, fill, recorded, wait_until

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

MODELS = 12


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some models and the store of a local scan over them."""
    folder = tmp_path_factory.mktemp("fleet")
    fill(folder / "m", good=MODELS - 2, bad=2)
    shutil.copy(folder / "m/good0001.onnx", folder / "m/zcopy.onnx")
    (folder / "m/torn.onnx").write_bytes(b"\x08\x07\x3a\x7f")
    assert initlint("scan", "m", "-s", "whole", "-j2", "--max-refused", "1", cwd=folder).returncode == 1
    return folder


def test_workers_killed(fleet: Path, cluster: Cluster) -> None:
    """Workers that are killed on the way cost nothing, their children go with them, and the store is a local scan's."""
    for _ in range(2):
        cluster.begin_worker()
    process = start("scan", "m", "-s", "s", "--max-refused", "1", "--cluster", cluster.address, cwd=fleet)
    for goal in (1, 6):
        wait_until(lambda: recorded(fleet / "s") >= goal)  # noqa: B023 - done before it changes
        victim = cluster.workers.pop(0)
        offspring = children(victim.pid)
        cluster.begin_worker()
        victim.kill()
        victim.wait()
        wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in offspring))  # noqa: B023 - as above
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (1, ""), errors
    assert contents(fleet / "s") == contents(fleet / "whole")


def test_bad_model_spares_the_worker(fleet: Path, cluster: Cluster) -> None:
    """A child that is killed at its model is replaced; the Dask worker lives on."""
    cluster.begin_worker()
    process = start("scan", "m", "-s", "child", "--max-refused", "1", "--cluster", cluster.address, cwd=fleet)
    wait_until(lambda: recorded(fleet / "child") >= 2)
    for child in children(cluster.workers[0].pid):
        os.kill(child, signal.SIGKILL)
    assert process.wait(timeout=120) == 1
    assert cluster.workers[0].poll() is None
    assert contents(fleet / "child") == contents(fleet / "whole")


def test_scheduler_killed(fleet: Path, cluster: Cluster) -> None:
    """A scheduler that dies is waited for; what was under way is handed in again."""
    cluster.begin_worker()
    process = start("scan", "m", "-s", "again", "--max-refused", "1", "--cluster", cluster.address, cwd=fleet)
    wait_until(lambda: recorded(fleet / "again") >= 2)
    cluster.scheduler.kill()
    cluster.scheduler.wait()
    cluster.workers[0].kill()
    time.sleep(0.5)
    cluster.scheduler = cluster.begin_scheduler()
    cluster.begin_worker()
    assert process.wait(timeout=120) == 1
    assert contents(fleet / "again") == contents(fleet / "whole")


def test_objects_are_fetched_once(fleet: Path, cluster: Cluster, tmp_path: Path) -> None:
    """What a worker fetched for a content it still has for the report; at the end it has nothing of it."""
    pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
    s3server = pytest.importorskip(
        "tests.fleet.s3server", reason="the S3 server of the tests is not installed", exc_type=ImportError
    )
    server = s3server.Store()
    server.fill("bucket", fleet / "m")
    for _ in range(2):
        cluster.begin_worker(**server.user())
    result = initlint(
        "scan", "s3://bucket", "-s", "s", "--max-refused", "1", "--cluster", cluster.address, cwd=tmp_path, **server.user()
    )  # fmt: skip
    server.server.shutdown()
    assert (result.returncode, result.stderr) == (1, "")
    assert server.sent == {path.name: 1 for path in (fleet / "m").iterdir()}
    question = "SELECT content, bytes, outcome, verdict, errors, reason FROM model ORDER BY name"
    assert ask(tmp_path / "s", question) == ask(fleet / "whole", question)
    assert cluster.workers[0].poll() is None
    assert not list(tmp_path.rglob("initlint-*/*"))


def test_a_task_that_never_arrives(fleet: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that goes down with its connection, of which Dask says nothing, is handed in again."""
    from initlint.fleet import cluster as pools  # noqa: PLC0415 - an extra

    monkeypatch.setattr(pools, "LOOK", 0.1)
    cluster.begin_worker()
    pool = pools.ClusterPool(cluster.address)
    try:
        send, dropped = pool._client._send_to_scheduler, []

        def sent(message: dict[str, object]) -> None:
            if message["op"] == "update-graph" and not dropped:
                dropped.append(message)
            else:
                send(message)

        monkeypatch.setattr(pool._client, "_send_to_scheduler", sent)
        path = os.fsencode(fleet / "m/good0001.onnx")
        answer = pool.submit(Task("content", "m", path, os.fsencode(fleet), Config())).result(timeout=120)
        assert dropped
        assert answer.content == content_of(os.fsdecode(path))[0]
    finally:
        pool.close()


def test_nobody_there(fleet: Path) -> None:
    """An address at which no scheduler answers is one line and code 2."""
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        result = initlint("scan", "m", "-s", "none", "--cluster", address, cwd=fleet)
        assert result.returncode == 2
        assert address in result.stderr
        assert result.stderr.count("\n") == 1


def test_another_version(fleet: Path, cluster: Cluster, tmp_path: Path) -> None:
    """A worker with another initlint is refused before any model is opened."""
    (tmp_path / "sitecustomize.py").write_text("import initlint\ninitlint.__version__ = '0.0.9'\n")
    cluster.begin_worker(PYTHONPATH=f"{tmp_path}{os.pathsep}{environment()['PYTHONPATH']}")
    result = initlint("scan", "m", "-s", "other", "--cluster", cluster.address, cwd=fleet)
    assert result.returncode == 2
    assert "has initlint 0.0.9, not " in result.stderr
    assert ask(fleet / "other", "SELECT count(*) FROM run") == [(0,)]
