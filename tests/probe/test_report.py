"""What the report says of the probe: prediction and measurement side by side, in text, JSON, the picture and the page."""

from pathlib import Path

import numpy as np
import pytest

from initlint.analysis import Settings, analyse
from initlint.config import Config
from initlint.errors import Refusal
from initlint.formats import View, text
from initlint.formats import json as json_format
from initlint.report import Report
from tests.probe.models import normal, saved

ROOT = Path(__file__).resolve().parents[2]


def probed(path: Path, **settings: object) -> Report:
    return analyse(str(path), Settings(Config(probe=True, **settings), path.stem))  # type: ignore[arg-type]


def test_the_trail_leads_back_from_the_first_tensor_that_is_not_finite(tmp_path: Path) -> None:
    """Nearest first, twenty at most: shortened in the text, whole with -v and in JSON."""
    nodes = " ".join(f"h{i} = Relu({'x' if i == 0 else f'h{i - 1}'})" for i in range(30))
    path = saved(
        tmp_path,
        f"g (float[1, 64] x) => (float[1, 64] y) {{ {nodes} m = Neg(h29) n = Sub(m, one) y = Log(n) }}",
        one=normal(1),
    )
    report = probed(path)
    (finding,) = [item for item in report.findings if item.code == "IL501"]
    assert finding.place == "y"
    assert finding.trail == ("n", "m", *(f"h{index}" for index in range(29, 11, -1)))
    short = text.render(report, View())
    assert "before it   n, m, h29, ..." in short or finding.folded_under
    assert "h12" in text.render(report, View(verbose=True))
    assert '"h12"' in json_format.render(report, View())


def test_prediction_and_measurement_stand_side_by_side() -> None:
    """One line under the finding, two glyphs in the picture, columns in JSON."""
    report = probed(ROOT / "samples" / "bad" / "IL502.onnx")
    page = text.render(report, View())
    assert "# predicted   o measured   * both" in page
    assert "total std  predicted not known, measured" in page
    assert all(layer["measured_signal_std"] is not None for layer in report.layers)
    (place,) = [item.place for item in report.findings if item.code == "IL502"]
    (row,) = [item for item in report.tensors if item["name"] == place]
    assert row["std"] is None
    assert row["measured_std"] is not None


def test_what_was_fed_and_what_ran_is_said(tmp_path: Path) -> None:
    """Input kinds and shapes, the number of runs, the provider; of data of one's own the file."""
    path = saved(tmp_path, "g (float[n, 8] x) => (float[n, 8] y) { y = MatMul(x, w) }", w=normal(8, 8))
    probe = probed(path).run.probe
    assert probe["fed"] == {"x": "signal float32[1, 8]"}
    assert probe["samples"] == 128
    assert list(probe["providers"]) == ["CPUExecutionProvider"]
    np.save(tmp_path / "own.npy", normal(8, 1, 48))
    own = probed(ROOT / "samples" / "good" / "IL507.onnx", input=str(tmp_path / "own.npy"))
    assert own.run.probe["fed"]["x"].endswith("own.npy float32[1, 48] x 8")
    assert own.run.probe["samples"] == 8


def test_operators_that_did_not_run_are_named_in_the_text(tmp_path: Path) -> None:
    """Without -v, too: less was measured than was asked for."""
    path = saved(
        tmp_path,
        "g (float[1, 64] x) => (float[1, 64] y) { a = Relu(x) b = my.op.Mystery(a) y = Relu(b) }",
        domains=("my.op",),
    )
    report = probed(path)
    assert report.models[0].probe_left_out == "my.op::Mystery"
    assert "left out, with what depends on it: my.op::Mystery" in text.render(report, View())


def test_two_runs_give_the_same_report() -> None:
    """But for what varies between runs, which stands under `run`."""
    path = ROOT / "samples" / "good" / "IL505.onnx"
    one, other = (probed(path).to_json().split(b'"run"')[0] for _ in range(2))
    assert one == other


def test_the_users_data_must_fit_the_model(tmp_path: Path) -> None:
    """A wrong shape is bad usage, not a crash of the probe."""
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3, 4, 48), np.float32))
    with pytest.raises(Refusal, match="axes"):
        probed(ROOT / "samples" / "good" / "IL502.onnx", input=str(tmp_path / "wrong.npy"))
