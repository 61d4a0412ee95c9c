"""Elementwise operators and activations equal onnxruntime's, draw by draw."""

import numpy as np
import pytest
from scipy import special as scipy_special

from initlint.operators.special import BLOCK, blockwise, erf, gelu, sigmoid, softplus
from tests.operators.harness import Case, booleans, check, fixed, floats, ints, positive

X = floats(2, 3, 4)
NEWEST = 22
UNARY = [
    *(
        Case(op, [X])
        for op in ("Abs", "Ceil", "Exp", "Floor", "Neg", "Round", "Sign", "Erf", "Tanh", "Sigmoid", "Relu")
    ),
    *(
        Case(op, [X], opset=NEWEST)
        for op in (
            "Atan",
            "Asinh",
            "Cos",
            "Cosh",
            "Sin",
            "Sinh",
            "Tan",
            "Softplus",
            "Softsign",
            "HardSwish",
            "Mish",
            "Elu",
            "Selu",
            "Celu",
            "ThresholdedRelu",
            "HardSigmoid",
        )
    ),
    *(Case(op, [positive(2, 3)]) for op in ("Log", "Sqrt", "Reciprocal")),
    *(Case(op, [positive(2, 3, low=-0.9, high=0.9)]) for op in ("Acos", "Asin", "Atanh")),
    Case("Acosh", [positive(2, 3, low=1.1)]),
    Case("Sigmoid", [floats(50, scale=40.0)]),
    Case("Softplus", [floats(50, scale=40.0)]),
    Case("Mish", [floats(50, scale=30.0)]),
    Case("Gelu", [floats(3, 50, scale=3.0)], opset=20),
    Case("Gelu", [floats(3, 50, scale=3.0)], {"approximate": "tanh"}, opset=20),
    Case("LeakyRelu", [X]),
    Case("LeakyRelu", [X], {"alpha": 0.3}),
    Case("LeakyRelu", [X], {"alpha": 1.7}),
    Case("LeakyRelu", [X], {"alpha": -0.7}),
    Case("Elu", [X], {"alpha": 0.3}),
    Case("Celu", [X], {"alpha": 2.5}),
    Case("Selu", [X], {"alpha": 0.3, "gamma": 2.0}),
    Case("ThresholdedRelu", [X], {"alpha": 0.25}),
    Case("HardSigmoid", [X], {"alpha": 0.5, "beta": 0.1}),
    Case("Shrink", [X], {"lambd": 0.3, "bias": 0.1}),
    Case("Shrink", [ints(5)], {"lambd": 2.5, "bias": 1.0}),
    Case("Abs", [ints(5)]),
    Case("Neg", [ints(5, dtype="int32")]),
    Case("Sign", [ints(5)]),
    Case("Relu", [ints(5, dtype="int32")]),
    Case("Not", [booleans(5)]),
    Case("BitwiseNot", [ints(5, dtype="int32")]),
    Case("IsNaN", [fixed(np.array([1, np.nan, np.inf], np.float32))]),
    *(
        Case("IsInf", [fixed(np.array([1, np.nan, np.inf, -np.inf], np.float32))], attributes)
        for attributes in ({}, {"detect_positive": 0}, {"detect_negative": 0})
    ),
    Case("Swish", [X], {"alpha": 1.5}, opset=24, oracle="reference"),
]
BINARY = [
    *(
        Case(op, [X, floats(3, 1)])
        for op in ("Add", "Sub", "Mul", "Div", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal")
    ),
    *(Case(op, [floats(4), X], opset=7) for op in ("Add", "Sub", "Mul", "Div")),
    *(Case(op, [ints(3, 4), ints(4)]) for op in ("Add", "Sub", "Mul", "Less", "Equal")),
    *(Case(op, [booleans(3, 4), booleans(4)]) for op in ("And", "Or", "Xor", "Equal")),
    *(
        Case(op, [ints(3, 4, dtype="int32"), ints(4, dtype="int32")])
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    ),
    Case("Add", [floats(), floats()]),
    Case("Add", [floats(), X]),
    Case("Div", [ints(7, 9), ints(9, low=1)]),
    Case("Div", [ints(7, 9), ints(9, low=-5, high=0)]),
    Case("Div", [ints(7, 9, low=0, dtype="uint8"), ints(9, low=1, dtype="uint8")]),
    Case("Mod", [ints(7, 9), ints(9, low=1)]),
    Case("Mod", [ints(7, 9), ints(9, low=-5, high=0)]),
    Case("Mod", [ints(7, 9), ints(9, low=-5, high=0)], {"fmod": 1}),
    Case("Mod", [X, positive(4)], {"fmod": 1}),
    *(Case("Pow", [positive(2, 3), fixed(exponent, "float32")]) for exponent in (0.5, 1.0, 2.0, 3.0, -1.0, 1.7, 4.0)),
    *(Case("Pow", [X, fixed(np.full((1, 1, 1, 1), exponent, np.float32))]) for exponent in (2.0, 3.0)),
    Case("Pow", [X, fixed([2, 3, 0, 1])]),
    Case("Pow", [positive(3, 1), X]),
    Case("Pow", [ints(4), ints(4, low=0, high=5)]),
    Case("Pow", [ints(4, low=1), fixed([0.5, 2.0, 1.0, 0.0], "float32")]),
    Case("PRelu", [X, floats(3, 1)]),
    Case("PRelu", [X, floats(1)]),
    Case("PRelu", [X, X], opset=9),
    *(
        Case(
            "BitShift", [ints(9, low=0, dtype="uint8"), ints(9, low=0, high=8, dtype="uint8")], {"direction": direction}
        )
        for direction in ("LEFT", "RIGHT")
    ),
]
OTHERS = [
    *(Case(op, [X, floats(3, 1), floats(4)]) for op in ("Max", "Min", "Sum", "Mean")),
    *(Case(op, [X], opset=8) for op in ("Max", "Min", "Sum", "Mean")),
    Case("Max", [ints(3), ints(2, 3)]),
    Case("Where", [booleans(3, 1), X, floats(4)]),
    Case("Where", [booleans(4), ints(4), ints()]),
    Case("Clip", [X], {"min": -0.5, "max": 0.25}, opset=7),
    Case("Clip", [X], {"max": 0.25}, opset=10),
    Case("Clip", [X, fixed(-0.5, "float32"), fixed(0.25, "float32")], opset=11),
    Case("Clip", [X, None, floats()]),
    Case("Clip", [X, floats()]),
    Case("Clip", [X, fixed(1.0, "float32"), fixed(-1.0, "float32")]),
    Case("Clip", [ints(9), fixed(-2), fixed(3)]),
    Case("Clip", [X]),
    Case("Cast", [X], {"to": 7}),
    Case("Cast", [floats(9, scale=9.0)], {"to": 6}),
    Case("Cast", [X], {"to": 9}),
    Case("Cast", [ints(5)], {"to": 1}),
    Case("Cast", [booleans(5)], {"to": 1}),
    Case("Cast", [ints(5)], {"to": 9}),
    Case("Cast", [ints(5)], {"to": 2}),
    Case("CastLike", [X, fixed([1])]),
    Case("CastLike", [ints(3), fixed([1.0], "float32")]),
]


@pytest.mark.parametrize("case", [*UNARY, *BINARY, *OTHERS], ids=str)
def test_operator_equals_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs gives what onnxruntime gives for each draw."""
    check(case)


SCIPY = {
    "erf": (erf, scipy_special.erf),
    "gelu": (lambda x: blockwise(gelu, x), lambda x: x * scipy_special.ndtr(x)),
    "sigmoid": (sigmoid, scipy_special.expit),
    "softplus": (softplus, lambda x: np.logaddexp(0, x)),
}


@pytest.mark.parametrize("name", SCIPY)
@pytest.mark.parametrize(("float_type", "tolerance"), [(np.float64, 2e-15), (np.float32, 8e-7)])
def test_special_functions_reach_the_last_bits(name: str, float_type: type, tolerance: float) -> None:
    """Close to scipy's in units of the value, tails, infinities and NaN included."""
    ours, theirs = SCIPY[name]
    x = np.concatenate([np.linspace(-4, 9, 3 * BLOCK // 2), [0.0, 1e-30, -1e-30, 30, 80]]).astype(float_type)
    with np.errstate(all="ignore"):
        got, want = ours(x), theirs(x.astype(np.float64))
    assert got.dtype == float_type
    # gelu's own definition cancels below zero, in onnxruntime too: there the error counts against x.
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=4 * tolerance if name == "gelu" else 1e-300)
    with np.errstate(all="ignore"):
        ends = ours(np.array([np.inf, -np.inf, np.nan], float_type))
    assert np.isnan(ends[2])
    assert ends[0] == theirs(np.inf)
