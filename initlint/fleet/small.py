"""The content of a small model that names no data files: hashed where its task is watched over, without asking a worker.

Of the model nothing is interpreted. Whatever is out of the ordinary is left to a worker, which has words for it.
"""

import hashlib
import os
import stat
from pathlib import Path

from initlint.cache import Identity, file_status

__all__ = ["MARK", "small_identity"]

LARGEST = 1 << 20  # bytes that take less time to hash than a worker to answer
MARK = b"\x0a\x08location"  # StringStringEntryProto, key "location": no tensor is external without it


def small_identity(path: str) -> Identity | None:
    """Content, status and size of a small regular file without the mark of data files; None for any other."""
    status = file_status(Path(path))
    if status is None or not 0 < status[2] <= LARGEST:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = os.read(descriptor, status[2] + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if len(content) != status[2] or MARK in content:
        return None
    return Identity(hashlib.sha256(content).hexdigest(), (status,), len(content))
