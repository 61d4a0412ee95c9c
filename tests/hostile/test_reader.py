"""The reader alone on every hostile input that it, and not the analysis, must refuse: fast, in this process."""

from pathlib import Path

import pytest

from initlint.errors import Refusal
from initlint.model import open_model
from tests.hostile.catalogue import CASES

# Refused by what is computed, not by what is read.
COMPUTED = {
    "b13", "b14", "b14b", "b15b", "b15c", "b25", "b38", "b54", "b55", "b57", "b58", "g52",
    "l02b", "l02e", "l03d", "l03f", "l04",
}  # fmt: skip
SIZES = {"l10", "w24", "w25", "w27", "w35", "w39", "e33", "g28"}  # seconds each


@pytest.mark.parametrize("identity", [name for name, case in CASES.items() if not case.slow and name not in SIZES])
def test_reader(tmp_path: Path, identity: str) -> None:
    """Refused while it is opened where the table says so, opened whole where it does not."""
    (tmp_path / "model").mkdir()
    path = CASES[identity].make(tmp_path / "model")
    if CASES[identity].want == "refuse" and identity not in COMPUTED:
        with pytest.raises(Refusal), open_model(path):
            raise AssertionError(identity)
    elif CASES[identity].want != "judge":
        try:
            with open_model(path) as model:
                assert list(model.nodes())
        except Refusal:
            assert identity in COMPUTED
