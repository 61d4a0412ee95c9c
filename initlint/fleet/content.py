"""What a model file holds, as one hash: its own bytes and those of the data files it names."""

import hashlib
from contextlib import suppress

from initlint.errors import Refusal
from initlint.fleet.small import MARK
from initlint.model import external_locations
from initlint.source import FileSource, open_file
from initlint.tensors import ExternalFiles, check_location

__all__ = ["content_of", "fetchable_in", "locations_in"]

CHUNK = 1 << 20


def content_of(path: str) -> tuple[str, int]:
    """(sha256, bytes) of a model with its data. Raises Refusal where the file itself cannot be read.

    Data that cannot be read leaves the hash of the model alone: its analysis will say what is wrong.
    """
    digest = hashlib.sha256()
    source = open_file(path)
    try:
        external = _absorb(digest, source)
        size = source.size
        if external:
            size += _absorb_external(digest, source, path)
    finally:
        source.close()
    return digest.hexdigest(), size


def _absorb_external(digest: "hashlib._Hash", source: FileSource, path: str) -> int:
    files = ExternalFiles(path)
    try:
        for location in external_locations(source):
            try:
                data = files.open(location)
            except (Refusal, OSError):
                continue
            digest.update(b"\0" + location.encode("utf-8", "surrogatepass") + b"\0")
            _absorb(digest, data)
        return files.size
    finally:
        files.close()


def locations_in(path: str) -> list[str]:
    """Every location of external data that a model file names, sorted; none where it is no model."""
    try:
        source = open_file(path)
    except Refusal:
        return []
    try:
        return external_locations(source)
    finally:
        source.close()


def fetchable_in(path: str) -> list[str]:
    """The locations that lie below the model's folder; of the others the analysis says what is wrong."""
    found = []
    for location in locations_in(path):
        with suppress(Refusal):
            check_location(location)
            found.append(location)
    return found


def _absorb(digest: "hashlib._Hash", source: FileSource) -> bool:
    """Hash a whole file; whether it may name data files."""
    buffer = bytearray(len(MARK) + CHUNK)
    found = False
    for offset in range(0, source.size, CHUNK):
        length = min(CHUNK, source.size - offset)
        view = memoryview(buffer)[len(MARK) : len(MARK) + length]
        source.read_into(offset, view)
        digest.update(view)
        found = found or buffer.find(MARK, 0, len(MARK) + length) >= 0
        buffer[: len(MARK)] = buffer[length : len(MARK) + length]
    return found
