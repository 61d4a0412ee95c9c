"""onnxruntime's forms of attention: projections inside, caches, heads that share keys; all of them end in `attend`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import constant, integers, invalid, number, numbers, real
from initlint.operators.attention import Prepared, added, causal, extended, prepared
from initlint.operators.normalisation import rms_rows
from initlint.operators.quantised import dequantise
from initlint.operators.rotary import heads_of, joined_heads, rotated
from initlint.operators.table import Array, Draws, NotComputed, Run, Values, align, operator
from initlint.operators.weighted import matmul_operator

__all__ = ["PREPARE"]


def _projected(run: Run, x: Draws, weight: Draws, bias: Draws | None, node: Node) -> list[Array]:
    """Queries, keys and values `[s, B, heads, L, D]` from one merged projection."""
    if len(x.shape) != 3 or len(weight.shape) != 2:
        raise invalid(f"an input of shape {x.shape} for weights {weight.shape}")
    merged = matmul_operator(node, run, x, weight)
    if bias is not None:
        first, second = align(run, merged, bias)
        merged = first + second
    sizes = numbers(node, "qkv_hidden_sizes", [weight.shape[1] // 3] * 3) or [weight.shape[1] // 3] * 3
    if len(sizes) != 3 or sum(sizes) != weight.shape[1]:
        raise invalid(f"hidden sizes {sizes[:8]} of {weight.shape[1]} projected")
    parts = np.split(merged, np.cumsum(sizes)[:-1], axis=-1)
    return [heads_of(part, number(node, "num_heads")) for part in parts]


def _index_bias(
    mask: Draws | None, node: Node, batch: int, tokens: int, keys: int, float_type: np.dtype[Any]
) -> Array | None:
    """onnxruntime's masks: which keys are real, as 0 and 1, as lengths, or as ends and starts."""
    if mask is None:
        return None
    filler = real(node, "mask_filter_value", -10000.0)
    values = mask.values
    shape = mask.shape
    if len(shape) == 1 and shape[0] in (batch, 2 * batch):
        places = np.arange(keys)
        ends = values[:, :batch, np.newaxis]
        seen = places < ends
        if shape[0] == 2 * batch:
            seen &= places >= values[:, batch:, np.newaxis]
        seen = seen[:, :, np.newaxis, np.newaxis]
    elif len(shape) == 2:
        seen = values[:, :, np.newaxis, np.newaxis] != 0
    elif len(shape) == 3:
        seen = values[:, :, np.newaxis] != 0
    elif len(shape) == 4:
        past = keys - tokens
        seen = values[:, :, :, past : past + tokens, :keys] != 0
    else:
        raise NotComputed(f"a mask of shape {shape}")
    return np.where(seen, 0.0, filler).astype(float_type)


def _self_attention(
    node: Node, run: Run, parts: list[Array], mask: Draws | None, past: Draws | None, bias: Draws | None
) -> Prepared:
    if number(node, "do_rotary", 0):
        raise NotComputed("a rotation whose angles are not in the file")
    query, key, value = parts
    if past is not None:
        key, value = extended(past.values[:, 0], key), extended(past.values[:, 1], value)
    tokens, keys = query.shape[3], key.shape[3]
    total = added(
        run,
        _index_bias(mask, node, query.shape[1], tokens, keys, query.dtype),
        None if bias is None else bias.values,
        causal(tokens, keys, keys - tokens, query.dtype) if number(node, "unidirectional", 0) else None,
    )
    return Prepared(query, key, value, total, real(node, "scale", 0.0) or query.shape[-1] ** -0.5)


def _with_present(node: Node, run: Run, ready: Prepared) -> tuple[Array | None, ...]:
    present = None
    if len(node.outputs) > 1 and ready.key.shape == ready.value.shape:
        present = np.stack([ready.key, ready.value], axis=1)
    return joined_heads(ready.attended(run).y), present


def _contrib(
    node: Node, run: Run, x: Draws, weight: Draws, bias: Draws | None = None, mask: Draws | None = None,
    past: Draws | None = None, scores: Draws | None = None, past_length: Draws | None = None,
) -> Prepared:  # fmt: skip
    if past_length is not None:
        raise NotComputed("a cache in a shared buffer")
    return _self_attention(node, run, _projected(run, x, weight, bias, node), mask, past, scores)


@operator("com.microsoft::Attention")
def contrib_attention(node: Node, run: Run, x: Draws, weight: Draws, *rest: Draws | None) -> tuple[Array | None, ...]:
    """Self-attention with a merged projection of queries, keys and values."""
    return _with_present(node, run, _contrib(node, run, x, weight, *rest))


@operator("com.microsoft::QAttention")
def quantised_attention(
    node: Node, run: Run, x: Draws, weight: Draws, bias: Draws, x_scale: Draws, w_scale: Draws,
    mask: Draws | None = None, x_zero: Draws | None = None, w_zero: Draws | None = None, past: Draws | None = None,
) -> tuple[Array | None, ...]:  # fmt: skip
    """Self-attention whose input and projection are quantised."""
    real_x = Values(dequantise(run, x.values, x_scale, x_zero, 2), "float32")
    real_w = Values(dequantise(run, weight.values, w_scale, w_zero, 1), "float32")
    return _with_present(
        node, run, _self_attention(node, run, _projected(run, real_x, real_w, bias, node), mask, past, None)
    )


def _multi_head(
    node: Node, run: Run, q: Draws, k: Draws | None = None, v: Draws | None = None, bias: Draws | None = None,
    mask: Draws | None = None, scores: Draws | None = None, past_key: Draws | None = None,
    past_value: Draws | None = None, past_length: Draws | None = None, beams: Draws | None = None,
) -> Prepared:  # fmt: skip
    if past_length is not None or beams is not None:
        raise NotComputed("a cache in a shared buffer")
    heads = number(node, "num_heads")
    shared = [None, None, None] if bias is None else _split_bias(bias, q, heads)
    if len(q.shape) == 5:
        parts = [q.values[:, :, :, :, index].transpose(0, 1, 3, 2, 4) for index in range(3)]
    elif k is not None and len(k.shape) == 5:
        pair = [k.values[:, :, :, :, index].transpose(0, 1, 3, 2, 4) for index in range(2)]
        parts = [heads_of(q.values, heads), *pair]
    elif k is not None and v is not None:
        parts = [heads_of(q.values, heads)]
        parts += [item.values if len(item.shape) == 4 else heads_of(item.values, heads) for item in (k, v)]
    else:
        raise invalid("neither keys nor packed queries, keys and values")
    query, key, value = (
        part if added is None else part + heads_of(added[:, np.newaxis, np.newaxis], heads)
        for part, added in zip(parts, shared, strict=True)
    )
    key = extended(None if past_key is None else past_key.values, key)
    value = extended(None if past_value is None else past_value.values, value)
    tokens, keys = query.shape[3], key.shape[3]
    total = added(
        run,
        _index_bias(mask, node, query.shape[1], tokens, keys, query.dtype),
        None if scores is None else scores.values,
        causal(tokens, keys, keys - tokens, query.dtype) if number(node, "unidirectional", 0) else None,
    )
    return Prepared(query, key, value, total, real(node, "scale", 0.0) or query.shape[-1] ** -0.5)


@operator("com.microsoft::MultiHeadAttention")
def multi_head_attention(node: Node, run: Run, q: Draws, *rest: Draws | None) -> tuple[Array | None, ...]:
    """Attention of projected queries, keys and values, packed or apart; the projection's bias may be left to it."""
    ready = _multi_head(node, run, q, *rest)
    found = ready.attended(run)
    return joined_heads(found.y), ready.key, ready.value, found.weights


def _split_bias(bias: Draws, q: Draws, heads: int) -> list[Array | None]:
    """The parts of a projection's bias for queries, keys and values."""
    hidden = q.shape[2] if len(q.shape) == 3 else heads * q.shape[-1]
    value = bias.shape[0] - 2 * hidden
    if value < 1:
        raise invalid(f"a bias of {bias.shape[0]} for {hidden} hidden")
    return list(np.split(bias.values, [hidden, 2 * hidden], axis=-1))


def _group_query(
    node: Node, run: Run, q: Draws, k: Draws | None, v: Draws | None, past_key: Draws | None,
    past_value: Draws | None, lengths: Draws, total_length: Draws, cosine: Draws | None = None,
    sine: Draws | None = None, positions: Draws | None = None, scores: Draws | None = None,
    sink: Draws | None = None, k_scale: Draws | None = None, v_scale: Draws | None = None,
    q_norm: Draws | None = None, k_norm: Draws | None = None,
) -> Prepared:  # fmt: skip
    del total_length
    if k_scale is not None or v_scale is not None:
        raise NotComputed("a quantised cache")
    heads, shared = number(node, "num_heads"), number(node, "kv_num_heads")
    if k is None or v is None:
        size = q.shape[-1] // max(heads + 2 * shared, 1)
        flat = np.split(q.values, [heads * size, (heads + shared) * size], axis=-1)
    else:
        flat = [q.values, k.values, v.values]
    query, key, value = (heads_of(item, count) for item, count in zip(flat, (heads, shared, shared), strict=True))
    if q_norm is not None and k_norm is not None:
        epsilon = real(node, "qk_norm_epsilon", 1e-6)
        query = rms_rows(query, real(node, "q_norm_epsilon", epsilon)) * q_norm.values
        key = rms_rows(key, real(node, "k_norm_epsilon", epsilon)) * k_norm.values
    tokens = query.shape[3]
    held = 0 if past_key is None else past_key.shape[2]
    totals = {item + 1 for item in integers(lengths, "seqlens_k")}
    if len(totals) != 1:
        raise NotComputed("sequences of different lengths")
    past = min(max(totals.pop() - tokens, 0), held)
    if number(node, "do_rotary", 0):
        if cosine is None or sine is None or not (cosine.constant and sine.constant):
            raise NotComputed("a rotation without angles")
        places = np.arange(past, past + tokens)[np.newaxis]
        if positions is not None:
            places = constant(positions, "position_ids").reshape(-1, tokens)
        if places.max(initial=0) >= cosine.shape[0]:
            raise invalid(f"position {places.max()} in a table of {cosine.shape[0]} angles")
        angles = [table.values[:, places] for table in (cosine, sine)]
        interleaved = bool(number(node, "rotary_interleaved", 0))
        query, key = (rotated(item, *angles, interleaved=interleaved) for item in (query, key))
    if past_key is not None and past_value is not None:
        key = extended(past_key.values[:, :, :, :past], key)
        value = extended(past_value.values[:, :, :, :past], value)
    keys = key.shape[3]
    window = number(node, "local_window_size", -1)
    bias = None
    if number(node, "causal", 1):
        bias = causal(tokens, keys, past, query.dtype, left=window - 1 if window > 0 else -1)
    total = added(run, None if scores is None else scores.values, bias)
    denominator = None if sink is None else sink.values
    if sink is None and number(node, "smooth_softmax", 0):
        denominator = np.zeros((1, heads), query.dtype)
    scale = real(node, "scale", 0.0) or query.shape[-1] ** -0.5
    return Prepared(query, key, value, total, scale, real(node, "softcap", 0.0), denominator)


@operator("com.microsoft::GroupQueryAttention")
def group_query_attention(
    node: Node, run: Run, q: Draws, k: Draws | None, v: Draws | None, past_key: Draws | None,
    past_value: Draws | None, lengths: Draws, total_length: Draws, *rest: Draws | None,
) -> tuple[Array | None, ...]:  # fmt: skip
    """Causal attention with fewer heads of keys (Ainslie et al. 2023), rotation and cache included."""
    ready = _group_query(node, run, q, k, v, past_key, past_value, lengths, total_length, *rest)
    found = ready.attended(run)
    held = 0 if past_key is None else past_key.shape[2]
    kept = [_padded(item, held) for item in (ready.key, ready.value)]
    return joined_heads(found.y), *kept, found.weights if number(node, "qk_output", 0) == 2 else found.biased


def _padded(cache: Array, length: int) -> Array:
    """The cache at the length of its buffer."""
    short = length - cache.shape[3]
    if short <= 0:
        return cache
    return np.concatenate([cache, np.zeros((*cache.shape[:3], short, cache.shape[4]), cache.dtype)], axis=3)


# What each operator attends with what; the gradient's rules begin here too.
PREPARE: dict[str, Callable[..., Prepared]] = {
    "Attention": prepared,
    "com.microsoft::Attention": _contrib,
    "com.microsoft::MultiHeadAttention": _multi_head,
    "com.microsoft::GroupQueryAttention": _group_query,
}
