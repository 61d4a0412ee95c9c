"""Files fetched from object stores: each is held from the hashing of its content to the end of its analysis."""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from typing import Self

from initlint.fleet.remote import download

__all__ = ["Spool"]


class Spool:
    """A temporary folder of fetched models, each with its data files in a folder of its own, which is named by a token."""

    def __init__(self, most: int | None = None, folder: str | None = None) -> None:
        """`most`: the oldest files beyond it go unasked, but for those in use. `folder`: where the temporary folder lies."""
        self.most, self.folder = most, folder
        self._home = ""
        self._lock = threading.Lock()
        self._paths: dict[str, str] = {}  # by token, oldest first
        self._taken: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fetch(self, url: str, locations: Callable[[str], list[str]]) -> tuple[str, str]:
        """Fetch a model and the data files that `locations` finds in it; its token and its path. Raises Refusal."""
        with self._lock:
            if not self._home:
                self._home = tempfile.mkdtemp(prefix="initlint-", dir=self.folder)
        folder = tempfile.mkdtemp(dir=self._home)
        token = os.path.basename(folder)
        with self._lock:
            self._taken.add(token)
        try:
            path = download(url, folder, locations)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            with self._lock:
                self._taken.discard(token)
            raise
        with self._lock:
            self._paths[token] = path
            idle = [item for item in self._paths if item not in self._taken]
            self._taken.discard(token)
        for item in idle[: max(0, len(self._paths) - self.most)] if self.most is not None else ():
            self.drop(item)
        return token, path

    def take(self, token: str) -> str | None:
        """Say that a file is in use from now until it is dropped: its path, None where it is gone."""
        with self._lock:
            path = self._paths.get(token)
            if path is not None:
                self._taken.add(token)
        return path

    def drop(self, token: str) -> None:
        """Remove a file."""
        with self._lock:
            path = self._paths.pop(token, None)
            self._taken.discard(token)
        if path is not None:
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)

    def close(self) -> None:
        """Remove everything."""
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = ""
