"""The scan: candidates in, outcomes into the store. Each content is linted once, each model recorded once.

Contents are taken in the order in which candidates are found, so that which of two equal models is linted, and which is its
duplicate, does not depend on how fast anything is.
"""

import queue
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from os import fsencode
from os.path import abspath
from pathlib import Path
from typing import TypeAlias

import msgspec

from initlint.config import Config
from initlint.discovery import key_of
from initlint.errors import Reason, Refusal
from initlint.fleet.pool import Pool
from initlint.fleet.records import Answer, Candidate, Outcome, Record, Task
from initlint.fleet.store import Store
from initlint.fleet.urls import is_url, without_login
from initlint.text import safe

__all__ = ["Scan", "Told"]

AHEAD = 4  # tasks of each kind held ready for each place of the pool
MOST_WAITING = 1000  # duplicates held back until the model they equal is linted
SIGN_OF_LIFE = 20.0  # seconds
OUR_FAULT = frozenset({Reason.CONFIG, Reason.RULE_FILE, Reason.USAGE})  # holds for every model: the scan ends
Told: TypeAlias = Callable[
    [Candidate, "Record | str"], None
]  # what became of a candidate: its report, or why there is none
Key: TypeAlias = tuple[str, tuple[int, ...]]  # content, and the waivers that are meant for the model's name alone


@dataclass
class Running:
    """A content that is being linted, and the candidates that wait to be its duplicates."""

    candidate: Candidate
    answer: Answer
    waiting: deque[tuple[Candidate, Answer]] = field(default_factory=deque)


class Scan:
    """One run over a stream of candidates."""

    def __init__(self, store: Store, run: int, pool: Pool, config: Config, root: Path, told: Told) -> None:
        self.store, self.run, self.pool, self.config, self.root, self.told = store, run, pool, config, root, told
        self._contents: deque[tuple[Candidate, Future[Answer]]] = deque()
        self._reports: dict[Future[Answer], Key] = {}
        self._running: dict[Key, Running] = {}
        self._names: dict[str, str] = {}  # of candidates under way: name -> path
        self._arrived: queue.SimpleQueue[Future[Answer]] = queue.SimpleQueue()
        self._settled: list[tuple[Candidate, Record | str]] = []  # recorded, not yet committed

    def work(self, candidates: Iterator[Candidate]) -> None:
        """Record every candidate. Raises Refusal where something holds for every model, not for one."""
        more = True
        while True:
            limit = AHEAD * self.pool.width
            while more and len(self._contents) < limit and self._waiting() < MOST_WAITING:
                more = self._take(candidates)
            if not self._contents and not self._reports:
                return
            arrived = self._await()
            if not arrived:
                self.store.beat(self.run)
            with self.store.together(self.run):  # one commit for all that came meanwhile
                for future in arrived:
                    if future in self._reports:
                        self._receive(self._reports.pop(future), future.result())
                while self._contents and self._contents[0][1].done() and len(self._reports) < limit:
                    candidate, future = self._contents.popleft()
                    self._place(candidate, future.result())
            for candidate, what in self._settled:
                self.told(candidate, what)
            self._settled.clear()

    def _await(self) -> list[Future[Answer]]:
        """Answers that have come since, at least one; none where it takes long."""
        try:
            arrived = [self._arrived.get(timeout=SIGN_OF_LIFE)]
        except queue.Empty:
            return []
        while not self._arrived.empty():
            arrived.append(self._arrived.get())
        return arrived

    def _submit(self, task: Task) -> Future[Answer]:
        future = self.pool.submit(task)
        future.add_done_callback(self._arrived.put)
        return future

    def _waiting(self) -> int:
        return sum(len(item.waiting) for item in self._running.values())

    def _take(self, candidates: Iterator[Candidate]) -> bool:
        """Ask for the content of the next candidate that this run has not got yet."""
        for candidate in candidates:
            known = self._names.get(candidate.name) or self.store.path_of(self.run, candidate.name)
            if known is not None:
                if known == _kept(candidate):
                    continue  # met before: named twice, or recorded before this run was resumed
                candidate = Candidate(
                    safe(key_of(candidate.path, self.root), 4096), candidate.path
                )  # two caches, one name
                if candidate.name in self._names or self.store.path_of(self.run, candidate.name) is not None:
                    continue
            self._names[candidate.name] = _kept(candidate)
            self._contents.append((candidate, self._submit(self._task(candidate))))
            return True
        return False

    def _place(self, candidate: Candidate, answer: Answer) -> None:
        """A content is known: lint it, or wait for its equal, or be the duplicate of one that is done."""
        if answer.reason is not None:
            self._refuse(candidate, answer)
            return
        key = (answer.content, self._waivers_of(candidate.name))
        if key in self._running:
            self._release(answer)  # most are never asked for again; one that is will be fetched again
            self._running[key].waiting.append((candidate, answer))
            return
        equal = [name for name in self.store.linted(self.run, answer.content) if self._waivers_of(name) == key[1]]
        if equal:
            self._release(answer)
            self._duplicate(candidate, equal[0])
        else:
            self._lint(key, Running(candidate, answer))

    def _lint(self, key: Key, item: Running) -> None:
        self._running[key] = item
        self._reports[self._submit(self._task(item.candidate, item.answer))] = key

    def _receive(self, key: Key, answer: Answer) -> None:
        """A report has come: record it and its duplicates. After a refusal the next in line is linted itself."""
        item = self._running.pop(key)
        self._release(item.answer)
        if answer.reason is not None:
            self._refuse(item.candidate, answer, item.answer)
            if item.waiting:
                candidate, content = item.waiting.popleft()
                self._lint(key, Running(candidate, content, item.waiting))
            return
        report = msgspec.json.decode(answer.report, type=Record)
        outcome = Outcome(
            item.candidate.name, item.candidate.path, item.answer.content, item.answer.size, report,
            seconds=item.answer.seconds + answer.seconds,
        )  # fmt: skip
        self._settle(item.candidate, report, recorded=self.store.record(self.run, outcome))
        for candidate, _ in item.waiting:
            self._duplicate(candidate, item.candidate.name)

    def _duplicate(self, candidate: Candidate, same_as: str) -> None:
        recorded = self.store.record_duplicate(self.run, candidate, same_as)
        self._settle(candidate, f"the same as {same_as}", recorded=recorded)

    def _refuse(self, candidate: Candidate, answer: Answer, content: Answer | None = None) -> None:
        if answer.reason in OUR_FAULT:
            raise Refusal(Reason(answer.reason), answer.message)
        content = content or answer
        outcome = Outcome(
            candidate.name, candidate.path, content.content, content.size, reason=str(answer.reason),
            message=safe(answer.message, 1000), seconds=answer.seconds,
        )  # fmt: skip
        self._settle(candidate, f"{outcome.message} [{outcome.reason}]", recorded=self.store.record(self.run, outcome))

    def _settle(self, candidate: Candidate, what: Record | str, *, recorded: bool) -> None:
        self._names.pop(candidate.name, None)
        if recorded:
            self._settled.append((candidate, what))

    def _release(self, content: Answer) -> None:
        if content.copy is not None:
            self.pool.release(content.copy)

    def _task(self, candidate: Candidate, content: Answer | None = None) -> Task:
        found = content or Answer("")
        path = candidate.path if is_url(candidate.path) else abspath(candidate.path)  # a worker may live elsewhere
        return Task(
            "content" if content is None else "report", candidate.name, fsencode(path), fsencode(self.root),
            self.config, found.content, found.stamp, found.copy,
        )  # fmt: skip

    def _waivers_of(self, name: str) -> tuple[int, ...]:
        """The waivers that are meant for some models only and for this one: equal files may not fare equally under them."""
        return tuple(
            index for index, item in enumerate(self.config.waive) if item.model != "*" and fnmatchcase(name, item.model)
        )


def _kept(candidate: Candidate) -> str:
    """Where a candidate lies, as the store has it."""
    return safe(without_login(candidate.path), 4096)
