"""The reader against onnx's own: every element type, every place a tensor can hang, names, functions, orders of nodes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import helper, numpy_helper

from initlint.elements import NAMES
from initlint.errors import Reason, Refusal
from initlint.graph import Model, StoredTensor
from initlint.model import open_model
from tests.graphs import model_of, tensor_of

ALONE = "g (float[1] x) => (float[1] y) { y = Identity(x) }"
NUMERIC = [number for number, name in NAMES.items() if name != "string"]


@contextmanager
def opened(source: Any) -> Iterator[Model]:
    with open_model(source.SerializeToString() if isinstance(source, onnx.ModelProto) else source) as model:
        yield model


def stored(source: Any, name: str = "w") -> np.ndarray:
    with opened(source) as model:
        tensor = next(item for item in model.initializers() if item.name == name)
        return np.array(tensor.read())


def samples(number: int) -> np.ndarray:
    """Seventeen values that the type can hold: an odd count, so that packed types end inside a byte."""
    name = NAMES[number]
    if name == "bool":
        return np.arange(17) % 3 == 0
    if name.startswith(("uint", "int")):
        bits = int(name.lstrip("uint"))
        low = 0 if name[0] == "u" else -(2 ** (bits - 1))
        high = 2 ** (bits if name[0] == "u" else bits - 1) - 1
        return np.array([low + (high - low) * i // 16 for i in range(17)], object)
    if name.startswith("complex"):
        return np.arange(17) * (1 + 2j)
    if name == "float8e8m0":
        return 2.0 ** np.arange(-8, 9)
    return np.array([0.0, -0.0, 0.5, 1, -1, 1.5, 2, -3, 4, 6, -6, 0.5, 1, 2, 3, 4, 1.0])


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("number", NUMERIC, ids=[NAMES[number] for number in NUMERIC])
def test_every_element_type(number: int, *, raw: bool) -> None:
    """Bytes or typed fields, packed or not: the values are those that onnx reads."""
    values = samples(number)
    if NAMES[number].startswith(("uint", "int")):
        values = values.astype(numpy_helper.to_array(helper.make_tensor("t", number, [1], [0])).dtype)
    tensor = tensor_of(values, number, raw=raw)
    expected = numpy_helper.to_array(tensor)
    ours = stored(model_of(ALONE, {"w": tensor}))
    assert ours.shape == expected.shape
    if NAMES[number].startswith(("uint", "int")):
        assert [int(item) for item in ours] == [int(item) for item in expected]
    else:
        wide = np.complex128 if "complex" in NAMES[number] else np.float64
        assert np.array_equal(ours.astype(wide), expected.astype(wide))


def test_every_type_of_the_installed_onnx_is_known() -> None:
    """A new element type of the format must not pass for an unknown number."""
    known = {value for name, value in onnx.TensorProto.DataType.items() if name != "UNDEFINED"}
    assert known <= set(NAMES)


@settings(max_examples=80, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=9), elements=st.floats(width=32)), st.booleans())
def test_values_survive(array: np.ndarray, external: bool) -> None:  # noqa: FBT001 - hypothesis passes by position
    """Whatever the shape and the bits, NaN payloads and infinities too."""
    tensor = numpy_helper.from_array(array)
    if external:
        tensor = tensor_of(array, 1, raw=False) if not np.isnan(array).any() else tensor
    found = stored(model_of(ALONE, {"w": tensor}))
    assert found.shape == array.shape
    assert np.array_equal(found, array, equal_nan=True)


# -- where tensors hang ------------------------------------------------------------------------------------------------


def test_a_constant_node_is_an_initializer() -> None:
    """Whether it holds a tensor, a number or numbers."""
    text = """g (float[1] x) => (float[1] y, float a, float[2] b, int64 c) {
        y = Identity(x)
        a = Constant <value_float = 2.5> ()
        b = Constant <value_floats = [1.0, -1.0]> ()
        c = Constant <value_int = 7> ()
    }"""
    model = model_of(text)
    for name, value in (("a", 2.5), ("b", [1.0, -1.0]), ("c", 7)):
        assert stored(model, name).tolist() == value


def test_a_sparse_initializer_is_written_out() -> None:
    """Linear and coordinate indices."""
    for indices in (np.array([1, 5], np.int64), np.array([[0, 1], [1, 2]], np.int64)):
        model = model_of(ALONE)
        values = numpy_helper.from_array(np.array([2.0, 3.0], np.float32), "w")
        model.graph.sparse_initializer.append(
            helper.make_sparse_tensor(values, numpy_helper.from_array(indices), [2, 3])
        )
        assert stored(model).tolist() == [[0, 2, 0], [0, 0, 3]]


def external_model(folder: Path, arrays: dict[str, np.ndarray], *, one_file: bool, alignment: int = 0) -> Path:
    model = model_of(ALONE, arrays)
    onnx.save(
        model, str(folder / "model.onnx"), save_as_external_data=True, all_tensors_to_one_file=one_file, size_threshold=0,
        location="weights.bin" if one_file else None,
    )  # fmt: skip
    if alignment:
        proto = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        data = (folder / "weights.bin").read_bytes()
        (folder / "weights.bin").write_bytes(b"\0" * alignment + data)
        for tensor in proto.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "offset":
                    entry.value = str(int(entry.value) + alignment)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize(("one_file", "alignment"), [(True, 0), (False, 0), (True, 1)])
def test_external_data(tmp_path: Path, *, one_file: bool, alignment: int) -> None:
    """In one file or several, at any offset."""
    rng = np.random.default_rng(5)
    arrays = {f"w{i}": rng.standard_normal((30, 10 + i)).astype(np.float32) for i in range(3)}
    path = external_model(tmp_path, arrays, one_file=one_file, alignment=alignment)
    for name, array in arrays.items():
        assert np.array_equal(stored(str(path), name), array)


def test_a_model_in_memory_is_read_as_its_file(tmp_path: Path) -> None:
    """A path, bytes, a ModelProto and an onnx_ir model give the same graph and the same weights."""
    onnx_ir = pytest.importorskip("onnx_ir")
    weight = np.random.default_rng(1).standard_normal((40, 40)).astype(np.float32)
    proto = model_of("g (float[1,40] x) => (float[1,40] y) { y = MatMul(x, w) }", {"w": weight})
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    for source in (str(path), path, path.read_bytes(), proto, onnx_ir.from_proto(proto)):
        with open_model(source) as model:
            assert [node.op for node in model.nodes()] == ["MatMul"]
            (tensor,) = model.initializers()
            assert np.array_equal(tensor.read(), weight)


# -- graphs ------------------------------------------------------------------------------------------------------------


def test_any_order_of_nodes() -> None:
    """onnxruntime runs a graph in any order; the reader sorts it."""
    text = "g (float[1] x) => (float[1] y) { a = Relu(x) b = Neg(a) y = Abs(b) }"
    model = model_of(text)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with opened(model) as found:
        assert [node.op for node in found.nodes()] == ["Relu", "Neg", "Abs"]


FUNCTIONS = """
<ir_version: 9, opset_import: ["" : 18, "d" : 1]>
g (float[1,4] x) => (float[1,4] y) { h = d.F <alpha = 0.5> (x, w) y = d.F <alpha = 0.25> (h, w) }
<domain: "d", opset_import: ["" : 18]>
F <alpha> (a, b) => (c) { t = MatMul(a, b) c = LeakyRelu <alpha: float = @alpha> (t) }
"""


def test_functions_are_inlined() -> None:
    """Names stay apart, attributes are the call's; onnx's own inliner gives the same graph."""
    model = onnx.parser.parse_model(FUNCTIONS)
    model.graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"))
    with opened(model) as found:
        ops = [(node.op, node.attributes.get("alpha")) for node in found.nodes()]
        names = [name for node in found.nodes() for name in node.outputs]
        assert ops == [("MatMul", None), ("LeakyRelu", 0.5), ("MatMul", None), ("LeakyRelu", 0.25)]
        assert len(set(names)) == len(names)
        assert found.graph.outputs[0].name == names[-1]
    inlined = onnx.inliner.inline_local_functions(model)
    with opened(inlined) as twin:
        assert [(node.op, node.attributes.get("alpha")) for node in twin.nodes()] == ops


def test_a_name_used_in_two_branches_is_two_values() -> None:
    """Each branch of an If may call its own value `t`."""
    text = """g (bool c, float[1] x) => (float[1] y) {
        y = If (c) <
            then_branch = a () => (float[1] t) { t = Neg(x) },
            else_branch = b () => (float[1] t) { t = Abs(x) }
        >
    }"""
    with opened(model_of(text)) as model:
        inner = [node for node in model.nodes() if node.op in {"Neg", "Abs"}]
        assert len({node.outputs[0] for node in inner}) == 2
        assert {node.inputs[0] for node in inner} == {"x"}


def test_an_initializer_that_is_an_input_too_is_a_weight() -> None:
    """An input with a default is not fed."""
    model = model_of(
        "g (float[1,4] x, float[4,4] w) => (float[1,4] y) { y = MatMul(x, w) }", {"w": np.eye(4, dtype=np.float32)}
    )
    with opened(model) as found:
        assert [info.name for info in found.graph.inputs] == ["x"]
        assert [tensor.name for tensor in found.initializers()] == ["w"]


def _twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def _undefined(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


def _cycle(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Neg", ["b"], ["a"]))
    model.graph.node.append(helper.make_node("Neg", ["a"], ["b"]))


def _no_graph(model: onnx.ModelProto) -> None:
    model.ClearField("graph")


def _opset_twice(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="ai.onnx", version=7)


def _no_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = ""


@pytest.mark.parametrize("damage", [_twice, _undefined, _cycle, _no_graph, _opset_twice, _no_operator])
def test_a_graph_that_contradicts_itself_is_refused(damage: Any) -> None:
    """Written twice, read before it exists, in a circle, not there."""
    model = model_of(ALONE)
    damage(model)
    with pytest.raises(Refusal) as refusal, opened(model):
        pass
    assert refusal.value.reason in {Reason.GRAPH, Reason.MALFORMED}


def test_strings_have_no_numbers() -> None:
    """A tensor of strings is read as one and never decoded."""
    model = model_of(ALONE, {"w": helper.make_tensor("w", onnx.TensorProto.STRING, [2], [b"a", b"b"])})
    with opened(model) as found:
        (tensor,) = found.initializers()
        assert isinstance(tensor, StoredTensor)
        assert (tensor.dtype, tensor.shape) == ("string", (2,))


def test_four_bit_types_are_what_ml_dtypes_says() -> None:
    """Low bits first, signs extended."""
    for number, kind in ((22, ml_dtypes.int4), (21, ml_dtypes.uint4)):
        values = np.arange(-8, 8) if number == 22 else np.arange(16)
        ours = stored(model_of(ALONE, {"w": numpy_helper.from_array(values.astype(kind), "w")}))
        assert ours.tolist() == values.tolist()
        assert NAMES[number] == np.dtype(kind).name
