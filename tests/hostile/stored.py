"""Tensors that lie about themselves (ids t..)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import SparseTensorProto, TensorProto, helper, numpy_helper

from tests.hostile.cases import FLOAT, Want, case, graph_model, mlp, network, tensor

Change = Callable[[TensorProto], None]


def with_weight(weight: TensorProto) -> onnx.ModelProto:
    """One MatMul by this weight."""
    return network([helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")], [weight])


def weight(identity: str, want: Want) -> Callable[[Change], Change]:
    """A case that changes one thing of a good 8x8 weight."""

    def register(change: Change) -> Change:
        def make(_: Path) -> onnx.ModelProto:
            proto = tensor("w", 8, 8)
            change(proto)
            return with_weight(proto)

        make.__doc__ = change.__doc__
        case(identity, want)(make)
        return change

    return register


def dims(proto: TensorProto, *extents: int) -> None:
    del proto.dims[:]
    proto.dims.extend(extents)


@weight("t01", "refuse")
def vast(proto: TensorProto) -> None:
    """10^12 elements in four bytes."""
    dims(proto, 10**6, 10**6)
    proto.raw_data = bytes(4)


@weight("t02b", "refuse")
def wrapping(proto: TensorProto) -> None:
    """Extents whose product wraps in 64 bits."""
    dims(proto, 2**32 + 1, 2**32 - 1)


@weight("t03", "refuse")
def negative(proto: TensorProto) -> None:
    """A negative extent."""
    dims(proto, -1, 4)
    proto.raw_data = bytes(16)


@weight("t03b", "refuse")
def two_negatives(proto: TensorProto) -> None:
    """Two negative extents, whose product is right."""
    dims(proto, -8, -8)


@weight("t06", "refuse")
def too_long(proto: TensorProto) -> None:
    """Four bytes too many."""
    proto.raw_data += bytes(4)


@weight("t07", "refuse")
def two_fields(proto: TensorProto) -> None:
    """Data in two fields that differ."""
    proto.float_data.extend([1.0] * 64)


@weight("t08", "refuse")
def too_short(proto: TensorProto) -> None:
    """float_data one short."""
    proto.ClearField("raw_data")
    proto.float_data.extend([0.1] * 63)


@weight("t09", "refuse")
def untyped(proto: TensorProto) -> None:
    """Element type 0."""
    proto.data_type = 0


@weight("t10", "refuse")
def unknown_type(proto: TensorProto) -> None:
    """Element type 9999."""
    proto.data_type = 9999


@weight("t11", "refuse")
def raw_strings(proto: TensorProto) -> None:
    """Strings as raw bytes."""
    proto.data_type = TensorProto.STRING


@weight("t12", "refuse")
def short_int4(proto: TensorProto) -> None:
    """A packed type, one byte short."""
    proto.data_type = TensorProto.INT4
    proto.raw_data = bytes(31)


@weight("t13", "refuse")
def empty(proto: TensorProto) -> None:
    """64 elements and no data field."""
    proto.ClearField("raw_data")


@case("t14", "refuse")
def future_type(_: Path) -> onnx.ModelProto:
    """A declared element type from the future."""
    model = mlp()
    model.graph.value_info.append(helper.make_tensor_value_info("h", 60, [1, 16]))
    return model


@weight("t15", "refuse")
def many_axes(proto: TensorProto) -> None:
    """Ten thousand axes."""
    dims(proto, *[1] * 10_000)
    proto.raw_data = bytes(4)


def sparse(values: list[float], indices: list[int], extents: list[int]) -> onnx.ModelProto:
    model = network([helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")], [])
    stored = SparseTensorProto(dims=extents)
    stored.values.CopyFrom(helper.make_tensor("w", FLOAT, [len(values)], values))
    stored.indices.CopyFrom(helper.make_tensor("i", TensorProto.INT64, [len(indices)], indices))
    model.graph.sparse_initializer.append(stored)
    return model


@case("t16", "refuse")
def sparse_outside(_: Path) -> onnx.ModelProto:
    """A sparse index beyond the end."""
    return sparse([1.0, 2.0], [3, 64], [8, 8])


@case("t17", "refuse")
def sparse_bomb(_: Path) -> onnx.ModelProto:
    """One value of 10^12."""
    return sparse([1.0], [5], [10**6, 10**6])


@case("t16b", "refuse")
def sparse_twice(_: Path) -> onnx.ModelProto:
    """A sparse element given twice."""
    return sparse([1.0, 2.0], [3, 3], [8, 8])


@case("t16c", "analyse")
def sparse_good(_: Path) -> onnx.ModelProto:
    """An honest sparse weight."""
    return sparse([0.7] * 32, list(range(0, 64, 2)), [8, 8])


@weight("t18", "refuse")
def nameless(proto: TensorProto) -> None:
    """A weight without a name."""
    proto.name = ""


@weight("t20", "refuse")
def segment(proto: TensorProto) -> None:
    """Part of a larger tensor."""
    proto.segment.begin, proto.segment.end = 0, 64


@weight("t21", "analyse")
def nans(proto: TensorProto) -> None:
    """Nothing but NaN."""
    proto.raw_data = np.full(64, np.nan, np.float32).tobytes()


@case("t23", "analyse")
def largest_half(_: Path) -> onnx.ModelProto:
    """float16 at its largest: sums and squares overflow it."""
    stored = numpy_helper.from_array(np.full((8, 8), 65504, np.float16), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, None)],
        [stored],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@weight("t28", "refuse")
def wide_half(proto: TensorProto) -> None:
    """float16 bits that need more than sixteen."""
    proto.ClearField("raw_data")
    proto.data_type = TensorProto.FLOAT16
    proto.int32_data.extend([65536 + 15360] * 64)


@case("t29", "analyse")
def odd_booleans(_: Path) -> onnx.ModelProto:
    """Booleans that are neither 0 nor 1."""
    mask = TensorProto(name="m", data_type=TensorProto.BOOL, dims=[8], raw_data=bytes([0, 1, 2, 255, 7, 0, 128, 3]))
    zero = numpy_helper.from_array(np.zeros(8, np.float32), "z")
    return graph_model(helper.make_node("Where", ["m", "x", "z"], ["h"]), stored=[mask, zero])


@weight("t32", "refuse")
def scalar(proto: TensorProto) -> None:
    """No axes and 64 numbers."""
    dims(proto)


# -- of the same kinds ------------------------------------------------------------------------------------------------


@weight("t33", "refuse")
def wrong_field(proto: TensorProto) -> None:
    """float32 in int32_data."""
    proto.ClearField("raw_data")
    proto.int32_data.extend([1] * 64)


@weight("t34", "refuse")
def inside_and_outside(proto: TensorProto) -> None:
    """External entries on a tensor that holds its data."""
    proto.external_data.add(key="location", value="w.bin")


@weight("t36", "analyse")
def infinities(proto: TensorProto) -> None:
    """Both infinities."""
    proto.raw_data = np.tile(np.array([np.inf, -np.inf], np.float32), 32).tobytes()


@weight("t37", "analyse")
def extremes(proto: TensorProto) -> None:
    """The largest and smallest floats there are, whose squares overflow and vanish."""
    row = np.array([3.4028235e38, -3.4028235e38, 1e-45, -1e-45, 0.0, -0.0, 1.0, 1e-38], np.float32)
    proto.raw_data = np.tile(row, 8).tobytes()


@case("t38", "refuse")
def two_values(_: Path) -> onnx.ModelProto:
    """Two initializers of one name: libraries run different ones."""
    return network([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor("w", 8, 8), tensor("w", 8, 8, seed=1)])


@weight("t39", "refuse")
def zero_extent(proto: TensorProto) -> None:
    """No elements, and bytes all the same."""
    dims(proto, 0, 8)


@weight("t40", "refuse")
def unpacked_int4(proto: TensorProto) -> None:
    """int4 with one byte an element in raw_data."""
    proto.data_type = TensorProto.INT4
    proto.raw_data = bytes(64)


@weight("t41", "refuse")
def odd_float_bits(proto: TensorProto) -> None:
    """A float8 with a value beyond eight bits."""
    proto.ClearField("raw_data")
    proto.data_type = TensorProto.FLOAT8E4M3FN
    proto.int32_data.extend([256] * 64)


@weight("t42", "refuse")
def no_elements_of_many(proto: TensorProto) -> None:
    """No elements, along an axis beyond what an array can have."""
    dims(proto, 0, 2**62)
    proto.raw_data = b""


@case("t43", "analyse")
def beyond_squares(_: Path) -> onnx.ModelProto:
    """float64 values whose squares overflow float64."""
    values = np.array([[0.5, -1.1e245], [1.0, -1e300]])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(values, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
