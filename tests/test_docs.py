"""Documents: the generated ones are current, every link leads somewhere, a report is what its schema says."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

import initlint
from initlint.cli import run
from initlint.config import load
from tests.reports import REPORTS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / ".github").glob("*.md")),
]
SCHEMA = json.loads((ROOT / "initlint" / "report.schema.json").read_text())


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current() -> None:
    """The page of rules and the report's schema are what `python docs/build.py` writes."""
    for path, text in builder().pages().items():
        assert path.read_text("utf-8") == text, f"{path.name}: run python docs/build.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files, and their anchors headings, that exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            headings = {slug(line) for line in path.read_text("utf-8").splitlines() if line.startswith("#")}
            assert anchor in headings, f"{page.name}: {target}"


def slug(heading: str) -> str:
    """A heading's anchor as GitHub makes it."""
    text = re.sub(r"[`*_]", "", heading.lstrip("#").strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@pytest.mark.parametrize("name", list(REPORTS))
def test_reports_validate_against_the_schema(name: str) -> None:
    """Empty, ordinary, hostile, refused, large."""
    made = REPORTS[name]
    report = made() if callable(made) else made
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(report.to_json()))


def test_a_real_report_validates_and_a_wrong_one_does_not() -> None:
    """The schema is not so wide that anything passes."""
    document = json.loads(initlint.check(ROOT / "samples" / "bad" / "IL202.onnx").to_json())
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(document)
    document["findings"][0]["severity"] = "fatal"
    assert list(validator.iter_errors(document))


def test_no_page_names_a_place_of_a_machine() -> None:
    """Paths of whoever wrote them have no business in documents."""
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(home|root|work|tmp|Users)/\w", page.read_text("utf-8")), page.name


def test_the_commands_of_the_page_on_configuration_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, in a folder that holds the samples: each ends with exit code 0."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    commands = [
        line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.strip().splitlines()
    ]
    assert len(commands) >= 3
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "initlint"
        assert run(words[1:]) == 0, command
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(block.replace('extend = "../shared/initlint.toml"', ""))
    loaded = load(tmp_path / "pyproject.toml")
    assert loaded.config.rules["IL201"]["max_gain"] == 512
