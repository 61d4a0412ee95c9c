"""Model-local functions: checked before they are inlined, so that inlining ends."""

from collections.abc import Iterable, Mapping
from typing import Any

from initlint.errors import Reason, Refusal
from initlint.utf8 import as_text

__all__ = ["Functions", "check_functions"]

Functions = Mapping[tuple[str, str], Any]
MOST_INLINED = 1_000_000  # nodes that all calls together may become


def check_functions(functions: Iterable[Any]) -> Functions:
    """Functions by (domain, name). Raises Refusal where one is defined twice, calls itself, or calls multiply beyond use."""
    found: dict[tuple[str, str], Any] = {}
    for function in functions:
        for text in (function.domain, function.name, *function.input, *function.output):
            as_text(text, "a name of a function")
        key = (_domain(function.domain), function.name)
        if key in found:
            raise Refusal(Reason.GRAPH, f"defines the function {'::'.join(key)!r} twice")
        found[key] = function
    sizes: dict[tuple[str, str], int] = {}
    for key in found:
        _measure(key, found, sizes)
    return found


def _measure(start: tuple[str, str], functions: Functions, sizes: dict[tuple[str, str], int]) -> None:
    """Nodes that a call becomes, calls inside included; depth first with an explicit stack."""
    open_calls: list[tuple[tuple[str, str], list[tuple[str, str]]]] = [(start, _calls(start, functions))]
    path = {start}
    while open_calls:
        key, pending = open_calls[-1]
        if pending:
            inner = pending.pop()
            if inner in path:
                raise Refusal(Reason.GRAPH, f"the function {'::'.join(inner)!r} calls itself")
            if inner not in sizes:
                open_calls.append((inner, _calls(inner, functions)))
                path.add(inner)
            continue
        total = len(functions[key].node) + sum(sizes[inner] for inner in _calls(key, functions))
        if total > MOST_INLINED:
            raise Refusal(Reason.TOO_LARGE, f"the function {'::'.join(key)!r} becomes more than {MOST_INLINED} nodes")
        sizes[key] = total
        path.discard(key)
        open_calls.pop()


def _calls(key: tuple[str, str], functions: Functions) -> list[tuple[str, str]]:
    found = []
    pending = list(functions[key].node)
    while pending:
        node = pending.pop()
        called = (_domain(node.domain), node.op_type)
        if called in functions:
            found.append(called)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending.extend(graph.node)
    return found


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
