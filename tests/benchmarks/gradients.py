"""Predicted against true gradients: |log2(predicted / true)| of the RMS gradient at every Linear and convolution's output.

Truth is torch autograd of `sum(c y)` with c ~ N(0, 1), over runs on independent inputs.

    python tests/benchmarks/gradients.py [NAME...]
"""

from __future__ import annotations

import io
import sys
import warnings

import numpy as np
import torch
from accuracy import summary
from torch import nn
from zoo import DEVELOPMENT, VALIDATION, Maker

from initlint.index import index_of
from initlint.layers import find_layers
from initlint.model import open_model
from initlint.signal.backward import backpropagate
from initlint.signal.propagate import Assumptions, propagate

RUNS = 32
DENSE_RUNS = 512  # of networks that cost next to nothing and whose few outputs make each run say little
KINDS = nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d


def truth(network: nn.Module, inputs: tuple[torch.Tensor, ...], runs: int) -> list[float]:
    """RMS gradient at each layer's output, in the order of the calls."""
    kept: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    hooks = [module.register_forward_hook(keep) for module in network.modules() if isinstance(module, KINDS)]
    squares = None
    for _ in range(runs):
        kept.clear()
        drawn = tuple(
            torch.randn_like(item).requires_grad_() if item.is_floating_point() else torch.randint_like(item, 0, 1000)
            for item in inputs
        )
        out = network(*drawn)
        out.backward(torch.randn_like(out))
        found = np.array([float((item.grad**2).mean()) if item.grad is not None else 0.0 for item in kept])
        squares = found if squares is None else squares + found
    for hook in hooks:
        hook.remove()
    return [] if squares is None else list(np.sqrt(squares / runs))


def errors(name: str, maker: Maker) -> list[float]:
    """One network's errors in bits; empty where layers cannot be matched one to one."""
    torch.manual_seed(sum(name.encode()))
    network, inputs = maker()
    network.eval()
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Exported for inference, a BatchNormalization would be folded into the convolution before it.
        torch.onnx.export(
            network, inputs, buffer, dynamo=False, opset_version=17, training=torch.onnx.TrainingMode.PRESERVE
        )
    expected = truth(network, inputs, DENSE_RUNS if family_of(name) == "dense" else RUNS)
    with open_model(buffer.getvalue()) as model:
        layers = [layer for layer in find_layers(model, index_of(model)) if layer.slot not in ("table", "W ", "R")]
        layers = [layer for layer in layers if layer.node.op in ("Gemm", "MatMul", "Conv", "ConvTranspose")]
        forward = propagate(model, Assumptions(plain=True))
        found = backpropagate(model, forward, Assumptions(plain=True)).gradient_std
    if len(layers) != len(expected):
        return []
    pairs = [(found.get(layer.output), true) for layer, true in zip(layers, expected, strict=True)]
    return [abs(float(np.log2(got / true))) for got, true in pairs if got and true > 0]


def family_of(name: str) -> str:
    """Family of a network of the zoo."""
    if name.startswith("mlp"):
        return "dense"
    if name in {"lstm", "gru", "rnn", "bilstm"}:
        return "recurrent"
    if name.startswith(("bert", "gpt2", "vit", "mixer", "pointnet")):
        return "attention"
    return "convolutional"


def tabulate() -> dict[str, dict[str, dict[str, float]]]:
    """Figures by part and family for the accuracy page."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for part, makers in (("validation", VALIDATION), ("development", DEVELOPMENT)):
        found: dict[str, list[list[float]]] = {}
        for name, maker in makers.items():
            if values := errors(name, maker):
                found.setdefault(family_of(name), []).append(values)
        table[part] = {
            family: {"networks": len(networks), **summary([value for item in networks for value in item])}
            for family, networks in sorted(found.items())
        }
    return table


def main() -> None:
    """Print a line a network and the whole."""
    wanted = sys.argv[1:]
    everything: list[float] = []
    for name, maker in {**DEVELOPMENT, **VALIDATION}.items():
        if wanted and name not in wanted:
            continue
        found = errors(name, maker)
        everything += found
        if found:
            print(f"{name:30} {len(found):4} layers  median {np.median(found):.3f}  p90 {np.quantile(found, 0.9):.3f}")
        else:
            print(f"{name:30} not matched")
    values = np.array(everything)
    print(
        f"{len(values)} layers: median {np.median(values):.3f}, p90 {np.quantile(values, 0.9):.3f}, "
        f"within 1 bit {np.mean(values <= 1):.3f}"
    )


if __name__ == "__main__":
    main()
