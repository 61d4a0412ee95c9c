"""Blame through the whole analysis: shares sum to one, equal blame is said as such, one culprit is named."""

import re

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from initlint import Report, check
from initlint.formats.words import blame, positions

WIDTH = 64


def network(factors: list[float], *, residual: bool = False, gain: float = 2.0) -> onnx.ModelProto:
    """Gemm and ReLU per factor, each weight's std that times He's; with `residual` each pair is added to its input."""
    random = np.random.Generator(np.random.Philox(len(factors)))
    body, weights, last = [], [], "x"
    for index, factor in enumerate(factors, 1):
        values = random.standard_normal((WIDTH, WIDTH)) * factor * (gain / WIDTH) ** 0.5
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{index}"))
        body += [f"h{index} = Gemm({last}, w{index})", f"a{index} = Relu(h{index})"]
        last = f"a{index}"
        if residual:
            body.append(f"s{index} = Add({f's{index - 1}' if index > 1 else 'x'}, a{index})")
            last = f"s{index}"
    text = f"g (float[n, {WIDTH}] x) => (float[n, {WIDTH}] {last}) {{ {' '.join(body)} }}"
    graph = parser.parse_graph(text)
    graph.initializer.extend(weights)
    for index, node in enumerate(item for item in graph.node if item.op_type == "Gemm"):
        node.name = f"fc{index + 1}"
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def told(report: Report) -> tuple[list[float], list[str], list[str]]:
    """Shares, layers by share, and the lines shown, of the finding that blames."""
    finding = next(item for item in report.findings if item.blamed)
    return (
        [item.share for item in finding.blamed],
        [item.layer for item in finding.blamed],
        blame(finding, positions(report)),
    )


@pytest.mark.parametrize("factor", [3.0, 0.2])
def test_twenty_equal_layers_are_blamed_equally(factor: float) -> None:
    """Named as the stretch they form, with shares that sum to one."""
    shares, _, lines = told(check(network([factor] * 20), phase="init"))
    assert sum(shares) == pytest.approx(1, abs=1e-4)  # as printed, each rounded
    assert max(shares) < 2.5 / len(shares)
    assert re.match(r"fc\d+\.\.fc\d+ equally", lines[0])


def test_one_layer_of_twenty_is_named() -> None:
    """The rest keep the signal and have next to no part in it."""
    factors = [1.0] * 20
    factors[6] = 2000.0
    shares, layers, _ = told(check(network(factors), phase="init"))
    assert sum(shares) == pytest.approx(1, abs=1e-4)  # as printed, each rounded
    assert layers[0] == "fc7"
    assert shares[0] > 0.7


def test_the_branch_that_floods_a_residual_network_is_named() -> None:
    """Its growth is passed on by the skip connections, which are no layers."""
    factors = [0.3] * 12
    factors[4] = 4000.0
    shares, layers, _ = told(check(network(factors, residual=True), phase="init"))
    assert sum(shares) == pytest.approx(1, abs=1e-4)  # as printed, each rounded
    assert layers[0] == "fc5"
    assert shares[0] > 0.7
