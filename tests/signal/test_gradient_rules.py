"""Each gradient rule is the transpose of its operator's derivative: <c, J d> = <J' c, d>, J d by central differences."""

from functools import partial

import numpy as np
import pytest

from initlint.operators import load
from initlint.operators.table import Run, Values, evaluate
from initlint.signal import backward
from initlint.signal.gradients import GRADIENTS
from tests.operators.harness import Case, Input, as_node, draws_of, fixed, floats

STEP = 1e-5
Contrib = partial(Case, domain="com.microsoft", opset=1)
ANGLES = np.random.default_rng(5).uniform(-3, 3, (8, 4)).astype(np.float32)
COS, SIN = fixed(np.cos(ANGLES)), fixed(np.sin(ANGLES))
CELL = {"hidden_size": 4}


def cell(gates: int, directions: int = 1, inputs: int = 3) -> list[Input]:
    """X [5, 2, inputs], W, R and B of a recurrent operator; X alone depends on the network's input."""
    shapes = ((directions, gates * 4, inputs), (directions, gates * 4, 4), (directions, gates * 8))
    return [floats(5, 2, inputs), *(floats(*shape, scale=0.5) for shape in shapes)]


SLICE = [floats(3, 6), fixed([1]), fixed([5]), fixed([1]), fixed([2])]
HEADS = {"num_heads": 4, "kv_num_heads": 2}
# (case, the inputs whose gradient is checked)
CASES: list[tuple[Case, tuple[int, ...]]] = [
    (Case("LSTM", cell(4), CELL, outputs=3), (0,)),
    (Case("LSTM", cell(4, 2), CELL | {"direction": "bidirectional"}), (0,)),
    (Case("LSTM", [*cell(4), None, floats(1, 2, 4), floats(1, 2, 4), floats(1, 12)], CELL, outputs=3), (0, 5, 6)),
    (Case("LSTM", cell(4), CELL | {"input_forget": 1, "direction": "reverse"}), (0,)),
    (Case("GRU", cell(3), CELL | {"linear_before_reset": 1}, outputs=2), (0,)),
    (Case("GRU", [*cell(3, 2), None, floats(2, 2, 4)], CELL | {"direction": "bidirectional"}), (0, 5)),
    (Case("RNN", cell(1), CELL | {"layout": 0}, outputs=2), (0,)),
    (Case("Attention", [floats(1, 4, 3, 8), floats(1, 2, 5, 8), floats(1, 2, 5, 6)], {"softcap": 1.5}, opset=23), (0, 1, 2)),
    (
        Case(
            "Attention", [floats(2, 3, 8), floats(2, 3, 8), floats(2, 3, 8), floats(2, 1, 3, 3)],
            {"q_num_heads": 2, "kv_num_heads": 2, "is_causal": 1}, opset=23,
        ),
        (0, 1, 2, 3),
    ),
    (Contrib("Attention", [floats(2, 3, 6), floats(6, 24), floats(24)], {"num_heads": 2, "unidirectional": 1}), (0,)),
    (Contrib("MultiHeadAttention", [floats(2, 3, 8), floats(2, 5, 8), floats(2, 5, 6), floats(22)], {"num_heads": 2}), (0, 1, 2)),
    (Contrib("MultiHeadAttention", [floats(2, 3, 2, 3, 4)], {"num_heads": 2}), (0,)),
    (
        Contrib(
            "GroupQueryAttention",
            [floats(1, 3, 64), None, None, None, None, fixed([2], "int32"), fixed(3, "int32"), COS, SIN],
            {**HEADS, "do_rotary": 1},
        ),
        (0,),
    ),
    (Case("RotaryEmbedding", [floats(2, 3, 16), COS, SIN, fixed([[2, 3, 4], [0, 1, 5]])], {"num_heads": 2}, opset=23), (0,)),
    (Contrib("RotaryEmbedding", [floats(2, 3, 16), fixed([[2, 3, 4], [0, 1, 5]]), COS, SIN], {"interleaved": 1}), (0,)),
    (Case("Conv", [floats(1, 4, 7, 6), floats(6, 2, 3, 2)], {"group": 2, "strides": [2, 1], "pads": [1, 0, 1, 1]}), (0,)),
    (Case("Gemm", [floats(3, 4), floats(5, 4), floats(5)], {"transB": 1, "alpha": 0.5}), (0, 2)),
    (Case("LayerNormalization", [floats(2, 5), floats(5), floats(5)], opset=17), (0,)),
    (Case("Softmax", [floats(2, 3, 5)], {"axis": 1}), (0,)),
    (Case("Slice", SLICE), (0,)),
    (Case("AveragePool", [floats(1, 2, 6, 6)], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}), (0,)),
    (Contrib("FusedConv", [floats(1, 2, 5, 5), floats(3, 2, 3, 3), floats(3), floats(1, 3, 3, 3)], {"activation": "Tanh"}), (0, 3)),
    (Contrib("NhwcFusedConv", [floats(1, 5, 5, 2), floats(3, 2, 3, 3), floats(3)], {"activation": "Tanh"}), (0,)),
    (Contrib("FusedGemm", [floats(3, 4), floats(4, 5), floats(5)], {"activation": "Tanh"}), (0,)),
    (Contrib("FusedMatMul", [floats(2, 3, 4), floats(2, 5, 4)], {"transB": 1, "alpha": 0.3}), (0, 1)),
    (Contrib("BiasGelu", [floats(3, 4), floats(4)]), (0, 1)),
    (Contrib("SkipLayerNormalization", [floats(2, 3, 8), floats(2, 3, 8), floats(8), floats(8), floats(8)], outputs=1), (0, 1)),
    (Contrib("SkipSimplifiedLayerNormalization", [floats(2, 3, 8), floats(2, 3, 8), floats(8)], outputs=1), (0, 1)),
    (Contrib("SimplifiedLayerNormalization", [floats(2, 3, 8), floats(8)]), (0,)),
    (Case("GroupNormalization", [floats(2, 6, 3, 3), floats(6), floats(6)], {"num_groups": 3}), (0,)),
    (Case("ReduceLogSumExp", [floats(2, 3, 5), fixed([1])], {"keepdims": 0}), (0,)),
    (Case("ReduceSumSquare", [floats(2, 3, 5), fixed([1, 2])]), (0,)),
    (Case("ReduceL1", [floats(2, 3, 5)], {"axes": [2]}, opset=13), (0,)),
    (Case("Mean", [floats(2, 3), floats(3), floats(2, 1)]), (0, 1, 2)),
    (Case("LpNormalization", [floats(2, 3, 5)], {"axis": 1}), (0,)),
    (Case("Einsum", [floats(2, 4, 3, 5), floats(2, 6, 3, 5)], {"equation": "bqhd,bkhd->bhqk"}), (0, 1)),
    (Case("Einsum", [floats(2, 3, 4), floats(4, 5), floats(3)], {"equation": "bij,jk,i->bk"}), (0, 2)),
    (Case("CumSum", [floats(3, 4), fixed(1)], {"exclusive": 1}), (0,)),
    (Case("TopK", [floats(3, 6), fixed([2])], {"axis": 1}, outputs=2), (0,)),
    (Case("Resize", [floats(1, 2, 4, 5), None, None, fixed([1, 2, 7, 6])], {"mode": "linear"}), (0,)),
    (Case("Resize", [floats(1, 2, 4, 5), None, fixed([1.0, 1.0, 2.0, 2.0], "float32")], {"mode": "nearest"}), (0,)),
    (Case("Resize", [floats(1, 2, 8, 9), None, None, fixed([1, 2, 3, 4])], {"mode": "cubic", "antialias": 1}), (0,)),
    (Case("ScatterND", [floats(4, 3), fixed([[1], [3]]), floats(2, 3)]), (0, 2)),
    (Case("ScatterElements", [floats(3, 4), fixed([[1, 0], [2, 2]]), floats(2, 2)], {"axis": 0}), (0, 2)),
    (Case("Where", [fixed([True, False, True], "bool"), floats(2, 3), floats(2, 3)]), (1, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "wanted"), CASES, ids=str)
def test_a_rule_is_the_transpose_of_the_derivative(case: Case, wanted: tuple[int, ...]) -> None:
    """On two draws at once, every output's gradient arriving."""
    load()
    assert backward.RULES
    rng = np.random.default_rng(sum(map(ord, str(case))))
    arrays = [
        None if item is None else np.stack([item.make(rng) for _ in range(2 if index in wanted else 1)])
        for index, item in enumerate(case.inputs)
    ]
    held = [None if item is None else draws_of(item, np.float64) for item in arrays]
    node, run = as_node(case), Run(2, np.float64)

    def at(shift: float, moves: dict[int, np.ndarray]) -> list[np.ndarray]:
        inputs = [
            item if item is None or index not in moves else Values(item.values + shift * moves[index], "float64")
            for index, item in enumerate(held)
        ]
        return [item for item in evaluate(node, run, inputs)[: case.outputs] if item is not None]

    outputs = at(0.0, {})
    cotangents = [rng.standard_normal(item.shape) for item in outputs]
    if "ttention" in case.op:
        cotangents[1:] = [np.zeros_like(item) for item in cotangents[1:]]
    found = GRADIENTS[node.kind](node, run, held, outputs, cotangents)
    for index in wanted:
        item = held[index]
        assert item is not None
        moves = {index: rng.standard_normal(item.values.shape)}
        ahead, behind = at(STEP, moves), at(-STEP, moves)
        derivative = sum(
            float(np.sum(c * (a - b))) for c, a, b in zip(cotangents, ahead, behind, strict=True)
        ) / (2 * STEP)  # fmt: skip
        back = found[index]
        assert back is not None
        assert back.shape == item.values.shape
        assert float(np.sum(back * moves[index])) == pytest.approx(derivative, rel=1e-5, abs=1e-7)
