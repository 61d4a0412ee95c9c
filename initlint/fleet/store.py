"""The store: every run appended, every result durable before the next is asked for."""

import datetime
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from initlint import __version__
from initlint.errors import Reason, Refusal
from initlint.fleet import rows
from initlint.fleet.database import Database, connect
from initlint.fleet.records import Candidate, Outcome, Record
from initlint.fleet.schema import MIGRATIONS, VERSION
from initlint.fleet.urls import without_login
from initlint.report import RuleRecord
from initlint.text import safe

__all__ = ["Store", "shown"]

LEASE = 120.0  # seconds without a sign of life after which a run on another machine is taken for dead


class Store:
    """An open store."""

    def __init__(self, place: str, *, create: bool = False) -> None:
        self.place = place
        self.database: Database = connect(place, create=create)
        try:
            self._migrate(create=create)
        except BaseException:
            self.database.close()
            raise
        self._rules: tuple[int, bytes] = (0, b"")  # the run and the rules that were recorded last
        self._commit: ExitStack | None = None  # what ends the transaction under way
        self._busy: float | None = None  # seconds of analysis recorded in it; None: it has not begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    def begin(self, arguments: Iterable[str], settings: str, root: Path) -> int:
        """The number of a new run."""
        with self.database.transaction():
            number = int(self.database.rows("SELECT coalesce(max(id), 0) + 1 AS next FROM run")[0]["next"])
            self.database.write(
                "INSERT INTO run (id, state, started, version, arguments, settings, root, host, process, born, beat) VALUES "
                "(:id, 'running', :started, :version, :arguments, :settings, :root, :host, :process, :born, :beat)",
                {
                    "id": number, "started": _now(), "version": __version__, "arguments": _listed(arguments),
                    "settings": settings, "root": safe(str(root), 4096), **_owner(),
                },
            )  # fmt: skip
        return number

    def resume(self, arguments: Iterable[str], settings: str) -> int | None:
        """Take over the newest run that never finished; None where every run did.

        Raises Refusal where it is still under way, or was begun with other paths, settings or another version.
        """
        with self.database.transaction():
            found = self.database.rows("SELECT * FROM run WHERE state = 'running' ORDER BY id DESC")
            if not found:
                return None
            run = found[0]
            if _alive(run):
                raise Refusal(Reason.USAGE, f"run {run['id']} is under way (process {run['process']} on {run['host']})")
            now = {"arguments": _listed(arguments), "settings": settings, "version": __version__}
            other = [name for name, value in now.items() if run[name] != value]
            if other:
                words = f"run {run['id']} was begun with other {' and '.join(other)}; without --resume a new run begins"
                raise Refusal(Reason.USAGE, words)
            self.database.write(
                "UPDATE run SET host = :host, process = :process, born = :born, beat = :beat WHERE id = :id",
                {"id": run["id"], **_owner()},
            )
        return int(run["id"])

    @contextmanager
    def together(self, run: int) -> Iterator[None]:
        """Commit all that is recorded in the block at its end, at once; nothing is begun where nothing is recorded."""
        with ExitStack() as commit:
            self._commit, self._busy = commit, None
            try:
                yield
                if self._busy is not None:
                    self._beat(run, self._busy)
            finally:
                self._commit = None

    def record(self, run: int, outcome: Outcome) -> bool:
        """Keep one model's result; False where the run has one of that name already, which then stays as it is.

        As `record_duplicate` it stands in a block of `together`.
        """
        row = rows.model(run, outcome, _now())
        self._begin(outcome.seconds)
        fresh = self.database.write(rows.insertion("model", row) + " ON CONFLICT DO NOTHING", row)
        if fresh and outcome.report is not None:
            self._record_report(run, outcome.name, outcome.report)
        return bool(fresh)

    def record_duplicate(self, run: int, candidate: Candidate, same_as: str) -> bool:
        """Keep a model whose content is that of another of this run: its verdict is the other's."""
        sql = (
            f"INSERT INTO model ({', '.join(rows.MODEL)}) SELECT "  # noqa: S608 - our own names
            + ", ".join(rows.OF_DUPLICATE.get(name, name) for name in rows.MODEL)
            + " FROM model WHERE run = :run AND name = :same_as ON CONFLICT DO NOTHING"
        )
        names = {"name": candidate.name, "path": safe(without_login(candidate.path), 4096), "recorded": _now()}
        self._begin(0.0)
        return bool(self.database.write(sql, {"run": run, "same_as": same_as, **names}))

    def beat(self, run: int) -> None:
        """A sign of life, where no result has come for a while."""
        with self.database.transaction():
            self._beat(run, 0.0)

    def finish(self, run: int) -> None:
        """Close a run: count what it saw, and hold that nothing was lost."""
        with self.database.transaction():
            counts = self.counts(run)
            if counts["seen"] != counts["linted"] + counts["refused"] + counts["duplicates"]:
                raise AssertionError(f"run {run}: {counts}")
            self.database.write(
                "UPDATE run SET state = 'finished', finished = :finished, seen = :seen, "
                "linted = :linted, refused = :refused, duplicates = :duplicates WHERE id = :id",
                {"id": run, "finished": _now(), **counts},
            )

    def judge(self, run: int, exit_code: int) -> None:
        """Keep what the gate said of a run."""
        with self.database.transaction():
            self.database.write("UPDATE run SET exit_code = :code WHERE id = :id", {"id": run, "code": exit_code})

    def counts(self, run: int) -> dict[str, int]:
        """How many models a run has seen, and what became of them."""
        sql = "SELECT outcome, count(*) AS amount FROM model WHERE run = :run GROUP BY outcome"
        found = {row["outcome"]: int(row["amount"]) for row in self.database.rows(sql, {"run": run})}
        return {
            "seen": sum(found.values()), "linted": found.get("linted", 0), "refused": found.get("refused", 0),
            "duplicates": found.get("duplicate", 0),
        }  # fmt: skip

    def path_of(self, run: int, name: str) -> str | None:
        """Where the model of that name lay, if this run has it."""
        rows = self.database.rows(
            "SELECT path FROM model WHERE run = :run AND name = :name", {"run": run, "name": name}
        )
        return str(rows[0]["path"]) if rows else None

    def linted(self, run: int, content: str) -> list[str]:
        """Names of the models of this run that were linted and have that content."""
        sql = "SELECT name FROM model WHERE run = :run AND content = :content AND outcome = 'linted' ORDER BY name"
        return [str(row["name"]) for row in self.database.rows(sql, {"run": run, "content": content})]

    def last_finished(self, before: int | None = None) -> int | None:
        """The newest finished run, before a given one."""
        sql = "SELECT max(id) AS last FROM run WHERE state = 'finished' AND id < :before"
        last = self.database.rows(sql, {"before": before if before is not None else 2**62})[0]["last"]
        return None if last is None else int(last)

    def has_run(self, run: int) -> bool:
        """Whether there is a run of that number."""
        return bool(self.database.rows("SELECT 1 AS found FROM run WHERE id = :id", {"id": run}))

    def prune(self, keep: int) -> int:
        """Remove all but the newest `keep` finished runs, and runs before them that never finished; the number removed."""
        removed = 0
        with self.database.transaction():
            kept = self.database.rows(
                "SELECT id FROM run WHERE state = 'finished' ORDER BY id DESC LIMIT :keep", {"keep": keep}
            )
            if len(kept) == keep:
                oldest = kept[-1]["id"]
                old = self.database.rows("SELECT * FROM run WHERE id < :oldest", {"oldest": oldest})
                for run in old:
                    if run["state"] == "finished" or not _alive(run):
                        removed += self.database.write("DELETE FROM run WHERE id = :id", {"id": run["id"]})
        if removed:
            self.database.tidy()
        return removed

    def _begin(self, seconds: float) -> None:
        """Join the transaction of the block, which begins with what is first recorded in it."""
        assert self._commit is not None
        if self._busy is None:
            self._commit.enter_context(self.database.transaction())
        self._busy = (self._busy or 0.0) + seconds

    def _record_report(self, run: int, name: str, report: Record) -> None:
        rules = (run, bytes(report.rules))
        fresh = msgspec.json.decode(report.rules, type=list[RuleRecord]) if rules != self._rules else []
        for table, found in (
            ("layer", rows.layers(run, name, report)),
            ("finding", rows.findings(run, name, report)),
            ("rule", rows.rules(run, fresh)),
        ):
            if found:
                more = " ON CONFLICT DO NOTHING" if table == "rule" else ""
                self.database.write_many(rows.insertion(table, found[0]) + more, found)
        self._rules = rules

    def _beat(self, run: int, seconds: float) -> None:
        self.database.write(
            "UPDATE run SET beat = :beat, busy_seconds = busy_seconds + :seconds WHERE id = :id",
            {"beat": time.time(), "seconds": seconds, "id": run},
        )

    def _migrate(self, *, create: bool) -> None:
        """Bring the tables to this version, one version after another; each is all or nothing."""
        if not self.database.has_table("store"):
            if not create or self.database.is_taken():
                raise Refusal(Reason.USAGE, f"{shown(self.place)}: holds no store of initlint")
            with self.database.transaction():
                self.database.write("CREATE TABLE IF NOT EXISTS store (version BIGINT NOT NULL)")
        while (version := self._version()) < VERSION:
            with self.database.transaction():
                if self._version() != version:
                    continue  # somebody else was faster
                for statement in MIGRATIONS[version]:
                    self.database.write(statement)
                self.database.write("DELETE FROM store")
                self.database.write("INSERT INTO store VALUES (:version)", {"version": version + 1})
        if version > VERSION:
            raise Refusal(
                Reason.USAGE, f"{shown(self.place)}: a newer initlint wrote it (version {version}, not {VERSION})"
            )

    def _version(self) -> int:
        return int(self.database.rows("SELECT coalesce(max(version), 0) AS version FROM store")[0]["version"])


def _now() -> str:
    return datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="milliseconds")


def _listed(arguments: Iterable[str]) -> str:
    return msgspec.json.encode([safe(without_login(item), 4096) for item in arguments]).decode()


def shown(place: str) -> str:
    """A store's path, or its URL without the password."""
    return safe(without_login(place))


def _owner() -> dict[str, Any]:
    """Who writes a run, and that it is alive."""
    return {"host": socket.gethostname(), "process": os.getpid(), "born": _born(os.getpid()), "beat": time.time()}


def _born(process: int) -> str:
    """When a process started, so that a number given out anew is not taken for it; empty where the system does not say."""
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _alive(run: Mapping[str, Any]) -> bool:
    """Whether somebody still writes this run. On another machine only its signs of life can tell."""
    if run["state"] != "running":
        return False
    if run["host"] != socket.gethostname():
        return bool(time.time() - float(run["beat"]) < LEASE)
    process = int(run["process"])
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process != os.getpid() and _born(process) == run["born"]
