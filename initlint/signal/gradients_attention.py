"""Gradient rules of fused attention and of rotary embedding."""

from collections.abc import Sequence

import numpy as np

from initlint.graph import Node
from initlint.operators.attention import Prepared
from initlint.operators.contrib_attention import PREPARE
from initlint.operators.rotary import heads_of, joined_heads, rotated
from initlint.operators.table import Array, Draws, NotComputed, Run
from initlint.signal.gradients import gradient, sum_to

__all__: list[str] = []


def _parts(run: Run, ready: Prepared, arriving: Array) -> tuple[Array, Array, Array, Array]:
    """Gradients of queries, keys, values and the bias, `arriving` being that of the result `[s, B, heads, tokens, D]`."""
    found = ready.attended(run)
    repeats = ready.query.shape[2] // ready.key.shape[2]
    key, value = (np.repeat(item, repeats, axis=2) if repeats > 1 else item for item in (ready.key, ready.value))
    dweights = np.matmul(arriving, value.swapaxes(-1, -2))
    dbiased = found.weights * (dweights - (dweights * found.weights).sum(axis=-1, keepdims=True))
    dscores = dbiased
    if ready.softcap > 0:
        dscores = dbiased * (1 - (found.scores / ready.softcap) ** 2)
    dscores = dscores * ready.scale
    dquery = np.matmul(dscores, key)
    dkey = np.matmul(dscores.swapaxes(-1, -2), np.broadcast_to(ready.query, (dscores.shape[0], *ready.query.shape[1:])))
    dvalue = np.matmul(found.weights.swapaxes(-1, -2), arriving)
    if repeats > 1:
        dkey, dvalue = (
            item.reshape(*item.shape[:2], -1, repeats, *item.shape[3:]).sum(axis=3) for item in (dkey, dvalue)
        )
    return dquery, dkey, dvalue, dbiased


@gradient(*PREPARE)
def _attention(
    node: Node, run: Run, inputs: Sequence[Draws | None], outputs: Sequence[Array | None], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """Gradients of queries, keys, values (or what they are projected from), past and bias."""
    if any(item is not None and item.any() for item in gradients[1:]):
        raise NotComputed("a gradient through the cache")
    ready = PREPARE[node.kind](node, run, *inputs)
    arriving = gradients[0]
    if arriving.ndim == 4:
        arriving = heads_of(arriving, ready.query.shape[2])
    dquery, dkey, dvalue, dbias = _parts(run, ready, arriving)
    del outputs
    found: list[Array | None] = [None] * len(inputs)
    tokens = dkey.shape[3]
    if node.kind == "com.microsoft::Attention":
        return _projection(inputs, dquery, dkey, dvalue, found, dbias)
    if node.kind == "com.microsoft::GroupQueryAttention":
        dquery, dkey = _unturned(node, inputs, dquery, dkey, tokens)
    slots = (dquery, dkey, dvalue)
    if len(inputs) < 3 or inputs[1] is None or inputs[2] is None:
        return _packed(node, inputs, slots, found)
    for index, item in enumerate(slots):
        given = inputs[index]
        assert given is not None
        length = given.shape[-2]
        own = item[:, :, :, item.shape[3] - length :]
        found[index] = joined_heads(own) if len(given.shape) == 3 else own
    mask = {"Attention": 3, "com.microsoft::MultiHeadAttention": 5}.get(node.kind, 10)
    given = inputs[mask] if len(inputs) > mask else None
    if given is not None and given.values.dtype.kind == "f":
        found[mask] = sum_to(dbias, given.shape)
    return tuple(found)


def _packed(
    node: Node, inputs: Sequence[Draws | None], slots: tuple[Array, ...], found: list[Array | None]
) -> tuple[Array | None, ...]:
    """Queries, keys and values in one tensor, or keys and values."""
    first = inputs[0]
    assert first is not None
    if node.kind == "com.microsoft::GroupQueryAttention":
        own = [item[:, :, :, item.shape[3] - first.shape[1] :] for item in slots]
        found[0] = np.concatenate([joined_heads(item) for item in own], axis=-1)
    elif len(first.shape) == 5:
        found[0] = np.stack([item.transpose(0, 1, 3, 2, 4) for item in slots], axis=4)
    else:
        found[0] = joined_heads(slots[0])
        found[1] = np.stack([item.transpose(0, 1, 3, 2, 4) for item in slots[1:]], axis=4)
    return tuple(found)


def _projection(
    inputs: Sequence[Draws | None], dquery: Array, dkey: Array, dvalue: Array, found: list[Array | None], dbias: Array
) -> tuple[Array | None, ...]:
    """Through the merged projection to what was projected; the cache comes before the keys of the new tokens."""
    x, weight = inputs[0], inputs[1]
    assert x is not None
    assert weight is not None
    if not weight.constant:
        raise NotComputed("a projection that depends on the input")
    length = x.shape[1]
    parts = [joined_heads(item[:, :, :, item.shape[3] - length :]) for item in (dquery, dkey, dvalue)]
    found[0] = np.matmul(np.concatenate(parts, axis=-1), weight.values[0].T)
    if len(inputs) > 5 and inputs[5] is not None:
        found[5] = sum_to(dbias, inputs[5].shape)
    return tuple(found)


def _unturned(node: Node, inputs: Sequence[Draws | None], dquery: Array, dkey: Array, keys: int) -> tuple[Array, Array]:
    """Gradients before the rotation: turned back by the same angles."""
    if len(inputs) > 14 and inputs[14] is not None:
        raise NotComputed("normalised queries")
    if not node.attributes.get("do_rotary"):
        return dquery, dkey
    cosine, sine = inputs[7], inputs[8]
    if cosine is None or sine is None or (len(inputs) > 9 and inputs[9] is not None):
        raise NotComputed("positions of their own")
    tokens = dquery.shape[3]
    places = np.arange(keys - tokens, keys)[np.newaxis]
    interleaved = bool(node.attributes.get("rotary_interleaved"))
    turned = [
        rotated(
            item[:, :, :, item.shape[3] - tokens :],
            cosine.values[:, places],
            -sine.values[:, places],
            interleaved=interleaved,
        )
        for item in (dquery, dkey)
    ]
    return turned[0], turned[1]


@gradient("RotaryEmbedding", "com.microsoft::RotaryEmbedding")
def _rotary(
    node: Node, run: Run, inputs: Sequence[Draws | None], _outputs: Sequence[Array], gradients: Sequence[Array]
) -> tuple[Array | None, ...]:
    """The rotation by minus the angles: its own transpose."""
    from initlint.operators.table import Values, evaluate  # noqa: PLC0415 - the operator is its own rule

    sine = 2 if node.domain == "" else 3
    back = list(inputs)
    angles = inputs[sine]
    if angles is None:
        raise NotComputed("no angles")
    back[0], back[sine] = Values(gradients[0], "float32"), Values(-angles.values, angles.dtype)
    return (evaluate(node, run, back)[0], *(None for _ in inputs[1:]))
