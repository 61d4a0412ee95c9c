"""Random tensors: each draw of the network gets its own, from the run's generator."""

from math import prod

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import invalid, number, numbers, real, working_type
from initlint.operators.table import Array, Draws, Run, operator

INT32 = 6


def _normal(node: Node, run: Run, shape: tuple[int, ...]) -> Array:
    run.claim(run.draws, *shape)
    values = run.generator.standard_normal((run.draws, *shape), _float(run))
    values *= real(node, "scale", 1.0)
    values += real(node, "mean", 0.0)
    return values


def _uniform(node: Node, run: Run, shape: tuple[int, ...]) -> Array:
    run.claim(run.draws, *shape)
    low, high = real(node, "low", 0.0), real(node, "high", 1.0)
    values = run.generator.random((run.draws, *shape), _float(run))
    values *= high - low
    values += low
    return values


def _float(run: Run) -> type[np.float32 | np.float64]:
    return np.float32 if np.dtype(run.float_type) == np.float32 else np.float64


def _shape(node: Node) -> tuple[int, ...]:
    shape = numbers(node, "shape")
    if any(extent < 0 for extent in shape):
        raise invalid(f"shape {shape} is not one")
    return tuple(shape)


@operator("RandomNormal")
def random_normal(node: Node, run: Run) -> Array:
    """Normal numbers of a given shape."""
    return _normal(node, run, _shape(node))


@operator("RandomNormalLike")
def random_normal_like(node: Node, run: Run, x: Draws) -> Array:
    """Normal numbers of the input's shape."""
    return _normal(node, run, x.shape)


@operator("RandomUniform")
def random_uniform(node: Node, run: Run) -> Array:
    """Uniform numbers of a given shape."""
    return _uniform(node, run, _shape(node))


@operator("RandomUniformLike")
def random_uniform_like(node: Node, run: Run, x: Draws) -> Array:
    """Uniform numbers of the input's shape."""
    return _uniform(node, run, x.shape)


@operator("Bernoulli")
def bernoulli(node: Node, run: Run, x: Draws) -> Array:
    """One with the probability that the input gives, else zero."""
    run.claim(run.draws, *x.shape)
    kind = working_type(run, number(node, "dtype")) if "dtype" in node.attributes else x.values.dtype
    return (run.generator.random((run.draws, *x.shape), np.float32) < x.values).astype(kind)


@operator("Multinomial")
def multinomial(node: Node, run: Run, x: Draws) -> Array:
    """Classes drawn with the probabilities whose unnormalised logarithms the input holds."""
    if len(x.shape) != 2 or not prod(x.shape):
        raise invalid(f"log probabilities of shape {x.shape}")
    count = number(node, "sample_size", 1)
    if count < 1:
        raise invalid(f"a sample of {count}")
    run.claim(run.draws, x.shape[0], count)
    values = x.values
    cumulated = np.cumsum(np.exp(values - values.max(axis=-1, keepdims=True)), axis=-1)
    cumulated /= cumulated[..., -1:]
    cumulated = np.broadcast_to(cumulated, (run.draws, *x.shape))
    uniform = run.generator.random((run.draws, x.shape[0], count))
    chosen = np.empty(uniform.shape, np.int32 if number(node, "dtype", INT32) == INT32 else np.int64)
    for place in np.ndindex(uniform.shape[:2]):
        chosen[place] = np.searchsorted(cumulated[place], uniform[place], side="right")
    return np.minimum(chosen, x.shape[1] - 1)
