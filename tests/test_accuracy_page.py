"""The accuracy page shows the figures that are kept, and says what was missed."""

import copy
import json
from pathlib import Path

from tests.benchmarks.accuracy_page import page

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIGURES = json.loads((DOCS / "accuracy.json").read_text())


def test_the_page_is_current() -> None:
    """`python tests/benchmarks/accuracy_page.py` writes it anew."""
    assert (DOCS / "accuracy.md").read_text() == page(FIGURES)


def test_a_missed_figure_is_said() -> None:
    """Nothing is passed over in silence."""
    worse = copy.deepcopy(FIGURES)
    worse["states"]["validation"]["trained"]["signal_std"]["p90"] = 1.7
    assert "signal std, trained: p90 1.7, wanted 1" in page(worse)
