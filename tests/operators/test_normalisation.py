"""Normalisations and softmax equal onnxruntime's, draw by draw."""

import numpy as np
import pytest
import torch

from initlint.errors import Refusal
from initlint.operators import normalisation
from tests.operators.harness import Case, apply, check, fixed, floats, positive

X, C = floats(2, 6, 4, 5), floats(6)
CASES = [
    *(
        Case("BatchNormalization", [X, C, C, C, positive(6)], attributes, opset=opset)
        for opset, attributes in ((7, {}), (9, {"epsilon": 0.1}), (14, {}), (15, {"epsilon": 1e-3}))
    ),
    Case("BatchNormalization", [floats(3, 6), C, C, C, positive(6)]),
    Case(
        "BatchNormalization",
        [X, C, C, C, positive(6)],
        {"training_mode": 1, "momentum": 0.7},
        outputs=3,
        tolerance=1e-4,
    ),
    *(
        Case(
            "LayerNormalization",
            [X, floats(*X.make(np.random.default_rng(0)).shape[axis:]), bias],
            {"axis": axis},
            opset=17,
        )
        for axis, bias in ((-1, floats(5)), (2, floats(4, 5)), (1, None), (-2, floats(5)))
    ),
    Case("LayerNormalization", [X, floats(5), floats(5)], {"epsilon": 0.1}, opset=17, outputs=3),
    Case("LayerNormalization", [floats(3, 7, shift=50.0), floats(7)], opset=17, tolerance=1e-4),
    Case("RMSNormalization", [X, floats(5)], opset=23, oracle="reference"),
    Case("RMSNormalization", [X, floats(4, 5)], {"axis": 2, "epsilon": 0.1}, opset=23, oracle="reference"),
    Case("InstanceNormalization", [X, C, C]),
    Case("InstanceNormalization", [floats(2, 6, 9), C, C], {"epsilon": 0.1}, opset=7),
    Case("GroupNormalization", [X, C, C], {"num_groups": 3}, opset=21),
    Case("GroupNormalization", [X, C, C], {"num_groups": 1, "epsilon": 0.1}, opset=21),
    Case("GroupNormalization", [X, floats(3), floats(3)], {"num_groups": 3}, opset=18),
    *(Case("LpNormalization", [X], {"axis": axis, "p": p}) for axis in (-1, 1) for p in (1, 2)),
    Case("LpNormalization", [fixed(np.zeros((2, 3), np.float32))]),
    *(Case("LRN", [X], {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5}) for size in (1, 3, 5, 13)),
    # onnx.reference looks at as many channels as the batch has entries.
    Case("LRN", [floats(6, 6, 4, 5)], {"size": 4, "alpha": 0.3}, oracle="reference"),
    Case("MeanVarianceNormalization", [X]),
    Case("MeanVarianceNormalization", [X], {"axes": [1, -1]}),
    *(
        Case(op, [X], {"axis": axis}, opset=opset)
        for op in ("Softmax", "LogSoftmax", "Hardmax")
        for axis in (0, 1, -1)
        for opset in (11, 13)
    ),
    *(
        Case(op, [floats(3, 4, scale=300.0)], opset=opset)
        for op in ("Softmax", "LogSoftmax", "Hardmax")
        for opset in (7, 13)
    ),
    Case("Softmax", [fixed(np.array([[0, -np.inf], [-np.inf, -np.inf]], np.float32))]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator_equals_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs gives what onnxruntime gives for each draw."""
    check(case)


@pytest.mark.parametrize("case", [CASES[6], CASES[10], CASES[13], CASES[16], CASES[-2]], ids=str)
def test_blocks_of_rows_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row at a time gives the same as all at once."""
    monkeypatch.setattr(normalisation, "BLOCK", 1)
    check(case)


def test_layer_normalization_keeps_a_small_signal_on_a_large_mean() -> None:
    """Deviations are taken before squares: float32 at mean 1000 and deviation 0.1 is right to the input's rounding."""
    x = (np.random.default_rng(0).standard_normal((3, 2, 256)) * 0.1 + 1000).astype(np.float32)
    case = Case("LayerNormalization", [floats(2, 256), floats(256)], {"epsilon": 0.0}, opset=17)
    (got,) = apply(case, [x, np.ones((1, 256), np.float32)])
    want = torch.nn.functional.layer_norm(torch.from_numpy(x.astype(np.float64)), (256,), eps=0.0).numpy()
    np.testing.assert_allclose(got, want, atol=2e-3)


@pytest.mark.parametrize(
    "case",
    [
        Case("BatchNormalization", [X, floats(5), C, C, positive(6)]),
        Case("BatchNormalization", [floats(6), C, C, C, positive(6)]),
        Case("LayerNormalization", [X, floats(4)], opset=17),
        Case("LayerNormalization", [X, floats(5)], {"axis": 4}, opset=17),
        Case("GroupNormalization", [X, C, C], {"num_groups": 0}, opset=21),
        Case("GroupNormalization", [X, C, C], {"num_groups": 4}, opset=21),
        Case("InstanceNormalization", [floats(2, 6), C, C]),
        Case("LpNormalization", [X], {"p": 3}),
        Case("LRN", [X], {"size": 0}),
        Case("Softmax", [X], {"axis": 4}),
    ],
    ids=str,
)
def test_contradiction_is_refused(case: Case) -> None:
    """Parameters that do not fit the input are refused."""
    rng = np.random.default_rng(0)
    with pytest.raises(Refusal):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])
