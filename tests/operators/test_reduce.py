"""Reductions, running sums, extreme positions and the k largest equal onnxruntime's, draw by draw."""

import numpy as np
import pytest

from initlint.errors import Refusal
from tests.operators.harness import Case, apply, check, fixed, floats, ints, positive

X, P = floats(2, 3, 4, 5), positive(2, 3, 4, 5)
NAMES = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
REDUCED = [
    *(Case(f"Reduce{name}", [P if name == "LogSum" else X], {"axes": [1, -1]}, opset=12) for name in NAMES),
    *(
        Case(f"Reduce{name}", [P if name == "LogSum" else X], {"axes": [2, 3], "keepdims": 0}, opset=11)
        for name in NAMES
    ),
    *(Case(f"Reduce{name}", [P if name == "LogSum" else X, fixed([-1])], {"keepdims": 0}, opset=18) for name in NAMES),
    *(Case(f"Reduce{name}", [P if name == "LogSum" else X], opset=18) for name in NAMES),
    *(Case(f"Reduce{name}", [P if name == "LogSum" else X], {"keepdims": 0}, opset=18) for name in NAMES),
    Case("ReduceSum", [X, fixed(np.zeros(0, np.int64))], {"noop_with_empty_axes": 1}),
    Case("ReduceSum", [X, fixed(np.zeros(0, np.int64))]),
    Case("ReduceSum", [ints(3, 4, dtype="int32"), fixed([0])]),
    Case("ReduceMean", [ints(3, 4), fixed([1])]),
    Case("ReduceMax", [ints(3, 4), fixed([1])]),
    Case("ReduceProd", [ints(3, 4), fixed([0, 1])]),
    Case("ReduceSum", [floats(3, 0), fixed([1])]),
    Case("ReduceMax", [floats(3, 0), fixed([1])], oracle="reference"),
    Case("ReduceSumSquare", [X, fixed([0, 2])]),
    Case("ReduceLogSumExp", [floats(3, 4, scale=200.0), fixed([1])]),
    Case("ReduceSum", [floats()], opset=13),
]
POSITIONS = [
    *(
        Case(op, [X], attributes)
        for op in ("ArgMax", "ArgMin")
        for attributes in ({}, {"axis": -1, "keepdims": 0}, {"axis": 2})
    ),
    *(
        Case(op, [ints(9, 3, low=0, high=3, dtype="int32")], {"axis": 0, "select_last_index": last})
        for op in ("ArgMax", "ArgMin")
        for last in (0, 1)
    ),
    *(
        Case("CumSum", [X, fixed(axis)], {"exclusive": exclusive, "reverse": reverse})
        for axis in (1, -1)
        for exclusive in (0, 1)
        for reverse in (0, 1)
    ),
    Case("CumSum", [ints(5), fixed(0)]),
    Case("TopK", [X, fixed([3])], outputs=2),
    Case("TopK", [X], {"k": 2, "axis": 1}, opset=9, outputs=2),
    Case("TopK", [X, fixed([2])], {"axis": 2, "largest": 0}, outputs=2),
    Case("TopK", [ints(20, low=0, high=4), fixed([7])], outputs=2),
    Case("TopK", [ints(20, low=0, high=4), fixed([7])], {"largest": 0}, outputs=2),
    Case("TopK", [X, fixed([0])], outputs=2),
]


@pytest.mark.parametrize("case", [*REDUCED, *POSITIONS], ids=str)
def test_operator_equals_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs gives what onnxruntime gives for each draw."""
    check(case)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_running_product_is_numpys(reverse: int, exclusive: int) -> None:
    """CumProd, which no released kernel has, is numpy's cumulative product of the shifted, flipped axis."""
    x = np.arange(1.0, 9.0, dtype=np.float32).reshape(1, 2, 4)
    case = Case("CumProd", [None], {"reverse": reverse, "exclusive": exclusive}, opset=26)
    case = Case("CumProd", [floats(2, 4), fixed(1)], case.attributes, opset=26)
    (got,) = apply(case, [x, np.array([1])])
    want = [
        [
            np.prod(
                [
                    row[other]
                    for other in range(4)
                    if ((other > at) if reverse else (other < at)) or (other == at and not exclusive)
                ]
            )
            for at in range(4)
        ]
        for row in x[0]
    ]
    np.testing.assert_allclose(got, [want])


@pytest.mark.parametrize(
    "case",
    [
        Case("ReduceSum", [X, fixed([4])]),
        Case("ReduceSum", [X, fixed([1, 1])]),
        Case("ArgMax", [X], {"axis": 4}),
        Case("TopK", [X, fixed([10**12])], outputs=2),
        Case("TopK", [X, fixed([-1])], outputs=2),
        Case("CumSum", [X, fixed(7)]),
    ],
    ids=str,
)
def test_contradiction_is_refused(case: Case) -> None:
    """Axes and counts outside the tensor are refused."""
    rng = np.random.default_rng(0)
    with pytest.raises(Refusal):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])
