"""Products and convolutions equal onnxruntime's, draw by draw."""

from dataclasses import replace

import numpy as np
import pytest

from initlint.errors import Refusal
from initlint.operators import convolution
from initlint.operators.table import NotComputed, Run
from tests.operators.harness import DRAWS, Case, apply, check, floats, ints

MATMUL = [
    Case("MatMul", [floats(*a), floats(*b)])
    for a, b in [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (1, 4, 5)),
        ((4, 3), (2, 3, 5)),
        ((4,), (4,)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((3, 4), (1, 1, 4, 5)),
        ((1, 4), (6, 7, 4, 1)),
    ]
] + [Case("MatMul", [ints(2, 3), ints(3, 4)]), Case("Det", [floats(2, 4, 4)]), Case("Det", [floats(3, 3)])]
A, B, T = floats(3, 4), floats(4, 5), {"transA": 1, "transB": 1}
GEMM = [
    Case("Gemm", [A, B, floats(5)], {"alpha": 0.5, "beta": 2.0}),
    Case("Gemm", [A, B], opset=11),
    Case("Gemm", [floats(4, 3), floats(5, 4), floats(3, 5)], T),
    Case("Gemm", [A, floats(5, 4), floats(3, 1)], {"transB": 1}, opset=9),
    Case("Gemm", [A, B, floats(1)], opset=7),
    Case("Gemm", [A, B, floats()], {"beta": 0.0}),
    Case("Gemm", [A, B, floats(1, 5)], {"beta": -1.0}),
]
EINSUM = [
    Case("Einsum", [floats(*shape) for shape in shapes], {"equation": equation})
    for equation, shapes in [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("bqhd,bkhd->bhqk", [(2, 4, 3, 5), (2, 6, 3, 5)]),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (2, 5, 4, 6)]),
        ("...ij,jk->...ik", [(2, 1, 3, 4), (4, 6)]),
        ("ij->ji", [(2, 3)]),
        ("ij->j", [(2, 3)]),
        ("ij->", [(2, 3)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("ba", [(2, 3)]),
        ("i,j->ij", [(2,), (3,)]),
        ("i,i", [(3,), (3,)]),
        ("ij,kj,k->i", [(2, 3), (4, 3), (4,)]),
        ("nchw,oc->nohw", [(2, 3, 4, 4), (5, 3)]),
        (" b i , b i -> b ", [(2, 3), (2, 3)]),
        ("ab,ac->bc", [(1, 3), (1, 4)]),
        ("abc,cd->abd", [(1, 1, 3), (3, 1)]),
    ]
]
EINSUM.append(replace(EINSUM[3], inputs=[floats(2, 1, 3, 4), floats(5, 4, 6)], oracle="reference"))
S3 = {"kernel_shape": [3, 3]}
CONV = [
    Case("Conv", [floats(2, 4, 7, 8), floats(6, 4, 3, 3), floats(6)], {"pads": [1, 1, 1, 1]}),
    Case(
        "Conv", [floats(2, 4, 7, 8), floats(6, 4, 3, 3)], {"pads": [0, 2, 1, 0], "strides": [2, 1], "dilations": [1, 2]}
    ),
    Case("Conv", [floats(2, 4, 7, 8), floats(6, 4, 3, 3)], {"pads": [2, 2, 2, 2], "dilations": [2, 2], **S3}),
    Case("Conv", [floats(2, 4, 7, 8), floats(6, 4, 1, 1), floats(6)]),
    Case("Conv", [floats(2, 4, 7, 8), floats(6, 4, 1, 1)], {"strides": [2, 3]}),
    Case("Conv", [floats(2, 4, 7, 8), floats(6, 4, 1, 1)], {"pads": [1, 0, 0, 1]}),
    Case("Conv", [floats(2, 4, 1, 1), floats(6, 4, 1, 1), floats(6)]),
    Case("Conv", [floats(2, 4, 7, 8), floats(4, 1, 3, 3), floats(4)], {"group": 4, "pads": [1, 1, 1, 1]}),
    Case("Conv", [floats(2, 4, 7, 8), floats(8, 1, 3, 3)], {"group": 4, "strides": [2, 2]}),
    Case("Conv", [floats(2, 4, 7, 8), floats(6, 2, 2, 3)], {"group": 2}),
    Case("Conv", [floats(2, 4, 7, 8), floats(6, 2, 1, 1)], {"group": 2}),
    *(
        Case("Conv", [floats(1, 2, 7, 8), floats(3, 2, 3, 2)], {"auto_pad": mode, "strides": [2, stride]})
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
        for stride in (1, 3)
    ),
    Case("Conv", [floats(2, 3, 40), floats(5, 3, 7), floats(5)], {"pads": [3, 3]}),
    Case("Conv", [floats(2, 3, 40), floats(5, 3, 7)], {"pads": [3, 0], "strides": [3], "dilations": [2]}),
    Case("Conv", [floats(2, 3, 5, 6, 7), floats(4, 3, 3, 2, 3), floats(4)], {"pads": [1, 0, 1, 1, 1, 1]}),
    Case(
        "Conv",
        [floats(2, 4, 5, 6, 7), floats(4, 2, 3, 2, 3)],
        {"strides": [2, 1, 2], "group": 2, "dilations": [1, 2, 1]},
    ),
    Case("Conv", [floats(2, 4, 7, 8), floats(6, 4, 7, 8)]),
    Case("Conv", [floats(1, 1, 1, 9), floats(1, 1, 1, 9)], {"pads": [0, 9, 0, 9]}, opset=7),
]
TRANSPOSED = [
    Case("ConvTranspose", [floats(2, 4, 3, 5), floats(4, 6, 3, 3), floats(6)]),
    Case("ConvTranspose", [floats(2, 4, 3, 5), floats(4, 6, 3, 3)], {"strides": [2, 3], "pads": [1, 0, 1, 2]}),
    Case("ConvTranspose", [floats(2, 4, 3, 5), floats(4, 6, 3, 3)], {"strides": [2, 3], "output_padding": [1, 2]}),
    Case("ConvTranspose", [floats(2, 4, 3, 5), floats(4, 6, 3, 3)], {"dilations": [2, 1], "strides": [3, 1]}),
    Case("ConvTranspose", [floats(2, 4, 3, 5), floats(4, 3, 2, 2), floats(6)], {"group": 2, "strides": [2, 2]}),
    Case("ConvTranspose", [floats(2, 4, 3, 5), floats(4, 1, 4, 4)], {"group": 4, "strides": [2, 2], "pads": [1] * 4}),
    *(
        Case("ConvTranspose", [floats(1, 2, 3, 4), floats(2, 3, 3, 3)], {"auto_pad": mode, "strides": [2, 2]})
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    *(
        Case(
            "ConvTranspose",
            [floats(1, 2, 3, 4), floats(2, 3, 3, 3)],
            {"output_shape": shape, "strides": [3, 2], "auto_pad": mode},
        )
        for shape in ([10, 8], [9, 9], [8, 8])
        for mode in ("SAME_UPPER", "NOTSET")
    ),
    Case("ConvTranspose", [floats(2, 3, 9), floats(3, 4, 5)], {"strides": [2], "pads": [1, 2]}),
    Case("ConvTranspose", [floats(1, 3, 3, 2, 4), floats(3, 2, 2, 3, 2)], {"strides": [2, 1, 2]}),
]


@pytest.mark.parametrize("case", [*MATMUL, *GEMM, *EINSUM, *CONV, *TRANSPOSED], ids=str)
def test_operator_equals_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs gives what onnxruntime gives for each draw."""
    check(case)


@pytest.mark.parametrize("case", [*CONV, *TRANSPOSED], ids=str)
@pytest.mark.parametrize("columns", [1, 200])
def test_convolution_does_not_depend_on_its_blocks(case: Case, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With scratch for a few columns only, the result stays onnxruntime's."""
    monkeypatch.setattr(convolution, "COLUMNS", columns)
    check(case)


@pytest.mark.parametrize("case", [MATMUL[2], GEMM[0], EINSUM[1], CONV[1], TRANSPOSED[0]], ids=lambda case: case.op)
def test_double_precision_stays_double(case: Case) -> None:
    """A run in float64 is exact to float64's rounding against the same run in float32 widened."""
    check(replace(case, float_type=np.float64))


BAD = [
    replace(CONV[0], attributes=attributes)
    for attributes in (
        {"group": 0},
        {"group": -1},
        {"group": 3},
        {"pads": [1 << 62] * 4},
        {"pads": [1]},
        {"pads": [-1, 0, 0, 0]},
        {"strides": [0, 1]},
        {"dilations": [0, 1]},
        {"dilations": [9, 9]},
        {"kernel_shape": [3, 3, 3]},
        {"auto_pad": "SOMETIMES"},
        {"strides": "a"},
    )
] + [
    Case("Conv", [floats(1, 4, 7, 8), floats(6, 4)]),
    Case("Conv", [floats(1, 4, 7, 8), floats(0, 4, 3, 3)]),
    Case("Conv", [floats(1, 4, 7, 8), floats(6, 4, 3, 3), floats(5)]),
    Case("Conv", [floats(1, 4), floats(6, 4)]),
    Case("Gemm", [A, floats(4, 5, 1)]),
    Case("Gemm", [A, A]),
    Case("Gemm", [A, B, floats(4)]),
    Case("MatMul", [A, A]),
    Case("MatMul", [A, floats()]),
    Case("MatMul", [floats(2, 3, 4), floats(3, 4, 5)]),
    *(
        Case("Einsum", [A, B], {"equation": equation})
        for equation in ("", "ij", "ij,jk->iz", "i,j", "ij,ij", "a1,b->a", "ij,jk->ii")
    ),
]


@pytest.mark.parametrize("case", BAD, ids=str)
def test_contradiction_is_refused(case: Case) -> None:
    """Attributes and shapes that contradict the operator are refused, not guessed."""
    rng = np.random.default_rng(0)
    with pytest.raises(Refusal):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])


@pytest.mark.parametrize("case", [MATMUL[0], GEMM[0], EINSUM[0], CONV[0], TRANSPOSED[0]], ids=lambda case: case.op)
def test_budget_ends_the_work(case: Case) -> None:
    """The multiply-adds and the size are asked for before they are spent."""
    rng = np.random.default_rng(0)
    arrays = [item and item.make(rng)[np.newaxis] for item in case.inputs]
    with pytest.raises(NotComputed):
        apply(case, arrays, Run(DRAWS, np.float32, max_work=10))
    with pytest.raises(NotComputed):
        apply(case, arrays, Run(DRAWS, np.float32, max_elements=5, max_constant=5))
