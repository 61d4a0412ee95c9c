"""Reports kept by content: an unchanged model costs one hash of its bytes.

An entry's name is the hash of everything its report depends on: the model and each data file it names, this version's own
code and rules, the settings that reach the analysis, the files these name, and the day where a waiver has a last one.
Nothing is looked up by path or by time. What changes while it is analysed is not kept. A worker hashes, as it opens models;
the parent reads and writes entries, since a worker may write nothing.
"""

import datetime
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

import msgspec

from initlint.config import Config
from initlint.errors import Reason, Refusal
from initlint.isolation import Progress
from initlint.rulefile import built_in

__all__ = ["Entry", "Identity", "Status", "file_status", "identity_of", "kept", "status_of"]

MAGIC = b"initlint cache 1\n"
# Settings that change what is done with a report, not the report.
OUTSIDE = frozenset({"fail_on", "allow_partial", "memory", "jobs", "format", "output", "color", "progress", "cache"})
FILES = ("baseline", "input")

# Device, inode, size and times of the model and of each data file it names; None where there is none.
Status: TypeAlias = tuple[tuple[int, int, int, int, int] | None, ...]


class Entry(msgspec.Struct, frozen=True):
    """What is kept of one analysis: the report as JSON, the fact tables as an SQLite database."""

    report: bytes
    facts: bytes


class Identity(msgspec.Struct, frozen=True):
    """A model's content, what the file system said of it before it was hashed, and its bytes with those of its data files."""

    content: str
    status: Status
    size: int


def identity_of(path: str, watch: Callable[[Progress], None] | None = None) -> Identity:
    """Hash a model and its data files; `watch` hears how much there is to hash. Raises Refusal where it cannot be read."""
    from initlint.fleet.content import content_of  # noqa: PLC0415 - the parent of a worker opens no model

    status = status_of(path)
    if watch is not None:
        watch(Progress("cache", 0, sum(found[2] for found in status if found is not None)))
    content, size = content_of(path)
    return Identity(content, status, size)


def status_of(path: str) -> Status:
    """What the file system says of a model and its data files: any write to one changes it."""
    from initlint.fleet.content import locations_in  # noqa: PLC0415 - as above

    roots = {Path(path).parent, Path(path).resolve().parent}
    places = [Path(path), *(root / name for name in locations_in(path) for root in sorted(roots))]
    return tuple(file_status(place) for place in places)


def kept(
    path: str,
    key: str,
    config: Config,
    *,
    identity: Callable[[], Identity],
    status: Callable[[], Status],
    analyse: Callable[[], Entry],
) -> tuple[Entry, bool]:
    """The entry of a model under a configuration, and whether it was found; else it is made and kept.

    It is not kept where the model changed since it was hashed, nor where the disk is full. Raises Refusal where the folder
    is not to be had.
    """
    folder = Path(config.cache or ".")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(Reason.CONFIG, f"--cache {folder}: {error.strerror}") from error
    before = identity()
    name = _named(before.content, path, key, config)
    place = folder / name[:2] / name
    found = _read(place)
    if found is not None:
        return found, True
    made = analyse()
    if status() == before.status:
        with suppress(OSError):
            _write(place, made)
    return made, False


def _read(place: Path) -> Entry | None:
    """An entry; None where there is none, or where it is not what was written."""
    try:
        content = place.read_bytes()
    except OSError:
        return None
    digest, payload = content[len(MAGIC) : len(MAGIC) + 32], content[len(MAGIC) + 32 :]
    if not content.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
        return None
    try:
        return msgspec.msgpack.decode(payload, type=Entry)
    except msgspec.DecodeError:
        return None


def _write(place: Path, entry: Entry) -> None:
    """Write an entry whole or not at all."""
    payload = msgspec.msgpack.encode(entry)
    place.parent.mkdir(exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + hashlib.sha256(payload).digest() + payload)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def file_status(path: Path) -> tuple[int, int, int, int, int] | None:
    """What the file system says of one file: device, inode, bytes, times; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _named(content: str, path: str, key: str, config: Config) -> str:
    """Hash of the content's hash and of all else that the report depends on."""
    digest = hashlib.sha256(own_code().encode())
    settings = {
        name: value for name, value in msgspec.to_builtins(config).items() if name.replace("-", "_") not in OUTSIDE
    }
    for part in (content, os.fsencode(path), key, msgspec.json.encode(settings, order="deterministic")):
        _absorb(digest, part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass"))
    folders = (built_in(), *map(Path, config.rule_dirs))
    given = [Path(value) for name in FILES if (value := getattr(config, name)) is not None]
    for file in (*(file for folder in folders for file in sorted(folder.glob("*.toml"))), *_files(given)):
        _absorb(digest, os.fsencode(file))
        _absorb(digest, _bytes_of(file))
    if any(waiver.expires is not None for waiver in config.waive):
        _absorb(digest, datetime.datetime.now(tz=datetime.UTC).date().isoformat().encode())
    if config.probe:
        with suppress(PackageNotFoundError):
            _absorb(digest, version("onnxruntime").encode())
    return digest.hexdigest()


def _absorb(digest: "hashlib._Hash", part: bytes) -> None:
    """Each part with its length, so that no two lists of parts read the same."""
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)


def _files(places: list[Path]) -> Iterator[Path]:
    """The files themselves, or those below a folder."""
    for place in places:
        if place.is_dir():
            yield from sorted(file for file in place.rglob("*") if file.is_file())
        else:
            yield place


def _bytes_of(file: Path) -> bytes:
    """A file's content; what cannot be read is the analysis's to refuse."""
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return b""


@lru_cache(maxsize=1)
def own_code() -> str:
    """Hash of this package's source and of the versions its numbers depend on."""
    digest = hashlib.sha256(version("numpy").encode())
    package = Path(__file__).resolve().parent
    for file in sorted(package.rglob("*.py")):
        _absorb(digest, str(file.relative_to(package)).encode())
        _absorb(digest, file.read_bytes())
    return digest.hexdigest()
