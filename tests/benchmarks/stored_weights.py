"""Weight matrices of ONNX files as outputs x terms, read with onnx alone: material for calibration, not the product.

Conv, ConvTranspose, Gemm, MatMul and recurrent weights, also inside subgraphs and Constant nodes, through Transpose,
Cast, Identity and DequantizeLinear. Integer weights without a scale are taken as they are: the tests are scale-free.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FEWEST = 256
DEEPEST = 6


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """One weight matrix `[outputs, terms]` with the figures that `examine` wants."""

    path: Path
    name: str
    op: str
    matrix: npt.NDArray[np.float32]
    fan_in: float
    fan_out: float
    groups: int
    bias: npt.NDArray[np.generic] | None

    @property
    def thick(self) -> bool:
        """At least 64 outputs and 64 terms."""
        return min(self.matrix.shape) >= 64


class Constants:
    """The constant tensors of a model, found by name through the operators that leave their values alone."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Collect nodes and constants of every graph and function."""
        self.nodes: list[onnx.NodeProto] = [node for function in model.functions for node in function.node]
        self.tensors: dict[str, onnx.TensorProto] = {}
        pending = [model.graph]
        while pending:
            graph = pending.pop()
            self.tensors |= {tensor.name: tensor for tensor in graph.initializer}
            for node in graph.node:
                self.nodes.append(node)
                for attribute in node.attribute:
                    pending.extend([attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs)
                    if node.op_type == "Constant" and attribute.name == "value":
                        self.tensors[node.output[0]] = attribute.t
        self.producers = {output: node for node in self.nodes for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def find(self, name: str, depth: int = 0) -> tuple[npt.NDArray[np.generic], str] | None:
        """Find the value and the stored tensor's name; None where it is no constant."""
        if name in self.tensors:
            return numpy_helper.to_array(self.tensors[name]), name
        node = self.producers.get(name)
        if node is None or depth > DEEPEST or not node.input:
            return None
        if node.op_type not in {"Identity", "Cast", "Squeeze", "Unsqueeze", "Transpose", "DequantizeLinear"}:
            return None
        found = self.find(node.input[0], depth + 1)
        if found is None:
            return None
        values, stored = found
        settings = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Transpose":
            return np.transpose(values, list(settings["perm"].ints) if "perm" in settings else None), stored
        if node.op_type == "DequantizeLinear":
            scale = self.find(node.input[1], depth + 1)
            if scale is None:
                return None
            zero = self.find(node.input[2], depth + 1) if len(node.input) > 2 else None
            shape = [1] * values.ndim
            if np.size(scale[0]) > 1:
                shape[settings["axis"].i if "axis" in settings else 1] = -1
            factor = np.asarray(scale[0], np.float64).reshape(shape)
            offset = np.asarray(zero[0], np.float64).reshape(shape) if zero else 0.0
            return (values.astype(np.float64) - offset) * factor, stored
        return values, stored

    def bias(self, node: onnx.NodeProto, position: int) -> npt.NDArray[np.generic] | None:
        """Find the bias at an input, or that of an Add which alone reads the node's output."""
        found = self.find(node.input[position]) if len(node.input) > position and node.input[position] else None
        if found is None and len(readers := self.readers.get(node.output[0], [])) == 1 and readers[0].op_type == "Add":
            found = next(filter(None, (self.find(name) for name in readers[0].input if name != node.output[0])), None)
        return None if found is None else found[0].ravel()


def weights_of(path: Path) -> list[StoredWeight]:
    """Every distinct weight matrix of at least 256 entries in a file, in node order."""
    constants = Constants(onnx.load(str(path)))
    seen: set[str] = set()
    found = []
    for node in constants.nodes:
        for name, matrix, fan_in, fan_out, groups, bias in _slots(constants, node):
            if matrix.size >= FEWEST and matrix.ndim == 2 and name not in seen:
                seen.add(name)
                values = np.ascontiguousarray(matrix, np.float32)
                found.append(StoredWeight(path, name, node.op_type, values, fan_in, fan_out, groups, bias))
    return found


def _slots(constants: Constants, node: onnx.NodeProto) -> Iterator[tuple[str, npt.NDArray, float, float, int, object]]:
    settings = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type in GATES:
        for slot in (1, 2):
            found = constants.find(node.input[slot])
            for direction, matrix in enumerate(found[0] if found else ()):
                bias = constants.bias(node, 3) if len(node.input) > 3 else None
                yield (
                    f"{found[1]}[{direction}]",
                    matrix,
                    matrix.shape[1],
                    matrix.shape[0] / GATES[node.op_type],
                    1,
                    bias,
                )
        return
    if node.op_type not in {"Conv", "ConvTranspose", "ConvInteger", "Gemm", "MatMul", "MatMulInteger", "FusedMatMul"}:
        return
    found = constants.find(node.input[1])
    if found is None:
        return
    weight, name = found
    if weight.dtype == np.uint8:
        weight = weight.astype(np.float32) - 128.0
    if node.op_type == "ConvTranspose" and weight.ndim > 2:
        groups = settings["group"].i if "group" in settings else 1
        terms, outputs, *kernel = weight.shape
        matrix = weight.reshape(groups, terms // groups, outputs, *kernel).swapaxes(1, 2).reshape(groups * outputs, -1)
        yield name, matrix, matrix.shape[1], outputs * float(np.prod(kernel)), groups, constants.bias(node, 2)
    elif node.op_type.startswith("Conv") and weight.ndim > 2:
        groups = settings["group"].i if "group" in settings else 1
        fan_out = weight.shape[0] // groups * float(np.prod(weight.shape[2:]))
        matrix = weight.reshape(weight.shape[0], -1)
        yield name, matrix, matrix.shape[1], fan_out, groups, constants.bias(node, 2 if node.op_type == "Conv" else 9)
    elif weight.ndim == 2:
        kept = node.op_type == "Gemm" and "transB" in settings and settings["transB"].i
        matrix = weight if kept else weight.T
        bias = constants.bias(node, 2 if node.op_type == "Gemm" else 9)
        yield name, matrix, matrix.shape[1], matrix.shape[0], 1, bias
