"""The store: versions of its tables, files that are none, PostgreSQL, questions in SQL."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from initlint.errors import Refusal
from initlint.fleet import schema, store
from initlint.fleet.database import TABLES
from initlint.fleet.store import Store
from tests.commandline import initlint, start
from tests.fleet.harness import fill, kill_parent, wait_until

SERVER = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some models and the store of a scan over them."""
    folder = tmp_path_factory.mktemp("fleet")
    fill(folder / "m", good=3, bad=2)
    shutil.copy(folder / "m/good0001.onnx", folder / "m/zcopy.onnx")
    (folder / "m/torn.onnx").write_bytes(b"\x08\x07\x3a\x7f")
    assert initlint("scan", "m", "-s", "whole", "-j2", "--max-refused", "1", cwd=folder).returncode == 1
    return folder


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in TABLES}  # noqa: S608 - our own names


def test_migrated_version_by_version(fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of an earlier version is brought up to date with everything in it; one that fails half-way stays as it was."""
    old = tmp_path / "s"
    shutil.copy(fleet / "whole", old)
    before = rows_of(old)
    later = (*schema.MIGRATIONS, ("ALTER TABLE model ADD COLUMN owner TEXT", "UPDATE model SET owner = 'nobody'"))
    monkeypatch.setattr(store, "MIGRATIONS", (*later, ("CREATE TABLE extra (x TEXT)", "CREATE TABLE extra (x TEXT)")))
    monkeypatch.setattr(store, "VERSION", len(later) + 1)
    with pytest.raises(Refusal):
        Store(str(old))
    monkeypatch.setattr(store, "MIGRATIONS", later)
    monkeypatch.setattr(store, "VERSION", len(later))
    with Store(str(old)) as opened:
        assert opened.database.rows("SELECT DISTINCT owner FROM model") == [{"owner": "nobody"}]
        assert opened.database.rows("SELECT version FROM store") == [{"version": len(later)}]
        assert not opened.database.has_table("extra")
    after = rows_of(old)
    assert after["layer"] == before["layer"]
    assert [row[:-1] for row in after["model"]] == before["model"]


def test_newer_and_foreign_files(fleet: Path, tmp_path: Path) -> None:
    """A store of a later initlint, and an SQLite file that is no store, are refused and left alone."""
    newer, foreign = tmp_path / "newer", tmp_path / "foreign"
    shutil.copy(fleet / "whole", newer)
    with contextlib.closing(sqlite3.connect(newer)) as connection:
        connection.execute("UPDATE store SET version = 99")
        connection.commit()
    with contextlib.closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
    for place, words in ((newer, "a newer initlint wrote it (version 99"), (foreign, "holds no store of initlint")):
        for arguments in (("scan", "m", "-s", place), ("site", place, "-o", tmp_path / "site")):
            result = initlint(*arguments, cwd=fleet)
            assert result.returncode == 2
            assert words in result.stderr
    with contextlib.closing(sqlite3.connect(foreign)) as connection:
        assert [name for (name,) in connection.execute("SELECT name FROM sqlite_master")] == ["mine"]


def test_query(fleet: Path) -> None:
    """`initlint query` asks a store like the tables of a model, and can change nothing."""
    result = initlint(
        "query",
        "whole",
        "SELECT verdict, count(*) AS n FROM latest GROUP BY verdict ORDER BY verdict",
        "-f",
        "json",
        cwd=fleet,
    )
    assert json.loads(result.stdout) == [
        {"n": 2, "verdict": "error"},
        {"n": 4, "verdict": "ok"},
        {"n": 1, "verdict": "refused"},
    ]
    twin = initlint(
        "query", "whole", "SELECT name FROM model_finding WHERE name LIKE '%bad%' GROUP BY 1", "-f", "csv", cwd=fleet
    )
    assert twin.stdout.splitlines() == ["name", "m/bad0000.onnx", "m/bad0001.onnx"]
    assert initlint("query", "whole", "DELETE FROM model", cwd=fleet).returncode == 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, without a network."""
    pytest.importorskip("sqlalchemy", reason="the extra `postgres` is not installed")
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    if SERVER is None:
        pytest.skip("no PostgreSQL server on this machine")
    folder = Path(os.path.realpath(tmp_path_factory.mktemp("pg")))
    command, options = [], {}
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root and there is no user postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        for parent in (folder, *folder.parents):
            if parent.owner() == "root" and not parent.stat().st_mode & 1:
                parent.chmod(parent.stat().st_mode | 0o11)
        options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    programs = Path(SERVER).resolve().parent
    subprocess.run(
        [SERVER, "-D", folder / "data", "-A", "trust", "-U", "initlint"],
        check=True,
        capture_output=True,
        cwd=folder,
        **options,
    )
    command = [programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **options) as process,
    ):
        try:
            wait_until(
                lambda: (folder / ".s.PGSQL.5432").exists() and "ready to accept" in (folder / "log").read_text()
            )
            yield f"postgresql://initlint@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)  # SIGTERM would wait for every connection that a test left open
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def test_postgresql_holds_the_same(fleet: Path, server: str) -> None:
    """Scans, a kill and a resume, a comparison, a site, retention and questions: as with a file."""
    import sqlalchemy  # noqa: PLC0415 - an extra

    process = start("scan", "m", "-s", server, "-j1", "--max-refused", "1", cwd=fleet)
    database = sqlalchemy.create_engine(server.replace("postgresql:", "postgresql+psycopg:"))

    def models() -> int:
        with contextlib.suppress(sqlalchemy.exc.ProgrammingError), database.connect() as connection:
            return int(connection.execute(sqlalchemy.text("SELECT count(*) FROM model")).scalar_one())
        return 0  # there is no table yet

    wait_until(lambda: models() >= 2)
    kill_parent(process, fleet)
    process.communicate()
    assert initlint("scan", "m", "-s", server, "-j2", "--max-refused", "1", "--resume", cwd=fleet).returncode == 1
    again = initlint(
        "scan", "m", "-s", server, "-j2", "--max-refused", "1", "--since", "1", "--keep-runs", "2", cwd=fleet
    )
    assert again.returncode == 0, again.stdout + again.stderr
    for table, columns in (
        ("model", "run, name, content, bytes, outcome, same_as, verdict, errors, reason, coverage"),
        ("finding", "*"),
        ("layer", "*"),
        ("rule", "*"),
    ):
        question = f"SELECT {columns} FROM {table} WHERE run = 1"  # noqa: S608 - our own names
        there, here = (
            json.loads(initlint("query", place, question, "-f", "json", cwd=fleet).stdout)
            for place in (server, "whole")
        )
        assert sorted(there, key=repr) == sorted(here, key=repr)
    assert initlint("site", server, "-o", "site", cwd=fleet).returncode == 0
    assert initlint("query", server, "DELETE FROM model", cwd=fleet).returncode == 2
    assert (
        initlint("scan", "m", "-s", server, "-j2", "--max-refused", "1", "--keep-runs", "1", cwd=fleet).returncode == 1
    )
    kept = initlint("query", server, "SELECT DISTINCT run FROM layer", "-f", "csv", cwd=fleet)
    assert kept.stdout == "run\n3\n"
