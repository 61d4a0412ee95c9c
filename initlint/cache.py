"""Reports kept by content: an unchanged model costs one hash of its bytes.

An entry's name is the hash of everything its report depends on: the model and each data file it names, this version's own
code and rules, the settings that reach the analysis, the files these name, and the day where a waiver has a last one.
Nothing is looked up by path or by time. What changes while it is analysed is not kept.
"""

import datetime
import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import numpy as np

from initlint.config import Config
from initlint.errors import Reason, Refusal
from initlint.facts import Facts
from initlint.fleet.content import content_of, locations_in
from initlint.isolation import Progress
from initlint.report import Report
from initlint.rulefile import built_in

__all__ = ["Cache", "Entry"]

MAGIC = b"initlint cache 1\n"
# Settings that change what is done with a report, not the report.
OUTSIDE = frozenset({"fail_on", "allow_partial", "memory", "jobs", "format", "output", "color", "progress", "cache"})
FILES = ("baseline", "input")


class Entry(msgspec.Struct, frozen=True):
    """What is kept of one analysis: the report as JSON, the fact tables as an SQLite database."""

    report: bytes
    facts: bytes


class Cache:
    """A folder of entries for one model under one configuration."""

    def __init__(self, path: str, key: str, config: Config, watch: Callable[[Progress], None] | None = None) -> None:
        """Hash the model and all that its report depends on. Raises Refusal where the folder or the model is not to be had."""
        self.folder = folder = Path(config.cache or ".")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refusal(Reason.CONFIG, f"--cache {folder}: {error.strerror}") from error
        self._model = path
        self._before = self._signature()
        if watch is not None:
            watch(Progress("cache", 0, sum(status[2] for status in self._before if status is not None)))
        content, _ = content_of(path)
        self.name = _named(content, path, key, config)

    @property
    def place(self) -> Path:
        """The entry's file."""
        return self.folder / self.name[:2] / self.name

    def report(self, analyse: Callable[[], Report]) -> Report:
        """The report kept for this content, or that of an analysis, which is then kept."""
        began = time.perf_counter()
        entry = self.read()
        if entry is not None:
            with suppress(msgspec.MsgspecError, sqlite3.Error):
                found = msgspec.json.decode(entry.report, type=Report)
                facts = Facts.deserialize(entry.facts)
                run = msgspec.structs.replace(found.run, seconds={"cache": time.perf_counter() - began}, cached=True)
                return msgspec.structs.replace(found, run=run).with_facts(facts)
        fresh = analyse()
        self.write(Entry(msgspec.json.encode(fresh), fresh.facts.serialize()))
        return fresh

    def read(self) -> Entry | None:
        """The entry; None where there is none, or where it is not what was written."""
        try:
            content = self.place.read_bytes()
        except OSError:
            return None
        digest, payload = content[len(MAGIC) : len(MAGIC) + 32], content[len(MAGIC) + 32 :]
        if not content.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
            return None
        try:
            return msgspec.msgpack.decode(payload, type=Entry)
        except msgspec.DecodeError:
            return None

    def write(self, entry: Entry) -> None:
        """Keep an entry, whole or not at all; not where the model changed since it was hashed, nor where the disk is full."""
        if self._signature() != self._before:
            return
        payload = msgspec.msgpack.encode(entry)
        with suppress(OSError):
            self.place.parent.mkdir(exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.place.parent, prefix=".")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(MAGIC + hashlib.sha256(payload).digest() + payload)
                Path(name).replace(self.place)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def _signature(self) -> tuple[tuple[int, ...] | None, ...]:
        """What the file system says of the model and its data files: any write to one changes it."""
        folder = Path(self._model).resolve().parent
        beside = Path(self._model).parent
        places = [Path(self._model), *(root / name for name in locations_in(self._model) for root in {folder, beside})]
        return tuple(_status(place) for place in places)


def _status(path: Path) -> tuple[int, ...] | None:
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
    digest = hashlib.sha256(np.__version__.encode())
    package = Path(__file__).resolve().parent
    for file in sorted(package.rglob("*.py")):
        _absorb(digest, str(file.relative_to(package)).encode())
        _absorb(digest, file.read_bytes())
    return digest.hexdigest()
