"""docs/operators.md, from the operator table.

python -m tests.operators.page
"""

from pathlib import Path

from initlint.operators.treatment import table
from initlint.signal import backward
from initlint.signal.gradients import GRADIENTS, NO_GRADIENT

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
HEAD = """# Operators

How each operator is followed (this page is written by `python -m tests.operators.page`):

* **exact**: on every draw what onnxruntime computes, up to the rounding of the working type. Said where that holds only
  under a condition; otherwise the outputs are unknown.
* **approximate**: the note says in what it differs.
* **unknown**: the outputs, and all that depends on them, are unknown. Coverage counts them; nothing is passed through.

An operator that is not listed is unknown, and so is one of another domain unless a setting says that it behaves as `identity`
or `relu`, or is to be ignored. *Gradient* says whether a gradient passes back through it; where it does not, what lies before
has no gradient, and says so.

"""


def page() -> str:
    """The page's text."""
    assert backward.RULES  # importing it registers the rules
    lines = ["| operator | treatment | gradient | how |", "| --- | --- | --- | --- |"]
    for kind, how, text in table():
        passes = "zero" if kind in NO_GRADIENT else "yes" if kind in GRADIENTS else ""
        shown = text.replace("|", "\\|")
        lines.append(f"| {kind} | {how} | {passes} | {shown} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
