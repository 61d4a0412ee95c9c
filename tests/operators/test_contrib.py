"""onnxruntime's contributed operators against onnxruntime; those without a CPU kernel against what they are made of."""

from functools import partial

import numpy as np
import pytest

from tests.operators.harness import Case, apply, check, fixed, floats, ints

Contrib = partial(Case, domain="com.microsoft", opset=1)
RANDOM = np.random.default_rng(11)
CODES = partial(ints, low=0, high=256, dtype="uint8")


def scale(value: float) -> object:
    """A quantisation's scale."""
    return fixed(value, "float32")


def zero(value: int) -> object:
    """A quantisation's zero point."""
    return fixed(value, "uint8")


FUSED = [
    Contrib("Gelu", [floats(3, 4)]),
    Contrib("FastGelu", [floats(3, 4), floats(4)], tolerance=1e-4),
    Contrib("BiasGelu", [floats(3, 4), floats(4)]),
    Contrib("QuickGelu", [floats(3, 4)], {"alpha": 1.5}),
    Contrib("FusedConv", [floats(1, 2, 5, 5), floats(3, 2, 3, 3), floats(3)], {"activation": "Relu"}),
    Contrib(
        "FusedConv", [floats(1, 2, 5, 5), floats(3, 2, 3, 3), floats(3), floats(1, 3, 3, 3)],
        {"activation": "LeakyRelu", "activation_params": [0.2]},
    ),
    Contrib("FusedConv", [floats(1, 2, 5, 5), floats(3, 2, 3, 3)], {"activation": "Clip", "activation_params": [-1.0, 2.0]}),
    Contrib("FusedGemm", [floats(3, 4), floats(4, 5), floats(5)], {"activation": "Tanh"}),
    Contrib("FusedMatMul", [floats(2, 3, 4), floats(2, 5, 4)], {"transB": 1, "alpha": 0.3}),
    Contrib("FusedMatMul", [floats(2, 4, 3), floats(2, 4, 5)], {"transA": 1}),
    Contrib("FusedMatMul", [floats(3, 2, 4), floats(2, 4, 5)], {"transBatchA": 1}),
    Contrib("FusedMatMul", [floats(5, 2, 3, 4), floats(2, 3, 5, 6)], {"transBatchA": 1, "transA": 1}),
    Contrib("TransposeMatMul", [floats(4, 3), floats(4, 5)], {"transA": 1}),
    Contrib("ExpandDims", [floats(2, 3), fixed(-1, "int32")]),
    Contrib("Pad", [floats(2, 3), fixed([0, 1, 1, 0]), fixed(0.5, "float32")]),
    Contrib("Trilu", [floats(4, 5)], {"upper": 0}),
    Contrib("GatherND", [floats(2, 3), fixed([[0, 1], [1, 2]])]),
    Contrib("Range", [fixed(0.0, "float32"), fixed(3.0, "float32"), fixed(0.5, "float32")]),
    Contrib("MatMulIntegerToFloat", [CODES(2, 3, 4), CODES(4, 5), scale(0.1), scale(0.02), zero(3), zero(120)]),
]  # fmt: skip
NORMS = [
    Case("SimplifiedLayerNormalization", [floats(2, 3, 8), floats(8)], opset=1),
    Contrib("SkipLayerNormalization", [floats(2, 3, 8), floats(2, 3, 8), floats(8), floats(8), floats(8)], tolerance=1e-4),
    Contrib("SkipLayerNormalization", [floats(2, 3, 8), floats(2, 3, 8), floats(8)], {"epsilon": 0.1}, tolerance=1e-4),
    Contrib("SkipSimplifiedLayerNormalization", [floats(2, 3, 8), floats(2, 3, 8), floats(8)], tolerance=1e-4),
    Contrib(
        "SkipSimplifiedLayerNormalization", [floats(2, 3, 8), floats(2, 3, 8), floats(8), floats(8)], tolerance=1e-4
    ),
    Contrib(
        "EmbedLayerNormalization",
        [ints(1, 4, low=0, high=9, dtype="int32"), ints(1, 4, low=0, high=2, dtype="int32"),
         fixed(RANDOM.standard_normal((9, 8)).astype(np.float32)), fixed(RANDOM.standard_normal((5, 8)).astype(np.float32)),
         fixed(RANDOM.standard_normal((2, 8)).astype(np.float32)), floats(8), floats(8),
         ints(1, 4, low=0, high=2, dtype="int32")],
        tolerance=1e-4, outputs=2,
    ),
]  # fmt: skip
QUANTISED = [
    Contrib("QLinearAdd", [CODES(2, 5), scale(0.0987), zero(100), CODES(2, 5), scale(0.0513), zero(7), scale(0.1177), zero(90)]),
    Contrib("QLinearMul", [CODES(2, 5), scale(0.0987), zero(100), CODES(5), scale(0.0513), zero(7), scale(0.4931), zero(90)]),
    Contrib("QLinearSigmoid", [CODES(2, 5), scale(0.0513), zero(128), scale(1 / 256), zero(0)]),
    Contrib("QLinearLeakyRelu", [CODES(2, 5), scale(0.0513), zero(128), scale(0.0391), zero(60)], {"alpha": 0.1}),
    Contrib(
        "QLinearAveragePool", [CODES(1, 2, 5, 5), scale(0.0513), zero(128), scale(0.0391), zero(100)],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    ),
    Contrib(
        "QLinearGlobalAveragePool", [CODES(1, 4, 4, 3), scale(0.0513), zero(128), scale(0.0391), zero(100)],
        {"channels_last": 1},
    ),
    Contrib(
        "QLinearConcat",
        [scale(0.0987), zero(9), CODES(2, 3), scale(0.0513), zero(3), CODES(2, 2), scale(0.0987), zero(120)], {"axis": 1},
    ),
    Contrib("QLinearSoftmax", [CODES(2, 5), scale(0.0513), zero(128), scale(1 / 256), zero(0)], {"axis": 1, "opset": 13}),
    Contrib(
        "DynamicQuantizeMatMul", [floats(2, 3, 4), ints(4, 5, low=-128, high=128, dtype="int8"), scale(0.02), fixed(3, "int8")],
        tolerance=1e-3,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", [*FUSED, *NORMS, *QUANTISED], ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs, draw by draw."""
    check(case)


def test_channels_last_is_channels_first_moved() -> None:
    """NhwcConv and NhwcFusedConv compute what FusedConv computes."""
    x = RANDOM.standard_normal((2, 1, 6, 5, 3)).astype(np.float32)
    w = RANDOM.standard_normal((1, 4, 3, 3, 3)).astype(np.float32)
    b = RANDOM.standard_normal((1, 4)).astype(np.float32)
    settings = {"pads": [1, 0, 1, 1], "strides": [2, 1]}
    for kind, more in (("NhwcConv", {}), ("NhwcFusedConv", {"activation": "Relu"})):
        (found,) = apply(Contrib(kind, [None] * 3, settings | more), [x, w, b])
        (wanted,) = apply(Contrib("FusedConv", [None] * 3, settings | more), [np.moveaxis(x, -1, 2), w, b])
        assert wanted is not None
        np.testing.assert_allclose(found, np.moveaxis(wanted, 2, -1), rtol=1e-6)
    (pooled,) = apply(Contrib("NhwcMaxPool", [None], {"kernel_shape": [2, 2]}), [x])
    np.testing.assert_array_equal(pooled[..., 0, 0, 0], x[:, :, :2, :2, 0].max(axis=(2, 3)))  # type: ignore[index]


def test_group_normalisation_is_onnx_s_with_silu() -> None:
    """GroupNorm and SkipGroupNorm against GroupNormalization of opset 21, which onnxruntime has been checked on."""
    x = RANDOM.standard_normal((2, 1, 3, 3, 8)).astype(np.float32)
    gamma, beta = RANDOM.standard_normal((2, 1, 8)).astype(np.float32)
    case = Case("GroupNormalization", [None] * 3, {"num_groups": 4}, opset=21)
    (plain,) = apply(case, [np.moveaxis(x, -1, 2), gamma, beta])
    assert plain is not None
    wanted = np.moveaxis(plain / (1 + np.exp(-plain)), 2, -1)
    (found,) = apply(Contrib("GroupNorm", [None] * 3, {"groups": 4, "activation": 1}), [x, gamma, beta])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    half, zeros = x / 2, np.zeros((1, 8), np.float32)
    both = apply(
        Contrib("SkipGroupNorm", [None] * 5, {"groups": 4, "activation": 1}, outputs=2),
        [half, gamma, beta, half, zeros],
    )
    np.testing.assert_allclose(both[0], wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(both[1], x, rtol=1e-6)


def test_fused_activations_follow_their_parts() -> None:
    """Operators that onnxruntime has on other devices only."""
    x, bias, skip = (RANDOM.standard_normal((2, 3, 4)).astype(np.float32) for _ in range(3))
    (softmax,) = apply(Contrib("BiasSoftmax", [None] * 2, {"axis": 1}), [x, bias])
    powers = np.exp(x + bias)
    np.testing.assert_allclose(softmax, powers / powers.sum(-1, keepdims=True), rtol=1e-5)
    y, kept = apply(Contrib("BiasDropout", [None] * 3, outputs=2), [x, bias, skip])
    np.testing.assert_allclose(y, x + bias + skip, rtol=1e-6)
    assert kept is not None
    assert kept.all()
    spectrum = apply(Contrib("Rfft", [None], {"signal_ndim": 1, "onesided": 1, "normalized": 0}), [x])[0]
    (again,) = apply(Contrib("Irfft", [None], {"signal_ndim": 1, "onesided": 1, "normalized": 0}), [spectrum])
    np.testing.assert_allclose(again, x, rtol=1e-4, atol=1e-6)
    first, second = RANDOM.standard_normal((2, 1, 3, 2)).astype(np.float32)
    (product,) = apply(Contrib("ComplexMul", [None] * 2), [first, second])
    wanted = (first[..., 0] + 1j * first[..., 1]) * (second[..., 0] + 1j * second[..., 1])
    np.testing.assert_allclose(product, np.stack([wanted.real, wanted.imag], -1), rtol=1e-5)
