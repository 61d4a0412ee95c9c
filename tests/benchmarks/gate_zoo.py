"""Small freshly initialised networks of many architectures, for the calibration of the gate.

    python tests/benchmarks/gate_zoo.py OUT_DIR [--dynamo]

Beside the networks of `zoo.py`: more depths, activations and schemes, most of them sound. A network's family, by which
development is told from validation, is its name up to the first dash.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from zoo import (
    DEVELOPMENT,
    VALIDATION,
    Attention,
    Block,
    ConvNext,
    Inverted,
    Language,
    Maker,
    Recurrent,
    Residual,
    export,
    initialise,
    mlp,
    plain,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable


def stack(*layers: nn.Module, scheme: str = "default") -> Callable[[], nn.Module]:
    """The layers in a row, set by a scheme."""
    return lambda: initialise(nn.Sequential(*layers), scheme)


def convolutions(
    depth: int, act: Callable[[], nn.Module], scheme: str, width: int = 16, *, norm: bool = False, warm: bool = False
) -> Maker:
    """Plain 3x3 convolutions on 16x16 images, with or without BatchNorm, its statistics warmed up or not."""

    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        layers: list[nn.Module] = []
        channels = 3
        for index in range(depth):
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not norm))
            layers += [nn.BatchNorm2d(width)] * norm + [act()]
            layers += [nn.MaxPool2d(2)] * (index in {1, 3})
            channels = width
        network = initialise(
            nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)), scheme
        )
        if warm:
            network.train()
            with torch.no_grad():
                for _ in range(30):
                    network(torch.randn(16, 3, 16, 16))
        return network, (torch.randn(1, 3, 16, 16),)

    return make


class Residuals(nn.Module):
    """Residual MLP blocks, normalised or not."""

    def __init__(self, depth: int, act: type[nn.Module], *, norm: bool, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Linear(32, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(*([nn.LayerNorm(width)] * norm), nn.Linear(width, width), act(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Gated(nn.Module):
    """A llama-like block: RMS norm, gated feed-forward."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.attention = Attention(width, 4, causal=True)
        self.gate, self.up = nn.Linear(width, 2 * width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)
        self.gain = nn.Parameter(torch.ones(width))

    def norm(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        y = self.norm(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """Token embedding, gated blocks, tied head."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.tokens = nn.Embedding(300, 64)
        self.blocks = nn.ModuleList(Gated() for _ in range(depth))
        initialise(self, "0.02")
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        x = self.blocks[0].norm(x)
        return x @ self.tokens.weight.T


class Autoencoder(nn.Module):
    """A variational autoencoder's mean path."""

    def __init__(self, act: type[nn.Module]) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Linear(64, 48), act(), nn.Linear(48, 16))
        self.up = nn.Sequential(nn.Linear(16, 48), act(), nn.Linear(48, 64), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


class Squeeze(nn.Module):
    """Convolutions with squeeze-and-excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.squeeze, self.excite, self.head = nn.Linear(16, 4), nn.Linear(4, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        y = self.conv(x).relu()
        s = self.excite(self.squeeze(y.mean((2, 3))).relu()).sigmoid()
        return self.head((x + y * s[:, :, None, None]).mean((2, 3)))


class Two(nn.Module):
    """Two inputs that meet: a small two-tower network."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Sequential(nn.Linear(20, 32), nn.ReLU()), nn.Sequential(nn.Linear(12, 32), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(torch.cat((self.left(a), self.right(b)), 1))


def tokens(network: Callable[[], nn.Module], rows: int, length: int = 12) -> Maker:
    """A network on token ids."""
    return lambda: (network(), (torch.randint(0, rows, (1, length)),))


def scheduled() -> dict[str, Maker]:
    """The networks by name."""
    found: dict[str, Maker] = {}
    for depth in (3, 6, 10, 16):
        found[f"mlp_relu-{depth}_he"] = mlp(depth, nn.ReLU, "he", 64)
        found[f"mlp_tanh-{depth}_glorot"] = mlp(depth, nn.Tanh, "glorot", 64)
        found[f"mlp_silu-{depth}_he"] = mlp(depth, nn.SiLU, "he", 64)
        found[f"mlp_elu-{depth}_he"] = mlp(depth, nn.ELU, "he", 64)
        found[f"mlp_selu-{depth}_lecun"] = mlp(depth, nn.SELU, "lecun", 64)
        found[f"mlp_leaky-{depth}_he"] = mlp(depth, nn.LeakyReLU, "he", 64)
        found[f"mlp_orthogonal-{depth}"] = mlp(depth, nn.Tanh, "orthogonal", 64)
        found[f"cnn_relu-{depth}_he"] = convolutions(depth, nn.ReLU, "he")
        found[f"cnn_bn_warm-{depth}"] = convolutions(depth, nn.ReLU, "default", norm=True, warm=True)
        found[f"cnn_bn_fresh-{depth}_he"] = convolutions(depth, nn.ReLU, "he", norm=True)
        found[f"residual_norm-{depth}"] = plain(lambda depth=depth: Residuals(depth, nn.GELU, norm=True), 1, 32)
        found[f"residual_plain-{depth}"] = plain(lambda depth=depth: Residuals(depth, nn.ReLU, norm=False), 1, 32)
    for depth in (2, 3, 4):
        found[f"mlp_default-{depth}_relu"] = mlp(depth, nn.ReLU, "default", 64)
        found[f"mlp_gelu_default-{depth}"] = mlp(depth, nn.GELU, "default", 64)
        found[f"mlp_sigmoid-{depth}_glorot"] = mlp(depth, nn.Sigmoid, "glorot", 64)
        found[f"mlp_hardswish-{depth}_he"] = mlp(depth, nn.Hardswish, "he", 64)
        found[f"mlp_softplus-{depth}"] = mlp(depth, nn.Softplus, "default", 64)
        found[f"cnn_default-{depth}"] = convolutions(depth, nn.ReLU, "default")
        found[f"cnn_prelu-{depth}"] = convolutions(depth, nn.PReLU, "he")
        found[f"gpt-{depth}"] = tokens(lambda depth=depth: Language(causal=True, depth=depth, width=64), 1000)
        found[f"bert-{depth}"] = tokens(lambda depth=depth: Language(causal=False, depth=depth, width=64), 1000)
        found[f"llama-{depth}"] = tokens(lambda depth=depth: Llama(depth), 300)
        found[f"encoder-{depth}"] = plain(
            lambda depth=depth: nn.Sequential(
                *(Block(48, 4, causal=False, first=False, act=nn.ReLU) for _ in range(depth)), nn.Linear(48, 8)
            ), 1, 10, 48,
        )  # fmt: skip
        found[f"convnext-{depth}"] = plain(
            lambda depth=depth: nn.Sequential(
                nn.Conv2d(3, 24, 4, 4), *(ConvNext(24) for _ in range(depth)), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(24, 10),
            ), 1, 3, 32, 32,
        )  # fmt: skip
        found[f"resnet_small-{depth}"] = plain(
            lambda depth=depth: initialise(
                nn.Sequential(
                    nn.Conv2d(3, 16, 3, 1, 1), *(Residual(16, 16, 1, norm=False) for _ in range(depth)),
                    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
                ), "he",
            ), 1, 3, 16, 16,
        )  # fmt: skip
        found[f"inverted-{depth}"] = plain(
            lambda depth=depth: initialise(
                nn.Sequential(
                    nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU6(), *(Inverted(16, 16, 1, nn.ReLU6) for _ in range(depth)),
                    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
                ), "he",
            ), 1, 3, 32, 32,
        )  # fmt: skip
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        found[f"recurrent_{kind.__name__.lower()}-one"] = plain(lambda kind=kind: Recurrent(kind), 1, 12, 32)
    found |= {
        "vae-relu": plain(lambda: Autoencoder(nn.ReLU), 1, 64),
        "vae-tanh": plain(lambda: Autoencoder(nn.Tanh), 1, 64),
        "squeeze-one": plain(Squeeze, 1, 3, 16, 16),
        "towers-one": lambda: (Two(), (torch.randn(1, 20), torch.randn(1, 12))),
        "transposed-one": plain(
            lambda: nn.Sequential(
                nn.Linear(16, 128), nn.ReLU(), nn.Unflatten(1, (8, 4, 4)), nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ReLU(),
                nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
            ), 1, 16,
        ),
        "groupnorm-one": plain(
            lambda: nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1),
                nn.GroupNorm(4, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
            ), 1, 3, 16, 16,
        ),
        "instancenorm-one": plain(
            lambda: nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1), nn.InstanceNorm2d(16, affine=True), nn.ReLU(),
                nn.Conv2d(16, 3, 3, padding=1), nn.Tanh(),
            ), 1, 3, 16, 16,
        ),
    }  # fmt: skip
    return found


def main() -> None:
    """Write every network that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dynamo", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    small = {
        name: maker
        for name, maker in (DEVELOPMENT | VALIDATION).items()
        if name.startswith(("mlp", "tcn", "gru", "rnn", "lstm", "bilstm", "pointnet", "bert", "gpt2", "vit", "mixer"))
    }
    for name, maker in (scheduled() | {f"{name}-zoo": maker for name, maker in small.items()}).items():
        path = options.out / f"{name}{'__dyn' if options.dynamo else ''}.onnx"
        if path.exists():
            continue
        try:
            export(name, maker, path, dynamo=options.dynamo)
        except Exception as failure:
            print(f"{name}: {type(failure).__name__} {str(failure)[:120]}", flush=True)
            continue
        print(path.name, path.stat().st_size, flush=True)


if __name__ == "__main__":
    main()
