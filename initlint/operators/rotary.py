"""Rotary position embedding (Su et al. 2021): pairs of a head's elements turned by an angle that grows with the position."""

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import invalid, number
from initlint.operators.table import Array, Draws, NotComputed, Run, operator

__all__ = ["heads_of", "joined_heads", "rotated"]


def heads_of(x: Array, heads: int) -> Array:
    """`[s, B, L, heads * D]` as `[s, B, heads, L, D]`."""
    if heads < 1 or x.ndim != 4 or x.shape[3] % heads:
        raise invalid(f"{heads} heads in a tensor of shape {x.shape[1:]}")
    return x.reshape(*x.shape[:3], heads, x.shape[3] // heads).transpose(0, 1, 3, 2, 4)


def joined_heads(x: Array) -> Array:
    """`[s, B, heads, L, D]` as `[s, B, L, heads * D]`."""
    return x.transpose(0, 1, 3, 2, 4).reshape(x.shape[0], x.shape[1], x.shape[3], -1)


def rotated(x: Array, cosine: Array, sine: Array, *, interleaved: bool) -> Array:
    """Turn the first `2 * half` elements of each head. `x [s, B, H, L, D]`, angles `[s, B, L, half]`; the rest stays."""
    half = cosine.shape[-1]
    if cosine.shape != sine.shape or 2 * half > x.shape[-1]:
        raise invalid(f"angles {cosine.shape[1:]} and {sine.shape[1:]} for heads of {x.shape[-1]}")
    cosine, sine = cosine[:, :, np.newaxis], sine[:, :, np.newaxis]
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned[..., :half], turned[..., half:]
    real = cosine * first - sine * second
    imaginary = sine * first + cosine * second
    if interleaved:
        both = np.stack([real, imaginary], axis=-1).reshape(*real.shape[:-1], 2 * half)
    else:
        both = np.concatenate([real, imaginary], axis=-1)
    rest = np.broadcast_to(rest, (*both.shape[:-1], rest.shape[-1]))
    return np.concatenate([both, rest], axis=-1)


def _angles(table: Draws, positions: Array) -> Array:
    """Rows of a table `[most, half]` at positions `[s, B, L]`: `[s, B, L, half]`."""
    if len(table.shape) != 2 or not table.constant:
        raise NotComputed("angles that depend on the input")
    if positions.size and (positions.min() < 0 or positions.max() >= table.shape[0]):
        raise invalid(f"position {positions.max()} in a table of {table.shape[0]} angles")
    rows: Array = table.values[0][positions]
    return rows


def _turned(node: Node, run: Run, x: Draws, heads: int, cosine: Array, sine: Array) -> Array:
    flat = len(x.shape) == 3
    if not flat and len(x.shape) != 4:
        raise invalid(f"an input of shape {x.shape}")
    run.claim(max(x.values.shape[0], cosine.shape[0]), *x.shape)
    values = heads_of(x.values, heads) if flat else x.values
    y = rotated(values, cosine, sine, interleaved=bool(number(node, "interleaved", 0)))
    return joined_heads(y) if flat else y


@operator("RotaryEmbedding")
def rotary_embedding(
    node: Node, run: Run, x: Draws, cosine: Draws, sine: Draws, positions: Draws | None = None
) -> Array:
    """Angles by position from tables, or given for each token."""
    wanted = number(node, "rotary_embedding_dim", 0)
    if positions is not None:
        c, s = _angles(cosine, positions.values), _angles(sine, positions.values)
    else:
        c, s = cosine.values, sine.values
    if wanted and c.shape[-1] * 2 != wanted:
        raise invalid(f"{c.shape[-1]} angles to turn {wanted} elements")
    return _turned(node, run, x, number(node, "num_heads", 0), c, s)


@operator("com.microsoft::RotaryEmbedding")
def contrib_rotary_embedding(node: Node, run: Run, x: Draws, positions: Draws, cosine: Draws, sine: Draws) -> Array:
    """The same with tables always, and one position that may stand for the first token of each sequence."""
    if number(node, "is_packed_batching", 0):
        raise NotComputed("a packed batch")
    tokens = x.shape[-2]
    places = positions.values
    if places.ndim == 2:
        places = np.broadcast_to(places[:, :, np.newaxis] + np.arange(tokens), (len(places), x.shape[0], tokens))
    size = number(node, "rotary_embedding_dim", 0)
    heads = number(node, "num_heads", 0) if size else x.shape[-1] // max(2 * cosine.shape[-1], 1)
    return _turned(node, run, x, heads, _angles(cosine, places), _angles(sine, places))
