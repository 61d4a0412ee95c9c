"""Write a model's records as an ONNX proto for onnxruntime, weights left where they lie.

A stored tensor that lies in a file becomes `external_data` pointing into that very file (also into the .onnx itself), so
a session costs no copy of the weights and files that onnxruntime cannot load (inline over 2 GiB) still run.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import onnx
from onnx import TensorProto, helper

from initlint.errors import Reason, Refusal
from initlint.graph import Graph, Model, Node, StoredTensor, ValueInfo
from initlint.source import FileSource

__all__ = ["Exported", "attribute_of", "element_number", "export", "folder_of", "node_of", "opset_of", "tensor_of"]

OPSET = 18  # for models of ai.onnx.ml operators alone
INLINE = 1 << 10  # bytes up to which a tensor is written into the proto
_SPECIAL = {"float32": "FLOAT", "float64": "DOUBLE", "float8e4m3fn": "FLOAT8E4M3FN", "float8e4m3fnuz": "FLOAT8E4M3FNUZ",
            "float8e5m2": "FLOAT8E5M2", "float8e5m2fnuz": "FLOAT8E5M2FNUZ", "float8e8m0": "FLOAT8E8M0",
            "float4e2m1": "FLOAT4E2M1"}  # fmt: skip


class Exported(msgspec.Struct, frozen=True):
    """A proto, the folder that its external locations are relative to, and the files they lie in, held open."""

    proto: onnx.ModelProto
    folder: str
    files: tuple[FileSource, ...] = ()

    def verify(self) -> None:
        """Refuse a file that is no longer the one that was checked: onnxruntime opens it by its path."""
        for file in self.files:
            checked = os.fstat(file.descriptor)
            try:
                found = os.stat(file.path)
            except OSError as error:
                raise Refusal(Reason.EXTERNAL_DATA, f"{file.path} went away while it was probed") from error
            if (found.st_dev, found.st_ino) != (checked.st_dev, checked.st_ino):
                raise Refusal(Reason.EXTERNAL_DATA, f"{file.path} was replaced while it was probed")


def folder_of(model: Model) -> str:
    """Folder that external locations are relative to: the root, so that no path leaves it whatever links lead there."""
    return Path(os.path.abspath(model.path)).anchor


def element_number(dtype: str) -> int:
    """Number of an element type in onnx.proto from its lower-case name."""
    return int(TensorProto.DataType.Value(_SPECIAL.get(dtype, dtype.upper())))


def tensor_of(tensor: StoredTensor, folder: str, name: str | None = None) -> TensorProto:
    """The tensor as a proto: a reference into its file, or its bytes where it is small or in memory."""
    proto = TensorProto(name=name or tensor.name, data_type=element_number(tensor.dtype), dims=tensor.shape)
    if tensor.dtype == "string":
        proto.string_data.extend(str(item).encode() for item in tensor.read().reshape(-1))
        return proto
    location = tensor.source.location
    if tensor.nbytes <= INLINE or location.startswith("<"):
        proto.raw_data = tensor.read_bytes(0, tensor.nbytes).tobytes()
        return proto
    proto.data_location = TensorProto.EXTERNAL
    relative = os.path.relpath(os.path.realpath(location), folder)
    for key, value in (("location", relative), ("offset", tensor.offset), ("length", tensor.nbytes)):
        proto.external_data.add(key=key, value=str(value))
    return proto


def attribute_of(name: str, value: Any, folder: str) -> onnx.AttributeProto | None:
    """An attribute as a proto; None for an empty list, whose type is not known (the operator's default says the same)."""
    if isinstance(value, StoredTensor):
        return helper.make_attribute(name, tensor_of(value, folder))
    if isinstance(value, Graph):
        return helper.make_attribute(name, graph_of(value, folder))
    if isinstance(value, tuple):
        if not value:
            return None
        if isinstance(value[0], Graph):
            return helper.make_attribute(name, [graph_of(item, folder) for item in value])
        return helper.make_attribute(name, list(value))
    return helper.make_attribute(name, value)


def node_of(node: Node, folder: str) -> onnx.NodeProto:
    """A node as a proto."""
    proto = onnx.NodeProto(op_type=node.op, domain=node.domain, name=node.name, input=node.inputs, output=node.outputs)
    for name, value in node.attributes.items():
        attribute = attribute_of(name, value, folder)
        if attribute is not None:
            proto.attribute.append(attribute)
    return proto


def value_of(info: ValueInfo) -> onnx.ValueInfoProto:
    """A declared value as a proto; by its name alone where the type is not a tensor's."""
    if info.dtype is None:
        return onnx.ValueInfoProto(name=info.name)
    return helper.make_tensor_value_info(info.name, element_number(info.dtype), info.shape)


def graph_of(graph: Graph, folder: str) -> onnx.GraphProto:
    """A graph as a proto, subgraphs included (their depth was bounded by the reader)."""
    proto = onnx.GraphProto(name=graph.name or "graph")
    proto.node.extend(node_of(node, folder) for node in graph.nodes)
    proto.initializer.extend(tensor_of(tensor, folder) for tensor in graph.initializers.values())
    proto.input.extend(value_of(info) for info in graph.inputs)
    proto.output.extend(value_of(info) for info in graph.outputs)
    return proto


def opset_of(model: Model) -> int:
    """Version of the default operator set that the probe's own operators are written in: the model's, if it has one."""
    return model.opsets.get("") or OPSET


def export(
    model: Model,
    nodes: Sequence[onnx.NodeProto],
    inputs: Iterable[ValueInfo],
    outputs: Sequence[str],
    constants: Iterable[onnx.TensorProto] = (),
) -> Exported:
    """A model of the given nodes over the stored tensors of `model`'s main graph; outputs are declared by name alone."""
    folder = folder_of(model)
    graph = onnx.GraphProto(name="probe")
    graph.node.extend(nodes)
    graph.initializer.extend(tensor_of(tensor, folder) for tensor in model.graph.initializers.values())
    graph.initializer.extend(constants)
    graph.input.extend(value_of(info) for info in inputs)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    proto = onnx.ModelProto(ir_version=max(model.ir_version, 8), producer_name="initlint")
    proto.graph.CopyFrom(graph)
    for domain, version in {"": opset_of(model), **model.opsets}.items():
        proto.opset_import.add(domain=domain, version=version)
    files = {id(tensor.source): tensor.source for tensor in model.initializers()}
    return Exported(proto, folder, tuple(file for file in files.values() if isinstance(file, FileSource)))
