"""Two databases behind one small interface: an SQLite file by default, PostgreSQL through SQLAlchemy.

Statements are shared; their parameters are written `:name`. Rows are dictionaries.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from initlint.errors import Reason, Refusal
from initlint.text import one_line, safe

__all__ = ["TABLES", "Database", "Value", "ask", "connect", "is_server"]

Value: TypeAlias = "str | int | float | None"
Parameters: TypeAlias = Mapping[str, Value]
MAGIC = b"SQLite format 3\0"
PATIENCE = 60.0  # seconds to wait for another writer
TABLES = ("run", "model", "layer", "finding", "rule")
SERVERS = ("postgresql://", "postgresql+", "postgres://")


class Database(Protocol):
    """An open database."""

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[dict[str, Any]]:
        """All rows of a SELECT."""

    def write(self, sql: str, parameters: Parameters | None = None) -> int:
        """Run one statement inside a transaction; the number of rows it touched."""

    def write_many(self, sql: str, parameters: Sequence[Parameters]) -> None:
        """Run one statement for each set of parameters, inside a transaction."""

    def transaction(self) -> AbstractContextManager[None]:
        """All of the block or nothing of it; no other writer meanwhile."""

    def has_table(self, name: str) -> bool:
        """Whether a table exists."""

    def is_taken(self) -> bool:
        """Whether tables of somebody else are in the way."""

    def tidy(self) -> None:
        """Give space that deletions freed back to the system."""

    def close(self) -> None:
        """Close it."""


def is_server(place: str) -> bool:
    """Whether a store is a server's URL."""
    return place.startswith(SERVERS)


def connect(place: str, *, create: bool = False) -> Database:
    """Open the store at a path or URL. Raises Refusal where there is none, and none is to be created."""
    if is_server(place):
        return Server(place)
    path = Path(place)
    if path.is_dir():
        raise Refusal(Reason.NOT_A_FILE, f"{safe(place)}: is a folder, not a store")
    if not path.exists() and not create:
        raise Refusal(Reason.NOT_FOUND, f"{safe(place)}: there is no store")
    if path.exists() and path.stat().st_size:
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise Refusal(Reason.USAGE, f"{safe(place)}: is no SQLite file")
    elif not path.exists() and not path.parent.is_dir():
        raise Refusal(Reason.OUTPUT, f"{safe(place)}: no folder {safe(str(path.parent))}")
    return File(path)


def ask(place: str, sql: str) -> list[dict[str, Any]]:
    """Rows of anybody's question to a server, which is told to let nothing be written."""
    server = Server(place)
    try:
        return server.ask(sql)
    finally:
        server.close()


class File:
    """An SQLite file in WAL mode: readers never wait, and a commit survives the death of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _said(str(path)):
            self._connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            if not path.stat().st_size:
                self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[dict[str, Any]]:
        """All rows of a SELECT."""
        with _said(str(self.path)):
            return [dict(row) for row in self._connection.execute(sql, parameters or {})]

    def write(self, sql: str, parameters: Parameters | None = None) -> int:
        """Run one statement."""
        with _said(str(self.path)):
            return self._connection.execute(sql, parameters or {}).rowcount

    def write_many(self, sql: str, parameters: Sequence[Parameters]) -> None:
        """Run one statement for each set of parameters."""
        with _said(str(self.path)):
            self._connection.executemany(sql, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self.write("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        self.write("COMMIT")

    def has_table(self, name: str) -> bool:
        """Whether a table exists."""
        return bool(self.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name", {"name": name}))

    def is_taken(self) -> bool:
        """Whether the file has any table."""
        return bool(self.rows("SELECT 1 FROM sqlite_master"))

    def tidy(self) -> None:
        """Shrink the file."""
        self.rows("PRAGMA incremental_vacuum")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class Server:
    """A PostgreSQL database through SQLAlchemy."""

    def __init__(self, url: str) -> None:
        try:
            import sqlalchemy  # noqa: PLC0415 - an extra
        except ImportError:
            raise Refusal(Reason.USAGE, "PostgreSQL needs `pip install 'initlint[postgres]'`") from None
        self._text = sqlalchemy.text
        driver = "postgresql+psycopg://"
        for plain in ("postgresql://", "postgres://"):
            if url.startswith(plain):
                url = driver + url.removeprefix(plain)
        self._within = False
        with _said("the database"):
            self._connection = sqlalchemy.create_engine(url).connect()

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[dict[str, Any]]:
        """All rows of a SELECT."""
        with _said("the database"):
            found = [dict(row) for row in self._connection.execute(self._text(sql), parameters or {}).mappings()]
            self._leave()
            return found

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a question as it stands: nothing in it is a parameter."""
        with _said("the database", Reason.USAGE):
            self._connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            return [dict(row) for row in self._connection.exec_driver_sql(sql.replace("%", "%%")).mappings()]

    def write(self, sql: str, parameters: Parameters | None = None) -> int:
        """Run one statement."""
        with _said("the database"):
            return int(self._connection.execute(self._text(sql), parameters or {}).rowcount)

    def write_many(self, sql: str, parameters: Sequence[Parameters]) -> None:
        """Run one statement for each set of parameters."""
        if parameters:
            with _said("the database"):
                self._connection.execute(self._text(sql), list(parameters))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; an advisory lock keeps other writers out, as SQLite's own does."""
        self._within = True
        try:
            self.rows("SELECT 1 FROM pg_advisory_xact_lock(764825)")
            yield
            with _said("the database"):
                self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise
        finally:
            self._within = False

    def has_table(self, name: str) -> bool:
        """Whether a table exists."""
        found = self.rows("SELECT to_regclass(:name) AS found", {"name": name})
        return found[0]["found"] is not None

    def is_taken(self) -> bool:
        """Whether one of our names is used already: a database may well hold other things."""
        return any(self.has_table(name) for name in TABLES)

    def tidy(self) -> None:
        """PostgreSQL does it by itself."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._connection.engine.dispose()

    def _leave(self) -> None:
        """A SELECT on its own must not hold a transaction open."""
        if not self._within:
            self._connection.rollback()


@contextmanager
def _said(place: str, reason: Reason = Reason.OUTPUT) -> Iterator[None]:
    """Turn a database's error into a refusal that says which store."""
    try:
        yield
    except sqlite3.Error as error:
        raise Refusal(Reason.OUTPUT, f"{safe(place)}: {one_line(error)}") from error
    except Exception as error:
        if type(error).__module__.startswith("sqlalchemy"):
            raise Refusal(reason, f"{safe(place)}: {one_line(getattr(error, 'orig', None) or error)}") from error
        raise
