"""Poolings equal onnxruntime's, draw by draw."""

import numpy as np
import pytest

from initlint.errors import Refusal
from tests.operators.harness import Case, apply, check, fixed, floats, ints

X, K = floats(2, 3, 9, 8), {"kernel_shape": [3, 2]}
SETTINGS: list[dict[str, object]] = [
    {},
    {"strides": [2, 2]},
    {"strides": [2, 3], "pads": [1, 0, 1, 1]},
    {"strides": [2, 3], "pads": [1, 0, 1, 1], "ceil_mode": 1},
    {"strides": [4, 3], "ceil_mode": 1},
    {"strides": [2, 2], "pads": [2, 1, 2, 1], "ceil_mode": 1},
    {"dilations": [2, 3]},
    {"dilations": [2, 3], "pads": [2, 1, 0, 1], "strides": [2, 1]},
    *({"auto_pad": mode, "strides": [2, 3]} for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")),
]
CASES = [
    *(Case("MaxPool", [X], {**K, **setting}, opset=12) for setting in SETTINGS),
    *(Case("MaxPool", [X], {**K, **setting}, opset=12, outputs=2) for setting in SETTINGS),
    Case("MaxPool", [X], {**K, "storage_order": 1, "strides": [2, 1]}, opset=12, outputs=2),
    *(
        Case("AveragePool", [X], {**K, **setting, "count_include_pad": include}, opset=19)
        for setting in SETTINGS
        for include in (0, 1)
    ),
    *(Case("LpPool", [X], {**K, **setting, "p": p}, opset=18) for setting in SETTINGS for p in (1, 2, 3)),
    *(Case(op, [X], K, opset=7) for op in ("MaxPool", "AveragePool", "LpPool")),
    Case("MaxPool", [floats(2, 3, 20)], {"kernel_shape": [5], "strides": [2], "pads": [2, 2]}),
    Case("AveragePool", [floats(2, 3, 5, 6, 7)], {"kernel_shape": [2, 3, 3], "pads": [0, 1, 1, 1, 1, 1]}),
    Case("MaxPool", [ints(1, 2, 6, 6, dtype="int8")], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    *(Case(op, [floats(2, 3, 4, 5)]) for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")),
    Case("GlobalLpPool", [floats(2, 3, 4)], {"p": 3}),
    Case("GlobalAveragePool", [floats(2, 3, 4)], opset=7),
    Case("MaxUnpool", [floats(1, 1, 2, 2), fixed([[[[5, 7], [13, 15]]]])], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case(
        "MaxUnpool",
        [floats(1, 1, 2, 2), fixed([[[[5, 7], [13, 15]]]]), fixed([1, 1, 5, 5])],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    Case("Col2Im", [floats(2, 3 * 4, 20), fixed([5, 6]), fixed([2, 2])]),
    Case(
        "Col2Im",
        [floats(2, 3 * 6, 12), fixed([5, 6]), fixed([2, 3])],
        {"strides": [1, 2], "dilations": [2, 1], "pads": [0, 1, 1, 1]},
    ),
    Case("Col2Im", [floats(1, 2 * 3, 4), fixed([8]), fixed([3])], {"strides": [2], "pads": [1, 0]}, oracle="reference"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator_equals_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs gives what onnxruntime gives for each draw."""
    check(case)


@pytest.mark.parametrize(
    "case",
    [
        Case("MaxPool", [X], attributes)
        for attributes in (
            {},
            {"kernel_shape": [0, 0]},
            {"kernel_shape": [2, 2], "strides": [0, 0]},
            {"kernel_shape": [1 << 40, 2]},
            {"kernel_shape": [2]},
            {"kernel_shape": [2, 20]},
            {"kernel_shape": [2, 2], "dilations": [0, 1]},
            {"kernel_shape": [2, 2], "auto_pad": "X"},
        )
    ]
    + [
        Case("LpPool", [X], {**K, "p": 0}),
        Case("GlobalMaxPool", [floats(2)]),
        Case("MaxUnpool", [floats(1, 1, 2, 2), fixed([[[[5, 7], [13, 99]]]])], {"kernel_shape": [2, 2]}),
        Case("Col2Im", [floats(2, 11, 20), fixed([5, 6]), fixed([2, 2])]),
    ],
    ids=str,
)
def test_contradiction_is_refused(case: Case) -> None:
    """Windows that cannot be are refused, not guessed."""
    rng = np.random.default_rng(0)
    with pytest.raises(Refusal):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])
