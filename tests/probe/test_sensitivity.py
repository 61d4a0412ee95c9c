"""Sensitivity by finite differences against torch autograd on exported models."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from initlint.analysis import Settings, analyse
from initlint.config import Config
from initlint.index import index_of
from initlint.inputs import generator_for
from initlint.layers import find_layers
from initlint.model import open_model
from initlint.probe import sensitivity
from initlint.probe.feeds import pairs
from initlint.probe.measure import Probe, ProbeOptions, measure_model
from initlint.report import Report
from initlint.signal.propagate import Assumptions, propagate
from tests.probe.models import normal, saved


def exported(folder: Path, network: nn.Module, shape: tuple[int, ...]) -> Path:
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (torch.zeros(shape),), str(path), dynamo=False, opset_version=17)
    return path


def probed(path: Path) -> tuple[Probe, list[str], np.ndarray]:
    """The probe, the layers' outputs in order and the input at which the derivatives were taken."""
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True))
        layers = [layer.output for layer in find_layers(model, index_of(model))]
        probe = measure_model(model, prediction.inputs, prediction, layers, ProbeOptions(samples=2))
        (first, _) = next(pairs(prediction.inputs, generator_for(model, 2), 1))
        return probe, layers, next(iter(first.values()))


def convolutional() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten(),
        nn.Linear(8 * 16, 12),
    )  # fmt: skip


def recurrent_free() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(
        *(step for _ in range(4) for step in (nn.Linear(24, 24), nn.LayerNorm(24), nn.SiLU())), nn.Linear(24, 6)
    )


@pytest.mark.parametrize(
    ("maker", "shape"), [(convolutional, (1, 3, 8, 8)), (recurrent_free, (1, 24))], ids=["convolutions", "normalised"]
)
def test_gradients_at_the_layers_agree_with_autograd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maker: object, shape: tuple[int, ...]
) -> None:
    """The Frobenius norm of the Jacobian from each layer's output to the model's, within the sampling error of 400 directions."""
    monkeypatch.setattr(sensitivity, "MOST_DIRECTIONS", 400)
    network = maker()  # type: ignore[operator]
    probe, layers, x = probed(exported(tmp_path, network, shape))
    value = torch.from_numpy(x)
    expected = []
    steps = list(network)
    for index, step in enumerate(steps):
        value = step(value)
        if isinstance(step, nn.Conv2d | nn.Linear):
            tail = nn.Sequential(*steps[index + 1 :])
            jacobian = torch.autograd.functional.jacobian(tail, value.detach(), vectorize=True)
            expected.append(float(jacobian.square().sum() / value.numel()) ** 0.5)
    assert [probe.gradient_std[name] for name in layers] == pytest.approx(expected, rel=0.06)


def test_gains_for_small_movements_agree_with_autograd(tmp_path: Path) -> None:
    """How far each layer's output moves when the input moves a little: the norm of the Jacobian, by the size of what comes out."""
    network = convolutional()
    probe, layers, x = probed(exported(tmp_path, network, (1, 3, 8, 8)))
    value = torch.from_numpy(x)
    steps = list(network)
    square = []
    for count in (1, 4):
        jacobian = torch.autograd.functional.jacobian(nn.Sequential(*steps[:count]), value, vectorize=True)
        outputs = jacobian.numel() // value.numel()
        square.append(float(jacobian.square().sum()) / outputs)
    names = [layers[0], next(name for name, node in _producers(tmp_path).items() if node == "Tanh")]
    inputs = probe.movement[next(iter(probe.fed))]
    for name, expected in zip(names, square, strict=True):
        assert probe.movement[name] / inputs == pytest.approx(expected**0.5, rel=0.25)


def _producers(folder: Path) -> dict[str, str]:
    with open_model(folder / "model.onnx") as model:
        return {name: node.op for node in model.nodes() for name in node.outputs}


def test_dead_directions_are_the_zero_rows_of_the_jacobian(tmp_path: Path) -> None:
    """Units whose weights are zero, and rectified units that are off at the inputs looked at, do not move."""
    weight, bias = normal(16, 16), np.zeros(16, np.float32)
    weight[:, 3] = weight[:, 9] = 0
    bias[[0, 5, 6]] = -1e3
    path = saved(tmp_path, "g (float[1, 16] x) => (float[1, 16] r) { h = Gemm(x, w, b) r = Relu(h) }", w=weight, b=bias)
    probe, _, _ = probed(path)
    assert probe.still["h"] == pytest.approx(2 / 16)
    x = np.concatenate([item["x"] for item in _first_feeds(path, 2)])
    off = np.all(x @ weight + bias <= 0, axis=0)
    assert off.sum() >= 5
    assert probe.still["r"] == pytest.approx(off.mean())


def _first_feeds(path: Path, count: int) -> list[dict[str, np.ndarray]]:
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True))
        return [one for one, _ in pairs(prediction.inputs, generator_for(model, 2), count)]


def test_time_is_kept_to_a_budget_and_the_ends_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the work does not allow all layers, evenly chosen ones, the first and the last among them, are moved."""
    monkeypatch.setattr(sensitivity, "WORK", 0.0)
    names = [f"h{index}" for index in range(40)]
    nodes = " ".join(f"h{i} = MatMul({'x' if i == 0 else f'h{i - 1}'}, w)" for i in range(40))
    path = saved(tmp_path, f"g (float[1, 8] x) => (float[1, 8] h39) {{ {nodes} }}", w=normal(8, 8, std=0.35))
    probe, layers, _ = probed(path)
    assert layers == names
    assert 2 <= len(probe.gradient_std) < 10
    assert {"h0", "h39"} <= set(probe.gradient_std)


def layer_columns(report: Report) -> list[dict[str, object]]:
    return report.facts.query(
        "SELECT name, measured_gain, measured_jacobian_gain, measured_backward_gain, measured_dead_directions, gain, backward_gain "
        "FROM layer ORDER BY position"
    )


def test_the_layers_hold_gain_and_sensitivity_beside_the_prediction(tmp_path: Path) -> None:
    """In one row: predicted and measured gain, forward and backward."""
    path = exported(tmp_path, recurrent_free(), (1, 24))
    rows = layer_columns(analyse(str(path), Settings(Config(probe=True), "model")))
    layers = [row for row in rows if row["gain"] is not None and row["measured_backward_gain"] is not None]
    assert len(layers) == 5
    for row in layers:
        assert row["measured_gain"] == pytest.approx(row["gain"], rel=0.35)
        assert row["measured_backward_gain"] == pytest.approx(row["backward_gain"], rel=0.6)
        assert row["measured_dead_directions"] == 0
