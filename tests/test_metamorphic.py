"""One network written in different ways has the same findings and the same numbers; a real change changes the verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, inliner, numpy_helper, version_converter
from onnx.external_data_helper import convert_model_to_external_data

from initlint import check
from initlint.report import Report

Array = np.ndarray[Any, np.dtype[Any]]
node = helper.make_node
FLOAT = TensorProto.FLOAT
EXACT, ROUNDED = 1e-6, 1e-3
WIDTHS = (24, 32, 32, 16)


@dataclass(frozen=True)
class Network:
    """Weights `[inputs, outputs]` and biases of a small perceptron with ReLU between its layers."""

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


def network(scale: float = 1.0) -> Network:
    """Healthy at scale 1; the first layer's weight is scaled."""
    random = np.random.Generator(np.random.Philox(42))
    weights = [
        (random.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32)
        for a, b in zip(WIDTHS, WIDTHS[1:], strict=False)
    ]
    biases = tuple((random.standard_normal(b) * 0.01).astype(np.float32) for b in WIDTHS[1:])
    weights[0] = (weights[0] * np.float32(scale)).astype(np.float32)
    return Network(tuple(weights), biases)


def model_of(
    nodes: list[onnx.NodeProto], stored: dict[str, Array], *, opset: int = 17, shape: tuple[int | str, ...] = ("n", 24)
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def stored_of(net: Network) -> dict[str, Array]:
    found = {f"w{index}": weight for index, weight in enumerate(net.weights)}
    return found | {f"b{index}": bias for index, bias in enumerate(net.biases)}


def plain(net: Network, **more: Any) -> onnx.ModelProto:
    """Gemm and Relu in turn."""
    nodes = [
        node("Gemm", ["x", "w0", "b0"], ["h0"], name="fc0"), node("Relu", ["h0"], ["a0"], name="r0"),
        node("Gemm", ["a0", "w1", "b1"], ["h1"], name="fc1"), node("Relu", ["h1"], ["a1"], name="r1"),
        node("Gemm", ["a1", "w2", "b2"], ["y"], name="fc2"),
    ]  # fmt: skip
    return model_of(nodes, stored_of(net), **more)


# -- the same network, written differently ----------------------------------------------------------------------------


def renamed(net: Network) -> onnx.ModelProto:
    model = plain(net)
    for item in model.graph.node:
        item.name = f"other/{item.name}"
        item.input[:] = [name if name == "x" else f"v.{name}" for name in item.input]
        item.output[:] = [name if name == "y" else f"v.{name}" for name in item.output]
    for tensor in model.graph.initializer:
        tensor.name = f"v.{tensor.name}"
    return model


def reordered(net: Network) -> onnx.ModelProto:
    model = plain(net)
    nodes, tensors = list(model.graph.node)[::-1], list(model.graph.initializer)[::-1]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensors)
    return model


def matmul_and_add(net: Network) -> onnx.ModelProto:
    nodes = [
        node("MatMul", ["x", "w0"], ["m0"], name="fc0"), node("Add", ["m0", "b0"], ["h0"]), node("Relu", ["h0"], ["a0"]),
        node("MatMul", ["a0", "w1"], ["m1"], name="fc1"), node("Add", ["b1", "m1"], ["h1"]), node("Relu", ["h1"], ["a1"]),
        node("MatMul", ["a1", "w2"], ["m2"], name="fc2"), node("Add", ["m2", "b2"], ["y"]),
    ]  # fmt: skip
    return model_of(nodes, stored_of(net))


def transposed(net: Network) -> onnx.ModelProto:
    model = plain(Network(tuple(np.ascontiguousarray(weight.T) for weight in net.weights), net.biases))
    for item in model.graph.node:
        if item.op_type == "Gemm":
            item.attribute.append(helper.make_attribute("transB", 1))
    return model


def transpose_node(net: Network) -> onnx.ModelProto:
    """The weight is turned by a node of the graph."""
    stored = stored_of(net)
    stored["w1t"] = np.ascontiguousarray(stored.pop("w1").T)
    model = plain(net)
    return model_of([node("Transpose", ["w1t"], ["w1"], perm=[1, 0]), *model.graph.node], stored)


def interposed(net: Network) -> onnx.ModelProto:
    """Identity, Cast to the same type and Dropout between the layers, Identity before a weight."""
    nodes = [
        node("Identity", ["x"], ["i"]), node("Gemm", ["i", "w0", "b0"], ["h0"], name="fc0"), node("Relu", ["h0"], ["a0"]),
        node("Dropout", ["a0"], ["d0"]), node("Identity", ["w1"], ["w1i"]),
        node("Gemm", ["d0", "w1i", "b1"], ["h1"], name="fc1"), node("Relu", ["h1"], ["a1"]),
        node("Cast", ["a1"], ["c1"], to=FLOAT), node("Gemm", ["c1", "w2", "b2"], ["y"], name="fc2"),
    ]  # fmt: skip
    return model_of(nodes, stored_of(net))


def constants(net: Network) -> onnx.ModelProto:
    """Every initializer is a Constant node."""
    model = plain(net)
    made = [node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    return model_of([*made, *model.graph.node], {})


def in_functions(net: Network) -> onnx.ModelProto:
    """Each layer is a call of one function."""
    body = [node("Gemm", ["a", "w", "b"], ["h"], name="fc"), node("Relu", ["h"], ["c"])]
    function = helper.make_function("local", "Layer", ["a", "w", "b"], ["c"], body, [helper.make_opsetid("", 17)])
    nodes = [
        node("Layer", ["x", "w0", "b0"], ["a0"], domain="local", name="one"),
        node("Layer", ["a0", "w1", "b1"], ["a1"], domain="local", name="two"),
        node("Gemm", ["a1", "w2", "b2"], ["y"], name="fc2"),
    ]
    model = model_of(nodes, stored_of(net))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def functions_inlined(net: Network) -> onnx.ModelProto:
    """The same calls, inlined by onnx."""
    return inliner.inline_local_functions(in_functions(net))


def in_if(net: Network) -> onnx.ModelProto:
    """The middle layer stands in the taken branch of an If."""
    output = helper.make_tensor_value_info("t", FLOAT, None)
    other = helper.make_tensor_value_info("e", FLOAT, None)
    then = helper.make_graph([node("Gemm", ["a0", "w1", "b1"], ["t"], name="fc1")], "then", [], [output])
    no = helper.make_graph([node("Gemm", ["a0", "w1", "b1"], ["e"], name="never")], "else", [], [other])
    nodes = [
        node("Gemm", ["x", "w0", "b0"], ["h0"], name="fc0"), node("Relu", ["h0"], ["a0"]),
        node("If", ["yes"], ["h1"], then_branch=then, else_branch=no), node("Relu", ["h1"], ["a1"]),
        node("Gemm", ["a1", "w2", "b2"], ["y"], name="fc2"),
    ]  # fmt: skip
    return model_of(nodes, stored_of(net) | {"yes": np.array(True)})


def converted(net: Network) -> onnx.ModelProto:
    """onnx's converter, from opset 13 to 18."""
    return version_converter.convert_version(plain(net, opset=13), 18)


def permuted(net: Network) -> onnx.ModelProto:
    """The hidden channels in another order."""
    order = np.random.Generator(np.random.Philox(1)).permutation(WIDTHS[1])
    first, second, third = net.weights
    weights = (np.ascontiguousarray(first[:, order]), np.ascontiguousarray(second[order]), third)
    return plain(Network(weights, (net.biases[0][order], *net.biases[1:])))


SAME: dict[str, Callable[[Network], onnx.ModelProto]] = {
    "renamed": renamed, "reordered": reordered, "MatMul and Add": matmul_and_add, "transposed": transposed,
    "Transpose node": transpose_node, "Identity, Cast, Dropout": interposed, "Constant nodes": constants,
    "functions": in_functions, "functions inlined": functions_inlined, "opset converted": converted,
}  # fmt: skip


def report_of(model: onnx.ModelProto, **settings: Any) -> Report:
    return check(model, all_tensors=True, **settings)


def findings_of(report: Report) -> list[str]:
    """Codes of what counts, without notes about how much of the file was understood."""
    return sorted(finding.code for finding in report.findings if finding.counts)


def numbers_of(report: Report) -> list[list[float | None]]:
    """The layers' numbers, along the network: fans, weights, targets, gain, signal and gradient."""
    rows = report.facts.query(
        "SELECT fan_in, fan_out, weight_std, target_std, variance_ratio, gain, signal_std, std, backward_gain "
        "FROM layer WHERE slot IS NOT NULL AND signal_std IS NOT NULL ORDER BY position"
    )
    return [[None if value is None else float(value) for value in row.values()] for row in rows]


def assert_same(one: Report, other: Report, tolerance: float) -> None:
    assert findings_of(one) == findings_of(other)
    assert one.models[0].phase == other.models[0].phase
    first, second = numbers_of(one), numbers_of(other)
    assert len(first) == len(second) == 3
    for left, right in zip(first, second, strict=True):
        assert left == pytest.approx(right, rel=tolerance, abs=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e5], ids=["healthy", "vanishing", "exploding"])
@pytest.mark.parametrize("name", SAME)
def test_written_differently(name: str, scale: float) -> None:
    """Findings and numbers are those of the plain form."""
    net = network(scale)
    assert_same(report_of(plain(net)), report_of(SAME[name](net)), EXACT)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e5], ids=["healthy", "vanishing", "exploding"])
def test_in_a_branch(scale: float) -> None:
    """A layer in the branch that is taken has the same fans, weights and signal.

    Its activation stands outside the branch and is not looked for there, so the target differs; the gradient ends at an If.
    """
    one, other = report_of(plain(network(scale))), report_of(in_if(network(scale)))
    errors = [{item.code for item in report.findings if item.severity == "error"} for report in (one, other)]
    assert errors[0] == errors[1]
    first, second = (
        sorted(numbers_of(item), key=lambda row: row[:2]) for item in (one, other)
    )  # a branch's layers come last in the table
    assert len(first) == len(second) == 3
    for left, right in zip(first, second, strict=True):
        assert left[:3] + left[5:-1] == pytest.approx(right[:3] + right[5:-1], rel=EXACT)


def test_permuted_channels() -> None:
    """Where the sum's order really changes, numbers agree to the rounding of that."""
    assert_same(report_of(plain(network())), report_of(permuted(network())), ROUNDED)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_external_data(tmp_path: Path, scale: float) -> None:
    """Weights beside the file are the weights in it."""
    net = network(scale)
    model = plain(net)
    onnx.save(model, tmp_path / "inline.onnx")
    convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    onnx.save(model, tmp_path / "outside.onnx")
    assert (tmp_path / "w.bin").stat().st_size > 1000
    inline, outside = (check(tmp_path / f"{name}.onnx", isolation="none") for name in ("inline", "outside"))
    assert_same(inline, outside, EXACT)


def convolutions(*, folded: bool) -> onnx.ModelProto:
    """Two convolutions with a BatchNormalization of moved statistics between, or folded into the first."""
    random = np.random.Generator(np.random.Philox(7))
    first = (random.standard_normal((16, 3, 3, 3)) * np.sqrt(2 / 27)).astype(np.float32)
    second = (random.standard_normal((8, 16, 3, 3)) * np.sqrt(2 / 144)).astype(np.float32)
    scale, shift = random.uniform(0.8, 1.2, 16), random.standard_normal(16) * 0.1
    mean, variance = random.standard_normal(16) * 0.2, random.uniform(1.0, 2.0, 16)
    stored = {"k2": second}
    middle = [node("Conv", ["x", "k1"], ["c"], name="conv1", pads=[1] * 4)]
    if folded:
        factor = scale / np.sqrt(variance + 1e-5)
        stored |= {"k1": (first * factor.reshape(-1, 1, 1, 1)).astype(np.float32)}
        stored |= {"b1": (shift - mean * factor).astype(np.float32)}
        middle = [node("Conv", ["x", "k1", "b1"], ["n"], name="conv1", pads=[1] * 4)]
    else:
        stored |= {"k1": first, "s": scale, "t": shift, "m": mean, "v": variance}
        middle.append(node("BatchNormalization", ["c", "s", "t", "m", "v"], ["n"], name="bn"))
    nodes = [*middle, node("Relu", ["n"], ["r"]), node("Conv", ["r", "k2"], ["y"], name="conv2", pads=[1] * 4)]
    return model_of(nodes, {name: values.astype(np.float32) for name, values in stored.items()}, shape=("n", 3, 16, 16))


def test_batch_norm_folded() -> None:
    """The signal behind a folded normalisation is the signal behind an unfolded one."""
    both = [report_of(convolutions(folded=folded)) for folded in (False, True)]
    for tensor in ("n", "r", "y"):
        unfolded, folded = (
            next(row for row in report.tensors if row["name"] == tensor)["signal_std"] for report in both
        )
        assert folded == pytest.approx(unfolded, rel=ROUNDED)
    errors = [[item.code for item in report.findings if item.severity == "error"] for report in both]
    assert errors[0] == errors[1] == []


def quantised(net: Network, *, stored: bool) -> onnx.ModelProto:
    """Weights as int8 with a scale a channel and a DequantizeLinear, or as the floats that gives."""
    found = stored_of(net)
    nodes = list(plain(net).graph.node)
    for index, weight in enumerate(net.weights):
        scale = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
        codes = np.clip(np.round(weight / scale), -127, 127).astype(np.int8)
        if stored:
            found[f"w{index}"] = codes.astype(np.float32) * scale
        else:
            del found[f"w{index}"]
            found |= {f"q{index}": codes, f"s{index}": scale}
            nodes.insert(0, node("DequantizeLinear", [f"q{index}", f"s{index}"], [f"w{index}"], axis=1))
    return model_of(nodes, found)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_quantised(scale: float) -> None:
    """A quantised weight is judged as the weight it stands for."""
    net = network(scale)
    one, other = (report_of(quantised(net, stored=stored)) for stored in (True, False))
    errors = [{item.code for item in report.findings if item.severity == "error"} for report in (one, other)]
    assert errors[0] == errors[1]
    for left, right in zip(numbers_of(one), numbers_of(other), strict=True):
        assert left == pytest.approx(right, rel=ROUNDED, abs=1e-12)


# -- and what must change the verdict ---------------------------------------------------------------------------------


def test_a_scaled_weight_changes_the_verdict() -> None:
    """A weight of a ten-thousandth, or of 10^5 times, is no longer healthy; the inverse factor behind it restores the end."""
    healthy, vanishing, exploding = (
        {item.code for item in report_of(plain(network(scale)), phase="init").findings if item.severity == "error"}
        for scale in (1.0, 1e-4, 1e5)
    )
    assert healthy == set()
    assert vanishing
    assert "IL201" in exploding
    net = network(1e-4)
    nodes = list(plain(net).graph.node)
    nodes[0].output[0] = "small"
    nodes.insert(1, node("Mul", ["small", "back"], ["h0"]))
    scaled = stored_of(net) | {"back": np.array(1e4, np.float32), "b0": network().biases[0] * np.float32(1e-4)}
    ends = [
        next(row["signal_std"] for row in report_of(model).tensors if row["name"] == "y")
        for model in (plain(network()), model_of(nodes, scaled))
    ]
    assert ends[0] == pytest.approx(ends[1], rel=ROUNDED)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda weight: weight * 0, "IL302"),
        (lambda weight: weight * 0 + np.float32(0.1), "IL303"),
        (lambda weight: np.where(np.arange(weight.size).reshape(weight.shape) == 5, np.nan, weight), "IL301"),
        (lambda weight: np.tile(weight[:, :1], (1, weight.shape[1])), "IL105"),
    ],
    ids=["zero", "constant", "one NaN", "symmetric"],
)
def test_a_broken_weight_changes_the_verdict(change: Callable[[Array], Array], code: str) -> None:
    """The same graph with one weight degenerate has the finding that says so, and is no pass."""
    net = network()
    weights = (net.weights[0], change(net.weights[1]).astype(np.float32), net.weights[2])
    report = report_of(plain(Network(weights, net.biases)))
    assert code in {finding.code for finding in report.findings}
    assert not report.ok


def test_an_unknown_operator_changes_the_verdict() -> None:
    """An Identity is nothing; an operator nobody knows in its place is exit code 2's finding."""
    nodes = list(plain(network()).graph.node)
    nodes[1] = node("Mystery", ["h0"], ["a0"], domain="my")
    model = model_of(nodes, stored_of(network()))
    model.opset_import.append(helper.make_opsetid("my", 1))
    assert "IL001" in {finding.code for finding in report_of(model).findings}
    assert report_of(plain(network())).ok
