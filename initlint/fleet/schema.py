"""The store's tables, version by version. SQLite and PostgreSQL both read these statements as they stand.

A version is never edited once released: the next one is a further list of statements, run on stores of earlier versions.
`docs/fleet.md` describes every column.
"""

__all__ = ["LAYER_COLUMNS", "MIGRATIONS", "VERSION"]

LAYER_COLUMNS = {  # of the report's layers: column and type
    "name": "TEXT", "op": "TEXT", "dtype": "TEXT", "shape": "TEXT", "fan_in": "DOUBLE PRECISION",
    "fan_out": "DOUBLE PRECISION", "activation": "TEXT", "weight_std": "DOUBLE PRECISION",
    "target_std": "DOUBLE PRECISION", "variance_ratio": "DOUBLE PRECISION", "gain": "DOUBLE PRECISION",
    "backward_gain": "DOUBLE PRECISION", "std": "DOUBLE PRECISION", "signal_std": "DOUBLE PRECISION",
    "measured_signal_std": "DOUBLE PRECISION", "gradient_std": "DOUBLE PRECISION", "absmax": "DOUBLE PRECISION",
    "initializer": "TEXT", "untrained": "BIGINT",
}  # fmt: skip

FIRST = (
    """CREATE TABLE run (
        id BIGINT PRIMARY KEY, state TEXT NOT NULL, started TEXT NOT NULL, finished TEXT, version TEXT NOT NULL,
        arguments TEXT NOT NULL, settings TEXT NOT NULL, root TEXT NOT NULL, host TEXT NOT NULL, process BIGINT NOT NULL,
        born TEXT NOT NULL, beat DOUBLE PRECISION NOT NULL, seen BIGINT, linted BIGINT, refused BIGINT, duplicates BIGINT,
        busy_seconds DOUBLE PRECISION NOT NULL DEFAULT 0, exit_code BIGINT)""",
    """CREATE TABLE model (
        run BIGINT NOT NULL REFERENCES run(id) ON DELETE CASCADE, name TEXT NOT NULL, path TEXT NOT NULL,
        content TEXT NOT NULL, bytes BIGINT NOT NULL, outcome TEXT NOT NULL, same_as TEXT, verdict TEXT NOT NULL,
        errors BIGINT NOT NULL, warnings BIGINT NOT NULL, notes BIGINT NOT NULL, distrusted BIGINT NOT NULL,
        reason TEXT, message TEXT, layers DOUBLE PRECISION, parameters DOUBLE PRECISION, nodes DOUBLE PRECISION,
        opset BIGINT, producer TEXT, phase TEXT, coverage DOUBLE PRECISION, seconds DOUBLE PRECISION NOT NULL,
        recorded TEXT NOT NULL, PRIMARY KEY (run, name))""",
    "CREATE INDEX model_content ON model (run, content)",
    "CREATE INDEX model_name ON model (name, run)",
    f"""CREATE TABLE layer (
        run BIGINT NOT NULL, model TEXT NOT NULL, position BIGINT NOT NULL,
        {", ".join(f"{name} {kind}" for name, kind in LAYER_COLUMNS.items())},
        PRIMARY KEY (run, model, position),
        FOREIGN KEY (run, model) REFERENCES model(run, name) ON DELETE CASCADE)""",
    """CREATE TABLE finding (
        run BIGINT NOT NULL, model TEXT NOT NULL, number BIGINT NOT NULL, code TEXT NOT NULL, severity TEXT NOT NULL,
        spot TEXT NOT NULL, place TEXT NOT NULL, op TEXT, message TEXT NOT NULL, fix TEXT NOT NULL,
        counts BIGINT NOT NULL, state TEXT, folded_under TEXT, PRIMARY KEY (run, model, number),
        FOREIGN KEY (run, model) REFERENCES model(run, name) ON DELETE CASCADE)""",
    "CREATE INDEX finding_code ON finding (run, code)",
    """CREATE TABLE rule (
        run BIGINT NOT NULL REFERENCES run(id) ON DELETE CASCADE, code TEXT NOT NULL, name TEXT NOT NULL,
        severity TEXT NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL, fix TEXT NOT NULL, limits TEXT NOT NULL,
        PRIMARY KEY (run, code))""",
    # What people ask first, by name: the models of the newest finished run, with the findings of duplicates filled in.
    """CREATE VIEW latest AS SELECT * FROM model WHERE run = (SELECT max(id) FROM run WHERE state = 'finished')""",
    """CREATE VIEW model_finding AS SELECT model.run, model.name, finding.number, finding.code, finding.severity,
        finding.spot, finding.place, finding.op, finding.message, finding.fix, finding.counts, finding.state,
        finding.folded_under FROM model JOIN finding
        ON finding.run = model.run AND finding.model = coalesce(model.same_as, model.name)""",
    """CREATE VIEW history AS SELECT model.name, run.id AS run, run.started, model.content, model.verdict, model.errors,
        model.warnings, model.notes, model.coverage FROM model JOIN run ON run.id = model.run""",
)  # fmt: skip

MIGRATIONS: tuple[tuple[str, ...], ...] = (FIRST,)
VERSION = len(MIGRATIONS)
