"""One task, done in a worker process: the same for a local thread and for a Dask worker."""

import os
import time
from pathlib import Path

import msgspec

from initlint import __version__
from initlint.errors import Reason, Refusal
from initlint.fleet.records import Answer, Stamp, Task
from initlint.fleet.remote import Spool
from initlint.isolation import Limits, Reply, Worker
from initlint.sandbox import Cage
from initlint.serving import Request

__all__ = ["Bench", "stamp_of"]

TASKS_PER_WORKER = 2000  # then a fresh one: whatever libraries leak stays bounded
TRIES = 2  # a worker that somebody killed costs its model a second try, not its verdict


class Bench:
    """A place where one task at a time is done: a worker process that lives through many, replaced when it dies."""

    def __init__(self, memory: int, spool: Spool) -> None:
        self.memory, self.spool = memory, spool
        self._worker: Worker | None = None
        self._served = 0

    def perform(self, task: Task) -> Answer:
        """The answer to a task; whatever goes wrong with a model is an answer, too."""
        started = time.perf_counter()
        try:
            with self.spool.local(os.fsdecode(task.path)) as path:
                answer = self._content(task, path) if task.wants == "content" else self._report(task, path)
        except Refusal as refusal:
            answer = Answer(__version__, reason=refusal.reason, message=refusal.message)
        return msgspec.structs.replace(answer, seconds=time.perf_counter() - started)

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def kill(self) -> None:
        """End the worker at once, whatever it does; from any thread."""
        if self._worker is not None:
            self._worker.kill()

    def _content(self, task: Task, path: str) -> Answer:
        stamp = stamp_of(path)
        content, size = msgspec.json.decode(self._ask(path, task).report, type=tuple[str, int])
        return Answer(__version__, content, size, stamp)

    def _report(self, task: Task, path: str) -> Answer:
        """The report, of the content it was asked for: a file that changed since is refused."""
        for _ in range(TRIES):
            before = stamp_of(path)
            if (
                before != task.stamp
                and self._content(msgspec.structs.replace(task, wants="content"), path).content != task.content
            ):
                break
            reply = self._ask(path, task)
            if stamp_of(path) == before:
                return Answer(__version__, task.content, report=reply.report)
        raise Refusal(Reason.TRUNCATED, "the file changed while it was analysed")

    def _ask(self, path: str, task: Task) -> Reply:
        config = msgspec.structs.replace(task.config, name=task.name)
        request = msgspec.json.encode(Request(os.fsencode(path), task.root, config, task.wants))
        for attempt in range(TRIES):
            worker = self._ready()
            try:
                return worker.run(request, Limits(task.config.timeout, task.config.memory))
            except Refusal as refusal:
                if refusal.reason != Reason.CRASH or worker.alive or attempt == TRIES - 1:
                    raise
        raise AssertionError

    def _ready(self) -> Worker:
        if self._worker is None or not self._worker.alive or self._served >= TASKS_PER_WORKER:
            self.close()
            # Models are the parallelism, not BLAS; where they lie is not known beforehand.
            self._worker, self._served = Worker(self.memory, threads=1, cage=Cage(probe=True)), 0
        self._served += 1
        return self._worker


def stamp_of(path: str) -> Stamp | None:
    """What changes when a file is written to."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
