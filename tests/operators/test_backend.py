"""ONNX's own conformance cases, for every operator the table has: an oracle beside onnxruntime."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from initlint.elements import FLOATS, name_of
from initlint.graph import Node
from initlint.operators import load
from initlint.operators.table import Draws, Run, Values, evaluate
from tests.operators.harness import attribute_of

# Cases where we knowingly differ, with the reason.
EXCEPTIONS = {
    "test_bernoulli": "random",
    "test_bernoulli_double": "random",
    "test_bernoulli_seed": "random",
    "test_training_dropout": "random",
    "test_training_dropout_default": "random",
    "test_training_dropout_default_mask": "random",
    "test_training_dropout_mask": "random",
    "test_maxunpool_export_with_output_shape": "onnxruntime reads the indices in the wanted shape, and so do we",
    "test_resize_downsample_scales_cubic_align_corners": "onnxruntime aligns the corners of the rounded output",
    "test_resize_downsample_scales_linear_align_corners": "onnxruntime aligns the corners of the rounded output",
    "test_cast_e8m0_FLOAT_to_FLOAT8E8M0": "a type of scales only, kept unrounded",
    "test_cast_e8m0_FLOAT16_to_FLOAT8E8M0": "a type of scales only, kept unrounded",
}
NOT_FOLLOWED = {
    "test_ai_onnx_ml_tree_ensemble_set_membership": "membership in a set: its tensors are unknown, and said to be"
}
UNSUPPORTED = {"Optional", "OptionalGetElement", "OptionalHasElement", "SequenceMap"}  # values that are no tensors
LOOSE = {"float16": 2e-3, "bfloat16": 2e-2}


def working(value: Any) -> tuple[np.ndarray, str] | None:
    """A case's tensor with its element type, floats in float64, small integers one a byte; None if it is no tensor."""
    if isinstance(value, onnx.TensorProto):
        dtype, array = name_of(value.data_type), numpy_helper.to_array(value)
    elif isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        dtype = "string" if array.dtype.kind in "OTU" else array.dtype.name
        dtype = {"float8_e4m3fn": "float8e4m3fn", "float8_e5m2": "float8e5m2"}.get(dtype, dtype)
    else:
        return None
    if dtype in FLOATS:
        return array.astype(np.float64), dtype
    if dtype in {"int4", "int2", "uint4", "uint2"}:
        return array.astype(np.int8 if dtype.startswith("int") else np.uint8), dtype
    return array, dtype


def cases() -> Iterator[tuple[str, Node, list[tuple[np.ndarray, str] | None], list[tuple[np.ndarray, str]]]]:
    """(name, node, inputs, outputs) of every one-node case whose operator the table has."""
    table = load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    for case in collected:
        if case.model is None or len(case.model.graph.node) != 1:
            continue
        proto = case.model.graph.node[0]
        kind = f"{proto.domain}::{proto.op_type}" if proto.domain else proto.op_type
        if kind not in table or proto.op_type in UNSUPPORTED:
            continue
        if any(item.type == onnx.AttributeProto.GRAPH for item in proto.attribute):
            continue
        version = max(item.version for item in case.model.opset_import if item.domain == proto.domain)
        attributes = {item.name: attribute_of(item) for item in proto.attribute}
        node = Node(
            proto.op_type, proto.domain, version, "node", tuple(proto.input), tuple(proto.output), attributes, 0
        )
        names = [item.name for item in case.model.graph.input]
        for values, wanted in case.data_sets:
            feed = dict(zip(names, map(working, values), strict=True))
            inputs = [feed[name] if name else None for name in proto.input]
            outputs = [working(value) for value in wanted]
            if any(name and item is None for name, item in zip(proto.input, inputs, strict=True)) or None in outputs:
                continue
            yield case.name, node, inputs, outputs  # type: ignore[misc]


def mismatch(results: tuple[Any, ...], wanted: list[tuple[np.ndarray, str]]) -> str:
    """What differs, in a line; empty if nothing does."""
    for index, (want, dtype) in enumerate(wanted):
        result = results[index]
        values = result.values if isinstance(result, Draws) else result
        for got in values:
            if got.shape != want.shape:
                return f"shape {got.shape} instead of {want.shape}"
            tolerance = LOOSE.get(dtype, 0.13 if "float8" in dtype or "float4" in dtype else 1e-4)
            if want.dtype.kind == "f":
                if not np.allclose(got, want, rtol=tolerance, atol=tolerance, equal_nan=True):
                    return f"values, {np.abs(got - want).max():.3g}"
            elif not np.array_equal(got, want):
                return "values"
    return ""


@pytest.mark.parametrize("draws", [1, 2])
def test_conformance_cases_hold(draws: int) -> None:
    """Each case of the ONNX project comes out right, as a constant and with its first float input as two draws."""
    seen, wrong = 0, {}
    for name, node, inputs, wanted in cases():
        if name in EXCEPTIONS or name in NOT_FOLLOWED:
            continue
        feed: list[Draws | None] = []
        for position, item in enumerate(inputs):
            # Bounds of a Range and elements of Unique decide on a shape: they stay constant.
            sampled = position == 0 and item is not None and item[1] in FLOATS and node.op not in {"Range", "Unique"}
            feed.append(None if item is None else Values(np.stack([item[0]] * (draws if sampled else 1)), item[1]))
        seen += 1
        try:
            with np.errstate(all="ignore"):
                results = evaluate(node, Run(draws, np.float64), feed)
                named = tuple(item for item, output in zip(results, node.outputs, strict=False) if output)
                difference = mismatch(named, wanted)
        except Exception as error:  # noqa: BLE001 - every case is tried, and the failures are listed together
            difference = f"{type(error).__name__}: {error}"
        if difference:
            wrong[f"{name} (opset {node.version})"] = difference
    assert seen > 900
    assert not wrong, "\n".join(f"{name}: {difference}" for name, difference in wrong.items())
