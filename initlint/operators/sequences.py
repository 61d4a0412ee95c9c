"""Sequences of tensors: a tensor taken apart, its pieces chosen, and put together again."""

import numpy as np

from initlint.graph import Node
from initlint.operators.arguments import axis_in, integers, invalid, number
from initlint.operators.table import Array, Bundle, Draws, NotComputed, Run, Values, operator


def _items(sequence: Draws) -> tuple[Draws, ...]:
    if not isinstance(sequence, Bundle):
        raise invalid("a tensor where a sequence belongs")
    return sequence.items


def _place(position: Draws | None, count: int, *, most: int) -> int:
    """A position that may count from the end; without one the end."""
    if position is None:
        return count if most > count - 1 else count - 1
    found = integers(position, "the position")
    if len(found) != 1 or not -count <= found[0] <= most:
        raise invalid(f"position {found[:4]} in a sequence of {count}")
    return found[0] + count if found[0] < 0 else found[0]


@operator("SequenceEmpty")
def sequence_empty(_: Node, __: Run) -> Draws:
    """No tensor."""
    return Bundle(())


@operator("SequenceConstruct")
def sequence_construct(_: Node, __: Run, *items: Draws) -> Draws:
    """The inputs."""
    return Bundle(items)


@operator("SequenceInsert")
def sequence_insert(_: Node, __: Run, sequence: Draws, item: Draws, position: Draws | None = None) -> Draws:
    """One more, at the end unless it is said where."""
    items = _items(sequence)
    place = _place(position, len(items), most=len(items))
    return Bundle((*items[:place], item, *items[place:]))


@operator("SequenceErase")
def sequence_erase(_: Node, __: Run, sequence: Draws, position: Draws | None = None) -> Draws:
    """One less, the last unless it is said which."""
    items = _items(sequence)
    place = _place(position, len(items), most=len(items) - 1)
    return Bundle((*items[:place], *items[place + 1 :]))


@operator("SequenceAt")
def sequence_at(_: Node, __: Run, sequence: Draws, position: Draws) -> Draws:
    """One of them."""
    items = _items(sequence)
    return items[_place(position, len(items), most=len(items) - 1)]


@operator("SequenceLength")
def sequence_length(_: Node, __: Run, sequence: Draws) -> Array:
    """How many."""
    return np.full(1, len(_items(sequence)), np.int64)


@operator("ConcatFromSequence")
def concat_from_sequence(node: Node, run: Run, sequence: Draws) -> Array:
    """All of them along an axis, which may be a new one."""
    items = _items(sequence)
    if not items:
        raise NotComputed("an empty sequence")
    fresh = bool(number(node, "new_axis", 0))
    axis = axis_in(number(node, "axis"), len(items[0].shape) + fresh) + 1
    draws = max(item.values.shape[0] for item in items)
    arrays = [np.broadcast_to(item.values, (draws, *item.shape)) for item in items]
    run.claim(draws, *(sum(item.size // draws for item in arrays),))
    return np.stack(arrays, axis=axis) if fresh else np.concatenate(arrays, axis=axis)


@operator("SplitToSequence")
def split_to_sequence(node: Node, _: Run, x: Draws, split: Draws | None = None) -> Draws:
    """Pieces of given lengths, of one length, or of one."""
    axis = axis_in(number(node, "axis", 0), len(x.shape))
    extent = x.shape[axis]
    lengths = [1] if split is None else integers(split, "the split")
    if split is None or not split.shape:
        if lengths[0] < 1:
            raise invalid(f"pieces of {lengths[0]}")
        cuts = list(range(lengths[0], extent, lengths[0]))
    else:
        cuts = [int(item) for item in np.cumsum(lengths)[:-1]]
        if any(length < 0 for length in lengths) or sum(lengths) != extent:
            raise invalid(f"pieces of {lengths[:8]} from an axis of {extent}")
    parts = np.split(x.values, cuts, axis=axis + 1)
    if split is None and not number(node, "keepdims", 1):
        parts = [part.squeeze(axis + 1) for part in parts]
    return Bundle(tuple(Values(part, x.dtype) for part in parts))
