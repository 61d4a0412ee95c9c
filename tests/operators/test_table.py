"""The table checks what every operator needs before it is called."""

import numpy as np
import pytest

from initlint.errors import Refusal
from initlint.operators import load
from initlint.operators.table import NotComputed, Run
from tests.operators.harness import Case, apply, fixed, floats

X = floats(2, 3)


@pytest.mark.parametrize(
    "case",
    [
        Case("Relu", []),
        Case("Relu", [None]),
        Case("Relu", [X, X]),
        Case("Add", [X]),
        Case("Add", [None, X]),
        Case("Max", [X, None, X]),
        Case("Sum", [X, None]),
        Case("Max", []),
        Case("Conv", [X, None]),
        Case("Clip", [None, fixed(0.0, "float32")]),
        Case("Concat", [], {"axis": 0}),
    ],
    ids=str,
)
def test_missing_and_surplus_inputs_are_refused(case: Case) -> None:
    """A node without an input its operator needs, or with one too many, contradicts itself."""
    rng = np.random.default_rng(0)
    with pytest.raises(Refusal):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])


def test_trailing_omitted_inputs_are_allowed() -> None:
    """Empty names behind the last input mean nothing."""
    rng = np.random.default_rng(0)
    x = X.make(rng)[np.newaxis]
    (got,) = apply(Case("Relu", [X, None]), [x, None])
    np.testing.assert_array_equal(got, np.maximum(x, 0))


def test_unknown_operator_is_not_computed() -> None:
    """An operator the table lacks is said to be unknown."""
    with pytest.raises(NotComputed, match="unknown"):
        apply(Case("Mystery", [X], domain="my.domain"), [np.zeros((1, 2, 3), np.float32)])


def test_every_default_domain_operator_of_inference_is_known() -> None:
    """What ONNX defines for tensors at inference is in the table, but for what other families hold."""
    table = load()
    for kind in ("Add", "Conv", "Resize", "ScatterND", "LayerNormalization", "TopK", "Einsum", "Upsample", "RoiAlign"):
        assert kind in table


def test_operators_do_not_write_into_their_inputs() -> None:
    """A value may be read again by another node: every operator leaves its inputs as they were."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 1, 4, 6, 6)).astype(np.float32)
    scale = np.ones((1, 4), np.float32)
    weight = rng.standard_normal((1, 4, 4, 3, 3)).astype(np.float32)
    cases = [
        (Case("Conv", [X, X, X]), [x, weight, scale]),
        (Case("ConvTranspose", [X, X, X]), [x, weight, scale]),
        (Case("BatchNormalization", [X] * 5), [x, scale, scale, scale, scale]),
        (Case("InstanceNormalization", [X] * 3), [x, scale, scale]),
        (Case("LpNormalization", [X]), [x]),
        (Case("Softmax", [X]), [x]),
        (Case("Gelu", [X], opset=20), [x]),
        (Case("Mish", [X]), [x]),
        (Case("Sum", [X, X]), [x, x]),
        (Case("Sum", [X]), [x]),
        (Case("MaxPool", [X], {"kernel_shape": [1, 1]}), [x]),
        (Case("AveragePool", [X], {"kernel_shape": [1, 1]}), [x]),
        (Case("CumSum", [X, X], {"exclusive": 1}), [x, np.array([2])]),
        (Case("ReduceLogSumExp", [X], opset=13), [x]),
        (Case("Clip", [X], {"min": 0.0}, opset=7), [x]),
    ]
    for case, arrays in cases:
        for array in arrays:
            array.flags.writeable = False
        (got, *_) = apply(case, arrays, Run(2, np.float32))
        assert got is not None, case.op
