"""Attention (Vaswani et al. 2017) as one operator, ONNX's own, on joint draws.

Inside, queries, keys and values are `[s, B, heads, tokens, D]`; a mask is a bias that is added to the scores.
"""

from typing import Any

import msgspec
import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import constant, invalid, number, real
from initlint.operators.rotary import heads_of, joined_heads
from initlint.operators.table import Array, Draws, Run, align, operator
from initlint.operators.weighted import matmul

__all__ = ["Attended", "Prepared", "added", "attend", "causal", "extended", "prepared"]


class Prepared(msgspec.Struct, frozen=True):
    """What is attended with what: `[s, B, heads, tokens, D]` each, the bias, and the settings of `attend`."""

    query: Array
    key: Array
    value: Array
    bias: Array | None
    scale: float
    softcap: float = 0.0
    sink: Array | None = None

    def attended(self, run: Run) -> "Attended":
        """The operator's arithmetic."""
        return attend(
            run, self.query, self.key, self.value, self.bias, scale=self.scale, softcap=self.softcap, sink=self.sink
        )


class Attended(msgspec.Struct, frozen=True):
    """The result, the scores before the bias and with it, and the weights."""

    y: Array
    scores: Array
    biased: Array
    weights: Array


def attend(
    run: Run, q: Array, k: Array, v: Array, bias: Array | None, *, scale: float, softcap: float = 0.0,
    sink: Array | None = None,
) -> Attended:  # fmt: skip
    """softmax(scale q k' + bias) v and what it goes through.

    Heads of k and v are repeated where q has more (Ainslie et al. 2023). A row that may look at nothing gives zero. `sink`
    `[1, heads]` is one more score in each row's denominator.
    """
    if q.shape[2] != k.shape[2]:
        if not k.shape[2] or q.shape[2] % k.shape[2]:
            raise invalid(f"{q.shape[2]} heads of queries for {k.shape[2]} of keys")
        k, v = (np.repeat(item, q.shape[2] // k.shape[2], axis=2) for item in (k, v))
    scores = matmul(run, q, k.swapaxes(-1, -2)) * q.dtype.type(scale)
    if softcap > 0:
        scores = softcap * np.tanh(scores / softcap)
    biased = scores
    if bias is not None:
        first, second = align(run, scores, bias)
        biased = first + second
    largest = biased.max(axis=-1, keepdims=True)
    if sink is not None:
        largest = np.maximum(largest, sink[:, np.newaxis, :, np.newaxis, np.newaxis])
    blind = np.isneginf(largest)
    weights = np.exp(biased - np.where(blind, 0, largest))
    total = weights.sum(axis=-1, keepdims=True)
    if sink is not None:
        total = total + np.exp(sink[:, np.newaxis, :, np.newaxis, np.newaxis] - largest)
    weights = weights / np.where(total == 0, 1, total)
    return Attended(matmul(run, weights, v), scores, biased, weights)


def causal(
    queries: int, keys: int, past: int | Array, float_type: np.dtype[Any], left: int = -1, right: int = 0
) -> Array:
    """Bias by which query i sees keys from i + past - left (-1: all) to i + past + right (-1: all).

    `[1, queries, keys]`; `[1, B, 1, queries, keys]` where each sequence has a past of its own.
    """
    distance = np.arange(keys) - np.arange(queries)[:, np.newaxis]
    distance = distance - np.reshape(past, (-1, 1, 1, 1)) if isinstance(past, np.ndarray) else distance - past
    seen = np.ones(distance.shape, bool)
    if right >= 0:
        seen &= distance <= right
    if left >= 0:
        seen &= distance >= -left
    return np.where(seen, 0.0, -np.inf).astype(float_type)[np.newaxis]


def added(run: Run, *items: Array | None) -> Array | None:
    """The sum of the biases that there are; None where there is none."""
    total: Array | None = None
    for item in items:
        if item is not None and total is not None:
            first, second = align(run, total, item)
            total = first + second
        elif item is not None:
            total = item
    return total


def _as_bias(mask: Draws, keys: int, float_type: np.dtype[Any]) -> Array:
    """A boolean or additive mask as a bias, keys beyond its end masked."""
    values = mask.values
    bias = np.where(values, 0.0, -np.inf) if values.dtype == bool else values
    short = keys - bias.shape[-1]
    if short > 0:
        bias = np.concatenate([bias, np.full((*bias.shape[:-1], short), -np.inf)], axis=-1)
    return np.asarray(bias, float_type)


def extended(past: Array | None, fresh: Array) -> Array:
    """The cache with the new tokens behind it."""
    if past is None:
        return fresh
    draws = max(past.shape[0], fresh.shape[0])
    both = [np.broadcast_to(item, (draws, *item.shape[1:])) for item in (past, fresh)]
    return np.concatenate(both, axis=3)


def prepared(
    node: Node, run: Run, q: Draws, k: Draws, v: Draws, mask: Draws | None = None, past_key: Draws | None = None,
    past_value: Draws | None = None, lengths: Draws | None = None,
) -> Prepared:  # fmt: skip
    """What ONNX's operator attends with what."""
    flat = len(q.shape) == 3
    if flat:
        heads = number(node, "q_num_heads"), *(number(node, "kv_num_heads"),) * 2
        query, key, value = (heads_of(item.values, count) for item, count in zip((q, k, v), heads, strict=True))
    else:
        query, key, value = q.values, k.values, v.values
    if query.ndim != 5:
        raise invalid(f"queries of shape {q.shape}")
    key = extended(None if past_key is None else past_key.values, key)
    value = extended(None if past_value is None else past_value.values, value)
    tokens, keys = query.shape[3], key.shape[3]
    past: int | Array = 0 if past_key is None else past_key.shape[2]
    limits: Array | None = None
    if lengths is not None:
        valid = constant(lengths, "nonpad_kv_seqlen").reshape(1, -1, 1, 1, 1)
        past = valid.reshape(-1) - tokens if past_key is None else past
        limits = np.where(np.arange(keys) < valid, 0.0, -np.inf).astype(query.dtype)
    bias = added(run, None if mask is None else _as_bias(mask, keys, query.dtype), limits)
    left, right = number(node, "left_window_size", -1), number(node, "right_window_size", -1)
    if number(node, "is_causal", 0):
        bias = added(run, bias, causal(tokens, keys, past, query.dtype))
    if left >= 0 or right >= 0:
        bias = added(run, bias, causal(tokens, keys, past, query.dtype, left, right))
    scale = real(node, "scale", query.shape[-1] ** -0.5)
    return Prepared(query, key, value, bias, scale, real(node, "softcap", 0.0))


@operator("Attention")
def attention(
    node: Node, run: Run, q: Draws, k: Draws, v: Draws, mask: Draws | None = None, past_key: Draws | None = None,
    past_value: Draws | None = None, lengths: Draws | None = None,
) -> tuple[Array | None, ...]:  # fmt: skip
    """ONNX's Attention of opset 23 and later: grouped heads, cache, mask, causality, window, soft cap."""
    ready = prepared(node, run, q, k, v, mask, past_key, past_value, lengths)
    found = ready.attended(run)
    mode = number(node, "qk_matmul_output_mode", 0)
    scores = found.weights if mode == 3 else found.biased if mode == 2 else found.scores
    return joined_heads(found.y) if len(q.shape) == 3 else found.y, ready.key, ready.value, scores
