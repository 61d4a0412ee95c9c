"""Whether bytes are an ONNX model, whatever the file is called: its top-level fields are walked, nothing is parsed."""

import os
import stat
from collections.abc import Callable

__all__ = ["begins_like_model", "is_model_file"]

IR_VERSION, GRAPH, OPSET_IMPORT = 1, 7, 8
FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}  # ModelProto: number -> wire type
NEWEST_IR = 20
LEAST = 16  # bytes of the smallest model with a graph and an operator set
MOST_FIELDS = 4096  # a model has a graph, some operator sets, metadata and functions
WINDOW = 64


def begins_like_model(head: bytes) -> bool:
    """Whether the first bytes can be those of a model: an IR version, then another field of `ModelProto`.

    Every serializer writes fields in the order of their numbers, so the version comes first.
    """
    if len(head) < LEAST or head[0] != IR_VERSION << 3 or not 0 < head[1] <= NEWEST_IR:
        return False
    tag = head[2]
    return FIELDS.get(tag >> 3) == tag & 7 and tag >> 3 != IR_VERSION


def is_model_file(path: str) -> bool:
    """Whether a regular file is a model by its content; False for one that cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError):
        return False
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return False
        return _is_model(lambda offset: os.pread(descriptor, WINDOW, offset), status.st_size)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _is_model(read: Callable[[int], bytes], size: int) -> bool:
    """Walk the top-level fields: each known and of its wire type, a graph and an operator set among them, none past the end."""
    if not begins_like_model(read(0)):
        return False
    offset = 0
    seen: set[int] = set()
    for _ in range(MOST_FIELDS):
        if offset == size:
            return {GRAPH, OPSET_IMPORT} <= seen
        window = read(offset)
        tag, used = _varint(window, 0)
        if used == 0 or FIELDS.get(tag >> 3) != tag & 7:
            return False
        value, used = _varint(window, used)
        if used == 0:
            return False
        seen.add(tag >> 3)
        offset += used + (value if tag & 7 == 2 else 0)
        if offset > size:
            return False
    return False


def _varint(window: bytes, start: int) -> tuple[int, int]:
    """A varint and the offset behind it; (0, 0) where there is none."""
    value = 0
    for index, byte in enumerate(window[start : start + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, start + index + 1
    return 0, 0
