"""Where tasks are done: the interface, and the pool of local workers behind it."""

import queue
import threading
from concurrent.futures import Future
from typing import Protocol

from initlint.errors import Refusal
from initlint.fleet.records import Answer, Copy, Task
from initlint.fleet.spool import Spool
from initlint.fleet.work import Bench

__all__ = ["LocalPool", "Pool"]


class Pool(Protocol):
    """Does tasks in any order, as many at a time as it has room for."""

    @property
    def width(self) -> int:
        """Tasks that can be under way at once."""

    def submit(self, task: Task) -> "Future[Answer]":
        """Have a task done; the future holds the answer, or a Refusal that ends the scan."""

    def release(self, copy: Copy) -> None:
        """Say that nothing more will be asked of what was fetched."""

    def close(self) -> None:
        """End all workers, whatever they do."""


class LocalPool:
    """Threads that each watch over one long-lived worker process."""

    def __init__(self, jobs: int, memory: int) -> None:
        self.width = jobs
        self._spool = Spool()
        self._tasks: queue.SimpleQueue[tuple[Task, Future[Answer]] | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._benches = [Bench(memory, self._spool) for _ in range(jobs)]
        self._threads = [threading.Thread(target=self._work, args=(bench,), daemon=True) for bench in self._benches]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task) -> "Future[Answer]":
        """Put a task into the queue."""
        future: Future[Answer] = Future()
        self._tasks.put((task, future))
        return future

    def release(self, copy: Copy) -> None:
        """Remove what was fetched."""
        self._spool.drop(copy.token)

    def close(self) -> None:
        """Kill the workers and remove what was fetched."""
        self._closed.set()
        for _ in self._threads:
            self._tasks.put(None)
        for bench in self._benches:
            bench.kill()
        for thread in self._threads:
            thread.join(5.0)
        self._spool.close()

    def _work(self, bench: Bench) -> None:
        while (item := self._tasks.get()) is not None and not self._closed.is_set():
            task, future = item
            try:
                future.set_result(bench.perform(task))
            except (Exception, Refusal) as error:  # noqa: BLE001 - carried to the thread that waits
                future.set_exception(error)
        bench.close()
