"""Run analyses in a worker process that may crash, hang or eat memory without harm: it is killed and its file is to blame.

The parent imports nothing heavy. A worker is `python -m initlint._worker` in a session of its own, spoken to over pipes
(never `multiprocessing`, which breaks scripts without a main guard). Frames are one byte of kind, eight of length, the
content. A worker serves any number of models, one at a time.
"""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from initlint.errors import Reason, Refusal
from initlint.sandbox import Cage
from initlint.text import safe

__all__ = ["Limits", "Progress", "Reply", "Worker", "allowed_seconds"]

TICK = 0.05  # seconds between two looks at the clock and at the worker's memory
GRACE = 0.25  # seconds a worker has to end by itself once its pipe is closed
LARGEST_FRAME = 1 << 31
PRIVATE = re.compile(rb"^Rss(?:Anon|Shmem):\s*(\d+)", re.MULTILINE)
PIPE = 1 << 16  # bytes that a pipe holds: more than that never arrives at once
STDERR_KEPT = 4096
WORKER_PROGRAM = ("-m", "initlint._worker")


class Progress(msgspec.Struct, frozen=True):
    """What a worker says on the way: the stage it has reached, and how large the model turned out to be."""

    stage: str
    nodes: int = 0
    size: int = 0
    seconds: float = 0.0  # further time the stage asks for


class Limits(msgspec.Struct, frozen=True):
    """How long one model may take and how much memory a worker may hold."""

    seconds: float | None = None  # None: by the model's size
    megabytes: int = 4096


class Reply(msgspec.Struct, frozen=True):
    """What came back for one model: the report as JSON, the fact tables as a serialized SQLite database."""

    report: bytes
    facts: bytes
    isolation: str = "process"
    cached: bool = False


def allowed_seconds(size: int, nodes: int) -> float:
    """Deadline of a static analysis: 10 s, a second per 1,500 nodes and a second per 15 MB.

    A graph of 100,000 nodes with 17,000 layers takes 48 s on one core: it is given 77.
    """
    return 10.0 + nodes / 1_500 + size / 15e6


class Worker:
    """One worker process. Use it as a context manager: leaving it kills whatever still runs."""

    def __init__(
        self,
        megabytes: int = 4096,
        *,
        threads: int | None = None,
        program: Sequence[str] = WORKER_PROGRAM,
        what: str = "the analysis",
        cage: Cage | None = None,
    ) -> None:
        self.megabytes = megabytes
        self.what = what
        self._stderr = b""
        self._too_large = False
        self.held = ""  # what the worker says holds of its cage
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", *program, str(megabytes), str(os.getpid()), *(["confined"] if cage else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=_environment(threads),
            bufsize=0,
        )
        if cage is not None:
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):  # what became of it is asked with the first model
                self._process.stdin.write(_frame(b"C", cage.to_bytes()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the process can take another model."""
        return self._process.poll() is None

    def run(self, request: bytes, limits: Limits, watch: Callable[[Progress], None] | None = None) -> Reply:
        """Analyse one model; `Refusal` with what the worker said of it, or with how the worker ended."""
        assert self._process.stdin is not None
        start = time.monotonic()
        allowed = limits.seconds or allowed_seconds(0, 0)
        try:
            self._process.stdin.write(_frame(b"Q", request))
            facts = b""
            for kind, content in self._frames(lambda: start + allowed):  # noqa: B023 - the deadline moves while frames arrive
                if kind == b"P":
                    progress = msgspec.json.decode(content, type=Progress)
                    if limits.seconds is None:
                        allowed = max(allowed, allowed_seconds(progress.size, progress.nodes)) + progress.seconds
                    if watch is not None:
                        watch(progress)
                elif kind == b"F":
                    facts = content
                elif kind == b"I":
                    self.held = content.decode()
                elif kind == b"R":
                    return Reply(content, facts, self.isolation)
                else:
                    said = msgspec.json.decode(content, type=dict[str, str])
                    raise Refusal(Reason(said["reason"]), safe(said["message"], 1000))
        except (OSError, ValueError, msgspec.DecodeError):
            self.kill()
        raise self._ended(allowed, deadline_passed=time.monotonic() - start >= allowed)

    @property
    def isolation(self) -> str:
        """What keeps this worker apart, in words."""
        return ", ".join(filter(None, ("process", self.held)))

    def kill(self) -> None:
        """End the worker and everything it started, at once."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let an idle worker end by itself; kill one that does not."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(GRACE)
        except (OSError, subprocess.TimeoutExpired):
            self.kill()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _frames(self, deadline: Callable[[], float]) -> Iterator[tuple[bytes, bytes]]:
        """Frames as they arrive, until the worker ends or a limit is passed; then it is dead when this returns."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        pending = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            selector.register(self._process.stderr, selectors.EVENT_READ)
            looked = time.monotonic()
            while True:
                now = time.monotonic()
                remaining = deadline() - now
                if now - looked >= TICK:  # a look costs as much as a small model's answer
                    looked, self._too_large = now, _resident_megabytes(self._process.pid) > self.megabytes
                if remaining <= 0 or self._too_large:
                    self.kill()
                    return
                for key, _ in selector.select(min(TICK, remaining)):
                    received = os.read(key.fd, PIPE)
                    if key.fileobj is self._process.stderr:
                        self._stderr = (self._stderr + received)[-STDERR_KEPT:]
                        if not received:
                            selector.unregister(self._process.stderr)
                        continue
                    if not received:
                        self._reap()
                        return
                    pending += received
                    yield from _complete(pending)

    def _reap(self) -> None:
        """Wait for a worker that has closed its pipe; one that lives on all the same is killed."""
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()

    def _ended(self, allowed: float, *, deadline_passed: bool) -> Refusal:
        code = self._process.wait()
        if deadline_passed and not self._too_large:
            return Refusal(Reason.DEADLINE, f"{self.what} took longer than {allowed:.0f} s; --timeout allows more")
        last = self._stderr.decode(errors="replace").strip().splitlines()
        if self._too_large:
            return Refusal(
                Reason.MEMORY, f"{self.what} needed more than {self.megabytes} MB of memory; --memory allows more"
            )
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL:
            how += ": stopped from outside, as the system does when memory runs out"
        said = f": {safe(last[-1])}" if last else ""
        return Refusal(Reason.CRASH, f"{self.what} crashed ({how}){said}")


def _frame(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(8, "little") + content


def _complete(pending: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take whole frames off the front of what has been received."""
    while len(pending) >= 9:
        length = int.from_bytes(pending[1:9], "little")
        if length > LARGEST_FRAME:
            raise ValueError(length)
        if len(pending) < 9 + length:
            return
        kind, content = bytes(pending[:1]), bytes(pending[9 : 9 + length])
        del pending[: 9 + length]
        yield kind, content


def _environment(threads: int | None) -> dict[str, str]:
    """The worker's environment: this very package importable, a fixed number of threads for BLAS."""
    environment = dict(os.environ)
    root = Path(__file__).resolve().parent.parent
    if root.name not in {"site-packages", "dist-packages"}:  # run from a source tree
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else str(root)
    environment["PYTHONHASHSEED"] = "0"  # nothing may depend on it; fixed all the same
    if threads is not None:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
            environment[name] = str(threads)
    return environment


def _resident_megabytes(pid: int) -> float:
    """Memory of a process and its children that belongs to it alone; 0 where the system does not say (no /proc)."""
    total, pending = 0, [pid]
    while pending:
        process = pending.pop()
        try:
            status = Path(f"/proc/{process}/status").read_bytes()
            children = Path(f"/proc/{process}/task/{process}/children").read_bytes()
        except OSError:
            continue
        # Pages of mapped files can be dropped at any time: only anonymous and shared memory counts.
        total += sum(map(int, PRIVATE.findall(status)))
        pending.extend(map(int, children.split()))
    return total / 1024
