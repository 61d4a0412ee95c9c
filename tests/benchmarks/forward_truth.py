"""What a forward pass shows of a model: the ground truth that the gate is calibrated against.

onnxruntime without optimisation, every floating tensor fetched, on independent draws of the input that `docs/signal.md`
states. Nothing here looks at a weight: a scaled layer whose scale a normalisation takes away leaves no trace.

    python tests/benchmarks/forward_truth.py MODEL...
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto

from initlint.absorption import absorbed_tensors, masks
from initlint.index import index_of
from initlint.inputs import describe, draw
from initlint.model import open_model

__all__ = ["Truth", "forward"]

FEWEST, MOST = 24, 128  # draws
AFFORDABLE = 1 << 24  # values of all tensors and draws together
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
LOST = 2.0**-18  # of the total: float32 keeps 24 bits, and a hundred terms are summed
BITS = 8.0  # a signal std beyond 2^+-8 of the input's
SHARE = 2.0**-10  # of the total: what a fresh network cannot learn from
MOST_DEAD = MOST_SATURATED = 0.5
ASIDE = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare", "Pow", "Sqrt", "Reciprocal",
     "Exp", "Log", "Range", "Where", "ConstantOfShape", "Shape", "Cast", "DynamicQuantizeLinear"}
)  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """Faults by name with where they were seen first, and the figures of the forward pass."""

    faults: dict[str, str]
    scale_faults: dict[str, str]  # count only in a network at its initialisation
    largest_ratio: float
    smallest_ratio: float
    outputs: int

    def broken(self, base: Truth | None, phase: str) -> dict[str, str]:
        """The faults that a base model, where there is one, does not show as well."""
        own = self.faults | (self.scale_faults if phase == "init" else {})
        before = {} if base is None else base.faults | (base.scale_faults if phase == "init" else {})
        return {name: where for name, where in own.items() if name not in before}


def forward(path: Path, seed: int = 4321) -> Truth:
    """Run a model and look at every tensor. Raises what onnxruntime raises where it does not run."""
    with open_model(path) as model:
        index = index_of(model)
        masked, absorbed = masks(model, index), absorbed_tensors(model, index)
        inputs = describe(model)
    proto = onnx.load(str(path))
    producers = {name: node for node in proto.graph.node for name in node.output}
    outputs = [output.name for output in proto.graph.output]
    for name in producers:
        if name and name not in outputs:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs() if "float" in item.type or "double" in item.type]
    generator = np.random.Generator(np.random.Philox(seed))

    def feed() -> dict[str, npt.NDArray[np.generic]]:
        feeds = {}
        for item in inputs:
            values = draw(item, generator, 1, np.float32)
            assert values is not None
            feeds[item.name] = np.asarray(values[0].astype(np.float16) if item.dtype == "float16" else values[0])
        return feeds

    runs: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in names}
    fed: list[dict[str, npt.NDArray[np.generic]]] = []
    wanted = FEWEST
    while len(fed) < wanted:
        feeds = feed()
        for name, value in zip(names, session.run(names, feeds), strict=True):
            if isinstance(value, np.ndarray):
                runs[name].append(np.asarray(value, np.float32))
        if not fed:
            size = sum(values[0].size for values in runs.values() if values)
            wanted = int(np.clip(AFFORDABLE // max(size, 1), FEWEST, MOST))
        fed.append(feeds)
    floats = [np.stack([f[name] for f in fed]) for name in fed[0] if fed[0][name].dtype.kind == "f"]
    if not floats:  # token ids alone: the signal begins behind the embedding
        stored = {tensor.name for tensor in proto.graph.initializer}
        floats = [np.stack(runs[name]) for name in names if _looks_up(producers.get(name), stored) and runs[name]]
    reference = max((float(np.std(values.astype(np.float64))) for values in floats), default=0.0)
    return _look(runs, producers, outputs, set(fed[0]), masked, absorbed, reference)


def _look(runs, producers, outputs, fed_names, masked, absorbed, reference) -> Truth:  # noqa: ANN001 - what forward() has at hand
    faults: dict[str, str] = {}
    scale: dict[str, str] = {}
    ratios = []
    alive = lost = 0
    depends = _dependents(producers, fed_names)
    for name, values in runs.items():
        if name not in depends or not values or len({value.shape for value in values}) != 1 or values[0].size == 0:
            continue
        stack = np.stack(values).astype(np.float64)
        node = producers.get(name)
        op = node.op_type if node is not None else ""
        if np.isnan(stack).any():
            faults.setdefault("NaN", name)
            continue
        if np.isinf(stack).any():
            if name not in masked and (np.isposinf(stack).any() or name in outputs):
                faults.setdefault("infinity", name)
            continue
        std = float(stack.std())
        signal = float(np.sqrt(stack.var(axis=0, ddof=1).mean()))
        if name in outputs:
            size = max(std, float(np.abs(stack).max()))
            if op not in {"Softmax", "Sigmoid", "Tanh", "ArgMax"} or signal == 0:
                alive += signal > LOST * size
                lost += signal <= LOST * size
        if op == "Relu" and stack.ndim > 1:
            units = np.moveaxis(stack, 1 if stack.ndim == 2 else (2 if stack.ndim > 3 else -1), 0)
            active = (units.reshape(len(units), -1) > 0).mean(axis=1)
            if units[0].size >= 24 and (active < 0.01).mean() > MOST_DEAD:
                faults.setdefault("dead units", name)
        if op in {"Tanh", "Sigmoid"} and name not in outputs:
            near = np.abs(stack) > 0.97 if op == "Tanh" else np.abs(stack - 0.5) > 0.485
            if near.mean() > MOST_SATURATED:
                faults.setdefault("saturated", name)
        if op in {"Conv", "Gemm", "MatMul"} and name not in outputs and signal > 0:
            units = np.moveaxis(stack, 1 if op != "Conv" else 2, 0) if stack.ndim != 3 else np.moveaxis(stack, -1, 0)
            if len(units) > 1 and np.abs(units - units[:1]).max() <= 1e-6 * np.abs(units).max():
                faults.setdefault("units all the same", name)
        if reference and node is not None and op not in ASIDE and stack[0].size >= 4 and name not in absorbed | masked:
            squashed = op in {"Softmax", "Sigmoid", "Tanh", "Softsign", "Erf"}
            if signal > 0 or not squashed:
                ratios.append(signal / reference)
                if signal > 2**BITS * reference:
                    scale.setdefault("explodes", name)
            if name in outputs and not squashed:
                if signal < 2**-BITS * reference:
                    scale.setdefault("vanishes", name)
                if signal < SHARE * std:
                    scale.setdefault("lost against the total", name)
    if lost and not alive:
        faults.setdefault("output does not depend on the input", outputs[0])
    return Truth(faults, scale, max(ratios, default=0.0), min(ratios, default=0.0), alive + lost)


def _looks_up(node: onnx.NodeProto | None, stored: set[str]) -> bool:
    return node is not None and node.op_type == "Gather" and node.input[0] in stored


def _dependents(producers: dict[str, onnx.NodeProto], fed: set[str]) -> set[str]:
    """Tensors computed from an input, shapes left aside (the nodes of a graph are in the order of computation)."""
    found = set(fed)
    for name, node in producers.items():
        inner = [item for a in node.attribute if a.HasField("g") for n in a.g.node for item in n.input]
        if node.op_type not in {"Shape", "Size"} and any(item in found for item in (*node.input, *inner)):
            found.add(name)
    return found


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        try:
            print(Path(argument).name, forward(Path(argument)))
        except Exception as failure:
            print(Path(argument).name, "does not run:", type(failure).__name__, str(failure)[:160])
