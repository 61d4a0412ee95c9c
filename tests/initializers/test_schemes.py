"""Naming schemes, with torch's own modules and initialisers as the source of weights."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from initlint.initializers import examine
from initlint.initializers.schemes import recognise
from initlint.initializers.shapes import Shape


def filled(shape: tuple[int, ...], fill: Callable[[torch.Tensor], object]) -> np.ndarray:
    """Fill a tensor in place and return it as a matrix of outputs x terms."""
    weight = torch.empty(shape)
    fill(weight)
    return weight.reshape(shape[0], -1).numpy()


def truncated(shape: tuple[int, int], std: float) -> np.ndarray:
    """Draw as Keras' TruncatedNormal does: redrawn beyond two standard deviations."""
    return stats.truncnorm.rvs(-2.0, 2.0, scale=std, size=shape, random_state=0)


LINEAR = (96, 160)  # fan_out x fan_in, different on purpose
CASES = [
    ("he_normal", lambda: filled(LINEAR, nn.init.kaiming_normal_), ""),
    ("he_fan_out_normal", lambda: filled(LINEAR, lambda w: nn.init.kaiming_normal_(w, mode="fan_out")), ""),
    ("he_uniform", lambda: filled(LINEAR, nn.init.kaiming_uniform_), ""),
    ("he_fan_out_uniform", lambda: filled(LINEAR, lambda w: nn.init.kaiming_uniform_(w, mode="fan_out")), ""),
    ("glorot_normal", lambda: filled(LINEAR, nn.init.xavier_normal_), ""),
    ("glorot_uniform", lambda: filled(LINEAR, nn.init.xavier_uniform_), ""),
    ("lecun_normal", lambda: filled(LINEAR, lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear")), ""),
    ("lecun_uniform", lambda: filled(LINEAR, lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear")), ""),
    ("torch_default", lambda: nn.Linear(160, 96).weight.detach().numpy(), "Gemm"),
    ("n02", lambda: filled(LINEAR, lambda w: nn.init.trunc_normal_(w, std=0.02)), ""),
    ("n02", lambda: filled(LINEAR, lambda w: nn.init.normal_(w, std=0.02)), ""),
    ("n1", lambda: filled(LINEAR, nn.init.normal_), ""),
    ("torch_embedding", lambda: nn.Embedding(96, 160).weight.detach().numpy(), "Gather"),
    ("gpt2_residual_12", lambda: filled(LINEAR, lambda w: nn.init.normal_(w, std=0.02 / sqrt(24.0))), ""),
    ("mup_output", lambda: filled(LINEAR, lambda w: nn.init.normal_(w, std=1.0 / 160.0)), ""),
    ("u05", lambda: filled(LINEAR, lambda w: nn.init.uniform_(w, -0.05, 0.05)), ""),
    ("he_truncated", lambda: truncated(LINEAR, sqrt(2.0 / 160.0) / 0.87962566103423978), ""),
    ("lecun_truncated", lambda: truncated(LINEAR, sqrt(1.0 / 160.0) / 0.87962566103423978), ""),
    ("t02", lambda: truncated(LINEAR, 0.02), ""),
    ("t05", lambda: truncated(LINEAR, 0.05), ""),
    ("glorot_stacked_3_uniform", lambda: nn.MultiheadAttention(160, 4).in_proj_weight[:96].detach().numpy(), ""),
    ("orthogonal", lambda: filled(LINEAR, nn.init.orthogonal_), ""),
    ("constant", lambda: np.full(LINEAR, 0.01, np.float32), ""),
    ("zeros", lambda: np.zeros(LINEAR, np.float32), ""),
    ("identity", lambda: filled(LINEAR, nn.init.eye_), ""),
]


@pytest.mark.parametrize(
    ("name", "make", "op"), CASES, ids=[f"{name}-{index}" for index, (name, _, _) in enumerate(CASES)]
)
def test_schemes_in_use_are_named(name: str, make: Callable[[], np.ndarray], op: str) -> None:
    """Each framework initialiser's weights get its name, in at least 9 of 10 seeds where it draws."""
    found = []
    for seed in range(10):
        torch.manual_seed(seed)
        fan_out = 160.0 if name == "glorot_stacked_3_uniform" else 96.0
        scheme = examine(make(), 160.0, fan_out, op=op).scheme
        found.append(name in (scheme.name, *scheme.alternatives))
    assert sum(found) >= 9


@pytest.mark.parametrize(
    ("module", "weight", "op", "fans", "name"),
    [
        (nn.Conv2d(32, 48, 3), "weight", "Conv", (288.0, 432.0), "torch_default"),
        (nn.Conv2d(32, 64, 3, groups=4), "weight", "Conv", (72.0, 144.0), "torch_default"),
        (nn.ConvTranspose2d(32, 48, 3), "weight", "ConvTranspose", (288.0, 432.0), "torch_conv_transpose"),
        (nn.LSTM(40, 64), "weight_ih_l0", "LSTM", (40.0, 64.0), "torch_recurrent"),
        (nn.GRU(40, 64), "weight_hh_l0", "GRU", (64.0, 64.0), "torch_recurrent"),
        (nn.RNN(40, 64), "weight_hh_l0", "RNN", (64.0, 64.0), "torch_recurrent"),
    ],
    ids=["conv", "grouped", "transposed", "lstm", "gru", "rnn"],
)
def test_torch_modules_are_named_by_their_own_default(
    module: nn.Module, weight: str, op: str, fans: tuple[float, float], name: str
) -> None:
    """The default of each torch module is named with the module in the phrase, although its fans are torch's own."""
    values = module.get_parameter(weight).detach()
    scheme = examine(values.reshape(values.shape[0], -1).numpy(), *fans, op=op).scheme
    assert scheme.name == name
    assert f"nn.{'Conv' if op.startswith('Conv') else op}" in scheme.phrase


def test_a_grouped_kaiming_fan_out_is_torchs() -> None:
    """ResNeXt's kaiming fan_out counts all groups; the scheme is still named."""
    torch.manual_seed(0)
    weight = filled((64, 16, 3, 3), lambda w: nn.init.kaiming_normal_(w, mode="fan_out"))
    assert examine(weight, 144.0, 144.0, op="Conv", groups=4).scheme.name == "he_fan_out_normal"


def test_a_scaled_scheme_is_unknown_but_its_distribution_is_not() -> None:
    """He weights times an arbitrary factor are normal draws of no scheme, and the phrase gives their std."""
    torch.manual_seed(0)
    scheme = examine(filled(LINEAR, nn.init.kaiming_normal_) * 7.7, 160.0, 96.0).scheme
    assert (scheme.distribution, scheme.name) == ("normal", "unknown")
    assert f"{scheme.std:.4g}" in scheme.phrase


def test_a_uniform_that_training_stretched_is_not_named() -> None:
    """A bound exceeded by half a percent, as after a few steps of training, is no draw of that scheme."""
    torch.manual_seed(0)
    weight = nn.Linear(160, 96).weight.detach().numpy().copy()
    flat = np.argsort(np.abs(weight), axis=None)[-20:]
    weight.ravel()[flat] *= np.linspace(1.0, 1.005, 20, dtype=np.float32)
    assert examine(weight, 160.0, 96.0).verdict == "unknown"


def test_the_stated_chance_is_met_by_unrelated_stds() -> None:
    """Over stds spread evenly over two decades, the share that matches a scheme is the stated chance."""
    stds = np.exp(np.random.default_rng(0).uniform(np.log(0.002), np.log(0.2), 4000))
    schemes = [recognise(Shape("normal", float(std), 1.0, 0.5), 20000, 300.0, 200.0) for std in stds]
    matched = np.mean([scheme.name != "unknown" for scheme in schemes])
    assert 0.4 * schemes[0].chance < matched < 1.1 * schemes[0].chance


def test_the_stated_error_rate_of_a_named_std_is_met() -> None:
    """Of 1,000 He-normal samples' stds, at most 1 % miss their scheme."""
    generator = np.random.default_rng(0)
    std = sqrt(2.0 / 300.0)
    missed = 0
    for _ in range(1000):
        sampled = float(np.sqrt(np.mean(generator.standard_normal(4096) ** 2))) * std
        scheme = recognise(Shape("normal", sampled, 1.0, 0.5), 4096, 300.0, 200.0)
        missed += "he_normal" not in (scheme.name, *scheme.alternatives)
    assert missed <= 10


@pytest.mark.parametrize(("fan_in", "fan_out"), [(0.0, 10.0), (float("inf"), 1.0), (10.0, float("nan"))])
def test_without_fans_nothing_is_named(fan_in: float, fan_out: float) -> None:
    """Meaningless fans give an unknown scheme, not an error."""
    assert recognise(Shape("normal", 0.02, 0.1, 0.5), 4096, fan_in, fan_out).name == "unknown"
