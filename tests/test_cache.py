"""Reports kept by content: found again only where nothing that they depend on has changed."""

import datetime
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save_model

from initlint import cache as module
from initlint import check
from initlint.config import Config, Waiver
from initlint.errors import Refusal
from initlint.fleet import content as contents
from initlint.report import Report


def write_model(path: Path, scale: float = 0.3, *, external: bool = False) -> Path:
    weight = (np.random.default_rng(0).standard_normal((64, 64)) * scale).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"], name="layer"), helper.make_node("Relu", ["h"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save_model(model, path, save_as_external_data=external, location=f"{path.stem}.data", size_threshold=0)
    return path


def run(path: Path, folder: Path, **settings: Any) -> Report:
    return check(path, config=Config(cache=str(folder)), isolation="none", **settings)


def std_of(report: Report) -> float:
    return float(report.layers[0]["weight_std"])  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache"


def test_the_second_run_analyses_nothing_and_says_the_same(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "m.onnx")
    first = run(path, folder)
    monkeypatch.setattr("initlint.analysis.open_model", None)
    second = run(path, folder)
    assert not first.run.cached
    assert second.run.cached
    for name in ("models", "rules", "findings", "layers", "tensors"):
        assert getattr(second, name) == getattr(first, name)
    tables = "SELECT * FROM layer", "SELECT * FROM tensor", "SELECT * FROM model"
    assert [second.facts.query(sql) for sql in tables] == [first.facts.query(sql) for sql in tables]


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    before = sorted(tmp_path.iterdir())
    check(path, isolation="none")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("external", [False, True])
def test_other_bytes_of_the_same_size_and_time_are_another_model(
    external: bool,  # noqa: FBT001 - a case
    tmp_path: Path,
    folder: Path,
) -> None:
    """Not even times of files that were set back lead to a stale answer."""
    path = write_model(tmp_path / "m.onnx", external=external)
    weights = path.with_suffix(".data") if external else path
    status = weights.stat()
    assert std_of(run(path, folder)) == pytest.approx(0.3, rel=0.1)
    if external:
        weights.unlink()
    write_model(path, scale=0.6, external=external)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert weights.stat().st_size == status.st_size
    again = run(path, folder)
    assert not again.run.cached
    assert std_of(again) == pytest.approx(0.6, rel=0.1)


def test_external_data_that_went_away_is_refused_as_without_a_cache(tmp_path: Path, folder: Path) -> None:
    path = write_model(tmp_path / "m.onnx", external=True)
    run(path, folder)
    path.with_suffix(".data").unlink()
    with pytest.raises(Refusal):
        run(path, folder)
    with pytest.raises(Refusal):
        run(path, folder)


@pytest.mark.parametrize(
    "changed",
    [{"phase": "trained"}, {"target": "bfloat16"}, {"seed": 1}, {"select": ("IL2",)}, {"name": "other"},
     {"rules": {"IL201": {"max_gain": 3.0}}}, {"all_tensors": True}, {"waive": (Waiver("IL101", "known"),)}],
)  # fmt: skip
def test_a_setting_that_reaches_the_analysis_makes_another_entry(
    changed: dict[str, Any], tmp_path: Path, folder: Path
) -> None:
    path = write_model(tmp_path / "m.onnx")
    run(path, folder)
    assert not run(path, folder, **changed).run.cached
    assert run(path, folder, **changed).run.cached


@pytest.mark.parametrize("changed", [{"fail_on": "never"}, {"format": "json"}, {"jobs": 2}, {"memory": 2048}])
def test_a_setting_of_the_output_does_not(changed: dict[str, Any], tmp_path: Path, folder: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    run(path, folder)
    assert run(path, folder, **changed).run.cached


def test_a_rule_file_that_changed_makes_another_entry(tmp_path: Path, folder: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    rules = tmp_path / "rules"
    rules.mkdir()
    built_in = Path(__file__).parents[1] / "rules" / "IL101.toml"
    own = rules / "MY101.toml"
    text = built_in.read_text().replace("IL101", "MY101")
    own.write_text(text)
    settings: dict[str, Any] = {"rule_dirs": (str(rules),)}
    run(path, folder, **settings)
    assert run(path, folder, **settings).run.cached
    own.write_text(text + "\n# the same rule, other bytes\n")
    assert not run(path, folder, **settings).run.cached


def test_a_waiver_with_a_last_day_is_looked_at_anew_each_day(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Tomorrow":
            return super().now(tz) + datetime.timedelta(days=1)

    path = write_model(tmp_path / "m.onnx")
    settings: dict[str, Any] = {"waive": (Waiver("IL101", "known", expires=datetime.date(2999, 1, 1)),)}
    run(path, folder, **settings)
    assert run(path, folder, **settings).run.cached
    monkeypatch.setattr(module, "datetime", SimpleNamespace(datetime=Tomorrow, UTC=datetime.UTC))
    assert not run(path, folder, **settings).run.cached


def test_other_code_makes_another_entry(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "m.onnx")
    run(path, folder)
    monkeypatch.setattr(module, "own_code", lambda: "another version")
    assert not run(path, folder).run.cached


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "nonsense"])
def test_a_damaged_entry_is_made_again(damage: str, tmp_path: Path, folder: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    run(path, folder)
    (entry,) = (item for item in folder.rglob("*") if item.is_file())
    whole = entry.read_bytes()
    middle = len(whole) // 2
    entry.write_bytes(
        {
            "empty": b"",
            "cut": whole[:-1],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "nonsense": b"nonsense",
        }[damage]
    )
    again = run(path, folder)
    assert not again.run.cached
    assert std_of(again) == pytest.approx(0.3, rel=0.1)
    assert run(path, folder).run.cached
    assert [item.name for item in folder.rglob("*") if item.is_file()] == [entry.name]  # nothing half-written is left


def test_a_model_that_changes_while_it_is_analysed_is_not_kept(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "m.onnx")
    content_of = contents.content_of

    def hashed_and_then_changed(name: str) -> tuple[str, int]:
        found = content_of(name)
        write_model(path, scale=0.6)
        return found

    monkeypatch.setattr(contents, "content_of", hashed_and_then_changed)
    assert std_of(run(path, folder)) == pytest.approx(0.6, rel=0.1)
    monkeypatch.undo()
    write_model(path, scale=0.3)
    again = run(path, folder)
    assert not again.run.cached
    assert std_of(again) == pytest.approx(0.3, rel=0.1)


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="--cache"):
        run(write_model(tmp_path / "m.onnx"), tmp_path / "file" / "cache")


def test_a_disk_that_is_full_loses_the_entry_and_nothing_else(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> tuple[int, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.tempfile, "mkstemp", full)
    assert not run(write_model(tmp_path / "m.onnx"), folder).run.cached


@pytest.mark.parametrize("by", ["option", "environment", "file"])
def test_the_command_keeps_and_finds(by: str, tmp_path: Path) -> None:
    """From the command line, the environment or the settings file; exit code and JSON are the same, but for `run`."""
    path = write_model(tmp_path / "m.onnx", scale=9.0)
    arguments, environment = [sys.executable, "-m", "initlint", path.name, "-f", "json"], dict(os.environ)
    if by == "option":
        arguments += ["--cache", "kept"]
    elif by == "environment":
        environment["INITLINT_CACHE"] = "kept"
    else:
        (tmp_path / "initlint.toml").write_text('cache = "kept"\n')
    root = str(Path(__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    runs = [
        subprocess.run(arguments, capture_output=True, cwd=tmp_path, env=environment, check=False) for _ in range(2)
    ]
    reports = [Report.from_json(item.stdout) for item in runs]
    assert [item.run.cached for item in reports] == [False, True]
    assert runs[0].returncode == runs[1].returncode
    assert reports[0].findings == reports[1].findings
    assert (tmp_path / "kept").is_dir()
