"""How many findings keep their fingerprint when a model is written again: by another exporter, opset, optimiser.

    python tests/benchmarks/fingerprints.py

A fingerprint is made of the rule's code, the model's key, the node's name and the slot. Each row compares the findings of one
model with those of the same model after a change that alters no number; `kept` is the share of findings whose fingerprint
is found again, `baseline` the number that would newly count with the first report as a baseline.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
import torch
from torch import nn

import initlint
from initlint.report import Report

__all__ = ["CHANGES", "MODELS", "compared", "export"]


def mlp() -> tuple[nn.Module, torch.Tensor]:
    """Twenty layers with PyTorch's default weights."""
    layers: list[nn.Module] = []
    for _ in range(20):
        layers += [nn.Linear(32, 32), nn.ReLU()]
    return nn.Sequential(*layers), torch.randn(1, 32)


def cnn() -> tuple[nn.Module, torch.Tensor]:
    """Convolutions whose weights are far too large."""
    layers: list[nn.Module] = []
    for index in range(8):
        convolution = nn.Conv2d(3 if index == 0 else 16, 16, 3, padding=1)
        with torch.no_grad():
            convolution.weight *= 12
        layers += [convolution, nn.ReLU()]
    return nn.Sequential(*layers), torch.randn(1, 3, 16, 16)


MODELS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {"20-layer MLP": mlp, "8-layer CNN": cnn}


def export(network: nn.Module, example: torch.Tensor, path: Path, *, dynamo: bool, opset: int = 18) -> onnx.ModelProto:
    """One of PyTorch's exporters, weights inside the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(
                network, (example,), str(path), dynamo=True, opset_version=opset, verbose=False, external_data=False
            )
        else:
            torch.onnx.export(network, (example,), str(path), dynamo=False, opset_version=opset)
    return onnx.load(path)


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every initializer under another name."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    names = {tensor.name: f"w{index}" for index, tensor in enumerate(twin.graph.initializer)}
    for tensor in twin.graph.initializer:
        tensor.name = names[tensor.name]
    for node in twin.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
    return twin


def retrained(model: onnx.ModelProto) -> onnx.ModelProto:
    """Other weights of the same scale: what a fingerprint must not depend on."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    rng = np.random.default_rng(9)
    for tensor in twin.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim > 1:
            fresh = rng.permutation(values.reshape(-1)).reshape(values.shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(fresh, tensor.name))
    return twin


def optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """What onnxruntime writes after its basic optimisations."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "m.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Three opsets up."""
    return onnx.version_converter.convert_version(model, model.opset_import[0].version + 3)


CHANGES: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "initializers renamed": renamed,
    "other weights of the same scale": retrained,
    "opset conversion": converted,
    "onnxruntime, basic optimisation": optimised,
}


def report_of(model: onnx.ModelProto) -> Report:
    """The report under one key, whatever the file."""
    return initlint.check(model, name="model", phase="init")


def compared(before: Report, after: Report) -> tuple[int, int, int]:
    """(findings that count, those found again, those of `after` that a baseline of `before` would not know)."""
    first = {(finding.fingerprint, finding.ordinal) for finding in before.findings if finding.counts}
    known = {finding.fingerprint for finding in before.findings}
    again = {(finding.fingerprint, finding.ordinal) for finding in after.findings}
    fresh = [finding for finding in after.findings if finding.counts and finding.fingerprint not in known]
    return len(first), len(first & again), len(fresh)


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    print("| model | change | findings | kept | new to a baseline |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in MODELS.items():
            network, example = make()
            exports = {
                exporter: export(network.eval(), example, Path(folder) / "m.onnx", dynamo=exporter == "dynamo")
                for exporter in ("TorchScript", "dynamo")
            }
            rows: list[tuple[str, onnx.ModelProto, onnx.ModelProto]] = [
                ("the other exporter", exports["TorchScript"], exports["dynamo"])
            ]
            for exporter, model in exports.items():
                again = export(network, example, Path(folder) / "m.onnx", dynamo=exporter == "dynamo")
                rows.append((f"{exporter}: exported again", model, again))
                rows += [(f"{exporter}: {change}", model, apply(model)) for change, apply in CHANGES.items()]
            for change, before, after in rows:
                count, kept, fresh = compared(report_of(before), report_of(after))
                print(f"| {name} | {change} | {count} | {kept} | {fresh} |")


if __name__ == "__main__":
    main()
