"""The architectures that `train_zoo.py` trains, each with the data it learns and the settings it is tried with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from training_data import ALPHABET, WINDOW
from zoo import Attention, Block, ConvNext, Inverted, Residual, initialise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["NETWORKS", "Network"]

LETTERS = len(ALPHABET)
FLOATS = ("torchscript", "dynamo", "float16")
SCHEMES = ("default", "he", "glorot", "orthogonal", "0.02")


@dataclass(frozen=True)
class Network:
    """A maker by scheme, the data, how a batch of it is laid out, and what is varied."""

    data: str
    make: Callable[[str], nn.Module]
    view: Callable[[Tensor], Tensor] = lambda batch: batch
    steps: int = 600
    copies: int = 1
    schemes: tuple[str, ...] = ("default",)
    exports: tuple[str, ...] | None = None  # None: all
    any_optimiser: bool = True


def _flat(batch: Tensor) -> Tensor:
    return batch.flatten(1)


def _rows(batch: Tensor) -> Tensor:
    return batch[:, 0]


def _stack(sizes: tuple[int, ...], act: Callable[[], nn.Module], norm: type[nn.Module] | None = None) -> nn.Sequential:
    """Linear layers with an activation, and a norm, between them."""
    layers: list[nn.Module] = []
    for index, (size, after) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers.append(nn.Linear(size, after))
        if index < len(sizes) - 2:
            layers += [*([norm(after)] if norm else []), act()]
    return nn.Sequential(*layers)


def _dense(
    act: Callable[[], nn.Module], sizes: tuple[int, ...] = (64, 96, 64, 10), norm: type[nn.Module] | None = None
) -> Callable[[str], nn.Module]:
    return lambda scheme: initialise(_stack(sizes, act, norm), scheme)


def _images(
    act: Callable[[], nn.Module],
    norm: Callable[[int], nn.Module] | None = None,
    channels: tuple[int, ...] = (16, 32, 32),
) -> Callable[[str], nn.Module]:
    """3x3 convolutions on 8x8 digits, the sides halved once."""

    def make(scheme: str) -> nn.Module:
        layers: list[nn.Module] = []
        before = 1
        for index, count in enumerate(channels):
            layers += [nn.Conv2d(before, count, 3, padding=1), *([norm(count)] if norm else []), act()]
            layers += [nn.MaxPool2d(2)] * (index == 0)
            before = count
        return initialise(
            nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * before, 10)), scheme
        )

    return make


def _body(*blocks: Callable[[], nn.Module], width: int) -> Callable[[str], nn.Module]:
    """A first convolution, the blocks, and a head on the mean over positions."""
    return lambda scheme: initialise(
        nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), *(block() for block in blocks), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(width, 10),
        ), scheme,
    )  # fmt: skip


class Steps(nn.Module):
    """A recurrent network over the rows of a digit, or over letters."""

    def __init__(
        self, kind: type[nn.RNNBase], width: int, *, letters: bool, layers: int = 1, both: bool = False
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(LETTERS, 24) if letters else nn.Identity()
        self.cell = kind(24 if letters else 8, width, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(width * (1 + both), LETTERS if letters else 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.table(x))[0][:, -1])


class Patches(nn.Module):
    """A transformer over the rows of a digit, norm first or last, mean or class token."""

    def __init__(self, depth: int, act: type[nn.Module], *, first: bool, token: bool) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(8, 32), nn.Parameter(0.02 * torch.randn(1, 8 + token, 32))
        self.token = nn.Parameter(torch.zeros(1, 1, 32)) if token else None
        self.blocks = nn.Sequential(*(Block(32, 4, causal=False, first=first, act=act) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.token is not None:
            x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1)
        x = self.norm(self.blocks(x + self.places))
        return self.head(x[:, 0] if self.token is not None else x.mean(1))


class Letters(nn.Module):
    """A causal transformer that tells the next letter, its head tied to the table or not."""

    def __init__(self, depth: int, *, tied: bool, gated: bool) -> None:
        super().__init__()
        width = 48
        self.table, self.places = nn.Embedding(LETTERS, width), nn.Embedding(WINDOW, width)
        nn.init.normal_(self.table.weight, std=0.02 if tied else 1.0)
        self.blocks = nn.ModuleList(
            (Gated(width) if gated else Block(width, 4, causal=True, first=True, act=nn.GELU)) for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), None if tied else nn.Linear(width, LETTERS)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids) + self.places(torch.arange(WINDOW))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)[:, -1]
        return x @ self.table.weight.T if self.head is None else self.head(x)


class Gated(nn.Module):
    """Attention and a gated feed-forward, both behind an RMS norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(width, 4, causal=True)
        self.gate, self.up, self.down = nn.Linear(width, 96), nn.Linear(width, 96), nn.Linear(96, width)
        self.gain = nn.Parameter(torch.ones(2, width))

    def norm(self, x: Tensor, index: int) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain[index]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x, 0))
        y = self.norm(x, 1)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


class Windows(nn.Module):
    """Dilated convolutions over letters; tells the next one, or the kind of the line."""

    def __init__(self, answers: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.table = nn.Embedding(LETTERS, 24)
        self.body = nn.Sequential(
            nn.Conv1d(24, 48, 3, padding=1), act(), nn.Conv1d(48, 48, 3, padding=2, dilation=2), act(),
            nn.Conv1d(48, 48, 3, padding=4, dilation=4), act(),
        )  # fmt: skip
        self.head = nn.Linear(96, answers)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.body(self.table(ids).transpose(1, 2))
        return self.head(torch.cat((x[:, :, -1], x.max(2).values), 1))


class Bag(nn.Module):
    """The mean of letter embeddings and two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rest = nn.Embedding(LETTERS, 32), _stack((32, 64, 2), nn.ReLU)

    def forward(self, ids: Tensor) -> Tensor:
        return self.rest(self.table(ids).mean(1))


class Squeezed(nn.Module):
    """A block of convolution with squeeze and excitation and a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.squeeze, self.excite = (
            nn.Conv2d(width, width, 3, padding=1), nn.Linear(width, 6), nn.Linear(6, width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).relu()
        return x + y * self.excite(self.squeeze(y.mean((2, 3))).relu()).sigmoid()[:, :, None, None]


class Skips(nn.Module):
    """Residual layers on features, normalised or not."""

    def __init__(self, size: int, answers: int, *, norm: bool, act: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(size, 48), nn.Linear(48, answers)
        self.blocks = nn.ModuleList(
            nn.Sequential(*([nn.LayerNorm(48)] * norm), nn.Linear(48, 96), act(), nn.Linear(96, 48)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Scaled(nn.Module):
    """The data's own mean and spread, kept in the file, before the layers."""

    def __init__(self, size: int, answers: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(size, affine=False)
        self.rest = _stack((size, 48, 32, answers), act)

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.norm(x))


class Angles(nn.Module):
    """Answers by the angle between an embedding of length one and one direction for each class."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.centres = _stack((64, 96, 48), nn.ReLU), nn.Parameter(torch.randn(10, 48))

    def forward(self, x: Tensor) -> Tensor:
        unit = nn.functional.normalize
        return 12.0 * unit(self.body(x), dim=1) @ unit(self.centres, dim=1).T


class Experts(nn.Module):
    """Four small networks mixed by a softmax gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(64, 4)
        self.experts = nn.ModuleList(_stack((64, 32, 10), nn.ReLU) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        answers = torch.stack([expert(x) for expert in self.experts], 1)
        return (self.gate(x).softmax(-1)[..., None] * answers).sum(1)


class Down(nn.Module):
    """An autoencoder of 8x8 digits: strided convolutions down, transposed ones up."""

    def __init__(self, act: type[nn.Module], *, skip: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 12, 3, 2, 1), nn.Conv2d(12, 24, 3, 2, 1)
        self.up, self.out = nn.ConvTranspose2d(24, 12, 4, 2, 1), nn.ConvTranspose2d(24 if skip else 12, 1, 4, 2, 1)
        self.act, self.skip = act(), skip

    def forward(self, x: Tensor) -> Tensor:
        a = self.act(self.one(x))
        b = self.act(self.up(self.act(self.two(a))))
        return self.out(torch.cat((a, b), 1) if self.skip else b)


def _flat_autoencoder(act: type[nn.Module]) -> Callable[[str], nn.Module]:
    return lambda scheme: nn.Sequential(
        nn.Flatten(), initialise(_stack((64, 40, 16, 40, 64), act), scheme), nn.Unflatten(1, (1, 8, 8))
    )


def _networks() -> Mapping[str, Network]:
    dense = {
        f"mlp_{act.__name__.lower()}": Network("digits", _dense(act), _flat, copies=2, schemes=SCHEMES)
        for act in (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.SELU, nn.LeakyReLU, nn.Sigmoid, nn.Hardswish,
                    nn.Softplus, nn.Mish, nn.Softsign)
    }  # fmt: skip
    normed = {
        f"mlp_{norm.__name__.lower()}_{act.__name__.lower()}": Network(
            "digits centred",
            _dense(act, (64, 96, 96, 96, 10), norm),
            _flat,
            schemes=SCHEMES,
            exports=(*FLOATS, "int8 dynamic"),
        )
        for norm in (nn.BatchNorm1d, nn.LayerNorm)
        for act in (nn.ReLU, nn.GELU)
    }
    plain = {
        f"cnn_{act.__name__.lower()}": Network("digits", _images(act), steps=300, copies=2, schemes=("default", "he"))
        for act in (nn.ReLU, nn.GELU, nn.Tanh, nn.PReLU)
    }
    recurrent = {
        f"rows_{kind.__name__.lower()}{'_two' * (layers - 1)}{'_both' * both}": Network(
            "digits",
            lambda _, k=kind, n=layers, b=both: Steps(k, 40, letters=False, layers=n, both=b),
            _rows,
            steps=400,
            exports=("torchscript", "dynamo"),
            any_optimiser=False,
        )
        for kind in (nn.LSTM, nn.GRU, nn.RNN)
        for layers, both in ((1, False), (2, False), (1, True))
    }
    tables = {
        f"{data.split()[0]}_{name}": Network(data, make, steps=400, copies=2)
        for data, size, answers in (("cancer", 30, 2), ("wine", 13, 3), ("diabetes", 10, 1))
        for name, make in (
            ("mlp", lambda _, s=size, a=answers: _stack((s, 32, a), nn.ReLU)),
            ("deep", lambda _, s=size, a=answers: _stack((s, 32, 32, 32, 32, a), nn.ReLU)),
            ("skips", lambda _, s=size, a=answers: Skips(s, a, norm=False, act=nn.ReLU)),
        )
    }
    return {
        **dense, **normed, **plain, **recurrent, **tables,
        "mlp_raw": Network("digits raw", _dense(nn.ReLU), _flat, copies=2),
        "mlp_wide": Network("digits", _dense(nn.ReLU, (64, 512, 10)), _flat, schemes=SCHEMES, copies=2),
        "mlp_deep": Network("digits", _dense(nn.ReLU, (64, *[64] * 10, 10)), _flat, schemes=("he",), steps=900, copies=2),
        "cancer_raw": Network("cancer raw", lambda _: Scaled(30, 2, nn.ReLU), exports=FLOATS[:2], copies=2),
        "skips_norm": Network("digits", lambda _: Skips(64, 10, norm=True, act=nn.GELU), _flat, copies=2),
        "skips_plain": Network("digits", lambda _: Skips(64, 10, norm=False, act=nn.ReLU), _flat, copies=2),
        "angles": Network("digits", lambda _: Angles(), _flat, copies=2),
        "experts": Network("digits", lambda _: Experts(), _flat, copies=2),
        "cnn_bn": Network("digits", _images(nn.ReLU, nn.BatchNorm2d), steps=300, copies=3),
        "cnn_gn": Network("digits", _images(nn.SiLU, lambda n: nn.GroupNorm(4, n)), steps=300, copies=2),
        "cnn_in": Network("digits", _images(nn.ReLU, lambda n: nn.InstanceNorm2d(n, affine=True)), steps=300),
        "cnn_squeezed": Network("digits", _body(*[lambda: Squeezed(16)] * 2, width=16), steps=300, copies=2),
        "cnn_residual": Network("digits", _body(*[lambda: Residual(16, 16, 1, norm=True)] * 2, width=16), steps=250, copies=2),
        "cnn_residual_plain": Network(
            "digits", _body(*[lambda: Residual(16, 16, 1, norm=False)] * 2, width=16), steps=300, copies=2, any_optimiser=False
        ),
        "cnn_inverted": Network("digits", _body(*[lambda: Inverted(16, 16, 1, nn.ReLU6)] * 2, width=16), steps=250, copies=2),
        "convnext": Network("digits", _body(*[lambda: ConvNext(16)] * 2, width=16), steps=400, any_optimiser=False),
        "patches": Network("digits", lambda _: Patches(2, nn.GELU, first=True, token=True), _rows, any_optimiser=False, copies=2),
        "patches_post": Network("digits", lambda _: Patches(2, nn.ReLU, first=False, token=False), _rows, any_optimiser=False, copies=2),
        "letters_gpt": Network("letters", lambda _: Letters(2, tied=False, gated=False), any_optimiser=False, steps=700, exports=("torchscript", "dynamo", "int8 dynamic")),
        "letters_tied": Network("letters", lambda _: Letters(2, tied=True, gated=False), any_optimiser=False, steps=700, exports=("torchscript", "dynamo")),
        "letters_gated": Network("letters", lambda _: Letters(2, tied=False, gated=True), any_optimiser=False, steps=700, exports=("torchscript", "dynamo")),
        "letters_gru": Network("letters", lambda _: Steps(nn.GRU, 96, letters=True), any_optimiser=False, steps=600, exports=("torchscript",)),
        "letters_lstm": Network("letters", lambda _: Steps(nn.LSTM, 96, letters=True), any_optimiser=False, steps=600, exports=("torchscript",)),
        "letters_windows": Network("letters", lambda _: Windows(LETTERS, nn.ReLU), any_optimiser=False, steps=700, copies=2, exports=("torchscript", "dynamo")),
        "lines_windows": Network("lines", lambda _: Windows(2, nn.GELU), any_optimiser=False, steps=300, exports=("torchscript", "dynamo"), copies=2),
        "lines_bag": Network("lines", lambda _: Bag(), any_optimiser=False, steps=600),
        "itself_flat": Network("digits itself", _flat_autoencoder(nn.ReLU), any_optimiser=False, steps=900, copies=2),
        "itself_tanh": Network("digits itself", _flat_autoencoder(nn.Tanh), any_optimiser=False, steps=900),
        "itself_down": Network("digits itself", lambda _: Down(nn.ReLU, skip=False), any_optimiser=False, copies=2),
        "denoised_down": Network("digits denoised", lambda _: Down(nn.SiLU, skip=True), any_optimiser=False, copies=2),
    }  # fmt: skip


NETWORKS = _networks()
