"""Folding: by what explains a finding, in a time that grows with the findings and not with their square."""

import random
import time

from initlint.causes import NAMED, folded, gathered
from initlint.report import Finding
from initlint.rulefile import Rule, Text

WORDS = Text("t", "m", "w", "y", "f", "l", ())
OVERS = ("layer", "tensor", "weight", "model")


def rule(code: str, over: str, report: str, supersedes: tuple[str, ...]) -> Rule:
    return Rule(
        code=code, name=code.lower(), severity="error", confidence="high", since="0", over=over, when="1", text=WORDS,  # type: ignore[arg-type]
        report=report, supersedes=supersedes,  # type: ignore[arg-type]
    )  # fmt: skip


def finding(
    code: str, over: str, place: str, *, node: str | None = None, depth: float | None = None, severity: str = "error"
) -> Finding:
    return Finding(
        code=code, name=code.lower(), severity=severity,  # type: ignore[arg-type]
        confidence="high", model="m", over=over, place=place, node=node,
        op=None, title="t", message="m", fix="f", values={"alike": 1.0}, fingerprint=f"{code}{place}", depth=depth,
    )  # fmt: skip


def explains(cause: Finding, by: Rule, other: Finding) -> bool:
    """The rule of folding, word for word, for one pair."""
    if cause.severity == "warning" and other.severity == "error":
        return False
    if by.report == "first" or by.over in {"model", "weight"} or other.over == "model":
        return True
    if (cause.node is not None and cause.node == other.node) or cause.place == other.place:
        return True
    return cause.depth is not None and other.depth is not None and other.depth >= cause.depth


def test_the_first_that_explains_it() -> None:
    """Each finding is folded under the top of the first that explains it, as comparing all pairs says."""
    for seed in range(300):
        source = random.Random(seed)
        rules = []
        for index in range(5):  # one supersedes later ones only: no circle
            later = [f"XX{other}" for other in range(index + 1, 5)]
            chosen = tuple(source.sample(later, source.randint(0, len(later))))
            rules.append(rule(f"XX{index}", source.choice(OVERS), source.choice(("first", "all")), chosen))
        by_code = {item.code: item for item in rules}
        findings = [
            finding(
                one.code, one.over, source.choice("abcd"), node=source.choice((None, "n", "o", "p")),
                depth=source.choice((None, 1.0, 2.0, 3.0)), severity=source.choice(("error", "warning")),
            )
            for one in source.choices(rules, k=source.randint(0, 14))
        ]  # fmt: skip
        under: dict[int, int] = {}
        for index, other in enumerate(findings):
            for place, cause in enumerate(findings):
                by = by_code[cause.code]
                if other.code in by.supersedes and explains(cause, by, other):
                    under[index] = place
                    break
        told = folded(findings, rules)
        for index, item in enumerate(told):
            top = index
            while top in under:
                top = under[top]
            assert item.folded_under == (f"{findings[top].code} {findings[top].place}" if index in under else None)
            names = tuple(f"{findings[i].code} {findings[i].place}" for i, parent in under.items() if parent == index)
            assert sorted(item.folded) == sorted(names)


def test_rules_in_a_circle_end() -> None:
    """Two rules that supersede each other, and one that supersedes itself, lead to an end."""
    rules = [rule("XX1", "layer", "all", ("XX2",)), rule("XX2", "layer", "all", ("XX1",)), rule("XX3", "layer", "all", ("XX3",))]  # fmt: skip
    told = folded([finding(code, "layer", "a") for code in ("XX1", "XX2", "XX3", "XX3")], rules)
    assert [item.folded_under is None for item in told[2:]] == [True, True]


def test_ten_times_the_findings() -> None:
    """Ten times as many findings take some ten times as long, not a hundred times; the names told are bounded."""
    rules = [rule("XX1", "layer", "all", ("XX2",)), rule("XX2", "layer", "all", ())]

    def seconds(count: int) -> float:
        codes = ("XX1", "XX2")
        findings = [finding(codes[index % 2], "layer", f"p{index}", depth=float(index)) for index in range(count)]
        started = time.process_time()
        told = gathered(folded(findings, rules), rules)
        assert sum(item.folded_under is not None for item in told) == count // 2
        assert max(len(item.folded) for item in told) <= NAMED
        return time.process_time() - started

    seconds(100)
    few = min(seconds(2000) for _ in range(3))
    assert seconds(20_000) < 40 * few
