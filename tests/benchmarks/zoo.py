"""Networks at their own initialisation, exported by PyTorch: the models that accuracy and calibration are measured on.

Development families may be looked at while working on initlint; validation families may not.

    python tests/benchmarks/zoo.py OUT_DIR [--dynamo] [--only NAME]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["DEVELOPMENT", "VALIDATION", "export"]

Maker = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]


def initialise(network: nn.Module, scheme: str, scale: float = 1.0) -> nn.Module:
    """Set every weight matrix by a scheme of torch.nn.init, biases to zero; `default` leaves PyTorch's own."""
    if scheme == "default" and scale == 1.0:
        return network
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
            with torch.no_grad():
                match scheme:
                    case "he":
                        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    case "glorot":
                        nn.init.xavier_normal_(module.weight)
                    case "lecun":
                        nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
                    case "orthogonal":
                        nn.init.orthogonal_(module.weight)
                    case "0.02":
                        nn.init.normal_(module.weight, std=0.02)
                if scheme != "default" and module.bias is not None:
                    nn.init.zeros_(module.bias)
                module.weight.mul_(scale)
    return network


def mlp(depth: int, activation: type[nn.Module], scheme: str, width: int = 128, scale: float = 1.0) -> Maker:
    """A plain stack of Linear and activation."""

    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        layers: list[nn.Module] = []
        size = 64
        for _ in range(depth):
            layers += [nn.Linear(size, width), activation()]
            size = width
        layers.append(nn.Linear(size, 10))
        return initialise(nn.Sequential(*layers), scheme, scale), (torch.randn(1, 64),)

    return make


class Residual(nn.Module):
    """A ResNet basic block."""

    def __init__(self, channels: int, out: int, stride: int, *, norm: bool) -> None:
        super().__init__()
        bn = nn.BatchNorm2d if norm else nn.Identity
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=not norm), bn(out), nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=not norm), bn(out),
        )  # fmt: skip
        same = channels == out and stride == 1
        self.skip = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=not norm), bn(out))
        )
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(x) + self.skip(x))


def resnet(*, norm: bool, scheme: str = "he", warmed: bool = False) -> Maker:
    """A small ResNet; `warmed` lets BatchNorm gather statistics first."""

    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        blocks: list[nn.Module] = [nn.Conv2d(3, 16, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        for channels, out, stride in ((16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)):
            blocks.append(Residual(channels, out, stride, norm=norm))
        network = initialise(nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)), scheme)
        if warmed:
            network.train()
            with torch.no_grad():
                for _ in range(40):
                    network(torch.randn(8, 3, 64, 64))
        return network, (torch.randn(1, 3, 64, 64),)

    return make


def vgg(scheme: str, scale: float = 1.0) -> Maker:
    """A VGG-style plain convolutional stack."""

    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        layers: list[nn.Module] = []
        channels = 3
        for out in (16, 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"):
            if out == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, int(out), 3, padding=1), nn.ReLU()]
                channels = int(out)
        layers += [nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 10)]
        return initialise(nn.Sequential(*layers), scheme, scale), (torch.randn(1, 3, 64, 64),)

    return make


class Dense(nn.Module):
    """A DenseNet block."""

    def __init__(self, channels: int, growth: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(channels + i * growth), nn.ReLU(),
                          nn.Conv2d(channels + i * growth, growth, 3, padding=1, bias=False))
            for i in range(count)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat((x, layer(x)), 1)
        return x


def densenet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Two dense blocks with a transition."""
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), Dense(16, 8, 4), nn.Conv2d(48, 24, 1), nn.AvgPool2d(2), Dense(24, 8, 4),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(56, 10),
    )  # fmt: skip
    return network, (torch.randn(1, 3, 32, 32),)


class Inverted(nn.Module):
    """A MobileNetV2 inverted residual."""

    def __init__(self, channels: int, out: int, stride: int, act: type[nn.Module]) -> None:
        super().__init__()
        wide = channels * 4
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1), nn.BatchNorm2d(wide), act(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide), nn.BatchNorm2d(wide), act(),
            nn.Conv2d(wide, out, 1), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.residual = channels == out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def mobilenet(act: type[nn.Module]) -> Maker:
    """Inverted residuals, depthwise convolutions."""

    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        network = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), act(), Inverted(16, 16, 1, act), Inverted(16, 24, 2, act),
            Inverted(24, 24, 1, act), Inverted(24, 40, 2, act), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10),
        )  # fmt: skip
        return initialise(network, "he"), (torch.randn(1, 3, 64, 64),)

    return make


class UNet(nn.Module):
    """A two-level U-Net without normalisation."""

    def __init__(self) -> None:
        super().__init__()

        def double(channels: int, out: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1), nn.ReLU()
            )

        self.down1, self.down2, self.mid = double(1, 16), double(16, 32), double(32, 64)
        self.up1, self.up2 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.dec1, self.dec2, self.out = double(64, 32), double(32, 16), nn.Conv2d(16, 2, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(self.pool(a))
        x = self.up1(self.mid(self.pool(b)))
        x = self.up2(self.dec1(torch.cat((x, b), 1)))
        return self.out(self.dec2(torch.cat((x, a), 1)))


def unet(scheme: str, scale: float = 1.0) -> Maker:
    """The U-Net by a scheme."""
    return lambda: (initialise(UNet(), scheme, scale), (torch.randn(1, 1, 48, 48),))


class Attention(nn.Module):
    """Multi-head self-attention written out, causal or not."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads, self.causal = (
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
            heads,
            causal,
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (
            self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        scores = q @ k.transpose(-2, -1) / (width // self.heads) ** 0.5
        if self.causal:
            mask = torch.full((tokens, tokens), float("-inf")).triu(1)
            scores = scores + mask
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    """A transformer block, norm first or last."""

    def __init__(self, width: int, heads: int, *, causal: bool, first: bool, act: type[nn.Module]) -> None:
        super().__init__()
        self.attention = Attention(width, heads, causal=causal)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), act(), nn.Linear(4 * width, width))
        self.norm1, self.norm2, self.first = nn.LayerNorm(width), nn.LayerNorm(width), first

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            x = x + self.attention(self.norm1(x))
            return x + self.feed(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.feed(x))


class Language(nn.Module):
    """BERT (bidirectional, post-norm) or GPT-2 (causal, pre-norm) in small."""

    def __init__(self, *, causal: bool, depth: int = 4, width: int = 128, scheme: str = "0.02") -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(1000, width), nn.Embedding(64, width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, 4, causal=causal, first=causal, act=nn.GELU) for _ in range(depth))
        self.head = nn.Linear(width, 1000)
        self.causal = causal
        initialise(self, scheme)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        if not self.causal:
            x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x) if self.causal else x)


def language(*, causal: bool, scheme: str = "0.02") -> Maker:
    """A language model on 24 tokens."""
    return lambda: (Language(causal=causal, scheme=scheme), (torch.randint(0, 1000, (1, 24)),))


class Vision(nn.Module):
    """A small ViT."""

    def __init__(self) -> None:
        super().__init__()
        width = 96
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, 3, causal=False, first=True, act=nn.GELU) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)
        initialise(self.blocks, "0.02")

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), 1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


class Recurrent(nn.Module):
    """An LSTM, GRU or RNN with a head on its last state."""

    def __init__(self, kind: type[nn.RNNBase], *, bidirectional: bool = False) -> None:
        super().__init__()
        self.cell = kind(32, 64, 2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(128 if bidirectional else 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


def recurrent(kind: type[nn.RNNBase], *, bidirectional: bool = False) -> Maker:
    """A recurrent network over 20 steps."""
    return lambda: (Recurrent(kind, bidirectional=bidirectional), (torch.randn(1, 20, 32),))


class ConvNext(nn.Module):
    """A ConvNeXt block with layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(1e-6 * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.down(nn.functional.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Four ConvNeXt blocks."""
    network = nn.Sequential(nn.Conv2d(3, 48, 4, 4), *(ConvNext(48) for _ in range(4)), nn.AdaptiveAvgPool2d(1),
                            nn.Flatten(), nn.Linear(48, 10))  # fmt: skip
    return network, (torch.randn(1, 3, 64, 64),)


class Mixer(nn.Module):
    """An MLP-Mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 64, 8, 8)
        self.tokens = nn.ModuleList(nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(3))
        self.channels = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)) for _ in range(3)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(64) for _ in range(6))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        for i, (tokens, channels) in enumerate(zip(self.tokens, self.channels, strict=True)):
            x = x + tokens(self.norms[2 * i](x).transpose(1, 2)).transpose(1, 2)
            x = x + channels(self.norms[2 * i + 1](x))
        return self.head(x.mean(1))


def tcn(scheme: str) -> Maker:
    """Dilated temporal convolutions."""

    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        layers: list[nn.Module] = []
        channels = 4
        for dilation in (1, 2, 4, 8, 16):
            layers += [nn.Conv1d(channels, 32, 3, padding=dilation, dilation=dilation), nn.ReLU()]
            channels = 32
        layers += [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 5)]
        return initialise(nn.Sequential(*layers), scheme), (torch.randn(1, 4, 200),)

    return make


def generator(scheme: str) -> Maker:
    """A DCGAN generator: transposed convolutions."""

    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        network = nn.Sequential(
            nn.ConvTranspose2d(64, 64, 4, 1, 0), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip
        return initialise(network, scheme), (torch.randn(1, 64, 1, 1),)

    return make


class Pointwise(nn.Module):
    """PointNet: shared MLP, max over points."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Conv1d(3, 32, 1), nn.ReLU(), nn.Conv1d(32, 64, 1), nn.ReLU(), nn.Conv1d(64, 128, 1)
        )
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.shared(x).max(2).values)


def plain(network: Callable[[], nn.Module], *shape: int) -> Maker:
    """A module class with one float input."""
    return lambda: (network(), (torch.randn(*shape),))


DEVELOPMENT: dict[str, Maker] = {
    "mlp20_relu_he": mlp(20, nn.ReLU, "he"),
    "mlp20_relu_default": mlp(20, nn.ReLU, "default"),
    "mlp20_relu_he_x3": mlp(20, nn.ReLU, "he", scale=3.0),
    "mlp20_relu_he_x033": mlp(20, nn.ReLU, "he", scale=1 / 3),
    "mlp50_relu_default": mlp(50, nn.ReLU, "default"),
    "mlp20_tanh_glorot": mlp(20, nn.Tanh, "glorot"),
    "mlp20_tanh_glorot_x4": mlp(20, nn.Tanh, "glorot", scale=4.0),
    "mlp20_tanh_glorot_x025": mlp(20, nn.Tanh, "glorot", scale=0.25),
    "mlp12_gelu_default": mlp(12, nn.GELU, "default"),
    "mlp12_silu_he": mlp(12, nn.SiLU, "he"),
    "resnet_bn_he": resnet(norm=True),
    "resnet_bn_warmed": resnet(norm=True, warmed=True),
    "resnet_nobn": resnet(norm=False),
    "vgg_he": vgg("he"),
    "vgg_default": vgg("default"),
    "vgg_he_x2": vgg("he", 2.0),
    "mobilenet_relu6": mobilenet(nn.ReLU6),
    "unet_he": unet("he"),
    "bert": language(causal=False),
    "gpt2": language(causal=True),
    "vit": plain(Vision, 1, 3, 32, 32),
    "lstm": recurrent(nn.LSTM),
    "tcn_he": tcn("he"),
}
VALIDATION: dict[str, Maker] = {
    "mlp16_selu_lecun": mlp(16, nn.SELU, "lecun"),
    "mlp16_elu_he": mlp(16, nn.ELU, "he"),
    "mlp16_mish_he": mlp(16, nn.Mish, "he"),
    "mlp16_leaky_orthogonal": mlp(16, nn.LeakyReLU, "orthogonal"),
    "mlp16_sigmoid_glorot": mlp(16, nn.Sigmoid, "glorot"),
    "mlp16_softplus_default": mlp(16, nn.Softplus, "default"),
    "mlp30_relu_orthogonal_x2": mlp(30, nn.ReLU, "orthogonal", scale=2.0),
    "densenet": densenet,
    "mobilenet_hardswish": mobilenet(nn.Hardswish),
    "resnet_default": resnet(norm=False, scheme="default"),
    "unet_default": unet("default"),
    "unet_default_x6": unet("default", 6.0),
    "gpt2_he": language(causal=True, scheme="he"),
    "bert_default": language(causal=False, scheme="default"),
    "gru": recurrent(nn.GRU),
    "rnn": recurrent(nn.RNN),
    "bilstm": recurrent(nn.LSTM, bidirectional=True),
    "convnext": convnext,
    "mixer": plain(Mixer, 1, 3, 32, 32),
    "tcn_default": tcn("default"),
    "generator_0.02": generator("0.02"),
    "generator_default": generator("default"),
    "pointnet": plain(Pointwise, 1, 3, 128),
}


def export(name: str, maker: Maker, path: Path, *, dynamo: bool, seed: int = 0) -> None:
    """Write one network, freshly initialised from `seed`, as ONNX."""
    torch.manual_seed(seed * 1000 + sum(name.encode()))
    network, inputs = maker()
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(network, inputs, str(path), dynamo=True, verbose=False, external_data=False)
        else:
            torch.onnx.export(network, inputs, str(path), dynamo=False, opset_version=17)


def main() -> None:
    """Write the zoo into a folder, development and validation apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dynamo", action="store_true")
    parser.add_argument("--only")
    options = parser.parse_args()
    for part, makers in (("development", DEVELOPMENT), ("validation", VALIDATION)):
        folder = options.out / part
        folder.mkdir(parents=True, exist_ok=True)
        for name, maker in makers.items():
            if options.only in (None, name):
                path = folder / f"{name}{'__dyn' if options.dynamo else ''}.onnx"
                export(name, maker, path, dynamo=options.dynamo)
                print(path)


if __name__ == "__main__":
    main()
