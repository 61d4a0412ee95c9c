"""The pool that is a Dask cluster: tasks go to an existing scheduler, and each model runs in a child of a Dask worker.

A task is named after what it is (file, content, settings), so that having it done twice does no harm. A worker that dies costs
nothing: Dask gives its tasks to another. A scheduler that dies is waited for, and everything under way is handed in again. What
a scheduler does not know of, whatever became of it on the way, is handed in again, too.
"""

import contextlib
import hashlib
import logging
import queue
import threading
import time
import uuid
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from initlint import __version__
from initlint.errors import Reason, Refusal
from initlint.fleet.dasktask import forget, perform, versions
from initlint.fleet.records import Answer, Copy, Task
from initlint.text import one_line, safe

__all__ = ["ClusterPool"]

SCHEMES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")
CONNECT = 10.0  # seconds to find the scheduler at first
WORKERS = 60.0  # seconds to wait for a first worker
PATIENCE = 300.0  # seconds to wait for a scheduler to come back
TRIES = 3  # for a task whose workers keep dying; each try outlives three of them
WIDTH_HOLDS = 5.0  # seconds for which the number of threads is taken as known
LOOK = 5.0  # seconds between two looks at what the scheduler knows
LOOKS = 3  # in a row in which it must not know of a task, nor be at it, for the task to be lost
AT_WORK = frozenset({"waiting", "queued", "no-worker", "processing"})  # states of a task that will be done
KILLED = frozenset({"KilledWorker", "CommClosedError", "FutureCancelledError"})


@dataclass(frozen=True, slots=True)
class Pending:
    """A task that is handed in, for the time it is tried under one key."""

    task: Task
    future: "Future[Answer]"
    attempt: int = 0
    kills: int = 0  # attempts that ended with their workers


class ClusterPool:
    """A connection to a scheduler. `notes` says what differs between here and there without making results wrong."""

    def __init__(self, address: str, *, patience: float = PATIENCE) -> None:
        if not address.startswith(SCHEMES):
            raise Refusal(Reason.USAGE, f"--cluster {safe(address)}: expected tcp://HOST:PORT or tls://HOST:PORT")
        self.address, self.patience = address, patience
        self.notes: list[str] = []
        self._scan = uuid.uuid4().hex
        self._closed = False
        self._client: Any = self._connect(CONNECT)
        try:
            self._check_versions()
        except BaseException:
            self._client.close()
            raise
        self._width, self._width_known = 1, 0.0
        self._copies = False  # whether workers may hold files
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}
        self._strayed: dict[str, int] = {}  # keys that the scheduler was not at, and in how many looks
        self._lost: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._mender = threading.Thread(target=self._mend, daemon=True)
        self._mender.start()

    @property
    def width(self) -> int:
        """Threads of all Dask workers, as of some seconds ago."""
        now = time.monotonic()
        if now - self._width_known > WIDTH_HOLDS and self._client.status == "running":
            with contextlib.suppress(OSError, ValueError, TimeoutError):  # the connection may just have gone
                self._width = max(1, sum(self._client.nthreads().values()))
            self._width_known = now
        return self._width

    def submit(self, task: Task) -> "Future[Answer]":
        """Hand a task to the scheduler."""
        future: Future[Answer] = Future()
        self._send(Pending(task, future))
        return future

    def release(self, copy: Copy) -> None:
        """Workers hold a few files and let go of the oldest, and of all at the end."""

    def close(self) -> None:
        """Let go of the scheduler; tasks under way are cancelled."""
        self._closed = True
        self._lost.put(None)
        if self._copies and self._client.status == "running":
            with contextlib.suppress(Exception):  # a worker that cannot be reached removes its folder when it ends
                self._client.run(forget, self._scan, on_error="ignore")
        self._client.close(timeout=5)

    def _send(self, item: Pending) -> None:
        payload = msgspec.msgpack.encode(item.task)
        # Two scans may share a report, which is of a content; what a file holds now each must ask for itself.
        named = payload + (self._scan.encode() if item.task.wants == "content" else b"")
        key = f"initlint-{hashlib.sha256(named).hexdigest()[:32]}-{item.attempt}"
        near = {} if item.task.copy is None else {"workers": [item.task.copy.worker], "allow_other_workers": True}
        with self._lock:
            self._pending[key] = item
        try:
            inner = self._client.get_executor(**near).submit(perform, payload, self._scan, key=key)
        except Exception:  # noqa: BLE001 - the client has lost its scheduler, in one of many ways
            self._lose(key)
            return
        inner.add_done_callback(lambda done: self._receive(done, key))

    def _lose(self, key: str, kills: int = 0) -> None:
        """Have a task handed in again, unless its answer is there or that is done already."""
        with self._lock:
            item = self._pending.pop(key, None)
        if item is not None:
            self._lost.put(replace(item, attempt=item.attempt + 1, kills=item.kills + kills))

    def _take(self, key: str) -> Pending | None:
        with self._lock:
            return self._pending.pop(key, None)

    def _receive(self, inner: "Future[bytes]", key: str) -> None:
        """What Dask says of a task: a result, which is checked, or how it was lost."""
        if self._closed:
            return
        try:
            answer = msgspec.msgpack.decode(inner.result(), type=Answer)
        except CancelledError:
            self._lose(key)
        except ImportError as error:
            if (item := self._take(key)) is not None:
                words = f"a Dask worker cannot import initlint: {one_line(error)}"
                item.future.set_exception(Refusal(Reason.USAGE, words))
        except Exception as error:  # noqa: BLE001 - whatever a worker or the wire raised
            with self._lock:
                found = self._pending.get(key)
            if found is not None and type(error).__name__ in KILLED and found.kills + 1 < TRIES:
                self._lose(key, kills=1)
            elif (item := self._take(key)) is not None:
                words = f"the cluster gave no answer: {type(error).__name__}: {one_line(error)}"
                item.future.set_result(Answer(__version__, reason=Reason.CRASH, message=words))
        else:
            if (item := self._take(key)) is None:
                return  # it was given up and handed in again; the other answer is as good
            wrong = _wrong(item.task, answer)
            if wrong is not None:
                item.future.set_exception(Refusal(Reason.USAGE, wrong))
            else:
                self._copies = self._copies or answer.copy is not None
                item.future.set_result(answer)

    def _mend(self) -> None:
        """Hand lost tasks in again, once there is a scheduler to take them; look for those that nobody says are lost."""
        while True:
            try:
                item = self._lost.get(timeout=LOOK)
            except queue.Empty:
                self._look()
                continue
            if item is None:
                return
            try:
                self._reconnect()
            except Refusal as refusal:
                item.future.set_exception(refusal)
            else:
                self._send(item)

    def _look(self) -> None:
        """Lose what the scheduler has not been at for some looks: a task may go down with the connection it was sent on."""
        with self._lock:
            keys = list(self._pending)
        if not keys or self._closed or self._client.status != "running":
            return
        try:
            known = self._client.sync(self._client.scheduler.get_task_status, keys=keys)
        except Exception:  # noqa: BLE001 - the connection may just have gone: another look will tell
            return
        idle = [key for key in keys if known.get(key) not in AT_WORK]
        self._strayed = {key: self._strayed.get(key, 0) + 1 for key in idle}
        for key, looks in self._strayed.items():
            if looks >= LOOKS:
                self._lose(key)

    def _reconnect(self) -> None:
        deadline = time.monotonic() + self.patience
        while self._client.status != "running":
            if time.monotonic() > deadline or self._closed:
                raise Refusal(
                    Reason.CRASH, f"{safe(self.address)}: the scheduler is gone; go on with --resume when it is back"
                )
            if self._client.status == "closed":
                try:
                    self._client = self._connect(2.0)
                except Refusal:
                    time.sleep(0.5)
            else:
                time.sleep(0.2)  # the client is trying on its own

    def _connect(self, seconds: float) -> Any:
        try:
            import distributed  # noqa: PLC0415 - an extra
        except ImportError:
            raise Refusal(Reason.USAGE, "a cluster needs `pip install 'initlint[cluster]'`") from None
        for name in ("distributed", "distributed.client", "distributed.core", "tornado"):
            logging.getLogger(name).setLevel(
                logging.CRITICAL
            )  # what a user must know of a connection, this module says
        try:
            client: Any = distributed.Client
            return client(self.address, timeout=seconds, set_as_default=False)
        except Exception as error:  # noqa: BLE001 - an address that means nothing, nobody there, another protocol
            words = one_line(error) if not isinstance(error, TimeoutError) else f"nobody answers within {seconds:.0f} s"
            raise Refusal(Reason.USAGE, f"--cluster {safe(self.address)}: {words}") from None

    def _check_versions(self) -> None:
        """Refuse workers with another initlint; note what else differs."""
        try:
            self._client.wait_for_workers(1, timeout=WORKERS)
        except TimeoutError:
            raise Refusal(Reason.USAGE, f"--cluster {safe(self.address)}: the scheduler has no workers") from None
        here = versions()
        for worker, there in sorted(self._client.run(versions, on_error="return").items()):
            if not isinstance(there, dict):
                raise Refusal(Reason.USAGE, f"worker {worker} cannot import initlint: {one_line(there)}")
            if there["initlint"] != __version__:
                raise Refusal(Reason.USAGE, f"worker {worker} has initlint {there['initlint']}, not {__version__}")
            other = [f"{name} {there[name]}, not {here[name]}" for name in here if there.get(name) != here[name]]
            if other:
                self.notes.append(f"worker {worker} has {'; '.join(other)}")


def _wrong(task: Task, answer: Answer) -> str | None:
    """Why an answer cannot be used."""
    if answer.version != __version__:
        return f"a Dask worker has initlint {answer.version}, not {__version__}"
    if task.wants == "report" and answer.reason is None and (answer.content != task.content or not answer.report):
        return "a Dask worker answered another question than it was asked"
    return None
