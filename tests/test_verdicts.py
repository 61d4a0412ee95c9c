"""The textbook table: networks whose fate is known, and what initlint says of each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

import initlint
from initlint.report import Finding, Report
from tests.benchmarks.zoo import Attention, Block, Maker, export, initialise, language, mlp

WIDTH = 64
HE20, HE8 = mlp(20, nn.ReLU, "he", WIDTH), mlp(8, nn.ReLU, "he", WIDTH)
EXPORTED: dict[tuple[Maker, bool], bytes] = {}


def exported(tmp_path: Path, maker: Maker, *, dynamo: bool = False) -> Path:
    """The network as a file of its own; each is exported once."""
    path = tmp_path / "model.onnx"
    if (maker, dynamo) not in EXPORTED:
        export("textbook", maker, path, dynamo=dynamo, seed=3)
        EXPORTED[maker, dynamo] = path.read_bytes()
    path.write_bytes(EXPORTED[maker, dynamo])
    return path


def lint(path: Path, **settings: object) -> Report:
    return initlint.check(path, isolation="none", **settings)


def loud(report: Report) -> list[Finding]:
    """Findings at warning or above that are not folded under another."""
    return [item for item in report.findings if item.severity != "note" and item.folded_under is None]


def errors(report: Report) -> list[Finding]:
    return [item for item in loud(report) if item.severity == "error"]


def scaled(path: Path, layer: int, factor: float) -> str:
    """Scale the weight of one layer in the file; the layer's node."""
    model = onnx.load(path)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    node = [node for node in model.graph.node if node.op_type in {"Gemm", "MatMul", "Conv"}][layer]
    tensor = stored[node.input[1]]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    onnx.save(model, path)
    return str(node.name)


def output_std(path: Path) -> float:
    """Standard deviation of the output over 64 draws of a normal input, by onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (info,) = session.get_inputs()
    draws = np.random.default_rng(5).standard_normal((64, *info.shape)).astype(np.float32)
    return float(np.std(np.stack([session.run(None, {info.name: draw})[0] for draw in draws]), axis=0).mean())


HEALTHY: dict[str, Maker] = {
    "20-layer ReLU MLP, He": HE20,
    "20-layer tanh MLP, Glorot": mlp(20, nn.Tanh, "glorot", WIDTH),
    "BERT at 0.02": language(causal=False),
    "GPT-2 at 0.02, causal mask of -inf": language(causal=True),
}


@pytest.mark.parametrize(
    ("name", "dynamo"),
    [
        *((name, False) for name in HEALTHY),
        ("20-layer ReLU MLP, He", True),
        ("GPT-2 at 0.02, causal mask of -inf", True),
    ],
)
def test_a_healthy_network_passes(tmp_path: Path, name: str, dynamo: bool) -> None:  # noqa: FBT001 - a column of the table
    """Textbook initialisations and transformers at 0.02 raise no error, by either exporter."""
    report = lint(exported(tmp_path, HEALTHY[name], dynamo=dynamo))
    assert report.models[0].phase == "init"
    assert errors(report) == []


@pytest.mark.parametrize(
    ("maker", "code", "grows"),
    [
        (mlp(20, nn.ReLU, "he", WIDTH, scale=3.0), "IL201", True),
        (mlp(20, nn.ReLU, "he", WIDTH, scale=1 / 3), "IL202", False),
        (mlp(20, nn.ReLU, "default", WIDTH), "IL202", False),
        (mlp(20, nn.Tanh, "glorot", WIDTH, scale=4.0), "IL206", True),
        (mlp(20, nn.Tanh, "glorot", WIDTH, scale=0.25), "IL202", False),
    ],
    ids=["He x3", "He x1/3", "PyTorch's default", "tanh, Glorot x4", "tanh, Glorot x1/4"],
)
def test_a_network_initialised_wrongly_fails_with_one_finding(
    tmp_path: Path,
    maker: Maker,
    code: str,
    grows: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Each textbook fault is one error that blames layers whose std lies on the wrong side of its target."""
    report = lint(exported(tmp_path, maker))
    assert [item.code for item in loud(report)] == [code]
    blamed = loud(report)[0].blamed
    assert blamed
    for layer in blamed[:3]:
        assert layer.std is not None
        assert layer.target_std is not None
        assert (layer.std > layer.target_std) == grows


@pytest.mark.parametrize("layer", [0, 9, 19])
def test_one_layer_scaled_by_600_is_named(tmp_path: Path, layer: int) -> None:
    """Among twenty He layers the one at 600 times its std is an error and the first to blame."""
    path = exported(tmp_path, HE20)
    before = output_std(path)
    name = scaled(path, layer, 600.0)
    assert output_std(path) > 256 * before  # the fault is real
    (finding,) = loud(lint(path))
    assert finding.code == "IL201"
    assert finding.blamed[0].layer == name


@pytest.mark.parametrize("layer", [3, 12])
def test_one_layer_scaled_by_10_is_a_warning(tmp_path: Path, layer: int) -> None:
    """Ten times the std is no error: the signal survives it. The layer is named all the same."""
    path = exported(tmp_path, HE20)
    name = scaled(path, layer, 10.0)
    (finding,) = loud(lint(path))
    assert finding.severity == "warning"
    assert finding.place == name


class Patches(nn.Module):
    """A ViT in small: patches, position embedding, pre-norm blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.place = nn.Conv2d(3, 64, 8, 8), nn.Parameter(torch.randn(1, 16, 64) * 0.02)
        self.blocks = nn.Sequential(*(Block(64, 4, causal=False, first=True, act=nn.GELU) for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 10)
        initialise(self, "0.02")

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 - as nn.Module has it
        x = self.patch(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.norm(self.blocks(x)).mean(1))


def test_a_vision_transformer_at_002_passes(tmp_path: Path) -> None:
    """Every weight of a ViT at 0.02 is far below its target, and nothing is wrong: normalisations absorb it."""
    report = lint(exported(tmp_path, lambda: (Patches(), (torch.randn(1, 3, 32, 32),))))
    assert errors(report) == []


def test_a_huge_scale_before_a_normalisation_passes(tmp_path: Path) -> None:
    """What a LayerNorm takes away is no error."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64))
    with torch.no_grad():
        network[0].weight.mul_(1e4)
    assert errors(lint(exported(tmp_path, lambda: (network, (torch.randn(1, 64),))))) == []


def learned(depth: int = 4, width: int = 24) -> nn.Sequential:
    """Convolutions with BatchNorm, trained for a while on a task another network sets; in eval mode."""
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    channels = 3
    for _ in range(depth):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))
    teacher = nn.Sequential(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    step = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(80):
        x = torch.randn(32, 3, 12, 12) + torch.randn(32, 3, 1, 1)
        step.zero_grad()
        nn.functional.cross_entropy(network(x), (5 * teacher(x)).argmax(1)).backward()
        step.step()
    return network.eval()


def test_trained_batch_norm_folded_into_convolutions_passes(tmp_path: Path) -> None:
    """The exporter folds a trained BatchNorm into the convolution before it: uneven outputs, no error."""
    network = learned()
    path = exported(tmp_path, lambda: (network, (torch.randn(1, 3, 12, 12),)))
    assert not any(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node)
    report = lint(path)
    assert report.models[0].phase == "trained"
    assert errors(report) == []


def causal(mask: float) -> Maker:
    """Masked attention whose mask is a stored constant of the size wanted."""

    class Masked(Attention):
        def __init__(self) -> None:
            super().__init__(32, 4, causal=False)
            self.register_buffer("mask", torch.full((8, 8), mask).triu(1))

        def forward(self, x: Tensor) -> Tensor:
            batch, count, width = x.shape
            q, k, v = self.qkv(x).reshape(batch, count, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
            scores = q @ k.transpose(-2, -1) / 8**0.5 + self.mask
            return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, count, width))

    return lambda: (Masked(), (torch.randn(1, 8, 32),))


@pytest.mark.parametrize("mask", [float("-inf"), -1e9, -3.4e38])
def test_a_causal_mask_is_no_fault(tmp_path: Path, mask: float) -> None:
    """Minus infinity and its stand-ins in a mask are neither an explosion nor an overflow."""
    report = lint(exported(tmp_path, causal(mask)))
    assert errors(report) == []


def test_a_nan_in_a_mask_is_a_fault(tmp_path: Path) -> None:
    """NaN never is a mask."""
    report = lint(exported(tmp_path, causal(float("nan"))))
    assert "IL301" in {item.code for item in errors(report)}


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "zero": lambda weight: weight * 0,
    "constant": np.ones_like,
    "one NaN": lambda weight: np.where(np.arange(weight.size).reshape(weight.shape) == 7, np.nan, weight),
    "one infinity": lambda weight: np.where(np.arange(weight.size).reshape(weight.shape) == 7, np.inf, weight),
}


@pytest.mark.parametrize(("change", "code"), list(zip(CHANGES, ["IL302", "IL303", "IL301", "IL301"], strict=True)))
def test_a_degenerate_layer_is_one_finding_that_names_it(tmp_path: Path, change: str, code: str) -> None:
    """One spoilt layer is one error, whatever it does to everything behind it."""
    path = exported(tmp_path, HE8)
    model = onnx.load(path)
    node = [node for node in model.graph.node if node.op_type == "Gemm"][4]
    (tensor,) = (item for item in model.graph.initializer if item.name == node.input[1])
    values = CHANGES[change](numpy_helper.to_array(tensor)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    (finding,) = loud(lint(path))
    assert (finding.code, finding.severity) == (code, "error")
    assert {finding.place, finding.node} & {node.name, tensor.name}


@pytest.mark.parametrize(("layer", "shift"), [(2, -30.0), (8, 1e8)], ids=["dead units", "drowned"])
def test_a_spoilt_bias_is_one_finding_that_names_its_layer(tmp_path: Path, layer: int, shift: float) -> None:
    """A bias that kills the units behind it, or that drowns the signal in its rounding, is found and named."""
    path = exported(tmp_path, HE8)
    model = onnx.load(path)
    node = [node for node in model.graph.node if node.op_type == "Gemm"][layer]
    bias = np.full(WIDTH if layer < 8 else 10, shift, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(bias, "spoilt"))
    node.input[2] = "spoilt"
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    draws = np.random.default_rng(1).standard_normal((8, 1, 64)).astype(np.float32)
    results = [session.run(None, {name: draw})[0] for draw in draws]
    assert np.std(results, axis=0).max() <= 1e-6 * np.abs(results).max()  # the output no longer depends on the input
    (finding,) = loud(lint(path))
    assert finding.severity == "error"
    assert finding.blamed[0].layer == node.name


def test_the_phase_given_by_the_user_decides(tmp_path: Path) -> None:
    """What is broken in a fresh network is judged by the wider limits when --phase says that it is trained."""
    path = exported(tmp_path, HE20)
    scaled(path, 5, 600.0)
    assert errors(lint(path))
    assert errors(lint(path, phase="trained")) == []


def test_float16_overflow_is_an_error(tmp_path: Path) -> None:
    """A value beyond 65504 in a float16 graph is an error where a float32 graph only notes it."""
    path = exported(tmp_path, mlp(3, nn.ReLU, "he"))
    scaled(path, 0, 200.0)
    scaled(path, 1, 200.0)
    assert "IL401" not in {item.code for item in lint(path, phase="trained").findings}
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    onnx.save(model, path)
    assert [item.code for item in errors(lint(path, phase="trained"))] == ["IL401"]
