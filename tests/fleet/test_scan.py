"""`initlint scan`: what is found, what is linted once, what the store and the exit code say."""

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from initlint.fleet.recognise import begins_like_model, is_model_file
from initlint.report import Report
from tests.commandline import COMMAND, environment, initlint
from tests.fleet.harness import SAMPLES, ask, contents, fill, model

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def outcomes(store: Path, run: int = 1) -> dict[str, str]:
    return dict(ask(store, "SELECT name, outcome FROM model WHERE run = ?", run))


def test_folder(tmp_path: Path) -> None:
    """Models are found by suffix and by content, equal ones linted once, each with the verdict that `check` gives it."""
    fill(tmp_path / "models/deep/er", good=1, bad=1)
    (tmp_path / "models/renamed.bin").write_bytes(model("warning"))
    (tmp_path / "models/copy.onnx").write_bytes(model("bad"))
    (tmp_path / "models/pointer.onnx").write_text(LFS)
    (tmp_path / "models/notes.txt").write_text("\x08\x07 no model")
    (tmp_path / "models/.hidden.onnx").write_bytes(model("good"))
    result = initlint("scan", "models", "--store", "s.sqlite", "-j", "2", "--max-refused", "20%", cwd=tmp_path)
    store = tmp_path / "s.sqlite"
    assert result.stderr == ""
    assert result.returncode == 1
    assert outcomes(store) == {
        "models/copy.onnx": "linted", "models/deep/er/bad0000.onnx": "duplicate", "models/deep/er/good0000.onnx": "linted",
        "models/pointer.onnx": "refused", "models/renamed.bin": "linted",
    }  # fmt: skip
    assert ask(store, "SELECT seen, linted, refused, duplicates, state, exit_code FROM run") == [
        (5, 3, 1, 1, "finished", 1)
    ]
    assert ask(store, "SELECT same_as, verdict, errors FROM model WHERE outcome = 'duplicate'")[0][:2] == (
        "models/copy.onnx",
        "error",
    )
    for name in ("copy.onnx", "renamed.bin", "deep/er/good0000.onnx"):
        report = Report.from_json(initlint("-f", "json", f"models/{name}", cwd=tmp_path).stdout)
        found = ask(
            store,
            "SELECT code, severity, place, message, counts FROM finding WHERE model = ? ORDER BY number",
            f"models/{name}",
        )
        assert found == [(f.code, f.severity, f.place, f.message, int(f.counts)) for f in report.findings]
        layers = ask(
            store,
            "SELECT name, op, signal_std, weight_std FROM layer WHERE model = ? ORDER BY position",
            f"models/{name}",
        )
        assert layers == [
            tuple(row[key] for key in ("name", "op", "signal_std", "weight_std")) for row in report.layers
        ]
    assert "models/pointer.onnx: is a git-LFS pointer" in result.stdout
    assert result.stdout.endswith("exit code 1: 2 models fail\n")


def test_globs_files_and_twice_named(tmp_path: Path) -> None:
    """Globs and files are taken, and a model that several paths name is seen once."""
    fill(tmp_path / "a", good=2, bad=0)
    shutil.copy(tmp_path / "a/good0000.onnx", tmp_path / "plain")
    result = initlint("scan", "a/*0.onnx", "a", "plain", "./a/good0001.onnx", "-s", "s", "-j1", cwd=tmp_path)
    assert result.returncode == 0
    assert outcomes(tmp_path / "s") == {"a/good0000.onnx": "linted", "a/good0001.onnx": "linted", "plain": "duplicate"}


def test_hugging_face_cache(tmp_path: Path) -> None:
    """A cache is read through its snapshots: blobs are no models of their own, names are the hub's, `main` has no revision."""
    cache = tmp_path / "hub/models--org--net"
    for revision, kind in (("a" * 40, "good"), ("b" * 40, "bad")):
        blob = cache / "blobs" / kind
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(model(kind))
        folder = cache / "snapshots" / revision / "onnx"
        folder.mkdir(parents=True)
        (folder / "model.onnx").symlink_to(os.path.relpath(blob, folder))
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("b" * 40)
    initlint("scan", "hub", "-s", "s", "-j1", cwd=tmp_path)
    assert outcomes(tmp_path / "s") == {
        "hf://org/net/onnx/model.onnx": "linted",
        "hf://org/net@aaaaaaaaaaaa/onnx/model.onnx": "linted",
    }
    assert ask(tmp_path / "s", "SELECT verdict FROM model ORDER BY name") == [("error",), ("ok",)]


def external_model(folder: Path, scale: float) -> None:
    """One Gemm whose weight lies beside the model; the model file is the same for every scale."""
    folder.mkdir()
    weight = numpy_helper.from_array(
        (scale * np.random.default_rng(0).standard_normal((64, 64))).astype("float32"), "w"
    )
    onnx.external_data_helper.set_external_data(weight, "w.data", length=64 * 64 * 4)
    (folder / "w.data").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [helper.make_tensor_value_info("x", 1, [8, 64])],
        [helper.make_tensor_value_info("y", 1, [8, 64])], [weight],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), folder / "m.onnx")


def test_external_data_is_content(tmp_path: Path) -> None:
    """Two equal model files with other data beside them are two models; with the same data they are one."""
    for name, scale in (("a", 1.0), ("b", 1.0), ("c", 0.0)):
        external_model(tmp_path / name, scale)
    assert (tmp_path / "a/m.onnx").read_bytes() == (tmp_path / "c/m.onnx").read_bytes()
    initlint("scan", "a", "b", "c", "-s", "s", "-j1", cwd=tmp_path)
    assert outcomes(tmp_path / "s") == {"a/m.onnx": "linted", "b/m.onnx": "duplicate", "c/m.onnx": "linted"}
    assert ask(
        tmp_path / "s", "SELECT code FROM finding WHERE model = 'c/m.onnx' AND counts = 1 AND severity = 'error'"
    ) == [("IL302",)]


def test_waivers_for_one_name(tmp_path: Path) -> None:
    """Equal files under waivers that name one of them are no duplicates: their verdicts differ."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes(model("bad"))
    (tmp_path / "initlint.toml").write_text('[[waive]]\ncode = "IL"\nreason = "known"\nmodel = "b.onnx"\n')
    initlint("scan", "a.onnx", "b.onnx", "-s", "s", "-j1", cwd=tmp_path)
    assert ask(tmp_path / "s", "SELECT name, outcome, errors > 0 FROM model ORDER BY name") == [
        ("a.onnx", "linted", 1), ("b.onnx", "linted", 0),
    ]  # fmt: skip


def test_refusal_budget(tmp_path: Path) -> None:
    """Refused models are listed; past the budget the answer is 2, which beats 1."""
    fill(tmp_path / "m", good=2, bad=1)
    (tmp_path / "m/torn.onnx").write_bytes(model("good")[:900])
    for budget, code in (("25%", 1), ("0.24", 2)):
        result = initlint("scan", "m", "-s", "s", "-j2", "--max-refused", budget, cwd=tmp_path)
        assert result.returncode == code
        assert "refused  m/torn.onnx: " in result.stdout
    assert "1 of 4 models not judged, 24 % may be" in result.stdout


def test_since(tmp_path: Path) -> None:
    """`--since` fails on what got worse and on nothing else."""
    fill(tmp_path / "m", good=2, bad=1)
    (tmp_path / "m/torn.onnx").write_bytes(b"\x08\x07\x3a\x7f")
    arguments = ("scan", "m", "-s", "s", "-j2", "--max-refused", "0")
    assert initlint(*arguments, "--since", "last", cwd=tmp_path).returncode == 2
    same = initlint(*arguments, "--since", "last", cwd=tmp_path)
    assert same.returncode == 0, same.stdout
    (tmp_path / "m/good0001.onnx").write_bytes(model("bad", 77))
    worse = initlint(*arguments, "--since", "1", cwd=tmp_path)
    assert worse.returncode == 1
    assert "since run 1: 1 model worse, 0 better\n  worse  m/good0001.onnx: IL301" in worse.stdout
    (tmp_path / "m/good0001.onnx").write_bytes(model("good", 78))
    assert "0 models worse, 1 better" in initlint(*arguments, "--since", "3", cwd=tmp_path).stdout
    (tmp_path / "m/torn2.onnx").write_bytes(b"\x08\x07\x3a\x7f\x00")
    assert initlint(*arguments, "--since", "last", cwd=tmp_path).returncode == 2
    assert "no such run" in initlint(*arguments, "--since", "99", cwd=tmp_path).stderr


def test_formats(tmp_path: Path) -> None:
    """The summary is text, JSON or gauges that Prometheus' own parser reads; the three agree."""
    fill(tmp_path / "m", good=2, bad=1)
    result = initlint(
        "scan", "m", "-s", "s", "-j2", "-f", "json", "-o", "openmetrics:m.prom", "-o", "text:t", cwd=tmp_path
    )
    summary = json.loads(result.stdout)
    assert (summary["seen"], summary["linted"], summary["verdicts"]["error"], summary["exit_code"]) == (3, 3, 1, 1)
    gauges = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families((tmp_path / "m.prom").read_text())
        for sample in family.samples
    }
    assert gauges["initlint_fleet_models", "error"] == 1
    assert gauges["initlint_fleet_files", "linted"] == 3
    assert gauges["initlint_fleet_rule_models", "IL301", "error"] == 1
    assert "3 models" in (tmp_path / "t").read_text()


def test_progress(tmp_path: Path) -> None:
    """On a terminal: how many of how many, the rate, the time left, the worst so far; the document is not disturbed."""
    fill(tmp_path / "m", good=1, bad=2)
    (tmp_path / "m/torn.onnx").write_bytes(b"\x08")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "scan", "m", "-s", "s", "-j1", "--max-refused", "1"], stdout=subprocess.PIPE, stderr=theirs, cwd=tmp_path,
        env=environment(COLUMNS="120", TERM="xterm"),
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other side is closed
            while piece := os.read(ours, 1 << 16):
                shown += piece
        os.close(ours)
        assert process.stdout is not None
        assert process.stdout.read().startswith(b"run 1 in s: 4 models")
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    assert re.search(r"4/4 .*\d/s .*0:00:00 .*IL301 x2 1 refused", text)
    assert "refused m/torn.onnx: " in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a path"),
        (("nowhere",), "nowhere: does not exist"),
        (("empty",), "empty: no model there"),
        (("m", "--max-refused", "lots"), "2% or 0.02"),
        (("m", "-s", "m"), "is a folder"),
        (("m", "-s", "text"), "no SQLite file"),
        (("m", "-s", "none/s"), "no folder none"),
        (("m", "-o", "html:x"), "expected FORMAT:PATH"),
        (("m", "--select", "IL999"), "IL999"),
    ],
)
def test_usage(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """What cannot be meant is one line and code 2, before any model is opened."""
    fill(tmp_path / "m", good=1, bad=0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    result = initlint("scan", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_two_scans_give_the_same_store(tmp_path: Path) -> None:
    """What a run holds does not depend on the number of workers."""
    fill(tmp_path / "m", good=5, bad=2)
    shutil.copy(tmp_path / "m/bad0000.onnx", tmp_path / "m/zcopy.onnx")
    for name, jobs in (("one", "1"), ("three", "3")):
        initlint("scan", "m", "-s", name, "-j", jobs, cwd=tmp_path)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_recognised_by_content(tmp_path: Path) -> None:
    """Every sample is a model by its content; its beginning, a torn one and other files are not."""
    for path in SAMPLES.values():
        assert is_model_file(str(path))
        content = path.read_bytes()
        assert begins_like_model(content[:64])
        for name, other in (
            ("torn", content[:-1]),
            ("more", content + b"\0"),
            ("shifted", b"\0" + content),
            ("empty", b""),
        ):
            (tmp_path / name).write_bytes(other)
            assert not is_model_file(str(tmp_path / name)), name
    for other in (SAMPLES["good"].parent, tmp_path / "nowhere"):
        assert not is_model_file(str(other))
    os.mkfifo(tmp_path / "pipe")
    assert not is_model_file(str(tmp_path / "pipe"))


def test_keep_runs(tmp_path: Path) -> None:
    """Old runs go with all they held; the newest stay, and numbers are not given out again."""
    fill(tmp_path / "m", good=1, bad=1)
    for _ in range(3):
        initlint("scan", "m", "-s", "s", "-j1", "--keep-runs", "2", cwd=tmp_path)
    for table, column in (("run", "id"), ("model", "run"), ("layer", "run"), ("finding", "run"), ("rule", "run")):
        assert ask(tmp_path / "s", f"SELECT DISTINCT {column} FROM {table} ORDER BY 1") == [(2,), (3,)], table  # noqa: S608 - our own names
