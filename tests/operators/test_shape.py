"""Shapes, rearrangement, creation and selection equal onnxruntime's, draw by draw."""

import numpy as np
import pytest
from onnx import numpy_helper

from initlint.errors import Refusal
from initlint.operators.table import NotComputed, Run
from tests.operators.harness import DRAWS, Case, apply, booleans, check, fixed, floats, ints

X = floats(2, 3, 4)
BIG = 1 << 62


def value(number: float, dtype: str) -> dict[str, object]:
    """A one-element tensor attribute."""
    return {"value": numpy_helper.from_array(np.array([number], dtype))}


SHAPES = [
    Case("Identity", [X]),
    Case("Shape", [X]),
    *(
        Case("Shape", [X], attributes)
        for attributes in ({"start": 1}, {"end": -1}, {"start": -2, "end": 2}, {"start": 9})
    ),
    Case("Size", [X]),
    Case("Reshape", [X, fixed([4, 6])]),
    Case("Reshape", [X, fixed([0, -1])], opset=7),
    Case("Reshape", [X, fixed([-1])]),
    Case("Reshape", [floats(0, 3), fixed([3, 0])], {"allowzero": 1}),
    Case("Reshape", [floats(1), fixed(np.zeros(0, np.int64))]),
    *(Case("Flatten", [X], {"axis": axis}) for axis in (0, 1, 2, 3, -1)),
    Case("Squeeze", [floats(1, 3, 1)], {"axes": [0]}, opset=11),
    Case("Squeeze", [floats(1, 3, 1)], opset=11),
    Case("Squeeze", [floats(1, 3, 1), fixed([-1])]),
    Case("Squeeze", [floats(1, 3, 1)]),
    Case("Unsqueeze", [floats(3)], {"axes": [0, 2]}, opset=11),
    Case("Unsqueeze", [floats(3), fixed([-1, 0])]),
    Case("Transpose", [X]),
    Case("Transpose", [X], {"perm": [1, 2, 0]}),
    Case("Expand", [floats(3, 1), fixed([2, 1, 4])]),
    Case("Expand", [floats(3, 4), fixed([1])]),
    Case("Tile", [floats(2, 3), fixed([2, 3])]),
    Case("Concat", [floats(2, 3), floats(2, 1), floats(2, 0)], {"axis": 1}),
    Case("Concat", [ints(2), ints(3)], {"axis": -1}),
    Case("Concat", [floats(2, 3)], {"axis": 0}, opset=7),
    Case("Split", [floats(6, 2)], {"axis": 0}, opset=11, outputs=3),
    Case("Split", [floats(2, 6)], {"axis": 1, "split": [1, 5]}, opset=11, outputs=2),
    Case("Split", [floats(2, 6), fixed([2, 0, 4])], {"axis": -1}, outputs=3),
    Case("Split", [floats(2, 7)], {"axis": 1, "num_outputs": 3}, outputs=3),
    Case("Slice", [X], {"starts": [1, 0], "ends": [9, -1], "axes": [1, 2]}, opset=9),
    Case("Slice", [X], {"starts": [0, -2], "ends": [1, 3]}, opset=7),
    Case("Slice", [floats(9), fixed([-2]), fixed([1]), fixed([0]), fixed([-2])]),
    Case("Slice", [floats(9), fixed([20]), fixed([-20]), fixed([0]), fixed([-3])]),
    Case("Slice", [floats(9), fixed([-1]), fixed([-BIG]), fixed([0]), fixed([-1])]),
    Case("Slice", [floats(9), fixed([2]), fixed([BIG]), fixed([-1]), fixed([2])]),
    Case("Slice", [floats(9), fixed([5]), fixed([2])]),
    Case("Slice", [floats(9), fixed([3]), fixed([-9]), fixed([0]), fixed([-1])]),
    Case("Slice", [X, fixed([1, 0], "int32"), fixed([2, 2], "int32"), fixed([2, 0], "int32")]),
    Case("Dropout", [X], {"ratio": 0.3}, opset=7),
    Case("Dropout", [X], opset=13, outputs=2),
    Case("Dropout", [X, fixed(0.3, "float32")], outputs=2),
    Case("Dropout", [X, fixed(0.3, "float32"), fixed(False, "bool")]),
    Case("CenterCropPad", [floats(5, 8), fixed([7, 5])]),
    Case("CenterCropPad", [floats(5, 8, 3), fixed([8, 4])], {"axes": [-3, 1]}),
    Case("ReverseSequence", [floats(4, 3, 2), ints(3, low=1, high=5)], {"time_axis": 0, "batch_axis": 1}),
    Case("ReverseSequence", [floats(3, 4), ints(3, low=1, high=5)], {"time_axis": 1, "batch_axis": 0}),
]
ARRANGED = [
    Case("Pad", [floats(3, 4)], {"pads": [1, 0, 2, 3], "value": 0.5}, opset=7),
    Case("Pad", [floats(3, 4)], {"pads": [1, 0, 2, 3], "mode": "edge"}, opset=10),
    Case("Pad", [floats(3, 4), fixed([1, 0, 2, 3])]),
    Case("Pad", [floats(3, 4), fixed([1, 0, 2, 3]), floats()]),
    Case("Pad", [floats(3, 4), fixed([-1, 2, 0, -3]), floats()]),
    Case("Pad", [floats(3, 4), fixed([2, -1]), None, fixed([-1])]),
    Case("Pad", [ints(3), fixed([1, 1]), fixed(7)]),
    *(Case("Pad", [floats(3, 4), fixed([2, 1, 2, 3])], {"mode": mode}) for mode in ("reflect", "edge", "wrap")),
    *(Case("Pad", [floats(5, 4), fixed([2, -1, -1, 2])], {"mode": mode}) for mode in ("reflect", "edge", "wrap")),
    Case("Pad", [floats(1, 2, 4), fixed([0, 0, 3, 0, 0, 3])], {"mode": "reflect"}),
    Case("SpaceToDepth", [floats(2, 3, 4, 6)], {"blocksize": 2}),
    Case("SpaceToDepth", [floats(2, 3, 4, 6)], {"blocksize": 2, "mode": "CRD"}, opset=28, oracle="reference"),
    Case("DepthToSpace", [floats(2, 8, 3, 2)], {"blocksize": 2}),
    Case("DepthToSpace", [floats(2, 8, 3, 2)], {"blocksize": 2, "mode": "CRD"}),
    *(Case("Trilu", [floats(2, 4, 5), fixed(k)], {"upper": upper}) for k in (-9, -1, 0, 2, 9) for upper in (0, 1)),
    Case("Trilu", [booleans(4, 4)]),
]
CREATED = [
    Case("ConstantOfShape", [fixed([2, 3])]),
    Case("ConstantOfShape", [fixed([2, 0])], value(3, "int64")),
    Case("ConstantOfShape", [fixed(np.zeros(0, np.int64))], value(2.5, "float32")),
    Case("Range", [fixed(3), fixed(9), fixed(3)]),
    Case("Range", [fixed(10), fixed(4), fixed(-4)]),
    Case("Range", [fixed(10), fixed(4), fixed(4)]),
    Case("Range", [fixed(0.5, "float32"), fixed(2.9, "float32"), fixed(0.25, "float32")]),
    Case("EyeLike", [floats(3, 4)]),
    Case("EyeLike", [floats(3, 4)], {"k": -1, "dtype": 7}),
    Case("OneHot", [ints(2, 3, low=-5, high=5), fixed(4), fixed([0, 1])]),
    Case("OneHot", [ints(2, 3, low=0, high=5), fixed([4]), floats(2)], {"axis": 1}),
    Case("OneHot", [ints(3, low=0, high=4), fixed(4), fixed([0.5, 2.0], "float32")], {"axis": 0}),
]
SELECTED = [
    Case("NonZero", [fixed(np.array([[0, 1], [2, 0]], np.float32))]),
    Case("NonZero", [fixed([0, 1, 1, 0])]),
    Case("Compress", [X, fixed([True, False, True], "bool")], {"axis": 1}),
    Case("Compress", [X, fixed([False, True, True, False, True], "bool")]),
    *(Case("Unique", [fixed([2, 1, 1, 3, 4, 3], "float32")], {"sorted": order}, outputs=4) for order in (0, 1)),
    Case("Unique", [fixed([[1, 0], [1, 0], [2, 3]], "float32")], {"axis": 0}, outputs=4),
]


@pytest.mark.parametrize("case", [*SHAPES, *ARRANGED, *CREATED, *SELECTED], ids=str)
def test_operator_equals_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs gives what onnxruntime gives for each draw."""
    check(case)


BAD = [
    Case("Reshape", [X, fixed([-1, -1])]),
    Case("Reshape", [X, fixed([5])]),
    Case("Reshape", [X, fixed([5, -1])]),
    Case("Reshape", [X, fixed([1, 1, 1, 0])]),
    Case("Squeeze", [X, fixed([0])]),
    Case("Unsqueeze", [X, fixed([0, 0])]),
    Case("Unsqueeze", [X]),
    Case("Transpose", [X], {"perm": [0, 0, 1]}),
    Case("Expand", [X, fixed([5])]),
    Case("Tile", [X, fixed([1])]),
    Case("Concat", [X, floats(2, 3)], {"axis": 0}),
    Case("Concat", [X, None], {"axis": 0}),
    Case("Concat", [X]),
    Case("Split", [X], {"axis": 2}, outputs=3),
    Case("Split", [X, fixed([1, 2])], {"axis": 2}, outputs=2),
    Case("Slice", [X, fixed([0]), fixed([1]), fixed([0]), fixed([0])]),
    Case("Slice", [X, fixed([0]), fixed([1]), fixed([3])]),
    Case("Pad", [X, fixed([1, 2])]),
    Case("Pad", [X, fixed([0, 0, -5, 0, 0, 0])]),
    Case("SpaceToDepth", [floats(1, 1, 4, 4)], {"blocksize": 0}),
    Case("DepthToSpace", [floats(1, 3, 4, 4)], {"blocksize": 2}),
    Case("Range", [fixed(0), fixed(9), fixed(0)]),
    Case("OneHot", [ints(3), fixed(-1), fixed([0, 1])]),
    Case("Compress", [floats(2), fixed([True] * 3, "bool")]),
    Case("Flatten", [X], {"axis": 4}),
    Case("ReverseSequence", [floats(4, 3), fixed([9, 9, 9])], {"time_axis": 0, "batch_axis": 1}),
]


@pytest.mark.parametrize("case", BAD, ids=str)
def test_contradiction_is_refused(case: Case) -> None:
    """Attributes and shapes that contradict the operator are refused, not guessed."""
    rng = np.random.default_rng(0)
    with pytest.raises(Refusal):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])


BOMBS = [
    Case("Expand", [floats(1), fixed([1 << 20, 1 << 20])]),
    Case("Tile", [floats(1, 1), fixed([1 << 20, 1 << 20])]),
    Case("ConstantOfShape", [fixed([1 << 40])]),
    Case("ConstantOfShape", [fixed([-1])]),  # no size at all
    Case("Range", [fixed(0), fixed(1 << 40), fixed(1)]),
    Case("OneHot", [ints(3), fixed(10**12), fixed([0, 1])]),
    Case("Pad", [floats(3), fixed([1 << 30, 1 << 30])]),
    Case("CenterCropPad", [floats(3), fixed([1 << 40])]),
]


@pytest.mark.parametrize("case", BOMBS, ids=str)
def test_size_is_asked_for_before_it_is_made(case: Case) -> None:
    """A tensor beyond the budget is not computed, and nothing of its size is allocated."""
    rng = np.random.default_rng(0)
    with pytest.raises(NotComputed):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])


@pytest.mark.parametrize(
    "case",
    [
        Case("Reshape", [X, ints(2)]),
        Case("NonZero", [floats(3)]),
        Case("Compress", [floats(9), booleans(9)]),
        Case("Unique", [floats(3)]),
        Case("Range", [ints(), ints(), ints()]),
    ],
    ids=str,
)
def test_shape_that_depends_on_the_input_is_not_computed(case: Case) -> None:
    """Draws of one tensor share one shape; an operator that would break this says so."""
    rng = np.random.default_rng(1)
    arrays = [item and np.stack([item.make(rng) for _ in range(DRAWS)]) for item in case.inputs]
    if case.op == "NonZero":
        arrays[0][0, 0] = 0
    with pytest.raises(NotComputed, match="depends on the input"):
        apply(case, arrays)


def test_dropout_in_training_mode_drops() -> None:
    """A file that asks for training mode gets the noise of training: mean kept, a share of zeros."""
    case = Case("Dropout", [floats(400), fixed(0.25, "float32"), fixed(True, "bool")], outputs=2)
    ones = np.ones((1, 400), np.float32)
    y, mask = apply(case, [ones, np.array([0.25], np.float32), np.array([True])], Run(50, np.float32))
    assert y is not None
    assert mask is not None
    assert y.shape == (50, 400)
    assert abs(float(y.mean()) - 1) < 0.02
    assert abs(float((y == 0).mean()) - 0.25) < 0.02
    np.testing.assert_array_equal(y == 0, ~mask)
