"""Facts of one model as SQLite tables: filled once, then read by rules, by `initlint query` and by users' own tools."""

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from initlint.errors import Reason, Refusal
from initlint.tables import TABLES, Table

__all__ = ["Facts", "Row", "build", "empty"]

Value: TypeAlias = "str | int | float | None"
Row: TypeAlias = Mapping[str, object]

STRICT_FROM = (3, 37, 0)
LARGEST_INTEGER = 2**63
STEPS = 20_000  # virtual machine instructions between two looks at the budget
MOST_CALLS = 20_000  # looks after which a query is stopped: some seconds, a hundred times what 100,000 rows take


class Facts:
    """An open database of fact tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.row_factory = sqlite3.Row
        _register(connection)

    def query(self, sql: str, parameters: Mapping[str, Value] | Sequence[Value] = ()) -> list[dict[str, Value]]:
        """Rows of a SELECT as dictionaries. Raises Refusal (usage) for SQL that is wrong, writes, or does not end."""
        try:
            with self.guarded(_read_only):
                return [dict(row) for row in self.connection.execute(sql, parameters)]
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise Refusal(Reason.USAGE, f"the query failed: {error}") from error

    def judge(self, sql: str, parameters: Mapping[str, Value]) -> list[dict[str, Value]]:
        """Rows of a rule's SELECT, which may read the fact tables and call a short list of functions, nothing else.

        Raises sqlite3.Error for anything else, and where the budget of instructions is used up.
        """
        with self.guarded(_rules_only):
            return [dict(row) for row in self.connection.execute(sql, parameters)]

    @contextmanager
    def guarded(self, authorizer: Callable[..., int]) -> Iterator[None]:
        """What runs inside may do only what the authorizer permits, for a bounded number of instructions."""
        calls = 0

        def look() -> int:
            nonlocal calls
            calls += 1
            return int(calls > MOST_CALLS)

        self.connection.set_progress_handler(look, STEPS)
        self.connection.set_authorizer(authorizer)
        try:
            yield
        finally:
            self.connection.set_authorizer(None)
            self.connection.set_progress_handler(None, 0)

    def serialize(self) -> bytes:
        """The whole database as the bytes of an SQLite file."""
        return self.connection.serialize()

    @classmethod
    def deserialize(cls, payload: bytes) -> "Facts":
        """Facts from the bytes of an SQLite file."""
        connection = sqlite3.connect(":memory:")
        connection.deserialize(payload)
        return cls(connection)


def empty() -> Facts:
    """Tables without rows: what rules are compiled against."""
    connection = sqlite3.connect(":memory:")
    for table in TABLES.values():
        connection.execute(_create(table))
    return Facts(connection)


def build(rows: Mapping[str, Iterable[Row]], shared: Mapping[str, object] | None = None) -> Facts:
    """Fill the tables, one row at a time in memory: a graph of 100,000 nodes has as many rows of fifty columns.

    A column that a row leaves out is NULL, and so is a NaN or an infinity; `shared` has the columns that are the same in every
    row of every table that has them. An unknown column is a programming error.
    """
    facts = empty()
    for name, items in rows.items():
        marks = ", ".join("?" for _ in TABLES[name].columns)
        insert = f"INSERT INTO {name} VALUES ({marks})"  # noqa: S608 - our own names
        facts.connection.executemany(insert, _records(items, TABLES[name], shared or {}))
    facts.connection.commit()
    return facts


def _records(items: Iterable[Row], table: Table, shared: Mapping[str, object]) -> Iterator[list[Value]]:
    """Rows in the order of the columns, as SQLite takes them."""
    known = table.names()
    names = [column.name for column in table.columns]
    common = [_value(shared.get(name)) for name in names]
    for item in items:
        if not item.keys() <= known:
            raise KeyError(f"table {table.name} has no column {', '.join(sorted(item.keys() - known))}")
        yield [
            # Most cells are empty or finite floats: a call for each costs as much as SQLite does.
            always if value is None else value if type(value) is float and value - value == 0.0 else _value(value)
            for value, always in zip(map(item.get, names), common, strict=True)
        ]


def _create(table: Table) -> str:
    columns = ", ".join(f'"{column.name}" {column.kind}' for column in table.columns)
    strict = " STRICT" if sqlite3.sqlite_version_info >= STRICT_FROM else ""
    return f"CREATE TABLE {table.name} ({columns}){strict}"


def _value(value: object) -> Value:
    """A Python value as SQLite takes it; what is no number is NULL."""
    if value is None:
        return None
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if -LARGEST_INTEGER <= value < LARGEST_INTEGER else float(value)
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None


def _register(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA temp_store = MEMORY")  # a confined worker has no place for files
    connection.create_function("log2", 1, _log2, deterministic=True)
    connection.create_function("ratio", 2, _ratio, deterministic=True)


def _log2(value: object) -> float | None:
    """log2, NULL where there is none."""
    return math.log2(value) if isinstance(value, int | float) and value > 0 else None


def _ratio(above: object, below: object) -> float | None:
    """Quotient in floating point, NULL where it is undefined."""
    if not isinstance(above, int | float) or not isinstance(below, int | float) or below == 0:
        return None
    return above / below


READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, 33})  # 33: SQLITE_RECURSIVE
FORBIDDEN = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "randomblob", "zeroblob"})


# What a condition in a rule file may call: arithmetic, aggregates, text; nothing that reaches a file or the schema.
FUNCTIONS = frozenset(
    {"abs", "avg", "coalesce", "count", "glob", "ifnull", "iif", "instr", "length", "like", "log2", "lower", "max", "min",
     "nullif", "ratio", "round", "sign", "substr", "sum", "total", "trim", "upper"}
)  # fmt: skip


def _read_only(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    """SQLite's authorizer: reading and calling harmless functions, nothing else."""
    if action not in READING:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or first or "").lower() in FORBIDDEN:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _rules_only(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    """The authorizer of rules: the fact tables and the functions listed."""
    if action == sqlite3.SQLITE_SELECT:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_READ:
        return sqlite3.SQLITE_OK if first in TABLES else sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_OK if (second or "").lower() in FUNCTIONS else sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_DENY
