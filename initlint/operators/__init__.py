"""What each ONNX operator computes, on many joint draws of its inputs at once."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module

__all__ = ["load"]

FAMILIES = (
    "activations",
    "arrange",
    "attention",
    "cast",
    "channels_last",
    "contrib",
    "contrib_attention",
    "convolution",
    "create",
    "detection",
    "einsum",
    "elementwise",
    "forest",
    "indexing",
    "losses",
    "ml",
    "normalisation",
    "pooling",
    "qlinear",
    "quantised",
    "random",
    "recurrent",
    "regions",
    "reduce",
    "resize",
    "rotary",
    "sampling",
    "select",
    "sequences",
    "shape",
    "spectral",
    "weighted",
)


@cache
def load() -> Mapping[str, object]:
    """The operator table with every family imported: from kind (`Conv`, `com.microsoft::FusedConv`) to function."""
    for family in FAMILIES:
        import_module(f"initlint.operators.{family}")
    from initlint.operators.table import OPERATORS  # noqa: PLC0415 - numpy only when an operator is evaluated

    return OPERATORS
