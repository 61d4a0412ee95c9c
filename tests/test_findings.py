"""What a finding says: its place, its words, its values, its identity; and which settings of rules are understood."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initlint.causes import folded, gathered
from initlint.errors import Reason, Refusal
from initlint.facts import build
from initlint.report import Blamed, Finding, fingerprint
from initlint.rulecheck import check, load
from initlint.rulefile import Example, Level, Rule, Text, built_in, parameters_for, render
from initlint.rules import Settings, check_settings, judge, selected
from tests.reports import a_finding

WORDS = Text("wide {name}", "gain {gain:.1f} over {most:.0f}", "w", "y", "set {weight} of {op}", "l", ("He",))


def rule(code: str = "XX001", **more: Any) -> Rule:
    fields = {
        "name": f"n{code.lower()}", "severity": "error", "confidence": "high", "since": "0", "over": "layer", "text": WORDS,
        "when": "gain > :most", "params": {"most": 2.0, "init": {"most": 3.0}},
    } | more  # fmt: skip
    made = Rule(code=code, **fields)
    check(made, build({}))
    return made


ROW = {
    "name": "fc1", "node": "n1", "op": "Gemm", "weight": "w1", "slot": "weight", "position": 1, "depth": 2.0, "gain": 4.0,
    "fan_in": 8.0, "dtype": "float32",
}  # fmt: skip


def found(one: Rule, *rows: dict[str, Any], phase: str | None = "init", **settings: Any) -> list[Finding]:
    facts = build({"model": [{"name": "m", "phase": phase}], one.over: list(rows)})
    blame = settings.pop("blame", lambda _place, _grows: ())
    return list(judge([one], facts, Settings(**settings), "models/m.onnx", blame).findings)


def test_a_finding_says_where_and_what() -> None:
    """Everything a format shows comes from the row, the rule and its parameters."""
    (finding,) = found(rule(), ROW)
    assert (finding.place, finding.node, finding.op, finding.weight, finding.depth) == ("fc1", "n1", "Gemm", "w1", 2.0)
    assert (finding.code, finding.name, finding.severity, finding.confidence) == ("XX001", "nxx001", "error", "high")
    assert (finding.model, finding.over, finding.exit, finding.blamed) == ("models/m.onnx", "layer", None, ())
    assert (finding.title, finding.message, finding.fix) == ("wide fc1", "gain 4.0 over 3", "set w1 of Gemm")
    assert finding.values == {"gain": 4.0, "most": 3.0, "name": "fc1"}  # what the condition and the message speak of
    assert finding.fingerprint == fingerprint("XX001", "models/m.onnx", "n1", "weight")
    assert finding.counts


def test_a_finding_whose_words_name_no_column_is_somewhere_all_the_same() -> None:
    """What says where it is does not depend on what the rule has to say."""
    words = Text("t", "m", "w", "y", "f", "l", ())
    (finding,) = found(rule(when="gain > 2", text=words, params={}), ROW)
    assert (finding.place, finding.node, finding.op, finding.weight, finding.depth) == ("fc1", "n1", "Gemm", "w1", 2.0)
    assert finding.fingerprint == fingerprint("XX001", "models/m.onnx", "n1", "weight")


def test_a_finding_of_little_is_still_somewhere() -> None:
    """A row without node, operator, weight and depth has a place; one without a name has the model's."""
    bare = {"name": "fc1", "gain": 4.0}
    (finding,) = found(rule(), bare)
    assert (finding.place, finding.node, finding.op, finding.weight, finding.depth) == ("fc1", None, None, None, None)
    assert finding.fingerprint == fingerprint("XX001", "models/m.onnx", "fc1", "")
    assert finding.fix == "set unknown of unknown"
    words = Text("t", "m", "w", "y", "f", "l", ())
    one = rule(over="waiver", when="used = 0", text=words, params={})
    assert [item.place for item in found(one, {"code": "IL9", "used": 0}, {"used": 0})] == ["IL9", "models/m.onnx"]


def test_the_phase_chooses_parameters() -> None:
    """An unknown phase is judged as trained; a model without one, too."""
    one = rule(params={"init": {"most": 3.0}, "trained": {"most": 5.0}})
    for phase, gain, verdict in (
        ("init", 3.1, 1), ("init", 3.0, 0), ("trained", 4.0, 0), ("trained", 5.1, 1), (None, 4.0, 0), (None, 5.1, 1), ("odd", 4.0, 0),
    ):  # fmt: skip
        assert len(found(one, {**ROW, "gain": gain}, phase=phase)) == verdict
    assert parameters_for(rule(params={"most": 1.0}), "init") == {"most": 1.0}
    assert [parameters_for(one, phase) for phase in ("init", "trained")] == [{"most": 3.0}, {"most": 5.0}]
    assert parameters_for(rule(params={"most": 1.0}), None, {"most": 2.0, "severity": "note"}) == {"most": 2.0}
    for values, words in (({"mst": 1}, "did you mean most"), ({"zzz": 1}, "it has most")):
        with pytest.raises(Refusal, match=words) as refusal:
            parameters_for(rule(), None, values)
        assert refusal.value.reason == Reason.CONFIG
    bare = rule(when="gain > 2", text=Text("t", "m", "w", "y", "f", "l", ()), params={})
    with pytest.raises(Refusal, match="it has none"):
        parameters_for(bare, None, {"zzz": 1})


def test_levels_and_the_users_word() -> None:
    """The first level that holds, the rule's own severity where none does, the user's above all."""
    one = rule(level=(Level("note", "fan_in > 8"), Level("warning", "fan_in = 8")))
    assert [item.severity for item in found(one, ROW)] == ["warning"]
    assert [item.severity for item in found(one, {**ROW, "fan_in": 9.0})] == ["note"]
    assert [item.severity for item in found(one, {**ROW, "fan_in": 7.0})] == ["error"]
    assert [item.severity for item in found(one, ROW, overrides={"XX001": {"severity": "note"}})] == ["note"]
    assert [item.severity for item in found(one, ROW, overrides={"XX002": {"severity": "note"}})] == ["warning"]


BLAME = "{blamed_layer} {blamed_pytorch} {blamed_keras}"


def test_the_fix_names_the_layer_to_blame() -> None:
    """The first of those blamed, with its lines; where nobody is, what holds for all before the place."""
    one = rule(grows=True, text=Text("t", "m", "w", "y", BLAME, "l", ()))
    full = Blamed("fc0", 1.0, 3.0, pytorch="torch line", keras="keras line")
    empty, other = Blamed("fc5", 0.5, 1.0), Blamed("fc9", 0.1, 0.5, pytorch="no")
    (finding,) = found(one, ROW, blame=lambda _place, _grows: (full, other))
    assert (finding.fix, finding.blamed) == ("fc0 torch line keras line", (full, other))
    (finding,) = found(one, ROW, blame=lambda _place, _grows: (empty,))
    assert finding.fix == "fc5 torch.nn.init kernel_initializer"
    (finding,) = found(one, ROW)
    assert finding.fix == "the layers before this point torch.nn.init kernel_initializer"
    with pytest.raises(Refusal, match="blamed_layer"):
        rule(text=Text("t", "m", "w", "y", BLAME, "l", ()))  # a rule that blames nobody has nobody to name


def test_the_record_of_a_rule() -> None:
    """Its words, its parameters and severity in force, and how many rows came out how."""
    rows = [ROW] * 2 + [{**ROW, "gain": 1.0}] * 3 + [{**ROW, "gain": None}] * 5 + [{**ROW, "fan_in": 7.0}] * 4
    settings = Settings(overrides={"XX001": {"severity": "note", "most": 3.5}})
    (record,) = judge(
        [rule(given="fan_in = 8")], build({"model": [{"phase": "init"}], "layer": rows}), settings, "m"
    ).rules
    assert (record.failed, record.passed, record.not_applicable, record.unknown) == (2, 3, 4, 5)
    assert (record.severity, record.parameters, record.references) == ("note", {"most": 3.5}, ("He",))
    assert (record.what, record.why, record.limits, record.fix) == ("w", "y", "l", WORDS.fix)


def test_rows_come_along_the_graph() -> None:
    """Layers and tensors by position, whatever their order in the table; first is the first of these."""
    rows = [{**ROW, "name": name, "position": position} for name, position in (("c", 3), ("a", 1), ("b", 2))]
    assert [item.place for item in found(rule(), *rows)] == ["a", "b", "c"]
    assert [item.place for item in found(rule(report="first"), *rows)] == ["a"]
    words = Text("t", "m", "w", "y", "f", "l", ())
    tensors = [{"name": row["name"], "position": row["position"], "std": 1.0} for row in rows]
    assert [item.place for item in found(rule(over="tensor", when="std > 0", text=words, params={}), *tensors)] == [
        "a",
        "b",
        "c",
    ]


def test_three_of_one_fingerprint() -> None:
    """They are told apart by their number."""
    assert [item.ordinal for item in found(rule(), ROW, ROW, ROW)] == [0, 1, 2]


# -- what explains what ------------------------------------------------------------------------------------------------


def pair(cause: dict[str, Any], effect: dict[str, Any], **more: Any) -> tuple[bool, ...]:
    """Whether the effect's finding is folded under the cause's, and whether the cause's is."""
    top = rule(
        "XX002",
        when="fan_in > 100",
        supersedes=("XX001",),
        params={},
        text=Text("t", "m", "w", "y", "f", "l", ()),
        **more,
    )
    facts = build(
        {"model": [{"phase": "init"}], "layer": [{**cause, "fan_in": 101.0, "gain": 1.0}, {**effect, "gain": 9.0}]}
    )
    findings = judge([rule(), top], facts, Settings(), "m").findings
    return tuple(item.folded_under is not None for item in findings)


@pytest.mark.parametrize(
    ("cause", "effect", "folded"),
    [
        ({"depth": 2.0}, {"depth": 2.0}, True), ({"depth": 2.0}, {"depth": 3.0}, True), ({"depth": 2.0}, {"depth": 1.0}, False),
        ({"depth": 2.0}, {}, False), ({}, {"depth": 2.0}, False), ({}, {}, False),
        ({"node": "n", "depth": 2.0}, {"node": "n", "depth": 1.0}, True), ({"node": "n"}, {"node": "n"}, True),
        ({"node": "n", "depth": 2.0}, {"node": "o", "depth": 1.0}, False),
    ],
)  # fmt: skip
def test_a_cause_explains_what_is_at_or_behind_it(cause: Any, effect: Any, *, folded: bool) -> None:
    """At the same node, or as deep or deeper; where either depth is not known, nothing."""
    names = ({"name": "a"}, {"name": "b"})
    assert pair({**names[0], **cause}, {**names[1], **effect}) == (folded, False)
    assert pair({"name": "same", **cause}, {"name": "same", **effect}) == (True, False)
    assert pair({**names[0], **cause}, {**names[1], **effect}, report="first") == (True, False)


RANKS = ["note", "warning", "error"]
MADE = st.builds(
    lambda code, rank, node, place, depth: a_finding(place, code=code, severity=RANKS[rank], node=node, depth=depth, over="layer"),
    st.sampled_from(["XX001", "XX002", "XX003", "XX004"]), st.integers(0, 2), st.sampled_from([None, "n", "o"]),
    st.sampled_from("pqr"), st.sampled_from([None, 0.0, 1.0, 2.0, 3.0, 4.0]),
)  # fmt: skip


@cache
def chains(*, first: bool) -> tuple[Rule, ...]:
    """Rules that explain one another; with `first` the last of them speaks for the whole signal."""
    second, last = ("XX003",) if first else ("XX003", "XX004"), ("XX001",) if first else ()
    return (
        rule("XX001", supersedes=("XX002", "XX003")), rule("XX002", supersedes=second), rule("XX003"),
        rule("XX004", report="first" if first else "all", supersedes=last),
    )  # fmt: skip


@settings(max_examples=300)
@given(st.lists(MADE, max_size=9), st.booleans())
def test_folding_against_its_definition(findings: list[Finding], first: bool) -> None:  # noqa: FBT001 - hypothesis's way
    """Each under the first that explains it, no less severe; all of a chain name its top; each names what it explains."""
    rules = chains(first=first)
    by_code = {item.code: item for item in rules}

    def explains(cause: Finding, effect: Finding) -> bool:
        if effect.code not in by_code[cause.code].supersedes or RANKS.index(cause.severity) < RANKS.index(
            effect.severity
        ):
            return False
        behind = cause.depth is not None and effect.depth is not None and effect.depth >= cause.depth
        near = cause.place == effect.place or (cause.node is not None and cause.node == effect.node)
        return behind or near or by_code[cause.code].report == "first"

    under = {
        index: next(place for place, cause in enumerate(findings) if explains(cause, effect))
        for index, effect in enumerate(findings)
        if any(explains(cause, effect) for cause in findings)
    }
    for index, told in enumerate(folded(findings, rules)):
        top = index
        while top in under:
            top = under[top]
        said = None if top == index else f"{findings[top].code} {findings[top].place}"
        assert told.folded_under == said
        below = tuple(f"{findings[i].code} {findings[i].place}" for i, parent in under.items() if parent == index)
        assert told.folded == below


def test_a_flood_is_named_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finding names the first of many that it explains; every one of them says by which it is explained."""
    monkeypatch.setattr("initlint.causes.NAMED", 3)
    cause = a_finding("p", code="XX002", over="layer")
    flood = [a_finding("p", code="XX001", over="layer") for _ in range(5)]
    told = folded([cause, *flood], [rule(), rule("XX002", supersedes=("XX001",))])
    assert told[0].folded == ("XX001 p",) * 3
    assert [item.folded_under for item in told[1:]] == ["XX002 p"] * 5
    gemm = [a_finding(name, values={"op": "Gemm"}) for name in "abcdef"]
    found_alike = alike(*gemm)
    assert found_alike[0] == (None, ("IL202 b", "IL202 c", "IL202 d"))
    assert [under for under, _ in found_alike[1:]] == ["IL202 a"] * 5


@pytest.mark.parametrize(
    ("explains", "circle"),
    [
        ((("ACME002",), (), ()), False), ((("ACME002", "ACME003"), ("ACME003",), ()), False), ((("ACME001",), (), ()), True),
        ((("ACME002",), ("ACME001",), ()), True), ((("ACME002",), ("ACME003",), ("ACME001",)), True),
        (((), ("ACME003",), ("ACME002",)), True), ((("ACME002",), ("ACME003",), ("ACME002",)), True), ((("ACME009",), (), ()), False),
    ],
)  # fmt: skip
def test_rules_that_explain_each_other_are_refused(
    tmp_path: Path, explains: tuple[tuple[str, ...], ...], *, circle: bool
) -> None:
    """Each finding would be folded under the other: none would count, and what both found would pass."""
    text = (built_in() / "IL002.toml").read_text()
    for number, codes in enumerate(explains, 1):
        own = text.replace("IL002", f"ACME00{number}").replace(
            'over = "model"', f'over = "model"\nsupersedes = {list(codes)}'
        )
        (tmp_path / f"ACME00{number}.toml").write_text(own.replace("analysis-", f"analysis{number}-"))
    if circle:
        with pytest.raises(Refusal, match="supersedes: the rule explains itself") as refusal:
            load([tmp_path])
        assert refusal.value.reason == Reason.RULE_FILE
    else:
        assert len(load([tmp_path])) == 3


# -- one cause, told once ----------------------------------------------------------------------------------------------


def alike(*findings: Finding) -> list[tuple[str | None, tuple[str, ...]]]:
    return [(item.folded_under, item.folded) for item in gathered(findings, [rule("IL202", alike="op"), rule("IL203")])]


def test_alike_findings_are_told_once() -> None:
    """Of one rule, one severity and one value; those that do not count take no part."""
    one, two, three = (a_finding(name, values={"op": "Gemm"}) for name in "abc")
    other, soft = a_finding("d", values={"op": "Conv"}), a_finding("e", severity="note", values={"op": "Gemm"})
    waived = a_finding("f", values={"op": "Gemm"}, waived="known")
    elsewhere = a_finding("g", code="IL203", values={"op": "Gemm"})
    assert alike(waived, one, other, two, soft, three, elsewhere, elsewhere) == [
        (None, ()), (None, ("IL202 b", "IL202 c")), (None, ()), ("IL202 a", ()), (None, ()), ("IL202 a", ()), (None, ()), (None, ()),
    ]  # fmt: skip
    before = a_finding("a", values={"op": "Gemm"}, folded=("IL102 x",))
    assert alike(before, two) == [(None, ("IL102 x", "IL202 b")), ("IL202 a", ())]


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_that_name_what_there_is_not() -> None:
    """With the nearest there is, where one is near."""
    rules = [rule("XX001"), rule("XX102")]
    check_settings(rules, Settings(("XX",), ("XX1", "nxx001"), {"XX001": {"most": 1.0, "severity": "note"}}))
    for wrong, words in (
        (Settings(("YY",)), "no rule starts with YY$"), (Settings(("XX00X",)), "no rule starts with XX00X; did you mean XX001"),
        (Settings(None, ("ZZ",)), "no rule starts with ZZ"), (Settings(overrides={"XX002": {}}), "no rule XX002; did you mean"),
        (Settings(overrides={"Q": {}}), "there is no rule Q$"), (Settings(overrides={"XX001": {"mots": 1}}), "did you mean most"),
    ):  # fmt: skip
        with pytest.raises(Refusal, match=words) as refusal:
            check_settings(rules, wrong)
        assert refusal.value.reason == Reason.CONFIG


def test_what_is_selected_and_ignored() -> None:
    """By the beginning of a code or by a whole name; nothing selected is all, an empty selection is none."""
    rules = [rule("XX001"), rule("XX102"), rule("YY001")]

    def codes(*settings: Any) -> list[str]:
        return [item.code for item in selected(rules, Settings(*settings))]

    assert codes() == ["XX001", "XX102", "YY001"]
    assert codes(()) == []
    assert codes(("XX",)) == ["XX001", "XX102"]
    assert codes(("nxx102", "YY")) == ["XX102", "YY001"]
    assert codes(("nxx",)) == []
    assert codes(None, ("XX1", "nyy001")) == ["XX001"]
    assert codes(("XX",), ("XX",)) == []


# -- words -------------------------------------------------------------------------------------------------------------


def test_templates_filled_in() -> None:
    """A number in its form, NULL as unknown, a text where a number is expected as it is, braces as braces."""
    values = {"a": 2.0, "b": None, "c": "x", "d": 3}
    assert render("{a:.1f} {b:.1f} {b} {c:.1f} {c} {d} {{e}} {f}", values) == "2.0 unknown unknown x x 3 {e} unknown"
    assert render("", values) == ""
    assert render("{a}{a}", values) == "2.02.0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alike": "gian"}, "alike: is no column; did you mean gain"), ({"given": "known = 1"}, "given: "),
        ({"when": "dtype = 4 AND gain > :most"}, "text column dtype with a number"),
        ({"when": "dtype > -4 AND gain > :most"}, "text column dtype"), ({"when": "gain > :mots"}, "mots"),
        ({"when": "gian > :most"}, "no such column: gian; did you mean gain"), ({"given": '"gain" > 1'}, "given: quotes a name"),
        ({"level": (Level("note", "gain > 1;"),)}, "more than one expression"),
        ({"text": Text("{gian}", "m", "w", "y", "f", "l", ())}, "text.title: has no column or parameter 'gian'; did you mean gain"),
        ({"text": Text("t", "{Gain}", "w", "y", "f", "l", ())}, "text.message: {Gain} is not"),
        ({"text": Text("t", "m", "w", "y", "{gain!s}", "l", ())}, "text.fix: {gain} is not"),
        ({"example": (Example("pass", {"gain": 1.0}), Example("fail", {"gian": 1.0}))}, "example[1]: has no column 'gian'"),
    ],
)  # fmt: skip
def test_a_rule_that_is_wrong(change: dict[str, Any], words: str) -> None:
    """The key, and what is wrong with it."""
    with pytest.raises(Refusal) as refusal:
        rule(**change)
    assert refusal.value.reason == Reason.RULE_FILE
    assert words in refusal.value.message
    assert refusal.value.message.startswith("XX001: ")


def test_what_a_text_may_be_compared_with() -> None:
    """Another text, also one that looks like SQL; a number in quotes is one."""
    for when in ("dtype = 'a > 4'", "dtype <> '4' AND gain > :most", "name = 'a;--\"[`/*'", "op IN ('a', 'b''c')"):
        assert rule(when=when).when == when


def test_rules_of_several_folders(tmp_path: Any) -> None:
    """All of them by code; a folder that is not there, or holds none, is no pass."""
    codes = [item.code for item in load([built_in()])]
    assert codes == sorted(codes)
    with pytest.raises(Refusal, match="no folder of rules"):
        load([built_in(), tmp_path / "none"])
    with pytest.raises(Refusal, match="holds no rule"):
        load([built_in(), tmp_path])
