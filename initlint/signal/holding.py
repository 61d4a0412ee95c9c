"""How much memory the values of one evaluation take at once, and how much they may."""

from initlint.graph import Model
from initlint.operators.table import Bundle, Draws, Run, Stored

__all__ = ["Holding", "most_bytes", "most_constant", "most_constants"]

BYTES = 1 << 28  # of all values held at once, for a small file
BYTES_A_BYTE = 2  # added for each byte of the file: whoever keeps a larger model has the memory for it
MOST_BYTES = 1 << 31
CONSTANT = 1 << 24  # elements of a constant that the graph computes: a mask of 4,096 tokens by as many
MANY = 16
GROWTH = 8  # or as many times those of the largest stored tensor


def most_bytes(model: Model) -> int:
    """What all values of one evaluation may take at once."""
    return min(BYTES + BYTES_A_BYTE * model.size, MOST_BYTES)


def most_constant(model: Model) -> int:
    """Elements that a constant which the graph computes may have."""
    return max(CONSTANT, GROWTH * max((tensor.count for tensor in model.initializers()), default=0))


def most_constants(model: Model) -> int:
    """Elements that all such constants together may have: some steps on each stored tensor."""
    return MANY * CONSTANT + MANY * sum(tensor.count for tensor in model.initializers())


class Holding:
    """Bytes of the values that an evaluation holds by name, told to its run, which asks before it makes another."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._sizes: dict[str, tuple[int, int]] = {}

    def take(self, name: str, value: Draws) -> bool:
        """Count a value in, in place of an earlier one of its name; False, and it is not, where it would be too much."""
        self.drop(name)
        run, size = self.run, _size_of(value)
        if run.held + size > run.max_bytes:
            return False
        varying = 0 if value.constant else size
        self._sizes[name] = (size, varying)
        run.held += size
        run.varying += varying
        run.most_varying = max(run.most_varying, run.varying)
        run.most_fixed = max(run.most_fixed, run.held - run.varying)
        return True

    def drop(self, name: str) -> None:
        """A value is let go of."""
        size, varying = self._sizes.pop(name, (0, 0))
        self.run.held -= size
        self.run.varying -= varying


def _size_of(value: Draws) -> int:
    """Bytes in memory: of a view no more than what it looks at, of a stored tensor none."""
    if isinstance(value, Bundle):
        return sum(map(_size_of, value.items))
    if isinstance(value, Stored):
        return 0
    array = value.values
    behind = getattr(array.base, "nbytes", None)
    return array.nbytes if behind is None else min(array.nbytes, behind)
