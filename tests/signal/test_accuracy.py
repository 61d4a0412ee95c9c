"""The line that the prediction holds against onnxruntime, on a few networks built here (and the corpus, where it is)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from tests.benchmarks.accuracy import Row, compare

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
# (median, p90) in bits: the figures aimed at for networks at and around their initialisation, and for trained ones.
FRESH = {"std": (0.02, 0.15), "signal_std": (0.03, 0.25), "absmax": (0.20, 0.8)}
TRAINED = {"std": (0.08, 0.40), "signal_std": (0.25, 1.0), "absmax": (0.20, 0.8)}
SUBSET = (
    "gh__mini-cnn-runtime__mnist",
    "pypi__text2tashkeel__rawi.int8",
    "pypi__agent-action-guard__action_classifier_model",
)


class Weights:
    """Initializers made while a graph is written down."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.Generator(np.random.Philox(seed))
        self.made: dict[str, np.ndarray] = {}

    def normal(self, *shape: int, std: float) -> str:
        """The name of a fresh normal weight."""
        name = f"w{len(self.made)}"
        self.made[name] = (self.random.standard_normal(shape) * std).astype(np.float32)
        return name

    def model(self, text: str) -> onnx.ModelProto:
        """The graph with its initializers."""
        graph = parser.parse_graph(text)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in self.made.items())
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def dense(activation: str, gain: float, *, bias: float = 0.0, depth: int = 16) -> onnx.ModelProto:
    """A stack of Gemm and activation."""
    weights, body, last = Weights(depth), [], "x"
    for layer in range(depth):
        w, b = weights.normal(96, 96, std=(gain / 96) ** 0.5), weights.normal(96, std=bias)
        body += [f"h{layer} = Gemm({last}, {w}, {b})", f"a{layer} = {activation}(h{layer})"]
        last = f"a{layer}"
    return weights.model(f"g (float[n, 96] x) => (float[n, 96] {last}) {{ {' '.join(body)} }}")


def convolutional(gain: float) -> onnx.ModelProto:
    """Strided and padded convolutions, a pooling, residual joins, a mean over positions."""
    weights = Weights(7)
    body = [f"h = Conv<pads=[1, 1, 1, 1], strides=[2, 2]>(x, {weights.normal(16, 3, 3, 3, std=(gain / 27) ** 0.5)})"]
    body += ["r = Relu(h)", "p0 = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(r)"]
    for block in range(3):
        first, second = (weights.normal(16, 16, 3, 3, std=(gain / 144) ** 0.5) for _ in range(2))
        body += [
            f"c{block} = Conv<pads=[1, 1, 1, 1]>(p{block}, {first})",
            f"d{block} = Relu(c{block})",
            f"e{block} = Conv<pads=[1, 1, 1, 1]>(d{block}, {second})",
            f"s{block} = Add(p{block}, e{block})",
            f"p{block + 1} = Relu(s{block})",
        ]
    body += ["q = GlobalAveragePool(p3)", "f = Flatten(q)", f"y = Gemm(f, {weights.normal(16, 32, std=0.3)})"]
    return weights.model(f"g (float[n, 3, 32, 32] x) => (float[n, 32] y) {{ {' '.join(body)} }}")


def attention(gain: float) -> onnx.ModelProto:
    """Two blocks of self-attention and a GELU network on token embeddings."""
    weights = Weights(9)
    weights.made["shape"] = np.array([0, 0, 4, 16])
    weights.made["flat"] = np.array([0, 0, 64])
    weights.made["eighth"] = np.float32(0.25)
    one, zero = np.ones(64, np.float32), np.zeros(64, np.float32)
    weights.made |= {"one": one, "zero": zero}
    body, last = [f"t0 = Gather({weights.normal(200, 64, std=1.0)}, ids)"], "t0"
    for block in range(2):
        q, k, v, o = (weights.normal(64, 64, std=(gain / 64) ** 0.5) for _ in range(4))
        up, down = weights.normal(64, 128, std=(gain / 64) ** 0.5), weights.normal(128, 64, std=(gain / 128) ** 0.5)
        n = f"_{block}"
        body.append(f"n{n} = LayerNormalization({last}, one, zero)")
        for name, weight, order in (("q", q, "0, 2, 1, 3"), ("k", k, "0, 2, 3, 1"), ("v", v, "0, 2, 1, 3")):
            body += [f"{name}m{n} = MatMul(n{n}, {weight})", f"{name}r{n} = Reshape({name}m{n}, shape)"]
            body.append(f"{name}{n} = Transpose<perm=[{order}]>({name}r{n})")
        body += [
            f"z{n} = MatMul(q{n}, k{n})", f"zs{n} = Mul(z{n}, eighth)", f"pr{n} = Softmax(zs{n})", f"m{n} = MatMul(pr{n}, v{n})",
            f"mt{n} = Transpose<perm=[0, 2, 1, 3]>(m{n})", f"mf{n} = Reshape(mt{n}, flat)", f"o{n} = MatMul(mf{n}, {o})",
            f"s{n} = Add({last}, o{n})", f"l{n} = LayerNormalization(s{n}, one, zero)", f"u{n} = MatMul(l{n}, {up})",
            f"sg{n} = Sigmoid(u{n})", f"si{n} = Mul(u{n}, sg{n})", f"dn{n} = MatMul(si{n}, {down})", f"t{n} = Add(s{n}, dn{n})",
        ]  # fmt: skip
        last = f"t{n}"
    return weights.model(f"g (int64[n, t] ids) => (float[n, t, 64] {last}) {{ {' '.join(body)} }}")


def recurrent() -> onnx.ModelProto:
    """Two LSTM layers."""
    weights = Weights(11)
    body, last = [], "x"
    for layer, size in enumerate((24, 32)):
        w, r = weights.normal(1, 128, size, std=0.1), weights.normal(1, 128, 32, std=0.1)
        body += [f"h{layer} = LSTM<hidden_size=32>({last}, {w}, {r})", f"s{layer} = Squeeze(h{layer}, one)"]
        last = f"s{layer}"
    weights.made["one"] = np.array([1])
    return weights.model(f"g (float[20, 2, 24] x) => (float[20, 2, 32] {last}) {{ {' '.join(body)} }}")


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "relu, he": lambda: dense("Relu", 2.0),
    "relu, he x3": lambda: dense("Relu", 18.0),
    "relu, torch's default": lambda: dense("Relu", 1 / 3, bias=0.06),
    "tanh, glorot": lambda: dense("Tanh", 1.0),
    "tanh, glorot x4": lambda: dense("Tanh", 16.0),
    "convolutional": lambda: convolutional(2.0),
    "convolutional x6": lambda: convolutional(72.0),
    "attention": lambda: attention(0.4),
    "attention x4": lambda: attention(6.4),
    "recurrent": recurrent,
}


def held(rows: list[Row], line: dict[str, tuple[float, float]]) -> None:
    """Median and p90 of every figure are on the right side of the line."""
    assert len(rows) > 2
    for name, (median, p90) in line.items():
        errors = np.array([getattr(row, name) for row in rows])
        assert np.median(errors) <= median, name
        assert np.quantile(errors, 0.9) <= p90, name
        assert np.mean(errors <= 1) >= 0.99, name


def test_networks_at_and_around_their_initialisation_hold_the_line(tmp_path: Path) -> None:
    """All their tensors together, as the published figures are taken."""
    rows: list[Row] = []
    for name, make in NETWORKS.items():
        path = tmp_path / "m.onnx"
        onnx.save(make(), path)
        found = compare(path)
        assert found.known == found.total, name
        rows += found.rows
    held(rows, FRESH)
    scores = np.array([row.z for row in rows if row.z is not None])
    assert np.mean(scores < 2) > 0.9  # stated errors are honest


@pytest.mark.skipif(not CORPUS.exists(), reason="the development corpus is not here")
@pytest.mark.parametrize("name", SUBSET)
def test_trained_networks_hold_the_line(name: str) -> None:
    """Three of the corpus."""
    found = compare(CORPUS / "trained" / f"{name}.onnx")
    assert found.known == found.total
    held(found.rows, TRAINED)
