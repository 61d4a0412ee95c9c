"""Text from models comes out harmless, whatever it holds."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initlint.text import LIMIT, escaped, one_line, safe


@given(st.text() | st.text(st.sampled_from(" :#[]vsoteamcity\x1b\u202e\u200b\udc80\U000e0041\u3164\n\r\0")))
def test_nothing_acts(text: str) -> None:
    """No control, format, surrogate or line character survives, whatever the text."""
    result = safe(text)
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in result)
    assert len(result) <= LIMIT
    result.encode()


@given(
    st.text() | st.text(st.sampled_from(' :#[]vsoteamcity\\"u0\x1b\x7f\x9b\u202e\u200b\udc80\U000e0041\u3164\n\r\0'))
)
def test_json_keeps_the_text(text: str) -> None:
    """A JSON document that is escaped reads as before, and nothing in it acts on whoever prints it."""
    document = escaped(json.dumps([text], ensure_ascii=False))
    assert json.loads(document) == [text]
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in document)
    assert not re.search(r"##\s*(\[|vso|teamcity)", document, re.IGNORECASE)


@given(st.text() | st.text(st.sampled_from(" :#[]vsoteamcity\x1b\u202e\\x3a")))
def test_idempotent(text: str) -> None:
    """Applying it again changes nothing."""
    assert safe(safe(text)) == safe(text)


@pytest.mark.parametrize(
    "line",
    [
        "::error::x",
        "  ::set-output name=a::b",
        "x##[command]y",
        "##vso[task.setvariable]",
        "##teamcity[x]",
        "## vso[x]",
    ],
)
def test_service_messages_are_broken_up(line: str) -> None:
    """No CI runner takes a name for a command."""
    result = safe(line)
    assert not result.lstrip().startswith("::")
    assert not re.search(r"##\s*(\[|vso|teamcity)", result, re.IGNORECASE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\x0ab"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\U000e0041", "\\U000e0041"),
        ("", '""'),
        ("   ", '"   "'),
        ("/layers.0/MatMul", "/layers.0/MatMul"),
        ("Schicht 1 – größer", "Schicht 1 – größer"),
        ("C:\\model.onnx", "C:\\model.onnx"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    """What is dangerous is shown as an escape, what is not stays as it was."""
    assert safe(text) == shown


def test_long_names_keep_both_ends() -> None:
    """A name of megabytes is cut from its middle, quickly."""
    result = safe("a" * 5_000_000 + "end")
    assert len(result) == LIMIT
    assert result.startswith("aaa")
    assert result.endswith("aend")


def test_one_line_of_an_exception() -> None:
    """A many-lined exception is one line; a silent one gives its type."""
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(ValueError()) == "ValueError"
