"""Real data that comes with scikit-learn and with Python itself, split into what is trained on and what is held out."""

from __future__ import annotations

import argparse
import ast
import pydoc
from dataclasses import dataclass
from functools import cache
from inspect import getsource
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn import datasets
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALPHABET", "WINDOW", "Data", "data_of"]

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 .,:;()[]'\"-_=+*/<>\n"
WINDOW = 24  # letters that the next one is told from

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Data:
    """Inputs and targets, how an answer is judged, what guessing and what perfection would score."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[npt.NDArray[np.float64]], float]
    guess: float
    best: float
    measure: str


def _split(x: Array, y: Array) -> tuple[Array, ...]:
    """Every fifth of a fixed shuffle is held out."""
    order = np.random.Generator(np.random.Philox(7)).permutation(len(x))
    test = order[::5]
    train = np.setdiff1d(order, test)
    return x[train], y[train], x[test], y[test]


def _classes(x: Array, y: npt.NDArray[np.int64]) -> Data:
    """A classification, judged by its accuracy; guessing is the commonest class."""
    train_x, train_y, test_x, test_y = _split(x, y)
    return Data(
        train_x, train_y, test_x, test_y, nn.functional.cross_entropy,
        lambda answers: float((answers.argmax(-1) == test_y).mean()),
        float(np.bincount(test_y).max() / len(test_y)), 1.0, "accuracy",
    )  # fmt: skip


def _values(x: Floats, y: Floats) -> Data:
    """A regression, judged by the share of variance explained; the mean explains none."""
    train_x, train_y, test_x, test_y = _split(x, y)
    spread = float(np.square(test_y - test_y.mean(0)).mean())
    return Data(
        train_x, train_y, test_x, test_y, nn.functional.mse_loss,
        lambda answers: 1.0 - float(np.square(answers - test_y).mean()) / spread, 0.0, 0.9, "variance explained",
    )  # fmt: skip


def _letters() -> Data:
    """The next letter of the documentation's text; guessing knows how often each letter occurs, in bits."""
    text = "".join(topics[name] for name in sorted(topics)).lower()
    codes = np.array([ALPHABET.index(letter) for letter in text if letter in ALPHABET], np.int64)
    starts = np.random.Generator(np.random.Philox(11)).permutation(len(codes) - WINDOW - 1)[:24_000]
    x = np.stack([codes[start : start + WINDOW] for start in starts])
    y = codes[starts + WINDOW]
    cut = len(codes) * 4 // 5  # held out: another stretch of the text
    train, test = starts + WINDOW < cut, starts >= cut
    test_x, test_y = x[test][:600], y[test][:600]
    share = np.bincount(y[train], minlength=len(ALPHABET)) + 1.0

    def bits(answers: npt.NDArray[np.float64]) -> float:
        log = answers - answers.max(-1, keepdims=True)
        log -= np.log(np.exp(log).sum(-1, keepdims=True))
        return float(-log[np.arange(len(test_y)), test_y].mean() / np.log(2))

    guess = float(-np.log2(share / share.sum())[test_y].mean())
    # half of the way is a letter told with two bits less than by its frequency alone
    return Data(
        x[train], y[train], test_x, test_y, nn.functional.cross_entropy, bits, guess, guess - 2.5, "bits a letter"
    )


def _lines() -> Data:
    """Whether 48 letters are a line of Python's documentation or of its own source."""
    prose = [line.strip() for name in sorted(topics) for line in topics[name].lower().splitlines()]
    code = [line.strip() for module in (argparse, ast, pydoc) for line in getsource(module).lower().splitlines()]
    kinds = [[line for line in lines if len(line) >= 16][:3000] for lines in (prose, code)]
    x = np.full((sum(map(len, kinds)), 48), ALPHABET.index(" "), np.int64)
    for row, line in enumerate(line for lines in kinds for line in lines):
        letters = [ALPHABET.index(letter) for letter in line if letter in ALPHABET][:48]
        x[row, : len(letters)] = letters
    return _classes(x, np.repeat([0, 1], [len(lines) for lines in kinds]).astype(np.int64))


def _scaled(values: npt.NDArray[np.float64]) -> Floats:
    return np.asarray((values - values.mean(0)) / (values.std(0) + 1e-9), np.float32)


@cache
def data_of(name: str) -> Data:
    """The data by name: inputs unscaled where the name says raw."""
    torch.manual_seed(0)
    digits = datasets.load_digits()
    images = np.asarray(digits.images[:, None] / 16.0, np.float32)
    noise = np.random.Generator(np.random.Philox(5)).normal(0.0, 0.3, images.shape).astype(np.float32)
    match name:
        case "digits":
            return _classes(images, digits.target.astype(np.int64))
        case "digits centred":
            return _classes((images - 0.3) / 0.38, digits.target.astype(np.int64))
        case "digits raw":
            return _classes(images * 16.0, digits.target.astype(np.int64))
        case "digits itself":
            return _values(images, images)
        case "digits denoised":
            return _values(images + noise, images)
        case "cancer":
            found = datasets.load_breast_cancer()
            return _classes(_scaled(found.data), found.target.astype(np.int64))
        case "cancer raw":
            found = datasets.load_breast_cancer()
            return _classes(found.data.astype(np.float32), found.target.astype(np.int64))
        case "wine":
            found = datasets.load_wine()
            return _classes(_scaled(found.data), found.target.astype(np.int64))
        case "diabetes":
            found = datasets.load_diabetes()
            return _values(_scaled(found.data), _scaled(found.target[:, None]))
        case "letters":
            return _letters()
        case "lines":
            return _lines()
    raise KeyError(name)
