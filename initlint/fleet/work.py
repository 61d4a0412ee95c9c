"""One task, done in a worker process: the same for a local thread and for a Dask worker."""

import os
import time
from pathlib import Path
from typing import Literal

import msgspec

from initlint import __version__
from initlint.cache import Identity, Status, file_status
from initlint.errors import Reason, Refusal
from initlint.fleet.records import Answer, Copy, Task
from initlint.fleet.small import small_identity
from initlint.fleet.spool import Spool
from initlint.fleet.urls import is_url
from initlint.isolation import Limits, Reply, Worker
from initlint.sandbox import Cage
from initlint.serving import Request

__all__ = ["Bench"]

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
            answer = self._content(task) if task.wants == "content" else self._report(task)
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

    def _content(self, task: Task) -> Answer:
        """The content of a file, or of an object, which is then held for its report."""
        path = os.fsdecode(task.path)
        if not is_url(path):
            found = small_identity(path) or self._identity(task, path)
            return Answer(__version__, found.content, found.size, found.status)
        token, local = self._fetch(task, path)
        try:
            found = small_identity(local) or self._identity(task, local)
        except Refusal:
            self.spool.drop(token)
            raise
        return Answer(__version__, found.content, found.size, found.status, Copy(token))

    def _report(self, task: Task) -> Answer:
        """The report, of the content it was asked for."""
        path = os.fsdecode(task.path)
        if not is_url(path):
            return self._record(task, path)
        token = task.copy.token if task.copy is not None else ""
        local = self.spool.take(token)
        if local is None:  # it went to another place than its content, or was held for too long
            token, local = self._fetch(task, path)
        try:
            return self._record(task, local)
        finally:
            self.spool.drop(token)

    def _record(self, task: Task, path: str) -> Answer:
        """The report on a file; one that is not what its content was taken of, or changes meanwhile, is refused."""
        for _ in range(TRIES):
            before = self._status(task, path)
            if before != task.stamp and self._identity(task, path).content != task.content:
                break
            try:
                reply = self._ask(task, path, "record")
            except Refusal:
                if self._status(task, path) == before:
                    raise
                continue
            if self._status(task, path) == before:
                return Answer(__version__, task.content, report=reply.report)
        raise Refusal(Reason.CHANGED, "the model or a data file of it changed while it was analysed")

    def _fetch(self, task: Task, url: str) -> tuple[str, str]:
        """Fetch an object and the data files it names, of which a worker tells: the token and the path of the model."""
        return self.spool.fetch(
            url, lambda local: msgspec.json.decode(self._ask(task, local, "locations").report, type=list[str])
        )

    def _identity(self, task: Task, path: str) -> Identity:
        return msgspec.json.decode(self._ask(task, path, "identity").report, type=Identity)

    def _status(self, task: Task, path: str) -> Status:
        """What the file system says of a model now; of one with data files its worker says it."""
        if len(task.stamp) == 1:
            return (file_status(Path(path)),)
        return msgspec.json.decode(self._ask(task, path, "status").report, type=Status)

    def _ask(self, task: Task, path: str, wants: Literal["record", "identity", "status", "locations"]) -> Reply:
        config = msgspec.structs.replace(task.config, name=task.name)
        request = msgspec.json.encode(Request(os.fsencode(path), task.root, config, wants))
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
