"""What the probe costs against plain onnxruntime on the same model.

Three networks, built here: convolutions with residuals, attention blocks, a large multilayer perceptron. Each figure is a
ratio of medians over runs that alternate.

* `run`: one instrumented run (two samples) over two plain runs in the same session settings.
* `memory, two samples`: peak memory of that run over that of the same two copies without the reductions.
* `memory, one sample`: the same over a plain run of one sample.
* `create and run`: session and first run (two samples) of the probe over session and two runs of a default session
  (optimised, prepacked, with arena); `over one run` the same over session and one run of it.

    python tests/benchmarks/probe_overhead.py [MODEL.onnx ...] [--repeat N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from initlint.inputs import generator_for
from initlint.model import open_model
from initlint.probe.feeds import pairs
from initlint.probe.measure import _taps
from initlint.probe.session import open_session, pair, run
from initlint.probe.twins import Instrumented, giving_out, instrument
from initlint.signal.propagate import Assumptions, propagate

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = np.random.Generator(np.random.Philox(5))


class Sketch:
    """A graph being drawn on one running value."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.last = shape, "x"
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int, fan_in: int) -> str:
        name = f"w{len(self.weights)}"
        values = RANDOM.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        self.last = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [self.last], name=self.last, **attributes))
        return self.last

    def save(self, path: Path) -> Path:
        infos = [helper.make_tensor_value_info("x", 1, self.shape)], [helper.make_tensor_value_info(self.last, 1, None)]
        graph = helper.make_graph(self.nodes, "g", *infos, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
        return path


def convolutions(folder: Path) -> Path:
    sketch = Sketch((1, 64, 56, 56))
    for _ in range(8):
        before = sketch.last
        for _ in range(2):
            sketch.op("Conv", sketch.last, sketch.weight(64, 64, 3, 3, fan_in=576), pads=[1, 1, 1, 1])
            sketch.op("Relu", sketch.last)
        sketch.op("Add", before, sketch.last)
    return sketch.save(folder / "convolutions.onnx")


def attention(folder: Path) -> Path:
    width, tokens = 512, 256
    sketch = Sketch((1, tokens, width))
    for _ in range(4):
        before = sketch.last
        q, k, v = (sketch.op("MatMul", before, sketch.weight(width, width, fan_in=2 * width)) for _ in range(3))
        turned = sketch.op("Transpose", k, perm=[0, 2, 1])
        scores = sketch.op("Softmax", sketch.op("MatMul", q, turned), axis=-1)
        mixed = sketch.op("Add", before, sketch.op("MatMul", scores, v))
        wide = sketch.op("Relu", sketch.op("MatMul", mixed, sketch.weight(width, 4 * width, fan_in=width)))
        sketch.op("Add", mixed, sketch.op("MatMul", wide, sketch.weight(4 * width, width, fan_in=8 * width)))
    return sketch.save(folder / "attention.onnx")


def perceptron(folder: Path) -> Path:
    sketch = Sketch((8, 4096))
    for _ in range(6):
        sketch.op("Relu", sketch.op("MatMul", sketch.last, sketch.weight(4096, 4096, fan_in=4096)))
    return sketch.save(folder / "perceptron.onnx")


def prepared(path: Path, kind: str) -> tuple[Instrumented, dict[str, np.ndarray]]:
    """A model as it is run: `plain` (one copy), `copies` (two, nothing reduced but the outputs), `probe`; and its feed."""
    with open_model(path) as model:
        prediction = propagate(model, Assumptions(plain=True, draws=2))
        taps, _ = _taps(model, prediction, frozenset())
        dependent = frozenset(prediction.dtypes)
        feeds = next(pairs(prediction.inputs, generator_for(model, 2), 1))
        outputs = [info.name for info in model.graph.outputs]
        if kind == "plain":
            made, feed = giving_out(model, model.graph.nodes, outputs), dict(feeds[0])
        else:
            wanted = taps if kind == "probe" else [tap for tap in taps if tap.name in outputs]
            made, feed = instrument(model, model.graph.nodes, wanted, dependent), pair(*feeds)
        # The weights' file is opened by onnxruntime itself; the check of its identity needs it open here.
        return Instrumented(
            type(made.exported)(made.exported.proto, made.exported.folder), made.outputs, made.taps
        ), feed


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def runner(path: Path, kind: str) -> Callable[[], object]:
    made, feed = prepared(path, kind)
    session = open_session(made)
    return lambda: list(run(session, made.outputs, [feed]))


def creation(path: Path) -> Callable[[], object]:
    made, feed = prepared(path, "probe")
    return lambda: list(run(open_session(made), made.outputs, [feed]))


def default(path: Path, runs: int) -> Callable[[], object]:
    _, feed = prepared(path, "plain")

    def work() -> None:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, feed)

    return work


def alternating(one: Callable[[], object], other: Callable[[], object], repeat: int) -> float:
    """Median of one over median of the other, run in turns."""
    one(), other()
    times = [(seconds(one), seconds(other)) for _ in range(repeat)]
    return statistics.median(a for a, _ in times) / statistics.median(b for _, b in times)


def peak(path: Path, kind: str) -> float:
    """Peak memory of a process that opens the session and runs it once, in kB."""
    text = subprocess.run(
        [sys.executable, __file__, "--peak", kind, str(path)], check=True, capture_output=True, text=True
    )
    return float(text.stdout.split()[-1])


def print_peak(path: Path, kind: str) -> None:
    made, feed = prepared(path, kind)
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins anew
    session = open_session(made)
    list(run(session, made.outputs, [feed]))
    status = Path("/proc/self/status").read_text("ascii")
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Measure and print one JSON record a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--peak", choices=["plain", "copies", "probe"])
    options = parser.parse_args()
    if options.peak:
        print_peak(options.models[0], options.peak)
        return
    with tempfile.TemporaryDirectory() as folder:
        makers = (convolutions, attention, perceptron)
        for path in options.models or [maker(Path(folder)) for maker in makers]:
            memory = {kind: peak(path, kind) for kind in ("plain", "copies", "probe")}
            record = {
                "model": path.stem,
                "MB": round(path.stat().st_size / 1e6, 1),
                "run": round(alternating(runner(path, "probe"), runner(path, "plain"), options.repeat) / 2, 2),
                "memory, two samples": round(memory["probe"] / memory["copies"], 2),
                "memory, one sample": round(memory["probe"] / memory["plain"], 2),
                "create and run": round(alternating(creation(path), default(path, 2), options.repeat), 2),
                "over one run": round(alternating(creation(path), default(path, 1), options.repeat), 2),
            }
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
