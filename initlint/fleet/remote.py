"""Models in object stores, through fsspec and with the user's own credentials: listed, fetched to a file, removed."""

import os
import posixpath
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from initlint.errors import Reason, Refusal
from initlint.fleet.recognise import begins_like_model
from initlint.fleet.urls import is_url, without_login
from initlint.text import one_line, safe

__all__ = ["Spool", "listed"]

SUFFIX = ".onnx"
HEAD = 64  # bytes that tell a model
MAGIC = re.compile(r"[*?\[]")


def listed(url: str) -> Iterator[str]:
    """URLs of the models that a URL means: an object, everything below a prefix, or a glob; sorted."""
    filesystem, place = _filesystem(url)
    try:
        if MAGIC.search(place):
            places = filesystem.glob(place)
        elif filesystem.isfile(place):
            yield url
            return
        else:
            places = filesystem.find(place)
    except Exception as error:  # noqa: BLE001 - whatever the store's own library raises
        raise Refusal(Reason.NOT_FOUND, f"{_shown(url)}: {one_line(error)}") from None
    for item in sorted(places):
        name = posixpath.basename(item)
        if not name.startswith(".") and (name.lower().endswith(SUFFIX) or _is_model(filesystem, item)):
            yield _joined(url, filesystem, item)


class Spool:
    """Files fetched from object stores, each held until its last user has let go of it."""

    def __init__(self, *, keeps: bool) -> None:
        """`keeps`: hold a file between two tasks, until `drop`; otherwise it goes with the task."""
        self.keeps = keeps
        self._folder = ""
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def local(self, path: str) -> Iterator[str]:
        """The path of a file with what `path`, which may be a URL, holds."""
        if not is_url(path):
            yield path
            return
        with self._lock:
            held = self._held.get(path)
        if held is None:
            held = self._fetch(path)
            with self._lock:
                self._held[path] = held
        try:
            yield held
        finally:
            if not self.keeps:
                self.drop(path)

    def drop(self, path: str) -> None:
        """Remove the file of a URL."""
        with self._lock:
            held = self._held.pop(path, None)
        if held is not None:
            shutil.rmtree(os.path.dirname(held), ignore_errors=True)

    def close(self) -> None:
        """Remove everything."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    def _fetch(self, url: str) -> str:
        with self._lock:
            if not self._folder:
                self._folder = tempfile.mkdtemp(prefix="initlint-")
        folder = tempfile.mkdtemp(dir=self._folder)
        try:
            return _download(url, folder)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, Refusal) or not isinstance(error, Exception):
                raise
            reason = Reason.PERMISSION if isinstance(error, PermissionError) else Reason.NOT_FOUND
            raise Refusal(reason, f"cannot be fetched: {one_line(error)}") from None


def _download(url: str, folder: str) -> str:
    """A model and the data files it names, fetched into a folder."""
    from initlint.fleet.content import locations_in  # noqa: PLC0415 - imports numpy
    from initlint.tensors import check_location  # noqa: PLC0415 - as above

    filesystem, place = _filesystem(url)
    path = os.path.join(folder, posixpath.basename(place) or "model.onnx")
    filesystem.get_file(place, path)
    for location in locations_in(path):
        try:
            check_location(location)
        except Refusal:
            continue  # the analysis says what is wrong with it
        target = Path(folder, location)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = posixpath.join(posixpath.dirname(place), location)
        if filesystem.exists(beside):
            filesystem.get_file(beside, str(target))
    return path


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra
    except ImportError:
        raise Refusal(Reason.USAGE, f"{_shown(url)}: object stores need `pip install 'initlint[remote]'`") from None
    try:
        filesystem, place = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise Refusal(Reason.USAGE, f"{_shown(url)}: {one_line(error)}") from None
    return filesystem, str(place)


def _is_model(filesystem: Any, place: str) -> bool:
    try:
        return begins_like_model(filesystem.cat_file(place, start=0, end=HEAD))
    except Exception:  # noqa: BLE001 - an object that cannot be read is no model that anybody named
        return False


def _joined(url: str, filesystem: Any, place: str) -> str:
    """The URL of an object found below another: with the same protocol and credentials."""
    if is_url(place):
        return place
    prefix, _, rest = url.partition("://")
    login = rest.partition("/")[0].rpartition("@")[0]
    bare = str(filesystem._strip_protocol(place))  # noqa: SLF001 - fsspec's own way to a path without protocol
    return f"{prefix}://{login + '@' if login else ''}{bare}"


def _shown(url: str) -> str:
    return safe(without_login(url))
