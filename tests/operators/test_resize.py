"""Resampling equals onnxruntime's, draw by draw."""

import numpy as np
import pytest

from initlint.errors import Refusal
from initlint.operators.table import NotComputed
from tests.operators.harness import Case, apply, check, fixed, floats

X = floats(1, 2, 6, 5)
NONE = fixed(np.zeros(0, np.float32))
HALVES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")


def scales(*factors: float) -> object:
    """Scales as an input."""
    return fixed(list(factors), "float32")


def resize(factors: tuple[float, ...], attributes: dict[str, object], opset: int = 19) -> Case:
    """A Resize by scales."""
    return Case("Resize", [X, None if opset > 11 else NONE, scales(*factors)], attributes, opset=opset)


def resize_to(sizes: tuple[int, ...], attributes: dict[str, object], opset: int = 19) -> Case:
    """A Resize to sizes."""
    return Case("Resize", [X, None, None, fixed(list(sizes))], attributes, opset=opset)


UP, DOWN, ODD = (1.0, 1.0, 2.0, 2.0), (1.0, 1.0, 0.5, 0.6), (1.0, 1.0, 1.7, 0.9)
CASES = [
    *(
        resize(factors, {"coordinate_transformation_mode": how, "mode": mode})
        for factors in (UP, DOWN, ODD)
        for how in HALVES
        for mode in ("nearest", "linear", "cubic")
    ),
    *(
        resize(factors, {"coordinate_transformation_mode": "asymmetric", "nearest_mode": nearest})
        for factors in (UP, DOWN, ODD)
        for nearest in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    ),
    *(
        resize_to((1, 2, *sizes), {"mode": mode, "coordinate_transformation_mode": how})
        for sizes in ((12, 10), (3, 4), (1, 1), (7, 9))
        for mode in ("nearest", "linear", "cubic")
        for how in ("half_pixel", "align_corners", "pytorch_half_pixel")
    ),
    *(resize(factors, {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}) for factors in (UP, DOWN)),
    *(
        resize(DOWN, {"mode": mode, "antialias": 1, "exclude_outside": exclude})
        for mode in ("linear", "cubic")
        for exclude in (0, 1)
    ),
    resize(UP, {"mode": "linear", "antialias": 1}),
    resize_to((1, 2, 2, 2), {"mode": "cubic", "antialias": 1}),
    *(
        Case(
            "Resize",
            [X, None, None, fixed([8, 8])],
            {"axes": [2, 3], "mode": "linear", "keep_aspect_ratio_policy": policy},
            opset=18,
        )
        for policy in ("stretch", "not_larger", "not_smaller")
    ),
    Case("Resize", [X, None, scales(2.0, 3.0)], {"axes": [3, 2]}, opset=18),
    *(
        Case(
            "Resize",
            [X, fixed([0, 0, -0.3, 0.2, 1, 1, 0.6, 1.4], "float32"), None, fixed([1, 2, 4, 7])],
            {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.5},
            opset=13,
        )
        for mode in ("nearest", "linear")
    ),
    *(resize(UP, {"mode": mode}, opset=11) for mode in ("nearest", "linear", "cubic")),
    *(
        Case("Resize", [X, scales(*factors)], {"mode": mode}, opset=10)
        for factors in (UP, ODD, DOWN)
        for mode in ("nearest", "linear")
    ),
    *(Case("Upsample", [X, scales(*UP)], {"mode": mode}, opset=9) for mode in ("nearest", "linear")),
    *(Case("Upsample", [X], {"mode": mode, "scales": [1.0, 1.0, 1.5, 2.0]}, opset=7) for mode in ("nearest", "linear")),
    Case("Resize", [floats(1, 2, 3, 4, 3), None, scales(1, 1, 2, 1.5, 2)], {"mode": "linear"}, opset=13),
    Case("Resize", [floats(2, 3, 9), None, scales(1, 1, 2)], {"mode": "linear"}, opset=13),
    Case("Resize", [floats(1, 1, 600, 3), None, scales(1, 1, 1.5, 1)], {"mode": "linear"}, opset=13, tolerance=1e-4),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator_equals_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs gives what onnxruntime gives for each draw."""
    check(case)


@pytest.mark.parametrize(
    "case",
    [
        resize((1.0, 1.0), {}),
        resize((1.0, 1.0, 0.0, 1.0), {}),
        resize(UP, {"mode": "quintic"}),
        resize(UP, {"coordinate_transformation_mode": "x"}),
        resize(UP, {"nearest_mode": "x"}),
        resize_to((1, 2, -3, 4), {}),
        Case("Resize", [X]),
        Case("Upsample", [X], opset=7),
    ],
    ids=str,
)
def test_contradiction_is_refused(case: Case) -> None:
    """Scales and modes that cannot be are refused."""
    rng = np.random.default_rng(0)
    with pytest.raises(Refusal):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])


def test_size_is_asked_for_before_it_is_made() -> None:
    """Scales of a million are not computed."""
    case = resize((1.0, 1.0, 1e6, 1e6), {})
    rng = np.random.default_rng(0)
    with pytest.raises(NotComputed):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])
