"""Small models for the tests of the probe, from onnx's text form."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

RANDOM = np.random.Generator(np.random.Philox(11))


def built(text: str, opset: int = 18, domains: tuple[str, ...] = (), **weights: np.ndarray) -> onnx.ModelProto:
    """A model from its text and its weights."""
    graph = parser.parse_graph(text)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    versions = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=versions, ir_version=9)


def saved(folder: Path, text: str, opset: int = 18, domains: tuple[str, ...] = (), **weights: np.ndarray) -> Path:
    """The same as a file."""
    path = folder / "model.onnx"
    onnx.save(built(text, opset, domains, **weights), str(path))
    return path


def normal(*shape: int, std: float = 1.0) -> np.ndarray:
    """Weights N(0, std^2)."""
    return (RANDOM.standard_normal(shape) * std).astype(np.float32)
