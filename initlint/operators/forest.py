"""ai.onnx.ml::TreeEnsemble, the form of version 5: nodes in one list, leaves in another, roots named."""

import numpy as np

from initlint.graph import Node, StoredTensor
from initlint.operators.arguments import invalid, number
from initlint.operators.ml import MOST_LEVELS
from initlint.operators.table import Array, Draws, NotComputed, Run, operator

__all__ = ["tree_ensemble"]

COMPARISONS = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
AVERAGE, SUM = 0, 1


def _list(node: Node, name: str, count: int | None = None) -> Array:
    value = node.attributes.get(name, ())
    array = value.read() if isinstance(value, StoredTensor) else np.asarray(value if isinstance(value, tuple) else ())
    if count is not None and array.size != count:
        raise invalid(f"{name} has {array.size} entries, not {count}")
    return array


@operator("ai.onnx.ml::TreeEnsemble")
def tree_ensemble(node: Node, run: Run, x: Draws) -> Array:
    """The leaves' weights over the trees, by target."""
    modes = _list(node, "nodes_modes").astype(np.int64)
    count = modes.size
    features = _list(node, "nodes_featureids", count).astype(np.int64)
    splits = _list(node, "nodes_splits", count).astype(np.float64)
    sides = [
        (
            _list(node, f"nodes_{side}nodeids", count).astype(np.int64),
            _list(node, f"nodes_{side}leafs", count).astype(bool),
        )
        for side in ("true", "false")
    ]
    targets, weights = _list(node, "leaf_targetids").astype(np.int64), _list(node, "leaf_weights").astype(np.float64)
    outputs, roots = number(node, "n_targets", 1), _list(node, "tree_roots").astype(np.int64)
    if modes.max(initial=0) >= len(COMPARISONS):
        raise NotComputed("membership in a set")
    for place, leaf in sides:
        limit = np.where(leaf, weights.size, count)
        if np.any((place < 0) | (place >= limit)):
            raise invalid("a branch that leads nowhere")
    if (
        targets.size != weights.size
        or np.any((targets < 0) | (targets >= outputs))
        or np.any((roots < 0) | (roots >= max(count, 1)))
    ):
        raise invalid("leaves or roots that do not exist")
    rows = x.values.astype(np.float64)
    rows = rows.reshape(rows.shape[0], -1, rows.shape[-1])
    run.claim(rows.shape[0], rows.shape[1], roots.size, outputs)
    missing = _list(node, "nodes_missing_value_tracks_true").astype(bool)
    missing = missing if missing.size else np.zeros(count, bool)
    current = np.broadcast_to(roots, (*rows.shape[:-1], roots.size)).copy()
    done = np.zeros(current.shape, bool)
    for _ in range(MOST_LEVELS):
        here = np.where(done, 0, current)
        taken = np.take_along_axis(rows, np.minimum(features[here], rows.shape[-1] - 1), axis=-1)
        goes = np.isnan(taken) & missing[here]
        for mode, compare in enumerate(COMPARISONS):
            chosen = modes[here] == mode
            if chosen.any():
                goes |= chosen & compare(taken, splits[here])
        (yes, yes_leaf), (no, no_leaf) = sides
        current = np.where(done, current, np.where(goes, yes[here], no[here]))
        done |= np.where(goes, yes_leaf[here], no_leaf[here])
        if done.all():
            return _gathered(node, weights[current], targets[current], outputs).astype(run.float_type)
    raise invalid(f"has a tree of more than {MOST_LEVELS} levels, or one that points at itself")


def _gathered(node: Node, weights: Array, targets: Array, outputs: int) -> Array:
    parts = [np.where(targets == target, weights, 0.0) for target in range(outputs)]
    how = number(node, "aggregate_function", SUM)
    if how not in (AVERAGE, SUM):
        raise NotComputed("a minimum or maximum over trees")
    total = np.stack([part.sum(axis=-1) for part in parts], axis=-1)
    total = total / weights.shape[-1] if how == AVERAGE else total
    if number(node, "post_transform", 0):  # the standard and onnxruntime number them differently
        raise NotComputed("a transform of the scores")
    return np.asarray(total)
