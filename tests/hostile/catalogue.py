"""All inputs: importing this module fills the table."""

from tests.hostile import bombs, external, files, graphs, layers, memory, names, stored  # noqa: F401 - each adds its inputs
from tests.hostile.cases import CASES

__all__ = ["CASES"]
