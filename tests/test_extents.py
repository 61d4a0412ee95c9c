"""Free dimensions of inputs: what the weights that read them decide is not guessed. onnxruntime says what runs."""

import numpy as np
import onnxruntime
import pytest

from initlint.inputs import describe
from initlint.model import open_model
from initlint.signal.propagate import ELEMENTS, propagate
from tests.graphs import model_of

RANDOM = np.random.Generator(np.random.Philox(5))


def noise(*shape: int) -> np.ndarray:
    """float32 noise."""
    return RANDOM.standard_normal(shape, dtype=np.float32)


MODELS = {
    "convolution": model_of("g (float[n, c, h, w] x) => (float[a, b, d, e] y) { y = Conv(x, k) }", {"k": noise(4, 3, 5, 3)}),
    "groups": model_of("g (float[n, c, h, w] x) => (float[a, b, d, e] y) { y = Conv<group=5>(x, k) }", {"k": noise(5, 2, 1, 1)}),
    "transposed convolution": model_of(
        "g (float[n, c, h] x) => (float[a, b, d] y) { y = ConvTranspose(x, k) }", {"k": noise(7, 2, 3)}
    ),
    "channels last": model_of(
        "g (float[n, h, w, c] x) => (float[a, b, d, e] y) { t = Transpose<perm=[0, 3, 1, 2]>(x) y = Conv(t, k) }",
        {"k": noise(4, 6, 3, 3)},
    ),
    "product": model_of("g (float[n, t, c] x) => (float[a, b, d] y) { r = Relu(x) y = MatMul(r, w) }", {"w": noise(17, 3)}),
    "Gemm, transposed": model_of("g (float[n, c] x) => (float[a, b] y) { y = Gemm<transB=1>(x, w) }", {"w": noise(3, 19)}),
    "recurrent": model_of(
        "g (float[t, n, c] x) => (float[a, b, d, e] y) { y = LSTM<hidden_size=2>(x, w, r) }",
        {"w": noise(1, 8, 5), "r": noise(1, 8, 2)},
    ),
    "its own mean": model_of(
        "g (float[n, c, h, w] x) => (float[a, b, d, e] y) { y = Sub(x, m) }", {"m": noise(1, 11, 1, 1)}
    ),
    "stored indices": model_of(
        "g (float[n, c] x) => (float[a, b] y) { y = Gather<axis=1>(x, i) }", {"i": np.array([3, 811, 2])}
    ),
    "stored transposed": model_of(
        "g (float[n, c] x) => (float[a, b] y) { v = Transpose<perm=[1, 0]>(w) y = MatMul(x, v) }", {"w": noise(3, 23)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_free_dimension_is_what_the_weights_ask_for(name: str) -> None:
    """At the first trial onnxruntime runs the model on inputs of the shapes described."""
    model = MODELS[name]
    with open_model(model) as opened:
        (item,) = describe(opened)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    session.run(None, {"x": np.zeros(item.shape, np.float32)})


def test_a_size_that_is_set_outranks_the_weights() -> None:
    """Who says how large an input is gets the contradiction shown, not another size."""
    with open_model(MODELS["product"]) as opened:
        (item,) = describe(opened, sizes={"c": 9})
    assert item.shape[2] == 9


def test_readers_that_disagree_decide_nothing() -> None:
    """Two weights that ask for different extents: the dimension is guessed as before."""
    model = model_of(
        "g (float[n, c] x) => (float[a, b] y, float[d, e] z) { y = MatMul(x, v) z = MatMul(x, w) }",
        {"v": noise(5, 2), "w": noise(6, 2)},
    )
    with open_model(model) as opened:
        (item,) = describe(opened)
    assert item.shape[1] not in {5, 6}


def test_an_input_counts_among_the_largest_tensors() -> None:
    """A large image whose first node throws most of it away is not drawn 256 times."""
    model = model_of("g (float[1, 64, 224, 224] x) => (float[1, 64, 1, 1] y) { y = GlobalAveragePool(x) }")
    with open_model(model) as opened:
        assert propagate(opened).draws * 64 * 224 * 224 <= 4 * ELEMENTS
