"""Where text leaves the program: the document to standard output or to files, everything else to standard error."""

import contextlib
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TextIO

from initlint.errors import Reason, Refusal
from initlint.text import safe

__all__ = [
    "ClosedPipe",
    "both_seen",
    "colored",
    "complain",
    "discard_stdout",
    "note",
    "width",
    "write_files",
    "write_stdout",
]


class Interrupted(BaseException):
    """A signal asked the program to end. Not KeyboardInterrupt, for which click writes an empty line of its own."""


class ClosedPipe(Exception):  # noqa: N818 - the reader's choice, not an error
    """Whoever read standard output has gone."""


def colored(choice: str, stream: TextIO | None) -> bool:
    """Whether to colour text on `stream`: the option, else NO_COLOR, else FORCE_COLOR, else whether it is a terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def complain(message: str) -> None:
    """One line on standard error."""
    note(f"initlint: {message}")


def note(line: str) -> None:
    """One line on standard error, as it is."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.buffer.write((safe(line, 2000) + "\n").encode(errors="backslashreplace"))
        sys.stderr.buffer.flush()


def write_stdout(document: str) -> None:
    """The document, and nothing else, on standard output."""
    if sys.stdout is None:
        raise Refusal(Reason.OUTPUT, "standard output is closed: the document cannot be written")
    # A terminal gets its own encoding, everything else UTF-8 whatever the locale says.
    encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
    content = document.encode(encoding, errors="backslashreplace")
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        discard_stdout()
        if error.errno == errno.EPIPE:
            raise ClosedPipe from None
        raise Refusal(Reason.OUTPUT, f"cannot write to standard output: {error.strerror}") from None


def write_files(documents: Iterable[tuple[str, bytes]]) -> None:
    """Write every file to a temporary name beside it, then rename them all; nothing is left behind on failure."""
    pending: list[tuple[str, str]] = []
    try:
        for path, content in documents:
            try:
                if _is_special(path):
                    Path(path).write_bytes(content)  # a pipe or a device has no name to replace
                else:
                    pending.append((_temporary(path, content), path))
            except OSError as error:
                raise Refusal(Reason.OUTPUT, f"cannot write {safe(path)}: {error.strerror}") from None
        while pending:
            temporary, path = pending[0]
            try:
                os.replace(temporary, os.path.realpath(path))  # noqa: PTH105 - keeps a symbolic link
            except OSError as error:
                raise Refusal(Reason.OUTPUT, f"cannot write {safe(path)}: {error.strerror}") from None
            del pending[0]
    finally:
        for temporary, _ in pending:
            Path(temporary).unlink(missing_ok=True)


def _temporary(path: str, content: bytes) -> str:
    target = Path(os.path.realpath(path))
    stream = NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name[:80]}.", delete=False)  # noqa: SIM115
    try:
        with stream:
            stream.write(content)
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
        Path(stream.name).chmod(mode)
    except BaseException:
        Path(stream.name).unlink(missing_ok=True)
        raise
    return stream.name


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _is_special(path: str) -> bool:
    try:
        return not stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return False


def discard_stdout() -> None:
    """Keep the interpreter from failing once more when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def width() -> int:
    """Columns to fill: the terminal's, between 60 and 120; 100 where there is none."""
    if sys.stdout is None or not sys.stdout.isatty():
        return 100
    return min(120, max(60, shutil.get_terminal_size((100, 24)).columns))


def both_seen() -> bool:
    """Whether standard output and standard error are one terminal before one person."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))
