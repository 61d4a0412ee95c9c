"""Models in object stores, through fsspec and with the user's own credentials: listed, and fetched to a file."""

import logging
import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from initlint.errors import Reason, Refusal
from initlint.fleet.recognise import begins_like_model
from initlint.fleet.small import MARK
from initlint.fleet.urls import is_url, without_login
from initlint.text import one_line, safe

__all__ = ["download", "listed", "refuse_missing"]

SUFFIX = ".onnx"
HEAD = 64  # bytes that tell a model
CHUNK = 1 << 20
MAGIC = re.compile(r"[*?\[]")
WEB = ("http://", "https://")  # where a question mark begins a query
_SILENT = logging.NullHandler()
GONE = {404, 410}  # of HTTP
TRIES = 2  # of a model whose files are written while they are fetched
MOST_DATA_FILES = 4096
LONGEST_NAME = 200
# What stores say of an object that changes with it.
VERSION = (
    "ETag",
    "etag",
    "md5Hash",
    "generation",
    "versionId",
    "LastModified",
    "last_modified",
    "updated",
    "mtime",
    "size",
)


def listed(url: str) -> Iterator[str]:
    """URLs of the models that a URL means: an object, everything below a prefix, or a glob; sorted. Raises Refusal."""
    filesystem, place = _filesystem(url)
    try:
        if _is_glob(place):
            places = filesystem.glob(place)
        elif not place.endswith("/") and filesystem.isfile(place):
            yield url
            return
        else:
            places = filesystem.find(place)
    except Exception as error:  # noqa: BLE001 - whatever the store's own library raises
        raise _refusal(url, error) from None
    for item in sorted(places):
        name = posixpath.basename(item)
        if not name.startswith(".") and (name.lower().endswith(SUFFIX) or _is_model(filesystem, item)):
            yield _joined(url, filesystem, item)


def refuse_missing(url: str) -> None:
    """Raise Refusal where a URL leads nowhere, or to a place that these credentials do not open."""
    filesystem, place = _filesystem(url)
    if _is_glob(place):
        return
    try:
        filesystem.info(place)
    except Exception as error:  # noqa: BLE001 - as above
        raise _refusal(url, error) from None


def download(url: str, folder: str, locations: Callable[[str], list[str]]) -> str:
    """The path of a model fetched into a folder, with the data files it names, which `locations` finds in it.

    Raises Refusal where it cannot be fetched, or where model and data are not of one time.
    """
    filesystem, place = _filesystem(url)
    name = posixpath.basename(place)
    path = Path(folder, name if 0 < len(name) <= LONGEST_NAME and name not in {".", ".."} else "model.onnx")
    for _ in range(TRIES):
        before = _version(filesystem, place)
        _get(filesystem, place, path)
        if not _names_data(path):
            return str(path)
        found = [item for item in locations(str(path)) if Path(folder, item) != path]
        if len(found) > MOST_DATA_FILES:
            raise Refusal(Reason.EXTERNAL_DATA, f"names {len(found)} data files; {MOST_DATA_FILES} are fetched at most")
        beside = [posixpath.join(posixpath.dirname(place), item) for item in found]
        versions = [_version(filesystem, item) for item in beside]
        for item, location in zip(beside, found, strict=True):
            target = Path(folder, location)
            target.parent.mkdir(parents=True, exist_ok=True)
            _get(filesystem, item, target, missing_ok=True)  # the analysis says which is missing
        if _version(filesystem, place) == before and [_version(filesystem, item) for item in beside] == versions:
            return str(path)
    raise Refusal(Reason.CHANGED, "the model or a data file of it changed while they were fetched")


def _get(filesystem: Any, place: str, path: Path, *, missing_ok: bool = False) -> None:
    """Fetch one object into a file."""
    try:
        filesystem.get_file(place, str(path))
    except Exception as error:  # noqa: BLE001 - as above
        path.unlink(missing_ok=True)
        if not (missing_ok and isinstance(error, FileNotFoundError)):
            words = "cannot be fetched" if not missing_ok else f"data file {path.name!r} cannot be fetched"
            raise Refusal(_reason(error), f"{words}: {_said(error)}") from None


def _names_data(path: Path) -> bool:
    """Whether a file may name data files; nothing of it is interpreted."""
    with path.open("rb") as file:
        last = b""
        while piece := file.read(CHUNK):
            if MARK in last + piece:
                return True
            last = piece[1 - len(MARK) :]
    return False


def _version(filesystem: Any, place: str) -> tuple[str, ...]:
    """What changes when an object is written to; nothing where the store does not say."""
    with suppress(Exception):
        filesystem.invalidate_cache(place)
        found = filesystem.info(place)
        return tuple(f"{name}={found[name]}" for name in VERSION if found.get(name) is not None)
    return ()


def _filesystem(url: str) -> tuple[Any, str]:
    logging.getLogger().addHandler(_SILENT)  # what a user must know of a store, the refusal says
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra
    except ImportError:
        raise Refusal(Reason.USAGE, f"{_shown(url)}: object stores need `pip install 'initlint[remote]'`") from None
    try:
        filesystem, place = url_to_fs(url)
    except Exception as error:  # noqa: BLE001 - an unknown protocol, a package that is missing, credentials that are none
        raise Refusal(Reason.USAGE, f"{_shown(url)}: {_said(error)}") from None
    return filesystem, str(place)


def _is_glob(place: str) -> bool:
    """Whether a path below a store is a pattern; of a web address only where it has no query."""
    return MAGIC.search(place) is not None and not (place.startswith(WEB) and "?" in place)


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


def _refusal(url: str, error: Exception) -> Refusal:
    return Refusal(_reason(error), f"{_shown(url)}: {_said(error)}")


def _cause(error: Exception) -> BaseException:
    """What lies behind an error: of a web server that cannot be reached fsspec says, by its URL alone, that there is no file."""
    return error.__cause__ if " " not in str(error) and error.__cause__ is not None else error


def _reason(error: Exception) -> Reason:
    cause = _cause(error)
    status = getattr(cause, "status", None)
    if isinstance(cause, PermissionError) or status in {401, 403}:
        return Reason.PERMISSION
    return Reason.NOT_FOUND if isinstance(cause, FileNotFoundError) or status in GONE else Reason.FETCH


def _said(error: Exception) -> str:
    """An error in one line, without what a URL in it may give away."""
    cause = _cause(error)
    words = without_login(one_line(cause, 1000))
    if getattr(cause, "status", None) in GONE or (isinstance(cause, FileNotFoundError) and " " not in words):
        return "does not exist"
    return words if " " in words else type(cause).__name__


def _shown(url: str) -> str:
    return safe(without_login(url))
