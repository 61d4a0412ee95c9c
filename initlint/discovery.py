"""Which files a MODEL on the command line means: a file, a folder that is searched, or a glob."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from initlint.errors import Reason, Refusal
from initlint.text import safe

__all__ = ["expand", "key_of"]

SUFFIX = ".onnx"


def expand(models: Iterable[str]) -> list[str]:
    """Paths of model files in the order given, folders and globs sorted, none twice.

    A file counts whatever its name; in folders and globs with `**`, files that end in .onnx do. `Refusal` where one
    means nothing: a check that silently looks at no model is worse than none.
    """
    found: dict[str, None] = {}
    for model in models:
        if os.path.isdir(model):
            paths = sorted(_search(model))
            if not paths:
                raise Refusal(Reason.NOT_FOUND, f"{safe(model)}: the folder holds no {SUFFIX} file")
        elif glob.has_magic(model) and not os.path.lexists(model):
            paths = sorted(path for path in glob.glob(model, recursive=True) if not os.path.isdir(path))
            if not paths:
                raise Refusal(Reason.NOT_FOUND, f"{safe(model)}: no file matches")
        else:
            paths = [model]
        found.update(dict.fromkeys(paths))
    return list(found)


def key_of(path: str, root: Path) -> str:
    """Name of a model in reports and fingerprints: its path from `root`, with forward slashes on every system."""
    try:
        relative = os.path.relpath(path, root)
    except ValueError:  # another drive
        relative = os.path.abspath(path)
    return relative.replace(os.sep, "/")


def _search(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(place, name) for name in names if name.lower().endswith(SUFFIX))
