"""Losses that a training graph ends in."""

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import constant, invalid, number, text
from initlint.operators.table import Array, Draws, Run, operator


def _picked(node: Node, run: Run, logs: Array, target: Draws, weight: Draws | None) -> Array:
    """Minus the log-probability `[s, N, C, *rest]` of each target class, weighed and reduced."""
    classes = constant(target, "the target").astype(np.int64)
    if logs.ndim < 3 or classes.shape != (logs.shape[1], *logs.shape[3:]):
        raise invalid(f"targets of shape {classes.shape} for scores of shape {logs.shape[1:]}")
    ignored = number(node, "ignore_index", int(classes.min(initial=0)) - 1)
    kept = classes != ignored
    places = np.where(kept, classes, 0)
    if places.size and not 0 <= places.min() <= places.max() < logs.shape[2]:
        raise invalid(f"class {places.max()} of {logs.shape[2]}")
    run.claim(logs.shape[0], *classes.shape)
    each = -np.take_along_axis(logs, places[np.newaxis, :, np.newaxis], axis=2)[:, :, 0]
    share = kept.astype(logs.dtype)
    if weight is not None:
        share = share * weight.values[:, places]
    each = each * share
    reduction = text(node, "reduction", "mean")
    if reduction == "none":
        return each
    axes = tuple(range(1, each.ndim))
    total = each.sum(axis=axes)
    if reduction == "sum":
        return np.asarray(total)
    return np.asarray(total / np.broadcast_to(share, each.shape).sum(axis=axes))


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood(node: Node, run: Run, x: Draws, target: Draws, weight: Draws | None = None) -> Array:
    """Minus the given log-probability of the target class."""
    return _picked(node, run, x.values, target, weight)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    node: Node, run: Run, x: Draws, target: Draws, weight: Draws | None = None
) -> tuple[Array, Array]:
    """Minus the log of the target class's softmax; the logs are the second output."""
    shifted = x.values - x.values.max(axis=2, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    return _picked(node, run, logs, target, weight), logs
