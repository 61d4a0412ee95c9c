"""What several formats say in the same words: order, places, numbers, blame, verdicts."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from initlint.report import Blamed, Finding, ModelRecord, Report

__all__ = [
    "MORE", "ORDER", "Beside", "Positions", "beside", "blame", "count", "explained", "groups", "headline", "number", "of_model",
    "place", "positions", "probe", "probe_falls_short", "shared_fix", "shown", "state", "suppression", "verdict", "worst_first",
]  # fmt: skip

Positions: TypeAlias = Mapping[tuple[str, str], int]
Beside: TypeAlias = dict[tuple[str, str, str], str]
ORDER = {"error": 0, "warning": 1, "note": 2}
MORE = "initlint explain"
EQUAL = 1.5  # shares within this factor of each other are called equal
MOST_OF_IT = 0.6  # of the log gain, for equal layers to be named as one stretch


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that count before those that do not, then by severity, model, code and place on the way."""
    return sorted(
        findings,
        key=lambda item: (
            not item.counts, ORDER[item.severity], item.model, item.code, item.depth or 0.0, item.place, item.ordinal
        ),
    )  # fmt: skip


def shown(report: Report, *, verbose: bool) -> list[Finding]:
    """Worst first, without those folded under another unless `verbose`."""
    return worst_first(finding for finding in report.findings if verbose or finding.folded_under is None)


def of_model(report: Report, model: str) -> list[Finding]:
    """A model's findings, worst first, folded ones left out."""
    return worst_first(item for item in report.findings if item.model == model and item.folded_under is None)


def groups(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings of one rule, severity and state together, in the order in which the first of each comes."""
    found: dict[tuple[str, str, str | None], list[Finding]] = {}
    for finding in findings:
        found.setdefault((finding.code, finding.severity, suppression(finding)), []).append(finding)
    return list(found.values())


def shared_fix(findings: Sequence[Finding]) -> str:
    """What to do, but for the sentences that differ from place to place: the measurements say those."""
    first, *others = (re.split(r"(?<=[.;]) ", finding.fix) for finding in findings)
    return " ".join(sentence for sentence in first if all(sentence in other for other in others)).rstrip(".")


def explained(findings: Sequence[Finding]) -> str:
    """How many findings of which rules these explain; empty where they explain none."""
    codes = Counter(item.split()[0] for finding in findings for item in finding.folded)
    if not codes:
        return ""
    return f"{count(codes.total(), 'finding')} it explains: " + ", ".join(
        f"{amount} {code}" for code, amount in codes.most_common()
    )


def place(finding: Finding) -> str:
    """Where: the layer with its operator, node and stored weight, the tensor, the weight."""
    if finding.over == "model" or finding.place == finding.model:
        return "the model"
    parts = [part for part in (finding.op, finding.node if finding.node != finding.place else None) if part]
    words = [" ".join(parts)] if parts else []
    if finding.weight is not None and finding.weight != finding.place:
        words.append(f"weight {finding.weight}")  # the name by which the framework knows it
    return f"{finding.place} ({', '.join(words)})" if words else finding.place


def state(finding: Finding) -> str | None:
    """Why a finding does not count, in one word."""
    if finding.waived is not None:
        return "waived"
    if finding.baselined:
        return "baseline"
    return "folded" if finding.folded_under is not None else None


def suppression(finding: Finding) -> str | None:
    """The same in a sentence."""
    words = {
        "waived": f"waived: {finding.waived}",
        "baseline": "in the baseline",
        "folded": f"explained by {finding.folded_under}",
    }
    return words.get(state(finding) or "")


def number(value: object) -> str:
    """A figure as a person reads it: three digits, thousands as k, M, G."""
    if value is None:
        return "unknown"
    if not isinstance(value, int | float):
        return str(value)
    if value == int(value) and abs(value) < 10_000:
        return str(int(value))
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if size <= abs(value) < 1e12:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def count(amount: float, word: str) -> str:
    """`1 layer`, `20 layers`."""
    return f"{number(amount)} {word}" if amount == 1 else f"{number(amount)} {word}s"


def positions(report: Report) -> Positions:
    """Where each layer stands on the way from the input."""
    found: dict[tuple[str, str], int] = {}
    for index, layer in enumerate(report.layers):
        found.setdefault((str(layer.get("model")), str(layer.get("name"))), index)
    return found


def blame(finding: Finding, where: Positions, most: int = 3) -> list[str]:
    """Lines that name the layers behind a broken signal, with the std each has and should have.

    Layers whose shares are nearly equal are named as the stretch they form on the way.
    """
    blamed = finding.blamed
    equal = _equal(blamed)
    lines = []
    if len(equal) > 2:
        along = sorted(equal, key=lambda item: where.get((finding.model, item.layer), 0))
        who = f"{along[0].layer}..{along[-1].layer} equally ({len(equal)} layers, {sum(item.share for item in equal):.0%})"
        lines.append(f"{who}: {_weights(equal[0])}")
        blamed = blamed[len(equal) :]
        most = 0
    lines += [f"{item.layer} {item.share:.0%}: {_weights(item)}" for item in blamed[:most]]
    if len(blamed) > most:
        lines.append(f"and {count(len(blamed) - most, 'more layer')}")
    return lines


def _equal(blamed: Sequence[Blamed]) -> Sequence[Blamed]:
    """The layers at the head of the list whose shares are within a factor of each other; none where one stands out."""
    equal = [item for item in blamed if item.share * EQUAL >= blamed[0].share]
    return equal if sum(item.share for item in equal) >= MOST_OF_IT else ()


def _weights(item: Blamed) -> str:
    if item.std is None:
        return f"its step is a factor of {2.0 ** max(-200.0, min(200.0, item.log2_gain)):.3g}"
    words = f"std {item.std:.3g}"
    if item.target_std is not None:
        rule = f"{item.target_rule}, " if item.target_rule else ""
        fan = f" ({rule}fan_in {item.fan_in:.0f})" if item.fan_in is not None else ""
        words += f", wants {item.target_std:.3g}{fan}"
    return f"{words}; looks like {item.looks_like}" if item.looks_like else words


def probe_falls_short(model: ModelRecord) -> bool:
    """Whether the probe gave less than was asked for."""
    return model.probe_status != "measured" or bool(model.probe_left_out)


def probe(model: ModelRecord) -> str:
    """What became of the probe, in one line."""
    if model.probe_status != "measured":
        return f"{model.probe_status}: {model.probe_message}"
    left = f"; left out, with what depends on it: {model.probe_left_out}" if model.probe_left_out else ""
    return f"measured on {model.provider}{left}"


def beside(report: Report) -> Beside:
    """For each tensor and layer that was measured: its signal as predicted and as measured, in one line."""
    found = {}
    for over, rows in (("tensor", report.tensors), ("layer", report.layers)):
        for row in rows:
            measured, predicted = row.get("measured_std"), row.get("std")
            if not isinstance(measured, int | float):
                continue
            told = f"{predicted:.3g}" if isinstance(predicted, int | float) else "not known"
            line = f"total std  predicted {told}, measured {measured:.3g}"
            signal, expected = row.get("measured_signal_std"), row.get("signal_std")
            if isinstance(signal, int | float):
                told = f"{expected:.3g}" if isinstance(expected, int | float) else "not known"
                line += f"; signal std  predicted {told}, measured {signal:.3g}"
            found[str(row.get("model")), over, str(row.get("name"))] = line
    return found


def headline(model: ModelRecord) -> str:
    """What a model is, in one line."""
    parts = []
    if model.layers is not None:
        parts.append(count(model.layers, "layer"))
    if model.parameters is not None:
        parts.append(count(model.parameters, "parameter"))
    if model.opset is not None:
        parts.append(f"opset {model.opset}")
    if model.phase is not None:
        parts.append(f"phase {model.phase}" + (" (assumed)" if model.phase_detected == "undecided" else ""))
    if model.coverage is not None:
        parts.append(f"signal known for {_share(model.coverage)}")
    if model.left_out is not None:
        parts.append(model.left_out)
    return " . ".join(parts)


def _share(value: float) -> str:
    return f"{int(value * 1000) / 10:g} %"  # cut, not rounded: 99.97 % is not 100 %


def verdict(report: Report, model: str) -> str:
    """`error`, `warning`, `note` or `ok`: the worst finding of a model that counts; `refused` where it was not read."""
    if any(item.model == model for item in report.skipped):
        return "refused"
    worst = min((ORDER[item.severity] for item in report.findings if item.model == model and item.counts), default=3)
    return ("error", "warning", "note", "ok")[worst]
