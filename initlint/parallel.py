"""Several workers at once: one thread each, models taken from one queue, results in the order of the models."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["in_threads"]

T = TypeVar("T")


def in_threads(jobs: int, count: int, serve: Callable[[Iterator[int]], Iterable[T]]) -> Iterator[T]:
    """Run `serve` in `jobs` threads on indices below `count`, each index once; yield its results in order of index.

    `serve` yields one result for each index it takes, in its order. An error in one thread is raised here, and the
    others take no further index.
    """
    lock = threading.Lock()
    waiting = iter(range(count))
    done: queue.Queue[tuple[int, T] | BaseException] = queue.Queue()
    stopped = threading.Event()

    def indices(taken: list[int]) -> Iterator[int]:
        while not stopped.is_set():
            with lock:
                index = next(waiting, None)
            if index is None:
                return
            taken.append(index)
            yield index

    def work() -> None:
        taken: list[int] = []
        try:
            for result in serve(indices(taken)):
                done.put((taken[-1], result))
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            done.put(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    early: dict[int, T] = {}
    try:
        for index in range(count):
            while index not in early:
                item = done.get()
                if isinstance(item, BaseException):
                    raise item
                early[item[0]] = item[1]
            yield early.pop(index)
    finally:
        stopped.set()
        for thread in threads:
            thread.join(1.0)
