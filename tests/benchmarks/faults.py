"""Faults put into sound models, each recorded with the layers it touches.

    python tests/benchmarks/faults.py OUT_DIR MODEL_OR_FOLDER... [--each N] [--limit BYTES]

A fault is kept only where a forward pass shows something that the sound model does not show (`forward_truth.py`); what it
shows, the fault's name and the layers touched stand in a JSON file beside the model. Faults that leave no trace are kept in
OUT_DIR/harmless: a gate must let them pass.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from forward_truth import Truth, forward
from onnx import TensorProto, numpy_helper

MEMORY = 6 << 30  # bytes that this process may ask for; a model that needs more counts as one that does not run
SLOTS = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "LSTM": 1, "GRU": 1, "RNN": 1}
FLOAT = TensorProto.FLOAT


@dataclass
class Weight:
    """A weight tensor and the node that reads it."""

    node: onnx.NodeProto
    tensor: onnx.TensorProto

    @property
    def values(self) -> np.ndarray:
        return numpy_helper.to_array(self.tensor)

    def put(self, values: np.ndarray) -> str:
        self.tensor.CopyFrom(numpy_helper.from_array(values.astype(self.values.dtype), self.tensor.name))
        return self.tensor.name


def weights_of(model: onnx.ModelProto) -> list[Weight]:
    """Float weights of the main graph, in its order, each once."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    stored |= {
        node.output[0]: node.attribute[0].t
        for node in model.graph.node
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"
    }
    found, seen = [], set()
    for node in model.graph.node:
        slot = SLOTS.get(node.op_type)
        if slot is None or len(node.input) <= slot:
            continue
        tensor = stored.get(node.input[slot])
        if tensor is None or tensor.data_type != FLOAT or len(tensor.dims) < 2 or node.input[slot] in seen:
            continue
        seen.add(node.input[slot])
        found.append(Weight(node, tensor))
    return found


Fault = Callable[[onnx.ModelProto, list[Weight], np.random.Generator], "list[Weight] | None"]


def scale_all(factor: float) -> Fault:
    def fault(_model: onnx.ModelProto, weights: list[Weight], _random: np.random.Generator) -> list[Weight] | None:
        for weight in weights:
            weight.put(weight.values * factor)
        return weights

    return fault


def one(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Fault:
    """Change the values of one layer drawn at random."""

    def fault(_model: onnx.ModelProto, weights: list[Weight], random: np.random.Generator) -> list[Weight] | None:
        weight = weights[int(random.integers(len(weights)))]
        weight.put(change(weight.values, random))
        return [weight]

    return fault


def spot(value: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def change(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        flat = values.copy().reshape(-1)
        flat[int(random.integers(flat.size))] = value
        return flat.reshape(values.shape)

    return change


def bias(shift: float) -> Fault:
    """Shift one layer's bias by a multiple of what its weights reach."""

    def fault(model: onnx.ModelProto, weights: list[Weight], random: np.random.Generator) -> list[Weight] | None:
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        having = [
            weight
            for weight in weights
            if weight.node.op_type in {"Conv", "Gemm", "ConvTranspose"}
            and len(weight.node.input) > 2
            and weight.node.input[2] in stored
        ]
        if not having:
            return None
        weight = having[int(random.integers(len(having)))]
        tensor = stored[weight.node.input[2]]
        reach = float(np.abs(weight.values).mean()) * (weight.values.size / max(tensor.dims[0], 1)) ** 0.5
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((values + shift * max(reach, 1e-3)).astype(np.float32), tensor.name))
        return [weight]

    return fault


def norm(slot: int, value: float) -> Fault:
    """Put one value into a parameter of one BatchNormalization."""

    def fault(model: onnx.ModelProto, _weights: list[Weight], random: np.random.Generator) -> list[Weight] | None:
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        nodes = [n for n in model.graph.node if n.op_type == "BatchNormalization" and n.input[slot] in stored]
        if not nodes:
            return None
        node = nodes[int(random.integers(len(nodes)))]
        tensor = stored[node.input[slot]]
        tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, value, np.float32), tensor.name))
        return [Weight(node, tensor)]

    return fault


def half(factor: float) -> Fault:
    """Store and compute everything in float16, one layer scaled beforehand."""

    def fault(model: onnx.ModelProto, weights: list[Weight], random: np.random.Generator) -> list[Weight] | None:
        if any(node.op_type in {"Cast", "LSTM", "GRU", "RNN", "Resize", "If", "Loop"} for node in model.graph.node):
            return None
        weight = weights[int(random.integers(len(weights)))]
        weight.put(weight.values * factor)
        with np.errstate(over="ignore"):
            for tensor in model.graph.initializer:
                if tensor.data_type == FLOAT:
                    values = np.clip(numpy_helper.to_array(tensor), -65504, 65504)
                    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
            for node in model.graph.node:
                for attribute in node.attribute:
                    if attribute.name == "value" and attribute.HasField("t") and attribute.t.data_type == FLOAT:
                        values = numpy_helper.to_array(attribute.t)
                        attribute.t.CopyFrom(numpy_helper.from_array(values.astype(np.float16), attribute.t.name))
        for info in (*model.graph.input, *model.graph.output):
            if info.type.tensor_type.elem_type == FLOAT:
                info.type.tensor_type.elem_type = TensorProto.FLOAT16
        del model.graph.value_info[:]
        return [weight]

    return fault


def swap(_model: onnx.ModelProto, weights: list[Weight], random: np.random.Generator) -> list[Weight] | None:
    """Exchange the weights of two layers of one shape."""
    pairs = [
        (a, b)
        for i, a in enumerate(weights)
        for b in weights[i + 1 :]
        if a.tensor.dims == b.tensor.dims and a.node.op_type == b.node.op_type
    ]
    if not pairs:
        return None
    first, second = pairs[int(random.integers(len(pairs)))]
    values = first.values
    first.put(second.values)
    second.put(values)
    return [first, second]


FAULTS: dict[str, Fault] = {
    "all_x3": scale_all(3.0),
    "all_x8": scale_all(8.0),
    "all_x0.3": scale_all(0.3),
    "all_x0.1": scale_all(0.1),
    "one_x600": one(lambda values, _: values * 600),
    "one_x1e5": one(lambda values, _: values * 1e5),
    "one_x0.03": one(lambda values, _: values * 0.03),
    "one_x1e-4": one(lambda values, _: values * 1e-4),
    "one_x1e-9": one(lambda values, _: values * 1e-9),
    "one_zero": one(lambda values, _: values * 0),
    "one_constant": one(lambda values, _: np.full_like(values, float(np.abs(values).mean()))),
    "one_permuted": one(lambda values, random: random.permutation(values.reshape(-1)).reshape(values.shape)),
    "one_nan": one(spot(float("nan"))),
    "one_inf": one(spot(float("inf"))),
    "one_outlier": one(spot(1e5)),
    "bias_dead": bias(-30.0),
    "bias_huge": bias(1e8),
    "norm_negative": norm(4, -1.0),
    "norm_zero": norm(1, 0.0),
    "half": half(1.0),
    "half_x3000": half(3000.0),
    "swapped": swap,
}


def inject(path: Path, name: str, out: Path, truth: Truth, phase: str) -> str:
    """Write one fault of one model; what became of it."""
    model = onnx.load(str(path))
    weights = weights_of(model)
    if not weights:
        return "no weights"
    random = np.random.Generator(
        np.random.Philox(int(hashlib.sha256(f"{path.stem} {name}".encode()).hexdigest()[:8], 16))
    )
    touched = FAULTS[name](model, weights, random)
    if touched is None:
        return "does not apply"
    target = out / f"{path.stem}@{name}.onnx"
    onnx.save(model, str(target))
    try:
        found = forward(target)
    except Exception as failure:
        target.unlink()
        return f"does not run: {type(failure).__name__}"
    shown = found.broken(truth, phase)
    record = {
        "base": path.name,
        "fault": name,
        "phase": phase,
        "shown": shown,
        "touched": sorted({x for w in touched for x in (w.node.name, *w.node.output, *w.node.input[1:]) if x}),
        "every": len(touched) == len(weights),
        "layers": len(weights),
    }
    if not shown:
        (out / "harmless").mkdir(exist_ok=True)
        target = target.rename(out / "harmless" / target.name)
    target.with_suffix(".json").write_text(json.dumps(record, indent=1))
    return ", ".join(shown) or "harmless"


def main() -> None:
    """Put faults into models, a few drawn for each by a hash of its name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--each", type=int, default=6)
    parser.add_argument("--limit", type=int, default=2_000_000)
    parser.add_argument("--phase", choices=("init", "trained"), default="init")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    options.out.mkdir(parents=True, exist_ok=True)
    files = [f for p in options.models for f in (sorted(p.glob("*.onnx")) if p.is_dir() else [p])]
    for path in files:
        if path.stat().st_size > options.limit:
            continue
        order = sorted(FAULTS, key=lambda name: hashlib.sha256(f"{path.stem}/{name}".encode()).hexdigest())
        try:
            truth = forward(path)
        except Exception as failure:
            print(f"{path.name}: does not run: {type(failure).__name__}", flush=True)
            continue
        if options.phase == "init" and truth.broken(None, "init"):
            print(f"{path.name}: not sound: {truth.broken(None, 'init')}", flush=True)
            continue
        done = 0
        for name in order:
            if done >= options.each:
                break
            if list(options.out.glob(f"**/{path.stem}@{name}.json")):
                done += 1
                continue
            result = inject(path, name, options.out, truth, options.phase)
            done += result not in {"no weights", "does not apply"} and not result.startswith("does not run")
            print(f"{path.stem}@{name}: {result}", flush=True)


if __name__ == "__main__":
    main()
