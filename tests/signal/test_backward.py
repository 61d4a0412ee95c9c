"""The gradient's std against torch autograd on the same network."""

import io
import warnings

import numpy as np
import pytest

from initlint.model import open_model
from initlint.signal import backward
from initlint.signal.backward import backpropagate
from initlint.signal.propagate import Assumptions, propagate

torch = pytest.importorskip("torch")
nn = torch.nn


def exported(network: "torch.nn.Module", example: "torch.Tensor") -> bytes:
    """The network as ONNX by the TorchScript exporter."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (example,), buffer, dynamo=False, opset_version=17, input_names=["x"])
    return buffer.getvalue()


def autograd_std(network: "torch.nn.Module", shape: tuple[int, ...], layers: list["torch.nn.Module"]) -> list[float]:
    """RMS gradient of sum(c y) at each layer's output over many draws."""
    kept: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _m, _i, out: (out.retain_grad(), kept.append(out))[0]) for layer in layers
    ]
    squares = np.zeros(len(layers))
    runs = 64
    for _ in range(runs):
        kept.clear()
        out = network(torch.randn(shape, requires_grad=True))
        out.backward(torch.randn_like(out))
        squares += [float((item.grad**2).mean()) for item in kept]
    for hook in hooks:
        hook.remove()
    return list(np.sqrt(squares / runs))


CASES = {
    "mlp": (lambda: nn.Sequential(*(m for _ in range(6) for m in (nn.Linear(32, 32), nn.ReLU())), nn.Linear(32, 8)), (1, 32)),
    "tanh": (lambda: nn.Sequential(*(m for _ in range(6) for m in (nn.Linear(32, 32), nn.Tanh())), nn.Linear(32, 8)), (1, 32)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1, groups=2), nn.SiLU(),
            nn.AvgPool2d(3, 2, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.GELU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
        ),
        (1, 3, 32, 32),
    ),
    "up": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 8, 4, 2, 1), nn.LeakyReLU(), nn.Conv2d(8, 4, 3), nn.ELU(), nn.Conv2d(4, 2, 1)),
        (1, 4, 8, 8),
    ),
    "norm": (
        lambda: nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 64), nn.Softmax(-1), nn.Linear(64, 4)),
        (1, 6, 32),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradient_std_agrees_with_autograd(name: str) -> None:
    """Within sampling error of torch's own backward pass at every weighted layer."""
    make, shape = CASES[name]
    torch.manual_seed(5)
    network = make().eval()
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    expected = autograd_std(network, shape, layers)
    with open_model(exported(network, torch.randn(shape))) as model:
        outputs = [n.outputs[0] for n in model.graph.nodes if n.op in {"Gemm", "Conv", "ConvTranspose", "MatMul"}]
        biased = {n.inputs[1]: n.outputs[0] for n in model.graph.nodes if n.op == "Add" and n.inputs[1] in outputs}
        forward = propagate(model, Assumptions(plain=True))
        back = backpropagate(model, forward, Assumptions(plain=True))
    found = back.gradient_std
    assert all(0 < back.error_bits[name] < 0.5 for name in found if name in outputs)
    got = [found[biased.get(item, item)] for item in outputs]
    assert len(got) == len(expected)
    assert np.abs(np.log2(np.array(got) / expected)).max() < 0.35


def test_large_images_get_their_gradients_at_a_smaller_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two draws of the activations do not fit; half the side has the gradients all the same."""
    torch.manual_seed(1)
    layers = [m for _ in range(5) for m in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *layers).eval()
    with open_model(exported(network, torch.randn(1, 3, 128, 128))) as model:
        forward = propagate(model, Assumptions(plain=True))
        per_draw = sum(int(np.prod(shape)) for shape in forward.shapes.values())
        width = np.dtype(forward.float_type).itemsize
        monkeypatch.setattr(backward, "TAPE_BYTES", int(1.5 * per_draw * width))
        large = backpropagate(model, forward, Assumptions(plain=True))
    with open_model(exported(network, torch.randn(1, 3, 64, 64))) as model:
        small = backpropagate(model, propagate(model, Assumptions(plain=True)), Assumptions(plain=True))
    outputs = [node.outputs[0] for node in model.graph.nodes]
    assert all(abs(np.log2(large.gradient_std[name] / small.gradient_std[name])) < 0.2 for name in outputs)
