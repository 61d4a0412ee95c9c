"""Actions, workflows, hooks, dashboards and samples: parsed as their service would, their shell parts run, what they name there."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.commandline import environment

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
ACTION = ROOT / ".github/actions/initlint"
BOTH = pytest.mark.parametrize(("kind", "code"), [("good", 0), ("bad", 1)])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's checkout, and beside it a PATH on which `initlint` and `python` are this checkout's."""
    (tmp_path / "bin").mkdir()
    for name, words in (("initlint", "-m initlint"), ("python", "")):
        shim = tmp_path / "bin" / name
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', "utf-8")
        shim.chmod(0o755)
    (tmp_path / "checkout").mkdir()
    return tmp_path


def put(project: Path, kind: str) -> None:
    shutil.copy(SAMPLES / kind / "IL202.onnx", project / "checkout/model.onnx")


def shell(project: Path, script: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """A step as a runner starts it, with the files that a runner gives it."""
    given = {"GITHUB_STEP_SUMMARY": "summary.md", "GITHUB_OUTPUT": "output.txt"}
    for name in given.values():
        (project / name).touch()
    files = {key: str(project / name) for key, name in given.items()}
    path = f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script], cwd=project / "checkout",
        env=environment(PATH=path, **files, **more), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def filled(text: str, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    """The two kinds of expression that the action uses, evaluated; any other is left and fails the test."""
    text = re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], text)
    return re.sub(r"\$\{\{ steps\.lint\.outputs\.([\w-]+) \}\}", lambda found: outputs.get(found[1], ""), text)


def act(project: Path, **given: str) -> "subprocess.CompletedProcess[str]":
    """Run the composite action's own steps in order (none that installs or that is another action); the last result."""
    action = loaded(ACTION / "action.yml")
    inputs = {name: str(item["default"]) for name, item in action["inputs"].items()} | given
    outputs: dict[str, str] = {}
    printed = ""
    for step in action["runs"]["steps"]:
        if "run" not in step or "pip install" in step["run"]:
            continue
        variables = {key: filled(value, inputs, outputs) for key, value in step["env"].items()}
        assert "${{" not in "".join(variables.values())
        result = shell(project, step["run"], GITHUB_ACTION_PATH=str(ACTION), **variables)
        printed += result.stdout
        if step.get("id") == "lint":
            outputs = dict(line.split("=", 1) for line in (project / "output.txt").read_text().splitlines())
    result.stdout = printed
    return result


@BOTH
def test_the_action(project: Path, kind: str, code: int) -> None:
    """Annotations on standard output, a summary, a SARIF file; the job's code is the linter's."""
    put(project, kind)
    result = act(project)
    assert result.returncode == code, result.stderr
    assert ("::error" in result.stdout) == bool(code)
    assert (project / "summary.md").read_text("utf-8").startswith("## ")
    assert json.loads((project / "checkout/initlint.sarif").read_text("utf-8"))["version"] == "2.1.0"
    assert (project / "output.txt").read_text() == f"exit-code={code}\n"


def test_inputs_of_the_action_are_no_program(project: Path) -> None:
    """What a caller passes runs nothing, and no step splices an expression into its script."""
    put(project, "good")
    hostile = '$(touch owned); `touch owned` "; touch owned; "'
    assert act(project, models=hostile).returncode == 2
    assert not (project / "checkout/owned").exists()
    for step in loaded(ACTION / "action.yml")["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_a_step_that_gives_no_code_fails(project: Path) -> None:
    """A linter that never wrote its exit code is no pass."""
    last = loaded(ACTION / "action.yml")["runs"]["steps"][-1]
    assert shell(project, last["run"], CODE="").returncode == 2


def test_the_action_asks_for_what_it_has() -> None:
    """Every input that is used is declared, and every one declared is used."""
    text = (ACTION / "action.yml").read_text("utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(yaml.safe_load(text)["inputs"])


def test_our_own_workflow_uses_the_action_as_it_is() -> None:
    """Each use passes inputs that the action has, reads outputs that it has, and splices nothing into a script."""
    action = loaded(ACTION / "action.yml")
    steps = loaded(ROOT / ".github/workflows/ci.yml")["jobs"]["action"]["steps"]
    uses = [step for step in steps if step.get("uses", "").startswith("./")]
    assert len(uses) == 2
    for step in uses:
        assert (ROOT / step["uses"] / "action.yml").is_file()
        assert set(step["with"]) <= set(action["inputs"])
        assert (ROOT / step["with"]["models"]).is_file()
    read = re.findall(r"steps\.bad\.outputs\.([\w-]+)", str(steps))
    assert read
    assert set(read) <= set(action["outputs"])
    assert not any("${{" in step.get("run", "") for step in steps)


@BOTH
def test_the_workflow_for_github(project: Path, kind: str, code: int) -> None:
    """One file copied: a good model passes the check, a bad one fails it, with annotations, summary and SARIF."""
    put(project, kind)
    workflow = loaded(SAMPLES / "ci/github.yml")
    steps = workflow["jobs"]["initlint"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    assert runs[0] == "pip install initlint"
    result = shell(project, runs[1])
    assert result.returncode == code, result.stderr
    assert ("::error" in result.stdout) == bool(code)
    assert (project / "summary.md").stat().st_size > 100
    upload = next(step for step in steps if "upload-sarif" in step.get("uses", ""))
    assert (project / "checkout" / upload["with"]["sarif_file"]).is_file()
    assert workflow["permissions"] == {"contents": "read", "security-events": "write"}
    assert upload["if"] == "always()"


@BOTH
def test_the_job_for_gitlab(project: Path, kind: str, code: int) -> None:
    """The job's script fails on a bad model, and leaves the reports that the job announces."""
    put(project, kind)
    job = loaded(SAMPLES / "ci/gitlab.yml")["initlint"]
    assert shell(project, job["script"][-1]).returncode == code
    reports = job["artifacts"]["reports"]
    issues = json.loads((project / "checkout" / reports["codequality"]).read_text())
    assert any(issue["check_name"].startswith("IL202") for issue in issues) == bool(code)
    assert "<testsuite" in (project / "checkout" / reports["junit"]).read_text()
    assert job["artifacts"]["when"] == "always"


def test_the_readme_shows_the_workflow() -> None:
    """What a reader copies from the README is the file that is tried here."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert (SAMPLES / "ci/github.yml").read_text("utf-8") in blocks


@BOTH
def test_the_pre_commit_hook(project: Path, kind: str, code: int) -> None:
    """Its entry on the files that its pattern chooses."""
    put(project, kind)
    (hook,) = loaded(ROOT / ".pre-commit-hooks.yaml")
    names = ["README.md", "model.onnx", "model.onnx.txt"]
    chosen = [name for name in names if re.search(hook["files"], name)]
    assert chosen == ["model.onnx"]
    assert hook["require_serial"]
    assert shell(project, f"{hook['entry']} {' '.join(chosen)}").returncode == code


def test_the_pre_commit_manifest_is_one() -> None:
    """pre-commit's own schema takes it."""
    clientlib = pytest.importorskip("pre_commit.clientlib")
    assert clientlib.load_manifest(str(ROOT / ".pre-commit-hooks.yaml"))


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_scripts_are_clean_shell() -> None:
    """shellcheck finds nothing in what the services run."""
    scripts = [(ACTION / "lint.sh").read_text("utf-8")]
    scripts += [step["run"] for step in loaded(ACTION / "action.yml")["runs"]["steps"] if "run" in step]
    scripts += [step["run"] for step in loaded(SAMPLES / "ci/github.yml")["jobs"]["initlint"]["steps"] if "run" in step]
    for script in scripts:
        result = subprocess.run(
            ["shellcheck", "-s", "bash", "-"], input=script, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The textfile of a bad model and a refused one, and the facts of the bad one."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copy(SAMPLES / "bad/IL202.onnx", folder / "bad.onnx")
    (folder / "no.onnx").write_bytes(b"\x08")
    for arguments in (
        ["bad.onnx", "--facts", "facts.sqlite"],
        ["bad.onnx", "no.onnx", "-o", "openmetrics:metrics.prom"],
    ):
        command = [sys.executable, "-m", "initlint", *arguments]
        subprocess.run(command, cwd=folder, env=environment(), capture_output=True, check=False, timeout=120)
    return folder


def test_prometheus_asks_for_what_is_written(documents: Path) -> None:
    """Every metric, label and label value that the dashboard and the alerts name is in a real textfile, and none is left out."""
    families = list(text_string_to_metric_families((documents / "metrics.prom").read_text("utf-8")))
    labels: dict[str, set[str]] = {}
    for family in families:
        labels[family.name] = {label for sample in family.samples for label in sample.labels}
    values = {value for family in families for sample in family.samples for value in sample.labels.values()}
    board = loaded(SAMPLES / "dashboards/grafana-prometheus.json")
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [item["query"] for item in board["templating"]["list"] if item["type"] == "query"]
    asked += [rule["expr"] for group in loaded(SAMPLES / "dashboards/alerts.yml")["groups"] for rule in group["rules"]]
    named = set(re.findall(r"initlint_\w+", " ".join(asked)))
    assert named == set(labels)
    for question in asked:
        within = set().union(*(labels[name] for name in re.findall(r"initlint_\w+", question)))
        used = set(re.findall(r"(\w+)=~?\"", question))
        used |= {name for part in re.findall(r"by \(([^)]+)\)", question) for name in part.split(", ")}
        used |= set(re.findall(r"label_values\(\w+, (\w+)\)", question))
        assert used <= within, question
        assert set(re.findall(r"=\"(\w+)\"", question)) <= values, question
        assert question.count("(") == question.count(")")
        assert question.count("{") == question.count("}")
    legends = {name for panel in board["panels"] for t in panel["targets"] for name in re.findall(r"\{\{(\w+)\}\}", t["legendFormat"])}  # fmt: skip
    assert legends <= set().union(*labels.values())


def test_the_dashboard_over_facts(documents: Path) -> None:
    """Every question runs on the file that `--facts` writes; those about what the model has find it."""
    board = loaded(SAMPLES / "dashboards/grafana-facts.json")
    with sqlite3.connect(documents / "facts.sqlite") as connection:
        for panel in board["panels"]:
            rows = list(connection.execute(panel["targets"][0]["queryText"]))
            assert bool(rows) == (panel["title"] != "What is not known"), panel["title"]


@pytest.mark.parametrize("name", ["grafana-prometheus.json", "grafana-facts.json"])
def test_panels_have_a_place(name: str) -> None:
    """No two panels share an id or overlap on Grafana's 24 columns."""
    panels = loaded(SAMPLES / "dashboards" / name)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


FAKE_MLFLOW = """
import json
calls = []
class start_run:
    def __enter__(self): return self
    def __exit__(self, kind, *_):
        calls.append(["status", "FINISHED" if kind is None else "FAILED"])  # as MLflow's ActiveRun
        json.dump(calls, open("calls.json", "w"))
def log_metrics(metrics): calls.append(["metrics", metrics])
def set_tag(key, value): calls.append(["tag", [key, value]])
def log_text(text, path): calls.append(["text", [path, text]])
"""


@BOTH
def test_the_mlflow_sample(tmp_path: Path, kind: str, code: int) -> None:
    """Metrics are finite numbers under names that MLflow takes, the report is JSON, the tag and the code are the verdict."""
    (tmp_path / "mlflow.py").write_text(FAKE_MLFLOW)
    result = subprocess.run(
        [sys.executable, str(SAMPLES / "mlflow/log_initlint.py"), str(SAMPLES / kind / "IL202.onnx")], cwd=tmp_path,
        env=environment(PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}"), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert result.returncode == code, result.stderr
    calls = json.loads((tmp_path / "calls.json").read_text())
    metrics = calls[0][1]
    assert all(re.fullmatch(r"[\w\-. /]+", name) and isinstance(value, float) for name, value in metrics.items())
    assert metrics["initlint/errors"] == metrics.get("initlint/rule/IL202", 0.0) == float(code)
    assert ["tag", ["initlint.ok", "false" if code else "true"]] in calls
    texts = dict(item for name, item in calls if name == "text")
    assert json.loads(texts["initlint/report.json"])["tool"] == "initlint"
    assert texts["initlint/report.html"].startswith("<!doctype html>")
    assert calls[-1] == ["status", "FINISHED"]


def test_the_dockerfile() -> None:
    """Known instructions in an order that builds, a pinned base, no root, an entry in exec form that takes arguments."""
    text = (SAMPLES / "docker/Dockerfile").read_text("utf-8")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    words = [line[0] for line in lines]
    assert words == ["FROM", "ARG", "RUN", "USER", "WORKDIR", "ENTRYPOINT", "CMD"]
    given = dict(lines)
    assert re.fullmatch(r"python:3\.\d+-slim", given["FROM"])
    assert given["USER"] in given["RUN"]
    command = [*json.loads(given["ENTRYPOINT"]), *json.loads(given["CMD"])]
    assert command[0] == "initlint"
    result = subprocess.run(
        [sys.executable, "-m", *command], env=environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0


def test_the_page_about_ci(project: Path) -> None:
    """Every file that it names is there, its commands run and write what they say, its inputs and gauges are the real ones."""
    page = (ROOT / "docs/ci.md").read_text("utf-8")
    for name in re.findall(r"`((?:samples|\.github)/[\w./-]+)", page):
        assert (ROOT / name).exists(), name
    assert (ROOT / ".pre-commit-hooks.yaml").is_file()
    declared = set(loaded(ACTION / "action.yml")["inputs"])
    row = next(line for line in page.splitlines() if "composite action" in line)
    named = set(re.findall(r"`([\w-]+)`", row.split("inputs")[1].split("output")[0]))
    assert named <= declared
    (project / "checkout/models").mkdir()
    shutil.copy(SAMPLES / "bad/IL202.onnx", project / "checkout/models/model.onnx")
    commands = [line for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in text.strip().splitlines()]
    assert len(commands) == 2
    for command in commands:
        assert shell(project, command).returncode == 0
    written = (project / "checkout/initlint.prom").read_text("utf-8")
    assert {family.name for family in text_string_to_metric_families(written)} == set(
        re.findall(r"`(initlint_\w+)`", page)
    )
    assert (project / "checkout/facts.sqlite").read_bytes().startswith(b"SQLite format 3\0")
