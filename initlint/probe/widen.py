"""Make float32 of what is bfloat16: onnxruntime's CPU provider has no bfloat16 MatMul, Relu or reductions.

Weights stay in their file; a Cast behind each makes it wide. Rounding to 8 bits between the operators is lost, so values
are what the graph computes at higher precision; magnitudes are judged against the declared type all the same.
"""

import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["holds_bfloat16", "widened"]

NARROW, WIDE = TensorProto.BFLOAT16, TensorProto.FLOAT
TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype"})


def holds_bfloat16(graph: onnx.GraphProto) -> bool:
    """Whether any stored tensor, declared value or cast of the graph, or of its subgraphs, is bfloat16."""
    pending = [graph]
    while pending:
        current = pending.pop()
        if any(tensor.data_type == NARROW for tensor in current.initializer):
            return True
        if any(value.type.tensor_type.elem_type == NARROW for value in (*current.input, *current.output)):
            return True
        for node in current.node:
            for attribute in node.attribute:
                if attribute.name in TYPE_ATTRIBUTES and attribute.i == NARROW:
                    return True
                if attribute.type == onnx.AttributeProto.GRAPH:
                    pending.append(attribute.g)
                pending.extend(attribute.graphs)
    return False


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float32 in place of bfloat16, subgraphs included."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    pending = [wide.graph]
    while pending:
        current = pending.pop()
        casts = []
        for tensor in current.initializer:
            if tensor.data_type == NARROW:
                name = tensor.name
                tensor.name = f"{name}/narrow"
                casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"initlint/{name}/widened", to=WIDE))
        for value in (*current.input, *current.output, *current.value_info):
            if value.type.tensor_type.elem_type == NARROW:
                value.type.tensor_type.elem_type = WIDE
        for node in current.node:
            pending.extend(_node(node))
        nodes = [*casts, *current.node]
        del current.node[:]
        current.node.extend(nodes)
    return wide


def _node(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Widen a node's attributes; its subgraphs are handed back."""
    graphs: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        if attribute.name in TYPE_ATTRIBUTES and attribute.i == NARROW:
            attribute.i = WIDE
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == NARROW:
            wide = numpy_helper.to_array(attribute.t).astype("float32")
            attribute.t.CopyFrom(numpy_helper.from_array(wide, attribute.t.name))
        elif attribute.type == onnx.AttributeProto.GRAPH:
            graphs.append(attribute.g)
        graphs.extend(attribute.graphs)
    return graphs
