"""What the pages show, read from the store: one run and what came before it."""

import hashlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from initlint.errors import Reason, Refusal
from initlint.fleet.database import Database
from initlint.fleet.store import Store
from initlint.fleet.summary import Gate, Summary, summarise

__all__ = ["Fleet", "Row", "open_fleet", "slug"]

Row: TypeAlias = dict[str, Any]
MOST_RUNS = 40  # of the trend and of a model's history
ORDER = "CASE verdict WHEN 'refused' THEN 0 WHEN 'error' THEN 1 WHEN 'warning' THEN 2 WHEN 'note' THEN 3 ELSE 4 END"


def slug(name: str) -> str:
    """File name of a model's page: any text may be a model's name."""
    return hashlib.sha256(name.encode()).hexdigest()[:20]


class Fleet(msgspec.Struct, frozen=True):
    """One finished run, the newest unless another is asked for, and the finished runs before it."""

    database: Database
    summary: Summary
    runs: Sequence[Row]  # oldest first, this one last

    @property
    def run(self) -> int:
        """The number of the run that is shown."""
        return self.summary.run

    def models(self, after: int = 0, most: int = 1 << 40) -> list[Row]:
        """Models of the run, the worst first."""
        sql = f"""SELECT name, verdict, outcome, same_as, errors, warnings, notes, layers, parameters, phase, coverage, opset,
            producer, content, bytes, reason, message, path FROM model WHERE run = :run
            ORDER BY {ORDER}, errors DESC, warnings DESC, name LIMIT :most OFFSET :after"""  # noqa: S608 - our own words
        return self.database.rows(sql, {"run": self.run, "most": most, "after": after})

    def trend(self) -> list[Row]:
        """How many models of each verdict every run had."""
        sql = "SELECT run, verdict, count(*) AS amount FROM model WHERE run >= :first GROUP BY run, verdict"
        return self.database.rows(sql, {"first": self.runs[0]["id"]})

    def history(self, name: str) -> list[Row]:
        """A model in the runs shown, the newest first."""
        sql = """SELECT model.*, run.started, run.version FROM model JOIN run ON run.id = model.run
            WHERE model.name = :name AND run.state = 'finished' AND run.id >= :first AND run.id <= :run ORDER BY run.id DESC"""
        return self.database.rows(sql, {"name": name, "first": self.runs[0]["id"], "run": self.run})

    def findings(self, run: int, model: str) -> list[Row]:
        """Findings of a linted model, as its report had them."""
        sql = "SELECT * FROM finding WHERE run = :run AND model = :model ORDER BY number"
        return self.database.rows(sql, {"run": run, "model": model})

    def layers(self, run: int, model: str) -> list[Row]:
        """Layers of a linted model, in the order of the graph."""
        sql = "SELECT * FROM layer WHERE run = :run AND model = :model ORDER BY position"
        return self.database.rows(sql, {"run": run, "model": model})

    def codes(self, run: int, model: str) -> dict[str, int]:
        """How often each rule counts against a linted model."""
        sql = "SELECT code, count(*) AS amount FROM finding WHERE run = :run AND model = :model AND counts = 1 GROUP BY code"
        return {row["code"]: int(row["amount"]) for row in self.database.rows(sql, {"run": run, "model": model})}

    def twins(self, name: str, same_as: str | None) -> list[str]:
        """Other names of the run under which the same model lies."""
        sql = "SELECT name FROM model WHERE run = :run AND (name = :first OR same_as = :first) AND name <> :name ORDER BY name"
        return [
            str(row["name"])
            for row in self.database.rows(sql, {"run": self.run, "first": same_as or name, "name": name})
        ]

    def rules(self) -> list[Row]:
        """The rules that were in force, by code."""
        return self.database.rows("SELECT * FROM rule WHERE run = :run ORDER BY code", {"run": self.run})

    def against(self, code: str, most: int) -> list[Row]:
        """Models a rule counts against, those with most findings first."""
        sql = """SELECT name, count(*) AS findings, min(place) AS place, min(message) AS message FROM model_finding
            WHERE run = :run AND code = :code AND counts = 1 GROUP BY name ORDER BY findings DESC, name LIMIT :most"""
        return self.database.rows(sql, {"run": self.run, "code": code, "most": most})

    def trend_of(self, code: str) -> dict[int, int]:
        """How many models a rule counted against in every run."""
        sql = """SELECT run, count(DISTINCT name) AS amount FROM model_finding
            WHERE run >= :first AND run <= :run AND code = :code AND counts = 1 GROUP BY run"""
        rows = self.database.rows(sql, {"first": self.runs[0]["id"], "run": self.run, "code": code})
        return {int(row["run"]): int(row["amount"]) for row in rows}


def open_fleet(store: Store, run: int | None, fail_on: str) -> Fleet:
    """The fleet as of a run. Raises Refusal where the store has no such finished run."""
    number = store.last_finished() if run is None else run
    sql = "SELECT * FROM run WHERE state = 'finished' AND id <= :run ORDER BY id DESC LIMIT :most"
    runs = store.database.rows(sql, {"run": number or 0, "most": MOST_RUNS})
    if not runs or runs[0]["id"] != number:
        raise Refusal(Reason.USAGE, "the store has no finished run" + (f" {run}" if run is not None else ""))
    since = int(runs[1]["id"]) if len(runs) > 1 else None
    summary = summarise(store, int(runs[0]["id"]), Gate(fail_on=fail_on, max_refused=1.0, since=since))
    return Fleet(store.database, summary, runs[::-1])
