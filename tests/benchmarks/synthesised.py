"""Models of any size and element type, written as a stream: nothing larger than one weight is ever in memory.

`write_model(path, dtype, megabytes)` writes a chain of square matrix products and rectifiers; `write_graph(path, nodes)`
a residual network of many small nodes. Both are deterministic.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

__all__ = ["DTYPES", "write_graph", "write_model"]

DTYPES = ("float32", "float16", "bfloat16", "int8", "float8e4m3fn", "int4")
ELEMENT: dict[str, int] = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int8": TensorProto.INT8,
    "float8e4m3fn": TensorProto.FLOAT8E4M3FN,
    "int4": TensorProto.UINT8,
}
BLOCK = 32  # elements that share a scale in a 4-bit weight
BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "float8e4m3fn": 8, "int4": 4}
Bytes = npt.NDArray[np.uint8]


def write_model(path: Path, dtype: str, megabytes: float, *, external: bool = False) -> int:
    """Write a model with about so many megabytes of weights; its number of parameters.

    Floating weights feed MatMul as they are, int8 and float8 ones through DequantizeLinear, 4-bit ones through
    MatMulNBits. External weights lie in one file beside the model, each at a multiple of 4096.
    """
    parameters = megabytes * 8e6 / BITS[dtype]
    width = max(64, min(2048, int((parameters / 4) ** 0.5) // 64 * 64))
    layers = max(1, round(parameters / (width * width)))
    graph, tensors = _chain(dtype, width, layers)
    payload = _payload(dtype, width)
    if external:
        _write_external(path, graph, tensors, payload)
    else:
        _write_inline(path, graph, tensors, payload)
    return width * width * layers


def _chain(dtype: str, width: int, layers: int) -> tuple[GraphProto, list[TensorProto]]:
    """The graph without its large weights, and these without their bytes."""
    kind = ELEMENT[dtype] if dtype in ("float16", "bfloat16") else TensorProto.FLOAT
    graph = GraphProto(name="chain")
    graph.input.append(helper.make_tensor_value_info("x", kind, ["batch", width]))
    graph.output.append(helper.make_tensor_value_info("y", kind, ["batch", width]))
    tensors = []
    value = "x"
    for index in range(layers):
        weight, product = f"weight_{index}", f"product_{index}"
        output = "y" if index == layers - 1 else f"signal_{index}"
        dims = [width, width] if dtype != "int4" else [width, width // BLOCK, BLOCK // 2]
        tensors.append(TensorProto(name=weight, data_type=ELEMENT[dtype], dims=dims))
        if dtype in ("int8", "float8e4m3fn"):
            scale = np.full((), (2 / width) ** 0.5 / _spread(dtype), np.float32)
            graph.initializer.append(_tensor(f"scale_{index}", scale))
            graph.initializer.append(TensorProto(name=f"zero_{index}", data_type=ELEMENT[dtype], raw_data=b"\0"))
            graph.node.append(
                helper.make_node("DequantizeLinear", [weight, f"scale_{index}", f"zero_{index}"], [f"wide_{index}"])
            )
            weight = f"wide_{index}"
        if dtype == "int4":
            scales = np.full((width, width // BLOCK), (2 / width) ** 0.5 / _spread(dtype), np.float32)
            graph.initializer.append(_tensor(f"scale_{index}", scales))
            sizes: dict[str, Any] = {"K": width, "N": width, "bits": 4, "block_size": BLOCK, "domain": "com.microsoft"}
            graph.node.append(helper.make_node("MatMulNBits", [value, weight, f"scale_{index}"], [product], **sizes))
        else:
            graph.node.append(helper.make_node("MatMul", [value, weight], [product]))
        graph.node.append(helper.make_node("Relu", [product], [output]))
        value = output
    return graph, tensors


def _spread(dtype: str) -> float:
    """Standard deviation of the stored codes of a weight."""
    return {"int8": 32.0, "float8e4m3fn": 8.0, "int4": 2.5}[dtype]


def _payload(dtype: str, width: int) -> Bytes:
    """Bytes of one weight; every layer holds them from another place on."""
    generator = np.random.Generator(np.random.PCG64(width))
    normal = generator.standard_normal((width, width), np.float32)
    if dtype == "int4":
        codes = np.clip(np.rint(normal * _spread(dtype)) + 8, 0, 15).astype(np.uint8).reshape(-1, 2)
        return codes[:, 0] | (codes[:, 1] << 4)
    if dtype == "int8":
        values: npt.NDArray[Any] = np.clip(np.rint(normal * _spread(dtype)), -128, 127).astype(np.int8)
    elif dtype == "float8e4m3fn":
        values = (normal * np.float32(_spread(dtype))).astype(ml_dtypes.float8_e4m3fn)
    else:
        kind = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[dtype]
        values = (normal * np.float32((2 / width) ** 0.5)).astype(kind)
    return values.reshape(-1).view(np.uint8)


def _layers_of(payload: Bytes, layers: int) -> Iterator[Bytes]:
    for index in range(layers):
        cut = index * 64 * 7 % payload.size
        yield np.concatenate([payload[cut:], payload[:cut]])


def _model(graph: GraphProto) -> ModelProto:
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="synthesised")


def _write_external(path: Path, graph: GraphProto, tensors: list[TensorProto], payload: Bytes) -> None:
    offset, step = 0, -(-payload.size // 4096) * 4096
    with path.with_suffix(".data").open("wb") as file:
        for tensor, content in zip(tensors, _layers_of(payload, len(tensors)), strict=True):
            file.seek(offset)
            file.write(content.data)
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": path.with_suffix(".data").name, "offset": offset, "length": payload.size}
            for key, value in place.items():
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
            graph.initializer.append(tensor)
            offset += step
    path.write_bytes(_model(graph).SerializeToString())


def _write_inline(path: Path, graph: GraphProto, tensors: list[TensorProto], payload: Bytes) -> None:
    """The wire format by hand, since protobuf writes nothing of 2 GiB."""
    model = _model(GraphProto())
    model.ClearField("graph")
    heads = []
    for tensor in tensors:
        head = tensor.SerializeToString() + b"\x4a" + _varint(payload.size)  # raw_data, length-delimited
        heads.append(b"\x2a" + _varint(len(head) + payload.size) + head)  # GraphProto.initializer
    small = graph.SerializeToString()
    length = len(small) + sum(map(len, heads)) + payload.size * len(heads)
    with path.open("wb") as file:
        file.write(model.SerializeToString() + b"\x3a" + _varint(length) + small)  # ModelProto.graph
        for head, content in zip(heads, _layers_of(payload, len(tensors)), strict=True):
            file.write(head)
            file.write(content.data)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tensor(name: str, values: npt.NDArray[np.float32]) -> TensorProto:
    return TensorProto(name=name, data_type=TensorProto.FLOAT, dims=values.shape, raw_data=values.tobytes())


def write_graph(path: Path, nodes: int, *, layers: int | None = None, width: int = 16) -> None:
    """Write a residual chain of so many nodes; every sixth is a layer, or as many as said, evenly placed."""
    generator = np.random.Generator(np.random.PCG64(nodes))
    every = 6 if layers is None else max(1, nodes // layers)
    body: list[NodeProto] = []
    initializers: list[TensorProto] = []
    value, skip = "x", "x"
    kinds = ("Relu", "Identity", "Sigmoid", "Add", "Tanh")
    for index in range(nodes):
        output = "y" if index == nodes - 1 else f"value_{index}"
        if index % every == 0:
            weight = (generator.standard_normal((width, width)) * (2 / width) ** 0.5).astype(np.float32)
            initializers.append(_tensor(f"weight_{index}", weight))
            body.append(helper.make_node("MatMul", [value, f"weight_{index}"], [output], name=f"node_{index}"))
            skip = output
        else:
            kind = kinds[index % len(kinds)]
            inputs = [value, skip] if kind == "Add" else [value]
            body.append(helper.make_node(kind, inputs, [output], name=f"node_{index}"))
        value = output
    info: list[ValueInfoProto] = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name in ("x", "y")
    ]
    graph = helper.make_graph(body, "residual", info[:1], info[1:], initializers)
    path.write_bytes(_model(graph).SerializeToString())
