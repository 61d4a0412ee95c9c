"""The sample dashboards over a store: every question in them is answered by a store, and asks for columns it has."""

import asyncio
import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.commandline import ROOT, initlint
from tests.fleet.harness import fill

SAMPLES = ROOT / "samples/fleet"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of two runs."""
    folder = tmp_path_factory.mktemp("fleet")
    fill(folder / "m", good=1, bad=1)
    shutil.copy(folder / "m/bad0000.onnx", folder / "m/copy.onnx")
    for _ in range(2):
        initlint("scan", "m", "-s", "registry.sqlite", "-j2", cwd=folder)
    return folder / "registry.sqlite"


def grafana() -> list[tuple[str, str]]:
    board = json.loads((SAMPLES / "grafana.json").read_text())
    targets = [(panel["title"], target["queryText"]) for panel in board["panels"] for target in panel["targets"]]
    return [
        *targets,
        *((item["label"], item["query"]) for item in board["templating"]["list"] if item["type"] == "query"),
    ]


def datasette() -> list[tuple[str, str]]:
    blocks = re.findall(
        r"^        title: (.+)\n        sql: \|-\n((?:          .+\n)+)",
        (SAMPLES / "datasette.yml").read_text(),
        re.MULTILINE,
    )
    return [(title, sql) for title, sql in blocks]


@pytest.mark.parametrize(("title", "sql"), [*grafana(), *datasette()], ids=lambda item: item[:40])
def test_questions(store: Path, title: str, sql: str) -> None:
    """Each question runs on SQLite; those about things the store holds find them."""
    values = {"name": "m/bad0000.onnx", "new": 2, "old": 1}
    with contextlib.closing(sqlite3.connect(store)) as connection:
        rows = list(connection.execute(sql.replace("${model}", "m/bad0000.onnx"), values))
    if "Refused" in title or "did not in another" in title:
        assert all(row == (0,) for row in rows)
    else:
        assert rows


def test_datasette_names_what_is_there(store: Path) -> None:
    """Facets and sort columns exist in their tables."""
    text = (SAMPLES / "datasette.yml").read_text()
    tables = re.findall(r"^      (\w+): \{(.+)\}$", text, re.MULTILINE)
    assert {name for name, _ in tables} == {"run", "model", "finding", "layer", "latest"}
    with contextlib.closing(sqlite3.connect(store)) as connection:
        for name, settings in tables:
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
            asked = re.findall(r"(?:sort|sort_desc|label_column): (\w+)", settings)
            asked += [item for part in re.findall(r"facets: \[(.+?)\]", settings) for item in part.split(", ")]
            assert set(asked) <= columns


def test_datasette_answers(store: Path) -> None:
    """Datasette itself, with the sample's settings: each question and each table, as page and as JSON, says what the store says."""
    application = pytest.importorskip("datasette.app", reason="Datasette is not installed")
    settings = yaml.safe_load((SAMPLES / "datasette.yml").read_text())
    served = application.Datasette([str(store)], metadata=settings)
    values = {"name": "m/bad0000.onnx", "new": "2", "old": "1"}

    async def answers() -> dict[str, object]:
        found: dict[str, object] = {}
        for name in settings["databases"]["registry"]["queries"]:
            page = await served.client.get(f"/registry/{name}", params=values)
            rows = await served.client.get(f"/registry/{name}.json", params={**values, "_shape": "arrays"})
            found[name] = (page.status_code, rows.json()["rows"])
        for name in settings["databases"]["registry"]["tables"]:
            page = await served.client.get(f"/registry/{name}")
            rows = await served.client.get(f"/registry/{name}.json", params={"_shape": "arrays", "_size": "max"})
            found[name] = (page.status_code, len(rows.json()["rows"]))
        return found

    found = asyncio.run(answers())
    with contextlib.closing(sqlite3.connect(store)) as connection:
        for name, query in settings["databases"]["registry"]["queries"].items():
            rows = [list(row) for row in connection.execute(query["sql"], values)]
            assert found.pop(name) == (200, rows), name
        for name in settings["databases"]["registry"]["tables"]:
            (amount,) = connection.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608 - our own names
            assert found.pop(name) == (200, amount), name
    assert found == {}


def test_datasette_by_the_documented_command(store: Path) -> None:
    """The command of the documentation serves the store, here for one request."""
    pytest.importorskip("datasette", reason="Datasette is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "datasette", "registry.sqlite", "--metadata", SAMPLES / "datasette.yml", "--get", "/registry/verdicts.json?_shape=array"],
        capture_output=True, text=True, check=False, cwd=store.parent, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {(row["run"], row["verdict"], row["models"]) for row in json.loads(done.stdout)} == {
        (run, verdict, amount) for run in (1, 2) for verdict, amount in (("error", 2), ("ok", 1))
    }
