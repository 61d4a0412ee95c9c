"""The reader on mutated models: it accepts or refuses, and what it accepts means the same to every library."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import numpy_helper

from initlint.errors import Refusal
from initlint.model import open_model
from tests.fuzz.fuzz_reader import execute
from tests.fuzz.mutations import encode, mutated, parse
from tests.fuzz.seeds import fields, models

SEEDS = models()
# Runs the one MatMul of each model on the identity, which hands the weight back; one line of JSON a model.
ONNXRUNTIME = """
import json, sys
import numpy, onnxruntime
onnxruntime.set_default_logger_severity(4)
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
for path in sys.argv[1:]:
    found = None
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found = session.run(["y"], {"x": numpy.eye(2, dtype=numpy.float32)})[0].tobytes().hex()
    except Exception as error:
        found = None
    print(json.dumps(found), flush=True)
"""


def outcome(data: bytes) -> str:
    """`accepted`, or the reason."""
    return execute(data)


@pytest.mark.parametrize("name", SEEDS)
def test_taken_apart_and_together(name: str) -> None:
    """The mutations begin from the very bytes."""
    data = SEEDS[name].SerializeToString()
    assert encode(parse(data)) == data
    assert outcome(data) == ("external-data" if name == "external" else "accepted")


def test_refusals_only() -> None:
    """Four thousand mutants: refused or accepted, nothing else; some of both."""
    source, seeds = random.Random(5), fields()
    outcomes = {outcome(mutated(source, seeds)) for _ in range(4000)}
    assert {"accepted", "malformed", "truncated", "graph-invalid", "tensor-inconsistent"} <= outcomes


@pytest.mark.parametrize("name", SEEDS)
def test_every_truncation(name: str) -> None:
    """Cut at any byte, a model is refused, but between two top-level fields where the graph has come already."""
    data = SEEDS[name].SerializeToString()
    boundaries = {len(encode(parse(data)[:count])) for count in range(len(parse(data)) + 1)}
    for length in range(len(data)):
        if outcome(data[:length]) == "accepted":
            assert length in boundaries
            whole = onnx.load_model_from_string(data[:length])
            assert whole.graph == SEEDS[name].graph


def tensor_mutants(count: int) -> list[bytes]:
    """Models of one MatMul that differ in their weight alone."""
    source = random.Random(11)
    names = ("product", "typed", "half", "double", "external")
    weights = [parse(SEEDS[name].graph.initializer[0].SerializeToString(), "tensor") for name in names]
    model = onnx.ModelProto()
    model.CopyFrom(SEEDS["product"])
    frame = parse(model.SerializeToString())
    graph = next(field for field in frame if field.number == 7)
    assert isinstance(graph.content, list)
    weight = next(field for field in graph.content if field.number == 5)
    found = []
    for _ in range(count):
        weight.content = mutated(source, weights)
        found.append(encode(frame))
    return found


def test_libraries_agree_on_what_is_accepted(tmp_path: Path) -> None:
    """Where onnx, onnx-ir or onnxruntime reads other numbers from a tensor, initlint has refused the model."""
    paths, ours = [], []
    for index, data in enumerate(tensor_mutants(600)):
        try:
            with open_model(data) as model:
                stored = next(iter(model.initializers()), None)
                if stored is None or stored.dtype == "string":
                    continue
                values = stored.read()
        except Refusal:
            continue
        proto = onnx.load_model_from_string(data).graph.initializer[0]
        theirs = numpy_helper.to_array(proto)
        assert values.tobytes() == theirs.tobytes()
        assert values.shape == theirs.shape
        assert onnx_ir.from_proto(proto).numpy().tobytes() == theirs.tobytes()
        path = tmp_path / f"{index}.onnx"
        path.write_bytes(data)
        paths.append(str(path))
        ours.append(values)
    assert len(paths) > 50
    answer = subprocess.run([sys.executable, "-c", ONNXRUNTIME, *paths], capture_output=True, text=True, check=True)
    lines = answer.stdout.splitlines()
    assert len(lines) == len(paths)
    compared = 0
    for line, values, path in zip(lines, ours, paths, strict=True):
        theirs = json.loads(line)
        if theirs is not None and values.shape == (2, 2) and values.dtype == np.float32 and np.isfinite(values).all():
            assert np.frombuffer(bytes.fromhex(theirs), np.float32).tolist() == values.reshape(-1).tolist(), path
            compared += 1
    assert compared > 20
