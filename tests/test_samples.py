"""Every rule has a bad sample that raises it and nothing else at warning or above, and a good twin that raises nothing."""

import subprocess
import sys
from pathlib import Path

import onnxruntime as ort
import pytest

from initlint.analysis import Settings, analyse
from initlint.config import Config, OperatorHint
from initlint.report import exit_code

ROOT = Path(__file__).resolve().parent.parent
CODES = sorted(path.stem for path in (ROOT / "samples" / "bad").glob("*.onnx"))
LOUD = ("error", "warning")


def settings(kind: str, code: str) -> Settings:
    """As the rule wants to be looked at: those of the probe with the probe, on data that goes with the sample."""
    if not code.startswith("IL5") and code != "IL003":
        return Settings(Config(), code)
    device = "cuda" if code == "IL506" and kind == "bad" else "cpu"
    said = {"com.microsoft::SampleOp": OperatorHint(behaves_as="relu" if kind == "bad" else "identity")}
    return Settings(Config(probe=True, device=device, op=said if code == "IL003" else {}), code)


@pytest.mark.parametrize("code", CODES)
def test_the_bad_sample_raises_its_rule_alone(code: str) -> None:
    """One fault, one finding: what it explains is folded under it."""
    if code == "IL506" and "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this machine has the CUDA provider: nothing is missed")
    report = analyse(str(ROOT / "samples" / "bad" / f"{code}.onnx"), settings("bad", code))
    counting = [finding for finding in report.findings if finding.counts]
    assert code in {finding.code for finding in counting}
    assert {finding.code for finding in counting if finding.severity in LOUD} <= {code}


@pytest.mark.parametrize("code", CODES)
def test_the_good_twin_raises_nothing(code: str) -> None:
    """The same network without the fault exits 0 and is silent at warning and above."""
    report = analyse(str(ROOT / "samples" / "good" / f"{code}.onnx"), settings("good", code))
    assert [finding.code for finding in report.findings if finding.severity in LOUD and finding.counts] == []
    assert exit_code(report, "warning") == 0


def test_the_samples_are_what_their_script_builds(tmp_path: Path) -> None:
    """The files in the repository come from the script, from its seed."""
    subprocess.run([sys.executable, str(ROOT / "samples" / "build.py"), str(tmp_path)], check=True, capture_output=True)
    built = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert sum(path.suffix == ".onnx" for path in built) == 2 * len(CODES)
    for path in built:
        assert path.read_bytes() == (ROOT / "samples" / path.relative_to(tmp_path)).read_bytes(), path.name
