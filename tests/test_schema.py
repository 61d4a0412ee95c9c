"""onnx's protobuf classes are found without importing the whole of onnx, and are its own where it is there."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from initlint import schema


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process that has not imported onnx, and an onnx of two lines for it to find."""
    package = tmp_path / "path" / "onnx"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("WHOLE = True\n")
    (package / "onnx_ml_pb2.py").write_text("class ModelProto:\n    stands_in = True\n")
    kept = {name: module for name, module in sys.modules.items() if name == "onnx" or name.startswith("onnx.")}
    for name in kept:
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path / "path")
    yield monkeypatch
    for name in [name for name in sys.modules if name == "onnx" or name.startswith("onnx.")]:
        del sys.modules[name]
    sys.modules.update(kept)


def test_the_classes_of_an_onnx_that_is_imported() -> None:
    """A model of the caller's is a model of ours."""
    assert schema.model_class() is onnx.ModelProto
    assert schema._module() is sys.modules["onnx.onnx_ml_pb2"]


@pytest.mark.usefixtures("other")
def test_the_classes_alone() -> None:
    """One file of onnx is read; what imports onnx later gets the same."""
    found = schema._module()
    assert found.ModelProto.stands_in
    assert [name for name in sys.modules if name.split(".")[0] == "onnx"] == ["onnx.onnx_ml_pb2"]
    assert sys.modules["onnx.onnx_ml_pb2"] is found is schema._module()
    assert schema.model_class() is found.ModelProto


@pytest.mark.parametrize(
    "otherwise", ["nowhere", "no folder", "an empty folder", "no way to read it", "no specification"]
)
def test_an_onnx_that_lies_otherwise_is_imported(other: pytest.MonkeyPatch, tmp_path: Path, otherwise: str) -> None:
    """Where the file is not where it used to be: the ordinary way."""
    folders = {"no folder": None, "an empty folder": [str(tmp_path)]}
    if otherwise in folders:
        place = SimpleNamespace(submodule_search_locations=folders[otherwise])
        other.setattr(importlib.util, "find_spec", lambda _: place)
    elif otherwise == "nowhere":
        other.setattr(importlib.util, "find_spec", lambda _: None)
    else:
        made = None if otherwise == "no specification" else SimpleNamespace(loader=None)
        other.setattr(importlib.util, "spec_from_file_location", lambda *_: made)
    assert schema._module().ModelProto.stands_in
    assert sys.modules["onnx"].WHOLE  # type: ignore[attr-defined]


@pytest.mark.usefixtures("other")
def test_an_onnx_that_is_imported_in_part() -> None:
    """Its classes are taken from it, not read beside it."""
    import onnx as stand_in  # noqa: PLC0415 - the one of two lines

    assert schema._module() is stand_in.onnx_ml_pb2
