"""What a run came to: counts, the worst, what changed since another run, and the exit code over all models."""

import msgspec

from initlint.fleet.database import Database
from initlint.fleet.records import VERDICTS, Verdict
from initlint.fleet.store import Store

__all__ = ["Change", "Gate", "Refused", "RuleCount", "Summary", "summarise"]

SEVERITIES = ("note", "warning", "error")  # a rank each, from the least
SHOWN = 10  # names listed of anything


class Gate(msgspec.Struct, frozen=True):
    """What lets a fleet fail: the least severity, the share of models that may go unjudged, the run to compare with."""

    fail_on: str = "error"
    max_refused: float = 0.02
    allow_partial: bool = False
    since: int | None = None


class RuleCount(msgspec.Struct, frozen=True):
    """How many models a rule counts against, and some of their names."""

    code: str
    name: str
    severity: str
    models: int
    findings: int
    examples: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True):
    """A model that was not analysed, or whose answer cannot be trusted, and why."""

    model: str
    reason: str
    message: str


class Change(msgspec.Struct, frozen=True):
    """A model that got worse, and in what: rules that count now and did not, or that it is refused now."""

    model: str
    rules: tuple[str, ...]


class Summary(msgspec.Struct, frozen=True):
    """One run, judged."""

    run: int
    started: str
    finished: str | None
    version: str
    busy_seconds: float
    seen: int
    linted: int
    refused: int
    duplicates: int
    verdicts: dict[Verdict, int]
    unjudged: int  # refused, a duplicate of such included, or not to be trusted
    rules: tuple[RuleCount, ...]
    refusals: tuple[Refused, ...]
    since: int | None
    worse: tuple[Change, ...]
    worse_models: int
    better_models: int
    failing: int  # models at or above the gate's severity; with `since`: those of them that got worse
    max_refused: float
    exit_code: int


def summarise(store: Store, run: int, gate: Gate) -> Summary:
    """Judge a run. 2 where more models went unjudged than the budget allows, else 1 where one fails, else 0."""
    database = store.database
    about = database.rows("SELECT * FROM run WHERE id = :run", {"run": run})[0]
    counts = store.counts(run)
    verdicts = _verdicts(database, run)
    unjudged = _unjudged(database, run, gate)
    worse, better = ([], 0) if gate.since is None else _changes(database, run, gate)
    failing = _failing(verdicts, gate) if gate.since is None else len(worse)
    too_many = unjudged > gate.max_refused * counts["seen"]
    return Summary(
        run=run, started=about["started"], finished=about["finished"], version=about["version"],
        busy_seconds=about["busy_seconds"], **counts, verdicts=verdicts, unjudged=unjudged,
        rules=_rules(database, run), refusals=_refusals(database, run, gate), since=gate.since,
        worse=tuple(worse[:SHOWN]), worse_models=len(worse), better_models=better, failing=failing,
        max_refused=gate.max_refused, exit_code=2 if too_many else int(failing > 0),
    )  # fmt: skip


def _verdicts(database: Database, run: int) -> dict[Verdict, int]:
    sql = "SELECT verdict, count(*) AS amount FROM model WHERE run = :run GROUP BY verdict"
    found = {row["verdict"]: int(row["amount"]) for row in database.rows(sql, {"run": run})}
    return {verdict: found.get(verdict, 0) for verdict in VERDICTS}


def _failing(verdicts: dict[Verdict, int], gate: Gate) -> int:
    if gate.fail_on == "never":
        return 0
    at_least = SEVERITIES[SEVERITIES.index(gate.fail_on) :]
    return sum(amount for verdict, amount in verdicts.items() if verdict in at_least)


def _not_judged(gate: Gate) -> str:
    return "(verdict = 'refused')" if gate.allow_partial else "(verdict = 'refused' OR distrusted = 1)"


def _unjudged(database: Database, run: int, gate: Gate) -> int:
    """Models that went unjudged; with `since` those that did not in that run."""
    bad = _not_judged(gate)
    sql = f"SELECT count(*) AS amount FROM model WHERE run = :run AND {bad}"  # noqa: S608 - our own words
    if gate.since is not None:
        sql += f" AND name NOT IN (SELECT name FROM model WHERE run = :since AND {bad})"  # noqa: S608 - our own words
    return int(database.rows(sql, {"run": run, "since": gate.since})[0]["amount"])


def _rules(database: Database, run: int) -> tuple[RuleCount, ...]:
    """Rules that count against a model, the one with most models first."""
    sql = """SELECT code, max(CASE severity WHEN 'error' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END) AS worst,
        count(DISTINCT name) AS models, count(*) AS findings FROM model_finding WHERE run = :run AND counts = 1
        GROUP BY code ORDER BY worst DESC, models DESC, code"""
    names = {
        row["code"]: row["name"] for row in database.rows("SELECT code, name FROM rule WHERE run = :run", {"run": run})
    }
    some = (
        "SELECT DISTINCT name FROM model_finding WHERE run = :run AND code = :code AND counts = 1 ORDER BY name LIMIT 3"
    )
    return tuple(
        RuleCount(
            row["code"], names.get(row["code"], ""), SEVERITIES[int(row["worst"])], int(row["models"]), int(row["findings"]),
            tuple(item["name"] for item in database.rows(some, {"run": run, "code": row["code"]})),
        )
        for row in database.rows(sql, {"run": run})
    )  # fmt: skip


def _refusals(database: Database, run: int, gate: Gate) -> tuple[Refused, ...]:
    sql = f"""SELECT name, reason, message, same_as FROM model WHERE run = :run AND {_not_judged(gate)}
        ORDER BY name LIMIT {SHOWN}"""  # noqa: S608 - our own words
    return tuple(
        Refused(row["name"], row["reason"] or "coverage", row["message"] or "too little of it is understood")
        for row in database.rows(sql, {"run": run})
    )


def _changes(database: Database, run: int, gate: Gate) -> tuple[list[Change], int]:
    """(models that got worse, how many got better) since another run.

    Findings that gate are compared by rule and spot, a model by its name: one that the other run has not got is compared with
    nothing at all. Better is a model that was judged both times, lost findings and gained none.
    """
    if gate.fail_on == "never":
        return [], 0
    severities = ", ".join(f"'{level}'" for level in SEVERITIES[SEVERITIES.index(gate.fail_on) :])
    counted = f"""SELECT name, code, spot, count(*) AS amount FROM model_finding
        WHERE run = :{{run}} AND counts = 1 AND severity IN ({severities}) GROUP BY name, code, spot"""  # noqa: S608 - our own words
    now, then = counted.format(run="run"), counted.format(run="since")
    runs = {"run": run, "since": gate.since}
    more = """SELECT DISTINCT a.name, a.code FROM ({}) a LEFT JOIN ({}) b
        ON b.name = a.name AND b.code = a.code AND b.spot = a.spot
        WHERE a.amount > coalesce(b.amount, 0)"""
    worse: dict[str, list[str]] = {}
    for row in database.rows(more.format(now, then) + " ORDER BY a.name, a.code", runs):
        worse.setdefault(row["name"], []).append(row["code"])
    lost = f"""SELECT DISTINCT c.name FROM ({more.format(then, now)}) c JOIN model m
        ON m.run = :run AND m.name = c.name AND m.verdict <> 'refused'"""  # noqa: S608 - our own words
    better = sum(row["name"] not in worse for row in database.rows(lost, runs))
    return [Change(name, tuple(codes)) for name, codes in worse.items()], better
