"""The operators' page says what the code does."""

import json
from pathlib import Path

import pytest
from onnx import defs

from initlint.model import open_model
from initlint.operators import load
from initlint.operators.treatment import APPROXIMATE, CONDITIONAL, CONTROL, UNKNOWN, table
from tests.operators.page import PAGE, page

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
NEWEST = 28  # opset of the operators that the page was held against


def test_the_page_is_current() -> None:
    """`python -m tests.operators.page` writes it anew."""
    assert PAGE.read_text() == page()


def test_every_operator_of_onnx_has_a_treatment() -> None:
    """None is forgotten: it is followed, walked as control flow, or said to be unknown."""
    known = {*load(), *CONTROL, *UNKNOWN}
    missing = {
        f"{schema.domain}::{schema.name}" if schema.domain else schema.name
        for schema in defs.get_all_schemas_with_history()
        if schema.domain in {"", "ai.onnx.ml"} and schema.since_version <= NEWEST
    } - known
    assert not missing


def test_notes_are_about_operators_that_exist() -> None:
    """And an operator said to be unknown is not followed after all."""
    assert {*APPROXIMATE, *CONDITIONAL} <= set(load())
    assert not set(UNKNOWN) & set(load())
    assert all(text for _, how, text in table() if how != "unknown")


@pytest.mark.skipif(not CORPUS.exists(), reason="the development corpus is not here")
def test_every_operator_of_the_corpus_is_followed() -> None:
    """Custom operators of two files apart."""
    custom = {"RequantShift", "iRMSNorm", "iSoftmax", "iHardswish", "TrueIntegerDiv", "ZipMap", "LabelEncoder"}
    followed = {*load(), *CONTROL}
    for entry in json.loads((CORPUS / "manifest.json").read_text()):
        path = CORPUS / entry["file"]
        if entry["n_nodes"] > 600 or "CCT" in path.name:
            continue
        with open_model(path) as model:
            kinds = {node.kind for node in model.nodes() if node.op not in custom}
        assert kinds <= followed, path.name
