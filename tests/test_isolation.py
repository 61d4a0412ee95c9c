"""A worker that crashes, hangs, eats memory or talks nonsense costs its model a reason code and nothing else."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from initlint.errors import Reason, Refusal
from initlint.isolation import Limits, Progress, Worker, allowed_seconds

PRELUDE = """
import os, sys, time, json
def send(kind, content):
    os.write(1, kind + len(content).to_bytes(8, "little") + content)
def receive():
    head = sys.stdin.buffer.read(9)
    return sys.stdin.buffer.read(int.from_bytes(head[1:], "little")) if len(head) == 9 else b""
"""


def worker(body: str, megabytes: int = 300) -> Worker:
    return Worker(megabytes, program=("-c", PRELUDE + textwrap.dedent(body)))


def refusal(body: str, limits: Limits | None = None, megabytes: int = 300) -> Refusal:
    with worker(body, megabytes) as process, pytest.raises(Refusal) as caught:
        process.run(b"{}", limits or Limits(5.0))
    return caught.value


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_several_models_in_one_life() -> None:
    """A worker answers one request after another, with progress on the way."""
    seen: list[Progress] = []
    with worker(
        """
        while request := receive():
            send(b"P", b'{"stage":"open","nodes":10,"size":20}')
            send(b"F", b"facts of " + request)
            send(b"R", request.upper())
        """
    ) as process:
        for request in (b"a", b"b"):
            reply = process.run(request, Limits(5.0), seen.append)
            assert (reply.report, reply.facts) == (request.upper(), b"facts of " + request)
        assert process.alive
    assert seen == [Progress("open", 10, 20)] * 2


def test_large_replies() -> None:
    """A reply larger than any pipe's buffer arrives whole."""
    with worker("receive(); send(b'F', b'x' * 20_000_000); send(b'R', b'y'); receive()") as process:
        assert len(process.run(b"", Limits(10.0)).facts) == 20_000_000


def test_refusal_passes_through() -> None:
    """What the analysis refuses keeps its reason and its words."""
    said = refusal("receive(); send(b'E', json.dumps({'reason': 'truncated', 'message': 'ends\\nearly'}).encode())")
    assert (said.reason, said.message) == (Reason.TRUNCATED, "ends\\x0aearly")


def test_hang() -> None:
    """A worker past its deadline is killed, within two seconds of it."""
    start = time.monotonic()
    said = refusal("receive(); time.sleep(60)", Limits(0.6))
    assert said.reason == Reason.DEADLINE
    assert time.monotonic() - start < 2.6


def test_deadline_grows_with_the_model() -> None:
    """Ten seconds, one more for 1,500 nodes and one more for 15 MB."""
    assert allowed_seconds(0, 0) == 10
    assert allowed_seconds(30_000_000, 3_000) == 14


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory() -> None:
    """A worker that holds more than its share is killed and said to be so."""
    said = refusal(
        "receive(); held = [bytearray(os.urandom(1)) * 10_000_000 for _ in iter(lambda: time.sleep(.002), 1)]"
    )
    assert said.reason == Reason.MEMORY
    assert "300 MB" in said.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("receive(); os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("receive(); os.kill(os.getpid(), 8)", "SIGFPE"),
        ("receive(); os.kill(os.getpid(), 9)", "SIGKILL"),
        ("receive(); os._exit(3)", "exit code 3"),
        ("receive(); print('boo\\x1b[2J', file=sys.stderr); os._exit(1)", "boo\\x1b[2J"),
        ("os._exit(0)", "crashed"),
        ("receive(); os.close(1); time.sleep(30)", "SIGKILL"),
        ("receive(); os.write(1, b'\\xff' * 100); time.sleep(30)", "crashed"),
        ("receive(); send(b'E', b'nonsense'); time.sleep(30)", "crashed"),
        ("receive(); send(b'P', b'{'); time.sleep(30)", "crashed"),
        ("receive(); os.write(1, b'R' + (5).to_bytes(8, 'little') + b'abc')", "exit code 0"),
    ],
)
def test_crash(body: str, words: str) -> None:
    """However a worker ends, one line says how."""
    said = refusal(body)
    assert said.reason == Reason.CRASH
    assert words in said.message
    assert "\n" not in said.message


def test_children_end_too() -> None:
    """What a killed worker started does not outlive it."""
    with worker(
        """
        receive()
        child = os.fork()
        if not child:
            time.sleep(60)
        send(b"P", json.dumps({"stage": str(child)}).encode())
        time.sleep(60)
        """
    ) as process:
        seen: list[Progress] = []
        with pytest.raises(Refusal):
            process.run(b"", Limits(1.0), seen.append)
    deadline = time.monotonic() + 5
    while not gone(int(seen[0].stage)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(int(seen[0].stage))


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_no_orphan_when_the_parent_is_killed(tmp_path: Path) -> None:
    """kill -9 of the parent takes the worker with it."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal\nfrom initlint.isolation import Worker\nworker = Worker(500)\n"
        "print(worker._process.pid, flush=True)\nsignal.pause()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        time.sleep(0.5)
        parent.kill()
    deadline = time.monotonic() + 10
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(pid)
