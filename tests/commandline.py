"""The program as a user starts it: in a process of its own, from this checkout, with nothing set that the tests' own user has."""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["COMMAND", "ROOT", "environment", "initlint", "start"]

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "initlint")
OURS = ("INITLINT_", "NO_COLOR", "FORCE_COLOR")  # what a user may have set that changes an answer


def environment(**more: str) -> dict[str, str]:
    """The environment of a user who has set nothing but `more`."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    return {**plain, "PYTHONPATH": str(ROOT), **more}


def initlint(
    *arguments: str | os.PathLike[str], cwd: Path | None = None, timeout: float = 240, **more: str
) -> "subprocess.CompletedProcess[str]":
    """A run of the program to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(**more),
        timeout=timeout,
    )


def start(*arguments: str | os.PathLike[str], cwd: Path, **more: str) -> "subprocess.Popen[str]":
    """A run of the program that goes on."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(**more),
    )
