"""Classical models (ai.onnx.ml): trees and linear models on all draws at once; what gives maps or strings is not computed."""

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import invalid, number, text
from initlint.operators.special import sigmoid
from initlint.operators.table import Array, Draws, NotComputed, Run, operator

__all__ = ["leaves"]

MOST_LEVELS = 512  # of a tree; a node that points at itself would walk for ever
COMPARISONS = {
    "BRANCH_LEQ": np.less_equal, "BRANCH_LT": np.less, "BRANCH_GTE": np.greater_equal, "BRANCH_GT": np.greater,
    "BRANCH_EQ": np.equal, "BRANCH_NEQ": np.not_equal,
}  # fmt: skip


def _values(node: Node, name: str, dtype: type = np.float64) -> Array:
    value = node.attributes.get(name)
    return np.asarray(value if isinstance(value, tuple) else (), dtype)


def _rows(x: Draws) -> Array:
    """The input as `[s, n, features]`."""
    values = x.values.astype(np.float64)
    return (
        values.reshape(values.shape[0], -1, values.shape[-1]) if values.ndim > 1 else values[:, np.newaxis, np.newaxis]
    )


def _classes(node: Node) -> int:
    for name in ("classlabels_int64s", "classlabels_strings", "classlabels_ints"):
        labels = node.attributes.get(name)
        if isinstance(labels, tuple) and labels:
            return len(labels)
    raise invalid("has no class labels")


def _transformed(node: Node, scores: Array) -> Array:
    match text(node, "post_transform", "NONE"):
        case "NONE":
            return scores
        case "LOGISTIC":
            return sigmoid(scores)
        case "SOFTMAX":
            shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
            return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
        case other:
            raise NotComputed(f"post_transform {other}")


def _labels(node: Node, scores: Array) -> Array | None:
    """Integer labels of the largest scores; None where labels are strings."""
    labels = node.attributes.get("classlabels_int64s") or node.attributes.get("classlabels_ints")
    if not isinstance(labels, tuple) or not labels:
        return None
    return np.asarray(labels, np.int64)[np.minimum(scores.argmax(axis=-1), len(labels) - 1)]


def leaves(node: Node, rows: Array) -> tuple[Array, Array, Array]:
    """For each row and tree the index of the leaf it ends in; with the tree and node ids of all nodes."""
    trees, ids = _values(node, "nodes_treeids", np.int64), _values(node, "nodes_nodeids", np.int64)
    features, thresholds = _values(node, "nodes_featureids", np.int64), _values(node, "nodes_values")
    modes = np.asarray(node.attributes.get("nodes_modes", ()), object)
    count = len(trees)
    if not count or any(len(item) != count for item in (ids, features, thresholds, modes)):
        raise invalid("has node lists of different lengths")
    place = {(int(tree), int(item)): index for index, (tree, item) in enumerate(zip(trees, ids, strict=True))}
    yes, no = (
        np.array(
            [
                place.get((int(tree), int(item)), 0)
                for tree, item in zip(trees, _values(node, name, np.int64), strict=True)
            ]
        )
        for name in ("nodes_truenodeids", "nodes_falsenodeids")
    )
    leaf = modes == "LEAF"
    roots = np.array([index for index in range(count) if index == 0 or trees[index] != trees[index - 1]])
    current = np.broadcast_to(roots, (*rows.shape[:-1], len(roots))).copy()
    for _ in range(MOST_LEVELS):
        inner = ~leaf[current]
        if not inner.any():
            return current, trees, ids
        taken = np.take_along_axis(rows, np.minimum(features[current], rows.shape[-1] - 1), axis=-1)
        goes = np.zeros(current.shape, bool)
        for mode, compare in COMPARISONS.items():
            chosen = modes[current] == mode
            if chosen.any():
                goes |= chosen & compare(taken.astype(np.float32), thresholds[current].astype(np.float32))
        current = np.where(inner, np.where(goes, yes[current], no[current]), current)
    raise invalid(f"has a tree of more than {MOST_LEVELS} levels, or one that points at itself")


def _summed(node: Node, rows: Array, prefix: str, outputs: int) -> Array:
    """Weights of the leaves reached, summed by class or target."""
    current, trees, ids = leaves(node, rows)
    table = np.zeros((len(trees), outputs))
    place = {(int(tree), int(item)): index for index, (tree, item) in enumerate(zip(trees, ids, strict=True))}
    names = [f"{prefix}_{part}" for part in ("treeids", "nodeids", "ids", "weights")]
    for tree, item, target, weight in zip(*(_values(node, name) for name in names), strict=True):
        if not 0 <= target < outputs:
            raise invalid(f"a leaf of class {target} of {outputs}")
        table[place[int(tree), int(item)], int(target)] += weight
    return np.asarray(table[current].sum(axis=-2))


@operator("ai.onnx.ml::TreeEnsembleRegressor")
def tree_ensemble_regressor(node: Node, run: Run, x: Draws) -> Array:
    """Sum or average over trees."""
    rows = _rows(x)
    targets = number(node, "n_targets", 1)
    if text(node, "aggregate_function", "SUM") not in ("SUM", "AVERAGE"):
        raise NotComputed("a minimum or maximum over trees")
    run.claim(rows.shape[0], rows.shape[1], len(set(_values(node, "nodes_treeids").tolist())), targets)
    total = _summed(node, rows, "target", targets)
    if text(node, "aggregate_function", "SUM") == "AVERAGE":
        total = total / len(set(_values(node, "nodes_treeids").tolist()))
    base = _values(node, "base_values")
    return _transformed(node, total + base if base.size else total).astype(run.float_type)


@operator("ai.onnx.ml::TreeEnsembleClassifier")
def tree_ensemble_classifier(node: Node, run: Run, x: Draws) -> tuple[Array | None, ...]:
    """Labels and scores; a binary model whose leaves speak of one class only gives its complement as well."""
    rows = _rows(x)
    classes = _classes(node)
    run.claim(rows.shape[0], rows.shape[1], len(set(_values(node, "nodes_treeids").tolist())), classes)
    scores = _summed(node, rows, "class", classes)
    base = _values(node, "base_values")
    if base.size:
        scores = scores + base
    single = classes == 2 and len(set(_values(node, "class_ids").tolist())) == 1
    if single:
        positive = scores[..., 1:] if _values(node, "class_ids")[0] == 1 else scores[..., :1]
        if text(node, "post_transform", "NONE") == "LOGISTIC":
            probability = sigmoid(positive)
            scores = np.concatenate([1 - probability, probability], axis=-1)
        else:
            scores = np.concatenate([1 - positive, positive], axis=-1)
        return _labels(node, scores), scores.astype(run.float_type)
    scores = _transformed(node, scores)
    return _labels(node, scores), scores.astype(run.float_type)


@operator("ai.onnx.ml::LinearClassifier")
def linear_classifier(node: Node, run: Run, x: Draws) -> tuple[Array | None, ...]:
    """Labels and scores of a linear model."""
    rows = _rows(x)
    weight, bias = _values(node, "coefficients"), _values(node, "intercepts")
    outputs = bias.size or weight.size // rows.shape[-1]
    if weight.size < outputs * rows.shape[-1] or not outputs:
        raise invalid(f"{weight.size} coefficients for {outputs} classes of {rows.shape[-1]} features")
    # onnxruntime takes the first coefficients where there are more than it needs.
    scores = rows @ weight[: outputs * rows.shape[-1]].reshape(outputs, -1).T + (bias if bias.size else 0.0)
    if scores.shape[-1] == 1 and _classes(node) == 2:
        scores = np.concatenate([-scores, scores], axis=-1)
    scores = _transformed(node, scores)
    return _labels(node, scores), scores.astype(run.float_type)


@operator("ai.onnx.ml::LinearRegressor")
def linear_regressor(node: Node, run: Run, x: Draws) -> Array:
    """A linear model."""
    rows = _rows(x)
    targets = number(node, "targets", 1)
    weight, bias = _values(node, "coefficients"), _values(node, "intercepts")
    if weight.size != targets * rows.shape[-1]:
        raise invalid(f"{weight.size} coefficients for {rows.shape[-1]} features and {targets} targets")
    return _transformed(node, rows @ weight.reshape(targets, -1).T + (bias if bias.size else 0.0)).astype(
        run.float_type
    )


@operator("ai.onnx.ml::Scaler")
def scaler(node: Node, run: Run, x: Draws) -> Array:
    """(x - offset) * scale."""
    offset, scale = _values(node, "offset"), _values(node, "scale")
    values = x.values.astype(run.float_type)
    shifted = values - offset.astype(values.dtype) if offset.size else values
    return np.asarray(shifted * scale.astype(values.dtype) if scale.size else shifted)


@operator("ai.onnx.ml::Normalizer")
def normalizer(node: Node, run: Run, x: Draws) -> Array:
    """Each row by its largest magnitude, sum of magnitudes or length."""
    values = x.values.astype(run.float_type)
    match text(node, "norm", "MAX"):
        case "MAX":
            size = values.max(axis=-1, keepdims=True)
        case "L1":
            size = np.abs(values).sum(axis=-1, keepdims=True)
        case _:
            size = np.sqrt((values * values).sum(axis=-1, keepdims=True))
    return np.asarray(values / np.where(size == 0, 1, size))


@operator("ai.onnx.ml::ArrayFeatureExtractor")
def array_feature_extractor(_: Node, run: Run, x: Draws, y: Draws) -> Array:
    """Columns picked by index."""
    where = y.values[0].reshape(-1).astype(np.int64)
    if not y.constant:
        flat = y.values.reshape(y.values.shape[0], -1).astype(np.int64)
        values = np.broadcast_to(x.values, (max(x.values.shape[0], flat.shape[0]), *x.values.shape[1:]))
        run.claim(values.shape[0], *values.shape[1:-1], flat.shape[1])
        index = flat.reshape(flat.shape[0], *(1,) * (values.ndim - 2), -1)
        return np.take_along_axis(values, np.broadcast_to(index, (*values.shape[:-1], flat.shape[1])), axis=-1)
    if where.size and (where.min() < 0 or where.max() >= x.shape[-1]):
        raise invalid("picks a column that is not there")
    return x.values[..., where]


@operator("ai.onnx.ml::Binarizer")
def binarizer(node: Node, run: Run, x: Draws) -> Array:
    """One above a threshold, else zero."""
    threshold = float(node.attributes.get("threshold", 0.0))  # type: ignore[arg-type]
    return (x.values > threshold).astype(run.float_type)


@operator("ai.onnx.ml::Imputer")
def imputer(node: Node, run: Run, x: Draws) -> Array:
    """Missing values filled in."""
    values = x.values.astype(run.float_type)
    fill = _values(node, "imputed_value_floats")
    missing = float(node.attributes.get("replaced_value_float", 0.0))  # type: ignore[arg-type]
    where = np.isnan(values) if np.isnan(missing) else values == missing
    return np.where(where, fill.astype(values.dtype), values)


@operator("ai.onnx.ml::FeatureVectorizer")
def feature_vectorizer(_: Node, run: Run, *inputs: Draws | None) -> Array:
    """Inputs side by side."""
    arrays = [item.values.astype(run.float_type) for item in inputs if item is not None]
    draws = max(item.shape[0] for item in arrays)
    return np.concatenate([np.broadcast_to(item, (draws, *item.shape[1:])) for item in arrays], axis=-1)
