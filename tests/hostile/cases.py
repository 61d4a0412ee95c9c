"""What a hostile input is: its id, the outcome it must have, and how it is made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["CASES", "Case", "case", "field", "graph_model", "mlp", "network", "tensor", "varint"]

Want: TypeAlias = Literal["refuse", "partial", "analyse", "neutralise", "judge"]  # judge: exit code 1 or 2
Made: TypeAlias = "onnx.ModelProto | bytes | Path"
Maker: TypeAlias = Callable[[Path], Made]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@dataclass(frozen=True)
class Case:
    """One input. `slow` ones take seconds rather than fractions of one."""

    id: str
    want: Want
    maker: Maker
    slow: bool = False

    def make(self, folder: Path) -> Path:
        """Build it in an empty folder; the path to lint."""
        made = self.maker(folder)
        if isinstance(made, Path):
            return made
        path = folder / "model.onnx"
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        return path


CASES: dict[str, Case] = {}


def case(identity: str, want: Want, *, slow: bool = False) -> Callable[[Maker], Maker]:
    """Register a maker."""

    def register(maker: Maker) -> Maker:
        assert identity not in CASES
        CASES[identity] = Case(identity, want, maker, slow)
        return maker

    return register


# -- protobuf by hand -------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes | int) -> bytes:
    """One field: a number, or bytes with their length before them."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


# -- ordinary networks to break ---------------------------------------------------------------------------------------


def tensor(name: str, *shape: int, seed: int = 0, std: float | None = None) -> TensorProto:
    """A weight `[inputs, outputs]`, drawn after He."""
    random = np.random.Generator(np.random.Philox(seed))
    scale = (2.0 / shape[0]) ** 0.5 if std is None else std
    return numpy_helper.from_array((random.standard_normal(shape) * scale).astype(np.float32), name)


def network(
    nodes: list[onnx.NodeProto],
    stored: list[TensorProto],
    *,
    shape: tuple[int | str, ...] = ("batch", 8),
    output: str = "y",
    opset: int = 17,
    domains: tuple[str, ...] = (),
    **more: object,
) -> onnx.ModelProto:
    """A model with one float input `x` and one float output."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(output, FLOAT, None)],
        stored,
        **more,
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def mlp(seed: int = 0) -> onnx.ModelProto:
    """The control: Gemm, Relu, Gemm, healthy."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="fc1"),
        helper.make_node("Relu", ["h"], ["a"], name="relu"),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["y"], name="fc2"),
    ]
    stored = [
        tensor("w1", 8, 16, seed=seed),
        numpy_helper.from_array(np.zeros(16, np.float32), "b1"),
        tensor("w2", 16, 4, seed=seed + 1),
        numpy_helper.from_array(np.zeros(4, np.float32), "b2"),
    ]
    return network(nodes, stored)


def graph_model(*nodes: onnx.NodeProto, stored: list[TensorProto] | None = None, **more: object) -> onnx.ModelProto:
    """Nodes from `x` to `h`, then a healthy layer from `h` (8 features last) to `y`."""
    last = helper.make_node("MatMul", ["h", "w"], ["y"], name="fc")
    return network([*nodes, last], [*(stored or []), tensor("w", 8, 8)], **more)  # type: ignore[arg-type]
