"""Texts that act on what shows them (ids n..)."""

import os
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.hostile.cases import FLOAT, case, mlp, network, tensor

TEXTS = {
    "n01": "\x1b[2J\x1b[32mPASS\x1b]8;;http://x\x07link\x1b]8;;\x07\x1b]52;c;eA==\x07",
    "n02": "\x9b31m\x07\x08\rover",
    "n03": "::error file=a::b\n::set-output name=x::y\n::add-mask::z",
    "n04": "##vso[task.setvariable variable=a]b\n##teamcity[message text='x']\n##[error]bad",
    "n05": "</script><script>alert(1)</script><img src=x onerror=alert(1)>]]>",
    "n07": "| a | [l](http://x) ![i](http://x) @user #1 <!-- --> `c`",
    "n08": '=HYPERLINK("http://x","y")',
    "n11": "\u202egnp.exe\u200b\u2066\u2069\U000e0041\U000e0042\ufeff",
    "n13": "a\0b",
    "n15": "%s%n%x {0} {x.__class__} $(id) `id` ${HOME} %0A",
    "n17": "n" * 5_000_000,
    "n19": "IL*",
    "n20": "a" * 50_000 + "!",
    "n21": "  \u3164 \t\u00a0",
    "n22": "--fail-on=never",
    "n24": '"\n- waived: true\n  reason: "x\n...\n---\n[waive]\ncode="IL*"',
    "n25": "Traceback (most recent call last):",
    "n26": "\u2028line\u2029paragraph\x85next",
    "n27": "'; DROP TABLE layer; --",
    "n28": "../../../../etc/passwd",
}


def broken(text: str) -> onnx.ModelProto:
    """A network with findings, whose every name and every text is hostile."""
    names = [f"{text}{index}" if text.strip() else text + " " * index for index in range(1, 12)]
    x, h, a, y, w1, w2 = names[:6]
    nodes = [
        helper.make_node("MatMul", [x, w1], [h], name=names[6]),
        helper.make_node("Relu", [h], [a], name=names[7]),
        helper.make_node("MatMul", [a, w2], [y], name=names[8]),
    ]
    graph = helper.make_graph(
        nodes,
        text,
        [helper.make_tensor_value_info(x, FLOAT, [names[9], 8])],
        [helper.make_tensor_value_info(y, FLOAT, None)],
        [tensor(w1, 8, 16, std=1e-6), numpy_helper.from_array(np.zeros((16, 4), np.float32), w2)],
        doc_string=text,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name, model.producer_version, model.domain, model.doc_string = text, text, text, text
    entry = model.metadata_props.add()
    entry.key, entry.value = text, text
    return model


for _identity, _text in TEXTS.items():
    case(_identity, "neutralise")(lambda _, text=_text: broken(text))


@case("n30", "neutralise")
def file_name(folder: Path) -> Path:
    """A file name that holds a newline, an escape and a workflow command."""
    path = folder / "a\n\x1b[2J::error::b.onnx"
    path.write_bytes(mlp().SerializeToString())
    return path


@case("n31", "neutralise")
def no_text(folder: Path) -> Path:
    """A file name that is not UTF-8."""
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9\xff.onnx"))
    path.write_bytes(mlp().SerializeToString())
    return path


def many_layers(count: int, width: int, value: float) -> onnx.ModelProto:
    """A chain of layers whose weights are one number, with names of 200 characters."""
    nodes, stored = [], []
    last = "x"
    weight = np.full((width, width), value, np.float32)
    for index in range(count):
        name = f"{index:05d}" + "n" * 195
        stored.append(numpy_helper.from_array(weight, f"{name}.w"))
        nodes.append(helper.make_node("MatMul", [last, f"{name}.w"], [f"{name}.o"], name=name))
        last = f"{name}.o"
    return network(nodes, stored, shape=("n", width), output=last)


case("n32", "neutralise", slow=True)(lambda _: many_layers(50_000, 1, 1.0))
case("n32b", "neutralise", slow=True)(lambda _: many_layers(20_000, 8, 0.0))  # every one of them at fault


@case("n33", "neutralise")
def hostile_domain(_: Path) -> onnx.ModelProto:
    """Operator, domain and attribute named by an attacker, in a node beside the signal's way."""
    text = "\x1b[2J::error::x\n##[error]y"
    model = mlp()
    node = model.graph.node.add(op_type=text, domain=text)
    node.input.append("x")
    node.output.append("side")
    node.attribute.append(helper.make_attribute(text, text))
    for index in range(20):
        model.graph.node.append(helper.make_node("Relu", ["x"], [f"r{index}"]))
    model.opset_import.append(helper.make_opsetid(text, 1))
    return model
