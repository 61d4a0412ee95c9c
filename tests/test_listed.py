"""What a report lists of very many findings and layers: the exit code is that of all of them."""

from typing import Any

import pytest

from initlint.facts import build
from initlint.listed import MOST_FINDINGS, MOST_LAYERS, findings_listed, left_out, rows_of
from initlint.report import Finding, Report, exit_code


def finding(place: str, severity: str = "note", **more: Any) -> Finding:
    fields: dict[str, Any] = {"code": "XX1", "over": "layer", "exit": None} | more
    return Finding(
        name="n", severity=severity, confidence="high", model="m", place=place, node=None, op=None, title="t", message="m",  # type: ignore[arg-type]
        fix="f", values={}, fingerprint=place, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (finding("z", "error"), 1),
        (finding("z", "note", exit=2), 2),
        (finding("z", "note", exit=2, waived="known"), 0),
        (finding("z", "error", baselined=True), 0),
    ],
)
def test_the_exit_code_is_that_of_all(last: Finding, code: int) -> None:
    """However many others there are, waived errors among them, the one that decides is listed."""
    others = [finding(f"p{index}", "error", waived="known") for index in range(3 * MOST_FINDINGS)]
    listed = findings_listed([*others, last])
    assert len(listed) == MOST_FINDINGS
    assert exit_code(Report(findings=(*others, last)), "error") == code
    assert exit_code(Report(findings=listed), "error") == code


def test_few_are_all_listed() -> None:
    """Ordinary reports list everything, worst first, then along the graph."""
    some = [finding("b", depth=2.0), finding("a", depth=1.0), finding("c", "error", depth=9.0)]
    assert [item.place for item in findings_listed(some)] == ["c", "a", "b"]
    assert left_out(0, 0) is None


def test_layers() -> None:
    """The first layers, and those at fault wherever they are."""
    count = MOST_LAYERS + 50
    facts = build({"layer": [{"name": f"l{index}", "position": index} for index in range(count)]})
    rows = rows_of(facts, [finding("l3"), finding(f"l{count - 1}")], tensors=False)
    names = [row["name"] for row in rows["layer"]]
    assert names == [*(f"l{index}" for index in range(MOST_LAYERS)), f"l{count - 1}"]
    assert left_out(1234, count - len(names)) == "not listed: 1,234 findings and 49 layers"
