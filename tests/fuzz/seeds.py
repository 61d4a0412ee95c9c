"""Small models that between them use everything the reader knows."""

import numpy as np
import onnx
from onnx import SparseTensorProto, TensorProto, helper, numpy_helper

from tests.fuzz.mutations import Field, parse

__all__ = ["fields", "models"]

node, FLOAT = helper.make_node, TensorProto.FLOAT


def model(nodes: list[onnx.NodeProto], stored: list[TensorProto], **more: object) -> onnx.ModelProto:
    """`x` to `y`."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 2])], stored, **more,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weight(values: object = ((0.5, 0.25), (1.0, -1.0)), dtype: object = np.float32) -> TensorProto:
    """A 2x2 weight."""
    return numpy_helper.from_array(np.asarray(values, dtype), "w")  # type: ignore[arg-type]


def models() -> dict[str, onnx.ModelProto]:
    """The seeds by name."""
    product = node("MatMul", ["x", "w"], ["y"], name="fc")
    typed = TensorProto(name="w", data_type=FLOAT, dims=[2, 2], float_data=[1, 2, 3, 4])
    half = TensorProto(name="w", data_type=TensorProto.FLOAT16, dims=[2, 2], int32_data=[15360, 0, 1, 65535])
    packed = TensorProto(name="w", data_type=TensorProto.INT4, dims=[3], raw_data=b"\x21\x03")
    external = TensorProto(name="w", data_type=FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "16")):
        external.external_data.add(key=key, value=value)
    sparse = model([product], [])
    entry = SparseTensorProto(dims=[2, 2])
    entry.values.CopyFrom(helper.make_tensor("w", FLOAT, [2], [1.0, 2.0]))
    entry.indices.CopyFrom(helper.make_tensor("", TensorProto.INT64, [2], [0, 3]))
    sparse.graph.sparse_initializer.append(entry)
    branch = [
        helper.make_graph(
            [node(kind, ["x"], [name])], name, [], [helper.make_tensor_value_info(name, FLOAT, None)], [weight() if kind == "Relu" else typed]
        )
        for kind, name in (("Relu", "a"), ("Tanh", "b"))
    ]  # fmt: skip
    for graph, name in zip(branch, ("wa", "wb"), strict=True):
        graph.initializer[0].name = name
    yes = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    conditional = model([node("If", ["c"], ["y"], then_branch=branch[0], else_branch=branch[1])], [yes])
    function = model([node("F", ["x"], ["y"], domain="d", alpha=0.5)], [])
    body = [node("Constant", [], ["w"], value=weight()), node("MatMul", ["a", "w"], ["m"]), node("Elu", ["m"], ["b"])]
    body[2].attribute.add(name="alpha", ref_attr_name="alpha", type=1)
    function.functions.append(
        helper.make_function("d", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)], ["alpha"])
    )
    function.opset_import.append(helper.make_opsetid("d", 1))
    large = model(
        [node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=1)],
        [numpy_helper.from_array(np.full((4, 4, 3, 3), 0.1, np.float32), "w")],
    )
    for info in (large.graph.input[0], large.graph.output[0]):
        info.type.tensor_type.ClearField("shape")
    documented = model(
        [product], [weight()], doc_string="text", value_info=[helper.make_tensor_value_info("y", FLOAT, [1, 2])]
    )
    helper.set_model_props(documented, {"k": "v"})
    text = helper.make_tensor("s", TensorProto.STRING, [1], [b"a"])
    return {
        "product": model([product], [weight()]), "typed": model([product], [typed]), "half": model([product], [half]),
        "double": model([product], [weight(dtype=np.float64)]), "packed": model([product], [packed]),
        "external": model([product], [external]), "sparse": sparse, "if": conditional, "function": function,
        "conv": large, "documented": documented, "text": model([product], [weight(), text]),
        "ints": model([node("Reshape", ["x", "s"], ["y"])], [numpy_helper.from_array(np.array([-1, 2]), "s")]),
    }  # fmt: skip


def fields() -> list[list[Field]]:
    """The seeds taken apart."""
    return [parse(item.SerializeToString()) for item in models().values()]
