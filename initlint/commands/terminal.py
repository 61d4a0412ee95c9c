"""Where text leaves the program: the document to standard output, everything else to standard error."""

import contextlib
import errno
import os
import sys
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


def discard_stdout() -> None:
    """Keep the interpreter from failing once more when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def width() -> int:
    """Columns to fill: the terminal's, between 60 and 120; 100 where there is none."""
    if sys.stdout is None or not sys.stdout.isatty():
        return 100
    from shutil import get_terminal_size  # noqa: PLC0415 - imports every archive format

    return min(120, max(60, get_terminal_size((100, 24)).columns))


def both_seen() -> bool:
    """Whether standard output and standard error are one terminal before one person."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))
