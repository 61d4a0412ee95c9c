"""Einsum, two operands at a time through batched BLAS products."""

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import invalid, text
from initlint.operators.table import Array, Draws, Run, operator

Labels = tuple[str, ...]
DRAWS = "#"  # the label of the axis of draws: kept in every operand and in the output
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@operator("Einsum")
def einsum(node: Node, run: Run, *inputs: Draws | None) -> Array:
    """The sum of products that the equation names."""
    operands = [item for item in inputs if item is not None]
    if not operands or len(operands) != len(inputs):
        raise invalid("an operand is missing")
    terms, output = _parse(text(node, "equation"), [len(item.shape) for item in operands])
    result, labels = _prepared(operands[0].values, (DRAWS, *terms[0]))
    for index in range(1, len(operands)):
        other, other_labels = _prepared(operands[index].values, (DRAWS, *terms[index]))
        needed = {DRAWS, *output}.union(*terms[index + 1 :])
        result, labels = _contract(run, result, labels, other, other_labels, needed)
    result, labels = _summed(result, labels, {DRAWS, *output})
    sizes = dict(zip(labels, result.shape, strict=True))
    order = [labels.index(label) for label in (DRAWS, *output) if label in sizes]
    shape = [sizes.get(label, 1) for label in (DRAWS, *output)]
    return result.transpose(order).reshape(shape)


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """Labels of each operand and of the output; an ellipsis becomes numbered labels, counted from the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ranks):
        raise invalid(f"an equation of {len(inputs)} terms for {len(ranks)} operands")
    terms = [_term(part, rank) for part, rank in zip(inputs, ranks, strict=True)]
    dots = max((sum(label.startswith(".") for label in term) for term in terms), default=0)
    ellipsis = tuple(f".{index}" for index in range(dots, 0, -1))
    if not arrow:
        seen = [label for term in terms for label in term if not label.startswith(".")]
        return terms, (*ellipsis, *sorted(label for label in set(seen) if seen.count(label) == 1))
    before, found, after = right.partition("...")
    output = (*before, *(ellipsis if found else ()), *after)
    known = {label for term in terms for label in term}
    if len(set(output)) != len(output) or not known.issuperset(output):
        raise invalid(f"equation {equation[:80]!r} has a bad output")
    return terms, output


def _term(part: str, rank: int) -> Labels:
    before, found, after = part.partition("...")
    spare = rank - len(before) - len(after)
    if not LETTERS.issuperset(before + after) or spare < 0 or (spare and not found):
        raise invalid(f"term {part[:80]!r} does not fit an operand of rank {rank}")
    return (*before, *(f".{index}" for index in range(spare, 0, -1)), *after)


def _prepared(x: Array, labels: Labels) -> tuple[Array, Labels]:
    """Diagonals taken for repeated labels; axes of one element dropped, so that they broadcast."""
    for label in set(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if x.shape[first] != x.shape[second]:
                raise invalid(f"label {label} stands for {x.shape[first]} and {x.shape[second]}")
            x = np.diagonal(x, axis1=first, axis2=second)
            labels = (*labels[:first], *labels[first + 1 : second], *labels[second + 1 :], label)
    kept = [axis for axis, extent in enumerate(x.shape) if extent != 1]
    return x.reshape([x.shape[axis] for axis in kept]), tuple(labels[axis] for axis in kept)


def _summed(x: Array, labels: Labels, needed: Iterable[str]) -> tuple[Array, Labels]:
    """The operand with the labels that nobody needs summed away."""
    kept = set(needed)
    gone = tuple(axis for axis, label in enumerate(labels) if label not in kept)
    if not gone:
        return x, labels
    return x.sum(axis=gone, dtype=x.dtype), tuple(label for label in labels if label in kept)


def _contract(
    run: Run, x: Array, x_labels: Labels, y: Array, y_labels: Labels, needed: set[str]
) -> tuple[Array, Labels]:
    x, x_labels = _summed(x, x_labels, needed.union(y_labels))
    y, y_labels = _summed(y, y_labels, needed.union(x_labels))
    sizes = dict(zip(x_labels, x.shape, strict=True))
    for label, extent in zip(y_labels, y.shape, strict=True):
        if sizes.setdefault(label, extent) != extent:
            raise invalid(f"label {label} stands for {sizes[label]} and {extent}")
    shared = [label for label in x_labels if label in y_labels]
    batch = [label for label in shared if label in needed]
    inner = [label for label in shared if label not in needed]
    rows = [label for label in x_labels if label not in shared]
    columns = [label for label in y_labels if label not in shared]
    result = (*batch, *rows, *columns)
    count = [prod(sizes[label] for label in group) for group in (batch, rows, inner, columns)]
    run.claim(count[0], count[1], count[3], work=prod(count))
    if (noise := run.stand_in(count[0], count[1], count[3])) is not None:
        return noise.reshape([sizes[label] for label in result]), result
    left = x.transpose([x_labels.index(label) for label in (*batch, *rows, *inner)])
    right = y.transpose([y_labels.index(label) for label in (*batch, *inner, *columns)])
    product = np.matmul(left.reshape(count[0], count[1], count[2]), right.reshape(count[0], count[2], count[3]))
    return product.reshape([sizes[label] for label in result]), result
