"""Findings told once: each is folded under the one that explains it, or under the first of those that are alike."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

from initlint.report import RANKS, Finding
from initlint.rulefile import Rule

__all__ = ["folded", "gathered"]

NAMED = 1000  # findings that one finding names as explained by it; all of them say by which they are


class _Causes(msgspec.Struct):
    """Where the findings of one rule and severity stand in the list: the first of all, of each node and place, by depth."""

    first: int
    rank: int
    nodes: dict[str, int] = msgspec.field(default_factory=dict)
    places: dict[str, int] = msgspec.field(default_factory=dict)
    indices: list[int] = msgspec.field(default_factory=list)  # of those that are less deep than all before them
    depths: list[float] = msgspec.field(default_factory=list)  # theirs, negative: ascending

    def add(self, index: int, finding: Finding) -> None:
        """One more finding of the rule."""
        if finding.node is not None:
            self.nodes.setdefault(finding.node, index)
        self.places.setdefault(finding.place, index)
        if finding.depth is not None and (not self.depths or -finding.depth > self.depths[-1]):
            self.indices.append(index)
            self.depths.append(-finding.depth)

    def explaining(self, finding: Finding) -> int | None:
        """The first that explains a finding: at its node or its place, or no deeper in the network."""
        found = [self.places.get(finding.place)]
        if finding.node is not None:
            found.append(self.nodes.get(finding.node))
        if finding.depth is not None:
            position = bisect_left(self.depths, -finding.depth)
            found.append(self.indices[position] if position < len(self.indices) else None)
        return min((index for index in found if index is not None), default=None)


def folded(findings: Sequence[Finding], rules: Sequence[Rule]) -> tuple[Finding, ...]:
    """Fold each finding under the first that explains it: a cause explains what its rule supersedes at or behind its place.

    Nothing is folded under what is less severe: a note hides no error. A rule that reports the first tensor only speaks for
    the whole signal: it also explains the layers before it. Linear in the findings, but for a search among those of one rule: a model may have a hundred thousand.
    """
    by_code = {rule.code: rule for rule in rules}
    causes: dict[tuple[str, str], _Causes] = {}
    for index, finding in enumerate(findings):
        if by_code[finding.code].supersedes:
            key = (finding.code, finding.severity)
            causes.setdefault(key, _Causes(index, RANKS[finding.severity])).add(index, finding)
    explaining: dict[str, list[_Causes]] = {}
    wholes: dict[str, list[_Causes]] = {}
    for (code, _), found in causes.items():
        rule = by_code[code]
        whole = rule.report == "first" or rule.over in {"model", "weight"}
        for other in set(rule.supersedes) - {code}:
            (wholes if whole else explaining).setdefault(other, []).append(found)
    under: dict[int, int] = {}
    for index, finding in enumerate(findings):
        rank = RANKS[finding.severity]
        candidates: list[int | None] = [found.first for found in wholes.get(finding.code, ()) if found.rank >= rank]
        for found in explaining.get(finding.code, ()):
            if found.rank >= rank:
                candidates.append(found.first if finding.over == "model" else found.explaining(finding))
        first = min((item for item in candidates if item is not None), default=None)
        if first is not None:
            under[index] = first
    return _told(findings, under)


def _told(findings: Sequence[Finding], under: dict[int, int]) -> tuple[Finding, ...]:
    """Each folded finding names the one at the top of those above it; each of those names what it explains."""
    children: dict[int, list[int]] = {}
    for index, parent in under.items():
        children.setdefault(parent, []).append(index)
    result = []
    for index, finding in enumerate(findings):
        told = finding
        if index in under:
            top = under[index]
            passed = {index}
            while top in under and top not in passed:
                passed.add(top)
                top = under[top]
            told = msgspec.structs.replace(told, folded_under=f"{findings[top].code} {findings[top].place}")
        if index in children:
            names = tuple(f"{findings[i].code} {findings[i].place}" for i in children[index][:NAMED])
            told = msgspec.structs.replace(told, folded=names)
        result.append(told)
    return tuple(result)


def gathered(findings: Sequence[Finding], rules: Iterable[Rule]) -> tuple[Finding, ...]:
    """Findings of one cause told once: the others are folded under the first of them.

    After waivers and baselines, and only among findings that count, so that none is hidden by one that somebody accepted.
    """
    alike = {rule.code: rule.alike for rule in rules if rule.alike is not None}
    heads: dict[tuple[object, ...], int] = {}
    children: dict[int, list[int]] = {}
    for index, finding in enumerate(findings):
        column = alike.get(finding.code)
        if column is None or not finding.counts:
            continue
        head = heads.setdefault((finding.code, finding.severity, finding.values.get(column)), index)
        if head != index:
            children.setdefault(head, []).append(index)
    result = list(findings)
    for head, members in children.items():
        first = result[head]
        names = tuple(f"{first.code} {result[index].place}" for index in members[:NAMED])
        result[head] = msgspec.structs.replace(first, folded=(*first.folded, *names))
        for index in members:
            result[index] = msgspec.structs.replace(result[index], folded_under=f"{first.code} {first.place}")
    return tuple(result)
