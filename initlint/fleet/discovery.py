"""Which models a PATH means to `initlint scan`: a file, a folder, a glob, a Hugging Face cache, a URL.

Candidates come one at a time and in a fixed order, so that a scan of any size holds none of them and a resumed one meets them
in the same order.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from initlint.discovery import key_of
from initlint.errors import Reason, Refusal
from initlint.fleet.recognise import is_model_file
from initlint.fleet.records import Candidate
from initlint.fleet.urls import is_url, without_login
from initlint.text import safe

__all__ = ["find", "refuse_nothing"]

SUFFIX = ".onnx"
LONGEST_NAME = 4096
REPOSITORY = re.compile(r"(?:models|datasets|spaces)--.+")  # a folder of a Hugging Face cache
SNAPSHOT = re.compile(r".*/models--([^/]+)/snapshots/([^/]+)/(.+)", re.DOTALL)


def find(paths: Iterable[str], root: Path) -> Iterator[Candidate]:
    """Candidates under each path, in its order; `Refusal` where a path means nothing.

    A file counts whatever it is. In folders those count that end in .onnx, and those that are models by content.
    """
    for path in paths:
        found = False
        for place in _expanded(path):
            found = True
            yield Candidate(safe(_name(place, root), LONGEST_NAME), place)
        if not found:
            raise Refusal(Reason.NOT_FOUND, f"{safe(without_login(path))}: no model there")


def refuse_nothing(paths: Iterable[str]) -> None:
    """Raise Refusal for a path that does not exist, before anything is done."""
    for path in paths:
        if is_url(path):
            from initlint.fleet.remote import refuse_missing  # noqa: PLC0415 - needs the extra `remote`

            refuse_missing(path)
        elif not glob.has_magic(path) and not os.path.lexists(path):
            raise Refusal(Reason.NOT_FOUND, f"{safe(path)}: does not exist")


def _expanded(path: str) -> Iterator[str]:
    if is_url(path):
        from initlint.fleet.remote import listed  # noqa: PLC0415 - needs the extra `remote`

        yield from listed(path)
    elif os.path.isdir(path):
        yield from _walk(path)
    elif glob.has_magic(path) and not os.path.lexists(path):
        for match in sorted(glob.iglob(path, recursive=True)):
            if os.path.isdir(match):
                yield from _walk(match)
            elif match.lower().endswith(SUFFIX) or is_model_file(match):
                yield match
    elif os.path.lexists(path):
        yield path


def _walk(folder: str) -> Iterator[str]:
    """Model files below a folder; hidden folders, links to folders and the blobs of a Hugging Face cache left out."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    in_cache = REPOSITORY.fullmatch(os.path.basename(os.path.abspath(folder))) is not None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if not in_cache or entry.name == "snapshots":
                yield from _walk(entry.path)
        elif entry.name.lower().endswith(SUFFIX) or is_model_file(entry.path):
            yield entry.path


def _name(path: str, root: Path) -> str:
    """What the store calls a model: a stable name over time.

    A file of a Hugging Face cache is called as the hub calls it; the revision is part of the name unless it is the one that
    `main` points to. Credentials in a URL are no part of a name.
    """
    if is_url(path):
        return without_login(path)
    snapshot = SNAPSHOT.fullmatch(os.path.abspath(path))
    if snapshot is None:
        return key_of(path, root)
    repository, revision, file = snapshot.groups()
    main = Path(os.path.abspath(path)[: snapshot.start(2)]).parent / "refs/main"
    try:
        current = main.read_text("ascii").strip() == revision
    except (OSError, UnicodeDecodeError):
        current = False
    return f"hf://{repository.replace('--', '/')}{'' if current else '@' + revision[:12]}/{file}"
