"""Coverage: what counts as known, what as not, when the answer is no answer (exit code 2), and what a user may say to it."""

from typing import Any

import numpy as np
import pytest

import initlint
from initlint.graph import Node
from initlint.model import open_model
from initlint.report import Report, exit_code
from initlint.signal.evaluate import Evaluation
from initlint.signal.propagate import Assumptions, propagate
from tests.graphs import model_of

EYE = {"w": np.eye(4, dtype=np.float32)}
DOMAINS = {"acme": 1, "other": 1}
FOO = {"acme::Foo": {"as": "ignore"}}


def graph(body: str, more: str = "") -> str:
    return f"g (float[1,4] x) => (float[1,4] y) {more} {{ {body} }}"


def checked(text: str, **settings: Any) -> Report:
    return initlint.check(model_of(text, EYE, domains=DOMAINS), **settings)


def chain(known: int, lost: int) -> str:
    """A graph of this many float tensors whose signal is known, the input among them, and this many whose is not."""
    lines = [f"k{index} = Relu({f'k{index - 1}' if index > 1 else 'x'})" for index in range(1, known)]
    lines += [f"l{index} = acme.Foo(x)" for index in range(1, lost)]
    return graph(" ".join([*lines, f"y = acme.Foo({f'k{known - 1}' if known > 1 else 'x'})" if lost else "y = Neg(x)"]))


def incomplete(report: Report) -> bool:
    """Whether the report says that it is no answer; the exit code agrees."""
    said = [finding.exit for finding in report.findings if finding.code == "IL001"]
    assert said in ([], [2])
    assert (exit_code(report, "never") == 2) is bool(said)
    assert exit_code(report, "never", allow_partial=True) == 0
    return bool(said)


@pytest.mark.parametrize(
    ("known", "lost", "settings", "partial"),
    [
        (9, 1, {}, False),  # exactly at the floor of 90 %
        (8, 1, {}, True),
        (17, 2, {}, True),
        (18, 2, {}, False),
        (1, 1, {"coverage_floor": 0.5}, False),
        (1, 2, {"coverage_floor": 0.5}, True),
        (1, 9, {"coverage_floor": 0.1}, False),
        (99, 1, {"coverage_floor": 1.0}, True),
        (9, 1, {"rules": {"IL001": {"floor": 0.95}}}, True),
        (1, 1, {"rules": {"IL001": {"floor": 0.5}}, "coverage_floor": 0.9}, False),  # the rule's own word stands above
        (1, 1, {"rules": {"IL201": {"max_gain": 9.0}}, "coverage_floor": 0.5}, False),
    ],
)
def test_the_floor(known: int, lost: int, settings: dict[str, Any], *, partial: bool) -> None:
    """Below it the answer is none, whatever is found; at it the gap is a note that lists what was not understood."""
    report = checked(chain(known, lost), **settings)
    (record,) = report.models
    assert (record.tensors, record.known_tensors) == (known + lost, known)
    assert record.coverage == pytest.approx(known / (known + lost), rel=1e-5)
    assert record.unknown_operators == f"acme::Foo x{lost} (operator acme::Foo is unknown)"
    assert incomplete(report) is partial
    (note,) = (finding for finding in report.findings if finding.code == "IL002")
    assert (note.severity, note.counts) == ("note", not partial)


def test_all_known() -> None:
    """Nothing missing: no word about it."""
    report = checked(chain(3, 0))
    assert (report.models[0].coverage, report.models[0].unknown_operators) == (1.0, None)
    assert not {"IL001", "IL002"} & {finding.code for finding in report.findings}


CASES: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    # what lies behind an unknown operator is not known either
    "behind": (graph("a = acme.Foo(x) b = Relu(a) y = Add(b, x)"), {}, (1, 3)),
    # what the user ignores is outside the coverage, with what is computed from it alone
    "ignored": (graph("a = acme.Foo(x) b = Relu(a) y = Add(x, x)"), {"op": FOO}, (2, 0)),
    "ignored and known": (graph("a = acme.Foo(x) y = Add(a, x)"), {"op": FOO}, (1, 0)),
    "ignored and unknown": (graph("a = acme.Foo(x) b = other.Bar(x) y = Add(a, b)"), {"op": FOO}, (1, 2)),
    "unknown and ignored": (graph("a = acme.Foo(x) b = other.Bar(x) y = Add(b, a)"), {"op": FOO}, (1, 2)),
    # a user says what an operator does
    "identity": (graph("a = acme.Foo(x) y = Relu(a)"), {"op": {"acme::Foo": {"as": "identity"}}}, (3, 0)),
    "identity of nothing known": (
        graph("a = other.Bar(x) y = acme.Foo(a)"), {"op": {"acme::Foo": {"as": "identity"}}}, (1, 2),
    ),
    # only floats that depend on the input are counted
    "of constants": (graph("a = acme.Foo(w) y = Relu(x)"), {}, (2, 0)),
    "of constants and the input": (graph("a = acme.Foo(w) y = Add(x, a)"), {}, (1, 1)),
    "of the input and constants": (graph("a = acme.Foo(w, x) y = Relu(x)"), {}, (2, 1)),
    "integers": (graph("a = acme.Foo(x) y = Relu(x)", "<int64[1,4] a>"), {}, (2, 0)),
    "floats": (graph("a = acme.Foo(x) y = Relu(x)", "<float16[1,4] a>"), {}, (2, 1)),
    "of an undeclared type": (graph("a = acme.Foo(x) y = Relu(x)"), {}, (2, 1)),
    "two outputs": (graph("a, b = acme.Foo(x) y = Relu(x)"), {}, (2, 2)),
    "inside a branch": (
        """g (float[1,4] x) => (float[1,4] y) { s = ReduceSum <keepdims = 0> (x) c = Greater(s, s) y = If (c) <
            then_branch = t () => (float[1,4] a) { a = Neg(x) }, else_branch = e () => (float[1,4] b) { b = acme.Foo(x) }
        > }""", {}, (2, 2),  # the branch's own tensor, and what the If makes of it
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_counted(name: str) -> None:
    """Float tensors that depend on the input, but for those that the user ignores; two ways of counting agree."""
    text, settings, (known, lost) = CASES[name]
    (record,) = checked(text, **settings).models
    assert (record.known_tensors, (record.tensors or 0) - (record.known_tensors or 0)) == (known, lost)
    assert record.coverage == pytest.approx(known / (known + lost), rel=1e-5)


BRANCH = """e = Constant <value = bool {1}> ()
    h = If (e) <then_branch = t () => (float[1,4] a) { a = acme.Foo(x) }, else_branch = f () => (float[1,4] b) { b = Neg(x) }>"""
LOOP = """n = Constant <value = int64 {3}> () e = Constant <value = bool {1}> ()
    h = Loop (n, e, x) <body = t (int64 i, bool k, float[1,4] q) => (bool l, float[1,4] a) { l = Identity(k) a = acme.Foo(q) }>"""
SCAN = """h, m = Scan <num_scan_inputs = 1, body = t (float[4] q, float[4] u) => (float[4] a, float[4] o) {
    o = Identity(u) a = acme.Foo(q, u) }> (v, x)"""
LONG = """n = Constant <value = int64 {9}> () e = Constant <value = bool {1}> ()
    h = Loop (n, e, w) <body = t (int64 i, bool k, float[4,4] q) => (bool l, float[4,4] a) { l = Identity(k) a = Add(q, x) }>"""


@pytest.mark.parametrize(
    "body", [BRANCH, LOOP, SCAN, LONG], ids=["if", "loop", "scan", "a loop too long that captures"]
)
@pytest.mark.parametrize(
    "behind", ["y = MatMul(x, h)", "y = Gemm(x, w, h)", "y = Clip(x, h)", "y = Sum(x, h)", "y = Relu(h)"]
)
def test_what_a_subgraph_does_not_give_is_lost(monkeypatch: pytest.MonkeyPatch, body: str, behind: str) -> None:
    """Neither an input left out, which would make what lies behind known, nor a graph that contradicts itself."""
    monkeypatch.setattr("initlint.signal.control.MOST_ROUNDS", 5)
    vector = {"v": np.zeros(4, np.float32)}
    model = model_of(graph(f"{body} {behind} z = Neg(y)"), {**EYE, **vector}, domains=DOMAINS)
    with open_model(model) as opened:
        found = propagate(opened)
    assert {"h", "y", "z"} <= set(found.unknown)
    assert not {"h", "y", "z"} & set(found.signals)
    assert incomplete(initlint.check(model, coverage_floor=0.99))


def test_what_a_subgraph_ignores_is_ignored() -> None:
    """As outside of it: a user's word on an operator holds wherever it stands."""
    found = evaluation(graph(f"{BRANCH} y = Add(x, h)"), **{"acme::Foo": "ignore"})
    assert ({"h", "y"} <= found.ignored, found.unknown) == (True, {})


def test_operators_at_which_knowledge_ends() -> None:
    """Those alone, the most frequent first, with the reason of the first; eight kinds at most."""
    body = "a = acme.Foo(x) b = other.Bar(x) c = other.Bar(x) d = Relu(a) e = Sub(b, x) f = Mul(e, w) y = Add(x, x)"
    found = checked(graph(body)).models[0].unknown_operators
    assert found == "other::Bar x2 (operator other::Bar is unknown); acme::Foo x1 (operator acme::Foo is unknown)"
    many = " ".join(f"a{index} = acme.Op{index}(x)" for index in range(10))
    assert len((checked(graph(f"{many} y = Relu(x)")).models[0].unknown_operators or "").split(";")) == 8


def test_a_weight_that_cannot_be_read() -> None:
    """One unread weight slot is no answer, however much of the signal is known; a model of readable ones is."""
    report = checked(graph("v = acme.Foo(w) h = MatMul(x, v) y = MatMul(x, w)"), op=FOO)
    assert report.models[0].coverage == 1.0
    assert report.facts.query("SELECT unread_slots, weight_slots FROM model") == [
        {"unread_slots": 1.0, "weight_slots": 2.0}
    ]
    assert incomplete(report)
    readable = checked(graph("y = MatMul(x, w)"))
    assert readable.facts.query("SELECT unread_slots, weight_slots FROM model") == [
        {"unread_slots": 0.0, "weight_slots": 1.0}
    ]
    assert not incomplete(readable)


def test_nothing_to_judge_is_no_failure() -> None:
    """Whole numbers only: no coverage, no verdict on it, exit code 0."""
    report = checked("g (int64[1,4] x) => (int64[1,4] y) { y = Add(x, x) }")
    (record,) = report.models
    assert (record.coverage, record.tensors, record.nothing_to_judge) == (None, 0.0, True)
    assert not incomplete(report)
    assert not checked(chain(1, 1)).models[0].nothing_to_judge
    assert not checked(graph("y = MatMul(x, w)")).models[0].nothing_to_judge


def test_an_input_of_text_is_not_followed() -> None:
    """It is no float: lost, and outside the coverage; what becomes of it as a float is inside."""
    report = checked("g (string[1,4] x) => (float[1,4] y) { y = acme.Foo(x) }")
    assert (report.models[0].tensors, report.models[0].coverage) == (1.0, 0.0)
    assert incomplete(report)


def evaluation(text: str, **aliases: str) -> Evaluation:
    """The pieces of a propagation that say what was lost."""
    found: list[Evaluation] = []
    original = Evaluation.walk

    def walk(self: Evaluation, graph: Any) -> None:
        found.append(self)
        original(self, graph)

    with pytest.MonkeyPatch.context() as patch, open_model(model_of(text, EYE, domains=DOMAINS)) as model:
        patch.setattr(Evaluation, "walk", walk)
        propagate(model, Assumptions(operators=aliases))
    return found[-1]


def test_why_a_tensor_is_not_known() -> None:
    """The reason of the operator at which knowledge ends goes with everything behind it."""
    found = evaluation(graph("a = acme.Foo(x) b = Relu(a) c = other.Bar(b) y = Neg(x)"))
    assert found.unknown == dict.fromkeys("abc", "operator acme::Foo is unknown")
    assert (found.ignored, found.too_large, found.contradictions) == (set(), False, [])


def test_what_is_ignored_is_neither_known_nor_unknown() -> None:
    """By a user's word, and what hangs on it alone."""
    found = evaluation(graph("a = acme.Foo(x) b = Relu(a) y = Neg(x)"), **{"acme::Foo": "ignore"})
    assert (found.ignored, found.unknown) == ({"a", "b"}, {})
    assert set(found.signals) == {"x", "y"}


@pytest.mark.parametrize(
    ("reason", "large"),
    [
        ("2e+12 elements are more than 1e+09", True),
        ("1e+15 multiply-adds", True),
        ("operator acme::Foo is unknown", False),
    ],
)
def test_too_large_is_another_reason_than_unknown(reason: str, *, large: bool) -> None:
    """A lower resolution may help where an input was too large, and nowhere else."""
    found = evaluation(graph("y = Neg(x)"))
    node = Node("Foo", "acme", 1, "n", ("x",), ("z", ""), {}, 9)
    found._lose_outputs(node, [found.values.get("x")], reason)
    assert (found.too_large, set(found.unknown) - {"z"}, found.producers["z"]) == (large, set(), "acme::Foo")


def test_an_operator_that_gives_less_than_it_names() -> None:
    """Outputs that are named and not computed are lost, not forgotten."""
    found = evaluation(graph("y, z = Relu(x)"))
    assert "z" in found.unknown
