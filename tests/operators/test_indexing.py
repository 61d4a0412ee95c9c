"""Gathers and scatters equal onnxruntime's, draw by draw, with constant and sampled data, indices and updates."""

from collections.abc import Callable

import numpy as np
import pytest

from initlint.errors import Refusal
from initlint.graph import StoredTensor
from initlint.operators import load
from initlint.operators import rows as rows_module
from initlint.operators.table import Run, Stored, evaluate
from tests.operators.harness import Case, Input, Memory, apply, as_node, check, draws_of, fixed, floats, ints

X = floats(4, 3, 5)


def distinct(count: int, extent: int) -> Input:
    """Indices without repetition, so that the order of writing does not matter."""
    return Input(lambda rng: rng.permutation(extent)[:count, np.newaxis].astype(np.int64))


def ranked(*shape: int, axis: int, extent: int) -> Input:
    """Indices without repetition along an axis."""
    return Input(
        lambda rng: (
            np.argsort(rng.random((*shape[:axis], extent, *shape[axis + 1 :])), axis)
            .take(np.arange(shape[axis]), axis)
            .astype(np.int64)
        )
    )


CASES = [
    *(Case("Gather", [X, ints(2, 2, low=-3, high=3)], {"axis": axis}) for axis in (0, 1, -1)),
    Case("Gather", [X, ints(low=0, high=3)], {"axis": 1}),
    Case("Gather", [X, fixed(-1)], {"axis": 0}),
    Case("Gather", [X, ints(0, low=0, high=1)]),
    Case("Gather", [ints(7), ints(3, low=0, high=7, dtype="int32")], opset=7),
    *(Case("GatherElements", [X, ints(4, 3, 5, low=-3, high=3)], {"axis": axis}) for axis in (0, 1, 2)),
    Case("GatherElements", [X, ints(2, 6, 1, low=0, high=3)], {"axis": 1}),
    Case("GatherND", [X, ints(6, 2, low=0, high=3)]),
    Case("GatherND", [X, ints(6, 3, low=-3, high=3)]),
    Case("GatherND", [X, ints(2, 2, 1, low=0, high=4)]),
    Case("GatherND", [X, ints(4, 2, 1, low=0, high=3)], {"batch_dims": 1}),
    Case("GatherND", [X, ints(4, 3, 1, low=0, high=5)], {"batch_dims": 2}),
    *(
        Case("ScatterElements", [X, ranked(4, 3, 5, axis=axis, extent=(4, 3, 5)[axis]), X], {"axis": axis})
        for axis in (0, 1, 2)
    ),
    Case("ScatterElements", [X, ranked(2, 2, 3, axis=2, extent=5), floats(2, 2, 3)], {"axis": -1}, opset=11),
    Case("Scatter", [X, ranked(2, 2, 3, axis=0, extent=4), floats(2, 2, 3)], opset=9),
    *(
        Case("ScatterElements", [X, ints(4, 3, 5, low=-3, high=3), X], {"axis": 1, "reduction": reduction}, opset=18)
        for reduction in ("add", "mul", "max", "min")
    ),
    Case("ScatterND", [X, distinct(2, 4), floats(2, 3, 5)]),
    Case("ScatterND", [X, fixed([[0, 1], [2, 2]]), floats(2, 5)]),
    Case("ScatterND", [X, fixed([[[0, 1, 4]], [[-1, 2, -5]]]), floats(2, 1)]),
    *(
        Case("ScatterND", [X, ints(6, 2, low=0, high=3), floats(6, 5)], {"reduction": reduction}, opset=18)
        for reduction in ("add", "mul", "max", "min")
    ),
    *(
        Case(
            "TensorScatter",
            [floats(2, 3, 8, 4), floats(2, 3, 2, 4), ints(2, low=0, high=6)],
            {"mode": mode},
            opset=24,
            oracle="reference",
        )
        for mode in ("linear", "circular")
    ),
    Case(
        "TensorScatter",
        [floats(2, 8, 4), floats(2, 3, 4), fixed([7, 6])],
        {"mode": "circular"},
        opset=24,
        oracle="reference",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator_equals_onnxruntime(case: Case) -> None:
    """Every mix of constant and sampled inputs gives what onnxruntime gives for each draw."""
    check(case)


@pytest.mark.parametrize(
    "case",
    [
        Case("Gather", [X, fixed([4])]),
        Case("Gather", [X, fixed([-(1 << 63)])]),
        Case("Gather", [X, fixed([0.0], "float32")]),
        Case("GatherElements", [X, fixed([[[5]]])], {"axis": 2}),
        Case("GatherElements", [X, fixed([5])]),
        Case("GatherND", [X, fixed([[0, 0, 0, 0]])]),
        Case("GatherND", [X, fixed([[9]])]),
        Case("GatherND", [X, fixed([[0]])], {"batch_dims": 2}),
        Case("ScatterND", [X, fixed([[0]]), floats(1, 5)]),
        Case("ScatterElements", [X, fixed([[[0]]]), floats(1, 1, 2)]),
        Case("ScatterElements", [X, fixed([[[0]]]), floats(1, 1, 1)], {"reduction": "xor"}, opset=18),
        Case("TensorScatter", [floats(2, 8, 4), floats(2, 3, 4), fixed([7, 6])], opset=24),
    ],
    ids=str,
)
def test_contradiction_is_refused(case: Case) -> None:
    """An index outside its axis is refused before anything is read."""
    rng = np.random.default_rng(0)
    with pytest.raises(Refusal):
        apply(case, [item and item.make(rng)[np.newaxis] for item in case.inputs])


class Counting(Memory):
    """Memory that adds up the bytes read and notes the largest read."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self.largest = 0
        self.total = 0

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer, counting."""
        self.largest = max(self.largest, len(buffer))
        self.total += len(buffer)
        super().read_into(offset, buffer)


def stored(array: np.ndarray) -> tuple[Stored, Counting]:
    """An array as a stored tensor."""
    source = Counting(array.tobytes())
    tensor = StoredTensor("table", array.dtype.name, array.shape, source, 0, array.nbytes)
    return Stored(tensor, np.float32), source


LARGE: dict[str, tuple[Case, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "Gather": (Case("Gather", [None, None]), lambda table, x: table[x]),
    "MatMul": (Case("MatMul", [None, None]), lambda table, x: x @ table),
    "Gemm": (Case("Gemm", [None, None]), lambda table, x: x @ table),
    "Gemm transposed": (Case("Gemm", [None, None], {"transB": 1}), lambda table, x: x @ table.T),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_table_is_read_in_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored weight beyond the limit gives the same product without ever being read as a whole."""
    pytest.importorskip("initlint.elements")
    monkeypatch.setattr(rows_module, "LARGE", 1000)
    monkeypatch.setattr(rows_module, "BLOCK", 400)
    rng = np.random.default_rng(3)
    table = rng.standard_normal((64, 16)).astype(np.float32)
    item, source = stored(table)
    case, want = LARGE[name]
    load()
    node = as_node(Case(case.op, [floats(1), floats(1)], case.attributes))
    if case.op == "Gather":
        x = np.array([[[3, 60, 3], [4, 5, -1]], [[0, 1, 2], [63, 7, 9]]])
        inputs = [item, draws_of(x, np.float32)]
    else:
        x = rng.standard_normal((2, 5, 16 if "transB" in case.attributes else 64)).astype(np.float32)
        inputs = [draws_of(x, np.float32), item]
    (got,) = evaluate(node, Run(2, np.float32), inputs)
    np.testing.assert_allclose(got, want(table, x), rtol=1e-5, atol=1e-5)
    assert source.largest <= 400
    if case.op == "Gather":
        assert source.total < table.nbytes / 2
