"""`junit`: one test suite a model, one test case a rule, passing ones included."""

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from initlint.formats import View, words
from initlint.report import RANKS, Finding, ModelRecord, Report, RuleRecord, Skipped

__all__ = ["render"]


def render(report: Report, view: View) -> str:
    """The XML. A case fails where a finding counts at or above the level that fails the run."""
    suites = [_suite(report, model, view) for model in report.models] + [_refused(item) for item in report.skipped]
    tests, failures, errors, skipped = (
        sum(counts) for counts in list(zip(*(suite[:4] for suite in suites), strict=True)) or [(0,)] * 4
    )
    head = f'<testsuites name="initlint" tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}">'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        head,
        *(line for suite in suites for line in suite[4]),
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _suite(report: Report, model: ModelRecord, view: View) -> tuple[int, int, int, int, list[str]]:
    found: dict[str, list[Finding]] = {}
    for finding in words.of_model(report, model.model):
        found.setdefault(finding.code, []).append(finding)
    cases: list[str] = []
    where = words.positions(report)
    failures = skipped = 0
    for rule in report.rules:
        findings = found.get(rule.code, [])
        failing = [item for item in findings if item.counts and RANKS[item.severity] >= RANKS[view.fail_on]]
        failures += bool(failing)
        reason = _skipped(rule) if not findings and len(report.models) == 1 else None
        skipped += reason is not None
        cases += _case(model.model, f"{rule.code} {rule.name}", [*_outcome(findings, failing, reason, where)])
    name = quoteattr(model.model)
    head = f'  <testsuite name={name} tests="{len(report.rules)}" failures="{failures}" errors="0" skipped="{skipped}">'
    return len(report.rules), failures, 0, skipped, [head, *cases, "  </testsuite>"]


def _skipped(rule: RuleRecord) -> str | None:
    if rule.failed or rule.passed:
        return None
    return "not known" if rule.unknown else "does not apply to this model"


def _outcome(
    findings: Sequence[Finding], failing: Sequence[Finding], reason: str | None, where: words.Positions
) -> Iterator[str]:
    if reason is not None:
        yield f"      <skipped message={quoteattr(reason)}/>"
    if failing:
        worst = failing[0]
        text = "\n".join(_text(item, where) for item in failing)
        yield (
            f"      <failure type={quoteattr(worst.severity)} message={quoteattr(f'{worst.place}: {worst.message}')}>"
            f"{escape(text)}</failure>"
        )
    others = [item for item in findings if item not in failing]
    if others:
        yield f"      <system-out>{escape(chr(10).join(_text(item, where) for item in others))}</system-out>"


def _text(finding: Finding, where: words.Positions) -> str:
    suppressed = words.suppression(finding)
    lines = [f"{finding.severity}: {finding.place}: {finding.message}" + (f" ({suppressed})" if suppressed else "")]
    lines += [f"  to blame: {line}" for line in words.blame(finding, where)]
    lines += [f"  fix: {finding.fix}"] if finding.fix else []
    return "\n".join(lines)


def _refused(item: Skipped) -> tuple[int, int, int, int, list[str]]:
    error = f"      <error type={quoteattr(item.reason)} message={quoteattr(item.message)}/>"
    head = f'  <testsuite name={quoteattr(item.model)} tests="1" failures="0" errors="1" skipped="0">'
    return 1, 0, 1, 0, [head, *_case(item.model, "analysis", [error]), "  </testsuite>"]


def _case(model: str, name: str, body: Sequence[str]) -> list[str]:
    head = f"    <testcase classname={quoteattr(model)} name={quoteattr(name)}"
    return [f"{head}>", *body, "    </testcase>"] if body else [f"{head}/>"]
