"""Attention and rotary embedding against onnxruntime; ONNX's own cases are in test_backend."""

from functools import partial

import numpy as np
import pytest

from tests.operators.harness import Case, apply, check, fixed, floats, ints

ANGLES = np.random.default_rng(5).uniform(-3, 3, (8, 2)).astype(np.float32)
COS, SIN = fixed(np.cos(ANGLES)), fixed(np.sin(ANGLES))
Contrib = partial(Case, domain="com.microsoft", opset=1, tolerance=1e-4)
PAST = floats(2, 1, 2, 3, 4)

ROTARY = [
    Contrib("RotaryEmbedding", [floats(2, 3, 8), fixed([2]), COS, SIN]),
    Contrib("RotaryEmbedding", [floats(2, 3, 8), fixed([[2, 3, 4], [0, 1, 5]]), COS, SIN], {"interleaved": 1}),
    Contrib("RotaryEmbedding", [floats(1, 2, 3, 4), fixed([[0, 1, 2]]), COS, SIN]),
    Contrib("RotaryEmbedding", [floats(1, 3, 16), fixed([0]), COS, SIN], {"num_heads": 2, "rotary_embedding_dim": 4}),
    Case("RotaryEmbedding", [floats(2, 3, 8), COS, SIN, fixed([[2, 3, 4], [0, 1, 5]])], {"num_heads": 2}, opset=23),
    Case(
        "RotaryEmbedding", [floats(1, 2, 3, 8), fixed(np.cos(ANGLES[None, :3])), fixed(np.sin(ANGLES[None, :3]))],
        {"rotary_embedding_dim": 4, "interleaved": 1}, opset=23,
    ),
]  # fmt: skip
SELF = [
    Contrib("Attention", [floats(2, 3, 6), floats(6, 24), floats(24)], {"num_heads": 2}),
    Contrib("Attention", [floats(2, 3, 6), floats(6, 24), floats(24)], {"num_heads": 2, "unidirectional": 1}),
    Contrib("Attention", [floats(2, 3, 6), floats(6, 24), floats(24), fixed([3, 2], "int32")], {"num_heads": 2}),
    Contrib(
        "Attention", [floats(2, 3, 6), floats(6, 24), floats(24), fixed([3, 2, 1, 0], "int32")], {"num_heads": 2}
    ),
    Contrib(
        "Attention", [floats(2, 3, 6), floats(6, 24), floats(24), ints(2, 3, low=0, high=2, dtype="int32")],
        {"num_heads": 2, "scale": 0.3},
    ),
    Contrib(
        "Attention", [floats(1, 3, 6), floats(6, 24), floats(24), None, PAST], {"num_heads": 2, "unidirectional": 1},
        outputs=2,
    ),
    Contrib(
        "Attention", [floats(1, 3, 6), floats(6, 22), floats(22), None, None, floats(1, 2, 3, 3)],
        {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 6]},
    ),
]  # fmt: skip
MULTI = [
    Contrib("MultiHeadAttention", [floats(2, 3, 8), floats(2, 5, 8), floats(2, 5, 8)], {"num_heads": 2}),
    Contrib("MultiHeadAttention", [floats(2, 3, 8), floats(2, 5, 8), floats(2, 5, 6), floats(22)], {"num_heads": 2}),
    Contrib("MultiHeadAttention", [floats(2, 3, 8), floats(2, 2, 5, 4), floats(2, 2, 5, 4)], {"num_heads": 2}),
    Contrib(
        "MultiHeadAttention",
        [floats(2, 3, 8), floats(2, 3, 8), floats(2, 3, 8), None, fixed([[1, 1, 0], [1, 0, 1]], "int32")],
        {"num_heads": 2, "unidirectional": 1},
    ),
    Contrib(
        "MultiHeadAttention",
        [floats(1, 3, 8), floats(1, 3, 8), floats(1, 3, 8), None, None, floats(1, 2, 3, 5), floats(1, 2, 2, 4),
         floats(1, 2, 2, 4)],
        {"num_heads": 2}, outputs=3,
    ),
]  # fmt: skip
HEADS = {"num_heads": 4, "kv_num_heads": 2}
GROUPED = [
    Contrib(
        "GroupQueryAttention",
        [floats(1, 3, 32), floats(1, 3, 16), floats(1, 3, 16), None, None, fixed([2], "int32"), fixed(3, "int32")],
        HEADS,
    ),
    Contrib(
        "GroupQueryAttention",
        [floats(1, 3, 64), None, None, None, None, fixed([2], "int32"), fixed(3, "int32"), None, None],
        {**HEADS, "softcap": 1.5, "local_window_size": 2},
    ),
    Contrib(
        "GroupQueryAttention",
        [floats(1, 2, 32), floats(1, 2, 16), floats(1, 2, 16), floats(1, 2, 3, 8), floats(1, 2, 3, 8),
         fixed([4], "int32"), fixed(5, "int32")],
        HEADS, outputs=3,
    ),
    Contrib(
        "GroupQueryAttention",
        [floats(1, 3, 64), floats(1, 3, 32), floats(1, 3, 32), None, None, fixed([2], "int32"), fixed(3, "int32"),
         fixed(np.cos(np.arange(64).reshape(8, 8)).astype(np.float32)),
         fixed(np.sin(np.arange(64).reshape(8, 8)).astype(np.float32))],
        {**HEADS, "do_rotary": 1},
    ),
]  # fmt: skip
QUANTISED = [
    Contrib(
        "QAttention",
        [ints(1, 3, 6, low=0, high=256, dtype="uint8"), ints(6, 24, low=-128, high=128, dtype="int8"), floats(24),
         fixed(0.02, "float32"), fixed(0.01, "float32"), None, fixed(120, "uint8"), fixed(3, "int8")],
        {"num_heads": 2}, tolerance=1e-3,
    ),
]  # fmt: skip
ONNX = [
    Case("Attention", [floats(2, 4, 3, 8), floats(2, 2, 5, 8), floats(2, 2, 5, 6)], opset=23, tolerance=1e-4),
    Case(
        "Attention", [floats(2, 3, 8), floats(2, 3, 8), floats(2, 3, 8)],
        {"q_num_heads": 2, "kv_num_heads": 2, "is_causal": 1, "softcap": 2.0}, opset=23, tolerance=1e-4,
    ),
    Case(
        "Attention", [floats(1, 2, 3, 4), floats(1, 2, 3, 4), floats(1, 2, 3, 4), floats(3, 5), floats(1, 2, 2, 4),
                      floats(1, 2, 2, 4)], opset=23, tolerance=1e-4, outputs=3,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", [*ROTARY, *SELF, *MULTI, *GROUPED, *QUANTISED, *ONNX], ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs, draw by draw."""
    check(case)


def test_packed_projections_are_the_same_taken_apart() -> None:
    """onnxruntime has packed queries, keys and values on other devices only."""
    packed = np.random.default_rng(2).standard_normal((1, 2, 3, 2, 3, 4)).astype(np.float32)
    apart = [packed[:, :, :, :, index].reshape(1, 2, 3, 8) for index in range(3)]
    pair = packed[:, :, :, :, 1:]
    wanted = apply(Contrib("MultiHeadAttention", [None] * 3, {"num_heads": 2}), apart)[0]
    assert wanted is not None
    for inputs in ([packed], [apart[0], pair]):
        found = apply(Contrib("MultiHeadAttention", [None] * len(inputs), {"num_heads": 2}), inputs)[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
