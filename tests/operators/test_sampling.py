"""Reading images at computed places equals onnxruntime's, draw by draw."""

import numpy as np
import pytest

from initlint.errors import Refusal
from initlint.operators.table import NotComputed
from tests.operators.harness import Case, Input, apply, check, fixed, floats, ints, positive

X = floats(2, 3, 5, 6)
GRID = positive(2, 4, 3, 2, low=-1.4, high=1.4)


def boxes(count: int) -> Input:
    """Regions with positive extents, some beyond the image."""

    def make(rng: np.random.Generator) -> np.ndarray:
        start = rng.uniform(-1, 6, (count, 2))
        return np.concatenate([start, start + rng.uniform(0.5, 9, (count, 2))], axis=1).astype(np.float32)

    return Input(make)


CASES = [
    *(
        Case(
            "GridSample",
            [X, GRID],
            {"mode": mode, "padding_mode": padding, "align_corners": aligned},
            opset=20,
            tolerance=1e-4,
        )
        for mode in ("linear", "nearest", "cubic")
        for padding in ("zeros", "border", "reflection")
        for aligned in (0, 1)
    ),
    *(Case("GridSample", [X, GRID], {"mode": mode}, opset=16, tolerance=1e-4) for mode in ("bilinear", "bicubic")),
    Case("GridSample", [floats(1, 2, 3, 4, 5), positive(1, 2, 3, 2, 3, low=-1.2, high=1.2)], opset=20, tolerance=1e-4),
    *(
        Case("AffineGrid", [floats(2, 2, 3), fixed([2, 3, 4, 5])], {"align_corners": aligned}, opset=20)
        for aligned in (0, 1)
    ),
    *(
        Case("AffineGrid", [floats(2, 3, 4), fixed([2, 3, 4, 5, 2])], {"align_corners": aligned}, opset=20)
        for aligned in (0, 1)
    ),
    *(
        Case(
            "RoiAlign",
            [floats(2, 3, 9, 11), boxes(4), ints(4, low=0, high=2)],
            {"output_height": 3, "output_width": 2, "sampling_ratio": ratio, "spatial_scale": 0.8, **more},
            opset=16,
            tolerance=1e-4,
        )
        for ratio in (0, 2)
        for more in ({}, {"coordinate_transformation_mode": "output_half_pixel"})
    ),
    Case(
        "RoiAlign",
        [floats(2, 3, 9, 11), boxes(4), ints(4, low=0, high=2)],
        {"output_height": 2},
        opset=10,
        tolerance=1e-4,
    ),
]


CASES.append(
    Case(
        "RoiAlign",
        [floats(2, 3, 9, 11), boxes(4), ints(4, low=0, high=2)],
        {"output_height": 3, "output_width": 2, "sampling_ratio": 2, "mode": "max"},
        opset=16,
    )
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator_equals_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs gives what onnxruntime gives for each draw."""
    check(case)


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        (Case("GridSample", [X, floats(2, 4, 3, 3)], opset=20), Refusal),
        (Case("GridSample", [X, GRID], {"mode": "x"}, opset=20), Refusal),
        (Case("AffineGrid", [floats(2, 2, 3), fixed([2, 3, 4])], opset=20), Refusal),
        (Case("RoiAlign", [floats(2, 3, 9, 11), boxes(1), fixed([10**9])], opset=16), Refusal),
        (
            Case("RoiAlign", [floats(2, 3, 9, 11), fixed([[0, 0, 1e30, 1]], "float32"), fixed([0])], opset=16),
            NotComputed,
        ),
        (Case("AffineGrid", [floats(1, 2, 3), fixed([1, 3, 1 << 20, 1 << 20])], opset=20), NotComputed),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(case: Case, outcome: type[Exception]) -> None:
    """Contradictions are refused, sizes beyond the budget are not computed."""
    rng = np.random.default_rng(0)
    with pytest.raises(outcome):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])
