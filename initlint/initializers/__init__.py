"""Initialisers: the variance a layer should have, the scheme its weights came from, and whether it was ever trained."""

from initlint.initializers.activations import gain_of, second_moment
from initlint.initializers.biases import bias_kind
from initlint.initializers.independence import Independence
from initlint.initializers.sampling import rows_examined
from initlint.initializers.schemes import Scheme
from initlint.initializers.targets import Target, std_kept, target_variance
from initlint.initializers.untrained import Origin, examine

__all__ = [
    "Independence",
    "Origin",
    "Scheme",
    "Target",
    "bias_kind",
    "examine",
    "gain_of",
    "rows_examined",
    "second_moment",
    "std_kept",
    "target_variance",
]
