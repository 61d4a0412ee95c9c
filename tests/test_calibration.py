"""The calibration's own tools: what a forward pass shows, faults that are really there, exact intervals."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parent
SAMPLES = ROOT.parent / "samples"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A benchmark's module, imported as its command imports it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("IL201", "explodes"), ("IL202", "vanishes"), ("IL206", "saturated"), ("IL207", "dead units"), ("IL301", "NaN"),
        ("IL302", "output does not depend on the input"), ("IL303", "units all the same"),
    ],
)  # fmt: skip
def test_a_forward_pass_shows_the_fault(tool: Callable[[str], ModuleType], code: str, shown: str) -> None:
    """Samples that break a rule of the signal show it to onnxruntime; their twins show nothing."""
    forward = tool("forward_truth").forward
    assert shown in forward(SAMPLES / "bad" / f"{code}.onnx").broken(None, "init")
    assert forward(SAMPLES / "good" / f"{code}.onnx").broken(None, "init") == {}


def test_a_fault_is_recorded_with_the_layers_it_touches(tool: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """The file differs from its base in the layer named and nowhere else, and only where the record says."""
    faults, base = tool("faults"), SAMPLES / "good" / "IL201.onnx"
    truth = tool("forward_truth").forward(base)
    assert "output does not depend" in faults.inject(base, "one_zero", tmp_path, truth, "init")
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
        for path in (base, tmp_path / "IL201@one_zero.onnx")
    )
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed
    assert changed <= set(record["touched"])
    assert not any(after[name].any() for name in changed)
    assert not record["every"]


def test_a_fault_that_leaves_no_trace_is_put_aside(tool: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """Exchanging two fresh layers changes every output and breaks nothing."""
    base = SAMPLES / "good" / "IL201.onnx"
    truth = tool("forward_truth").forward(base)
    assert tool("faults").inject(base, "swapped", tmp_path, truth, "init") == "harmless"
    assert not list(tmp_path.glob("*.onnx"))
    assert len(list((tmp_path / "harmless").glob("*.onnx"))) == 1


def test_intervals_are_clopper_and_pearsons(tool: Callable[[str], ModuleType]) -> None:
    """None of n has the upper limit 1 - 0.025^(1/n), known in closed form."""
    interval = tool("calibrate_gate").interval
    assert interval(0, 300) == f"0/300 = 0.0 % [0.0, {100 * (1 - 0.025 ** (1 / 300)):.1f}]"
    assert interval(300, 300) == f"300/300 = 100.0 % [{100 * 0.025 ** (1 / 300):.1f}, 100.0]"
    assert interval(0, 0) == "-"


def test_a_family_stays_in_one_half(tool: Callable[[str], ModuleType]) -> None:
    """Models of one source, and faults put into a network, are never on both sides."""
    bench = tool("calibrate_gate")
    for names in (
        ("gh__acasxu__a__1.onnx", "gh__acasxu__b__2.onnx"),
        ("mlp_relu-3_he.onnx", "mlp_relu-16_he@one_nan.onnx"),
    ):
        assert len({bench.half_of(Path(name)) for name in names}) == 1
    halves = [bench.half_of(Path(f"gh__source{index}__m__0.onnx")) for index in range(300)]
    assert 0.3 < halves.count("development") / 300 < 0.5
