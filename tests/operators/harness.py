"""One operator at a time against onnxruntime: our S joint draws must equal S separate runs of a one-node model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import ml_dtypes  # noqa: F401 - registers bfloat16 and the float8 types with numpy
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from initlint.graph import Attribute, Node, StoredTensor
from initlint.operators import load
from initlint.operators.table import Draws, Run, Values, evaluate

__all__ = ["Case", "Input", "apply", "as_node", "booleans", "check", "draws_of", "fixed", "floats", "ints", "positive"]

DRAWS = 3
Make = Callable[[np.random.Generator], np.ndarray]


class Memory:
    """Bytes of a tensor attribute."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer."""
        buffer[:] = self.payload[offset : offset + len(buffer)]

    @property
    def location(self) -> str:
        """No file."""
        return "<memory>"


@dataclass(frozen=True)
class Input:
    """An input of a case: how to make one draw of it, and whether it may depend on the network's input."""

    make: Make
    sampled: bool = True


def floats(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Input:
    """Normal draws of this shape."""
    return Input(lambda rng: (rng.standard_normal(shape) * scale + shift).astype(np.float32))


def positive(*shape: int, low: float = 0.1, high: float = 3.0) -> Input:
    """Uniform draws between two bounds."""
    return Input(lambda rng: rng.uniform(low, high, shape).astype(np.float32))


def ints(*shape: int, low: int = -9, high: int = 10, dtype: str = "int64") -> Input:
    """Integer draws in [low, high)."""
    return Input(lambda rng: rng.integers(low, high, shape).astype(dtype))


def booleans(*shape: int) -> Input:
    """Fair coins."""
    return Input(lambda rng: rng.integers(0, 2, shape).astype(bool))


def fixed(values: Any, dtype: str = "int64") -> Input:
    """A constant that never depends on the network's input: shapes, axes, pads."""
    array = values if isinstance(values, np.ndarray) else np.asarray(values, dtype)
    return Input(lambda _: array, sampled=False)


@dataclass(frozen=True)
class Case:
    """A one-node model. An input of None is omitted."""

    op: str
    inputs: Sequence[Input | None]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 21
    outputs: int = 1
    domain: str = ""
    oracle: str = "onnxruntime"  # or "reference": onnx.reference, where onnxruntime has no such kernel
    tolerance: float = 1e-5
    float_type: type[np.floating] = np.float32

    def __str__(self) -> str:
        """Short enough for a test id."""
        shapes = ",".join(
            "-" if item is None else str(item.make(np.random.default_rng(0)).shape).replace(" ", "")
            for item in self.inputs
        )
        settings = ",".join(
            f"{key}={'...' if isinstance(value, onnx.TensorProto) else value}" for key, value in self.attributes.items()
        )
        return f"{self.op}-{self.opset}({shapes}){{{settings}}}"


def as_node(case: Case) -> Node:
    """The case's node as the reader would give it."""
    proto = node_proto(case)
    return Node(
        op=case.op,
        domain=case.domain,
        version=case.opset,
        name="node",
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={item.name: attribute_of(item) for item in proto.attribute},
        index=0,
    )


def attribute_of(proto: onnx.AttributeProto) -> Attribute:
    """An attribute in the reader's types."""
    value = helper.get_attribute_value(proto)
    if isinstance(value, onnx.TensorProto):
        array = numpy_helper.to_array(value)
        name = helper.tensor_dtype_to_string(value.data_type).removeprefix("TensorProto.").lower()
        names = {"float": "float32", "double": "float64"}
        payload = array.tobytes()
        return StoredTensor("value", names.get(name, name), array.shape, Memory(payload), 0, len(payload))
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, int | float | str):
        return value
    return tuple(item.decode() if isinstance(item, bytes) else item for item in value)


def node_proto(case: Case) -> onnx.NodeProto:
    """The case's node."""
    names = ["" if item is None else f"x{index}" for index, item in enumerate(case.inputs)]
    outputs = [f"y{index}" for index in range(case.outputs)]
    return helper.make_node(case.op, names, outputs, name="node", domain=case.domain, **case.attributes)


def oracle_of(case: Case, example: Sequence[np.ndarray | None]) -> Callable[[Sequence[np.ndarray | None]], list[Any]]:
    """A function from one draw of the inputs to the outputs of onnxruntime (or onnx.reference)."""
    infos = [
        helper.make_tensor_value_info(f"x{index}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for index, array in enumerate(example)
        if array is not None
    ]
    outputs = [onnx.ValueInfoProto(name=f"y{index}") for index in range(case.outputs)]
    graph = helper.make_graph([node_proto(case)], "case", infos, outputs)
    opsets = [helper.make_opsetid(case.domain, case.opset)]
    if case.domain:
        opsets.append(helper.make_opsetid("", 21))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=min(10, onnx.IR_VERSION))
    if case.oracle == "reference":
        evaluator = ReferenceEvaluator(model)
        run = lambda feed: evaluator.run(None, feed)  # noqa: E731
    else:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        run = lambda feed: session.run(None, feed)  # noqa: E731
    return lambda arrays: run({f"x{index}": array for index, array in enumerate(arrays) if array is not None})


def draws_of(array: np.ndarray, float_type: type[np.floating]) -> Draws:
    """An array `[s, *shape]` as the driver would hold it."""
    dtype = array.dtype.name
    return Values(array.astype(float_type) if array.dtype.kind == "f" or dtype == "bfloat16" else array, dtype)


def apply(case: Case, arrays: Sequence[np.ndarray | None], run: Run | None = None) -> tuple[np.ndarray | None, ...]:
    """Our outputs for inputs `[s, *shape]`, with numpy's warnings off as in the driver."""
    load()
    run = Run(DRAWS, case.float_type) if run is None else run
    with np.errstate(all="ignore"):
        inputs = [None if array is None else draws_of(array, case.float_type) for array in arrays]
        results = evaluate(as_node(case), run, inputs)
    return tuple(item.values if isinstance(item, Draws) else item for item in results)


def mixes(case: Case) -> list[set[int]]:
    """Which inputs depend on the network's input: none, all that can, and each alone."""
    possible = [index for index, item in enumerate(case.inputs) if item is not None and item.sampled]
    found: list[set[int]] = [set()]
    if possible:
        found.append(set(possible))
    if len(possible) > 1:
        found.extend({index} for index in possible)
    return found


def check(case: Case) -> None:
    """Compare every mix of constant and sampled inputs with the oracle, draw by draw."""
    seeds = count(sum(map(ord, str(case))))
    oracle = None
    for mix in mixes(case):
        rng = np.random.default_rng(next(seeds))
        arrays = [
            None if item is None else np.stack([item.make(rng) for _ in range(DRAWS if index in mix else 1)])
            for index, item in enumerate(case.inputs)
        ]
        one = [
            [None if item is None else np.asarray(item[draw % len(item)]) for item in arrays] for draw in range(DRAWS)
        ]
        if oracle is None:
            oracle = oracle_of(case, one[0])
        results = apply(case, arrays)
        wanted = [oracle(item) for item in one[: DRAWS if mix else 1]]
        for index in range(case.outputs):
            compare(case, mix, results[index], [item[index] for item in wanted])


def compare(case: Case, mix: set[int], result: np.ndarray | None, wanted: Sequence[np.ndarray]) -> None:
    """One output against the oracle's."""
    assert result is not None, f"{case}: no output"
    if not mix:
        assert result.shape[0] == 1, f"{case}: constants in, {result.shape[0]} draws out"
    assert result.shape[0] in {1, len(wanted)}, f"{case} {mix}: {result.shape[0]} draws"
    for draw, theirs in enumerate(wanted):
        got = result[draw % result.shape[0]]
        want = np.asarray(theirs)
        assert got.shape == want.shape, f"{case} {mix}: shape {got.shape}, wanted {want.shape}"
        if want.dtype.kind == "f":
            assert got.dtype == case.float_type, f"{case}: {got.dtype} instead of {case.float_type}"
            finite = np.abs(want[np.isfinite(want)])
            size = float(finite.max()) if finite.size else 1.0
            np.testing.assert_allclose(
                got, want, rtol=case.tolerance, atol=case.tolerance * max(size, 1e-30), err_msg=f"{case} {mix}"
            )
        else:
            assert want.dtype in (got.dtype, object), f"{case}: {got.dtype} instead of {want.dtype}"
            np.testing.assert_array_equal(got, want, err_msg=f"{case} {mix}")
