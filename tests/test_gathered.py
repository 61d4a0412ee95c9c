"""Findings of one cause are told once, and none hides behind one that somebody accepted."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import initlint
from initlint.causes import gathered
from initlint.config import Waiver
from initlint.errors import Refusal
from initlint.facts import empty
from initlint.rulecheck import check, load
from initlint.rulefile import built_in, read
from tests.reports import a_finding


def constant_layers(spoilt: set[int], depth: int = 6, width: int = 24) -> onnx.ModelProto:
    """A ReLU network whose layers named hold one value."""
    random = np.random.Generator(np.random.Philox(9))
    nodes, weights, last = [], [], "x"
    for layer in range(depth):
        values = random.standard_normal((width, width)) * (2 / width) ** 0.5
        if layer in spoilt:
            values = np.full((width, width), 0.02 + 0.01 * layer)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}"], [f"g{layer}"], name=f"fc{layer}", transB=1))
        nodes.append(helper.make_node("Relu", [f"g{layer}"], [f"r{layer}"], name=f"act{layer}"))
        last = f"r{layer}"
    shape = [1, width]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model


def constants(report: initlint.Report) -> dict[str, str | None]:
    """The layers reported as constant, with what each is folded under."""
    return {item.place: item.folded_under for item in report.findings if item.code == "IL303"}


def test_layers_spoilt_alike_are_one_finding() -> None:
    """Six constant layers are one error that lists the others."""
    report = initlint.check(constant_layers({0, 1, 2, 3, 4, 5}))
    assert constants(report) == {"fc0": None} | {f"fc{layer}": "IL303 fc0" for layer in range(1, 6)}
    (head,) = (item for item in report.findings if item.counts and item.severity == "error")
    assert {f"IL303 fc{layer}" for layer in range(1, 6)} <= set(head.folded)


def test_a_waived_finding_hides_no_other() -> None:
    """The layer that somebody accepted is not the head of those that nobody did."""
    report = initlint.check(constant_layers({0, 3}), waive=(Waiver("IL303", "frozen", where="fc0"),))
    assert constants(report) == {"fc0": None, "fc3": None}
    assert not report.ok


def test_a_new_finding_does_not_hide_under_a_baseline(tmp_path: Path) -> None:
    """A fault that an earlier report had does not take a new one of its kind with it."""
    baseline = tmp_path / "baseline.json"
    baseline.write_bytes(initlint.check(constant_layers({1}), name="m").to_json())
    assert initlint.check(constant_layers({1}), name="m", baseline=str(baseline)).ok
    later = initlint.check(constant_layers({1, 4}), name="m", baseline=str(baseline))
    assert constants(later)["fc4"] is None
    assert not later.ok


def test_findings_that_differ_in_the_column_or_the_severity_stay_apart() -> None:
    """One cause is one value of the rule's column at one severity."""
    (rule,) = (rule for rule in load([built_in()]) if rule.code == "IL102")
    assert rule.alike == "initializer"

    def finding(place: str, scheme: str, severity: str = "warning") -> initlint.Finding:
        values: dict[str, str | int | float | None] = {"initializer": scheme}
        return a_finding(place, code="IL102", severity=severity, values=values, folded=(), blamed=())

    findings = (finding("a", "x"), finding("b", "y"), finding("c", "x"), finding("d", "x", "note"), finding("e", "x"))
    assert [item.folded_under for item in gathered(findings, [rule])] == [None, None, "IL102 a", None, "IL102 a"]


def test_a_column_that_does_not_exist_is_refused() -> None:
    """A misspelt column of `alike` is an error of the rule file."""
    rule = msgspec.structs.replace(read(built_in() / "IL303.toml"), alike="opp")
    with pytest.raises(Refusal, match=r"alike.*did you mean op"):
        check(rule, empty())
