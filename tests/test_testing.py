"""What Python users and notebooks get: the helper for test suites, the look of a report in a cell."""

from html.parser import HTMLParser
from pathlib import Path

import html5lib
import pytest

from initlint.report import Report
from initlint.testing import assert_healthy
from tests import reports

SAMPLES = Path(__file__).resolve().parent.parent / "samples"


def test_a_healthy_model_passes_and_a_broken_one_shows_its_report() -> None:
    """The failure message is the text report."""
    assert assert_healthy(SAMPLES / "good" / "IL202.onnx", isolation="none").ok
    with pytest.raises(AssertionError, match=r"error\[IL202\] signal-vanishes") as failure:
        assert_healthy(SAMPLES / "bad" / "IL202.onnx", isolation="none")
    message = str(failure.value)
    assert "log2 std" in message
    assert "to blame  fc1..fc6" in message
    assert "\x1b" not in message


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.seen.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", reports.REPORTS)
def test_a_report_in_a_notebook(name: str) -> None:
    """Well-formed, whatever a model is called: plain elements, no script, link, image or handler; small."""
    shown = reports.REPORTS[name]()._repr_html_()
    html5lib.HTMLParser(strict=True).parseFragment(shown)
    elements = Elements()
    elements.feed(shown)
    allowed = {"div", "p", "b", "em", "code", "pre", "table", "thead", "tbody", "tr", "th", "td"}
    assert {tag for tag, _ in elements.seen} <= allowed
    assert {attribute for _, attributes in elements.seen for attribute in attributes} <= {"style"}
    assert len(shown.encode()) < 50_000


def test_a_notebook_shows_the_verdict() -> None:
    """The rule, the layer, the picture, what is left out and what was refused."""
    shown = reports.deep()._repr_html_()
    assert "IL202 signal-vanishes" in shown
    assert "log2 std" in shown
    assert "fc9_out" in shown
    assert "(waived: frozen stem)" in shown.replace("<em>", "").replace("</em>", "")
    assert "and 280 more findings" in reports.many(300)._repr_html_()
    assert "not analysed" in reports.refused()._repr_html_()
    assert "no model" in Report()._repr_html_()
