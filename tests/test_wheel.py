"""What users install: the wheel, built from the tree, works where no tree is."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "tree"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".git", "*_cache", "__pycache__", ".hypothesis", ".venv")
    )
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "out"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "out"


def test_the_wheel_holds_the_package_and_its_rules(built: Path) -> None:
    """Rules travel inside the package; tests, samples and caches stay behind."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    rules = {path.name for path in (ROOT / "rules").glob("*.toml")}
    assert {name.removeprefix("initlint/rules/") for name in names if name.startswith("initlint/rules/")} == rules
    assert {"initlint/py.typed", "initlint/cli.py", "initlint/formats/page.css"} <= set(names)
    assert not [
        name for name in names if name.startswith(("tests", "samples", "docs", "rules")) or "__pycache__" in name
    ]


def test_the_source_distribution_can_be_tested(built: Path) -> None:
    """It has the tests, the samples and the documents with it."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.split("/", 1)[1] for name in opened.getnames() if "/" in name}
    assert {"tests/test_wheel.py", "samples/build.py", "rules/IL201.toml", "README.md", "LICENSE"} <= names


def test_the_installed_wheel_lints(built: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, started elsewhere: it finds its rules and gives the sample's verdict."""
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")  # noqa: S202 - built a moment ago
    shutil.copy(ROOT / "samples" / "bad" / "IL202.onnx", tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "initlint", "IL202.onnx", "-f", "concise"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "IL202 error" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import initlint; print(initlint.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(tmp_path))
