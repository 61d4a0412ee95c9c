"""Every option has a variable; the command line beats it, it beats the file; the shell completes commands, options and codes."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from initlint.cli import COMMANDS, group, run

VALUES = {
    "select": "IL2", "ignore": "IL104", "fail_on": "note", "coverage_floor": "0.5", "phase": "init", "target": "bfloat16",
    "samples": "7", "seed": "9", "dim": "batch=3", "device": "cuda:1", "timeout": "12.5", "memory": "900", "jobs": "3",
    "format": "json", "color": "never", "name": "m", "probe": "1", "allow_partial": "1", "all_tensors": "1", "progress": "0",
    "require_isolation": "1", "input": "data.npz", "baseline": "old.json", "output": "json:out.json", "cache": "kept",
}  # fmt: skip
NOT_SETTINGS = {"models", "help", "config", "isolated", "show_config", "facts", "quiet", "verbose", "rules"}


def options_of(command: str) -> list[click.Option]:
    found = group.get_command(click.Context(group), command)
    assert found is not None
    return [parameter for parameter in found.params if isinstance(parameter, click.Option)]


def test_every_option_has_a_variable() -> None:
    """Named after the option as it is typed, without the command; but where a command has formats of its own."""
    for command in COMMANDS:
        for option in options_of(command):
            if getattr(option, "section", None) is None:
                continue
            typed = max(option.opts, key=len).lstrip("-").replace("-", "_").upper()
            allowed = {f"INITLINT_{typed}"} | (
                {f"INITLINT_{command.upper()}_{typed}"} if typed in {"FORMAT", "OUTPUT"} else set()
            )
            assert option.envvar in allowed, (command, option.name)


def test_every_setting_of_check_can_be_set_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And `--show-config` says that it came from there."""
    monkeypatch.chdir(tmp_path)
    names = {str(option.name) for option in options_of("check")} - NOT_SETTINGS
    assert names == set(VALUES)
    for name, value in VALUES.items():
        monkeypatch.setenv(f"INITLINT_{name.upper()}", value)
    assert run(["check", "--show-config"]) == 0
    shown = capsys.readouterr().out
    for name in VALUES:
        assert f"environment INITLINT_{name.upper()}" in shown, name


def test_command_line_beats_environment_beats_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One setting, three places."""
    (tmp_path / "initlint.toml").write_text("seed = 1\n")
    monkeypatch.chdir(tmp_path)

    def seed(*arguments: str) -> str:
        assert run(["check", "--show-config", *arguments]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("seed"))

    assert seed().split() == ["seed", "=", "1", "#", "initlint.toml:1"]
    monkeypatch.setenv("INITLINT_SEED", "2")
    assert seed().split()[2:] == ["2", "#", "environment", "INITLINT_SEED"]
    assert seed("--seed", "3").split()[2:] == ["3", "#", "command", "line"]
    monkeypatch.delenv("INITLINT_SEED")
    assert seed("--isolated").split()[2:] == ["0", "#", "default"]


def test_a_wrong_variable_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Named, with what it may be, and exit code 2."""
    monkeypatch.setenv("INITLINT_FAIL_ON", "sometimes")
    assert run(["check", "--show-config"]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "sometimes" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["expl"], "explain"),
        (["explain", "IL20"], "IL202"),
        (["check", "--sel"], "--select"),
        (["check", "--select", "IL2"], "IL206"),
        (["check", "--ignore", "IL101,IL30"], "IL101,IL306"),
        (["check", "--fail-on", "wa"], "warning"),
        (["check", "--format", "sa"], "sarif"),
    ],
)
def test_the_shell_completes(words: list[str], expected: str) -> None:
    """Commands, options, their values, rule codes; in bash's words."""
    environment = {**os.environ, "_INITLINT_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["initlint", *words]),
                   "COMP_CWORD": str(len(words))}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "initlint"], env=environment, capture_output=True, text=True, check=False
    )
    assert f"plain,{expected}" in done.stdout.splitlines(), done.stdout + done.stderr
