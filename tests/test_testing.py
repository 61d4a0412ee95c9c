"""The helper for test suites."""

from pathlib import Path

import pytest

from initlint.testing import assert_healthy

SAMPLES = Path(__file__).resolve().parent.parent / "samples"


def test_a_healthy_model_passes_and_a_broken_one_shows_its_report() -> None:
    """The failure message is the text report."""
    assert assert_healthy(SAMPLES / "good" / "IL202.onnx", isolation="none").ok
    with pytest.raises(AssertionError, match=r"error\[IL202\] signal-vanishes"):
        assert_healthy(SAMPLES / "bad" / "IL202.onnx", isolation="none")
