"""Every hostile input through the real command line: the outcome it must have, in one line, and nothing that acts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from initlint.config import FORMATS
from initlint.formats import View, render
from initlint.report import Report, Skipped, exit_code
from tests.hostile.catalogue import CASES
from tests.hostile.outcome import CODES, ONE_LAYER

ROOT = Path(__file__).parent.parent.parent
QUICK = [identity for identity, case in CASES.items() if not case.slow]
# One of each outcome and kind, each in a run of its own for its exit code.
ALONE = ("w00", "w05", "w16", "w25", "t13", "e04", "e26", "g10", "g24x", "b23", "n01", "n31")
SERVICE = ("::", "##[", "##vso", "##teamcity")


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    """`python -m initlint` with these arguments."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INITLINT_")}
    return subprocess.run(
        [sys.executable, "-m", "initlint", *arguments],
        capture_output=True,
        check=False,
        env={**environment, "PYTHONPATH": str(ROOT)},
        timeout=300,
    )


def made(folder: Path, identities: Iterable[str]) -> dict[str, Path]:
    """The inputs, each in a folder of its own with a folder above it to reach for."""
    found = {}
    for identity in identities:
        place = folder / identity / "model"
        place.mkdir(parents=True)
        found[identity] = CASES[identity].make(place)
    return found


@dataclass(frozen=True)
class Result:
    """What came out for one input: its part of the report as a report of its own."""

    report: Report

    @property
    def code(self) -> int:
        """The exit code of a run on this input alone."""
        return exit_code(self.report, "error")

    @property
    def refusal(self) -> Skipped | None:
        """Why the file was not analysed."""
        return next(iter(self.report.skipped), None)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Result]]:
    """All quick inputs in one call with two workers: what one input does to a worker is met by the next."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = made(folder, QUICK)
    answer = run("--format", "json", "--all-tensors", "--jobs", "2", "--timeout", "60", *paths.values())
    assert answer.returncode == 2
    assert b"Traceback" not in answer.stderr
    _harmless(answer.stderr.decode())
    whole = Report.from_json(answer.stdout)
    return {identity: Result(_part(whole, folder, identity)) for identity in paths}


def _part(whole: Report, folder: Path, identity: str) -> Report:
    place = f"{folder}/{identity}/model/"
    models = tuple(item for item in whole.models if item.path.startswith(place))
    skipped = tuple(item for item in whole.skipped if item.path.startswith(place))
    assert len(models) + len(skipped) == 1
    keys = {item.model for item in (*models, *skipped)}
    return Report(
        models=models,
        rules=whole.rules,
        findings=tuple(item for item in whole.findings if item.model in keys),
        layers=tuple(item for item in whole.layers if item["model"] in keys),
        tensors=tuple(item for item in whole.tensors if item["model"] in keys),
        skipped=skipped,
    )


def _harmless(text: str, *, commands: bool = False) -> None:
    """No line that a runner would act on, no character that a terminal would, no traceback."""
    assert "Traceback (most recent" not in text or "n25" in text
    for line in text.splitlines():
        if not commands:
            assert not line.lstrip().startswith(SERVICE), line[:200]
        assert all(character.isprintable() or character in "\t\x1b" for character in line), line[:200]


@pytest.mark.parametrize("identity", QUICK)
def test_outcome(results: dict[str, Result], identity: str) -> None:
    """Refused with a reason, analysed in part or in full, as the kind of input demands; never a fault of ours."""
    result, want = results[identity], CASES[identity].want
    refusal = result.refusal
    if refusal is not None:
        assert refusal.reason not in {"crash", "memory", "deadline"}, refusal.message
        assert refusal.message
        assert "\n" not in refusal.message
    if want == "refuse" and identity not in ONE_LAYER:
        assert refusal is not None
    elif want in {"refuse", "partial"}:
        assert result.code == 2
        assert refusal is None
        assert any(item.code == "IL001" for item in result.report.findings)
        assert exit_code(result.report, "never", allow_partial=True) == 0
    elif want == "judge":
        assert result.code in {1, 2}
    else:
        assert refusal is None, refusal.message
        assert result.code in {0, 1}


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_harmless(results: dict[str, Result], format_: str) -> None:
    """Each report in each format: no control character, no line for a runner but our own."""
    for identity, result in results.items():
        text = render(result.report, format_, View(verbose=True))
        text.encode()
        assert len(text) < 2_000_000, identity
        if format_ == "github":
            for line in text.splitlines():
                assert line.startswith(("::error ", "::warning ", "::notice ")), line[:200]
        else:
            _harmless(text)
        if format_ == "json":
            assert Report.from_json(text).skipped == result.report.skipped


@pytest.mark.parametrize("identity", [identity for identity in ALONE if identity in CASES])
def test_alone(tmp_path: Path, identity: str) -> None:
    """A run on one input: its exit code, one line on standard error where it is refused, nothing where it is not."""
    case = CASES[identity]
    answer = run(made(tmp_path, [identity])[identity])
    errors = answer.stderr.decode()
    assert answer.returncode in CODES[case.want]
    assert errors.count("\n") == (case.want == "refuse")
    assert "Traceback" not in errors
    _harmless(errors)
    _harmless(answer.stdout.decode())


def test_no_secret_leaves(results: dict[str, Result]) -> None:
    """What an external location reaches for outside is not read: the secret beside the model shows in no report."""
    for identity, result in results.items():
        if identity.startswith("e") and CASES[identity].want == "refuse":
            assert json.loads(result.report.to_json())["layers"] == []


@cache
def _listed() -> set[str]:
    return set(CASES)


def test_the_table_is_whole() -> None:
    """Ids are unique and every outcome is met by some input."""
    assert len(_listed()) == len(CASES)
    assert {case.want for case in CASES.values()} == {"refuse", "partial", "analyse", "neutralise", "judge"}
