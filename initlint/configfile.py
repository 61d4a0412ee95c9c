"""Find and read the one configuration file, and say on which line a setting stands."""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from initlint.errors import Reason, Refusal
from initlint.text import one_line, safe

__all__ = ["Settings", "chain", "find", "read", "refuse_unknown", "suggestion"]

LARGEST = 1 << 20  # bytes; a configuration file beyond this is something else
LONGEST_CHAIN = 16
PYPROJECT = ("tool", "initlint")


class Settings(msgspec.Struct, frozen=True):
    """The initlint part of one file, as written."""

    path: Path
    table: Mapping[str, Any]
    text: str
    prefix: tuple[str, ...]  # the tables it lies under: ("tool", "initlint") in a pyproject.toml

    def line(self, path: Sequence[str | int]) -> int | None:
        """Line on which a setting is written, counted from 1; None where this file does not hold it."""
        found: Any = self.table
        for part in path:
            try:
                found = found[part]
            except (KeyError, IndexError, TypeError):
                return None
        return _line(self.text, (*self.prefix, *path))


def find(folder: Path) -> Path | None:
    """The nearest `initlint.toml`, or `pyproject.toml` with a `[tool.initlint]` table, from `folder` upward."""
    for parent in (folder, *folder.parents):
        own = parent / "initlint.toml"
        if own.is_file():
            return own
        shared = parent / "pyproject.toml"
        # A pyproject.toml that never mentions initlint is none of our business, be it valid or not.
        if shared.is_file() and "initlint" in _text(shared) and _section(_parsed(shared), PYPROJECT) is not None:
            return shared
    return None


def chain(path: Path) -> list[Settings]:
    """The file, then what it extends, then what that extends."""
    files: list[Settings] = []
    seen: set[Path] = set()
    following: Path | None = path
    while following is not None:
        resolved = following.resolve()
        if resolved in seen or len(files) >= LONGEST_CHAIN:
            raise Refusal(Reason.CONFIG, f"{files[-1].path}: extend leads back to {safe(str(following))}")
        seen.add(resolved)
        settings = read(following)
        files.append(settings)
        base = settings.table.get("extend")
        if base is not None and not isinstance(base, str):
            raise Refusal(Reason.CONFIG, f"{settings.path}:{settings.line(['extend'])}: extend: expected a path")
        following = None if base is None else settings.path.parent / base
    return files


def read(path: Path) -> Settings:
    """One file's settings; `Refusal` (config) with the line where it is not valid TOML."""
    document = _parsed(path)
    if path.name == "pyproject.toml" or (_section(document, PYPROJECT) is not None and "tool" in document):
        section, prefix = _section(document, PYPROJECT), PYPROJECT
        if section is None:
            raise Refusal(Reason.CONFIG, f"{path}: has no [tool.initlint] table")
    else:
        section, prefix = document, ()  # type: ignore[assignment]
    return Settings(path, section, _text(path), prefix)


def refuse_unknown(settings: Settings, path: tuple[str | int, ...], table: Iterable[str], known: Iterable[str]) -> None:
    """Raise `Refusal` (config) for the first key of `table`, found under `path`, that is not `known`."""
    names = sorted(known)
    for key in table:
        if key not in names:
            line = settings.line((*path, key))
            where = ".".join(map(str, (*path, key)))
            raise Refusal(
                Reason.CONFIG, f"{settings.path}:{line}: unknown setting {safe(where)}{suggestion(key, names)}"
            )


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing where no known word is near."""
    folded = {name.lower().replace("_", "-"): name for name in known}
    import difflib  # noqa: PLC0415 - only for a word that is wrong

    near = difflib.get_close_matches(word.lower().replace("_", "-")[:100], list(folded), 1)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise Refusal(Reason.CONFIG, f"{path}: larger than a configuration file can be")
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise Refusal(Reason.CONFIG, f"{safe(str(path))}: {reason}") from None


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        message = one_line(error)
        line = re.search(r"at line (\d+)", message)
        raise Refusal(Reason.CONFIG, f"{path}{f':{line[1]}' if line else ''}: not valid TOML: {message}") from None


def _section(document: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    found: Any = document
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")


def _line(text: str, path: tuple[str | int, ...]) -> int | None:
    """The line that sets `path`, or the nearest table above it. Reads headers and assignments, not values."""
    counts: dict[tuple[str | int, ...], int] = {}
    current: tuple[str | int, ...] = ()
    best, best_depth = None, 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            current = _split(header[2])
            if header[1] == "[[":
                counts[current] = counts.get(current, -1) + 1
                current = (*current, counts[current])
            here = current
        elif assignment := _ASSIGNMENT.match(line):
            here = (*current, *_split(assignment[1]))
        else:
            continue
        if len(here) > best_depth and here == path[: len(here)]:
            best, best_depth = number, len(here)
    return best


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted))
