"""Draws of the inputs from the user's own data: its mean, std and correlations in place of N(0, 1)."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from initlint.graph import Model
from initlint.inputs import FLOATS, Input, Kind
from initlint.operators.table import Array

__all__ = ["as_given", "draws_from", "sizes_from"]

FEWEST = 8  # samples whose scatter says something of the signal; of fewer, look-alikes are made
LOOK_ALIKES = 64
MOST = 256  # samples that are used


def draws_from(samples: Sequence[Mapping[str, Array]], seed: int) -> dict[str, Array]:
    """By input `[draws, *shape]`: the samples of the first one's shapes, drawn together; look-alikes where they are few."""
    first = samples[0]
    alike = [item for item in samples if all(name in item and item[name].shape == first[name].shape for name in first)]
    generator = np.random.Generator(np.random.Philox(seed))
    chosen = generator.permutation(len(alike))[:MOST]
    stacked = {name: np.stack([np.asarray(alike[index][name]) for index in chosen]) for name in first}
    if len(alike) >= FEWEST:
        return stacked
    return {name: _look_alikes(values, generator) for name, values in stacked.items()}


def _look_alikes(values: Array, generator: np.random.Generator) -> Array:
    """More draws like `[samples, *shape]`: floats of the same spectrum with random phases, integers shuffled.

    The phases are shared by all channels, so that both the correlation along the axes behind the first two and that between
    channels are kept (Theiler et al. 1992). Where there are no such axes, normal numbers of the same mean and std.
    """
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        return (
            values
            if values.dtype.kind == "f"
            else generator.permuted(np.resize(values, (LOOK_ALIKES, *values.shape[1:])))
        )
    source = np.resize(values.astype(np.float64), (LOOK_ALIKES, *values.shape[1:]))
    spatial = tuple(range(3, values.ndim))
    if not spatial or np.prod(values.shape[3:]) < FEWEST:
        spread = values.std()
        return np.asarray(values.mean() + spread * generator.standard_normal(source.shape), values.dtype)
    middle = source.mean(axis=spatial, keepdims=True)
    noise = generator.standard_normal((LOOK_ALIKES, *(1,) * 2, *values.shape[3:]))
    phases = np.angle(np.fft.rfftn(noise, axes=spatial))
    turned = np.fft.rfftn(source - middle, axes=spatial) * np.exp(1j * phases)
    made = np.fft.irfftn(turned, s=values.shape[3:], axes=spatial)
    return np.asarray(made + middle, values.dtype)


def sizes_from(model: Model, given: Mapping[str, Array]) -> dict[str, int]:
    """Sizes of symbolic dimensions that the given arrays fix."""
    return {
        extent: size
        for info in model.graph.inputs
        if info.name in given and info.shape is not None
        for extent, size in zip(info.shape, given[info.name].shape[1:], strict=False)
        if isinstance(extent, str) and extent
    }


def as_given(item: Input, values: Array) -> Input:
    """The input as its data says it is: of that shape, and a signal where it is real and differs between draws."""
    varies = len(values) > 1 and bool((values != values[:1]).any())
    real = varies and item.dtype in FLOATS
    kind = Kind.SIGNAL if real else Kind.MASK if item.kind is Kind.SIGNAL else item.kind
    return msgspec.structs.replace(
        item, shape=values.shape[1:], kind=kind, assumed=(f"{len(values)} draws of the data given",)
    )
