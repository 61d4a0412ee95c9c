"""Every command of the README runs, and shows what the README shows."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.rpartition("&& ")[2]
    for language, text in BLOCKS
    if language == "sh"
    for line in text.strip().splitlines()
    if "pytest" not in line
]
EXPECTED = {"initlint samples/bad/IL202.onnx": 1}


def run(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """A command of the README in a folder that holds the samples and the rules."""
    for name in ("samples", "rules"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    words = shlex.split(command)
    assert words[0] == "initlint"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INITLINT_")}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "initlint", *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(command: str, tmp_path: Path) -> None:
    """With the exit code that its text says."""
    result = run(command, tmp_path)
    assert result.returncode == EXPECTED.get(command, 0), result.stderr


def test_outputs_shown_are_real(tmp_path: Path) -> None:
    """The text blocks are what the commands before them print, but for the time."""
    shown = [text.strip() for language, text in BLOCKS if language == "text"]
    queries = [command for command in COMMANDS if " query samples" in command]
    for command, text in zip(["initlint samples/bad/IL202.onnx", *queries], shown, strict=True):
        printed = re.sub(r"\d+\.\d s$", "0.2 s", run(command, tmp_path).stdout.strip())
        assert [line.rstrip() for line in printed.splitlines()] == [line.rstrip() for line in text.splitlines()]


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippet prints the verdict."""
    monkeypatch.chdir(ROOT)
    code = next(text for language, text in BLOCKS if language == "python")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README
    assert "IL202" in capsys.readouterr().out


def test_ci_installs_and_tests_as_the_readme_says() -> None:
    """`.ci/run` uses the install and the test command of the README."""
    script = (ROOT / ".ci" / "run").read_text()
    assert "--editable '.[dev]'" in script
    assert "pytest -q" in script
    assert "pip install -e '.[dev]' && pytest -q" in README
